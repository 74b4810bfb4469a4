//! Card payments on a real Postgres: what is a difference between Stripe's balance and the books, and what is none yet.

use chrono::TimeDelta;
use store::cards::{
    CardBuyer, CardProduct, NewCheckout, SessionFact, card_session_record, checkout_insert, checkout_locked,
};
use store::stripe_balance::{BalanceLine, balance_compare, balance_store};
use store::stripe_events::{Handled, NewEvent, Via, event_handled, event_store};
use types::{AccountId, CheckoutId, OsEntropy, UsdMicros};

use crate::common::{Db, now};

const SETTLED: TimeDelta = TimeDelta::minutes(30);

/// A quote, and an old line of Stripe's balance that names it.
async fn paid_long_ago(db: &Db, account: AccountId) -> CheckoutId {
    let quote = NewCheckout {
        id: CheckoutId::new(&OsEntropy),
        product: CardProduct::TopUp,
        product_key: String::new(),
        amount: UsdMicros(5_000_000),
        price: UsdMicros(5_000_000),
        livemode: false,
        buyer: CardBuyer::Account(account),
        wallet: None,
        off_session: false,
    };
    let mut tx = db.store.begin().await.unwrap();
    checkout_insert(&mut tx, &quote, now() - TimeDelta::hours(2)).await.unwrap();
    tx.commit().await.unwrap();
    let line = BalanceLine {
        id: "txn_1".to_owned(),
        payment_intent: "pi_1".to_owned(),
        checkout: Some(quote.id),
        amount: quote.amount,
        said_at: now() - TimeDelta::hours(1),
    };
    balance_store(&db.store, &[line], now()).await.unwrap();
    quote.id
}

/// How many payments somebody is called about.
async fn called(db: &Db, at: TimeDelta) -> usize {
    let at = now() + at;
    balance_compare(&db.store, at - SETTLED, at).await.unwrap().len()
}

// Goal: after an hour without webhooks the reconciler reads events and balance in one go, and nobody is called.
// Method: an event that waits, then its fact that is not posted; each for longer than half an hour is called about.
#[tokio::test]
async fn a_payment_on_its_way_into_the_books_is_no_difference() {
    let event = NewEvent {
        id: "evt_1",
        kind: "checkout.session.completed",
        livemode: false,
        said_at: now() - TimeDelta::hours(1),
        body: b"{}",
    };
    for recorded in [false, true] {
        let db = Db::fresh().await;
        let account = db.account(1).await;
        let id = paid_long_ago(&db, account).await;
        assert!(event_store(&db.store, &event, Via::Reconciler, now()).await.unwrap());
        if recorded {
            let mut tx = db.store.begin().await.unwrap();
            let checkout = checkout_locked(&mut tx, id).await.unwrap();
            let fact = SessionFact {
                session_id: "cs_1",
                payment_intent: Some("pi_1"),
                paid: true,
                failed: false,
                said_at: event.said_at,
            };
            card_session_record(&mut tx, &checkout, &fact, account, now()).await.unwrap().unwrap();
            event_handled(&mut tx, event.id, (Handled::Recorded, None), now()).await.unwrap();
            tx.commit().await.unwrap();
        }
        assert_eq!(called(&db, TimeDelta::zero()).await, 0, "recorded {recorded}");
        assert_eq!(called(&db, SETTLED).await, 0, "recorded {recorded}");
        assert_eq!(called(&db, SETTLED + TimeDelta::seconds(1)).await, 1, "it waits too long");
        assert_eq!(called(&db, SETTLED * 2).await, 0, "once");
    }
    // Stripe has it, and nothing of it is on its way.
    let db = Db::fresh().await;
    let account = db.account(1).await;
    paid_long_ago(&db, account).await;
    assert_eq!(called(&db, TimeDelta::zero()).await, 1);
}
