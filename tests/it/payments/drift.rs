//! A31: prices that change under way.

use serde_json::json;
use tests::decode_challenge;

use super::{ROUTE, header_of, signed_payment, to_server};
use crate::nodes::two_servers_with;

#[tokio::test]
async fn a_price_that_changed_is_quoted_again_and_what_was_signed_is_what_is_charged() {
    // The second server has the new price, as during an upgrade.
    let dearer = |config| format!("{config}\n[prices.prototype]\nprice_micros = 120000\n");
    let (lab, _second, other) = two_servers_with(dearer).await;
    let wallet = lab.funded_wallet().await;
    let old = signed_payment(&lab, &wallet, ROUTE).await;
    let present = |base: &str, payment: &serde_json::Value| {
        lab.send(to_server(&lab, base, &wallet, ROUTE).header("payment-signature", header_of(payment)))
    };

    // Cleanly quoted again: nothing spent, nothing booked, the new offer in the answer.
    let requoted = present(&other, &old).await;
    assert_eq!((requoted.status, &requoted.body["code"]), (402, &json!("PAYMENT_INVALID")), "{requoted:?}");
    let again = decode_challenge(requoted.headers["payment-required"].to_str().unwrap());
    assert_eq!(again["error"], "invalid_payment_requirements");
    assert_eq!(again["accepts"][0]["amount"], "120000");
    assert_eq!(super::count(&lab, "select count(*) from payments").await, 0);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 250_000);

    // Accepted at the old price, it is charged as it was signed, whoever credits it; and then it is done.
    let bought = present(&lab.api, &old).await;
    assert_eq!((bought.status, &bought.body["action"]), (200, &json!("subscribe")), "{bought:?}");
    assert_eq!(present(&other, &old).await.body, bought.body, "a repeat gets its answer at any price");
    let offer = again["accepts"][0].clone();
    let new = wallet.payment(&again, &offer, &wallet.authorize(&offer));
    let refused = present(&lab.api, &new).await;
    assert_eq!(refused.status, 402, "{refused:?}");
    let renewed = present(&other, &new).await;
    assert_eq!((renewed.status, &renewed.body["action"]), (200, &json!("renew")), "{renewed:?}");
    let database = lab.database().await;
    let prices: Vec<i64> = sqlx::query_scalar("select price_micros from purchases order by id")
        .fetch_all(&database)
        .await
        .unwrap();
    assert_eq!(prices, [100_000, 120_000]);
    assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 30_000);
    lab.assert_books_agree();
}
