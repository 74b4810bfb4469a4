//! A login that serves and can only add to the books.

use sqlx::postgres::PgPoolOptions;
use store::Store;
use store::ledger::{post, seal, verify};
use types::{Entropy, OsEntropy};

use crate::common::{Db, customer, now, transfer};

// D07: the application's own role cannot change what was posted, by whatever statement; it can do its work.
#[tokio::test]
async fn the_serving_role_adds_to_the_books_and_cannot_change_them() {
    let db = Db::fresh().await;
    let (ours, theirs) = (db.account(1).await, db.account(2).await);
    db.fund(ours, 1_000).await;
    db.sql("create role \"serving role\" login").await.unwrap();
    for _ in 0..2 {
        db.store.grant_serving("serving role").await.unwrap();
    }
    let as_role = |pool: PgPoolOptions| {
        pool.after_connect(|connection, _| {
            Box::pin(async move {
                sqlx::query("set session authorization \"serving role\"").execute(connection).await.map(drop)
            })
        })
    };
    let options = db.raw.connect_options().as_ref().clone();
    let pool = as_role(PgPoolOptions::new().max_connections(2)).connect_with(options).await.unwrap();
    let serving = Store::from_pool(pool.clone());
    serving.migrate().await.unwrap();

    let mut tx = serving.begin().await.unwrap();
    let leg = transfer("work", (customer(ours), customer(theirs)), 7);
    post(&mut tx, OsEntropy.uuid(), &[leg], now()).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(seal(&serving, now(), 10).await.unwrap(), 2);

    for sql in [
        "update ledger_transfers set amount = 1",
        "delete from ledger_transfers",
        "truncate ledger_transfers cascade",
        "update ledger_seals set hash = hash",
        "delete from ledger_seals",
        "delete from ledger_roots",
        "delete from ledger_accounts",
        "update ledger_accounts set may_be_negative = true",
        "update ledger_accounts set owner = null",
        "alter table ledger_transfers disable trigger all",
        "alter table ledger_transfers disable trigger ledger_transfers_append_only",
        "drop trigger ledger_transfers_append_only on ledger_transfers",
        "create or replace function ledger_refuse_change() returns trigger language plpgsql as
           'begin return new; end'",
        "alter table ledger_accounts drop constraint ledger_no_overdraft",
        "drop table ledger_transfers cascade",
        "set session_replication_role = replica",
        "update _sqlx_migrations set success = false",
        "create table mine (id int)",
    ] {
        let error = sqlx::query(sql).execute(&pool).await.expect_err(sql);
        let code = error.as_database_error().and_then(|e| e.code()).map(|code| code.into_owned());
        assert_eq!(code.as_deref(), Some("42501"), "{sql}: {error}");
    }
    // What it may move, it moves within the rules.
    let overdrawn = sqlx::query("update ledger_accounts set posted = -1 where owner is not null");
    assert!(overdrawn.execute(&pool).await.is_err());
    let report = verify(&db.store).await.unwrap();
    assert_eq!(report.differences, 0, "{:?}", report.findings);
}
