//! `SIGN-IN-WITH-X`: who may speak for a wallet.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use serde_json::{Value, json};
use tests::{Answer, Lab, Wallet};
use types::{Clock, SystemClock};

const STATUS: &str = "/tiers/v1/status";

async fn present(lab: &Lab, header: &str) -> Answer {
    lab.send(lab.http.get(lab.url(STATUS)).header("sign-in-with-x", header)).await
}

/// 402 with a code, and no payment header: otherwise the client would pay.
fn assert_refused(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 402, "{what}: {answer:?}");
    assert_eq!(answer.body["code"], "AUTHENTICATION_REQUIRED", "{what}: {answer:?}");
    assert!(!answer.headers.contains_key("payment-required"), "{what}: {answer:?}");
    assert!(answer.body["hint"].is_string() && answer.body["trace_id"].is_string(), "{what}: {answer:?}");
}

#[tokio::test]
async fn a_sign_in_that_is_malformed_tampered_stale_or_foreign_is_refused_without_a_bill() {
    let lab = Lab::start().await;
    let wallet = Wallet::random();
    let good = wallet.sign_in(&lab.api, STATUS);
    let encode = |v: &Value| STANDARD.encode(v.to_string());
    assert_eq!(present(&lab, &encode(&good)).await.status, 200);
    assert_refused(&lab.get(STATUS).await, "missing");

    for (what, header) in [
        ("empty", String::new()),
        ("not base64", "%%%".to_owned()),
        ("not JSON", STANDARD.encode("hello")),
        ("an array", STANDARD.encode("[]")),
        ("an empty object", STANDARD.encode("{}")),
        ("a megabyte", "A".repeat(60_000)),
    ] {
        assert_refused(&present(&lab, &header).await, what);
    }
    for (field, value) in [
        ("domain", json!("evil.example")),
        ("address", json!(Wallet::random().checksummed())),
        ("statement", Value::Null),
        ("uri", json!("http://evil.example/tiers/v1/status")),
        ("version", json!("2")),
        ("chainId", json!(84532)),
        ("chainId", json!("eip155:1x")),
        ("type", json!("eip1271")),
        ("nonce", json!("0".repeat(32))),
        ("issuedAt", json!("2020-01-01T00:00:00.000Z")),
        ("signature", json!(format!("0x{}", "11".repeat(65)))),
        ("signature", json!("0x")),
    ] {
        let mut bad = good.clone();
        bad[field] = value.clone();
        assert_refused(&present(&lab, &encode(&bad)).await, &format!("{field} = {value}"));
    }

    let now = SystemClock.now();
    let stale = wallet.sign_in_at(&lab.api, STATUS, now - TimeDelta::minutes(6));
    assert_refused(&present(&lab, &encode(&stale)).await, "stale");
    let early = wallet.sign_in_at(&lab.api, STATUS, now + TimeDelta::minutes(3));
    assert_refused(&present(&lab, &encode(&early)).await, "from the future");
    let skewed = wallet.sign_in_at(&lab.api, STATUS, now + TimeDelta::seconds(30));
    assert_eq!(present(&lab, &encode(&skewed)).await.status, 200, "half a minute of skew is fine");
    let foreign = wallet.sign_in("http://run402.example", STATUS);
    assert_refused(&present(&lab, &encode(&foreign)).await, "another server's");
}

// Open question 4: the identical request may be sent again, another one may not borrow its nonce.
#[tokio::test]
async fn a_nonce_serves_the_identical_request_only() {
    let lab = Lab::start().await;
    let header = Wallet::random().siwx(&lab.api, STATUS);
    for _ in 0..3 {
        assert_eq!(present(&lab, &header).await.status, 200);
    }
    let other =
        lab.send(lab.http.get(lab.url("/tiers/v1/status?x=1")).header("sign-in-with-x", &header)).await;
    assert_refused(&other, "another query");
    let post =
        lab.http.post(lab.url("/tiers/v1/prototype")).header("sign-in-with-x", &header).json(&json!({}));
    assert_refused(&lab.send(post).await, "another method and path");
}

#[tokio::test]
async fn a_project_key_decides_whatever_sign_in_rides_along() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let (id, key) = (project["project_id"].as_str().unwrap(), project["service_key"].as_str().unwrap());
    let path = format!("/projects/v1/admin/{id}/usage");
    let usage = |siwx: String, key: String| {
        lab.send(lab.http.get(lab.url(&path)).bearer_auth(key).header("sign-in-with-x", siwx))
    };
    let good = usage(wallet.siwx(&lab.api, &path), key.to_owned()).await;
    assert_eq!(good.status, 200, "{good:?}");
    assert_eq!(usage("garbage".to_owned(), key.to_owned()).await.status, 200);
    assert_eq!(usage(wallet.siwx(&lab.api, &path), "garbage".to_owned()).await.status, 401);

    let anon = project["anon_key"].as_str().unwrap().to_owned();
    let refused = usage(wallet.siwx(&lab.api, &path), anon).await;
    assert!(matches!(refused.status, 401 | 403), "{refused:?}");
    let answer = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({ "name": "second" }))).await;
    let other = answer.body["service_key"].as_str().unwrap();
    assert_eq!(lab.with_key(other, "GET", &path, None).await.status, 403, "another project's key");

    // One altered byte of a real key.
    let mut forged = key.to_owned().into_bytes();
    let last = forged.len() - 2;
    forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    assert_eq!(lab.with_key(&forged, "GET", &path, None).await.status, 401);
}

// H16. Goal: an operator's wallet is known by its bytes, signs by itself, and is nobody once it is not listed. Method:
// another spelling, a signature that a contract would have to check, a restart without it.
#[tokio::test]
async fn an_operators_wallet_is_its_bytes_and_ends_with_the_list() {
    const PATH: &str = "/admin/api/finance/exposure";
    let (admin, stranger) = (Wallet::random(), Wallet::random());
    let shouted = format!("0x{}", admin.address().trim_start_matches("0x").to_uppercase());
    let args = vec!["--admin-wallet".to_owned(), shouted];
    let lab = Lab::start_with(tests::LabOptions { args, ..tests::LabOptions::default() }).await;
    let ask = |header: String| {
        let request =
            lab.http.get(lab.url(PATH)).header("sign-in-with-x", header).header("x-admin-mode", "1");
        lab.send(request)
    };
    let encode = |v: &Value| STANDARD.encode(v.to_string());
    assert_eq!(ask(admin.siwx(&lab.api, PATH)).await.status, 200);
    let refused = ask(stranger.siwx(&lab.api, PATH)).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("ADMIN_REQUIRED")), "{refused:?}");

    // The message says the address as it was signed: another spelling is another message.
    for (field, value) in [
        ("address", json!(admin.address())),
        ("address", json!(admin.checksummed())),
        ("type", json!("eip1271")),
        ("type", json!("eip6492")),
    ] {
        let mut said = stranger.sign_in(&lab.api, PATH);
        said[field] = value.clone();
        assert_refused(&ask(encode(&said)).await, &format!("{field} = {value}"));
    }

    // Signed while it was an operator's, presented when it is none.
    let kept = admin.siwx(&lab.api, PATH);
    let lab = lab.restart().await;
    let request = lab.http.get(lab.url(PATH)).header("sign-in-with-x", kept).header("x-admin-mode", "1");
    let late = lab.send(request).await;
    assert_eq!((late.status, &late.body["code"]), (403, &json!("ADMIN_REQUIRED")), "{late:?}");
}
