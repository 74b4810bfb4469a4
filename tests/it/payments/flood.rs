//! A34: payments that pass every check and fail on the chain cost us gas, so a payer has few of them.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;
use tests::{Lab, eventually};

use super::{ROUTE, count, header_of, signed_payment};

#[tokio::test]
async fn a_flood_of_payments_that_cannot_all_settle_is_bounded_per_payer() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let bystander = lab.funded_wallet().await;
    let mut payments = Vec::new();
    for _ in 0..14 {
        payments.push(signed_payment(&lab, &wallet, ROUTE).await);
    }
    // Each alone is covered by the balance of 0.25; together they are not.
    lab.chain.hold_blocks().await;
    let flood = join_all(payments.iter().map(|payment| {
        let request = lab.signed(&wallet, "POST", ROUTE, Some(json!({})));
        let sent = lab.send(request.header("payment-signature", header_of(payment)));
        // Those that are taken wait for the chain, which stands still.
        async { tokio::time::timeout(Duration::from_secs(6), sent).await.ok() }
    }))
    .await;
    let refused: Vec<_> = flood.into_iter().flatten().collect();
    for answer in &refused {
        assert_eq!((answer.status, &answer.body["code"]), (429, &json!("RATE_LIMITED")), "{answer:?}");
        assert!(answer.body["retry_after"].as_u64().is_some_and(|secs| secs > 0), "{answer:?}");
        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
        assert_eq!(answer.body["mutation_state"], "not_started", "{answer:?}");
    }
    assert!((1..=6).contains(&refused.len()), "{refused:?}");
    assert_eq!(count(&lab, "select count(*) from payments").await, 8);

    lab.chain.release_blocks().await;
    eventually("every outcome", 40, || async {
        let open = "select count(*) from payments where state in ('verified', 'settling')";
        (count(&lab, open).await == 0).then_some(())
    })
    .await;
    assert_eq!(count(&lab, "select count(*) from payments where state = 'credited'").await, 2);
    assert_eq!(count(&lab, "select count(*) from payments where state = 'failed'").await, 6);
    assert!(count(&lab, "select count(distinct nonce) from chain_txs where purpose <> 'faucet'").await <= 8);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 50_000);

    // Who failed that often waits; what was paid is still answered, and others buy.
    lab.mint(&wallet, 1_000_000).await;
    let again = lab.pay(&wallet, ROUTE).await;
    assert_eq!((again.status, &again.body["code"]), (429, &json!("RATE_LIMITED")), "{again:?}");
    assert!(again.body["retry_after"].as_u64().is_some_and(|secs| secs > 60), "{again:?}");
    let nonce: Vec<u8> = sqlx::query_scalar("select nonce from payments where state = 'credited' limit 1")
        .fetch_one(&lab.database().await)
        .await
        .unwrap();
    let nonce = json!(format!("0x{}", hex::encode(nonce)));
    let credited = payments.iter().find(|p| p["payload"]["authorization"]["nonce"] == nonce).unwrap();
    assert_eq!(lab.present(&wallet, ROUTE, credited).await.status, 200);
    let failed = payments.iter().find(|p| p["payload"]["authorization"]["nonce"] != nonce).unwrap();
    let receipt = lab.present(&wallet, ROUTE, failed).await;
    assert!(matches!(receipt.status, 200 | 402 | 429), "{receipt:?}");
    if receipt.status == 402 {
        assert_eq!(super::receipt(&receipt)["success"], false, "{receipt:?}");
    }
    assert_eq!(lab.pay(&bystander, ROUTE).await.status, 200);
    lab.assert_books_agree();
}
