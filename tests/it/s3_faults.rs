//! An object store that is slow, away, or lies: what it spoils is done again or refused with a code. Nobody is shown
//! other bytes than were put, and nothing that was taken is lost.

use std::collections::HashSet;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{Answer, Lab, LabOptions, S3Fault, S3Proxy, S3Request, eventually, fresh_folder, target_binary};

use crate::blobs::{anon, begin, complete, delete, put_part, upload, visit};
use crate::deploys::{Files, deploy, sha256};

const LARGE: usize = 700 * 1024;

/// A lab whose server and clients reach its store through a proxy.
async fn behind(args: &[&str]) -> (Lab, S3Proxy) {
    let proxy = S3Proxy::start().await;
    let mut all = vec!["--s3-endpoint".to_owned(), proxy.url.clone()];
    all.extend(args.iter().map(|word| (*word).to_owned()));
    let lab = Lab::start_with(LabOptions { args: all, ..LabOptions::default() }).await;
    proxy.relay_to(lab.server.ready["s3"].as_str().unwrap());
    (lab, proxy)
}

fn is_content(request: &S3Request) -> bool {
    request.key.starts_with("_cas/")
}

fn is_staged(request: &S3Request) -> bool {
    request.key.starts_with("_staging/")
}

fn bytes(count: usize, seed: u8) -> Vec<u8> {
    (0..count).map(|n| (n % 251) as u8 ^ seed).collect()
}

/// Status and body of an address; none for a body that broke off.
async fn read(lab: &Lab, url: &str, range: Option<&str>) -> (u16, Option<Vec<u8>>) {
    let url = reqwest::Url::parse(url).unwrap();
    let host = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(80));
    let mut request = lab.http.get(lab.url(url.path())).header("host", host);
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.ok().map(|bytes| bytes.to_vec()))
}

// I01, I05, J11. Goal: whatever the store does to a read, a visitor gets the file, a 503, or a body that breaks off;
// and once the store is well again, the file: nothing wrong was remembered. Method: each fault on files that no memory
// has yet, small ones and streamed ones, whole and in part, of a site and as blobs.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_or_lies_under_hosting_never_shows_another_file() {
    let (lab, proxy) = behind(&[]).await;
    lab.expect_error("content not read");
    let (wallet, project) = lab.project().await;
    let faults = [
        S3Fault::Status(500, "InternalError"),
        S3Fault::Status(503, "SlowDown"),
        S3Fault::Status(403, "AccessDenied"),
        S3Fault::Status(404, "NoSuchKey"),
        S3Fault::Reset,
        S3Fault::Lost,
        S3Fault::Cut,
        S3Fault::Short,
        S3Fault::Other,
        S3Fault::Slow(Duration::from_millis(1_500)),
    ];
    let mut files: Vec<(String, Vec<u8>)> = vec![("index.html".to_owned(), b"home".to_vec())];
    for n in 0..faults.len() {
        let seed = u8::try_from(n).unwrap();
        files.push((format!("s{n}.txt"), bytes(1_000 + n, seed)));
        files.push((format!("l{n}.bin"), bytes(LARGE + n, seed)));
    }
    let all: Vec<(&str, &[u8])> =
        files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let all: Files<'_> = &all;
    let ready = deploy(&lab, &wallet, &project, all).await;
    let site = ready["urls"]["site"].as_str().unwrap().trim_end_matches('/').to_owned();
    let blob_bytes = bytes(LARGE, 99);
    let blob = upload(&lab, &project, "b.bin", &blob_bytes, json!({})).await;
    for (n, fault) in faults.into_iter().enumerate() {
        let looks: [(String, &[u8], Option<&str>); 4] = [
            (format!("{site}/s{n}.txt"), &files[1 + 2 * n].1, Some("bytes=0-9")),
            (format!("{site}/s{n}.txt"), &files[1 + 2 * n].1, None),
            (format!("{site}/l{n}.bin"), &files[2 + 2 * n].1, None),
            (blob["cdn_url"].as_str().unwrap().to_owned(), &blob_bytes, None),
        ];
        for (url, good, range) in looks {
            let wanted = if range.is_some() { &good[..10] } else { good };
            // For good, then once: a second try may find it well.
            for count in [usize::MAX, 1] {
                proxy.first(count, fault, |request| request.method == "GET" && is_content(request));
                let began = Instant::now();
                let (status, body) = read(&lab, &url, range).await;
                let told = format!("{fault:?} {url} {count}: {status} {:?}", body.as_ref().map(Vec::len));
                match (status, &body) {
                    (503, Some(_)) | (200 | 206, None) => {}
                    (200 | 206, Some(body)) => assert!(body == wanted, "{told}: other bytes"),
                    _ => panic!("{told}"),
                }
                assert!(began.elapsed() < Duration::from_secs(60), "{told}");
                proxy.honest();
            }
            let (status, body) = read(&lab, &url, range).await;
            assert!(
                matches!(status, 200 | 206) && body.as_deref() == Some(wanted),
                "{fault:?} {url}: {status}"
            );
        }
    }
    // A part of a large file: which bytes they are nobody can tell, but that some are missing.
    let url = format!("{site}/l0.bin");
    for fault in [S3Fault::Cut, S3Fault::Short] {
        proxy.first(usize::MAX, fault, |request| request.method == "GET" && is_content(request));
        let (status, body) = read(&lab, &url, Some("bytes=100-300099")).await;
        assert!(status == 503 || body.is_none(), "{fault:?}: {status}");
        proxy.honest();
    }
    // While the store is away for good, what is in memory is shown.
    proxy.on(|_| S3Fault::Reset);
    assert_eq!(read(&lab, &format!("{site}/s0.txt"), None).await.1.as_deref(), Some(&*files[1].1));
    proxy.honest();
}

/// A blob's upload, put and not completed.
async fn staged(lab: &Lab, project: &Value, key: &str, bytes: &[u8], more: Value) -> Value {
    let begun = begin(lab, project, key, bytes.len(), more).await;
    assert_eq!(begun.status, 201, "{begun:?}");
    for part in begun.body["parts"].as_array().unwrap() {
        assert!(put_part(lab, part, bytes).await.status < 300);
    }
    begun.body
}

type Pick = fn(&S3Request) -> bool;

/// Ends of uploads that the store spoils at these steps, for one request and for all.
struct Spoilt {
    lab: Lab,
    proxy: S3Proxy,
    project: Value,
    n: u8,
    total: usize,
}

impl Spoilt {
    async fn start() -> Self {
        let (lab, proxy) = behind(&["--single-put-bytes-max", "1048576"]).await;
        let (_, project) = lab.project().await;
        Self { lab, proxy, project, n: 0, total: 0 }
    }

    /// Refused with a code, and made good by a repeat: the right bytes under the right name.
    async fn at(&mut self, (step, picked): (&str, Pick), fault: S3Fault, count: usize) {
        let (lab, project) = (&self.lab, &self.project);
        self.n += 1;
        let n = self.n;
        let in_parts = matches!(step, "list" | "join") || n.is_multiple_of(2);
        let good = bytes(if in_parts { 1_200_000 } else { 20_000 } + usize::from(n), n);
        let attested = n.is_multiple_of(3) || (fault.lies() && count > 1);
        let more = if attested { json!({ "sha256": sha256(&good) }) } else { json!({}) };
        let key = format!("{step}-{n}.bin");
        let session = staged(lab, project, &key, &good, more).await;
        self.proxy.first(count, fault, picked);
        let spoilt = complete(lab, project, &session, json!({})).await;
        let told = format!("{step} {fault:?} {count}, in parts {in_parts}, attested {attested}: {spoilt:?}");
        let code = spoilt.body["code"].as_str().unwrap_or_default();
        match (spoilt.status, code) {
            (200, _) => assert_eq!(spoilt.body["sha256"], sha256(&good), "{told}"),
            (_, "STORAGE_UNAVAILABLE" | "UPLOAD_INCOMPLETE") => {}
            // A store that keeps to its lie is believed.
            (_, "UPLOAD_NOT_FOUND" | "SHA256_MISMATCH" | "SIZE_MISMATCH") if count > 1 => {}
            _ => panic!("a fault that passes is no verdict: {told}"),
        }
        self.proxy.honest();
        let mut done = complete(lab, project, &session, json!({})).await;
        if done.status == 404 && count > 1 && fault.lies() {
            // Parts that were joined cannot be put again.
            let session = staged(lab, project, &key, &good, json!({})).await;
            done = complete(lab, project, &session, json!({})).await;
        }
        assert_eq!((done.status, &done.body["sha256"]), (200, &json!(sha256(&good))), "{told} {done:?}");
        let shown = visit(lab, done.body["cdn_url"].as_str().unwrap(), &[]).await;
        assert_eq!(shown.status, 200, "{told}");
        self.total += good.len();
    }

    async fn each_is_counted_once(self) {
        let pool = self.lab.database().await;
        let used = sqlx::query_scalar::<_, i64>("select sum(bytes)::bigint from content_usage");
        assert_eq!(used.fetch_one(&pool).await.unwrap(), i64::try_from(self.total).unwrap());
    }
}

const AWAY: [S3Fault; 5] = [
    S3Fault::Status(500, "InternalError"),
    S3Fault::Status(503, "ServiceUnavailable"),
    S3Fault::Status(404, "NoSuchKey"),
    S3Fault::Reset,
    S3Fault::Lost,
];

// I01, E08, J11. Goal: bytes are named by what they are, whatever the store says when they are hashed. Method: each
// fault of that read, once; those of a store that is away for good, or keeps to its lie, always.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_spoils_while_an_upload_is_hashed_is_made_good_by_a_repeat() {
    let mut spoilt = Spoilt::start().await;
    let read: (&str, Pick) = ("read", |r| r.method == "GET" && is_staged(r) && r.query.contains("GetObject"));
    for fault in AWAY.into_iter().chain([S3Fault::Cut, S3Fault::Short, S3Fault::Other]) {
        spoilt.at(read, fault, 1).await;
    }
    for fault in [S3Fault::Status(503, "SlowDown"), S3Fault::Cut, S3Fault::Short, S3Fault::Other] {
        spoilt.at(read, fault, usize::MAX).await;
    }
    spoilt.each_is_counted_once().await;
}

// I01, E08, J11. Goal: the same for what puts bytes in their place. Method: each fault at the look, the copy, the list
// of parts and their join; once, and for good.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_spoils_while_an_upload_is_put_in_its_place_is_made_good_by_a_repeat() {
    let mut spoilt = Spoilt::start().await;
    let steps: [(&str, Pick); 4] = [
        ("look", |r| r.method == "HEAD"),
        ("copy", |r| r.method == "PUT" && r.copies),
        ("list", |r| r.method == "GET" && r.query.contains("uploadId")),
        ("join", |r| r.method == "POST" && r.query.contains("uploadId")),
    ];
    for step in steps {
        for fault in AWAY {
            // Parts that are not there are an end of their upload.
            if fault != S3Fault::Status(404, "NoSuchKey") || matches!(step.0, "look" | "copy") {
                spoilt.at(step, fault, 1).await;
            }
        }
        spoilt.at(step, S3Fault::Status(503, "SlowDown"), usize::MAX).await;
    }
    spoilt.each_is_counted_once().await;
}

// I01, E08, J11. Goal: a store that does not delete, or does and does not say so, keeps no garbage for ever and loses
// nobody's bytes. Method: two blobs of one content and one of another given up, a day later, under each fault.
#[tokio::test(flavor = "multi_thread")]
async fn garbage_that_the_store_keeps_goes_later_and_nothing_else() {
    let (lab, proxy) = behind(&[]).await;
    let (_, project) = lab.project().await;
    let pool = lab.database().await;
    let faults = [
        S3Fault::Status(503, "SlowDown"),
        S3Fault::Status(403, "AccessDenied"),
        S3Fault::Reset,
        S3Fault::Lost,
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        let seed = u8::try_from(n).unwrap();
        let (shared, alone) = (bytes(3_000, seed), bytes(4_000, seed));
        let kept = upload(&lab, &project, &format!("kept-{n}"), &shared, json!({})).await;
        upload(&lab, &project, &format!("given-up-{n}"), &shared, json!({})).await;
        upload(&lab, &project, &format!("alone-{n}"), &alone, json!({})).await;
        for key in [format!("given-up-{n}"), format!("alone-{n}")] {
            assert_eq!(delete(&lab, &project, &key).await.status, 200);
        }
        proxy.on(move |request| if request.method == "DELETE" { fault } else { S3Fault::Honest });
        let moved = lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": 90_000 }));
        assert_eq!(lab.send(moved).await.status, 200);
        let object = alone_key(&alone);
        let tried = |seen: &[S3Request]| seen.iter().any(|r| r.method == "DELETE" && r.key == object);
        eventually("a deletion", 30, || async { tried(&proxy.seen()).then_some(()) }).await;
        let rows = || async {
            let rows = sqlx::query_scalar::<_, i64>("select count(*) from content_objects where sha256 = $1");
            rows.bind(sha256(&alone)).fetch_one(&pool).await.unwrap()
        };
        assert_eq!(rows().await, 1, "{fault:?}: the row stays until the bytes are gone");
        proxy.honest();
        eventually("the sweep", 30, || async { (rows().await == 0).then_some(()) }).await;
        let shown = visit(&lab, kept["cdn_url"].as_str().unwrap(), &[]).await;
        assert_eq!(shown.status, 200, "{fault:?}");
        // And the same bytes come back.
        upload(&lab, &project, &format!("alone-{n}"), &alone, json!({})).await;
    }
}

fn alone_key(bytes: &[u8]) -> String {
    let digest = sha256(bytes);
    format!("_cas/{}/{}", &digest[..2], &digest[2..])
}

/// How often staged bytes were read whole.
fn hashed(seen: &[S3Request]) -> usize {
    seen.iter().filter(|r| r.method == "GET" && is_staged(r) && r.query.contains("GetObject")).count()
}

// I01, E08. Goal: bytes that take longer to check than a request may take are checked all the same, once, and the
// answer comes to whoever asks again. Method: a store that is slow to read, a server that waits for a second; ask by
// hand, many at once and across a crash; then by the words of the command line, for a blob and for a site.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_takes_longer_than_a_request_goes_on_and_is_asked_for_again() {
    let args = ["--completion-wait-secs", "1", "--single-put-bytes-max", "5242880"];
    let (lab, proxy) = behind(&args).await;
    let (_, project) = lab.project().await;
    // Each object once: what is small ends within its request or not at all.
    let slow = || {
        let read = Mutex::new(HashSet::new());
        proxy.on(move |r| {
            let hash = r.method == "GET" && is_staged(r) && r.query.contains("GetObject");
            let slow = hash && read.lock().unwrap().insert(r.key.clone());
            if slow { S3Fault::Slow(Duration::from_secs(4)) } else { S3Fault::Honest }
        })
    };
    let good = bytes(9 << 20, 1);
    let session = staged(&lab, &project, "slow.bin", &good, json!({})).await;
    proxy.seen();
    slow();
    let early = complete(&lab, &project, &session, json!({})).await;
    assert_eq!((early.status, &early.body["code"]), (409, &json!("UPLOAD_COMPLETING")), "{early:?}");
    assert_eq!((&early.body["retryable"], &early.body["retry_after"]), (&json!(true), &json!(2)));
    let path = format!("/storage/v1/uploads/{}", session["upload_id"].as_str().unwrap());
    let stands = lab.send(lab.http.get(lab.url(&path)).header("apikey", anon(&project))).await;
    assert_eq!(stands.body["status"], "active", "a client that starts again goes on: {stands:?}");
    let count = |session: &Value| session["parts"].as_array().unwrap().len();
    assert_eq!(count(&stands.body), count(&session), "and puts nothing again: {stands:?}");
    let again = || async {
        eventually("the end", 30, || async {
            let answer = complete(&lab, &project, &session, json!({})).await;
            assert!(answer.status == 200 || answer.body["code"] == "UPLOAD_COMPLETING", "{answer:?}");
            (answer.status == 200).then_some(answer)
        })
        .await
    };
    let ended: Vec<Answer> = futures::future::join_all((0..4).map(|_| again())).await;
    assert!(ended.iter().all(|answer| answer.body["sha256"] == sha256(&good)), "{ended:?}");
    assert_eq!(hashed(&proxy.seen()), 1, "checked once, whoever asked");

    // The server dies while it checks.
    let good = bytes(9 << 20, 2);
    let session = staged(&lab, &project, "crash.bin", &good, json!({})).await;
    let early = complete(&lab, &project, &session, json!({})).await;
    assert_eq!(early.body["code"], "UPLOAD_COMPLETING", "{early:?}");
    let mut lab = lab;
    lab.server.kill();
    proxy.honest();
    proxy.relay_to_nothing();
    let words =
        ["--s3-endpoint", &proxy.url, "--completion-wait-secs", "1", "--single-put-bytes-max", "5242880"];
    let lab = lab.again_with(words.map(str::to_owned).into()).await;
    proxy.relay_to(lab.server.ready["s3"].as_str().unwrap());
    slow();
    let done = eventually("the end after a crash", 30, || async {
        let answer = complete(&lab, &project, &session, json!({})).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(done.body["sha256"], sha256(&good));
    by_words(&lab).await;
}

/// The command line waits by itself: for a blob, and for a large file of a site.
async fn by_words(lab: &Lab) {
    let home = fresh_folder();
    std::fs::create_dir_all(home.join("site")).unwrap();
    let run = |args: &[&str]| -> Value {
        let mut command = Command::new(target_binary("run402"));
        command.args(args).env("RUN402_API_BASE", &lab.api).env("RUN402_CONFIG_DIR", home.join("config"));
        let done = command.output().unwrap();
        assert!(done.status.success(), "run402 {args:?}\n{}", String::from_utf8_lossy(&done.stderr));
        serde_json::from_slice(&done.stdout).unwrap()
    };
    run(&["init"]);
    run(&["tier", "set", "prototype"]);
    run(&["projects", "provision", "--name", "slow"]);
    let good = bytes(9 << 20, 3);
    std::fs::write(home.join("big.bin"), &good).unwrap();
    let asset = run(&["blob", "put", home.join("big.bin").to_str().unwrap(), "--key", "big.bin"]);
    assert_eq!(asset["sha256"], sha256(&good));
    std::fs::write(home.join("site/index.html"), "home").unwrap();
    std::fs::write(home.join("site/film.bin"), bytes(9 << 20, 4)).unwrap();
    let deployed = run(&["sites", "deploy-dir", home.join("site").to_str().unwrap()]);
    let url = deployed["urls"]["site"].as_str().or(deployed["url"].as_str());
    assert!(url.is_some(), "{deployed}");
}
