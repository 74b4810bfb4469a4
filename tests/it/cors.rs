//! What pages of other origins may do.

use serde_json::json;
use tests::{Answer, Lab};

use crate::blobs::{header, upload};
use crate::deploys::{deploy, fetch};

const ORIGINS: [&str; 7] = [
    "null",
    "https://evil.example",
    "http://localhost.evil.example",
    "http://evillocalhost",
    "http://pr-evil.localhost:1",
    "https://api.example@evil.example",
    "file://",
];

/// The headers that say what another origin may do.
fn rights(answer: &Answer) -> Vec<(String, String)> {
    let of_cors = answer.headers.iter().filter(|(name, _)| name.as_str().starts_with("access-control-"));
    let mut rights: Vec<(String, String)> =
        of_cors.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    rights.sort();
    rights
}

// I08. Goal: no origin is told anything that another is not, and no answer goes with credentials, so neither an origin
// of a chosen form nor a cache of preflights gains anything. Method: ask with each origin, by GET and as preflight: the
// API's public and private routes, its refusals, a site, a blob.
#[tokio::test(flavor = "multi_thread")]
async fn every_origin_gets_the_same_rights_and_none_with_credentials() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let live = deploy(&lab, &wallet, &project, &[("index.html", b"home")]).await;
    let site = live["urls"]["site"].as_str().unwrap().to_owned();
    let blob = upload(&lab, &project, "a.txt", b"blob", json!({})).await;
    let blob = reqwest::Url::parse(blob["cdn_url"].as_str().unwrap()).unwrap();
    let anon = project["anon_key"].as_str().unwrap();
    for path in ["/status", "/projects/v1", "/storage/v1/blobs", "/rest/v1/none", "/no/such/route"] {
        let ask = |method: &str, origin: Option<&str>| {
            let mut request = lab.http.request(method.parse().unwrap(), lab.url(path)).header("apikey", anon);
            if let Some(origin) = origin {
                request = request.header("origin", origin).header("cookie", "session=1");
            }
            if method == "OPTIONS" {
                request = request
                    .header("access-control-request-method", "DELETE")
                    .header("access-control-request-headers", "x-evil, authorization")
                    .header("access-control-request-private-network", "true");
            }
            lab.send(request)
        };
        for method in ["GET", "OPTIONS"] {
            let plain = rights(&ask(method, None).await);
            assert!(plain.contains(&("access-control-allow-origin".into(), "*".into())), "{path}: {plain:?}");
            for origin in ORIGINS {
                let answer = ask(method, Some(origin)).await;
                assert_eq!(rights(&answer), plain, "{method} {path} for {origin}");
                let names: Vec<&str> = plain.iter().map(|(name, _)| name.as_str()).collect();
                assert!(!names.contains(&"access-control-allow-credentials"), "{names:?}");
                assert!(!names.contains(&"access-control-allow-private-network"), "{names:?}");
                assert_eq!(header(&answer, "set-cookie"), None, "nothing that a browser would send along");
            }
            let allowed = plain.iter().find(|(name, _)| name == "access-control-allow-headers");
            assert!(
                allowed.is_none_or(|(_, value)| !value.contains('*') && !value.contains("x-evil")),
                "{plain:?}"
            );
        }
    }
    for origin in ORIGINS {
        // A page of a site is its own origin's; a blob is anybody's, to read.
        let page = fetch(&lab, &site, "/", &[("origin", origin)]).await;
        assert_eq!((page.status, rights(&page)), (200, vec![]), "{origin}");
        let shown = fetch(&lab, &site, blob.path(), &[("origin", origin)]).await;
        assert_eq!(header(&shown, "access-control-allow-origin"), Some("*"), "{origin}");
        assert_eq!(header(&shown, "access-control-allow-credentials"), None);
    }
}
