//! Runs while servers die, a lease has ended, or another project has many.

use nix::sys::signal::Signal;
use serde_json::json;
use tests::{Lab, eventually};

use super::{TABLE, WORK, advance, created, key, on_run, reached, rows, working, world};
use crate::deploys::kit::sql;
use crate::functions::deploy;
use crate::nodes::two_servers;

// F04. Goal: a server that dies in the middle of runs leaves each to the other under its id, and each ends once;
// what the dead one may still say counts no more.
#[tokio::test]
async fn a_server_that_dies_leaves_its_runs_to_the_other() {
    let (lab, mut second, second_api) = two_servers().await;
    let project = working(&lab).await;
    let database = lab.database().await;
    // The first sleeps, so that the second takes all of them.
    lab.server.signal(Signal::SIGSTOP);
    let mut ids = Vec::new();
    for n in 0..4 {
        let body = json!({ "event_type": "x", "idempotency_key": format!("k{n}"), "payload": { "sleep": 3000 },
            "retry": { "max_attempts": if n == 3 { 1 } else { 2 } } });
        let sent = lab.http.post(format!("{second_api}/functions/v1/work/runs")).bearer_auth(key(&project));
        let answer = lab.send(sent.json(&body)).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        ids.push(answer.body["run_id"].as_str().unwrap().to_owned());
    }
    let running = "select count(*) from function_runs where state = 'running'";
    eventually("the runs to be taken", 15, || async {
        let count: i64 = sqlx::query_scalar(running).fetch_one(&database).await.unwrap();
        (count == 4).then_some(())
    })
    .await;
    let cancel =
        lab.http.post(format!("{second_api}/functions/v1/runs/{}/cancel", ids[2])).bearer_auth(key(&project));
    assert_eq!(lab.send(cancel).await.status, 200);
    second.kill();
    let stale: uuid::Uuid =
        sqlx::query_scalar("select attempt_id from function_runs where idempotency_key = 'k0'")
            .fetch_one(&database)
            .await
            .unwrap();
    // Whoever believes it waits for the function's timeout; the test does not.
    let dead = "update function_runs set believed_until = now() where state = 'running'";
    assert_eq!(sqlx::query(dead).execute(&database).await.unwrap().rows_affected(), 4);
    lab.server.signal(Signal::SIGCONT);
    for id in &ids[..2] {
        let run = reached(&lab, &project, id, "succeeded", 30).await;
        assert_eq!((&run["attempts"]["current"], &run["generation"]), (&json!(2), &json!(1)), "{run}");
    }
    let run = reached(&lab, &project, &ids[2], "cancelled", 10).await;
    assert_eq!(run["last_error"]["code"], "SERVER_ENDED", "{run}");
    let run = reached(&lab, &project, &ids[3], "failed", 10).await;
    assert_eq!(
        (&run["attempts"]["current"], &run["last_error"]["retryable"]),
        (&json!(1), &json!(true)),
        "{run}"
    );
    let now: uuid::Uuid =
        sqlx::query_scalar("select attempt_id from function_runs where idempotency_key = 'k0'")
            .fetch_one(&database)
            .await
            .unwrap();
    assert_ne!(stale, now, "another attempt has another name");
    let open: i64 = sqlx::query_scalar("select count(*) from function_runs where ended_at is null")
        .fetch_one(&database)
        .await
        .unwrap();
    assert_eq!(open, 0);
    let again = on_run(&lab, &project, "POST", &format!("{}/redrive", ids[3])).await;
    assert_eq!(again.status, 200, "{again:?}");
    let run = reached(&lab, &project, &ids[3], "succeeded", 30).await;
    assert_eq!(run["generation"], 2, "{run}");
}

// Goal: what was written down survives the whole platform's death.
#[tokio::test]
async fn runs_survive_a_crash_of_the_only_server() {
    let (lab, project) = world().await;
    let waits = created(&lab, &project, "waits", json!({ "delay_seconds": 5 })).await;
    let dies = created(&lab, &project, "dies", json!({ "payload": { "sleep": 8000 } })).await;
    reached(&lab, &project, &dies, "running", 10).await;
    // A lab commits without waiting for its disk; what is on it counts.
    let database = lab.database().await;
    let told: String =
        sqlx::query_scalar("select pg_current_wal_insert_lsn()::text").fetch_one(&database).await.unwrap();
    eventually("the disk to have it", 10, || async {
        let kept = "select pg_current_wal_flush_lsn() >= $1::pg_lsn";
        let kept: bool = sqlx::query_scalar(kept).bind(&told).fetch_one(&database).await.unwrap();
        kept.then_some(())
    })
    .await;
    let lab = lab.crash_and_restart().await;
    let database = lab.database().await;
    let dead = "update function_runs set believed_until = now() where state = 'running' and idempotency_key = 'dies'";
    assert_eq!(sqlx::query(dead).execute(&database).await.unwrap().rows_affected(), 1);
    reached(&lab, &project, &waits, "succeeded", 30).await;
    let run = reached(&lab, &project, &dies, "succeeded", 40).await;
    assert_eq!(run["attempts"]["current"], 2, "{run}");
}

// Goal: runs of an account whose lease has ended wait for its renewal, counted as none.
#[tokio::test]
async fn runs_wait_while_the_lease_has_ended() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    assert_eq!(sql(&lab, &project, TABLE).await.status, 200);
    deploy(&lab, &project, "work", WORK).await;
    let before = created(&lab, &project, "before", json!({ "delay_seconds": 57 * 86_400 - 60 })).await;
    advance(&lab, 57 * 86_400).await;
    let run = reached(&lab, &project, &before, "blocked", 20).await;
    assert_eq!((&run["terminal"], &run["attempts"]["total"]), (&json!(false), &json!(0)), "{run}");
    let renewed = lab.pay(&wallet, "/tiers/v1/prototype").await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    advance(&lab, 400).await;
    let run = reached(&lab, &project, &before, "succeeded", 20).await;
    assert_eq!(run["attempts"]["total"], 1, "{run}");
}

// F06. Goal: a project with many runs waiting does not keep another's waiting.
#[tokio::test]
async fn one_projects_runs_do_not_keep_anothers_waiting() {
    let (lab, busy) = world().await;
    let other = working(&lab).await;
    let slow = |n: i32| json!({ "payload": { "sleep": 1000 }, "event_type": format!("n{n}") });
    futures::future::join_all((0..90).map(|n| {
        let (lab, busy) = (&lab, &busy);
        async move { created(lab, busy, &format!("slow-{n}"), slow(n)).await }
    }))
    .await;
    let quick = created(&lab, &other, "quick", json!({})).await;
    reached(&lab, &other, &quick, "succeeded", 15).await;
    let left = lab.with_key(key(&busy), "GET", "/functions/v1/work/runs?status=queued&limit=100", None).await;
    assert!(!left.body["runs"].as_array().unwrap().is_empty(), "the others still wait");
    let database = lab.database().await;
    eventually("all runs to end", 60, || async {
        let open = "select count(*) from function_runs where ended_at is null";
        let open: i64 = sqlx::query_scalar(open).fetch_one(&database).await.unwrap();
        (open == 0).then_some(())
    })
    .await;
    assert_eq!(rows(&lab, &busy).await.len(), 90, "each once");
}
