//! A hundred thousand leases that end at once: how long the sweep of due rows takes, how much of one core and how much
//! memory, beside one statement that marks as many rows.

#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::time::{Duration, Instant};

use bench::{Table, cpu_secs, per_second, resident_kib};
use sqlx::{AssertSqlSafe, PgPool};
use tests::Lab;

const ACCOUNTS: i64 = 100_000;

#[tokio::main]
async fn main() {
    let mut table = Table::new("sweep");
    let lab = Lab::start().await;
    let database = lab.database().await;
    let bare = bare(&database).await;
    let pid = u32::try_from(lab.server.pid()).unwrap();
    accounts(&database).await;
    // The clock of the platform stands still: these became due while they were written.
    let (cpu, memory) = (cpu_secs(pid), resident_kib(pid));
    let (started, mut peak) = (Instant::now(), memory);
    let counted = "select count(*) from lifecycle_steps where due_at <= now() and worked_at is null";
    loop {
        peak = peak.max(resident_kib(pid));
        let left: i64 = sqlx::query_scalar(counted).fetch_one(&database).await.unwrap();
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = started.elapsed();
    let told: i64 = sqlx::query_scalar("select count(*) from notices").fetch_one(&database).await.unwrap();
    assert_eq!(told, ACCOUNTS, "each owner is told once");
    let rows = usize::try_from(ACCOUNTS).unwrap();
    let beside = Some(("one update of as many rows", per_second(rows, bare)));
    table.rate("lease steps of 100,000 accounts", "steps/s", per_second(rows, took), beside, "");
    let cpu = format!("{:.1} s", cpu_secs(pid) - cpu);
    table.row(["of one core, this process", "", &cpu, "aim", "60 s", "", ""]);
    let grown = format!("{} MiB", (peak - memory) / 1_024);
    let from = format!("{} MiB", memory / 1_024);
    table.row(["memory, most above the start", "", &grown, "at the start", &from, "", ""]);
    table.finish("six set-based statements and a synced commit for each 1,000 steps");
}

/// Accounts whose leases ended a second ago, with their first step due.
async fn accounts(database: &PgPool) {
    let script = format!(
        "begin;
         create temporary table made on commit drop as
           select gen_random_uuid() as id, now() - interval '1 second' as ends_at from generate_series(1, {ACCOUNTS});
         insert into accounts (id, created_at) select id, now() from made;
         insert into leases (account_id, tier, started_at, ends_at)
           select id, 'prototype', ends_at - interval '7 days', ends_at from made;
         insert into lifecycle_steps (account_id, lease_ends_at, step, due_at)
           select id, ends_at, 'past_due', ends_at from made;
         commit;"
    );
    sqlx::raw_sql(AssertSqlSafe(script)).execute(database).await.unwrap();
}

/// What the database alone needs to touch as many rows.
async fn bare(database: &PgPool) -> Duration {
    let script = format!(
        "create table bare as select n, null::timestamptz as worked_at from generate_series(1, {ACCOUNTS}) n"
    );
    sqlx::query(AssertSqlSafe(script)).execute(database).await.unwrap();
    let started = Instant::now();
    sqlx::query("update bare set worked_at = now()").execute(database).await.unwrap();
    let took = started.elapsed();
    sqlx::query("drop table bare").execute(database).await.unwrap();
    took
}
