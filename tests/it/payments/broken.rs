//! A26, A27: whatever breaks between a proof and its answer, it is one charge and one answer.

use std::time::Duration;

use serde_json::json;
use tests::{Lab, eventually};

use super::{ROUTE, count, header_of, signed_payment};

// A27: the client hangs up while the payment settles; it or another comes back later.
#[tokio::test]
async fn a_client_that_hangs_up_is_charged_once_and_finds_its_answer_later() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let payment = signed_payment(&lab, &wallet, ROUTE).await;
    let hang_up = async |millis| {
        let request = lab.signed(&wallet, "POST", ROUTE, Some(json!({})));
        let request = request.header("payment-signature", header_of(&payment));
        let sent = request.timeout(Duration::from_millis(millis)).send().await;
        assert!(sent.is_err_and(|e| e.is_timeout()));
    };
    lab.chain.hold_blocks().await;
    // At once, early, and while it waits for the chain.
    for millis in [1, 60, 1_500] {
        hang_up(millis).await;
    }
    eventually("the intent", 20, || async {
        (count(&lab, "select count(*) from chain_txs where purpose = 'settle'").await == 1).then_some(())
    })
    .await;
    lab.chain.release_blocks().await;
    eventually("a credit that nobody waits for", 30, || async {
        (count(&lab, "select count(*) from payments where state = 'credited'").await == 1).then_some(())
    })
    .await;
    let answer = lab.present(&wallet, ROUTE, &payment).await;
    assert_eq!((answer.status, &answer.body["action"]), (200, &json!("subscribe")), "{answer:?}");
    assert_eq!(super::receipt(&answer)["success"], true);
    assert_eq!(lab.present(&wallet, ROUTE, &payment).await.body, answer.body);
    assert_eq!(count(&lab, "select count(*) from purchases").await, 1);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 150_000);
    lab.assert_books_agree();
}

// A26: the grant itself fails after the money has moved. The payment stays open, nobody is billed again, and once
// the fault is gone the same proof gets its grant.
#[tokio::test]
async fn a_grant_that_fails_after_the_money_moved_is_made_good_later() {
    let lab = Lab::start().await;
    let wallet = lab.funded_wallet().await;
    let payment = signed_payment(&lab, &wallet, ROUTE).await;
    let database = lab.database().await;
    sqlx::raw_sql(
        "create function broken() returns trigger language plpgsql as $$ begin raise exception 'broken'; end $$;
         create trigger broken before insert on purchases execute function broken();",
    )
    .execute(&database)
    .await
    .unwrap();
    let request = lab.signed(&wallet, "POST", ROUTE, Some(json!({})));
    let request = request.header("payment-signature", header_of(&payment));
    let waiting = tokio::spawn(request.send());
    let payee = lab.server.ready["payee"].as_str().unwrap().to_owned();
    eventually("the money", 20, || async {
        (lab.chain.usdc_balance(&lab.token(), &payee).await == 100_000).then_some(())
    })
    .await;
    // It is tried, and fails, for as long as it is broken; whoever waits is not told that it failed.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!waiting.is_finished(), "no verdict on a payment that is open");
    assert_eq!(count(&lab, "select count(*) from payments where state = 'settling'").await, 1);
    assert_eq!(count(&lab, "select count(*) from ledger_transfers where source = 'x402'").await, 0);

    sqlx::raw_sql("drop trigger broken on purchases; drop function broken();")
        .execute(&database)
        .await
        .unwrap();
    let answer = waiting.await.unwrap().unwrap();
    assert!(matches!(answer.status().as_u16(), 200 | 409), "{answer:?}");
    let answer = eventually("the grant", 30, || async {
        let answer = lab.present(&wallet, ROUTE, &payment).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(answer.body["action"], "subscribe", "{answer:?}");
    assert_eq!(count(&lab, "select count(*) from purchases").await, 1);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 150_000);
    lab.assert_books_agree();
}
