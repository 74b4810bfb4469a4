//! Many runs due at once.

use std::time::Instant;

use serde_json::{Value, json};
use sqlx::PgPool;
use tests::{Lab, eventually};

use super::{deploy, hobby_project};

const FUNCTIONS: i64 = 10;
const RUNS: i64 = 10_000;
/// On two slow processors that do other things besides; what it was is printed.
const ENDED_WITHIN_SECS: u64 = 360;
const LAG_SECS_MAX: f64 = 300.0;
/// Time to write them before they are due.
const AHEAD_SECS: i64 = 5;

/// Calls that were counted so far, once a window without any was seen.
async fn counted(database: &PgPool) -> i64 {
    let query = "select coalesce(sum(calls), 0)::bigint from account_calls";
    sqlx::query_scalar(query).fetch_one(database).await.unwrap()
}

// F06. Goal: ten thousand runs that are due within one second are each run once: none is lost, none doubled, and
// each is counted. Method: their rows, due within one second of the lab's clock, for ten functions that allow runs
// side by side; the lag of their starts is printed.
#[tokio::test]
async fn ten_thousand_runs_due_in_one_second_run_once_each() {
    let lab = Lab::start().await;
    let project = hobby_project(&lab).await;
    for n in 0..FUNCTIONS {
        deploy(&lab, &project, &format!("load{n}"), "export default () => new Response('done')").await;
    }
    let lab = lab.restart().await;
    let database = lab.database().await;
    let before = counted(&database).await;
    let side = "update functions set overlap = 'allow', missed = 'run_all' where name like 'load%'";
    sqlx::query(side).execute(&database).await.unwrap();
    let clock = lab.send(lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": 1 }))).await.body;
    let written = sqlx::query(
        "insert into function_runs (function_id, due_at, source, state)
         select f.id, $1::timestamptz + make_interval(secs => $2) + n * interval '1 millisecond', 'schedule', 'due'
         from functions f, generate_series(0, $3 - 1) n where f.name like 'load%'",
    );
    let now = clock["now"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    let written =
        written.bind(now).bind(AHEAD_SECS as f64).bind(RUNS / FUNCTIONS).execute(&database).await.unwrap();
    assert_eq!(written.rows_affected(), RUNS.unsigned_abs());

    let started = Instant::now();
    eventually("every run to end", ENDED_WITHIN_SECS, || async {
        let open = "select count(*) from function_runs where state in ('due', 'running')";
        let open: i64 = sqlx::query_scalar(open).fetch_one(&database).await.unwrap();
        (open == 0).then_some(())
    })
    .await;
    let took = started.elapsed();
    let ends: Vec<(String, i32, i64)> = sqlx::query_as(
        "select state, attempt, count(*) from function_runs where function_id in
           (select id from functions where name like 'load%') group by 1, 2",
    )
    .fetch_all(&database)
    .await
    .unwrap();
    let ran: i64 = sqlx::query_scalar("select sum(run_count)::bigint from functions where name like 'load%'")
        .fetch_one(&database)
        .await
        .unwrap();
    let lags: (f64, f64, f64) = sqlx::query_as(
        "select percentile_cont(0.5) within group (order by lag), percentile_cont(0.99) within group (order by lag),
           max(lag) from (select extract(epoch from started_at - due_at)::float8 as lag from function_runs) l",
    )
    .fetch_one(&database)
    .await
    .unwrap();
    println!(
        "{RUNS} runs in {:.1} s; their starts were late by {:.1} s (half), {:.1} s (99 of 100), {:.1} s (all)",
        took.as_secs_f64(),
        lags.0,
        lags.1,
        lags.2
    );
    assert_eq!(ends, [("succeeded".to_owned(), 1, RUNS)], "none lost, none tried twice");
    assert_eq!(ran, RUNS, "each told once");
    assert!(lags.1 < LAG_SECS_MAX, "{lags:?}");
    // An orderly end counts the last calls.
    let lab = lab.restart().await;
    let after = counted(&lab.database().await).await;
    assert_eq!(after - before, RUNS, "each called once");
    let value: Value = lab.get("/status").await.body;
    assert_eq!(value["functions"]["running"], true);
}
