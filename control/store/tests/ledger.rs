//! The ledger on a real Postgres: what the database refuses by itself, races, holds, seals, audits.

use std::time::Duration;

use crate::common::{Db, customer, now, transfer, wallet};
use sqlx::Row;
use store::accounts::{Lease, account_of_wallet_ensure, lease_write};
use store::ledger::{
    AccountRef, Balance, Currency, Journal, Kind, LedgerError, LedgerKind, NewTransfer, Posted, balance_find,
    post, post_many, seal, statement, verify,
};
use store::{Claimed, StoreError};
use types::{AccountId, Entropy, NodeId, OsEntropy, Tier, UsdMicros};

async fn available(db: &Db, account: AccountId) -> i64 {
    balance_find(&db.store, &customer(account)).await.expect("a balance").available().0
}

async fn differences(db: &Db) -> Vec<&'static str> {
    let report = verify(&db.store).await.expect("books that can be read");
    let mut checks: Vec<_> = report.findings.iter().map(|f| f.check).collect();
    checks.dedup();
    checks
}

// Goal: no deadlock whatever the order of the sides (D02). Method: opposite pairs over three accounts, all at
// once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn opposite_transfers_in_parallel_all_post_and_never_deadlock() {
    let db = Db::fresh().await;
    let accounts = [db.account(1).await, db.account(2).await, db.account(3).await];
    for account in accounts {
        db.fund(account, 1_000_000).await;
    }
    let tasks = (0..16).map(|task: usize| {
        let store = db.store.clone();
        tokio::spawn(async move {
            for round in 0..50 {
                let (a, b) = (accounts[(task + round) % 3], accounts[(task + round + 1 + task % 2) % 3]);
                let leg = transfer(&format!("{task}/{round}"), (customer(a), customer(b)), 7);
                let mut tx = store.begin().await.unwrap();
                post(&mut tx, OsEntropy.uuid(), &[leg], now()).await.unwrap();
                tx.commit().await.unwrap();
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let report = verify(&db.store).await.unwrap();
    assert_eq!((report.differences, report.transfers), (0, 3 + 16 * 50), "{:?}", report.findings);
}

// D06: the rules hold for whoever writes, not only for our code.
#[tokio::test]
async fn the_database_itself_refuses_what_would_break_the_books() {
    let db = Db::fresh().await;
    let account = db.account(1).await;
    db.fund(account, 100).await;
    let test = AccountRef::customer(account, Currency::TestUsd);
    let clearing = AccountRef::x402_clearing(types::Network::BaseSepolia);
    db.post(&[transfer("test money", (clearing, test), 5)]).await.unwrap();
    let refused = [
        ("update ledger_accounts set posted = -1 where kind = 'customer_credit'", "ledger_no_overdraft"),
        ("update ledger_accounts set held = 101 where kind = 'customer_credit'", "ledger_no_overdraft"),
        ("update ledger_accounts set held = -1 where kind = 'customer_credit'", "ledger_held_not_negative"),
        (
            "update ledger_accounts set currency = 'test_usd' where kind = 'customer_credit'",
            "ledger_kind_currency",
        ),
        ("update ledger_transfers set amount = 1", "ledger_append_only"),
        ("delete from ledger_transfers", "ledger_append_only"),
        ("truncate ledger_transfers cascade", "ledger_append_only"),
        ("truncate ledger_seals", "ledger_append_only"),
        (insert("'usd'", "d.id", "t.id", "1"), "ledger_transfers_credit_currency_fkey"),
        (insert("'test_usd'", "d.id", "t.id", "1"), "ledger_transfers_debit_currency_fkey"),
        (insert("'usd'", "d.id", "d.id", "1"), "ledger_two_accounts"),
        (insert("'usd'", "d.id", "999", "1"), "ledger_transfers_credit_currency_fkey"),
        (insert("'usd'", "d.id", "c.id", "0"), "ledger_transfers_amount_check"),
        (insert("'usd'", "d.id", "c.id", "-1"), "ledger_transfers_amount_check"),
    ];
    for (sql, constraint) in refused {
        let error = db.sql(sql).await.expect_err(sql);
        let said = error.as_database_error().and_then(|e| e.constraint()).map(str::to_owned);
        assert_eq!(said.as_deref(), Some(constraint), "{sql}: {error}");
    }
    assert_eq!(differences(&db).await, [""; 0]);
}

/// A transfer written by hand, with one thing wrong.
fn insert(currency: &str, debit: &str, credit: &str, amount: &str) -> &'static str {
    let sql = format!(
        "insert into ledger_transfers (source, source_id, kind, currency, debit, credit, amount, link, reason,
           debit_posted_after, debit_held_after, credit_posted_after, credit_held_after, created_at)
         select 'raw', 'x', 'post', {currency}, {debit}, {credit}, {amount}, gen_random_uuid(), 'raw',
           0, 0, 0, 0, now()
         from ledger_accounts d, ledger_accounts c, ledger_accounts t
         where d.kind = 'customer_credit' and c.kind = 'revenue' and t.kind = 'customer_test_credit'"
    );
    Box::leak(sql.into_boxed_str())
}

#[tokio::test]
async fn an_overdraft_is_refused_and_leaves_no_trace() {
    let db = Db::fresh().await;
    let (a, b) = (db.account(1).await, db.account(2).await);
    db.fund(a, 100).await;
    let pay = |name: &str, micros| transfer(name, (customer(a), customer(b)), micros);
    // The second leg is too much, so the first is not posted either.
    let refused = db.post(&[pay("one", 60), pay("two", 41)]).await.unwrap_err();
    assert!(matches!(refused, LedgerError::Overdraft { .. }), "{refused:?}");
    assert_eq!((available(&db, a).await, available(&db, b).await), (100, 0));
    // In one batch, the refused one does not touch the others.
    let journals: Vec<Journal> = [("x", 60), ("y", 60), ("z", 40)]
        .map(|(name, micros)| Journal { link: OsEntropy.uuid(), legs: vec![pay(name, micros)] })
        .into();
    let mut tx = db.store.begin().await.unwrap();
    let outcomes = post_many(&mut tx, &journals, now()).await.unwrap();
    tx.commit().await.unwrap();
    assert!(matches!(outcomes[1], Err(LedgerError::Overdraft { .. })));
    assert!(matches!((&outcomes[0], &outcomes[2]), (Ok(Posted::New(_)), Ok(Posted::New(_)))));
    assert_eq!((available(&db, a).await, available(&db, b).await), (0, 100));
    for bad in [0, -1] {
        assert!(matches!(db.post(&[pay("bad", bad)]).await, Err(LedgerError::Amount)));
    }
    let mixed = (customer(b), AccountRef::customer(a, Currency::TestUsd));
    assert!(matches!(db.post(&[transfer("mixed", mixed, 1)]).await, Err(LedgerError::MixedCurrency)));
    assert_eq!(differences(&db).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_fact_is_posted_once_and_other_facts_under_its_name_are_refused() {
    let db = Db::fresh().await;
    let (a, b) = (db.account(1).await, db.account(2).await);
    db.fund(a, 1_000).await;
    let pay = |micros| transfer("once", (customer(a), customer(b)), micros);
    // Fifty at once: one is new.
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (store, leg) = (db.store.clone(), pay(10));
            tokio::spawn(async move {
                let mut tx = store.begin().await.unwrap();
                let posted = post(&mut tx, OsEntropy.uuid(), &[leg], now()).await.unwrap();
                tx.commit().await.unwrap();
                posted
            })
        })
        .collect();
    let mut news = 0;
    let mut ids = Vec::new();
    for task in tasks {
        let posted = task.await.unwrap();
        news += usize::from(matches!(posted, Posted::New(_)));
        ids.push(posted.ids()[0]);
    }
    ids.dedup();
    assert_eq!((news, ids.len(), available(&db, a).await), (1, 1, 990));

    for other in [pay(11), transfer("once", (customer(b), customer(a)), 10)] {
        let refused = db.post(&[other]).await.unwrap_err();
        assert!(matches!(refused, LedgerError::Contradiction { .. }), "{refused:?}");
    }
    // A journal that is known only in part.
    let partly = [pay(10), transfer("new", (customer(a), customer(b)), 1)];
    assert!(matches!(db.post(&partly).await, Err(LedgerError::Contradiction { .. })));
    // Twice in one batch.
    let twin =
        Journal { link: OsEntropy.uuid(), legs: vec![transfer("twin", (customer(a), customer(b)), 5)] };
    let mut tx = db.store.begin().await.unwrap();
    let outcomes = post_many(&mut tx, &[twin.clone(), twin], now()).await.unwrap();
    tx.commit().await.unwrap();
    let ids: Vec<_> = outcomes.iter().map(|o| o.as_ref().unwrap().ids()[0]).collect();
    assert!(matches!(outcomes[1], Ok(Posted::Before(_))) && ids[0] == ids[1]);
    assert_eq!(available(&db, a).await, 985);
}

// D08: of two that spend one hold, one wins; a hold is never exceeded.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hold_is_captured_in_parts_and_voided_for_the_rest() {
    let db = Db::fresh().await;
    let account = db.account(1).await;
    let revenue = AccountRef::revenue("image", Currency::Usd);
    db.fund(account, 100).await;
    let step = |name: &str, kind, hold_id, micros| NewTransfer {
        kind,
        hold_id,
        ..transfer(name, (customer(account), revenue.clone()), micros)
    };
    let hold = db.post(&[step("hold", Kind::Hold, None, 80)]).await.unwrap().ids()[0];
    let balance = |held, posted| Balance { posted: UsdMicros(posted), held: UsdMicros(held) };
    assert_eq!(balance_find(&db.store, &customer(account)).await.unwrap(), balance(80, 100));
    // What is held cannot be spent, nor held again.
    assert!(matches!(
        db.post(&[step("hold 2", Kind::Hold, None, 21)]).await,
        Err(LedgerError::Overdraft { .. })
    ));
    assert!(matches!(
        db.post(&[step("spend", Kind::Post, None, 21)]).await,
        Err(LedgerError::Overdraft { .. })
    ));

    let over = db.post(&[step("over", Kind::Capture, Some(hold), 81)]).await.unwrap_err();
    assert!(matches!(over, LedgerError::HoldSpent(_)), "{over:?}");
    db.post(&[step("part", Kind::Capture, Some(hold), 30)]).await.unwrap();
    assert_eq!(balance_find(&db.store, &customer(account)).await.unwrap(), balance(50, 70));

    // A capture of all that is left against a void of it, twenty times at once.
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let kind = if n % 2 == 0 { Kind::Capture } else { Kind::Void };
            let (store, leg) = (db.store.clone(), step(&format!("end {n}"), kind, Some(hold), 50));
            tokio::spawn(async move {
                let mut tx = store.begin().await.unwrap();
                let posted = post(&mut tx, OsEntropy.uuid(), &[leg], now()).await;
                tx.commit().await.unwrap();
                posted
            })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => winners += 1,
            Err(e) => assert!(matches!(e, LedgerError::HoldSpent(_)), "{e:?}"),
        }
    }
    assert_eq!(winners, 1);
    assert_eq!(balance_find(&db.store, &customer(account)).await.unwrap().held, UsdMicros(0));
    let stray = db.post(&[step("stray", Kind::Void, Some(999), 1)]).await.unwrap_err();
    assert!(matches!(stray, LedgerError::NotAHold(999)));
    assert_eq!(differences(&db).await, [""; 0]);
}

#[tokio::test]
async fn a_statement_tells_direction_and_balance_newest_first() {
    let db = Db::fresh().await;
    let (a, b) = (db.account(1).await, db.account(2).await);
    db.fund(a, 100).await;
    let charge = transfer("charge", (customer(a), customer(b)), 30).referring_to("tier", "hobby");
    let charge = db.post(&[charge]).await.unwrap();
    let entries = statement(&db.store, a, None, 10).await.unwrap();
    let told: Vec<_> = entries
        .iter()
        .map(|e| (e.direction.as_str(), e.amount.0, e.balance_after_available.0, e.balance_after_held.0))
        .collect();
    assert_eq!(told, [("debit", 30, 70, 0), ("credit", 100, 100, 0)]);
    assert_eq!(entries[0].reference, Some(("tier".to_owned(), "hobby".to_owned())));
    assert_eq!(entries[0].id, charge.ids()[0]);
    assert_eq!(statement(&db.store, a, None, 1).await.unwrap().len(), 1);

    // A transfer is undone once, and the reversal names it.
    let mut tx = db.store.begin().await.unwrap();
    let undone = store::ledger::transfer_find(&mut tx, "test", "charge").await.unwrap().unwrap();
    drop(tx);
    db.post(&[NewTransfer::reversal(&undone, "adjustment")]).await.unwrap();
    let again = db.post(&[NewTransfer::reversal(&undone, "adjustment")]).await.unwrap();
    assert!(matches!(again, Posted::Before(_)));
    assert_eq!((available(&db, a).await, available(&db, b).await), (100, 0));
}

// D07, and the promise that anyone can re-derive the books.
#[tokio::test]
async fn tampering_is_found_whatever_is_touched() {
    let db = Db::fresh().await;
    let (a, b) = (db.account(1).await, db.account(2).await);
    db.fund(a, 1_000).await;
    for n in 0..20 {
        db.post(&[transfer(&format!("n{n}"), (customer(a), customer(b)), 1 + n)]).await.unwrap();
    }
    let day = chrono::TimeDelta::days(1);
    assert_eq!(seal(&db.store, now(), 15).await.unwrap(), 15);
    assert_eq!(seal(&db.store, now() + day, 100).await.unwrap(), 6);
    assert_eq!(seal(&db.store, now() + day + day, 100).await.unwrap(), 0);
    let report = verify(&db.store).await.unwrap();
    assert_eq!((report.sealed, report.unsealed, report.roots), (21, 0, 2));
    assert_eq!((report.differences, report.findings.len()), (0, 0));

    // Only someone who owns the database can do these; each is put right again afterwards.
    db.sql("alter table ledger_transfers disable trigger user").await.unwrap();
    db.sql("alter table ledger_seals disable trigger user").await.unwrap();
    let tampers = [
        (
            "update ledger_transfers set reason = 'x' where id = 5",
            "update ledger_transfers set reason = 'test' where id = 5",
            &["seal"][..],
        ),
        (
            "update ledger_transfers set metadata = '{\"a\":1}' where id = 9",
            "update ledger_transfers set metadata = '{}' where id = 9",
            &["seal"],
        ),
        (
            "update ledger_transfers set amount = amount + 1 where id = 7",
            "update ledger_transfers set amount = amount - 1 where id = 7",
            &["balance", "seal"],
        ),
        (
            "update ledger_accounts set posted = posted + 1 where kind = 'customer_credit'",
            "update ledger_accounts set posted = posted - 1 where kind = 'customer_credit'",
            &["balance", "sum"],
        ),
        ("update ledger_seals set hash = sha256('x') where seq = 21", "", &["seal", "root"]),
    ];
    for (tamper, repair, found) in tampers {
        db.sql(tamper).await.unwrap();
        assert_eq!(differences(&db).await, found, "{tamper}");
        if !repair.is_empty() {
            db.sql(repair).await.unwrap();
            assert_eq!(differences(&db).await, [""; 0], "{repair}");
        }
    }
    // A transfer that was removed whole, seal and all, leaves a hole in the chain.
    db.sql("delete from ledger_seals where seq = 3").await.unwrap();
    assert!(differences(&db).await.contains(&"unsealed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_sealers_make_one_chain_over_everything_that_was_posted_meanwhile() {
    let db = Db::fresh().await;
    let (a, b) = (db.account(1).await, db.account(2).await);
    db.fund(a, 1_000_000).await;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = db.store.clone();
            tokio::spawn(async move {
                for n in 0..25 {
                    let mut tx = store.begin().await.unwrap();
                    let leg = transfer(&format!("{writer}/{n}"), (customer(a), customer(b)), 1);
                    post(&mut tx, OsEntropy.uuid(), &[leg], now()).await.unwrap();
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    let sealers: Vec<_> = (0..4)
        .map(|_| {
            let store = db.store.clone();
            tokio::spawn(async move {
                for _ in 0..30 {
                    seal(&store, now(), 7).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in writers.into_iter().chain(sealers) {
        task.await.unwrap();
    }
    while seal(&db.store, now(), 100).await.unwrap() > 0 {}
    let report = verify(&db.store).await.unwrap();
    assert_eq!((report.differences, report.sealed, report.unsealed), (0, 101, 0), "{:?}", report.findings);
}

// Goal: no write after being superseded. Method: hold a fence, let another node take over, use the fence.
#[tokio::test]
async fn a_superseded_owner_cannot_write_a_lease() {
    let db = Db::fresh().await;
    let account = db.account(1).await;
    let claim = async |node| {
        db.store.node_heartbeat(node, "http://127.0.0.1:1", Duration::from_secs(60)).await.unwrap();
        match db.store.claim("lease", account.0, node).await.unwrap() {
            Claimed::Ours(fence) => fence,
            Claimed::Theirs(peer) => panic!("held by {peer:?}"),
        }
    };
    let (first, second) = (NodeId(OsEntropy.uuid()), NodeId(OsEntropy.uuid()));
    let old = claim(first).await;
    db.store.node_leave(first).await.unwrap();
    let new = claim(second).await;
    assert!(new.epoch > old.epoch);
    let refused = db.store.fenced(&old).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, StoreError::Fenced), "{refused:?}");

    let lease = Lease { tier: Tier::Hobby, started_at: now(), ends_at: now() + chrono::TimeDelta::days(30) };
    let mut tx = db.store.fenced(&new).await.unwrap();
    lease_write(&mut tx, account, Some(lease)).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store::accounts::lease_find(&db.store, account).await.unwrap(), Some(lease));
    assert_eq!(differences(&db).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wallet_that_knocks_many_times_at_once_gets_one_account() {
    let db = Db::fresh().await;
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let store = db.store.clone();
            tokio::spawn(async move {
                account_of_wallet_ensure(&store, wallet(7), AccountId::new(&OsEntropy), now()).await.unwrap()
            })
        })
        .collect();
    let mut accounts = Vec::new();
    for task in tasks {
        accounts.push(task.await.unwrap());
    }
    accounts.dedup();
    assert_eq!(accounts.len(), 1);
    let count = sqlx::query("select count(*) from accounts").fetch_one(&db.raw).await.unwrap();
    assert_eq!(count.get::<i64, _>(0), 1);
    let usage = store::accounts::account_usage(&db.store, accounts[0]).await.unwrap();
    assert_eq!((usage.projects, usage.storage_bytes), (0, 0));
    let nothing =
        balance_find(&db.store, &AccountRef::platform(LedgerKind::Revenue, Currency::Usd, "tier")).await;
    assert_eq!(nothing.unwrap(), Balance::default());
}

// An account that a transaction made and did not commit is known to nobody, although its id was remembered.
#[tokio::test]
async fn a_remembered_account_that_was_rolled_back_is_made_again() {
    let db = Db::fresh().await;
    let (a, b) = (db.account(1).await, db.account(2).await);
    db.fund(a, 100).await;
    let pay = |name: &str| transfer(name, (customer(a), customer(b)), 10);
    let mut tx = db.store.begin().await.unwrap();
    for name in ["makes it", "remembers it"] {
        post(&mut tx, OsEntropy.uuid(), &[pay(name)], now()).await.unwrap();
    }
    tx.rollback().await.unwrap();
    let posted = db.post(&[pay("makes it")]).await.unwrap();
    assert!(matches!(posted, Posted::New(_)), "{posted:?}");
    assert_eq!((available(&db, a).await, available(&db, b).await), (90, 10));
}
