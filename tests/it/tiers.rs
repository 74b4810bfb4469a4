//! Quote, status, and the one purchase there is.

use serde_json::json;
use tests::{Lab, Wallet};

#[tokio::test]
async fn the_quote_names_every_tier_and_an_unknown_wallet_has_none() {
    let lab = Lab::start().await;
    let quote = lab.get("/tiers/v1").await;
    assert_eq!(quote.status, 200);
    assert_eq!(quote.body["tiers"]["prototype"]["price"], "$0.10");
    for tier in ["prototype", "hobby", "team"] {
        for number in ["lease_days", "storage_mb", "api_calls", "max_functions"] {
            assert!(quote.body["tiers"][tier][number].is_u64(), "{tier} {number}: {}", quote.body);
        }
    }
    let wallet = Wallet::random();
    let status = lab.as_wallet(&wallet, "GET", "/tiers/v1/status", None).await;
    assert_eq!(status.status, 200);
    assert_eq!(status.body["wallet"], wallet.address());
    assert!(status.body["tier"].is_null() && status.body["lease_expires_at"].is_null());
    assert_eq!(status.body["active"], false);
    for number in
        ["projects", "total_api_calls", "total_storage_bytes", "api_calls_limit", "storage_bytes_limit"]
    {
        assert!(status.body["pool_usage"][number].is_u64(), "{number}: {}", status.body);
    }
}

#[tokio::test]
async fn a_tier_is_challenged_paid_and_renewed_and_the_books_agree() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let first = lab.pay(&wallet, "/tiers/v1/prototype").await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.body["action"], "subscribe");
    assert_eq!(first.body["tier"], "prototype");
    assert_eq!(first.body["wallet"], wallet.address());
    assert_eq!(first.body["allowance_remaining_usd_micros"], 0);
    assert!(first.headers.contains_key("payment-response"), "{first:?}");

    let second = lab.pay(&wallet, "/tiers/v1/prototype").await;
    assert_eq!(second.body["action"], "renew", "{second:?}");
    let day = |body: &serde_json::Value| body["lease_expires_at"].as_str().unwrap()[..10].to_owned();
    let parse = |text: String| text.parse::<chrono::NaiveDate>().unwrap();
    assert_eq!((parse(day(&second.body)) - parse(day(&first.body))).num_days(), 7);

    let status = lab.as_wallet(&wallet, "GET", "/tiers/v1/status", None).await;
    assert_eq!(status.body["active"], true);
    assert_eq!(status.body["tier"], "prototype");

    let history = lab.get(&format!("/billing/v1/accounts/{}/history", wallet.address())).await;
    assert_eq!(history.status, 200, "{history:?}");
    assert_eq!(
        history.body["entries"].as_array().unwrap().len(),
        4,
        "two deposits, two charges: {history:?}"
    );

    // The payee has exactly what was charged.
    let payee = lab.server.ready["payee"].as_str().unwrap();
    assert_eq!(lab.chain.usdc_balance(&lab.token(), payee).await, 200_000);
    lab.assert_books_agree();
}

#[tokio::test]
async fn an_upgrade_credits_the_unused_time() {
    let lab = Lab::start().await;
    let wallet = lab.subscribed_wallet().await;
    lab.mint(&wallet, 30_000_000).await;
    let answer = lab.pay(&wallet, "/tiers/v1/hobby").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["action"], "upgrade");
    assert_eq!(answer.body["previous_tier"], "prototype");
    // Almost the whole week of $0.10 comes back.
    let left = answer.body["allowance_remaining_usd_micros"].as_i64().unwrap();
    assert!((99_000..=100_000).contains(&left), "{answer:?}");
    lab.assert_books_agree();
}

#[tokio::test]
async fn an_unknown_tier_is_refused_before_anything_is_asked_for() {
    let lab = Lab::start().await;
    for path in ["/tiers/v1/pro", "/tiers/v1/Prototype", "/tiers/v1/prototype%00"] {
        let answer = lab.as_wallet(&Wallet::random(), "POST", path, Some(json!({}))).await;
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
        assert!(answer.body["message"].as_str().unwrap().contains("nknown tier"), "{answer:?}");
    }
}
