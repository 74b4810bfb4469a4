//! Planning, on a real Postgres.

use futures::future::join_all;
use sqlx::PgPool;
use store::functions::{ClaimedRun, RunEnd, RunError, runs_claim, runs_reclaim};
use types::{Clock, NodeId, OsEntropy};

use super::ends::Ends;
use super::runs::plan;
use crate::testing::World;

const FUNCTIONS: i64 = 10_000;

/// Functions of one account in a hundred projects, all due at the same minute, which is their time.
async fn due_together(raw: &PgPool, world: &World) {
    let now = world.clock.now();
    sqlx::query(
        "with owner as (insert into accounts (id, pinned, created_at) values (gen_random_uuid(), true, $1)
           returning id),
         made as (insert into projects (id, account_id, name, phase, public_id, created_at, updated_at)
           select gen_random_uuid(), owner.id, 'p', 'ready', 'load' || lpad(n::text, 6, '0'), $1, $1
           from owner, generate_series(1, 100) n returning id)
         insert into functions (project_id, name, fingerprint, created_at, updated_at, schedule, missed, next_due_at,
           is_planned)
         select made.id, 'f' || n, '', $1, $1, '* * * * *', 'run_once', date_trunc('minute', $1), true
         from made, generate_series(1, $2 / 100) n",
    )
    .bind(now)
    .bind(FUNCTIONS)
    .execute(raw)
    .await
    .unwrap();
}

// F01, F06. Goal: ten thousand functions that are due at the same second each get one run, whoever plans. Method: two
// nodes plan at once until nothing is due.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_functions_due_together_are_planned_once_by_two_nodes() {
    let world = World::start().await;
    let raw = PgPool::connect(&world.database_url()).await.unwrap();
    due_together(&raw, &world).await;
    let (one, two) = (world.node().await, world.node().await);
    let started = std::time::Instant::now();
    let until_done = async |deps: &crate::Deps| while plan(deps).await.unwrap() > 0 {};
    tokio::join!(until_done(&one.deps), until_done(&two.deps));
    eprintln!("{FUNCTIONS} functions were planned in {:?}", started.elapsed());
    let made: (i64, i64) = sqlx::query_as(
        "select count(*), count(distinct function_id) from function_runs where state = 'due' and attempt = 0",
    )
    .fetch_one(&raw)
    .await
    .unwrap();
    assert_eq!(made, (FUNCTIONS, FUNCTIONS), "none lost, none doubled");
    let moved: i64 = sqlx::query_scalar("select count(*) from functions where next_due_at > $1")
        .bind(world.clock.now())
        .fetch_one(&raw)
        .await
        .unwrap();
    assert_eq!(moved, FUNCTIONS);
}

// F01, F12. Goal: triggers that are due together become one run each, whoever plans, and none of a project that has
// too many open. Method: two nodes plan a thousand at once; one of ten projects has all of its runs open.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn triggers_due_together_become_one_run_each_and_none_of_a_full_project() {
    let world = World::start().await;
    let raw = PgPool::connect(&world.database_url()).await.unwrap();
    let now = world.clock.now();
    sqlx::query(
        "with owner as (insert into accounts (id, pinned, created_at) values (gen_random_uuid(), true, $1)
           returning id),
         made as (insert into projects (id, account_id, name, phase, public_id, created_at, updated_at)
           select gen_random_uuid(), owner.id, 'p', 'ready', 'load' || lpad(n::text, 6, '0'), $1, $1
           from owner, generate_series(1, 10) n returning id),
         functions as (insert into functions (project_id, name, fingerprint, created_at, updated_at)
           select made.id, 'f' || n, '', $1, $1 from made, generate_series(1, 10) n returning id)
         insert into function_triggers (function_id, name, spec, next_due_at, is_planned)
         select functions.id, 't' || n, $2, date_trunc('minute', $1), true from functions, generate_series(1, 10) n",
    )
    .bind(now)
    .bind(serde_json::json!({ "id": "t", "cron": "* * * * *", "timezone": "Asia/Kolkata", "run": {
        "event_type": "x", "payload": { "a": 1 },
        "retry": { "max_attempts": 3, "min_delay_seconds": 5, "max_delay_seconds": 9 } } }))
    .execute(&raw)
    .await
    .unwrap();
    sqlx::query(
        "insert into function_runs (function_id, project_id, source, state, created_at, run_at)
         select f.id, f.project_id, 'api', 'due', $1, $1 + interval '1 day'
         from (select * from functions order by project_id limit 1) f, generate_series(1, 5000)",
    )
    .bind(now)
    .execute(&raw)
    .await
    .unwrap();
    let (one, two) = (world.node().await, world.node().await);
    let until_done = async |deps: &crate::Deps| while plan(deps).await.unwrap() > 0 {};
    tokio::join!(until_done(&one.deps), until_done(&two.deps));
    let made: (i64, i64, i64, i64) = sqlx::query_as(
        "select count(*), count(distinct (function_id, trigger_name)),
           count(*) filter (where state = 'due' and attempts_max = 3 and payload = '{\"a\": 1}'),
           count(*) filter (where state = 'skipped' and error like 'too many%')
         from function_runs where source = 'schedule'",
    )
    .fetch_one(&raw)
    .await
    .unwrap();
    assert_eq!(made, (1_000, 1_000, 900, 100), "none lost, none doubled");
}

/// A function of a live release, with one run that is due.
async fn one_due(raw: &PgPool, world: &World) {
    let mut connection = raw.acquire().await.unwrap();
    // A release without its deploy.
    for text in [
        "set session_replication_role = replica",
        "insert into accounts (id, pinned, created_at) values (gen_random_uuid(), true, now())",
        "insert into releases (id, project_id, operation_id, plan_id, status, digest, deployment_id, created_by,
           created_at)
         values (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'active', '', 'd', '',
           now())",
        "insert into projects (id, account_id, name, phase, public_id, active_release, created_at, updated_at)
         select r.project_id, a.id, 'p', 'ready', 'abcdef', r.id, now(), now() from releases r, accounts a",
        "insert into release_functions (release_id, name, runtime, code_hash, timeout_seconds, memory_mb, source)
         select id, 'f', 'node22', repeat('a', 64), 1, 128, '{}' from releases",
        "insert into functions (project_id, name, fingerprint, created_at, updated_at)
         select id, 'f', '', now(), now() from projects",
        "reset session_replication_role",
    ] {
        sqlx::query(text).execute(&mut *connection).await.unwrap();
    }
    sqlx::query(
        "insert into function_runs (function_id, due_at, source, state)
         select id, $1, 'schedule', 'due' from functions",
    )
    .bind(world.clock.now())
    .execute(&mut *connection)
    .await
    .unwrap();
}

// F04. Goal: an attempt that was given up says nothing about the run that goes on without it. Method: two nodes take
// the same run one after the other; the first ends it late.
#[tokio::test]
async fn an_attempt_that_was_given_up_does_not_end_the_run() {
    let world = World::start().await;
    let raw = PgPool::connect(&world.database_url()).await.unwrap();
    one_due(&raw, &world).await;
    let now = world.clock.now();
    let claim = async || runs_claim(&world.store, NodeId::new(&OsEntropy), now, 64).await.unwrap();
    let first = claim().await.pop().unwrap();
    assert!(claim().await.is_empty(), "one node has it");
    sqlx::query("update function_runs set believed_until = now() - interval '1 second'")
        .execute(&raw)
        .await
        .unwrap();
    runs_reclaim(&world.store, now).await.unwrap();
    let second = claim().await.pop().unwrap();
    assert_eq!((second.id, first.attempt, second.attempt), (first.id, 1, 2));

    let end = |succeeded| RunEnd {
        succeeded,
        status: Some(if succeeded { 200 } else { 500 }),
        error: None,
        retry_at: None,
    };
    let row = async || -> (String, i64) {
        let query = "select state, run_count from function_runs, functions";
        sqlx::query_as(query).fetch_one(&raw).await.unwrap()
    };
    let ends = Ends::default();
    let write = async |run: &ClaimedRun, succeeded| {
        ends.write((&world.store, world.clock.as_ref()), run.clone(), end(succeeded)).await.unwrap()
    };
    assert!(!write(&first, false).await, "it is not the first one's any more");
    assert_eq!(row().await, ("running".to_owned(), 0));
    assert!(write(&second, true).await);
    assert!(!write(&second, false).await, "once");
    assert_eq!(row().await, ("succeeded".to_owned(), 1));
}

// F06. Goal: what the database refuses of one end costs the others nothing, and each is counted once. Method: ends of
// many runs of one function at once, of which one has a text that no database takes.
#[tokio::test]
async fn an_end_that_is_refused_does_not_take_others_with_it() {
    const RUNS: i64 = 30;
    let world = World::start().await;
    let raw = PgPool::connect(&world.database_url()).await.unwrap();
    one_due(&raw, &world).await;
    let now = world.clock.now();
    for text in [
        "update functions set overlap = 'allow'",
        "insert into function_runs (function_id, due_at, source, state)
         select function_id, due_at - n * interval '1 second', 'schedule', 'due'
         from function_runs, generate_series(2, 30) n",
    ] {
        sqlx::query(text).execute(&raw).await.unwrap();
    }
    let runs = runs_claim(&world.store, NodeId::new(&OsEntropy), now, 64).await.unwrap();
    assert_eq!(runs.len(), usize::try_from(RUNS).unwrap());
    let ends = Ends::default();
    let written = join_all(runs.into_iter().enumerate().map(|(n, run)| {
        let message = if n == 17 { "a\0b" } else { "no" };
        let error =
            RunError { code: "HTTP_500".to_owned(), message: message.to_owned(), is_retryable: false };
        let end = RunEnd { succeeded: false, status: Some(500), error: Some(error), retry_at: None };
        ends.write((&world.store, world.clock.as_ref()), run, end)
    }))
    .await;
    let refused: Vec<usize> = (0..written.len()).filter(|n| written[*n].is_err()).collect();
    assert_eq!(refused, [17]);
    assert!(written.iter().flatten().all(|counted| *counted));
    let query = "select (select run_count from functions), count(*) filter (where state = 'failed') from function_runs";
    let counts: (i64, i64) = sqlx::query_as(query).fetch_one(&raw).await.unwrap();
    assert_eq!(counts, (RUNS - 1, RUNS - 1));
}
