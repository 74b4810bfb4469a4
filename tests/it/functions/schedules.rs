//! Functions by schedule. The lab's clock is moved to when they are due.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tests::{Lab, eventually};

use super::{admin, send_deploy};
use crate::deploys::kit::sql;
use crate::nodes::two_servers;

pub(super) const QUARTERLY: &str = "*/15 * * * *";
/// Counts how often and for which times it ran, where only its own project sees it.
const COUNTING: &str = "import { adminDb } from '@run402/functions';
    export default async (req) => {
        const { scheduled_at } = await req.json();
        const run = req.headers.get('x-run402-run-id');
        await adminDb().sql('insert into ran (at, run) values ($1, $2)', [scheduled_at, run]);
        if (process.env.SLOW) await new Promise((done) => setTimeout(done, 4000));
        return new Response('done');
    };";

pub(super) async fn advance(lab: &Lab, secs: i64) {
    let moved = lab.send(lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": secs }))).await;
    assert_eq!(moved.status, 200, "{moved:?}");
}

pub(super) async fn counting(lab: &Lab, project: &Value, policy: Value) -> Value {
    let table = "create table ran (at timestamptz, run text)";
    assert_eq!(sql(lab, project, table).await.status, 200);
    let body = json!({ "name": "tick", "code": COUNTING, "schedule": QUARTERLY, "schedule_policy": policy });
    let made = send_deploy(lab, project, body).await;
    assert_eq!(made.status, 201, "{made:?}");
    made.body
}

pub(super) async fn planned(lab: &Lab, project: &Value) {
    eventually("the first time to be worked out", 10, || async {
        let database = lab.database().await;
        let id: uuid::Uuid =
            uuid::Uuid::parse_str(project["project_id"].as_str().unwrap().trim_start_matches("prj_"))
                .unwrap();
        let query = sqlx::query_scalar::<_, bool>(
            "select bool_and(is_planned) from functions where project_id = $1 and schedule is not null",
        );
        query.bind(id).fetch_one(&database).await.unwrap().then_some(())
    })
    .await;
}

async fn runs(lab: &Lab, project: &Value) -> Vec<Value> {
    let answer = admin(lab, project, "GET", "/tick/runs?limit=500", None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["runs"].as_array().unwrap().clone()
}

/// The runs, once so many have ended and none is open.
pub(super) async fn ended(lab: &Lab, project: &Value, count: usize) -> Vec<Value> {
    eventually(&format!("{count} runs to end"), 30, || async {
        let runs = runs(lab, project).await;
        let open = runs.iter().any(|run| run["ended_at"].is_null());
        (runs.len() >= count && !open).then_some(runs)
    })
    .await
}

pub(super) async fn rows(lab: &Lab, project: &Value) -> Vec<Value> {
    let found = sql(lab, project, "select at::text, run from ran order by at").await;
    found.body["rows"].as_array().unwrap().clone()
}

/// Seconds until the function's next time, and a little more.
pub(super) async fn until_due(lab: &Lab, project: &Value) -> i64 {
    let all = admin(lab, project, "GET", "", None).await.body;
    let next = all["functions"][0]["schedule_meta"]["next_run_at"].as_str().unwrap().to_owned();
    let clock = lab.send(lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": 1 }))).await.body;
    let now: DateTime<Utc> = clock["now"].as_str().unwrap_or_else(|| panic!("{clock}")).parse().unwrap();
    (next.parse::<DateTime<Utc>>().unwrap() - now).num_seconds() + 2
}

// F05. Contract 03 sections 2.2 and 2.8. Goal: a due time is one run with one end, told in the history and in the
// function; a manual run is in it too; what is paused or taken away does not run.
#[tokio::test]
async fn a_schedule_runs_each_due_time_once_and_tells_what_became_of_it() {
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let made = counting(&lab, &project, json!({})).await;
    assert_eq!(made["schedule"], QUARTERLY);
    assert_eq!(
        (&made["schedule_meta"]["run_count"], &made["schedule_meta"]["missed"]),
        (&json!(0), &json!("skip"))
    );
    planned(&lab, &project).await;
    advance(&lab, until_due(&lab, &project).await).await;
    let done = ended(&lab, &project, 1).await;
    assert_eq!(
        (&done[0]["status"], &done[0]["attempt"], &done[0]["response_status"]),
        (&json!("succeeded"), &json!(1), &json!(200))
    );
    let seen = rows(&lab, &project).await;
    assert_eq!((seen.len(), &seen[0]["run"]), (1, &done[0]["run_id"]), "{seen:?}");

    let by_hand = admin(&lab, &project, "POST", "/tick/trigger", Some(json!({}))).await;
    assert_eq!(
        (by_hand.status, &by_hand.body["status"], &by_hand.body["response"]),
        (200, &json!(200), &json!("done"))
    );
    assert_eq!(by_hand.body["schedule_meta"]["run_count"], 2, "{by_hand:?}");
    assert_eq!(rows(&lab, &project).await.len(), 2);

    // An earlier change wins over what had not begun; taking the schedule away ends it.
    let gone = admin(&lab, &project, "PATCH", "/tick", Some(json!({ "schedule": null }))).await;
    assert_eq!((gone.status, &gone.body["schedule_meta"]), (200, &Value::Null), "{gone:?}");
    // Another function of the same times says when they have been looked at.
    let witness = json!({ "name": "witness", "code": "export default () => new Response('here')",
        "schedule": QUARTERLY, "schedule_policy": { "missed": "run_all" } });
    assert_eq!(send_deploy(&lab, &project, witness).await.status, 201);
    planned(&lab, &project).await;
    advance(&lab, 3_600).await;
    eventually("the witness to have run", 30, || async {
        let seen = admin(&lab, &project, "GET", "/witness/runs", None).await;
        let runs = seen.body["runs"].as_array().unwrap();
        (runs.len() >= 4 && runs.iter().all(|run| run["status"] == "succeeded")).then_some(())
    })
    .await;
    assert_eq!(ended(&lab, &project, 2).await.len(), 2, "nothing is due any more");
}

// F02. Goal: an hour that nobody looked at ends by the function's rule, and each of its times is written down.
#[tokio::test]
async fn missed_times_follow_the_rule_and_are_recorded() {
    let lab = Lab::start().await;
    for (missed, most) in [("skip", 1), ("run_once", 1), ("run_all", 5)] {
        let (_, project) = lab.project().await;
        counting(&lab, &project, json!({ "missed": missed, "overlap": "queue" })).await;
        planned(&lab, &project).await;
        // Past the fourth time after the next one, and more than the time that counts as unseen.
        advance(&lab, until_due(&lab, &project).await + 3_600 + 120).await;
        let done = ended(&lab, &project, 5).await;
        let count = |state: &str| done.iter().filter(|run| run["status"] == state).count();
        let ran = if missed == "skip" { 0 } else { most };
        assert_eq!((count("succeeded"), count("skipped")), (ran, 5 - ran), "{missed}: {done:?}");
        assert_eq!(rows(&lab, &project).await.len(), ran, "{missed}");
        let due: BTreeSet<String> =
            done.iter().map(|run| run["due_at"].as_str().unwrap().to_owned()).collect();
        assert_eq!(due.len(), 5, "each time once");
    }
}

// F01, F04. Goal: two servers run each time once; a server that dies in the middle of a run leaves it to the other
// under the same id.
#[tokio::test]
async fn two_servers_run_each_time_once_and_take_over_from_one_that_died() {
    let (mut lab, _second, second_api) = two_servers().await;
    let (_, project) = lab.project().await;
    counting(&lab, &project, json!({ "missed": "run_all", "overlap": "allow" })).await;
    planned(&lab, &project).await;
    advance(&lab, until_due(&lab, &project).await + 20 * 900).await;
    let done = ended(&lab, &project, 21).await;
    assert!(done.iter().all(|run| run["status"] == "succeeded" && run["attempt"] == 1), "{done:?}");
    let seen = rows(&lab, &project).await;
    let ids: BTreeSet<&str> = seen.iter().map(|row| row["run"].as_str().unwrap()).collect();
    assert_eq!((seen.len(), ids.len()), (done.len(), done.len()), "none lost, none doubled");

    let key = project["service_key"].as_str().unwrap();
    let path = format!("/projects/v1/admin/{}", project["project_id"].as_str().unwrap());
    let slow =
        lab.with_key(key, "POST", &format!("{path}/secrets/SLOW"), Some(json!({ "value": "yes" }))).await;
    assert_eq!(slow.status, 200);
    // One run for either server: whichever has it dies with it, and the other takes it.
    let database = lab.database().await;
    advance(&lab, until_due(&lab, &project).await).await;
    let taken = eventually("a run to be taken", 15, || async {
        let row = sqlx::query_as::<_, (uuid::Uuid, uuid::Uuid)>(
            "select id, node_id from function_runs where state = 'running'",
        );
        row.fetch_optional(&database).await.unwrap()
    })
    .await;
    let dead = sqlx::query_scalar::<_, bool>(
        "update function_runs set believed_until = now() where id = $1 returning true",
    );
    let ours = std::fs::read_to_string(lab.data.join("node.id")).unwrap_or_default();
    let first_has_it = ours.trim().trim_start_matches("node_") == taken.1.simple().to_string();
    if first_has_it {
        // Stopped, it neither finishes nor takes it again.
        lab.server.signal(nix::sys::signal::Signal::SIGSTOP);
    }
    assert!(dead.bind(taken.0).fetch_one(&database).await.unwrap());
    let again = eventually("another attempt to end", 40, || async {
        let row =
            sqlx::query_as::<_, (String, i32)>("select state, attempt from function_runs where id = $1");
        let (state, attempt) = row.bind(taken.0).fetch_one(&database).await.unwrap();
        (state == "succeeded").then_some(attempt)
    })
    .await;
    if first_has_it {
        lab.server.signal(nix::sys::signal::Signal::SIGCONT);
    }
    assert_eq!(again, 2, "the same run, another attempt");
    let doubled = sqlx::query_scalar::<_, i64>("select count(*) from function_runs where ended_at is null");
    assert_eq!(doubled.fetch_one(&database).await.unwrap(), 0);
    assert!(!second_api.is_empty());
    let _ = &mut lab;
}
