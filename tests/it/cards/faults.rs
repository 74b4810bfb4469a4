//! Stripe and the server fail.

use serde_json::json;
use stripe_fake::Fault;
use tests::{Wallet, eventually, fresh_folder};

use super::Shop;

// C10, C11: busy, failing and silent; the answer lost after the work was done. One session per quote.
#[tokio::test]
async fn a_stripe_that_fails_or_loses_answers_makes_one_session_or_an_honest_refusal() {
    let shop = Shop::open().await;
    let wallet = Wallet::random();
    let faults =
        [Fault::Status(429), Fault::Status(500), Fault::Status(409), Fault::Reset, Fault::LostAnswer];
    for (n, fault) in faults.into_iter().enumerate() {
        shop.stripe.fail_next([fault, fault]);
        let started = shop.top_up(&wallet, 5_000_000).await;
        assert_eq!(shop.stripe.counts(), (n + 1, n), "{fault:?}: asked again under the same key");
        shop.stripe.pay(&started.session);
        shop.until(&wallet.address(), 5_000_000 * (n as i64 + 1)).await;
    }
    shop.stripe.fail_next([Fault::Status(503); 4]);
    let body = json!({ "wallet": wallet.address(), "amount_usd_micros": 5_000_000 });
    let answer = shop.ask("/billing/v1/checkouts", body.clone()).await;
    assert_eq!((answer.status, &answer.body["code"]), (503, &json!("CARD_UNAVAILABLE")), "{answer:?}");
    assert_eq!(answer.body["retryable"], true);
    // A key that Stripe does not take is no reason to ask again.
    shop.stripe.fail_next([Fault::Status(401), Fault::Status(500)]);
    assert_eq!(shop.ask("/billing/v1/checkouts", body).await.status, 503);
    let _ = shop.stripe.url();
    shop.lab.assert_books_agree();
}

// C10: a repeat under one key, at once and after answers were lost, is one session; another request is refused.
#[tokio::test]
async fn a_checkout_under_one_key_is_one_session_however_often_it_is_asked_for() {
    let shop = Shop::open().await;
    let database = shop.lab.database().await;
    let wallet = Wallet::random();
    let ask = async |key: &str, path: &str, micros: i64| {
        let body = json!({ "wallet": wallet.address(), "amount_usd_micros": micros });
        let request = shop.lab.http.post(shop.lab.url(path)).json(&body);
        shop.lab.send(request.header("idempotency-key", key)).await
    };
    const TOP_UP: &str = "/billing/v1/checkouts";
    shop.stripe.fail_next([Fault::LostAnswer; 4]);
    let lost = ask("k", TOP_UP, 5_000_000).await;
    assert_eq!(lost.status, 503, "{lost:?}");
    let answers = futures::future::join_all((0..12).map(|_| ask("k", TOP_UP, 5_000_000))).await;
    assert!(answers.iter().all(|a| a.status == 200 && a.body == answers[0].body), "{answers:?}");
    assert_eq!(shop.stripe.counts().0, 1);
    for other in
        [ask("k", TOP_UP, 6_000_000).await, ask("k", "/billing/v1/email-packs/checkout", 5_000_000).await]
    {
        assert_eq!((other.status, &other.body["code"]), (409, &json!("IDEMPOTENCY_KEY_REUSED")), "{other:?}");
    }
    let second = ask("l", TOP_UP, 5_000_000).await;
    assert_ne!(second.body["topup_id"], answers[0].body["topup_id"]);
    let session = shop.stripe.session_of(answers[0].body["topup_id"].as_str().unwrap()).unwrap();
    shop.stripe.pay(&session);
    shop.until(&wallet.address(), 5_000_000).await;
    assert_eq!(ask("k", TOP_UP, 5_000_000).await.body, answers[0].body, "after it was paid, too");

    // A day later Stripe has forgotten the key: a second session for one quote would be money for nothing.
    sqlx::query("update card_checkouts set created_at = created_at - interval '1 day'")
        .execute(&database)
        .await
        .unwrap();
    sqlx::query("update idempotency_keys set expires_at = now() - interval '1 minute'")
        .execute(&database)
        .await
        .unwrap();
    let late = ask("k", TOP_UP, 5_000_000).await;
    assert_eq!((late.status, &late.body["code"]), (409, &json!("IDEMPOTENCY_KEY_REUSED")), "{late:?}");
    assert_eq!(shop.stripe.counts().0, 2);
    shop.lab.assert_books_agree();
}

// C04: webhooks that never came are found by asking.
#[tokio::test]
async fn what_no_webhook_told_is_found_by_the_reconciler() {
    let shop = Shop::open().await;
    let database = shop.lab.database().await;
    let wallet = Wallet::random();
    let started = shop.top_up(&wallet, 5_000_000).await;
    shop.stripe.hold();
    shop.stripe.pay(&started.session);
    shop.stripe.refund(&started.session, 100);
    let kept_back = shop.stripe.take_held();
    shop.until(&wallet.address(), 4_000_000).await;
    let ways: Vec<String> =
        sqlx::query_scalar("select via from stripe_events").fetch_all(&database).await.unwrap();
    assert_eq!(ways, ["reconciler", "reconciler"]);
    // They come after all.
    for body in &kept_back {
        assert_eq!(shop.deliver(body).await.status, 200);
    }
    shop.quiet(&database).await;
    assert_eq!(shop.available(&wallet.address()).await, 4_000_000);
    shop.lab.assert_books_agree();
}

// C04, D20: Stripe's balance is compared with the books, one payment at a time; what differs is said once.
#[tokio::test]
async fn a_payment_that_the_books_lack_is_found_in_the_balance_of_stripe() {
    let shop = Shop::open().await;
    let database = shop.lab.database().await;
    let (known, lost) = (Wallet::random(), Wallet::random());
    let (whole, pack) = (shop.top_up(&known, 5_000_000).await, shop.top_up(&known, 6_000_000).await);
    let missed = shop.top_up(&lost, 7_000_000).await;
    shop.stripe.pay(&whole.session);
    shop.stripe.pay_later(&pack.session);
    shop.stripe.settle(&pack.session, stripe_fake::Settled::Paid);
    shop.stripe.refund(&whole.session, 100);
    let dispute = shop.stripe.dispute(&pack.session, 600);
    shop.stripe.dispute_update(&dispute, "won");
    shop.until(&known.address(), 10_000_000).await;
    // This one's events are gone for good.
    shop.stripe.go_silent();
    shop.stripe.pay(&missed.session);
    let lines = async || {
        let sql = "select count(*), count(*) filter (where matched), count(alarmed_at) from stripe_balance";
        sqlx::query_as::<_, (i64, i64, i64)>(sql).fetch_one(&database).await.unwrap()
    };
    eventually("the balance is read", 40, || async { (lines().await.0 == 6).then_some(()) }).await;
    assert_eq!(lines().await, (6, 0, 0), "too fresh to be judged");
    shop.lab.expect_error("balance and the books differ");
    sqlx::query("update stripe_balance set said_at = said_at - interval '1 hour'")
        .execute(&database)
        .await
        .unwrap();
    eventually("it is compared", 40, || async { (lines().await == (6, 5, 1)).then_some(()) }).await;
    let intent: String = sqlx::query_scalar("select payment_intent from stripe_balance where not matched")
        .fetch_one(&database)
        .await
        .unwrap();
    let said = || shop.lab.server.log.lock().unwrap().matches(intent.as_str()).count();
    eventually("it is said", 10, || async { (said() == 1).then_some(()) }).await;
    tokio::time::sleep(std::time::Duration::from_secs(12)).await;
    assert_eq!(said(), 1, "once");
    assert_eq!(shop.account(&lost.address()).await["exists"], false, "a difference is not a credit");
    shop.lab.assert_books_agree();
}

// C14: the server dies at every step of a card payment; the customer is credited once.
#[tokio::test]
async fn a_card_payment_survives_a_death_at_every_point() {
    let file = fresh_folder().with_extension("kill");
    let mut shop = Shop::open_with(vec!["--kill-at-file".to_owned(), file.display().to_string()]).await;
    let arm = async |point: &str| {
        std::fs::write(&file, format!("{point}\n")).unwrap();
        eventually(point, 5, || async { (!file.exists()).then_some(()) }).await;
    };
    for point in ["card.quoted", "card.session.made"] {
        arm(point).await;
        let wallet = Wallet::random();
        let body = json!({ "wallet": wallet.address(), "amount_usd_micros": 5_000_000 });
        let lost = shop.lab.http.post(shop.lab.url("/billing/v1/checkouts")).json(&body).send().await;
        assert!(lost.is_err(), "{point}");
        shop.lab.server.died(30, point).await;
        shop = shop.reopen().await;
        // Who never got an address pays nothing; the next try is whole.
        let started = shop.top_up(&wallet, 5_000_000).await;
        shop.stripe.pay(&started.session);
        shop.until(&wallet.address(), 5_000_000).await;
    }
    for point in ["card.event.stored", "card.event.recorded", "card.post.written", "card.post.committed"] {
        let wallet = Wallet::random();
        let body = json!({ "wallet": wallet.address() });
        let tier = shop.start("/billing/v1/tiers/hobby/checkout", body).await;
        arm(point).await;
        shop.stripe.pay(&tier.session);
        shop.lab.server.died(30, point).await;
        shop = shop.reopen().await;
        eventually(point, 40, || async {
            (shop.account(&wallet.address()).await["tier"] == "hobby").then_some(())
        })
        .await;
        assert_eq!(shop.available(&wallet.address()).await, 0, "{point}");
    }
    shop.lab.assert_books_agree();
}

// C15: a flood while the database is slow; what was acknowledged is there.
#[tokio::test]
async fn a_flood_is_acknowledged_only_once_it_is_durable() {
    const FLOOD: usize = 1_500;
    let shop = Shop::open().await;
    let database = shop.lab.database().await;
    let body = |n: usize| {
        json!({ "id": format!("evt_flood_{n}"), "type": "invoice.paid", "created": 1_900_000_000,
            "livemode": false, "data": { "object": {} } })
        .to_string()
    };
    // The table is locked for a while: deliveries wait, or are refused and come again.
    let mut slow = database.begin().await.unwrap();
    sqlx::query("lock table stripe_events in exclusive mode").execute(&mut *slow).await.unwrap();
    let shop_ref = &shop;
    let flood = futures::stream::iter(0..FLOOD)
        .map(|n| async move {
            let answer = shop_ref.deliver(&body(n)).await;
            (n, answer.status)
        })
        .buffer_unordered(200)
        .collect::<Vec<_>>();
    let release = async {
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        slow.rollback().await.unwrap();
    };
    use futures::StreamExt;
    let (answers, ()) = tokio::join!(flood, release);
    let taken: Vec<String> =
        answers.iter().filter(|(_, status)| *status == 200).map(|(n, _)| format!("evt_flood_{n}")).collect();
    assert!(answers.iter().all(|(_, status)| [200, 503].contains(status)), "{answers:?}");
    let kept: i64 = sqlx::query_scalar("select count(*) from stripe_events where id = any($1)")
        .bind(&taken)
        .fetch_one(&database)
        .await
        .unwrap();
    assert_eq!(kept, taken.len() as i64);
    assert!(taken.len() > FLOOD / 4, "{}", taken.len());
    shop.quiet(&database).await;
    shop.lab.assert_books_agree();
}
