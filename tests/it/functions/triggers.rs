//! Triggers of a release: several schedules of one function, each time a durable run.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tests::{Answer, Lab, Wallet, eventually};

use super::admin;
use super::schedules::advance;
use crate::deploys::kit::{function, ready, spec, sql};
use crate::deploys::send_plan;
use crate::nodes::two_servers;

const WORK: &str = include_str!("work.mjs");
const TABLE: &str =
    "create table ran (id serial, run text, key text, number int, generation int, envelope text, told text)";
const QUARTERLY: &str = "*/15 * * * *";

/// A trigger with what its run is about.
fn trigger(id: &str, cron: &str, run: Value) -> Value {
    let mut run = run;
    if run["event_type"].is_null() {
        run["event_type"] = format!("{id}.due").into();
    }
    json!({ "id": id, "type": "schedule", "cron": cron, "run": run })
}

/// The parts of a release with a function that works, and its triggers.
fn parts(triggers: Value) -> Value {
    let mut work = function(WORK);
    work["triggers"] = triggers;
    json!({ "functions": { "replace": { "work": work } } })
}

/// A project of the hobby tier: three times of functions, five minutes apart.
async fn hobby(lab: &Lab) -> (Wallet, Value) {
    let wallet = Wallet::random();
    lab.mint(&wallet, 10_000_000).await;
    assert_eq!(lab.pay(&wallet, "/tiers/v1/hobby").await.status, 200);
    let made = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(json!({ "name": "my-app" }))).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(sql(lab, &made.body, TABLE).await.status, 200);
    (wallet, made.body)
}

async fn deployed(lab: &Lab, wallet: &Wallet, project: &Value, triggers: Value) {
    ready(lab, wallet, project, parts(triggers), &[WORK]).await;
    let database = lab.database().await;
    eventually("the triggers to be planned", 10, || async {
        let open = "select count(*) from function_triggers where not is_planned";
        let open: i64 = sqlx::query_scalar(open).fetch_one(&database).await.unwrap();
        (open == 0).then_some(())
    })
    .await;
}

/// The triggers of the project's only function.
async fn triggers(lab: &Lab, project: &Value) -> Vec<Value> {
    let all = admin(lab, project, "GET", "", None).await;
    assert_eq!(all.status, 200, "{all:?}");
    all.body["functions"][0]["triggers"].as_array().unwrap().clone()
}

/// Moves the clock to the first trigger's next time and a little further; the time.
async fn until_due(lab: &Lab, project: &Value) -> DateTime<Utc> {
    let next = triggers(lab, project).await[0]["schedule_meta"]["next_run_at"].clone();
    let next: DateTime<Utc> = next.as_str().unwrap().parse().unwrap();
    let clock = lab.send(lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": 1 }))).await.body;
    let now: DateTime<Utc> = clock["now"].as_str().unwrap().parse().unwrap();
    advance(lab, (next - now).num_seconds() + 2).await;
    next
}

/// The function's runs, the oldest first.
async fn runs(lab: &Lab, project: &Value) -> Vec<Value> {
    let key = project["service_key"].as_str().unwrap();
    let answer = lab.with_key(key, "GET", "/functions/v1/work/runs?limit=100", None).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["runs"].as_array().unwrap().iter().rev().cloned().collect()
}

/// The runs, once so many have ended and none is open.
async fn ended(lab: &Lab, project: &Value, count: usize) -> Vec<Value> {
    eventually(&format!("{count} runs to end"), 30, || async {
        let runs = runs(lab, project).await;
        (runs.len() >= count && runs.iter().all(|run| run["terminal"] == true)).then_some(runs)
    })
    .await
}

async fn fire(lab: &Lab, project: &Value, id: &str, key: Option<&str>) -> Answer {
    let project_id = project["project_id"].as_str().unwrap();
    let path = format!("/projects/v1/{project_id}/functions/work/triggers/{id}/run");
    let sent = lab.http.post(lab.url(&path)).bearer_auth(project["service_key"].as_str().unwrap());
    lab.send(key.into_iter().fold(sent, |sent, key| sent.header("idempotency-key", key))).await
}

// Contract 03 section 8, F05. Goal: each due time of each trigger is one durable run with what the trigger says, and
// is told where runs and functions are looked at; what is fired by hand is one more.
#[tokio::test]
async fn each_due_time_of_a_trigger_is_one_run_that_was_asked_for() {
    let lab = Lab::start().await;
    let (wallet, project) = hobby(&lab).await;
    let retry = json!({ "max_attempts": 3, "min_delay_seconds": 0, "max_delay_seconds": 0 });
    let flaky = json!({ "event_type": "report.due", "payload": { "status": 503, "until": 2 }, "retry": retry,
        "expires_after_seconds": 600 });
    let all = json!([trigger("report", QUARTERLY, flaky), trigger("yearly", "0 0 1 1 *", json!({}))]);
    deployed(&lab, &wallet, &project, all).await;
    let due = until_due(&lab, &project).await;
    let runs = ended(&lab, &project, 1).await;
    assert_eq!(runs.len(), 1, "{runs:?}");
    let run = &runs[0];
    assert_eq!((&run["status"], &run["event_type"]), (&json!("succeeded"), &json!("report.due")), "{run}");
    assert_eq!(run["source"], json!({ "type": "schedule", "trigger_id": "report" }));
    assert_eq!(run["run_at"], types::rfc3339(due));
    assert_eq!(run["expires_at"], types::rfc3339(due + chrono::TimeDelta::seconds(600)));
    assert_eq!(
        (&run["attempts"]["total"], &run["attempts"]["max"]),
        (&json!(2), &json!(3)),
        "it was retried"
    );
    let seen = sql(&lab, &project, "select envelope from ran order by id").await.body["rows"].clone();
    let envelope: Value = serde_json::from_str(seen[1]["envelope"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&envelope["trigger"], &envelope["source"], &envelope["payload"]["until"]),
        (&json!("function_run"), &json!({ "type": "schedule" }), &json!(2))
    );
    let told = triggers(&lab, &project).await;
    let meta = &told[0]["schedule_meta"];
    assert_eq!((&told[0]["id"], &told[0]["timezone"]), (&json!("report"), &json!("UTC")), "{told:?}");
    assert_eq!((&meta["run_count"], &meta["last_status"]), (&json!(1), &json!(200)), "{told:?}");
    assert_eq!(meta["next_run_at"], types::rfc3339(due + chrono::TimeDelta::minutes(15)));
    assert_eq!(told[1]["schedule_meta"]["run_count"], 0);

    let fired = fire(&lab, &project, "yearly", Some("now")).await;
    assert_eq!((fired.status, &fired.body["run"]["deduplicated"]), (202, &json!(false)), "{fired:?}");
    assert_eq!(fired.body["run"]["source"], json!({ "type": "api", "trigger_id": "yearly" }));
    assert!(
        fired.body["schedule_meta"]["next_run_at"].as_str().unwrap().contains("-01-01T00:00"),
        "{fired:?}"
    );
    let again = fire(&lab, &project, "yearly", Some("now")).await;
    assert_eq!((again.status, &again.body["run"]["run_id"]), (200, &fired.body["run"]["run_id"]));
    assert_eq!(fire(&lab, &project, "report", Some("now")).await.status, 409, "another content");
    assert_eq!(fire(&lab, &project, "yearly", None).await.status, 202);
    let runs = ended(&lab, &project, 3).await;
    assert_eq!(runs.len(), 3, "{runs:?}");
    let gone = fire(&lab, &project, "never", None).await;
    assert_eq!((gone.status, &gone.body["code"]), (404, &json!("FUNCTION_TRIGGER_NOT_FOUND")), "{gone:?}");
    let path = format!(
        "/projects/v1/{}/functions/work/triggers/yearly/run",
        project["project_id"].as_str().unwrap()
    );
    let anon = lab.with_key(project["anon_key"].as_str().unwrap(), "POST", &path, None).await;
    assert_eq!(anon.status, 403, "{anon:?}");
    let (_, other) = lab.project().await;
    let foreign = lab.with_key(other["service_key"].as_str().unwrap(), "POST", &path, None).await;
    assert_eq!(foreign.status, 403, "{foreign:?}");
}

// F02, F03. Goal: runs of one trigger may overlap, times that nobody looked at are skipped and written down, and a
// run that did not begin in time expires.
#[tokio::test]
async fn times_overlap_are_skipped_when_missed_and_expire() {
    let lab = Lab::start().await;
    let (wallet, project) = hobby(&lab).await;
    let slow = json!({ "payload": { "sleep": 8000 }, "expires_after_seconds": 3600 });
    deployed(&lab, &wallet, &project, json!([trigger("slow", QUARTERLY, slow)])).await;
    until_due(&lab, &project).await;
    eventually("the first to run", 15, || async {
        (runs(&lab, &project).await.first()?["status"] == "running").then_some(())
    })
    .await;
    until_due(&lab, &project).await;
    eventually("both to run at once", 7, || async {
        let runs = runs(&lab, &project).await;
        (runs.len() == 2 && runs.iter().all(|run| run["status"] == "running")).then_some(())
    })
    .await;
    ended(&lab, &project, 2).await;
    // Past the fourth time after the next one, and more than what counts as unseen.
    until_due(&lab, &project).await;
    ended(&lab, &project, 3).await;
    advance(&lab, 4 * 900 + 120).await;
    let runs = ended(&lab, &project, 7).await;
    let count = |status: &str| runs.iter().filter(|run| run["status"] == status).count();
    assert_eq!((count("succeeded"), count("cancelled")), (3, 4), "{runs:?}");
    let missed = runs.iter().filter(|run| run["status"] == "cancelled");
    assert!(
        missed.into_iter().all(|run| run["last_error"]["message"].as_str().unwrap().starts_with("missed"))
    );

    // One that fails waits for its next attempt, and its time passes.
    let fails = json!({ "payload": { "status": 500 }, "expires_after_seconds": 60,
        "retry": { "max_attempts": 5, "min_delay_seconds": 600, "max_delay_seconds": 600 } });
    deployed(&lab, &wallet, &project, json!([trigger("fails", QUARTERLY, fails)])).await;
    until_due(&lab, &project).await;
    eventually("the first attempt to end", 15, || async {
        let runs = self::runs(&lab, &project).await;
        (runs.last().unwrap()["status"] == "retrying").then_some(())
    })
    .await;
    advance(&lab, 61).await;
    let runs = ended(&lab, &project, 8).await;
    let last = runs.last().unwrap();
    assert_eq!((&last["status"], &last["attempts"]["total"]), (&json!("expired"), &json!(1)), "{last}");
}

// F05. Goal: a change wins over what was due of a trigger and had not begun; another trigger of the function, and one
// that stays as it was, is not touched. Method: no server takes runs while the release changes.
#[tokio::test]
async fn a_trigger_that_is_taken_away_does_not_begin_what_was_due() {
    let lab = Lab::start().await;
    let (wallet, project) = hobby(&lab).await;
    let two = json!([trigger("goes", QUARTERLY, json!({})), trigger("stays", QUARTERLY, json!({}))]);
    deployed(&lab, &wallet, &project, two).await;
    let database = lab.database().await;
    // Due, and held until the change is done: as if every place were taken.
    let hold = "create function hold() returns trigger language plpgsql as $$ begin
           new.next_at := new.next_at + interval '1 hour'; return new; end $$;
         create trigger hold before insert on function_runs for each row execute function hold()";
    sqlx::raw_sql(hold).execute(&database).await.unwrap();
    until_due(&lab, &project).await;
    eventually("both to be due", 15, || async { (runs(&lab, &project).await.len() == 2).then_some(()) })
        .await;
    sqlx::raw_sql("drop trigger hold on function_runs").execute(&database).await.unwrap();
    let before = triggers(&lab, &project).await[1].clone();
    let one = json!([trigger("stays", QUARTERLY, json!({}))]);
    deployed(&lab, &wallet, &project, one).await;
    assert_eq!(triggers(&lab, &project).await, [before], "what stays keeps its next time");
    let by =
        |runs: &[Value], id: &str| runs.iter().find(|run| run["source"]["trigger_id"] == id).unwrap().clone();
    let now = runs(&lab, &project).await;
    assert_eq!(by(&now, "goes")["status"], "cancelled", "{now:?}");
    assert_eq!(by(&now, "goes")["last_error"]["message"], "the trigger was changed");
    assert_eq!(by(&now, "stays")["status"], "scheduled");
    sqlx::query("update function_runs set next_at = run_at where state = 'due'")
        .execute(&database)
        .await
        .unwrap();
    let runs = ended(&lab, &project, 2).await;
    assert_eq!(by(&runs, "stays")["status"], "succeeded", "{runs:?}");
    assert_eq!(sql(&lab, &project, "select count(*)::int as n from ran").await.body["rows"][0]["n"], 1);

    // A schedule takes their place, and they take its place.
    let changed = admin(&lab, &project, "PATCH", "/work", Some(json!({ "schedule": QUARTERLY }))).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert!(triggers(&lab, &project).await.is_empty());
    deployed(&lab, &wallet, &project, json!([trigger("stays", "0 0 1 1 *", json!({}))])).await;
    let all = admin(&lab, &project, "GET", "", None).await.body;
    assert_eq!(all["functions"][0]["schedule"], Value::Null, "{all}");
    let path = format!("/projects/v1/admin/{}/functions", project["project_id"].as_str().unwrap());
    let key = project["service_key"].as_str().unwrap();
    let code = json!({ "name": "work", "code": "export default () => new Response('new')" });
    assert_eq!(lab.with_key(key, "POST", &path, Some(code)).await.status, 201);
    assert_eq!(triggers(&lab, &project).await.len(), 1, "another code leaves them");
    assert_eq!(lab.with_key(key, "DELETE", &format!("{path}/work"), None).await.status, 200);
    let left: i64 =
        sqlx::query_scalar("select count(*) from function_triggers").fetch_one(&database).await.unwrap();
    assert_eq!(left, 0);
}

// F01. Goal: two servers make one run of each time of each trigger. Method: thirteen times of three triggers.
#[tokio::test]
async fn two_servers_make_one_run_of_each_time() {
    let (lab, _second, _) = two_servers().await;
    let (wallet, project) = hobby(&lab).await;
    let three = ["a", "b", "c"].map(|id| trigger(id, "*/5 * * * *", json!({})));
    deployed(&lab, &wallet, &project, json!(three)).await;
    for n in 1..=4 {
        until_due(&lab, &project).await;
        ended(&lab, &project, 3 * n).await;
    }
    let runs = ended(&lab, &project, 12).await;
    assert!(runs.iter().all(|run| run["status"] == "succeeded" && run["attempts"]["total"] == 1), "{runs:?}");
    let times: BTreeSet<(String, String)> =
        runs.iter().map(|run| (run["source"]["trigger_id"].to_string(), run["run_at"].to_string())).collect();
    assert_eq!((runs.len(), times.len()), (12, 12), "none lost, none doubled");
    let ran = sql(&lab, &project, "select count(distinct run)::int as n, count(*)::int as m from ran").await;
    assert_eq!(ran.body["rows"][0], json!({ "n": 12, "m": 12 }));
}

// Goal: triggers count like schedules against the tier, and what is wrong with one is told with its place.
#[tokio::test]
async fn triggers_are_judged_with_their_places_and_count_as_schedules() {
    let lab = Lab::start().await;
    let (wallet, project) = hobby(&lab).await;
    let refused = async |triggers: Value| {
        let answer = send_plan(&lab, &wallet, spec(&project, parts(triggers))).await;
        (answer.status, answer.body["code"].clone(), answer.body["resource"].clone())
    };
    let times = |n: usize, cron: &str| -> Value {
        (0..n).map(|n| trigger(&format!("t{n}"), cron, json!({}))).collect::<Vec<_>>().into()
    };
    assert_eq!(send_plan(&lab, &wallet, spec(&project, parts(times(3, QUARTERLY)))).await.status, 200);
    let exceeds = json!("FUNCTION_SCHEDULE_EXCEEDS_TIER");
    assert_eq!(refused(times(4, QUARTERLY)).await, (422, exceeds.clone(), json!("functions")));
    let place = json!("functions.work.triggers.t0");
    assert_eq!(refused(times(1, "*/4 * * * *")).await, (422, exceeds, place));
    let email = json!([{ "id": "m", "type": "email", "mailbox": "x", "events": [], "run": {} }]);
    let place = json!("functions.replace.work.triggers[0].type");
    assert_eq!(refused(email).await, (501, json!("FEATURE_DISABLED"), place));
    let zone = json!([{ "id": "t", "type": "schedule", "cron": QUARTERLY, "timezone": "Mars/Base",
        "run": { "event_type": "x" } }]);
    let (status, code, place) = refused(zone).await;
    assert_eq!((status, code), (400, json!("INVALID_SPEC")));
    assert_eq!(place, "functions.replace.work.triggers[0].timezone");
}
