//! What an account's mailbox is told and asked.

use serde_json::{Value, json};
use tests::{Answer, Lab, Wallet, eventually, oracle};

use super::{create, link_path};
use crate::auth::mail::{link, mail};

async fn confirm(lab: &Lab, token: &str) -> Answer {
    lab.send(lab.http.post(lab.url("/billing/v1/email-confirmations")).json(&json!({ "token": token }))).await
}

fn token(mail: &Value) -> String {
    link(mail).split_once("token=").unwrap().1.to_owned()
}

async fn ask_link(lab: &Lab, account: &Value, wallet: &Wallet) -> Answer {
    let wish = Some(json!({ "wallet": wallet.address() }));
    lab.as_wallet(wallet, "POST", &link_path(account), wish).await
}

/// The mailbox answers the question that it got when its account was made.
pub async fn confirm_mailbox(lab: &Lab, email: &str) {
    assert_eq!(confirm(lab, &token(&mail(lab, email, 1).await)).await.status, 200);
}

/// A wallet with a lease whose account has a mailbox that has answered.
pub async fn subscribed_with_mailbox(lab: &Lab, email: &str) -> Wallet {
    let wallet = lab.funded_wallet().await;
    let account = create(lab, email).await;
    assert_eq!(ask_link(lab, &account, &wallet).await.body["status"], "linked");
    confirm_mailbox(lab, email).await;
    assert_eq!(lab.pay(&wallet, "/tiers/v1/prototype").await.status, 200);
    wallet
}

// C16, H10. Goal: an address is proven by its mailbox alone. Method: a scanner's visit, a wrong token, the
// button, and the button again.
#[tokio::test]
async fn a_mailbox_is_confirmed_once_and_not_by_looking() {
    let lab = Lab::start().await;
    let account = create(&lab, "Ada@B.test").await;
    assert_eq!((&account["verification_sent"], &account["email_verified"]), (&json!(true), &json!(false)));
    let sent = mail(&lab, "ada@b.test", 1).await;
    assert_eq!((&sent["template"], &sent["project_id"]), (&json!("confirm_email"), &Value::Null), "{sent}");

    let page = lab.http.get(link(&sent)).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("default-src 'none'"));
    assert_eq!(page.headers()["referrer-policy"], "no-referrer");
    assert!(page.text().await.unwrap().contains("<form method=\"post\">"));
    assert_eq!(create(&lab, "ada@b.test").await["email_verified"], false, "a look confirms nothing");

    for bad in ["", "bc_", &format!("bc_{}", "00".repeat(32)), &"x".repeat(5_000)] {
        let refused = confirm(&lab, bad).await;
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("CONFIRMATION_INVALID")), "{bad:?}");
    }
    let pressed = lab.http.post(link(&sent)).header("accept", "text/html,*/*;q=0.8").send().await.unwrap();
    assert_eq!(pressed.status(), 200);
    assert!(pressed.text().await.unwrap().contains("Your address is confirmed"));
    let known = create(&lab, "ada@b.test").await;
    assert_eq!(
        (&known["verification_sent"], &known["email_verified"]),
        (&json!(false), &json!(true)),
        "{known}"
    );
    assert_eq!(confirm(&lab, &token(&sent)).await.body["code"], "CONFIRMATION_INVALID", "once");
    mail(&lab, "ada@b.test", 1).await;
}

// C16, A42. Goal: a confirmed account lets a wallet in by its mailbox. Method: the wallet signs, the mailbox
// is asked once, agrees; the other way round a wallet that signed nothing stays outside.
#[tokio::test]
async fn a_confirmed_mailbox_lets_a_wallet_in() {
    let lab = Lab::start().await;
    let account = create(&lab, "ada@b.test").await;
    let confirmed = confirm(&lab, &token(&mail(&lab, "ada@b.test", 1).await)).await;
    assert_eq!((confirmed.status, &confirmed.body["status"]), (200, &json!("confirmed")), "{confirmed:?}");
    assert_eq!(confirmed.body["wallet"], Value::Null);

    let wallet = Wallet::random();
    for _ in 0..3 {
        let asked = ask_link(&lab, &account, &wallet).await;
        assert_eq!((asked.status, &asked.body["status"]), (200, &json!("pending")), "{asked:?}");
        assert!(asked.body["next"].as_str().unwrap().contains("mailed"), "{asked:?}");
    }
    let sent = mail(&lab, "ada@b.test", 2).await;
    assert_eq!(sent["template"], "confirm_link");
    assert!(sent["text"].as_str().unwrap().to_lowercase().contains(&wallet.address()), "{sent}");
    let agreed = confirm(&lab, &token(&sent)).await;
    assert_eq!((agreed.status, &agreed.body["linked"]), (200, &json!(true)), "{agreed:?}");
    assert_eq!(agreed.body["wallet"], json!(wallet.address()));
    let by_wallet = lab.get(&format!("/billing/v1/accounts/{}", wallet.address())).await;
    assert_eq!(by_wallet.body["exists"], true, "{by_wallet:?}");
    assert_eq!(ask_link(&lab, &account, &wallet).await.body["status"], "linked");
}

// C16. Goal: nobody's mailbox is flooded. Method: more wallets ask than a mailbox is asked about in a day.
#[tokio::test]
async fn a_mailbox_is_asked_ten_times_a_day() {
    let lab = Lab::start().await;
    let account = create(&lab, "ada@b.test").await;
    confirm_mailbox(&lab, "ada@b.test").await;
    for _ in 0..12 {
        assert_eq!(ask_link(&lab, &account, &Wallet::random()).await.body["status"], "pending");
    }
    // Each question was written, or not, before it was answered: once nothing waits, nothing more comes.
    let database = lab.database().await;
    eventually("an empty outbox", 20, || async {
        let waiting: i64 =
            sqlx::query_scalar("select count(*) from account_mail").fetch_one(&database).await.unwrap();
        (waiting == 0).then_some(())
    })
    .await;
    mail(&lab, "ada@b.test", 10).await;
}

// D11. Goal: an owner is told what happens to the lease. Method: the lab's clock; mailboxes that answered, that
// did not, and none.
#[tokio::test]
async fn owners_are_told_by_mail_as_their_lease_ages() {
    let lab = Lab::start().await;
    subscribed_with_mailbox(&lab, "ada@b.test").await;
    // Another has no mailbox: nothing waits for it for ever.
    lab.subscribed_wallet().await;
    for (count, days, template, says) in [
        (2, 8, "lease_past_due", "has ended"),
        (3, 14, "lease_frozen", "refused"),
        (4, 30, "lease_dormant", "paused"),
    ] {
        let body = json!({ "advance_secs": days * 86_400 });
        assert_eq!(lab.send(lab.http.post(lab.url("/lab/clock")).json(&body)).await.status, 200);
        let sent = mail(&lab, "ada@b.test", count).await;
        assert_eq!(sent["template"], template, "{sent}");
        let text = sent["text"].as_str().unwrap();
        assert!(text.contains(says) && text.contains("run402 tier set prototype"), "{text}");
    }
    let database = lab.database().await;
    let (told, unreachable): (i64, i64) = sqlx::query_as(
        "select count(*) filter (where delivered_at is not null), count(*) filter (where unreachable_at is not null)
         from notices",
    )
    .fetch_one(&database)
    .await
    .unwrap();
    assert_eq!((told, unreachable), (3, 3));
    oracle(&lab).await;
}
