//! Budgets on a real Postgres: the limit holds whoever comes at once.

use std::collections::BTreeSet;

use store::Store;
use store::budgets::{Counted, Scope, Spend, budget_set, budget_spend};
use store::ledger::{AccountRef, Currency, NewTransfer, balance_find, post, verify};
use types::{AccountId, Entropy, OsEntropy, UsdMicros};

use crate::common::{Db, customer, now, wallet};

const ANY: Scope = Scope { wallet: None, project: None };

/// One debit with its count, in one transaction.
async fn debit(store: &Store, (account, who): (AccountId, u8), name: &str, micros: i64) -> bool {
    let scope = Scope { wallet: Some(wallet(who)), project: None };
    let amount = UsdMicros(micros);
    let spend = Spend { account, scope, currency: Currency::Usd, amount, at: now() };
    let mut tx = store.begin().await.unwrap();
    if budget_spend(&mut tx, &spend).await.unwrap() != Counted::Within {
        return false;
    }
    let sides = (customer(account), AccountRef::revenue("tier", Currency::Usd));
    let leg = NewTransfer::post(("test", name.to_owned()), sides, amount, "test");
    post(&mut tx, OsEntropy.uuid(), &[leg], now()).await.unwrap();
    tx.commit().await.unwrap();
    true
}

async fn limit(db: &Db, account: AccountId, scope: Scope, micros: Option<i64>) {
    let mut tx = db.store.begin().await.unwrap();
    let micros = micros.map(UsdMicros);
    budget_set(&mut tx, (account, scope), micros, (wallet(1), now())).await.unwrap();
    tx.commit().await.unwrap();
}

// Goal: debits at the limit never go over it. Method: 64 at once by four wallets under a budget for all and one for
// each, with room for ten in all and for four of each.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_debits_at_once_never_exceed_a_budget() {
    let db = Db::fresh().await;
    let account = db.account(1).await;
    db.fund(account, 1_000_000).await;
    limit(&db, account, ANY, Some(1_005)).await;
    for who in 1..=4 {
        limit(&db, account, Scope { wallet: Some(wallet(who)), project: None }, Some(400)).await;
    }
    let tasks: Vec<_> = (0..64_u8)
        .map(|n| {
            let store = db.store.clone();
            tokio::spawn(
                async move { (n % 4, debit(&store, (account, 1 + n % 4), &n.to_string(), 100).await) },
            )
        })
        .collect();
    let mut done = Vec::new();
    for task in tasks {
        let (who, within) = task.await.unwrap();
        done.extend(within.then_some(who));
    }
    assert_eq!(done.len(), 10);
    assert!((0..4).all(|who| done.iter().filter(|w| **w == who).count() <= 4), "{done:?}");
    let left = balance_find(&db.store, &customer(account)).await.unwrap();
    assert_eq!(left.posted, UsdMicros(1_000_000 - 1_000));
    let told = db.store.budget_list(account, now()).await.unwrap();
    assert_eq!((told.len(), told[0].spent_cash, told[0].spent_test), (5, UsdMicros(1_000), UsdMicros::ZERO));
    assert_eq!(verify(&db.store).await.unwrap().differences, 0);
}

// Goal: a day is a day, a money is a money, a rollback spends nothing. Method: each in turn under one budget.
#[tokio::test]
async fn a_budget_counts_by_day_and_money_and_only_what_is_committed() {
    let db = Db::fresh().await;
    let account = db.account(1).await;
    limit(&db, account, ANY, Some(100)).await;
    let spend = |days: i64, currency, micros| Spend {
        account,
        scope: ANY,
        currency,
        amount: UsdMicros(micros),
        at: now() + chrono::TimeDelta::days(days),
    };
    let count = async |spend: Spend, keep: bool| {
        let mut tx = db.store.begin().await.unwrap();
        let counted = budget_spend(&mut tx, &spend).await.unwrap();
        if keep {
            tx.commit().await.unwrap()
        } else {
            tx.rollback().await.unwrap()
        }
        counted == Counted::Within
    };
    assert!(count(spend(0, Currency::Usd, 100), false).await, "rolled back");
    assert!(count(spend(0, Currency::Usd, 100), true).await);
    assert!(!count(spend(0, Currency::Usd, 1), true).await);
    assert!(count(spend(0, Currency::TestUsd, 100), true).await);
    assert!(count(spend(1, Currency::Usd, 100), true).await);
    assert!(!count(spend(2, Currency::Usd, i64::MAX), true).await);
    limit(&db, account, ANY, Some(150)).await;
    assert!(count(spend(0, Currency::Usd, 50), true).await && !count(spend(0, Currency::Usd, 1), true).await);
    limit(&db, account, ANY, None).await;
    assert!(count(spend(0, Currency::Usd, 1_000), true).await);
    let scopes: BTreeSet<_> =
        db.store.budget_list(account, now()).await.unwrap().into_iter().map(|b| b.limit).collect();
    assert!(scopes.is_empty());
}
