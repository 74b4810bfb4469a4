//! The same by the words of the command line.

use super::*;

// Goal: a large file goes up whole, one that was cut off is gone on with, and both come back. Method: the words;
// the cut is a note and two parts, as a run that died leaves them.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_up_in_parts_resumes_and_comes_down_by_words() {
    let lab = in_parts().await;
    let home = fresh_folder();
    std::fs::create_dir_all(&home).unwrap();
    let output = |args: &[&str]| {
        let mut command = Command::new(target_binary("run402"));
        command.args(args).env("RUN402_API_BASE", &lab.api).env("RUN402_CONFIG_DIR", home.join("config"));
        command.output().unwrap()
    };
    let run = |args: &[&str]| -> (Value, String) {
        let done = output(args);
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "run402 {args:?}\n{out}\n{err}");
        let out = serde_json::from_str(&out).unwrap_or_else(|e| panic!("run402 {args:?}: {e}\n{out}"));
        (out, err.into_owned())
    };
    run(&["init"]);
    run(&["tier", "set", "prototype"]);
    let project = run(&["projects", "provision", "--name", "files"]).0;
    let bytes: Vec<u8> = (0..36_u32 << 20).map(|n| (n % 251) as u8).collect();
    let file = home.join("big.bin");
    std::fs::write(&file, &bytes).unwrap();
    let file = file.to_str().unwrap();

    let (asset, log) = run(&["blob", "put", file, "--key", "v/big.bin", "--immutable"]);
    assert_eq!((&asset["sha256"], &asset["size_bytes"]), (&json!(sha256(&bytes)), &json!(bytes.len())));
    assert_eq!(log.matches("blob.upload.part").count(), 3, "{log}");
    let notes = home.join("config/uploads");
    assert_eq!(std::fs::read_dir(&notes).unwrap().count(), 0, "nothing is left to go on with");
    resume(&lab, &project, &notes, &home, &run, &bytes).await;

    let (listed, _) = run(&["blob", "ls", "--prefix", "v/"]);
    assert_eq!(listed["blobs"].as_array().unwrap().len(), 2, "{listed}");
    let back = home.join("back.bin");
    let (got, _) = run(&["blob", "get", "v/big.bin", "--output", back.to_str().unwrap()]);
    assert_eq!(got["sha256"], sha256(&bytes));
    assert_eq!(std::fs::read(&back).unwrap(), bytes);
    let (signed, _) = run(&["blob", "sign", "v/big.bin", "--ttl", "60"]);
    assert_eq!(lab.send(lab.http.head(signed["signed_url"].as_str().unwrap())).await.status, 200);
    let small = home.join("note.txt");
    std::fs::write(&small, "hello").unwrap();
    let (note, _) = run(&["blob", "put", small.to_str().unwrap()]);
    let url = note["cdn_url"].as_str().unwrap();
    assert_eq!(
        (&note["key"], &note["content_type"]),
        (&json!("note.txt"), &json!("text/plain; charset=utf-8"))
    );
    let (looked, _) = run(&["blob", "diagnose", url]);
    assert_eq!(looked["observedSha256"], sha256(b"hello"));
    let fresh = run(&["cdn", "wait-fresh", url, "--sha256", &sha256(b"hello")]).0;
    assert_eq!(fresh["fresh"], true);
    let stale = output(&["cdn", "wait-fresh", url, "--sha256", &sha256(b"other"), "--timeout", "1"]);
    assert!(String::from_utf8_lossy(&stale.stderr).contains("CDN_NOT_FRESH"), "{stale:?}");
    assert_eq!(run(&["blob", "rm", "note.txt"]).0["status"], "ok");
    assert!(!output(&["blob", "get", "note.txt"]).status.success());
}

/// A run that died after two parts: the next one sends the third only.
async fn resume(
    lab: &Lab,
    project: &Value,
    notes: &std::path::Path,
    home: &std::path::Path,
    run: &impl Fn(&[&str]) -> (Value, String),
    bytes: &[u8],
) {
    // What a run that was cut off after two parts leaves: its note, and those parts in the store.
    let mut other = bytes.to_vec();
    other[0] ^= 0xff;
    let path = home.join("other.bin");
    std::fs::write(&path, &other).unwrap();
    let more = json!({ "visibility": "public", "immutable": false, "sha256": sha256(&other) });
    let begun = begin(lab, project, "v/other.bin", other.len(), more).await.body;
    for part in &begun["parts"].as_array().unwrap()[..2] {
        assert!(put_part(lab, part, &other).await.status < 300);
    }
    let of = json!({
        "base": lab.api,
        "project_key": sha256(anon(project).as_bytes()),
        "key": "v/other.bin",
        "content_type": null,
        "visibility": "public",
        "immutable": false,
        "size_bytes": other.len(),
        "sha256": sha256(&other),
    });
    let name = format!("{}.json", &sha256(of.to_string().as_bytes())[..32]);
    std::fs::write(notes.join(name), json!({ "of": of, "session": begun }).to_string()).unwrap();
    let (asset, log) = run(&["blob", "put", path.to_str().unwrap(), "--key", "v/other.bin"]);
    assert_eq!(asset["sha256"], sha256(&other));
    assert_eq!(log.matches("blob.upload.part").count(), 1, "only the part that was missing: {log}");
    assert!(log.contains("\"resumed\":2"), "{log}");
}
