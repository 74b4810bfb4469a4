//! Attacks on the ledger that need nothing but a database.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use store::StoreError;
use store::ledger::{
    AccountRef, Balance, Currency, Journal, Kind, LedgerError, LedgerKind, NewTransfer, Posted, balance_find,
    post, post_many, seal, transfer_find, verify,
};
use types::{AccountId, Entropy, OsEntropy, UsdMicros};

use crate::common::{Db, customer, now, transfer};

fn revenue() -> AccountRef {
    AccountRef::revenue("call", Currency::Usd)
}

// D05. Goal: amounts are exact or refused. Method: nothing, less than nothing, more than 63 bits hold in one and in two
// steps; then a fee of $0.000005 twenty thousand times.
#[tokio::test]
async fn amounts_are_exact_to_the_micro_or_refused() {
    let db = Db::fresh().await;
    let (a, b) = (db.account(1).await, db.account(2).await);
    db.fund(a, i64::MAX).await;
    for micros in [0, -1, i64::MIN] {
        let refused = db.post(&[transfer("bad", (customer(a), customer(b)), micros)]).await.unwrap_err();
        assert!(matches!(refused, LedgerError::Amount), "{micros}: {refused:?}");
    }
    let clearing = AccountRef::platform(LedgerKind::StripeClearing, Currency::Usd, "");
    let more = db.post(&[transfer("more", (clearing, customer(a)), 1)]).await.unwrap_err();
    assert!(matches!(more, LedgerError::Amount), "{more:?}");
    for batch in 0..20 {
        let journals: Vec<Journal> = (0..1_000)
            .map(|n| {
                let leg = transfer(&format!("fee {batch}/{n}"), (customer(a), revenue()), 5);
                Journal { link: OsEntropy.uuid(), legs: vec![leg] }
            })
            .collect();
        let mut tx = db.store.begin().await.unwrap();
        let outcomes = post_many(&mut tx, &journals, now()).await.unwrap();
        assert!(outcomes.iter().all(Result::is_ok));
        tx.commit().await.unwrap();
    }
    assert_eq!(balance_find(&db.store, &revenue()).await.unwrap().posted, UsdMicros(100_000));
    assert_eq!(balance_find(&db.store, &customer(a)).await.unwrap().posted, UsdMicros(i64::MAX - 100_000));
    assert_eq!(verify(&db.store).await.unwrap().differences, 0);
}

/// What the ledger should hold, kept by hand.
#[derive(Default)]
struct Model {
    balances: BTreeMap<u8, (i64, i64)>,
    revenue: i64,
    /// Open holds: whose, and what is left.
    holds: BTreeMap<i64, (u8, i64)>,
    /// Posted and not undone: the name of the fact, whose and how much.
    posts: Vec<(String, u8, i64)>,
}

// D16. Goal: whatever comes in whatever order, the ledger is the model. Method: seeded operations of every kind, good
// and bad, many of them repeated; balances compared after each, the books re-derived at times.
#[tokio::test]
async fn random_operations_end_where_a_model_ends() {
    for seed in 0..4 {
        let db = Db::fresh().await;
        let mut rng = StdRng::seed_from_u64(seed);
        let mut owners = Vec::new();
        for n in 1..=3 {
            let owner = db.account(n).await;
            db.fund(owner, 10_000).await;
            owners.push(owner);
        }
        let mut model = Model { balances: (0..3).map(|n| (n, (10_000, 0))).collect(), ..Model::default() };
        for step in 0..250 {
            operation(&db, &owners, &mut model, (&mut rng, step)).await;
            for (n, owner) in (0..).zip(&owners) {
                let Balance { posted, held } = balance_find(&db.store, &customer(*owner)).await.unwrap();
                assert_eq!((posted.0, held.0), model.balances[&n], "seed {seed}, step {step}, owner {n}");
            }
            let earned = balance_find(&db.store, &revenue()).await.unwrap().posted.0;
            assert_eq!(earned, model.revenue, "seed {seed}, step {step}");
            if step % 50 == 49 {
                seal(&db.store, now(), 1_000).await.unwrap();
                let report = verify(&db.store).await.unwrap();
                assert_eq!(report.differences, 0, "seed {seed}, step {step}: {:?}", report.findings);
            }
        }
    }
}

/// One operation, on the ledger and on the model; what the model cannot cover must be refused.
async fn operation(db: &Db, owners: &[AccountId], model: &mut Model, (rng, step): (&mut StdRng, u32)) {
    let who = rng.random_range(0..3_u8);
    let amount = rng.random_range(1..4_000_i64);
    let (posted, held) = model.balances[&who];
    let sides = (customer(owners[usize::from(who)]), revenue());
    let name = format!("op {step}");
    let leg = |kind, hold_id, micros| NewTransfer { kind, hold_id, ..transfer(&name, sides.clone(), micros) };
    let hold = model.holds.iter().next().map(|(id, hold)| (*id, *hold));
    match rng.random_range(0..6) {
        0 | 1 => {
            let outcome = db.post(&[leg(Kind::Post, None, amount)]).await;
            assert_eq!(outcome.is_ok(), posted - held >= amount, "{outcome:?}");
            if outcome.is_ok() {
                model.balances.insert(who, (posted - amount, held));
                model.revenue += amount;
                model.posts.push((name.clone(), who, amount));
            }
        }
        2 => {
            let outcome = db.post(&[leg(Kind::Hold, None, amount)]).await;
            assert_eq!(outcome.is_ok(), posted - held >= amount, "{outcome:?}");
            if let Ok(done) = outcome {
                model.balances.insert(who, (posted, held + amount));
                model.holds.insert(done.ids()[0], (who, amount));
            }
        }
        3 => {
            let Some((id, (owner, left))) = hold else { return };
            let sides = (customer(owners[usize::from(owner)]), revenue());
            let part =
                NewTransfer { kind: Kind::Capture, hold_id: Some(id), ..transfer(&name, sides, amount) };
            let outcome = db.post(&[part]).await;
            assert_eq!(outcome.is_ok(), amount <= left, "{outcome:?}");
            if outcome.is_ok() {
                let (posted, held) = model.balances[&owner];
                model.balances.insert(owner, (posted - amount, held - amount));
                model.revenue += amount;
                model.holds.insert(id, (owner, left - amount));
                model.holds.retain(|_, (_, left)| *left > 0);
            }
        }
        4 => {
            let Some((id, (owner, left))) = hold else { return };
            let sides = (customer(owners[usize::from(owner)]), revenue());
            let rest = NewTransfer { kind: Kind::Void, hold_id: Some(id), ..transfer(&name, sides, left) };
            db.post(&[rest]).await.unwrap();
            let (posted, held) = model.balances[&owner];
            model.balances.insert(owner, (posted, held - left));
            model.holds.remove(&id);
        }
        _ => undo(db, model, rng).await,
    }
}

/// Undoes a posted fact, twice: the second time changes nothing.
async fn undo(db: &Db, model: &mut Model, rng: &mut StdRng) {
    if model.posts.is_empty() {
        return;
    }
    let (name, owner, amount) = model.posts.remove(rng.random_range(0..model.posts.len()));
    let mut tx = db.store.begin().await.unwrap();
    let fact = transfer_find(&mut tx, "test", &name).await.unwrap().unwrap();
    tx.rollback().await.unwrap();
    let legs = [NewTransfer::reversal(&fact, "undone")];
    assert!(matches!(db.post(&legs).await.unwrap(), Posted::New(_)));
    assert!(matches!(db.post(&legs).await.unwrap(), Posted::Before(_)));
    let (posted, held) = model.balances[&owner];
    model.balances.insert(owner, (posted + amount, held));
    model.revenue -= amount;
}

// D03, D18. Goal: a connection that the server ends in the middle of a transaction has done nothing, and the same fact
// is posted once by the next try. Method: the backend is terminated between the write and the commit.
#[tokio::test]
async fn a_connection_that_is_ended_before_its_commit_has_posted_nothing() {
    let db = Db::fresh().await;
    let account = db.account(1).await;
    db.fund(account, 100).await;
    let leg = transfer("once", (customer(account), revenue()), 30);
    let mut tx = db.store.begin().await.unwrap();
    post(&mut tx, OsEntropy.uuid(), std::slice::from_ref(&leg), now()).await.unwrap();
    let ended = db
        .sql(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where state = 'idle in transaction' and pid <> pg_backend_pid()",
        )
        .await
        .unwrap();
    assert_eq!(ended, 1);
    let lost = tx.commit().await.unwrap_err();
    assert!(matches!(lost, StoreError::CommitUnknown(_) | StoreError::Db { .. }), "{lost:?}");
    assert_eq!(balance_find(&db.store, &customer(account)).await.unwrap().posted, UsdMicros(100));
    assert!(matches!(db.post(std::slice::from_ref(&leg)).await.unwrap(), Posted::New(_)));
    assert!(matches!(db.post(&[leg]).await.unwrap(), Posted::Before(_)));
    assert_eq!(balance_find(&db.store, &customer(account)).await.unwrap().posted, UsdMicros(70));
}

// D19. Goal: nothing relies on numbers without gaps. Method: transfers that are rolled back take numbers with them.
#[tokio::test]
async fn gaps_between_ids_are_no_difference() {
    let db = Db::fresh().await;
    let account = db.account(1).await;
    db.fund(account, 100).await;
    for n in 0..10 {
        let leg = transfer(&format!("{n}"), (customer(account), revenue()), 1);
        let mut tx = db.store.begin().await.unwrap();
        post(&mut tx, OsEntropy.uuid(), &[leg], now()).await.unwrap();
        if n % 2 == 0 { tx.rollback().await.unwrap() } else { tx.commit().await.unwrap() }
    }
    seal(&db.store, now(), 1_000).await.unwrap();
    let report = verify(&db.store).await.unwrap();
    assert_eq!((report.differences, report.transfers, report.sealed), (0, 6, 6), "{:?}", report.findings);
}

// D20. Goal: an audit sees one moment, whoever writes meanwhile and however many audits run; what is wrong it tells
// exactly, every time. Method: eight audits beside a writer, one of them given up half way; then a planted cent.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn audits_beside_a_writer_find_nothing_and_a_planted_cent_is_found_by_each() {
    let db = Db::fresh().await;
    let account = db.account(1).await;
    db.fund(account, 1_000_000).await;
    let store = db.store.clone();
    let writer = tokio::spawn(async move {
        for n in 0..300 {
            let leg = transfer(&format!("w {n}"), (customer(account), revenue()), 7);
            let mut tx = store.begin().await.unwrap();
            post(&mut tx, OsEntropy.uuid(), &[leg], now()).await.unwrap();
            tx.commit().await.unwrap();
        }
    });
    let audits: Vec<_> = (0..8)
        .map(|_| {
            let store = db.store.clone();
            tokio::spawn(async move { verify(&store).await.unwrap() })
        })
        .collect();
    audits[0].abort();
    for audit in audits.into_iter().skip(1) {
        let report = audit.await.unwrap();
        assert_eq!(report.differences, 0, "{:?}", report.findings);
    }
    writer.await.unwrap();
    db.sql("update ledger_accounts set posted = posted + 1 where name = 'call'").await.unwrap();
    let (one, two) = (verify(&db.store).await.unwrap(), verify(&db.store).await.unwrap());
    assert_eq!(one.findings, two.findings);
    let checks: Vec<_> = one.findings.iter().map(|finding| finding.check).collect();
    assert_eq!(checks, ["balance", "sum"], "{:?}", one.findings);
}
