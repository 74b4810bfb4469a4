//! Plan, upload, commit: a site goes live in one step.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::{Answer, Lab, Wallet, eventually};

use crate::service::assert_envelope;

mod database;
pub mod kit;
mod parts;
mod race;
mod resolve;
mod words;

pub type Files<'a> = &'a [(&'a str, &'a [u8])];

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn spec(project: &Value, files: Files<'_>) -> Value {
    let replace: serde_json::Map<String, Value> = files
        .iter()
        .map(|(path, bytes)| {
            let content_type = match path.rsplit('.').next() {
                Some("html") => "text/html; charset=utf-8",
                Some("js") => "text/javascript",
                Some("svg") => "image/svg+xml",
                _ => "text/plain",
            };
            (
                (*path).to_owned(),
                json!({ "sha256": sha256(bytes), "size": bytes.len(), "contentType": content_type }),
            )
        })
        .collect();
    json!({ "project": project["project_id"], "site": { "replace": replace } })
}

pub async fn send_plan(lab: &Lab, wallet: &Wallet, spec: Value) -> Answer {
    lab.as_wallet(wallet, "POST", "/deploy/v2/plans", Some(json!({ "spec": spec }))).await
}

/// Plans and uploads what is missing; the plan is ready to commit.
pub async fn plan(lab: &Lab, wallet: &Wallet, project: &Value, files: Files<'_>) -> Value {
    let answer = send_plan(lab, wallet, spec(project, files)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["kind"], "plan_response");
    let missing: Vec<&Value> =
        answer.body["missing_content"].as_array().unwrap().iter().filter(|m| m["present"] == false).collect();
    if !missing.is_empty() {
        upload(lab, project, files, &missing).await;
    }
    answer.body
}

async fn upload(lab: &Lab, project: &Value, files: Files<'_>, missing: &[&Value]) {
    let anon = project["anon_key"].as_str().unwrap();
    let content: Vec<Value> =
        missing.iter().map(|m| json!({ "sha256": m["sha256"], "size": m["size"] })).collect();
    let answer = post(lab, anon, "/content/v1/plans", json!({ "content": content })).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    for session in answer.body["missing"].as_array().unwrap() {
        let (_, bytes) =
            files.iter().find(|(_, b)| sha256(b) == session["sha256"].as_str().unwrap()).unwrap();
        let put = put(lab, session, bytes).await;
        assert!(put.status < 300, "{put:?}");
        let path = format!("/storage/v1/uploads/{}/complete", session["upload_id"].as_str().unwrap());
        let done = post(lab, anon, &path, json!({})).await;
        assert_eq!(done.status, 200, "{done:?}");
    }
    let path = format!("/content/v1/plans/{}/commit", answer.body["plan_id"].as_str().unwrap());
    let done = post(lab, anon, &path, json!({})).await;
    assert!(done.status < 300, "{done:?}");
}

pub async fn post(lab: &Lab, apikey: &str, path: &str, body: Value) -> Answer {
    lab.send(lab.http.post(lab.url(path)).header("apikey", apikey).json(&body)).await
}

/// Uploads like the published client: a checksum header unless the URL has one.
pub async fn put(lab: &Lab, session: &Value, bytes: &[u8]) -> Answer {
    let url = session["parts"][0]["url"].as_str().unwrap();
    let mut request = lab.http.put(url).body(bytes.to_vec());
    if !url.contains("x-amz-checksum-sha256=") {
        request = request.header("x-amz-checksum-sha256", STANDARD.encode(Sha256::digest(bytes)));
    }
    lab.send(request).await
}

pub async fn commit(lab: &Lab, wallet: &Wallet, plan: &Value) -> Value {
    let path = format!("/deploy/v2/plans/{}/commit", plan["plan_id"].as_str().unwrap());
    eventually("the deploy", 30, || async {
        let answer = lab.as_wallet(wallet, "POST", &path, Some(json!({}))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_ne!(answer.body["status"], "failed", "{answer:?}");
        (answer.body["status"] == "ready").then_some(answer.body)
    })
    .await
}

pub async fn deploy(lab: &Lab, wallet: &Wallet, project: &Value, files: Files<'_>) -> Value {
    let plan = plan(lab, wallet, project, files).await;
    commit(lab, wallet, &plan).await
}

/// Fetches from a site's host through the API's address.
pub async fn fetch(lab: &Lab, url: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let host = reqwest::Url::parse(url).unwrap();
    let host = format!("{}:{}", host.host_str().unwrap(), host.port().unwrap_or(80));
    let mut request = lab.http.get(lab.url(path)).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    lab.send(request).await
}

#[tokio::test]
async fn a_site_goes_live_and_only_what_changed_is_uploaded_again() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let files: Files<'_> = &[("index.html", b"<h1>one</h1>"), ("about.html", b"about"), ("a/x.txt", b"x")];
    let first = plan(&lab, &wallet, &project, files).await;
    assert!(first["operation_id"].as_str().unwrap().starts_with("op_"));
    assert_eq!(first["is_noop"], false);
    assert!(first["warnings"].as_array().unwrap().iter().any(|w| w["code"] == "FIRST_DEPLOY"), "{first}");
    assert_eq!(first["site"]["added"].as_array().unwrap().len(), 3);
    let live = commit(&lab, &wallet, &first).await;
    assert!(live["release_id"].as_str().unwrap().starts_with("rel_"));
    let url = live["urls"]["project"].as_str().unwrap();
    assert!(live["urls"]["deployment_id"].as_str().unwrap().starts_with("dpl_"), "{live}");

    let page = fetch(&lab, url, "/", &[]).await;
    assert_eq!((page.status, &page.body), (200, &json!("<h1>one</h1>")), "{page:?}");
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(page.headers["etag"], format!("\"sha256-{}\"", sha256(b"<h1>one</h1>")));
    assert_eq!(page.headers["cache-control"], "public, max-age=0, must-revalidate");

    let files: Files<'_> = &[("index.html", b"<h1>two</h1>"), ("about.html", b"about")];
    let second = send_plan(&lab, &wallet, spec(&project, files)).await.body;
    let present: Vec<_> =
        second["missing_content"].as_array().unwrap().iter().filter(|m| m["present"] == true).collect();
    assert_eq!(present.len(), 1, "about.html is there already: {second}");
    assert_eq!(second["site"]["removed"], json!(["a/x.txt"]));
    assert_eq!(second["site"]["changed"][0]["path"], "index.html");
    let plan_two = plan(&lab, &wallet, &project, files).await;
    assert_eq!(plan_two["plan_id"], second["plan_id"], "a repeated plan is the same plan");
    let two = commit(&lab, &wallet, &plan_two).await;
    let page = eventually("the new page", 10, || async {
        let page = fetch(&lab, url, "/", &[]).await;
        (page.body == "<h1>two</h1>").then_some(page)
    })
    .await;
    assert_eq!(page.status, 200);
    let old = fetch(&lab, live["urls"]["release"].as_str().unwrap(), "/", &[]).await;
    assert_eq!(old.body, "<h1>one</h1>", "an old deployment keeps its own host: {old:?}");
    assert_eq!(
        commit(&lab, &wallet, &plan_two).await["release_id"],
        two["release_id"],
        "a repeat is no second run"
    );

    let anon = project["anon_key"].as_str().unwrap();
    let get = |path: String| lab.send(lab.http.get(lab.url(&path)).header("apikey", anon));
    let active = get("/deploy/v2/releases/active".into()).await;
    assert_eq!(active.body["release_id"], two["release_id"], "{active:?}");
    assert_eq!(active.body["site"]["paths"].as_array().unwrap().len(), 2);
    let operation = get(format!("/deploy/v2/operations/{}", two["operation_id"].as_str().unwrap())).await;
    assert_eq!(operation.body["status"], "ready", "{operation:?}");
    let events = get(format!("/deploy/v2/operations/{}/events", two["operation_id"].as_str().unwrap())).await;
    assert!(events.body["events"].as_array().unwrap().iter().any(|e| e["type"] == "ready"), "{events:?}");
    let list = get("/deploy/v2/operations?limit=1".into()).await;
    assert_eq!(list.body["operations"].as_array().unwrap().len(), 1, "{list:?}");
    let from = live["release_id"].as_str().unwrap();
    let diff = get(format!("/deploy/v2/releases/diff?from={from}&to=active")).await;
    assert_eq!(diff.body["site"]["removed"], json!(["a/x.txt"]), "{diff:?}");
}

#[tokio::test]
async fn the_same_site_again_is_a_noop() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let files: Files<'_> = &[("index.html", b"same")];
    let first = deploy(&lab, &wallet, &project, files).await;
    let again = plan(&lab, &wallet, &project, files).await;
    assert_eq!(again["is_noop"], true, "{again}");
    assert_eq!(commit(&lab, &wallet, &again).await["release_id"], first["release_id"]);
}

#[tokio::test]
async fn static_serving_follows_the_rules_of_the_contract() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let files: Files<'_> = &[
        ("index.html", b"home"),
        ("about.html", b"about"),
        ("docs/index.html", b"docs"),
        ("app.0123456789abcdef.js", b"js"),
        ("data.txt", b"0123456789"),
    ];
    let live = deploy(&lab, &wallet, &project, files).await;
    let url = live["urls"]["project"].as_str().unwrap();
    for (path, status, body) in [
        ("/", 200, "home"),
        ("/about", 200, "about"),
        ("/docs/", 200, "docs"),
        ("/some/page", 200, "home"),
        ("/missing.png", 404, ""),
        ("/data.txt", 200, "0123456789"),
    ] {
        let answer = fetch(&lab, url, path, &[]).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        if !body.is_empty() {
            assert_eq!(answer.body.to_string().trim_matches('"'), body, "{path}");
        }
    }
    let immutable = fetch(&lab, url, "/app.0123456789abcdef.js", &[]).await;
    assert_eq!(immutable.headers["cache-control"], "public, max-age=31536000, immutable");
    let etag = immutable.headers["etag"].to_str().unwrap().to_owned();
    let unchanged = fetch(&lab, url, "/app.0123456789abcdef.js", &[("if-none-match", &etag)]).await;
    assert_eq!(unchanged.status, 304, "{unchanged:?}");
    let part = fetch(&lab, url, "/data.txt", &[("range", "bytes=2-4")]).await;
    assert_eq!(part.status, 206, "{part:?}");
    assert_eq!(part.headers["content-range"], "bytes 2-4/10");
    assert_eq!(part.body.to_string().trim_matches('"'), "234");
    assert_eq!(fetch(&lab, url, "/data.txt", &[("range", "bytes=99-")]).await.status, 416);
    // I01: no path leaves the release.
    let host = reqwest::Url::parse(url).unwrap().host_str().unwrap().to_owned();
    for bad in [
        "/..%2findex.html",
        "/%2e%2e/index.html",
        "/../index.html",
        "/a%5cb",
        "//index.html",
        "/%zz",
        "/a%00b",
        "/%252e%252e/x",
    ] {
        let status = lab.raw_get(&host, bad).await;
        assert_eq!(status, 400, "{bad}");
    }
    let unknown = fetch(&lab, "http://pr-nobodyhere.localhost:1", "/", &[]).await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
}

#[tokio::test]
async fn a_spec_with_bad_paths_or_parts_is_refused_with_the_field() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let content = json!({ "sha256": sha256(b"x"), "size": 1 });
    for path in ["../x", "/x", "a/../b", "a//b", "./a", "a\\b", "a\u{0}b", "", "_run402/x"] {
        let mut bad = spec(&project, &[]);
        bad["site"]["replace"][path] = content.clone();
        let answer = send_plan(&lab, &wallet, bad).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &json!("INVALID_SPEC")),
            "{path:?}: {answer:?}"
        );
        assert_envelope(&answer.body);
        assert!(answer.body["resource"].as_str().unwrap().starts_with("site.replace"), "{answer:?}");
    }
    for (bad, code) in [
        (json!({ "project": project["project_id"] }), "MANIFEST_EMPTY"),
        (json!({ "project": project["project_id"], "sites": {} }), "INVALID_SPEC"),
        (json!({ "project": project["project_id"], "site": { "replace": {}, "patch": {} } }), "INVALID_SPEC"),
        (
            json!({ "project": "prj_00000000000000000000000000000000", "site": { "replace": {} } }),
            "PROJECT_NOT_FOUND",
        ),
    ] {
        let answer = send_plan(&lab, &wallet, bad.clone()).await;
        assert_eq!(answer.body["code"], code, "{bad}: {answer:?}");
    }
    let stranger = lab.subscribed_wallet().await;
    let answer = send_plan(&lab, &stranger, spec(&project, &[("index.html", b"x")])).await;
    assert!(matches!(answer.status, 403 | 404), "{answer:?}");

    // What was never uploaded cannot go live.
    let planned = send_plan(&lab, &wallet, spec(&project, &[("index.html", b"never uploaded")])).await.body;
    let path = format!("/deploy/v2/plans/{}/commit", planned["plan_id"].as_str().unwrap());
    let answer = lab.as_wallet(&wallet, "POST", &path, Some(json!({}))).await;
    assert!(answer.body.to_string().contains("CONTENT_UPLOAD_FAILED"), "{answer:?}");
}
