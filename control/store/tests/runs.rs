//! Runs of functions on a real Postgres: fences, races, shares, and rows that servers of before write.

use chrono::TimeDelta;
use store::functions::{
    AskedRun, ClaimedRun, Enqueued, FunctionRun, Refused, Retry, RunEnd, RunError, run_block, run_cancel,
    run_enqueue, run_find, run_redrive, runs_claim, runs_end, runs_expire, runs_reclaim,
};
use types::{FunctionRunId, NodeId, OsEntropy, ProjectId};
use uuid::Uuid;

use crate::common::{Db, now};

/// Two projects, each with a function `work`; their owners and releases are not what is tested.
const WORLD: &[&str] = &[
    "alter table projects disable trigger all",
    "alter table functions disable trigger all",
    "alter table release_functions disable trigger all",
    "insert into projects (id, account_id, name, phase, public_id, created_at, updated_at, active_release)
     select ('00000000-0000-0000-0000-00000000000' || n)::uuid, gen_random_uuid(), 'p', 'ready', 'project' || n,
       now(), now(), gen_random_uuid() from generate_series(1, 2) n",
    "insert into functions (project_id, name, fingerprint, created_at, updated_at)
     select id, 'work', '', now(), now() from projects",
    "insert into release_functions (release_id, name, runtime, code_hash, timeout_seconds, memory_mb, source)
     select active_release, 'work', 'node22', repeat('0', 64), 10, 128, '{}' from projects",
];

async fn world() -> (Db, NodeId) {
    let db = Db::fresh().await;
    for sql in WORLD {
        db.sql(sql).await.unwrap();
    }
    (db, NodeId::new(&OsEntropy))
}

fn project(n: u128) -> ProjectId {
    ProjectId(Uuid::from_u128(n))
}

fn asked(n: u128, key: &str, attempts_max: i32) -> AskedRun {
    AskedRun {
        trigger: None,
        id: FunctionRunId::new(&OsEntropy),
        project: project(n),
        name: "work".to_owned(),
        source: "api",
        event_type: "go".to_owned(),
        idempotency_key: key.to_owned(),
        intent_hash: "one".to_owned(),
        payload: Some("{}".to_owned()),
        run_at: now(),
        expires_at: None,
        retry: Retry { attempts_max, min_secs: 1, max_secs: 1 },
    }
}

async fn enqueue(db: &Db, asked: &AskedRun) -> FunctionRun {
    match run_enqueue(&db.store, asked, now()).await.unwrap() {
        Enqueued::New(run) => run,
        other => panic!("{other:?}"),
    }
}

async fn claim(db: &Db, node: NodeId) -> Vec<ClaimedRun> {
    runs_claim(&db.store, node, now(), 64).await.unwrap()
}

async fn find(db: &Db, id: FunctionRunId) -> FunctionRun {
    run_find(&db.store, project(1), id, now()).await.unwrap().unwrap()
}

/// Ends one run; tells whether it counted.
async fn ended(db: &Db, run: &ClaimedRun, end: &RunEnd) -> bool {
    runs_end(&db.store, &[(run, end)], now()).await.unwrap().contains(&run.id)
}

const DONE: RunEnd = RunEnd { succeeded: true, status: Some(200), error: None, retry_at: None };

fn failed(retries: bool) -> RunEnd {
    let error = RunError { code: "HTTP_500".to_owned(), message: "no".to_owned(), is_retryable: true };
    let retry_at = retries.then(|| now() - TimeDelta::seconds(1));
    RunEnd { succeeded: false, status: Some(500), error: Some(error), retry_at }
}

// F04. Goal: an attempt that was given up writes nothing, also when the run was begun anew since and its attempts have
// the same numbers.
#[tokio::test]
async fn an_attempt_that_was_given_up_cannot_end_its_run() {
    let (db, node) = world().await;
    let run = enqueue(&db, &asked(1, "k", 1)).await;
    let old = claim(&db, node).await.remove(0);
    assert_eq!((old.id, old.attempt), (run.id, 1));
    assert!(claim(&db, node).await.is_empty(), "one has it");
    db.sql("update function_runs set believed_until = now() - interval '1 second'").await.unwrap();
    assert_eq!(runs_reclaim(&db.store, now()).await.unwrap(), 1);
    assert_eq!(find(&db, run.id).await.status, "failed", "it had one attempt");
    assert!(!ended(&db, &old, &DONE).await);
    let elsewhere = run_redrive(&db.store, project(2), run.id, None, now()).await.unwrap();
    assert_eq!(elsewhere, Err(Refused::NotFound));
    assert_eq!(find(&db, run.id).await.status, "failed", "another project begins nothing anew");
    let again = run_redrive(&db.store, project(1), run.id, None, now()).await.unwrap().unwrap();
    assert_eq!((again.generation, again.attempts, again.attempts_total), (2, 0, 1));
    let new = claim(&db, node).await.remove(0);
    assert_eq!((new.attempt, new.generation), (1, 2));
    let elsewhere = run_cancel(&db.store, project(2), run.id, now()).await.unwrap();
    assert_eq!(elsewhere, Err(Refused::NotFound));
    assert!(!find(&db, run.id).await.is_cancelling, "nor does it call it off");
    assert!(!ended(&db, &old, &DONE).await, "the old attempt has the same number");
    assert!(!run_block(&db.store, &old, now(), now()).await.unwrap());
    assert_eq!(find(&db, run.id).await.status, "running");
    assert!(ended(&db, &new, &failed(true)).await);
    assert!(!ended(&db, &new, &DONE).await, "it has ended");
    assert_eq!(find(&db, run.id).await.status, "retrying");
    let third = claim(&db, node).await.remove(0);
    assert!(ended(&db, &third, &DONE).await);
    let end = find(&db, run.id).await;
    assert_eq!((end.status.as_str(), end.attempts_total, end.error), ("succeeded", 3, None));
    let refused = run_redrive(&db.store, project(1), run.id, None, now()).await.unwrap();
    assert!(matches!(refused, Err(Refused::Standing(_))), "{refused:?}");
}

// F06. Goal: of ends that are written together each has its own outcome, and what was given up counts for none.
#[tokio::test]
async fn ends_that_are_written_together_are_each_their_own() {
    let (db, node) = world().await;
    for n in 0..6 {
        enqueue(&db, &asked(1, &format!("k{n}"), 3)).await;
    }
    let runs = claim(&db, node).await;
    assert_eq!(runs.len(), 6);
    run_cancel(&db.store, project(1), runs[3].id, now()).await.unwrap().unwrap();
    let stale = ClaimedRun { attempt_id: types::FunctionAttemptId(Uuid::from_u128(7)), ..runs[5].clone() };
    let (again, for_good) = (failed(true), failed(false));
    let group = [
        (&runs[0], &DONE),
        (&runs[1], &again),
        (&runs[2], &for_good),
        (&runs[3], &for_good),
        (&stale, &DONE),
    ];
    let counted = runs_end(&db.store, &group, now()).await.unwrap();
    assert_eq!(counted, runs[..4].iter().map(|run| run.id).collect());
    let mut states = Vec::new();
    for run in &runs {
        states.push(find(&db, run.id).await.status);
    }
    assert_eq!(states, ["succeeded", "retrying", "failed", "cancelled", "running", "running"]);
    assert!(runs_end(&db.store, &group, now()).await.unwrap().is_empty(), "each once");
}

// Goal: of a cancel and an end, and of a cancel and a claim, each order leaves one end that says what happened.
#[tokio::test]
async fn a_cancel_races_a_claim_and_an_end() {
    let (db, node) = world().await;
    for n in 0..40 {
        let run = enqueue(&db, &asked(1, &format!("k{n}"), 3)).await;
        let cancel = run_cancel(&db.store, project(1), run.id, now());
        let (taken, cancelled) = tokio::join!(claim(&db, node), cancel);
        let cancelled = cancelled.unwrap().unwrap();
        let Some(taken) = taken.into_iter().next() else {
            assert_eq!(find(&db, run.id).await.status, "cancelled");
            continue;
        };
        assert!(cancelled.is_cancelling && cancelled.status == "running", "{cancelled:?}");
        let outcome = if n % 2 == 0 { DONE } else { failed(true) };
        let cancel = run_cancel(&db.store, project(1), run.id, now());
        let (counted, _) = tokio::join!(ended(&db, &taken, &outcome), cancel);
        assert!(counted);
        let end = find(&db, run.id).await;
        assert_eq!(end.status, if n % 2 == 0 { "succeeded" } else { "cancelled" }, "{end:?}");
        assert!(end.ended_at.is_some());
    }
    assert!(claim(&db, node).await.is_empty(), "nothing is left to run");
}

// Goal: a key is one run however many ask at once, and no project has more than its number of open runs.
#[tokio::test]
async fn a_key_is_one_run_and_open_runs_are_bounded() {
    let (db, _) = world().await;
    let many = (0..20).map(|_| asked(1, "same", 1)).collect::<Vec<_>>();
    let outcomes = futures::future::join_all(many.iter().map(|one| run_enqueue(&db.store, one, now()))).await;
    let mut fresh = 0;
    for outcome in outcomes {
        match outcome.unwrap() {
            Enqueued::New(_) => fresh += 1,
            Enqueued::Same(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(fresh, 1);
    let other = AskedRun { intent_hash: "two".to_owned(), ..asked(1, "same", 1) };
    assert_eq!(run_enqueue(&db.store, &other, now()).await.unwrap(), Enqueued::Other);
    let nobody = AskedRun { name: "nobody".to_owned(), ..asked(1, "x", 1) };
    assert_eq!(run_enqueue(&db.store, &nobody, now()).await.unwrap(), Enqueued::NoFunction);
    db.sql(
        "insert into function_runs (function_id, source, state, created_at, run_at, idempotency_key)
         select f.id, 'api', 'due', timestamptz '2024-10-04Z', timestamptz '2024-10-04Z', n::text
         from functions f, generate_series(1, 4998) n
         where f.project_id = '00000000-0000-0000-0000-000000000001'",
    )
    .await
    .unwrap();
    enqueue(&db, &asked(1, "the last", 1)).await;
    assert_eq!(run_enqueue(&db.store, &asked(1, "more", 1), now()).await.unwrap(), Enqueued::Full);
    let again = run_enqueue(&db.store, &asked(1, "same", 1), now()).await.unwrap();
    assert!(matches!(again, Enqueued::Same(_)), "what is there is still answered: {again:?}");
    enqueue(&db, &asked(2, "same", 1)).await;
}

// F06. Goal: a project whose runs fill everything that is looked at has its share, and the others' newer runs theirs.
#[tokio::test]
async fn each_project_has_its_share_of_the_places() {
    let (db, node) = world().await;
    db.sql(
        "insert into function_runs (function_id, source, state, created_at, run_at, idempotency_key)
         select f.id, 'api', 'due', timestamptz '2024-10-04Z', timestamptz '2024-10-03Z', n::text
         from functions f, generate_series(1, 1000) n
         where f.project_id = '00000000-0000-0000-0000-000000000001'",
    )
    .await
    .unwrap();
    let other = enqueue(&db, &asked(2, "k", 1)).await;
    let taken = claim(&db, node).await;
    assert_eq!(taken.len(), 33, "half of the places, and the other project's");
    assert!(taken.iter().any(|run| run.id == other.id));
    assert!(claim(&db, node).await.is_empty(), "it has its share");
    for run in taken.iter().filter(|run| run.project == project(1)).take(5) {
        assert!(ended(&db, run, &DONE).await);
    }
    assert_eq!(claim(&db, node).await.len(), 5);
}

// Goal: runs that a server of before writes are complete and are taken; one that is held back or too late is not.
#[tokio::test]
async fn rows_of_before_are_taken_and_others_wait_or_expire() {
    let (db, node) = world().await;
    db.sql(
        "insert into function_runs (function_id, due_at, source, state)
         select id, timestamptz '2024-10-03Z', 'schedule', 'due' from functions
         where project_id = '00000000-0000-0000-0000-000000000001'",
    )
    .await
    .unwrap();
    let old = claim(&db, node).await.remove(0);
    assert_eq!((old.source.as_str(), old.project, &old.asked), ("schedule", project(1), &None));
    let run = enqueue(&db, &asked(1, "k", 5)).await;
    let taken = claim(&db, node).await.remove(0);
    assert_eq!(taken.id, run.id, "it does not wait for the schedule's");
    assert!(run_block(&db.store, &taken, now() + TimeDelta::minutes(5), now()).await.unwrap());
    let blocked = find(&db, run.id).await;
    assert_eq!((blocked.status.as_str(), blocked.attempts, blocked.attempts_total), ("blocked", 0, 0));
    assert!(claim(&db, node).await.is_empty());
    db.sql(
        "update function_runs set expires_at = timestamptz '2024-10-03Z' where idempotency_key is not null",
    )
    .await
    .unwrap();
    assert_eq!(runs_expire(&db.store, now()).await.unwrap(), 1);
    assert_eq!(find(&db, run.id).await.status, "expired");
    assert!(ended(&db, &old, &failed(false)).await);
}
