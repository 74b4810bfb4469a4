//! Group commit: many callers, one transaction, an outcome for each.

use std::sync::Arc;

use crate::common::{Db, customer, transfer};
use store::ledger::{
    AccountRef, Currency, Journal, LedgerError, NewTransfer, Posted, Poster, balance_find, verify,
};
use store::{Claimed, StoreError};
use types::{Entropy, NodeId, OsEntropy, SystemClock};
use uuid::Uuid;

fn journal(leg: NewTransfer) -> Journal {
    Journal { link: OsEntropy.uuid(), legs: vec![leg] }
}

// D02: the account that everybody credits, by callers who know nothing of each other. One of them pays what it
// does not have, and one fact comes sixteen times.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_share_a_commit_and_each_has_its_own_outcome() {
    let db = Db::fresh().await;
    let (payer, poor) = (db.account(1).await, db.account(2).await);
    db.fund(payer, 10_000).await;
    let revenue = AccountRef::revenue("bench", Currency::Usd);
    let poster = Poster::new(db.store.clone(), Arc::new(SystemClock));
    let callers = (0..200).map(|n| {
        let (poster, revenue) = (poster.clone(), revenue.clone());
        let leg = match n {
            0..16 => transfer("the same", (customer(payer), revenue), 5),
            16..32 => transfer(&format!("poor/{n}"), (customer(poor), revenue), 1),
            _ => transfer(&format!("own/{n}"), (customer(payer), revenue), 3),
        };
        tokio::spawn(async move { (n, poster.post(None, journal(leg)).await) })
    });
    let mut fresh = 0;
    for caller in callers.collect::<Vec<_>>() {
        match caller.await.unwrap() {
            (0..16, Ok(Posted::New(_))) => fresh += 1,
            (0..16, Ok(Posted::Before(_))) | (16..32, Err(LedgerError::Overdraft { .. })) => {}
            (32.., Ok(Posted::New(_))) => {}
            (n, outcome) => panic!("{n}: {outcome:?}"),
        }
    }
    assert_eq!(fresh, 1, "a fact is posted once");
    let earned = balance_find(&db.store, &revenue).await.unwrap().posted.0;
    assert_eq!(earned, 5 + 168 * 3);
    let report = verify(&db.store).await.unwrap();
    assert_eq!((report.differences, report.transfers), (0, 1 + 1 + 168), "{:?}", report.findings);
}

// E06: who lost its claim posts nothing, and those that shared the transaction with it do.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_superseded_claim_is_refused_alone() {
    let db = Db::fresh().await;
    let payer = db.account(1).await;
    db.fund(payer, 1_000).await;
    let entity = Uuid::from_u128(7);
    let (old, new) = (NodeId(Uuid::from_u128(1)), NodeId(Uuid::from_u128(2)));
    let ttl = std::time::Duration::from_secs(30);
    for node in [old, new] {
        db.store.node_heartbeat(node, "http://127.0.0.1:1", ttl).await.unwrap();
    }
    let Claimed::Ours(stale) = db.store.claim("probe", entity, old).await.unwrap() else { panic!("free") };
    db.sql("update nodes set expires_at = now() - interval '1 second'").await.unwrap();
    let Claimed::Ours(newest) = db.store.claim("probe", entity, new).await.unwrap() else {
        panic!("expired")
    };

    let poster = Poster::new(db.store.clone(), Arc::new(SystemClock));
    let revenue = AccountRef::revenue("bench", Currency::Usd);
    let callers = (0..40).map(|n| {
        let fence = match n % 4 {
            0 => Some(stale.clone()),
            1 => Some(newest.clone()),
            _ => None,
        };
        let leg = transfer(&format!("{n}"), (customer(payer), revenue.clone()), 2);
        let poster = poster.clone();
        tokio::spawn(async move { (n, poster.post(fence, journal(leg)).await) })
    });
    for caller in callers.collect::<Vec<_>>() {
        match caller.await.unwrap() {
            (n, Err(LedgerError::Store(StoreError::Fenced))) if n % 4 == 0 => {}
            (n, Ok(Posted::New(_))) if n % 4 != 0 => {}
            (n, outcome) => panic!("{n}: {outcome:?}"),
        }
    }
    assert_eq!(balance_find(&db.store, &revenue).await.unwrap().posted.0, 30 * 2);
}
