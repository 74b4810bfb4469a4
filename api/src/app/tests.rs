use axum::body::Body as HttpBody;
use axum::extract::Path;
use axum::routing::{get, post};
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::Value;
use types::{Code, Problem};

use super::*;
use crate::extract::Body;
use crate::problem::ApiProblem;

fn limits() -> ApiConfig {
    ApiConfig { body_bytes_max: 16, timeout_secs: 1, concurrent_max: 1, ..ApiConfig::default() }
}

/// The real layers around a few handlers.
fn small() -> Router {
    let router = Router::new()
        .route("/here/{name}", get(|Path(name): Path<String>| async move { name }))
        .route("/panic", get(|| async { panic!("boom") as () }))
        .route("/slow", post(|| async { std::future::pending::<()>().await }))
        .route("/refuse", post(|| async { ApiProblem::from(Problem::new(Code::SubdomainTaken, "taken")) }))
        .route(
            "/echo",
            post(|request: Request| async move {
                let body = request.extensions().get::<Body>().cloned().unwrap_or_default();
                hex::encode(body.sha256)
            }),
        );
    outer_layers(api_layers(router, &limits()))
}

async fn ask(router: &Router, method: &str, uri: &str, body: &str) -> (http::response::Parts, Value) {
    let request = Request::builder().method(method).uri(uri).body(HttpBody::from(body.to_owned())).unwrap();
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let value = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
    (parts, value)
}

#[tokio::test]
async fn every_refusal_is_the_envelope_as_json_with_its_trace() {
    let router = small();
    for (method, uri, body, status, code) in [
        ("GET", "/nowhere", "", 404, "NOT_FOUND"),
        ("DELETE", "/refuse", "", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/here/%ff", "", 400, "BAD_REQUEST"),
        ("POST", "/refuse", "", 403, "SUBDOMAIN_TAKEN"),
        ("POST", "/echo", "seventeen letters", 413, "BODY_TOO_LARGE"),
        ("GET", "/panic", "", 500, "INTERNAL_ERROR"),
        ("POST", "/slow", "", 503, "TIMEOUT"),
    ] {
        let (parts, body) = ask(&router, method, uri, body).await;
        assert_eq!((parts.status.as_u16(), body["code"].as_str()), (status, Some(code)), "{uri}: {body}");
        assert_eq!(parts.headers["content-type"], "application/json; charset=utf-8");
        let trace = parts.headers["x-run402-request-id"].to_str().unwrap();
        assert!(trace.starts_with("trc_") && body["trace_id"] == trace, "{uri}: {body}");
        assert_eq!(parts.headers["access-control-allow-origin"], "*");
        assert!(!body.to_string().contains("boom"));
    }
}

#[tokio::test]
async fn a_wrong_method_says_which_are_right_and_a_wait_says_how_long() {
    let router = small();
    let (parts, _) = ask(&router, "GET", "/echo", "").await;
    assert_eq!(parts.headers["allow"], "POST");
    let (parts, body) = ask(&router, "POST", "/slow", "").await;
    assert_eq!(parts.headers["retry-after"], "1");
    assert_eq!((&body["mutation_state"], &body["safe_to_retry"]), (&"unknown".into(), &false.into()));
}

#[tokio::test]
async fn the_body_is_hashed_and_counted_however_it_arrives() {
    let router = small();
    let (_, hash) = ask(&router, "POST", "/echo", "abc").await;
    assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    let chunks = futures::stream::iter((0..5).map(|_| Ok::<_, std::io::Error>("12345")));
    let request = Request::post("/echo").body(HttpBody::from_stream(chunks)).unwrap();
    assert_eq!(router.oneshot(request).await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn more_requests_than_fit_are_refused_at_once() {
    let router = small();
    let first = tokio::spawn({
        let router = router.clone();
        async move { ask(&router, "POST", "/slow", "").await }
    });
    tokio::task::yield_now().await;
    let (parts, body) = ask(&router, "POST", "/refuse", "").await;
    assert_eq!((parts.status.as_u16(), body["code"].as_str()), (503, Some("UNAVAILABLE")));
    assert_eq!((&body["mutation_state"], &body["safe_to_retry"]), (&"not_started".into(), &true.into()));
    assert_eq!(first.await.unwrap().1["code"], "TIMEOUT");
    assert_eq!(ask(&router, "POST", "/refuse", "").await.1["code"], "SUBDOMAIN_TAKEN");
}

#[tokio::test]
async fn a_preflight_allows_what_clients_really_send() {
    let request = Request::options("/anything")
        .header("origin", "https://app.example.test")
        .header("access-control-request-method", "POST")
        .body(HttpBody::empty())
        .unwrap();
    let answer = small().oneshot(request).await.unwrap();
    assert_eq!(answer.status(), 204);
    let allowed = answer.headers()["access-control-allow-headers"].to_str().unwrap();
    for name in ["apikey", "sign-in-with-x", "payment-signature", "access-control-expose-headers"] {
        assert!(allowed.split(", ").any(|one| one == name), "{name}");
    }
    assert!(!answer.headers().contains_key("access-control-allow-credentials"));
}

#[test]
fn duplicate_leading_slashes_collapse_and_inner_ones_stay() {
    let collapsed = |uri: &str| layers::one_leading_slash(&uri.parse().unwrap()).map(|u| u.to_string());
    assert_eq!(collapsed("//tiers/v1?x=//1").as_deref(), Some("/tiers/v1?x=//1"));
    assert_eq!(collapsed("///").as_deref(), Some("/"));
    assert_eq!(collapsed("/a//b"), None);
}
