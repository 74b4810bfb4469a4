//! E-mail accounts and wallets that join them.

pub mod mailbox;

use serde_json::{Value, json};
use tests::{Lab, LabOptions, Wallet};

pub async fn create(lab: &Lab, email: &str) -> Value {
    let request = lab.http.post(lab.url("/billing/v1/accounts")).json(&json!({ "email": email }));
    let answer = lab.send(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

fn link_path(account: &Value) -> String {
    format!("/billing/v1/accounts/{}/link-wallet", account["id"].as_str().unwrap())
}

// C16: case, dots and tags; two that make the same account at once.
#[tokio::test]
async fn one_mailbox_is_one_account_however_it_is_written_and_however_many_ask_at_once() {
    let lab = Lab::start().await;
    let spellings = ["Ada.L@gmail.com", "adal@googlemail.com", "a.d.a.l+x@GMAIL.com"];
    let made = futures::future::join_all((0..24).map(|n| create(&lab, spellings[n % 3]))).await;
    assert!(made.iter().all(|account| account["id"] == made[0]["id"]), "{made:?}");
    assert!(uuid::Uuid::try_parse(made[0]["id"].as_str().unwrap()).is_ok(), "{made:?}");
    assert_eq!(made[0]["email_credits_remaining"], 0);
    // One question, however many asked, and to the spelling that came first.
    let mails = lab.get("/lab/mail").await.body["mail"].as_array().unwrap().len();
    assert!(mails <= 1, "{mails} mails");
    assert!(made.iter().all(|account| account["verification_sent"] == true), "{made:?}");
    assert_ne!(create(&lab, "ada.l@example.com").await["id"], made[0]["id"]);

    let balance = lab.get("/billing/v1/accounts/ADAL%40gmail.com").await;
    assert_eq!((balance.status, &balance.body["exists"]), (200, &json!(true)), "{balance:?}");
    assert_eq!(balance.body["identifier_type"], "email");
    let history = lab.get("/billing/v1/accounts/adal%40gmail.com/history?limit=9999").await;
    assert_eq!((history.status, &history.body["entries"]), (200, &json!([])), "{history:?}");
    assert_eq!(lab.get("/billing/v1/accounts/nobody%40example.com").await.status, 404);
    for bad in ["", "x", "@", "a@b", "a b@c.de"] {
        let request = lab.http.post(lab.url("/billing/v1/accounts")).json(&json!({ "email": bad }));
        let answer = lab.send(request).await;
        assert_eq!((answer.status, &answer.body["code"]), (400, &json!("BAD_EMAIL")), "{bad}: {answer:?}");
    }
}

// C16, A42: a link needs both sides, and a wallet has one owner whatever is asked at once.
#[tokio::test]
async fn a_wallet_joins_one_account_when_both_agree_and_its_payments_go_there() {
    let lab = Lab::start().await;
    let (ours, theirs) = (create(&lab, "a@example.com").await, create(&lab, "b@example.com").await);
    let wallet = lab.funded_wallet().await;
    let body = || Some(json!({ "wallet": wallet.checksummed() }));

    // Whoever only knows the id and the address gets nothing but a pending link.
    let request = lab.http.post(lab.url(&link_path(&ours))).json(&body());
    let asked = lab.send(request).await;
    assert_eq!((asked.status, &asked.body["status"]), (200, &json!("pending")), "{asked:?}");
    assert_eq!(lab.get(&format!("/billing/v1/accounts/{}", wallet.address())).await.body["exists"], false);

    // Two accounts at once: one owner, and the other is told.
    let (mine, yours) = (link_path(&ours), link_path(&theirs));
    let paths: Vec<&str> = (0..16).map(|n| if n % 2 == 0 { mine.as_str() } else { yours.as_str() }).collect();
    let answers =
        futures::future::join_all(paths.iter().map(|path| lab.as_wallet(&wallet, "POST", path, body())))
            .await;
    let won: std::collections::BTreeSet<&str> =
        paths.iter().zip(&answers).filter(|(_, a)| a.status == 200).map(|(path, _)| *path).collect();
    assert_eq!(won.len(), 1, "{answers:?}");
    assert!(answers.iter().all(|a| a.status == 200 || a.body["code"] == "WALLET_LINKED_ELSEWHERE"));
    let (owner, email) =
        if won.contains(mine.as_str()) { (&ours, "a%40example.com") } else { (&theirs, "b%40example.com") };

    // Another wallet does not get in by its own word once the account has one.
    let second = Wallet::random();
    let wish = Some(json!({ "wallet": second.address() }));
    let alone = lab.as_wallet(&second, "POST", &link_path(owner), wish.clone()).await;
    assert_eq!(alone.body["status"], "pending", "{alone:?}");
    let stranger = lab.as_wallet(&Wallet::random(), "POST", &link_path(owner), wish.clone()).await;
    assert_eq!(stranger.body["status"], "pending", "{stranger:?}");
    let agreed = lab.as_wallet(&wallet, "POST", &link_path(owner), wish).await;
    assert_eq!(agreed.body["status"], "linked", "{agreed:?}");

    // What the wallet pays is the account's, by whichever name it is asked for.
    assert_eq!(lab.pay(&wallet, "/tiers/v1/prototype").await.status, 200);
    let by_email = lab.get(&format!("/billing/v1/accounts/{email}")).await;
    assert_eq!(by_email.body["tier"], "prototype", "{by_email:?}");
    let status = lab.as_wallet(&second, "GET", "/tiers/v1/status", None).await;
    assert_eq!(
        (&status.body["tier"], &status.body["active"]),
        (&json!("prototype"), &json!(true)),
        "{status:?}"
    );
    lab.assert_books_agree();
}

#[tokio::test]
async fn a_server_without_stripe_says_what_its_operator_must_set() {
    let args = vec!["--no-cards".to_owned()];
    let lab = Lab::start_with(LabOptions { args, ..LabOptions::default() }).await;
    let wallet = Wallet::random().address();
    let body = json!({ "wallet": wallet, "amount_usd_micros": 5_000_000 });
    for path in [
        "/billing/v1/checkouts",
        "/billing/v1/tiers/prototype/checkout",
        "/billing/v1/email-packs/checkout",
        "/webhooks/v1/stripe",
    ] {
        let answer = lab.send(lab.http.post(lab.url(path)).json(&body)).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (503, &json!("STRIPE_NOT_CONFIGURED")),
            "{answer:?}"
        );
        assert!(answer.body["hint"].as_str().unwrap().contains("[stripe]"), "{answer:?}");
    }
}
