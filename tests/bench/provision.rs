//! Making projects: a burst that the warm pool serves, then without end; beside bare `create database` on the
//! same Postgres in the same run.

#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::time::{Duration, Instant};

use bench::{Latencies, Table, per_second};
use futures::future::join_all;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use tests::{Lab, Wallet, eventually};

/// What a lab keeps warm.
const BURST: usize = 6;
const CALLERS: usize = 3;
const SUSTAINED: Duration = Duration::from_secs(12);
const BARE: Duration = Duration::from_secs(6);

#[tokio::main]
async fn main() {
    let mut table = Table::new("provision");
    let lab = Lab::start().await;
    let wallet = lab.subscribed_wallet().await;
    let control = lab.database().await;
    let cell = cell(&lab).await;
    let bare_one = bare(&cell, 1, "one").await;
    let bare_many = bare(&cell, CALLERS, "many").await;

    let mut burst = Latencies::default();
    let mut bursts = Vec::new();
    for _ in 0..3 {
        warm(&control).await;
        let started = Instant::now();
        join_all((0..BURST).map(|_| provision(&lab, &wallet))).await.into_iter().for_each(|t| burst.add(t));
        bursts.push(per_second(BURST, started.elapsed()));
    }
    let (rate, mut sustained) = without_end(&lab, &wallet).await;

    let mut one = bare_one.1;
    let what = format!("burst of {BURST} from the warm pool");
    let limit = Some(("bare create database, 1 connection", bare_one.0));
    table.rate(&what, "projects/s", bench::median(&mut bursts), limit, &burst.text());
    let beside = format!("bare create database, {CALLERS} connections");
    let limit = Some((beside.as_str(), bare_many.0));
    let what = format!("sustained, {CALLERS} callers, {} s", SUSTAINED.as_secs());
    table.rate(&what, "projects/s", rate, limit, &sustained.text());
    table.row(["bare create database, 1 connection", "", "", "", "", "", &one.text()]);
    table.finish(
        "sustained: a slot is a database (the bare figure), seven statements for its logins and grants, and one \
         connection into it; the burst is a row update and the claims of its project",
    );
}

/// A pool of the cell's superuser.
async fn cell(lab: &Lab) -> PgPool {
    let text = std::fs::read(lab.data.join("endpoints.json")).unwrap();
    let endpoints: Value = serde_json::from_slice(&text).unwrap();
    PgPool::connect(endpoints["cell_url"].as_str().unwrap()).await.unwrap()
}

/// Waits until the pool is full again.
async fn warm(control: &PgPool) {
    eventually("warm slots", 60, || async {
        let count = "select count(*) from slots where state = 'warm'";
        let warm: i64 = sqlx::query_scalar(count).fetch_one(control).await.unwrap();
        (warm >= BURST as i64).then_some(())
    })
    .await;
}

async fn provision(lab: &Lab, wallet: &Wallet) -> Duration {
    let asked = Instant::now();
    // A node that has nothing warm may say so and ask to come back: that is part of how long it takes.
    for _ in 0..200 {
        let answer = lab.as_wallet(wallet, "POST", "/projects/v1", Some(json!({ "name": "bench" }))).await;
        match answer.status {
            201 => return asked.elapsed(),
            429 | 503 => tokio::time::sleep(Duration::from_millis(50)).await,
            _ => panic!("{answer:?}"),
        }
    }
    panic!("no project after {:?}", asked.elapsed());
}

async fn without_end(lab: &Lab, wallet: &Wallet) -> (f64, Latencies) {
    let started = Instant::now();
    let callers = (0..CALLERS).map(|_| async {
        let mut latencies = Latencies::default();
        while started.elapsed() < SUSTAINED {
            latencies.add(provision(lab, wallet).await);
        }
        latencies
    });
    let mut all = Latencies::default();
    join_all(callers).await.into_iter().for_each(|latencies| all.extend(latencies));
    (per_second(all.len(), started.elapsed()), all)
}

/// Copies of the same template, and nothing else.
async fn bare(cell: &PgPool, connections: usize, name: &str) -> (f64, Latencies) {
    let started = Instant::now();
    let workers = (0..connections).map(|worker| async move {
        let mut latencies = Latencies::default();
        while started.elapsed() < BARE / 2 {
            let database = format!("bench_{name}_{worker}_{}", latencies.len());
            let sql = format!("create database {database} template r402_tpl_v1 strategy wal_log");
            let asked = Instant::now();
            sqlx::query(AssertSqlSafe(sql)).execute(cell).await.unwrap();
            latencies.add(asked.elapsed());
        }
        latencies
    });
    let mut all = Latencies::default();
    join_all(workers).await.into_iter().for_each(|latencies| all.extend(latencies));
    (per_second(all.len(), started.elapsed()), all)
}
