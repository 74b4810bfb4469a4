//! Documents about the service itself, and the shape of every refusal.

use serde_json::{Value, json};
use tests::Lab;

#[tokio::test]
async fn the_service_documents_have_what_published_clients_read() {
    let lab = Lab::start().await;
    let health = lab.get("/health").await;
    assert_eq!(health.status, 200, "{health:?}");
    assert_eq!(health.body["status"], "healthy");
    for check in ["postgres", "postgrest", "s3", "cloudfront"] {
        assert_eq!(health.body["checks"][check], "ok", "{}", health.body);
    }
    let status = lab.get("/status").await;
    assert_eq!(status.status, 200);
    assert!(status.body["uptime_seconds"].is_number());
    assert!(status.body["operator"]["name"].is_string() && status.body["operator"]["contact"].is_string());
    assert!(status.body["deployment"]["version"].is_string());
    assert!(status.body["capabilities"].as_array().unwrap().iter().all(Value::is_string));
    for address in ["faucet", "payee", "fee_payer"] {
        assert!(lab.server.ready[address].is_string(), "{}", lab.server.ready);
    }
    let discovery = lab.get("/.well-known/x402").await;
    assert_eq!(discovery.status, 200, "{discovery:?}");
    assert!(discovery.body.to_string().contains("eip155:84532"));
    assert_eq!(lab.get("/ping/v1").await.status, 200);
    let openapi = lab.get("/openapi.json").await;
    assert!(openapi.body["openapi"].as_str().unwrap().starts_with("3."));
    for operation in catalogue::OPERATIONS {
        let path = &openapi.body["paths"][operation.path];
        assert!(path.is_object(), "{} is missing from the document", operation.path);
    }
    assert_eq!(lab.get("//tiers/v1").await.status, 200, "a base with a trailing slash works");
}

/// What contract 04 section 1.5 promises of every error.
pub fn assert_envelope(body: &Value) {
    for text in ["error", "message", "code", "category", "mutation_state", "trace_id"] {
        assert!(body[text].is_string(), "{text}: {body}");
    }
    assert!(body["retryable"].is_boolean() && body["safe_to_retry"].is_boolean(), "{body}");
    for action in body["next_actions"].as_array().unwrap() {
        assert_eq!(action["action"], action["type"], "{body}");
    }
    assert!(body["trace_id"].as_str().unwrap().starts_with("trc_"), "{body}");
    assert!(body.get("status").is_none() && body.get("http").is_none(), "{body}");
}

#[tokio::test]
async fn every_refusal_is_the_same_envelope() {
    let lab = Lab::start().await;
    let post = |path: &str| lab.http.post(lab.url(path));
    let cases = [
        (404, lab.get("/no/such/route").await),
        (405, lab.send(lab.http.delete(lab.url("/tiers/v1"))).await),
        (400, lab.send(post("/faucet/v1").header("content-type", "application/json").body("{")).await),
        (400, lab.send(post("/faucet/v1").json(&json!({ "address": "0x12" }))).await),
        (400, lab.send(post("/faucet/v1").json(&json!([1]))).await),
        (413, lab.send(post("/faucet/v1").body(vec![b' '; 12 << 20])).await),
        (401, lab.get("/projects/v1/admin/prj_00000000000000000000000000000000/usage").await),
        (402, lab.send(post("/projects/v1").json(&json!({}))).await),
        (404, lab.get("/subdomains/v1/no-such-name-here").await),
    ];
    for (status, answer) in cases {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_envelope(&answer.body);
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/json"));
    }
    let preflight = lab
        .http
        .request("OPTIONS".parse().unwrap(), lab.url("/tiers/v1/prototype"))
        .header("origin", "https://agent.example")
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "sign-in-with-x, payment-signature, access-control-expose-headers",
        );
    let answer = lab.send(preflight).await;
    assert!(matches!(answer.status, 200 | 204), "{answer:?}");
    let allowed = answer.headers["access-control-allow-headers"].to_str().unwrap().to_lowercase();
    for header in ["sign-in-with-x", "payment-signature", "access-control-expose-headers", "apikey"] {
        assert!(allowed == "*" || allowed.contains(header), "{header} in {allowed}");
    }
}

#[tokio::test]
async fn the_faucet_gives_once_a_day_and_says_when_to_come_back() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let again =
        lab.send(lab.http.post(lab.url("/faucet/v1")).json(&json!({ "address": wallet.address() }))).await;
    assert_eq!(again.status, 429, "{again:?}");
    assert_eq!(again.body["code"], "RATE_LIMITED");
    assert!(again.body["retry_after"].as_u64().unwrap() > 0);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 250_000);
}
