//! Card payments, against a stand-in for Stripe that a test can make slow, wrong and forgetful.

mod events;
mod faults;
mod many;
mod recharge;

use serde_json::{Value, json};
use sqlx::PgPool;
use stripe_fake::{FakeConfig, StripeFake};
use tests::{Answer, Lab, LabOptions, Wallet, eventually, fresh_folder};

use crate::billing::create;

pub const SECRET: &str = "whsec_test";

/// A lab whose Stripe survives it.
pub struct Shop {
    pub lab: Lab,
    pub stripe: StripeFake,
    args: Vec<String>,
}

/// A checkout that was started.
pub struct Started {
    pub session: String,
}

impl Shop {
    pub async fn open() -> Self {
        Self::open_with(Vec::new()).await
    }

    pub async fn open_with(more: Vec<String>) -> Self {
        let stripe = StripeFake::start(FakeConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            webhook_secret: SECRET.to_owned(),
            webhook_url: None,
        });
        let stripe = stripe.await.unwrap();
        let url = stripe.url();
        let mut args: Vec<String> =
            ["--stripe-url", &url, "--stripe-webhook-secret", SECRET].map(str::to_owned).into();
        args.extend(more);
        let options = LabOptions { args: args.clone(), ..LabOptions::default() };
        let lab = Lab::start_in(&fresh_folder(), options).await;
        stripe.set_webhook_url(&lab.url("/webhooks/v1/stripe"));
        Self { lab, stripe, args }
    }

    /// The same after its server died: another one on the same data.
    pub async fn reopen(self) -> Self {
        let lab = self.lab.again_with(self.args.clone()).await;
        Self { lab, stripe: self.stripe, args: self.args }
    }

    pub async fn ask(&self, path: &str, body: Value) -> Answer {
        self.lab.send(self.lab.http.post(self.lab.url(path)).json(&body)).await
    }

    pub async fn start(&self, path: &str, body: Value) -> Started {
        let answer = self.ask(path, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let topup = answer.body["topup_id"].as_str().unwrap();
        assert!(answer.body["checkout_url"].as_str().unwrap().starts_with("http"), "{answer:?}");
        let session = self.stripe.session_of(topup).unwrap();
        Started { session }
    }

    pub async fn top_up(&self, wallet: &Wallet, micros: i64) -> Started {
        let body = json!({ "wallet": wallet.checksummed(), "amount_usd_micros": micros });
        self.start("/billing/v1/checkouts", body).await
    }

    pub async fn available(&self, who: &str) -> i64 {
        self.account(who).await["available_usd_micros"].as_i64().unwrap()
    }

    pub async fn account(&self, who: &str) -> Value {
        self.lab.get(&format!("/billing/v1/accounts/{}", who.replace('@', "%40"))).await.body
    }

    pub async fn until(&self, who: &str, micros: i64) {
        eventually(&format!("{who} has {micros}"), 30, || async {
            (self.available(who).await == micros).then_some(())
        })
        .await;
    }

    /// Delivers a body, signed now.
    pub async fn deliver(&self, body: &str) -> Answer {
        self.deliver_signed(body, &self.stripe.sign(body)).await
    }

    pub async fn deliver_signed(&self, body: &str, signature: &str) -> Answer {
        let request = self.lab.http.post(self.lab.url("/webhooks/v1/stripe"));
        self.lab.send(request.header("stripe-signature", signature).body(body.to_owned())).await
    }

    /// Waits until every event is handled and every fact posted.
    pub async fn quiet(&self, database: &PgPool) {
        eventually("all events handled", 120, || async {
            let left: i64 = sqlx::query_scalar(
                "select (select count(*) from stripe_events where state = 'pending')
                   + (select count(*) from card_checkouts where facts_revision > posted_revision)",
            )
            .fetch_one(database)
            .await
            .unwrap();
            (left == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_top_up_is_credited_once_its_money_is_there() {
    let shop = Shop::open().await;
    let wallet = Wallet::random();
    for bad in [json!(499_999), json!(500_001), json!(-5_000_000), json!(5.5), json!("5000000"), json!(null)]
    {
        let body = json!({ "wallet": wallet.address(), "amount_usd_micros": bad });
        let answer = shop.ask("/billing/v1/checkouts", body).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    let started = shop.top_up(&wallet, 5_000_000).await;
    // An address that somebody typed opens nothing.
    assert_eq!(shop.account(&wallet.address()).await["exists"], false);
    shop.stripe.pay(&started.session);
    shop.until(&wallet.address(), 5_000_000).await;
    let history = shop.lab.get(&format!("/billing/v1/accounts/{}/history", wallet.address())).await;
    let entry = &history.body["entries"][0];
    assert_eq!(
        (&entry["kind"], &entry["direction"]),
        (&json!("stripe_topup"), &json!("credit")),
        "{history:?}"
    );
    assert_eq!(
        (&entry["reference_type"], &entry["reference_id"]),
        (&json!("stripe_session"), &json!(started.session))
    );
    // Credit buys a tier without a challenge.
    let bought = shop.lab.as_wallet(&wallet, "POST", "/tiers/v1/prototype", Some(json!({}))).await;
    assert_eq!((bought.status, &bought.body["action"]), (200, &json!("subscribe")), "{bought:?}");
    assert_eq!(bought.body["allowance_remaining_usd_micros"], 4_900_000);
    shop.lab.assert_books_agree();
}

#[tokio::test]
async fn a_tier_and_an_e_mail_pack_are_bought_by_card_and_reach_a_wallet_that_joins() {
    let shop = Shop::open().await;
    let account = create(&shop.lab, "ada@example.com").await;
    let email = json!({ "email": "Ada@example.com" });
    let unknown = shop.ask("/billing/v1/tiers/pro/checkout", email.clone()).await;
    assert_eq!((unknown.status, &unknown.body["code"]), (400, &json!("UNKNOWN_TIER")), "{unknown:?}");
    let nobody = shop.ask("/billing/v1/tiers/hobby/checkout", json!({})).await;
    assert_eq!(nobody.status, 400, "{nobody:?}");

    let hobby = shop.start("/billing/v1/tiers/hobby/checkout", email.clone()).await;
    shop.stripe.pay(&hobby.session);
    eventually("hobby", 30, || async {
        (shop.account("ada@example.com").await["tier"] == "hobby").then_some(())
    })
    .await;
    assert_eq!(shop.available("ada@example.com").await, 0);
    let again = shop.start("/billing/v1/tiers/hobby/checkout", email.clone()).await;
    shop.stripe.pay(&again.session);
    let pack = shop.start("/billing/v1/email-packs/checkout", email).await;
    shop.stripe.pay(&pack.session);
    eventually("units", 30, || async {
        (shop.account("ada@example.com").await["email_credits_remaining"] == 10_000).then_some(())
    })
    .await;

    let wallet = Wallet::random();
    let path = format!("/billing/v1/accounts/{}/link-wallet", account["id"].as_str().unwrap());
    let body = Some(json!({ "wallet": wallet.address() }));
    let linked = shop.lab.as_wallet(&wallet, "POST", &path, body).await;
    assert_eq!(linked.body["status"], "linked", "{linked:?}");
    let status = shop.lab.as_wallet(&wallet, "GET", "/tiers/v1/status", None).await;
    assert_eq!(status.body["tier"], "hobby", "{status:?}");
    let days = |name: &str| status.body[name].as_str().unwrap()[..10].parse::<chrono::NaiveDate>().unwrap();
    assert_eq!((days("lease_expires_at") - days("lease_started_at")).num_days(), 60, "renewed");
    shop.lab.assert_books_agree();
}

#[tokio::test]
async fn the_lab_takes_cards_by_itself_and_the_command_line_knows_the_words() {
    let lab = Lab::start().await;
    let home = fresh_folder();
    let run402 = |words: &[&str]| {
        let mut command = tests::command("run402");
        command.args(words).env("RUN402_API_BASE", &lab.api).env("RUN402_CONFIG_DIR", &home);
        let output = tests::run(&mut command);
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    run402(&["allowance", "create"]);
    let wallet = run402(&["allowance", "export"])["address"].as_str().unwrap().to_owned();
    let account = run402(&["billing", "create-email", "ada@example.com"]);
    let id = account["id"].as_str().unwrap();
    assert_eq!(run402(&["billing", "link-wallet", id, &wallet])["status"], "linked");
    let topup = run402(&["allowance", "checkout", "--amount", "5000000"]);
    let url = topup["checkout_url"].as_str().unwrap();
    let page = lab.http.get(url).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("Pay $5.00"), "{page}");
    assert!(lab.http.post(format!("{url}?how=now")).send().await.unwrap().status().is_success());
    eventually("credit", 30, || async {
        (run402(&["billing", "balance", "ada@example.com"])["available_usd_micros"] == 5_000_000)
            .then_some(())
    })
    .await;
    assert!(run402(&["billing", "tier-checkout", "hobby"])["checkout_url"].is_string());
    assert!(run402(&["billing", "buy-email-pack", "--email", "ada@example.com"])["topup_id"].is_string());
    assert_eq!(run402(&["billing", "history", "ada@example.com"])["entries"].as_array().unwrap().len(), 1);
    assert_eq!(run402(&["billing", "auto-recharge", id, "off"])["auto_recharge_enabled"], false);
    let _ = std::fs::remove_dir_all(home);
    lab.assert_books_agree();
}
