//! E-mail credits that recharge themselves.

use serde_json::{Value, json};
use stripe_fake::{Declined, Fault};
use tests::{Answer, Wallet, eventually};

use super::Shop;
use crate::auth::mail::mail;
use crate::billing::create;
use crate::billing::mailbox::confirm_mailbox;

const EMAIL: &str = "ada@example.com";

const ROUTE: &str = "/billing/v1/email-packs/auto-recharge";

async fn switch(shop: &Shop, wallet: &Wallet, id: &Value, enabled: bool) -> Answer {
    let body = json!({ "billing_account_id": id, "enabled": enabled, "threshold": 15_000 });
    shop.lab.as_wallet(wallet, "POST", ROUTE, Some(body)).await
}

/// An e-mail account with a wallet.
async fn account_with_wallet(shop: &Shop, email: &str) -> (Value, Wallet) {
    let (account, wallet) = (create(&shop.lab, email).await, Wallet::random());
    let path = format!("/billing/v1/accounts/{}/link-wallet", account["id"].as_str().unwrap());
    let body = Some(json!({ "wallet": wallet.address() }));
    let linked = shop.lab.as_wallet(&wallet, "POST", &path, body).await;
    assert_eq!(linked.body["status"], "linked", "{linked:?}");
    (account["id"].clone(), wallet)
}

// C13: whoever only knows an account's id cannot have its card charged, nor stop that.
#[tokio::test]
async fn only_a_wallet_of_the_account_switches_recharging() {
    let shop = Shop::open().await;
    let (id, wallet) = account_with_wallet(&shop, EMAIL).await;
    let (_, other) = account_with_wallet(&shop, "bob@example.com").await;
    for enabled in [true, false] {
        let body = json!({ "billing_account_id": id, "enabled": enabled });
        let unsigned = shop.ask(ROUTE, body).await;
        assert_eq!(
            (unsigned.status, &unsigned.body["code"]),
            (402, &json!("AUTHENTICATION_REQUIRED")),
            "{unsigned:?}"
        );
        assert!(unsigned.body["hint"].as_str().unwrap().contains("link-wallet"), "{unsigned:?}");
        for stranger in [&other, &Wallet::random()] {
            let refused = switch(&shop, stranger, &id, enabled).await;
            assert_eq!((refused.status, &refused.body["code"]), (403, &json!("FORBIDDEN")), "{refused:?}");
        }
    }
    let off = switch(&shop, &wallet, &id, false).await;
    assert_eq!((off.status, &off.body["auto_recharge_enabled"]), (200, &json!(false)), "{off:?}");
    shop.lab.assert_books_agree();
}

// C13, C10: one charge whatever is lost and however often it is looked at; three refusals switch it off.
#[tokio::test]
async fn few_credits_are_recharged_once_and_a_declined_card_ends_it() {
    let shop = Shop::open().await;
    let database = shop.lab.database().await;
    let (id, wallet) = account_with_wallet(&shop, EMAIL).await;
    let (id, wallet) = (&id, &wallet);
    confirm_mailbox(&shop.lab, EMAIL).await;
    let early = switch(&shop, wallet, id, true).await;
    assert_eq!((early.status, &early.body["code"]), (409, &json!("NO_SAVED_CARD")), "{early:?}");
    assert_eq!(switch(&shop, wallet, &json!("x"), true).await.status, 404);
    let pack = shop.start("/billing/v1/email-packs/checkout", json!({ "email": EMAIL })).await;
    shop.stripe.pay(&pack.session);
    let credits = async || shop.account(EMAIL).await["email_credits_remaining"].as_i64().unwrap();
    eventually("the first pack", 30, || async { (credits().await == 10_000).then_some(()) }).await;

    // 10,000 are fewer than 15,000. The answer to the charge is lost, four times and more.
    let set = switch(&shop, wallet, id, true).await;
    shop.stripe.fail_next([Fault::LostAnswer; 5]);
    assert_eq!(set.body["auto_recharge_enabled"], true, "{set:?}");
    eventually("a recharge", 60, || async { (credits().await == 20_000).then_some(()) }).await;
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert_eq!((credits().await, shop.stripe.counts().1), (20_000, 2), "one charge");

    // Whoever owes after a dispute is not charged for more.
    let run = async |sql: &'static str| {
        sqlx::query(sql).execute(&database).await.unwrap();
    };
    run("update accounts set card_debt_micros = 1 where id = (select account_id from email_recharges)").await;
    run("update email_recharges set threshold = 30000, not_before = now()").await;
    tokio::time::sleep(std::time::Duration::from_secs(6)).await;
    assert_eq!((credits().await, shop.stripe.counts().1), (20_000, 2), "a debt");
    run("update email_recharges set threshold = 15000").await;
    run("update accounts set card_debt_micros = 0").await;

    // The card is declined: three times, with pauses that the test shortens, and then no more.
    shop.stripe.decline_saved_cards(Declined::Yes);
    run("update email_recharges set threshold = 30000").await;
    for failures in 1..=3_i32 {
        eventually("a failure", 40, || async {
            let now: i32 = sqlx::query_scalar("select failures from email_recharges")
                .fetch_one(&database)
                .await
                .unwrap();
            (now == failures).then_some(())
        })
        .await;
        run("update email_recharges set not_before = now()").await;
    }
    assert_eq!(shop.account(EMAIL).await["auto_recharge_enabled"], false);
    assert_eq!((credits().await, shop.stripe.counts().1), (20_000, 2));
    let told = mail(&shop.lab, EMAIL, 2).await;
    assert_eq!(told["template"], "recharge_off", "{told}");
    shop.lab.assert_books_agree();
}
