//! The oracle must be able to fail: each contradiction is planted once, and each is named.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use sqlx::PgPool;
use tests::{Customer, Lab, Site, eventually, oracle};

/// A table, what is done to it behind the software's back, and the words of the finding.
const PLANTED: &[(&str, &str, &str)] = &[
    ("purchases", "update purchases set link = gen_random_uuid()", "purchases without legs"),
    ("purchases", "delete from purchases", "credited payments without a live purchase"),
    ("leases", "update leases set account_id = gen_random_uuid()", "leases without a purchase"),
    ("project_secrets", "delete from project_secrets", "ready projects without slot or secrets"),
    ("slots", "update slots set number = -number where state = 'bound'", "slots bound to none"),
    ("projects", "update projects set active_release = null", "pointer is not their active release"),
    (
        "deploy_operations",
        "update deploy_operations set release_id = null where status = 'ready'",
        "release never went live",
    ),
    (
        "ledger_accounts",
        "update ledger_accounts set posted = posted + 1 where kind = 'revenue'",
        "differences",
    ),
    ("sightings", "update sightings set amount_micros = amount_micros + 1", "differences"),
];

#[tokio::test]
async fn the_oracle_finds_what_is_planted() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let site = Site { page: "<h1>x</h1>".to_owned(), idempotency_key: "planted".to_owned(), migration: None };
    let customer = Customer::new(&lab.api);
    eventually("the deploy", 30, || customer.deploy(&wallet, &project, &site)).await;
    oracle(&lab).await;

    let database = lab.database().await;
    for (table, sql, words) in PLANTED {
        change(&database, &format!("create table kept as select * from {table}; {sql}")).await;
        let panic = AssertUnwindSafe(oracle(&lab)).catch_unwind().await.expect_err(sql);
        let said = panic.downcast_ref::<String>().cloned().unwrap_or_default();
        assert!(said.contains(words), "{sql}: {said}");
        let back =
            format!("delete from {table}; insert into {table} overriding system value select * from kept");
        change(&database, &format!("{back}; drop table kept")).await;
    }
    oracle(&lab).await;
}

/// Without triggers and foreign keys, which would refuse it.
async fn change(database: &PgPool, sql: &str) {
    let script = format!("begin; set local session_replication_role = replica; {sql}; commit");
    sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(database).await.unwrap();
}
