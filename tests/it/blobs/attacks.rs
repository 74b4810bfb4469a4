//! I01, I02, I04, I05 for blobs.

use super::*;

fn mib(count: usize, seed: u8) -> Vec<u8> {
    (0..count << 20)
        .map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed).wrapping_add((n >> 20) as u8))
        .collect()
}

// I01. Goal: an upload in parts becomes what was announced, or nothing. Method: parts out of order, missing, too short,
// of another object; the same end many times at once; an abort against the end; a cut and a second start.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_parts_is_whole_or_not_at_all() {
    let lab = in_parts().await;
    let (_, project) = lab.project().await;
    let bytes = mib(40, 1);
    let attest = |bytes: &[u8]| json!({ "immutable": true, "sha256": sha256(bytes) });
    let begun = begin(&lab, &project, "big.bin", bytes.len(), attest(&bytes)).await;
    let session = &begun.body;
    let parts = session["parts"].as_array().unwrap().clone();
    assert_eq!((&session["mode"], &session["part_count"], parts.len()), (&json!("multipart"), &json!(3), 3));

    let early = complete(&lab, &project, session, json!({})).await;
    assert_eq!((early.status, &early.body["code"]), (409, &json!("UPLOAD_INCOMPLETE")), "{early:?}");
    let short = lab.send(lab.http.put(parts[0]["url"].as_str().unwrap()).body(vec![0; 10])).await;
    assert!(short.status >= 400, "a part of another size is refused at the door: {short:?}");
    let other = parts[2]["url"].as_str().unwrap().replace("partNumber=3", "partNumber=2");
    let bent = lab.send(lab.http.put(&other).body(vec![0; 10])).await;
    assert!((400..500).contains(&bent.status), "a URL is for its part only: {bent:?}");
    // The last first; the first twice.
    let mut etags = Vec::new();
    for index in [2, 0, 0] {
        let sent = put_part(&lab, &parts[index], &bytes).await;
        assert!(sent.status < 300, "{sent:?}");
        etags.push((index + 1, header(&sent, "etag").unwrap().to_owned()));
    }
    let path = format!("/storage/v1/uploads/{}", session["upload_id"].as_str().unwrap());
    let state = get(&lab, &project, &path).await.body;
    assert_eq!(
        (&state["status"], state["parts"].as_array().unwrap().len()),
        (&json!("active"), 2),
        "{state}"
    );
    let hole = complete(&lab, &project, session, json!({})).await;
    assert_eq!((hole.status, &hole.body["details"]["part_number"]), (409, &json!(2)), "{hole:?}");
    let sent = put_part(&lab, &parts[1], &bytes).await;
    etags.push((2, header(&sent, "etag").unwrap().to_owned()));
    for bad in
        [json!([{ "part_number": 4, "etag": "x" }]), json!([{ "part_number": -1, "etag": "x" }]), json!("x")]
    {
        assert_eq!(complete(&lab, &project, session, json!({ "parts": bad })).await.status, 400);
    }
    let told: Vec<Value> =
        etags.iter().map(|(number, etag)| json!({ "part_number": number, "etag": etag })).collect();
    let ends = (0..6).map(|_| complete(&lab, &project, session, json!({ "parts": told })));
    let ends = futures::future::join_all(ends).await;
    assert!(ends.iter().all(|done| done.status == 200 || done.status == 409), "{ends:?}");
    let done = eventually("the end", 20, || async {
        let done = complete(&lab, &project, session, json!({ "parts": told })).await;
        (done.status == 200).then_some(done.body)
    })
    .await;
    assert_eq!(done["sha256"], sha256(&bytes));
    let url = done["cdn_immutable_url"].as_str().unwrap();
    let tail = visit(&lab, url, &[("range", "bytes=41943030-")]).await;
    assert_eq!(
        (tail.status, header(&tail, "content-range")),
        (206, Some("bytes 41943030-41943039/41943040"))
    );
    wrong_and_aborted(&lab, &project).await;
}

/// Bytes of another digest end the upload; an abort against the end leaves one outcome.
async fn wrong_and_aborted(lab: &Lab, project: &Value) {
    let (right, wrong) = (mib(2, 2), mib(2, 3));
    let attest = json!({ "sha256": sha256(&right) });
    let begun = begin(lab, project, "wrong.bin", right.len(), attest.clone()).await;
    put_part(lab, &begun.body["parts"][0], &wrong).await;
    let done = complete(lab, project, &begun.body, json!({})).await;
    assert_eq!((done.status, &done.body["code"]), (422, &json!("SHA256_MISMATCH")), "{done:?}");
    assert_eq!(complete(lab, project, &begun.body, json!({})).await.status, 404, "it has ended");
    assert_eq!(get(lab, project, "/storage/v1/blob/wrong.bin").await.status, 404);

    for n in 0..4 {
        let key = format!("raced-{n}.bin");
        let begun = begin(lab, project, &key, right.len(), attest.clone()).await;
        put_part(lab, &begun.body["parts"][0], &right).await;
        let path = format!("/storage/v1/uploads/{}", begun.body["upload_id"].as_str().unwrap());
        let abort = lab.send(lab.http.delete(lab.url(&path)).header("apikey", anon(project)));
        let (done, aborted) = tokio::join!(complete(lab, project, &begun.body, json!({})), abort);
        assert!(done.status < 500 && aborted.status < 500, "{done:?} {aborted:?}");
        let there = get(lab, project, &format!("/storage/v1/blob/{key}")).await.status == 200;
        assert_eq!(done.status == 200, there, "{done:?} {aborted:?}");
        assert_ne!(get(lab, project, &path).await.body["status"], "active");
    }
    let begun = begin(lab, project, "late.bin", right.len(), attest).await;
    let path = format!("/storage/v1/uploads/{}", begun.body["upload_id"].as_str().unwrap());
    let (_, other) = lab.project().await;
    assert_eq!(get(lab, &other, &path).await.status, 404, "another project's is nobody's");
    let moved = lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": 3_601 }));
    lab.send(moved).await;
    assert_eq!(get(lab, project, &path).await.body["status"], "expired");
}

// I01. Goal: the limit holds at the end of uploads, and what is announced is judged at their start. Method: many
// ends at once with room for one; claims of any size.
#[tokio::test(flavor = "multi_thread")]
async fn the_quota_holds_at_the_end_of_parallel_uploads() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let pool = lab.database().await;
    let mut sessions = Vec::new();
    for n in 0..12_u8 {
        let begun = begin(&lab, &project, &format!("k{n}"), 1_000, json!({})).await;
        put_part(&lab, &begun.body["parts"][0], &vec![n; 1_000]).await;
        sessions.push(begun.body);
    }
    let full = "insert into content_usage (account_id, bytes) select id, $1 - 1500 - (select
        coalesce(sum(database_bytes), 0) from project_usage) from accounts
        on conflict (account_id) do update set bytes = excluded.bytes";
    sqlx::query(full).bind(262_144_000_i64).execute(&pool).await.unwrap();
    let ends = sessions.iter().map(|session| complete(&lab, &project, session, json!({})));
    let ends = futures::future::join_all(ends).await;
    assert_eq!(ends.iter().filter(|done| done.status == 200).count(), 1, "{ends:?}");
    let refused =
        |done: &&Answer| done.body["code"] == "STORAGE_LIMIT_EXCEEDED" && done.body["usage"].is_object();
    assert_eq!(ends.iter().filter(refused).count(), 11, "{ends:?}");

    let huge = |size: Value| {
        post(&lab, anon(&project), "/storage/v1/uploads", json!({ "key": "x", "size_bytes": size }))
    };
    for size in
        [json!(5_u64 << 40), json!((5_u64 << 40) + 1), json!(u64::MAX), json!(-1), json!("1"), json!(null)]
    {
        let answer = huge(size.clone()).await;
        assert!(matches!(answer.status, 400 | 403), "{size}: {answer:?}");
    }
    let unattested = begin(&lab, &project, "x", 1, json!({ "immutable": true })).await;
    assert_eq!(unattested.status, 400);
    for bad in
        [json!({ "content_type": "a\nb" }), json!({ "visibility": "secret" }), json!({ "sha256": "AB" })]
    {
        assert_eq!(begin(&lab, &project, "x", 1, bad.clone()).await.status, 400, "{bad}");
    }
    // Nothing at all is a blob too.
    sqlx::query("update content_usage set bytes = 0").execute(&pool).await.unwrap();
    let empty = upload(&lab, &project, "empty", b"", json!({})).await;
    assert_eq!((&empty["size_bytes"], &empty["sha256"]), (&json!(0), &json!(sha256(b""))));
    assert_eq!(visit(&lab, empty["cdn_url"].as_str().unwrap(), &[]).await.body, "");
}

// I02. Goal: one key, one blob, inside its project. Method: the matrix in a body, in paths of the API and of sites.
#[tokio::test(flavor = "multi_thread")]
async fn keys_cannot_leave_their_project_or_be_read_twice() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let (_, other) = lab.project().await;
    let long = "x".repeat(1_025);
    for bad in [
        "",
        "/",
        "/x",
        "x/",
        "a//b",
        ".",
        "..",
        "../x",
        "a/../../x",
        "a\\b",
        "..\\x",
        "a\0b",
        "a\nb",
        "a\u{202e}b",
        "%2e%2e/x",
        "a%2fb",
        "a%00b",
        "_blob/x",
        "_cas/ab/cd",
        "_staging/x",
        "_run402/x",
        &long,
    ] {
        let answer = begin(&lab, &project, bad, 1, json!({})).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &json!("INVALID_STORAGE_KEY")),
            "{bad:?}: {answer:?}"
        );
    }
    let mut shown = Vec::new();
    for (key, canonical) in [
        ("caf\u{e9}.txt", "caf\u{e9}.txt"),
        ("cafe\u{301}.txt", "caf\u{e9}.txt"),
        ("dot.", "dot."),
        ("space ", "space "),
        ("100%", "100%"),
        (&"y".repeat(1_024), &"y".repeat(1_024)),
    ] {
        let asset = upload(&lab, &project, key, key.as_bytes(), json!({})).await;
        assert_eq!(asset["key"], canonical);
        assert_eq!(visit(&lab, asset["cdn_url"].as_str().unwrap(), &[]).await.body, key);
        shown.push(asset["cdn_url"].as_str().unwrap().to_owned());
    }
    assert_eq!(shown[0], shown[1], "names that look the same are one");
    let host = reqwest::Url::parse(&shown[0]).unwrap().host_str().unwrap().to_owned();
    for bad in [
        "/_blob/../x",
        "/_blob/..%2fx",
        "/_blob/%2e%2e/x",
        "/_blob/a%00",
        "/_blob/a%5cb",
        "/_blob//x",
        "/_blob/%252e",
        "/_blob/a%2fb",
    ] {
        assert_eq!(lab.raw_get(&host, bad).await, 400, "{bad}");
    }
    for nothing in ["/_blob/", "/_blob", "/_blob/none", "/_cas/ab/cd", "/_staging/x", "/_run402/ping"] {
        assert_eq!(lab.raw_get(&host, nothing).await, 404, "{nothing}");
    }
    for bad in ["..%2fx", "%2e%2e/x", "a%00b", "a%5cb", "%252e", "a//b", "%ff"] {
        let path = format!("/storage/v1/blob/{bad}");
        assert!(matches!(get(&lab, &project, &path).await.status, 400 | 404), "{bad}");
    }
    assert_eq!(get(&lab, &other, "/storage/v1/blob/100%25").await.status, 404, "another project's key");
    assert_eq!(get(&lab, &other, "/storage/v1/blobs").await.body["blobs"], json!([]));
    assert_eq!(lab.get("/storage/v1/blobs").await.status, 401);
    let pages = get(&lab, &project, "/storage/v1/blobs?limit=2").await.body;
    let next = pages["next_cursor"].as_str().unwrap();
    let rest = get(&lab, &project, &format!("/storage/v1/blobs?limit=1000&cursor={next}")).await.body;
    assert_eq!((pages["blobs"].as_array().unwrap().len(), rest["blobs"].as_array().unwrap().len()), (2, 3));
    for bad in ["limit=x", "cursor=!!", "limit=-1"] {
        assert_eq!(get(&lab, &project, &format!("/storage/v1/blobs?{bad}")).await.status, 400, "{bad}");
    }
}

// I04. Goal: what somebody uploaded never runs as a page of the site, or of the host that all projects share.
// Method: every kind of document under a type that is true, and under one that lies.
// I05. Goal: caches keep what stays true. Method: what they do not look at; a 404 that becomes a blob; an
// overwrite.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_do_not_run_in_anybodys_name_and_caches_stay_true() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let page = b"<script>alert(1)</script>";
    let asset = |kind: &'static str, name: &'static str| {
        upload(&lab, &project, name, page, json!({ "content_type": kind }))
    };
    for (kind, name) in [
        ("text/html; charset=utf-8", "a.html"),
        ("image/svg+xml", "b.svg"),
        ("APPLICATION/XHTML+XML", "c.xhtml"),
        ("application/xml", "d.xml"),
    ] {
        let url = asset(kind, name).await["cdn_url"].as_str().unwrap().to_owned();
        let own = visit(&lab, &url, &[]).await;
        let policy = header(&own, "content-security-policy").unwrap();
        assert!(policy.starts_with("sandbox") && !policy.contains("allow-same-origin"), "{name}: {policy}");
        assert_eq!(header(&own, "x-content-type-options"), Some("nosniff"));
        let shared = get(&lab, &project, &format!("/storage/v1/blob/{name}")).await;
        assert!(header(&shared, "content-disposition").unwrap().starts_with("attachment"), "{name}");
        assert!(header(&shared, "content-security-policy").unwrap().contains("sandbox"));
        let path = format!("/storage/v1/blob/{name}/sign");
        let signed = post(&lab, anon(&project), &path, json!({})).await;
        let signed = lab.send(lab.http.get(signed.body["signed_url"].as_str().unwrap())).await;
        assert!(header(&signed, "content-disposition").unwrap().starts_with("attachment"), "{name}");
        let worker = visit(&lab, &url, &[("service-worker", "script")]).await;
        assert_eq!(worker.status, 403, "{name}: no worker for the whole of /_blob");
        assert_eq!(header(&own, "set-cookie"), None);
    }
    // A lie about the type is believed, so it does not run.
    let lie = asset("image/png", "e.png").await;
    let url = lie["cdn_url"].as_str().unwrap();
    let shown = visit(&lab, url, &[]).await;
    assert_eq!(
        (header(&shown, "content-type"), header(&shown, "x-content-type-options")),
        (Some("image/png"), Some("nosniff"))
    );

    for (name, value) in
        [("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "gopher"), ("origin", "null")]
    {
        let bent = visit(&lab, url, &[(name, value)]).await;
        assert_eq!((bent.status, header(&bent, "etag")), (200, header(&shown, "etag")), "{name}");
        assert!(!format!("{bent:?}").contains("evil.example"));
    }
    let missing = url.replace("e.png", "f.png");
    let none = visit(&lab, &missing, &[]).await;
    assert_eq!((none.status, header(&none, "cache-control")), (404, Some("no-store")));
    upload(&lab, &project, "f.png", b"one", json!({})).await;
    let one = visit(&lab, &missing, &[]).await;
    let tag = header(&one, "etag").unwrap().to_owned();
    assert!(header(&one, "cache-control").unwrap().contains("must-revalidate"));
    upload(&lab, &project, "f.png", b"two", json!({})).await;
    let mixed = visit(&lab, &missing, &[("range", "bytes=0-0"), ("if-range", &tag)]).await;
    assert_eq!((mixed.status, mixed.body.as_str()), (200, Some("two")), "no piece of another version");
    let head = reqwest::Url::parse(&missing).unwrap();
    let host = format!("{}:{}", head.host_str().unwrap(), head.port().unwrap());
    let head = lab.send(lab.http.head(lab.url(head.path())).header("host", host)).await;
    assert_eq!((header(&head, "content-length"), head.status), (Some("3"), 200));
    // A mutable blob cannot take an address that was given out for ever.
    let forever = json!({ "immutable": true, "sha256": sha256(b"v1") });
    let first = upload(&lab, &project, "app.js", b"v1", forever).await;
    let address = first["cdn_immutable_url"].as_str().unwrap();
    let name = address.rsplit('/').next().unwrap();
    upload(&lab, &project, name, b"evil", json!({})).await;
    upload(&lab, &project, "app.js", b"v2", json!({ "immutable": true, "sha256": sha256(b"v2") })).await;
    assert_eq!(visit(&lab, address, &[]).await.body, "v1");
}
