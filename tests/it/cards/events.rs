//! What Stripe says, and what is made of it.

use serde_json::{Value, json};
use tests::{Wallet, eventually};

use super::{SECRET, Shop};

async fn state(database: &sqlx::PgPool, id: &Value) -> (String, i32) {
    sqlx::query_as("select state, deliveries from stripe_events where id = $1")
        .bind(id.as_str().unwrap())
        .fetch_one(database)
        .await
        .unwrap()
}

// C01, C03, C06: repeats, other events of the same object, events that are not for us, forged ones.
#[tokio::test]
async fn a_session_is_one_deposit_however_often_and_by_whichever_event_it_is_told() {
    let shop = Shop::open().await;
    let database = shop.lab.database().await;
    let wallet = Wallet::random();
    let started = shop.top_up(&wallet, 5_000_000).await;
    shop.stripe.go_silent();
    shop.stripe.pay(&started.session);
    let body = shop.stripe.take_held().remove(0);
    let event: Value = serde_json::from_str(&body).unwrap();

    let signed_now = shop.stripe.sign(&body);
    let old = chrono::TimeDelta::minutes(10).num_seconds();
    let at: i64 = signed_now[2..].split(',').next().unwrap().parse().unwrap();
    for forged in
        [String::new(), "t=1,v1=00".to_owned(), shop.stripe.sign_at(at - old, &body), shop.stripe.sign("{}")]
    {
        let answer = shop.deliver_signed(&body, &forged).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &json!("WEBHOOK_SIGNATURE_INVALID")),
            "{answer:?}"
        );
    }
    let tampered = body.replace("500", "900");
    assert_eq!(shop.deliver_signed(&tampered, &signed_now).await.status, 400);

    let with = |change: &dyn Fn(&mut Value)| {
        let mut other = event.clone();
        other["id"] = format!("evt_{:032x}", rand::random::<u128>()).into();
        change(&mut other);
        other
    };
    // C06: the other mode, another account, an unknown type, another version; a metadata amount; other sums.
    let ignored = [
        with(&|e| e["livemode"] = true.into()),
        with(&|e| e["account"] = "acct_other".into()),
        with(&|e| e["type"] = "checkout.session.invented".into()),
        with(&|e| {
            e["data"]["object"]["id"] = "cs_test_strange".into();
            e["data"]["object"]["client_reference_id"] = "top_strange".into();
        }),
    ];
    let refused = [
        with(&|e| e["data"]["object"]["amount_total"] = 900.into()),
        with(&|e| e["data"]["object"]["currency"] = "eur".into()),
        with(&|e| e["data"]["object"]["id"] = "cs_test_second".into()),
    ];
    shop.lab.expect_error("an event of Stripe is not believed");
    for one in ignored.iter().chain(&refused) {
        assert_eq!(shop.deliver(&one.to_string()).await.status, 200);
    }
    shop.quiet(&database).await;
    for (events, word) in [(&ignored[..], "ignored"), (&refused[..], "refused")] {
        for one in events {
            assert_eq!(state(&database, &one["id"]).await.0, word, "{one}");
        }
    }
    assert_eq!(shop.account(&wallet.address()).await["exists"], false, "nothing of it was money");

    // C01: a hundred deliveries in parallel. C03: the same session under ten other names and a later version.
    let twins: Vec<Value> = (0..10)
        .map(|_| {
            with(&|e| {
                e["api_version"] = "2099-01-01.future".into();
                e["data"]["object"]["metadata"] = json!({ "amount": "999999999" });
            })
        })
        .collect();
    let (shop_ref, body_ref) = (&shop, &body);
    let answers = futures::future::join_all((0..100).map(|_| shop_ref.deliver(body_ref))).await;
    assert!(answers.iter().all(|a| a.status == 200), "{answers:?}");
    for twin in &twins {
        assert_eq!(shop.deliver(&twin.to_string()).await.status, 200);
    }
    shop.until(&wallet.address(), 5_000_000).await;
    shop.quiet(&database).await;
    // And once more long after.
    assert_eq!(shop.deliver(&body).await.status, 200);
    shop.quiet(&database).await;
    assert_eq!(state(&database, &event["id"]).await, ("recorded".to_owned(), 101));
    assert_eq!(shop.available(&wallet.address()).await, 5_000_000);
    let deposits: i64 = sqlx::query_scalar("select count(*) from ledger_transfers where source = 'stripe'")
        .fetch_one(&database)
        .await
        .unwrap();
    assert_eq!(deposits, 1);
    assert!(!shop.lab.server.log.lock().unwrap().contains(SECRET), "the secret is not logged");
    shop.lab.assert_books_agree();
}

// C07: money that comes later, or does not.
#[tokio::test]
async fn an_unpaid_session_is_credited_when_its_money_arrives_and_never_when_it_fails() {
    let shop = Shop::open().await;
    let database = shop.lab.database().await;
    let (good, bad) = (Wallet::random(), Wallet::random());
    let (arrives, fails) = (shop.top_up(&good, 5_000_000).await, shop.top_up(&bad, 5_000_000).await);
    for session in [&arrives.session, &fails.session] {
        shop.stripe.pay_later(session);
    }
    eventually("both events", 20, || async {
        let count: i64 = sqlx::query_scalar("select count(*) from stripe_events where state = 'recorded'")
            .fetch_one(&database)
            .await
            .unwrap();
        (count == 2).then_some(())
    })
    .await;
    assert_eq!(shop.available(&good.address()).await, 0, "completed is not paid");
    shop.stripe.settle(&fails.session, stripe_fake::Settled::Failed);
    shop.stripe.settle(&arrives.session, stripe_fake::Settled::Paid);
    shop.until(&good.address(), 5_000_000).await;
    shop.quiet(&database).await;
    assert_eq!(shop.available(&bad.address()).await, 0);
    shop.lab.assert_books_agree();
}

// C09: partial refunds, a refund of everything, of more than everything, after the credit was spent.
#[tokio::test]
async fn what_is_taken_back_leaves_the_balance_or_is_owed_until_it_is_paid() {
    let shop = Shop::open().await;
    let database = shop.lab.database().await;
    let wallet = Wallet::random();
    let (first, address) = (shop.top_up(&wallet, 5_000_000).await, wallet.address());
    shop.stripe.pay(&first.session);
    shop.until(&address, 5_000_000).await;
    shop.stripe.refund(&first.session, 100);
    shop.until(&address, 4_000_000).await;
    let bought = shop.lab.as_wallet(&wallet, "POST", "/tiers/v1/prototype", Some(json!({}))).await;
    assert_eq!(bought.status, 200, "{bought:?}");
    // More than is left, and then more than was ever paid: $3.90 of $4.00 are there.
    shop.stripe.refund(&first.session, 400);
    shop.until(&address, 0).await;
    shop.stripe.refund(&first.session, 999);
    shop.quiet(&database).await;
    let debt = "select card_debt_micros from accounts where card_debt_micros > 0";
    assert_eq!(sqlx::query_scalar::<_, i64>(debt).fetch_one(&database).await.unwrap(), 100_000);

    // Suspended: nothing more is sold, and nothing changes, but money may come in.
    let body = Some(json!({ "name": "x" }));
    let refused = shop.lab.as_wallet(&wallet, "POST", "/projects/v1", body.clone()).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("ACCOUNT_SUSPENDED")), "{refused:?}");
    let refused = shop.ask("/billing/v1/tiers/hobby/checkout", json!({ "wallet": address })).await;
    assert_eq!((refused.status, &refused.body["code"]), (403, &json!("ACCOUNT_SUSPENDED")), "{refused:?}");
    let second = shop.top_up(&wallet, 500_000).await;
    shop.stripe.pay(&second.session);
    shop.until(&address, 400_000).await;
    let made = shop.lab.as_wallet(&wallet, "POST", "/projects/v1", body).await;
    assert_eq!(made.status, 201, "{made:?}");
    shop.lab.assert_books_agree();
}

// C09: a dispute takes the tier, a win gives it back; the same when all is told backwards.
#[tokio::test]
async fn a_dispute_takes_what_was_bought_and_a_win_gives_it_back_in_any_order() {
    let shop = Shop::open().await;
    let database = shop.lab.database().await;
    let mut ends = Vec::new();
    for backwards in [false, true] {
        let wallet = Wallet::random();
        let body = json!({ "wallet": wallet.address() });
        let tier = shop.start("/billing/v1/tiers/hobby/checkout", body.clone()).await;
        let pack = shop.start("/billing/v1/email-packs/checkout", body).await;
        shop.stripe.go_silent();
        for started in [&tier, &pack] {
            shop.stripe.pay(&started.session);
            let dispute = shop.stripe.dispute(&started.session, 500);
            shop.stripe.dispute_update(&dispute, "under_review");
            shop.stripe.dispute_update(&dispute, "won");
        }
        let mut bodies = shop.stripe.take_held();
        if backwards {
            bodies.reverse();
        }
        for (n, body) in bodies.iter().enumerate() {
            assert_eq!(shop.deliver(body).await.status, 200);
            shop.quiet(&database).await;
            if !backwards && n == 1 {
                assert!(shop.account(&wallet.address()).await["tier"].is_null(), "disputed");
            }
        }
        let end = shop.account(&wallet.address()).await;
        assert_eq!(
            (&end["tier"], &end["email_credits_remaining"]),
            (&json!("hobby"), &json!(10_000)),
            "{end}"
        );
        ends.push((end["available_usd_micros"].clone(), end["held_usd_micros"].clone()));
    }
    assert_eq!(ends[0], ends[1]);

    // Lost, after it was spent: the tier goes, the units go, nobody is owed.
    let wallet = Wallet::random();
    let body = json!({ "wallet": wallet.address() });
    let tier = shop.start("/billing/v1/tiers/hobby/checkout", body.clone()).await;
    let pack = shop.start("/billing/v1/email-packs/checkout", body).await;
    shop.stripe.pay(&tier.session);
    shop.stripe.pay(&pack.session);
    eventually("bought", 30, || async {
        let account = shop.account(&wallet.address()).await;
        (account["tier"] == "hobby" && account["email_credits_remaining"] == 10_000).then_some(())
    })
    .await;
    for started in [&tier, &pack] {
        let dispute = shop.stripe.dispute(&started.session, 500);
        shop.stripe.dispute_update(&dispute, "lost");
    }
    eventually("gone", 30, || async {
        let account = shop.account(&wallet.address()).await;
        (account["tier"].is_null() && account["email_credits_remaining"] == 0).then_some(())
    })
    .await;
    shop.quiet(&database).await;
    shop.lab.assert_books_agree();
}
