//! E-mail credits that recharge themselves.

use serde_json::{Value, json};
use stripe_fake::{Declined, Fault};
use tests::{Answer, eventually};

use super::Shop;
use crate::billing::create;

const EMAIL: &str = "ada@example.com";

async fn switch(shop: &Shop, id: &Value, enabled: bool) -> Answer {
    let body = json!({ "billing_account_id": id, "enabled": enabled, "threshold": 15_000 });
    shop.ask("/billing/v1/email-packs/auto-recharge", body).await
}

// C13, C10: one charge whatever is lost and however often it is looked at; three refusals switch it off.
#[tokio::test]
async fn few_credits_are_recharged_once_and_a_declined_card_ends_it() {
    let shop = Shop::open().await;
    let database = shop.lab.database().await;
    let account = create(&shop.lab, EMAIL).await;
    let id = &account["id"];
    let early = switch(&shop, id, true).await;
    assert_eq!((early.status, &early.body["code"]), (409, &json!("NO_SAVED_CARD")), "{early:?}");
    assert_eq!(switch(&shop, &json!("x"), true).await.status, 404);
    let pack = shop.start("/billing/v1/email-packs/checkout", json!({ "email": EMAIL })).await;
    shop.stripe.pay(&pack.session);
    let credits = async || shop.account(EMAIL).await["email_credits_remaining"].as_i64().unwrap();
    eventually("the first pack", 30, || async { (credits().await == 10_000).then_some(()) }).await;

    // 10,000 are fewer than 15,000. The answer to the charge is lost, four times and more.
    let set = switch(&shop, id, true).await;
    shop.stripe.fail_next([Fault::LostAnswer; 5]);
    assert_eq!(set.body["auto_recharge_enabled"], true, "{set:?}");
    eventually("a recharge", 60, || async { (credits().await == 20_000).then_some(()) }).await;
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert_eq!((credits().await, shop.stripe.counts().1), (20_000, 2), "one charge");

    // The card is declined: three times, with pauses that the test shortens, and then no more.
    shop.stripe.decline_saved_cards(Declined::Yes);
    sqlx::query("update email_recharges set threshold = 30000").execute(&database).await.unwrap();
    for failures in 1..=3_i32 {
        eventually("a failure", 40, || async {
            let now: i32 = sqlx::query_scalar("select failures from email_recharges")
                .fetch_one(&database)
                .await
                .unwrap();
            (now == failures).then_some(())
        })
        .await;
        sqlx::query("update email_recharges set not_before = now()").execute(&database).await.unwrap();
    }
    assert_eq!(shop.account(EMAIL).await["auto_recharge_enabled"], false);
    assert_eq!((credits().await, shop.stripe.counts().1), (20_000, 2));
    shop.lab.assert_books_agree();
}
