//! What dies in the middle of a scheduled run: the server at any step of it, or only the worker.

use std::time::Instant;

use serde_json::{Value, json};
use tests::{Lab, eventually};

use super::schedules::{advance, counting, ended, planned, rows, until_due};
use super::{admin, send_deploy};
use crate::deploys::kit::sql;
use crate::kill_points::{GOOD_SECS_MAX, Victim, points, report};

/// The node that died is no longer believed, as it would not be half a minute later.
async fn disbelieve(lab: &Lab) {
    let query = "update function_runs set believed_until = now() where state = 'running'";
    sqlx::query(query).execute(&lab.database().await).await.unwrap();
}

// F01, F04. Goal: whichever step of a run its server dies at (also between taking it and starting the function), the
// run ends once, under the same id, after at most one more attempt; a run that was written as ended stays so.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_run_survives_a_death_at_every_point() {
    let mut victim = Victim::start().await;
    let (_, project) = victim.lab.project().await;
    counting(&victim.lab, &project, json!({ "missed": "run_all" })).await;
    planned(&victim.lab, &project).await;
    for (count, point) in (1..).zip(points("run")) {
        let since = Instant::now();
        let due = until_due(&victim.lab, &project).await;
        victim.arm(&point).await;
        advance(&victim.lab, due).await;
        victim = victim.die_and_restart(&point).await;
        disbelieve(&victim.lab).await;
        let lab = &victim.lab;
        let run = eventually(&point, GOOD_SECS_MAX, || async {
            let answer = admin(lab, &project, "GET", "/tick/runs?limit=500", None).await;
            let runs = answer.body["runs"].as_array()?.clone();
            (runs.len() == count && runs.iter().all(|run| run["status"] == "succeeded"))
                .then(|| runs[0].clone())
        })
        .await;
        report(&point, since);
        let attempts = if point == "run.ended" { 1 } else { 2 };
        assert_eq!(run["attempt"], attempts, "{point}: {run}");
        let own: Vec<Value> = rows(lab, &project).await;
        let called = own.iter().filter(|row| row["run"] == run["run_id"]).count();
        // Once it answered, the function had been called; another attempt calls it again, under the same id.
        assert_eq!(called, if point == "run.answered" { 2 } else { 1 }, "{point}: {own:?}");
    }
}

// F04, F07. Goal: a worker that is killed in the middle of a run ends that run, once, and not the next one.
#[tokio::test]
async fn a_worker_that_dies_in_a_run_ends_it_and_the_next_time_is_fine() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    assert_eq!(sql(&lab, &project, "create table asked (at timestamptz)").await.status, 200);
    let code = "import { adminDb } from '@run402/functions';
        export default async () => {
            await adminDb().sql('insert into asked values (now())');
            const { rows } = await adminDb().sql('select count(*)::int as n from asked');
            if (rows[0].n === 1) process.kill(process.pid, 'SIGKILL');
            if (rows[0].n === 1) process.abort();
            return new Response('fine');
        };";
    let body = json!({ "name": "tick", "code": code, "schedule": super::schedules::QUARTERLY });
    assert_eq!(send_deploy(&lab, &project, body).await.status, 201);
    planned(&lab, &project).await;
    advance(&lab, until_due(&lab, &project).await).await;
    let first = ended(&lab, &project, 1).await;
    assert_eq!((&first[0]["status"], &first[0]["attempt"]), (&json!("failed"), &json!(1)), "{first:?}");
    advance(&lab, until_due(&lab, &project).await).await;
    let second = ended(&lab, &project, 2).await;
    assert_eq!((&second[0]["status"], &second[0]["attempt"]), (&json!("succeeded"), &json!(1)), "{second:?}");
}

// F05. Goal: a lease that ends before a time is due wins: the time is written down as paused and nothing runs.
#[tokio::test]
async fn times_after_a_lease_has_ended_do_not_run_and_are_written_down() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    counting(&lab, &project, json!({ "missed": "run_all" })).await;
    planned(&lab, &project).await;
    // Well past the lease and its grace.
    advance(&lab, 120 * 86_400).await;
    let database = lab.database().await;
    let states = eventually("the times to be looked at", 30, || async {
        let query = "select distinct state, error from function_runs";
        let all: Vec<(String, Option<String>)> = sqlx::query_as(query).fetch_all(&database).await.unwrap();
        (!all.is_empty()).then_some(all)
    })
    .await;
    assert_eq!(states, [("skipped".to_owned(), Some("paused: the lease has ended".to_owned()))]);
}
