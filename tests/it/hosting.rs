//! I01, I02, I05: uploads, paths and caches under attack.

use serde_json::{Value, json};
use tests::{Answer, Lab, eventually};

use crate::deploys::{Files, deploy, fetch, post, put, send_plan, sha256};
use crate::wire::exchange;

async fn open(lab: &Lab, anon: &str, bytes: &[u8]) -> Value {
    let wanted = json!({ "content": [{ "sha256": sha256(bytes), "size": bytes.len() }] });
    let answer = post(lab, anon, "/content/v1/plans", wanted).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    answer.body["missing"][0].clone()
}

fn path_of(session: &Value) -> String {
    format!("/storage/v1/uploads/{}", session["upload_id"].as_str().unwrap())
}

async fn complete(lab: &Lab, anon: &str, session: &Value) -> Answer {
    post(lab, anon, &format!("{}/complete", path_of(session)), json!({})).await
}

async fn state(lab: &Lab, anon: &str, session: &Value) -> Value {
    let answer = lab.send(lab.http.get(lab.url(&path_of(session))).header("apikey", anon)).await;
    answer.body["status"].clone()
}

// I01. Goal: a presigned URL is good for one object of one size by one method, and what is kept is what was
// announced. Method: bend each part of the URL and of what is sent.
#[tokio::test]
async fn an_upload_url_takes_only_what_it_was_made_for() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let anon = project["anon_key"].as_str().unwrap();
    let good = b"exactly these bytes".as_slice();
    let session = open(&lab, anon, good).await;
    let url = session["parts"][0]["url"].as_str().unwrap().to_owned();
    let key = reqwest::Url::parse(&url).unwrap().path().to_owned();
    for bent in [
        url.replace(&key, &format!("{key}x")),
        url.replace(&key, &key.replace("_staging", "_cas")),
        url.replace(&key, &format!("{key}/../other")),
        url.replace("X-Amz-Expires=3600", "X-Amz-Expires=360000"),
        url.replace("X-Amz-Date=2", "X-Amz-Date=1"),
        url.replace("X-Amz-Signature=", "X-Amz-Signature=0"),
        url.split('?').next().unwrap().to_owned(),
    ] {
        assert_ne!(bent, url);
        let sent = lab.send(lab.http.put(&bent).body(good.to_vec())).await;
        assert!((400..500).contains(&sent.status), "{bent}: {sent:?}");
    }
    for method in ["GET", "DELETE", "POST", "HEAD"] {
        let sent = lab.send(lab.http.request(method.parse().unwrap(), &url).body(good.to_vec())).await;
        assert!((400..500).contains(&sent.status), "{method}: {sent:?}");
    }
    let early = complete(&lab, anon, &session).await;
    assert_eq!(early.body["code"], "UPLOAD_INCOMPLETE", "nothing of the above was kept: {early:?}");
    for wrong in [&b"exactly these bytez"[..], b"exactly these bytes and more", b"short", b""] {
        let sent = lab.send(lab.http.put(&url).body(wrong.to_vec())).await;
        let done = complete(&lab, anon, &session).await;
        let known = ["UPLOAD_INCOMPLETE", "SHA256_MISMATCH", "SIZE_MISMATCH"].map(Value::from);
        assert!(known.contains(&done.body["code"]), "{wrong:?}: {sent:?} {done:?}");
    }
    assert!(put(&lab, &session, good).await.status < 300);
    let dones = futures::future::join_all((0..8).map(|_| complete(&lab, anon, &session))).await;
    assert!(dones.iter().all(|done| done.status == 200), "{dones:?}");
    let pool = lab.database().await;
    let used = || async {
        let sum = sqlx::query_scalar::<_, i64>("select coalesce(sum(bytes), 0)::bigint from content_usage");
        sum.fetch_one(&pool).await.unwrap()
    };
    assert_eq!(used().await, i64::try_from(good.len()).unwrap(), "counted once");
    // What comes after the end changes nothing.
    let _ = lab.send(lab.http.put(&url).body(good.to_vec())).await;
    let aborted = lab.send(lab.http.delete(lab.url(&path_of(&session))).header("apikey", anon)).await;
    assert!(aborted.status < 500, "{aborted:?}");
    assert_eq!(state(&lab, anon, &session).await, "completed");

    // Nothing at all, and nothing announced but something sent.
    let empty = open(&lab, anon, b"").await;
    let url = empty["parts"][0]["url"].as_str().unwrap();
    let sent = lab.send(lab.http.put(url).body(vec![7; 100_000])).await;
    let done = complete(&lab, anon, &empty).await;
    assert_ne!(done.status, 200, "{sent:?} {done:?}");
    assert!(put(&lab, &empty, b"").await.status < 300);
    assert_eq!(complete(&lab, anon, &empty).await.status, 200);
    for size in [json!(5_u64 << 40), json!(u64::MAX), json!(-1), json!(1.5), json!("1")] {
        let wanted = json!({ "content": [{ "sha256": sha256(b"huge"), "size": size }] });
        let answer = post(&lab, anon, "/content/v1/plans", wanted).await;
        assert!(matches!(answer.status, 400 | 403), "{size}: {answer:?}");
    }
    races(&lab, anon, &pool).await;
}

/// Complete against abort, and several completes for the last free bytes.
async fn races(lab: &Lab, anon: &str, pool: &sqlx::PgPool) {
    for n in 0..6_u8 {
        let bytes = [b'r', n];
        let session = open(lab, anon, &bytes).await;
        assert!(put(lab, &session, &bytes).await.status < 300);
        let abort = lab.send(lab.http.delete(lab.url(&path_of(&session))).header("apikey", anon));
        let (done, aborted) = tokio::join!(complete(lab, anon, &session), abort);
        assert!(done.status < 500 && aborted.status < 500, "{done:?} {aborted:?}");
        let held =
            sqlx::query_scalar::<_, bool>("select exists (select from project_content where sha256 = $1)");
        let held = held.bind(sha256(&bytes)).fetch_one(pool).await.unwrap();
        assert_eq!(state(lab, anon, &session).await == "completed", held, "{done:?} {aborted:?}");
        assert_eq!(done.status == 200, held, "{done:?}");
    }
    let size = 1_000;
    let mut sessions = Vec::new();
    for n in 0..5_u8 {
        let bytes = vec![n; size];
        let session = open(lab, anon, &bytes).await;
        assert!(put(lab, &session, &bytes).await.status < 300);
        sessions.push(session);
    }
    let full = "update content_usage set bytes = $1 - 1500 - (select \
      coalesce(sum(database_bytes), 0) from project_usage)";
    sqlx::query(full).bind(262_144_000_i64).execute(pool).await.unwrap();
    let dones = futures::future::join_all(sessions.iter().map(|session| complete(lab, anon, session))).await;
    let taken = dones.iter().filter(|done| done.status == 200).count();
    assert_eq!(taken, 1, "{dones:?}");
    assert!(dones.iter().all(|d| d.status == 200 || d.body["code"] == "STORAGE_LIMIT_EXCEEDED"), "{dones:?}");
}

// I02. Goal: one path, one file, inside the site. Method: the matrix through the spec and as raw request lines.
// I05. Goal: nobody chooses what a cache keeps for others. Method: what a cache does not look at must not change
// the answer, and what it keeps must stay true.
#[tokio::test]
async fn paths_and_caches_cannot_be_confused() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let content = json!({ "sha256": sha256(b"x"), "size": 1, "contentType": "text/plain" });
    let planned = |paths: Vec<String>| {
        let mut replace = serde_json::Map::new();
        for path in paths {
            replace.insert(path, content.clone());
        }
        let spec = json!({ "project": project["project_id"], "site": { "replace": replace } });
        send_plan(&lab, &wallet, spec)
    };
    let long = "x/".repeat(512) + "x";
    for path in [
        "../x",
        "..",
        "a/../../x",
        "..\\x",
        "a\\b",
        "/x",
        "//x",
        "x//y",
        "x/",
        ".",
        "./x",
        "x\u{0}y",
        "x\ny",
        "_blob/x",
        "_cas/x",
        "_staging/x",
        "_run402/x",
        "a\u{202e}b",
        "\u{2066}a",
        "a\u{7f}",
        &long,
        "",
    ] {
        let answer = planned(vec![path.to_owned()]).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &json!("INVALID_SPEC")),
            "{path:?}: {answer:?}"
        );
    }
    let twins = planned(vec!["caf\u{e9}.txt".into(), "cafe\u{301}.txt".into()]).await;
    assert_eq!(twins.status, 400, "two names that look the same are one: {twins:?}");

    let files: Files<'_> = &[
        ("index.html", b"<h1>home</h1>"),
        ("docs/index.html", b"docs"),
        ("data.txt", b"0123456789"),
        ("app.0123456789abcdef.js", b"one"),
        ("caf\u{e9}.txt", b"coffee"),
        ("dot.", b"dot"),
        ("space ", b"space"),
        ("..hidden", b"hidden"),
        ("%2e%2e.txt", b"percent"),
    ];
    let live = deploy(&lab, &wallet, &project, files).await;
    let url = live["urls"]["project"].as_str().unwrap();
    let host = reqwest::Url::parse(url).unwrap().host_str().unwrap().to_owned();
    for bad in [
        "/../etc/passwd",
        "/..%2fetc/passwd",
        "/%2e%2e/etc/passwd",
        "/.%2e/x",
        "/%2e/x",
        "/a/%2e%2e%2fx",
        "/a%00",
        "/data.txt%00.html",
        "/a%5c..%5cx",
        "/..\\x",
        "//evil.example/",
        "///",
        "/a//b",
        "/%252e%252e/x",
        "/%c0%ae/",
        "/%e0%80%ae/",
        "/%ff",
        "/a%0d%0aSet-Cookie:x",
        "/a%E2%80%AEb",
        "/%",
        "/%2",
        "/%gg",
        "/%u002e",
    ] {
        let status = lab.raw_get(&host, bad).await;
        assert_eq!(status, 400, "{bad}");
    }
    for (path, body) in [
        ("/caf%C3%A9.txt", "coffee"),
        ("/cafe%CC%81.txt", "coffee"),
        ("/dot.", "dot"),
        ("/space%20", "space"),
        ("/..hidden", "hidden"),
        ("/_blob", "<h1>home</h1>"),
    ] {
        let answer = text(&lab, url, path, &[]).await;
        assert!(answer.1 == body || path == "/_blob", "{path}: {answer:?}");
        assert!(!answer.1.contains("trc_") && answer.0 < 500, "{path}: {answer:?}");
    }
    for path in [
        format!("/{}", "a".repeat(1_025)),
        format!("/{}", "a/".repeat(4_000)),
        "/dot".into(),
        "/DATA.TXT".into(),
    ] {
        assert_ne!(text(&lab, url, &path, &[]).await.1, "0123456789", "{path:.40}");
    }
    unkeyed(&lab, url).await;
    hosts(&lab, &host).await;

    let missing = fetch(&lab, url, "/late.txt", &[]).await;
    assert_eq!((missing.status, missing.headers["cache-control"].to_str().unwrap()), (404, "no-store"));
    let old_tag = text_tag(&lab, url, "/data.txt").await;
    let next: Files<'_> = &[
        ("index.html", b"new"),
        ("late.txt", b"late"),
        ("data.txt", b"9876543210"),
        ("app.0123456789abcdef.js", b"two"),
    ];
    let second = deploy(&lab, &wallet, &project, next).await;
    let late = eventually("the new file", 10, || async {
        let answer = fetch(&lab, url, "/late.txt", &[]).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(late.body, "late");
    let changed = fetch(&lab, url, "/app.0123456789abcdef.js", &[]).await;
    assert_eq!(changed.body, "two");
    let kept = changed.headers["cache-control"].to_str().unwrap();
    assert!(!kept.contains("immutable"), "other bytes under a name that promised not to change: {kept}");
    for (release, body) in [(&live, "one"), (&second, "two")] {
        let own =
            fetch(&lab, release["urls"]["release"].as_str().unwrap(), "/app.0123456789abcdef.js", &[]).await;
        assert_eq!(own.body, body, "a deployment's own host never changes");
    }
    // Half of the old file is never glued to half of the new one.
    let stale = text(&lab, url, "/data.txt", &[("range", "bytes=5-9"), ("if-range", &old_tag)]).await;
    assert_eq!(stale, (200, "9876543210".to_owned()));
}

async fn text(lab: &Lab, url: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let host = url.trim_start_matches("http://").to_owned();
    let mut request = lab.http.get(lab.url(path)).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn text_tag(lab: &Lab, url: &str, path: &str) -> String {
    fetch(lab, url, path, &[]).await.headers["etag"].to_str().unwrap().to_owned()
}

/// Headers and queries that no cache looks at.
async fn unkeyed(lab: &Lab, url: &str) {
    let shown = |answer: &Answer| {
        let kept =
            ["etag", "cache-control", "content-type", "content-length", "location", "x-content-type-options"];
        let headers = kept.map(|name| answer.headers.get(name).cloned());
        (answer.status, answer.body.clone(), headers)
    };
    for path in ["/", "/docs", "/data.txt", "/app.0123456789abcdef.js", "/missing.png"] {
        let plain = shown(&fetch(lab, url, path, &[]).await);
        for (name, value) in [
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "javascript"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-prefix", "/evil"),
            ("forwarded", "host=evil.example;proto=http"),
            ("x-host", "evil.example"),
            ("x-original-url", "/status"),
            ("x-rewrite-url", "/status"),
            ("x-http-method-override", "DELETE"),
            ("origin", "https://evil.example"),
            ("accept-encoding", "br, gzip"),
            ("cookie", "a=b"),
            ("authorization", "Bearer x"),
            ("user-agent", "<script>"),
            ("accept-language", "xx"),
        ] {
            assert_eq!(shown(&fetch(lab, url, path, &[(name, value)]).await), plain, "{path} {name}");
        }
        let marked = fetch(lab, url, &format!("{path}?evil=%3Cscript%3E&utm=1"), &[]).await;
        if plain.0 < 300 {
            assert_eq!(shown(&marked), plain, "{path} with a query");
        }
        assert!(!marked.body.to_string().contains("script"), "{marked:?}");
        let host = url.trim_start_matches("http://").to_owned();
        let head = lab.send(lab.http.head(lab.url(path)).header("host", host)).await;
        assert_eq!((head.status, &shown(&head).2, head.body), (plain.0, &plain.2, json!("")), "HEAD {path}");
    }
    for (range, status, body) in [
        ("bytes=2-4", 206, "234"),
        ("bytes=0-1,5-6", 200, "0123456789"),
        ("bytes=-0", 416, ""),
        ("bytes=10-", 416, ""),
        ("bytes=5-4", 200, "0123456789"),
        ("bytes=0-99999999999999999999", 206, "0123456789"),
        ("chars=1-2", 200, "0123456789"),
    ] {
        let answer = text(lab, url, "/data.txt", &[("range", range)]).await;
        assert_eq!(answer, (status, body.to_owned()), "{range}");
    }
    let mixed = [("range", "bytes=2-4"), ("if-range", "\"sha256-other\"")];
    assert_eq!(text(lab, url, "/data.txt", &mixed).await, (200, "0123456789".into()));
    let tag = text_tag(lab, url, "/data.txt").await;
    let both = [("range", "bytes=2-4"), ("if-none-match", tag.as_str())];
    assert_eq!(text(lab, url, "/data.txt", &both).await.0, 304);
    assert_eq!(text(lab, url, "/missing.png", &[("range", "bytes=0-1")]).await.0, 404);
}

/// One site under one name, however it is spelled; two names in one request are an error.
async fn hosts(lab: &Lab, host: &str) {
    let get = |target: String, hosts: String| {
        exchange(lab, format!("GET {target} HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n"))
    };
    for (target, named) in [
        ("/data.txt".to_owned(), format!("Host: {}\r\n", host.to_uppercase())),
        ("/data.txt".to_owned(), format!("Host: {host}.\r\n")),
        ("/data.txt".to_owned(), format!("Host: {host}:1\r\n")),
        ("/data.txt".to_owned(), format!("Host:   {host}  \r\n")),
        (format!("http://{host}/data.txt"), format!("Host: {host}\r\n")),
        (format!("http://{host}/data.txt"), String::new()),
    ] {
        let answer = get(target.clone(), named.clone()).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("0123456789"),
            "{target} {named}: {answer}"
        );
    }
    for (target, named) in [
        ("/data.txt".to_owned(), format!("Host: {host}\r\nHost: evil.localhost\r\n")),
        ("/data.txt".to_owned(), format!("Host: evil.localhost\r\nHost: {host}\r\n")),
        ("/data.txt".to_owned(), format!("Host: {host}\r\nhost: {host}\r\n")),
        (format!("http://{host}/data.txt"), "Host: evil.localhost\r\n".to_owned()),
        ("http://evil.localhost/data.txt".to_owned(), format!("Host: {host}\r\n")),
        ("/data.txt".to_owned(), format!("Host: {host}/x\r\n")),
        ("/data.txt".to_owned(), format!("Host: evil@{host}\r\n")),
        ("/data.txt".to_owned(), format!("Host: {host}, evil.localhost\r\n")),
        ("/data.txt".to_owned(), format!("Host: {host}\r\n evil: x\r\n")),
        ("/data.txt".to_owned(), "Host: \u{e9}.localhost\r\n".to_owned()),
    ] {
        let answer = get(target.clone(), named.clone()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{target} {named}: {answer}");
    }
    // A site's host never answers for the API.
    let answer = get("/status".into(), format!("Host: {host}\r\n")).await;
    assert!(!answer.contains("run402d") && !answer.contains("\"lab\""), "{answer}");
}
