//! What a visitor's request would come to, asked without making it.

use serde_json::{Value, json};
use tests::Lab;

use super::{fetch, kit};

// Contract 02 section 11. Goal: the answer is what the request then gets. Method: files, routes, a redirect, what
// is not there and what is not allowed, each asked about and then requested.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_resolved_as_it_is_answered() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let api = "export default () => new Response('api')";
    let page = |text: &str| kit::reference(text, "text/html");
    let parts = json!({
        "site": { "replace": {
            "docs/index.html": page("docs"), "about.html": page("about"), "404.html": page("lost") } },
        "functions": { "replace": { "api": kit::function(api) } },
        "routes": { "replace": [
            { "pattern": "/api/*", "methods": ["GET"], "target": { "type": "function", "name": "api" } }] },
    });
    let live = kit::ready(&lab, &wallet, &project, parts, &["docs", "about", "lost", api]).await;
    let url = live["urls"]["project"].as_str().unwrap();
    let anon = project["anon_key"].as_str().unwrap();
    let ask = async |query: &str| {
        let request = lab.http.get(lab.url(&format!("/apply/v1/resolve?{query}"))).header("apikey", anon);
        lab.send(request).await
    };
    for (path, method, result, status) in [
        ("/about", "GET", "static", Some(200)),
        ("/docs", "GET", "redirect", Some(301)),
        ("/api/x", "GET", "function", None),
        ("/api/x", "DELETE", "method_not_allowed", Some(405)),
        ("/about", "POST", "method_not_allowed", Some(405)),
        ("/nothing.txt", "GET", "not_found", Some(404)),
        ("/a%2Fb", "GET", "bad_path", Some(400)),
    ] {
        let found = ask(&format!("path={}&method={method}", path.replace('%', "%25"))).await;
        assert_eq!((found.status, &found.body["result"]), (200, &json!(result)), "{path}: {found:?}");
        assert_eq!(found.body["http_status"], json!(status), "{path}: {found:?}");
        if let (Some(status), "GET") = (status, method) {
            let http = reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .unwrap();
            let host = reqwest::Url::parse(url).unwrap().host_str().unwrap().to_owned();
            let seen = http.get(lab.url(path)).header("host", host).send().await.unwrap();
            assert_eq!(seen.status().as_u16(), status, "{path}");
        }
    }
    let found = ask("path=/about").await.body;
    assert_eq!(
        (&found["static"]["path"], &found["release_id"]),
        (&json!("about.html"), &live["release_id"]),
        "{found}"
    );
    assert_eq!(ask("path=/api/x").await.body["route"]["target"]["name"], "api");
    assert_eq!(ask("path=/docs").await.body["location"], "/docs/");
    assert_eq!(fetch(&lab, url, "/about", &[]).await.body, "about");

    // By its owner's signature, and never another project's.
    let host = reqwest::Url::parse(url).unwrap().host_str().unwrap().to_owned();
    let named = format!("/apply/v1/resolve?host={host}&path=/about");
    assert_eq!(lab.as_wallet(&wallet, "GET", &named, None).await.body["result"], "static");
    let (stranger, other) = lab.project().await;
    assert_eq!(lab.as_wallet(&stranger, "GET", &named, None).await.status, 403);
    let foreign = lab.http.get(lab.url(&named)).header("apikey", other["anon_key"].as_str().unwrap());
    assert_eq!(lab.send(foreign).await.status, 403);
    assert_eq!(lab.get(&named).await.status, 402, "not signed");
    let absent = ask("host=nobody.localhost").await;
    assert_eq!((absent.status, &absent.body["code"]), (404, &json!("RESOURCE_NOT_FOUND")), "{absent:?}");
    let unknown: Value = lab.get("/apply/v1/resolve?host=nobody.localhost").await.body;
    assert_eq!(
        unknown["code"], "AUTHENTICATION_REQUIRED",
        "hosts are not told to whoever has no key: {unknown}"
    );
}
