//! What runs count, and what happens once an account has no calls left.

use serde_json::{Value, json};
use tests::{Lab, eventually};

use super::{advance, key, on_run, reached};
use crate::deploys::kit::sql;
use crate::functions::schedules::{planned, until_due};
use crate::functions::{admin, send_deploy};

/// Calls nothing itself.
const PLAIN: &str = "export default async (req) => {
    const { payload } = await req.json();
    return new Response('done', { status: payload?.status ?? 200 });
};";
const QUARTERLY: &str = "*/15 * * * *";

struct World {
    lab: Lab,
    wallet: tests::Wallet,
    project: Value,
    marker: Value,
}

async fn world() -> World {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let (_, marker) = lab.project().await;
    let body = json!({ "name": "plain", "code": PLAIN, "schedule": QUARTERLY });
    assert_eq!(send_deploy(&lab, &project, body).await.status, 201);
    planned(&lab, &project).await;
    World { lab, wallet, project, marker }
}

impl World {
    /// Calls of a project that the database has.
    async fn flushed(&self, project: &Value) -> i64 {
        let id = project["project_id"].as_str().unwrap().trim_start_matches("prj_");
        let query = "select coalesce(sum(api_calls), 0)::bigint from project_usage where project_id = $1";
        let query = sqlx::query_scalar(query).bind(uuid::Uuid::parse_str(id).unwrap());
        query.fetch_one(&self.lab.database().await).await.unwrap()
    }

    /// All that was counted so far: windows are flushed in their order, so a call that is made now says when.
    async fn counted(&self) -> i64 {
        let before = self.flushed(&self.marker).await;
        assert_eq!(sql(&self.lab, &self.marker, "select 1").await.status, 200);
        eventually("the window to be flushed", 20, || async {
            (self.flushed(&self.marker).await > before).then_some(())
        })
        .await;
        self.flushed(&self.project).await
    }

    async fn ask(&self, key_: &str, more: Value) -> String {
        let mut body = more;
        body["idempotency_key"] = key_.into();
        body["event_type"] = "x".into();
        let path = "/functions/v1/plain/runs";
        let made = self.lab.with_key(key(&self.project), "POST", path, Some(body)).await;
        assert_eq!(made.status, 202, "{made:?}");
        made.body["run_id"].as_str().unwrap().to_owned()
    }

    /// The scheduled runs, once so many have ended.
    async fn ended(&self, count: usize) -> Vec<Value> {
        eventually(&format!("{count} scheduled runs to end"), 30, || async {
            let runs = admin(&self.lab, &self.project, "GET", "/plain/runs", None).await.body;
            let runs = runs["runs"].as_array().unwrap().clone();
            let all = runs.len() >= count && runs.iter().all(|run| !run["ended_at"].is_null());
            all.then_some(runs)
        })
        .await
    }

    async fn becomes(&self, id: &str, status: &str) -> Value {
        reached(&self.lab, &self.project, id, status, 20).await
    }
}

// Open question 17 of contract 01. Goal: each attempt is one call of the account, by schedule, asked for or by hand,
// and what does not begin is none. Method: the count before and after each.
#[tokio::test]
async fn every_attempt_is_one_call_and_what_does_not_begin_is_none() {
    let world = world().await;
    let start = world.counted().await;
    let plain = world.ask("plain", json!({})).await;
    world.becomes(&plain, "succeeded").await;
    assert_eq!(world.counted().await, start + 2, "the request and the attempt");

    let retry = json!({ "max_attempts": 3, "min_delay_seconds": 0, "max_delay_seconds": 0 });
    let thrice = world.ask("thrice", json!({ "payload": { "status": 503 }, "retry": retry })).await;
    world.becomes(&thrice, "failed").await;
    assert_eq!(world.counted().await, start + 6, "the request and three attempts");
    assert_eq!(on_run(&world.lab, &world.project, "POST", &format!("{thrice}/redrive")).await.status, 200);
    eventually("the next generation to end", 20, || async {
        let run = on_run(&world.lab, &world.project, "GET", &thrice).await.body;
        (run["attempts"]["total"] == 6 && run["terminal"] == true).then_some(())
    })
    .await;
    assert_eq!(world.counted().await, start + 10, "the request and three more");

    let by_hand = admin(&world.lab, &world.project, "POST", "/plain/trigger", Some(json!({}))).await;
    assert_eq!((by_hand.status, &by_hand.body["status"]), (200, &json!(200)), "{by_hand:?}");
    assert_eq!(world.counted().await, start + 11, "a run by hand is its request");

    let late = world.ask("late", json!({ "delay_seconds": 86_400 })).await;
    assert_eq!(on_run(&world.lab, &world.project, "POST", &format!("{late}/cancel")).await.status, 200);
    assert_eq!(world.counted().await, start + 12, "only the request");

    advance(&world.lab, until_due(&world.lab, &world.project).await).await;
    let runs = world.ended(2).await;
    assert_eq!(runs.iter().filter(|run| run["source"] == "schedule").count(), 1, "{runs:?}");
    assert_eq!(world.counted().await, start + 13, "a due time");
}

// Goal: runs that are held back while the lease has ended are counted once they begin, and times that were skipped
// never are.
#[tokio::test]
async fn runs_that_are_held_back_are_counted_when_they_begin() {
    let world = world().await;
    let held = world.ask("held", json!({ "delay_seconds": 57 * 86_400 - 60 })).await;
    let start = world.counted().await;
    advance(&world.lab, 57 * 86_400).await;
    world.becomes(&held, "blocked").await;
    world.ended(1).await;
    // Looked at again, and put back again.
    let again = "select next_at from function_runs where is_blocked";
    let database = world.lab.database().await;
    let first: chrono::DateTime<chrono::Utc> = sqlx::query_scalar(again).fetch_one(&database).await.unwrap();
    advance(&world.lab, 400).await;
    eventually("the run to be put back again", 20, || async {
        let next: chrono::DateTime<chrono::Utc> =
            sqlx::query_scalar(again).fetch_one(&database).await.unwrap();
        (next > first).then_some(())
    })
    .await;
    assert_eq!(world.counted().await, start);
    assert_eq!(world.lab.pay(&world.wallet, "/tiers/v1/prototype").await.status, 200);
    advance(&world.lab, 400).await;
    world.becomes(&held, "succeeded").await;
    let scheduled = world.ended(1).await.iter().filter(|run| run["status"] == "succeeded").count();
    assert_eq!(world.counted().await, 1 + i64::try_from(scheduled).unwrap(), "a renewal starts anew");
}

// F12. Goal: an account whose calls are used up begins no runs: due times are skipped and say why, what was asked
// for waits, and both are counted as nothing; a renewal lets them go on.
#[tokio::test]
async fn an_exhausted_pool_begins_no_runs_until_it_is_renewed() {
    let world = world().await;
    let waits = world.ask("waits", json!({ "delay_seconds": 900 })).await;
    world.counted().await;
    let database = world.lab.database().await;
    let spent = "update account_calls a set calls = 500000 from projects p
        where p.account_id = a.account_id and p.id = $1";
    let id = world.project["project_id"].as_str().unwrap().trim_start_matches("prj_");
    let spent = sqlx::query(spent).bind(uuid::Uuid::parse_str(id).unwrap()).execute(&database).await;
    assert_eq!(spent.unwrap().rows_affected(), 1);
    let start = world.counted().await;
    advance(&world.lab, 901).await;
    let runs = world.ended(1).await;
    assert_eq!(
        (&runs[0]["status"], &runs[0]["error"]),
        (&json!("skipped"), &json!("paused: the API calls of the lease are used up")),
        "{runs:?}"
    );
    let run = world.becomes(&waits, "blocked").await;
    assert_eq!(run["attempts"]["total"], 0, "{run}");
    let by_hand = admin(&world.lab, &world.project, "POST", "/plain/trigger", Some(json!({}))).await;
    assert_eq!((by_hand.status, &by_hand.body["code"]), (403, &json!("QUOTA_EXCEEDED")), "{by_hand:?}");
    assert_eq!(world.counted().await, start, "nothing began");
    assert_eq!(world.lab.pay(&world.wallet, "/tiers/v1/prototype").await.status, 200);
    advance(&world.lab, 400).await;
    let run = world.becomes(&waits, "succeeded").await;
    assert_eq!(run["attempts"]["total"], 1, "{run}");
}
