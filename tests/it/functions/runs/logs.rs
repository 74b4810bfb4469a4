//! What runs wrote, by run and by attempt.

use serde_json::{Value, json};
use tests::{Lab, eventually};

use super::{created, key, on_run, reached, rows, world};
use crate::functions::{admin, invoke, send_deploy};

/// The entries of a function's log under an id, once there are so many.
async fn entries(lab: &Lab, project: &Value, (name, id): (&str, &str), count: usize) -> Vec<Value> {
    eventually(&format!("{count} entries of {id}"), 10, || async {
        let logs = admin(lab, project, "GET", &format!("/{name}/logs?request_id={id}"), None).await;
        assert_eq!(logs.status, 200, "{logs:?}");
        let found = logs.body["logs"].as_array().unwrap().clone();
        assert!(found.len() <= count, "{found:?}");
        (found.len() == count).then_some(found)
    })
    .await
}

// Contract 03 section 2.5. Goal: an attempt's lines are its own, a run's are those of all its attempts, and both are
// the same entries wherever they are read. Method: a run that fails twice, beside another one.
#[tokio::test]
async fn a_log_is_read_by_run_and_by_attempt() {
    let (lab, project) = world().await;
    let retry = json!({ "max_attempts": 3, "min_delay_seconds": 0, "max_delay_seconds": 0 });
    let asked = json!({ "payload": { "status": 503, "until": 3 }, "retry": retry });
    let run = created(&lab, &project, "thrice", asked).await;
    let other = created(&lab, &project, "other", json!({})).await;
    for id in [&run, &other] {
        reached(&lab, &project, id, "succeeded", 20).await;
    }
    let all = entries(&lab, &project, ("work", &run), 3).await;
    assert!(all.iter().all(|entry| entry["message"] == "working on thrice" && entry["request_id"] == *run));
    let begun = rows(&lab, &project).await;
    let attempts: Vec<String> = begun
        .iter()
        .filter(|row| row["key"] == "thrice")
        .map(|row| {
            let told: Value = serde_json::from_str(row["told"].as_str().unwrap()).unwrap();
            told[2].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(attempts.len(), 3);
    for (attempt, entry) in attempts.iter().zip(&all) {
        assert_eq!(&entries(&lab, &project, ("work", attempt), 1).await[0], entry, "in their order");
        assert_eq!(entry["attempt_id"], *attempt);
        assert_eq!(entry["log_stream_name"], "work/stdout");
        let of_run = on_run(&lab, &project, "GET", &format!("{run}/logs?request_id={attempt}")).await;
        assert_eq!(of_run.body["logs"], json!([entry]), "the same entry by the run");
        let of_other = on_run(&lab, &project, "GET", &format!("{other}/logs?request_id={attempt}")).await;
        assert_eq!(of_other.body, json!({ "logs": [] }), "none of another run");
    }
    for (filter, count) in [(run.as_str(), 3), (other.as_str(), 0), ("req_0123", 0)] {
        let logs = on_run(&lab, &project, "GET", &format!("{run}/logs?request_id={filter}")).await;
        assert_eq!(logs.body["logs"].as_array().unwrap().len(), count, "{filter}: {logs:?}");
    }
    for id in ["fnatt_", "fnatt_a.b", "req_012", "work", "%00%00%00%00%00"] {
        for path in [
            format!("/projects/v1/admin/{}/functions/work/logs", project["project_id"].as_str().unwrap()),
            format!("/functions/v1/runs/{run}/logs"),
        ] {
            let refused = lab.with_key(key(&project), "GET", &format!("{path}?request_id={id}"), None).await;
            assert_eq!((refused.status, &refused.body["code"]), (400, &json!("BAD_REQUEST")), "{refused:?}");
            assert_eq!(refused.body["details"]["field"], "request_id", "{refused:?}");
        }
    }
    for id in ["fnatt_never-there", "fnrun_0123", &format!("fnatt_{}", "0".repeat(32))] {
        assert!(entries(&lab, &project, ("work", id), 0).await.is_empty());
    }
    // Times that the database does not know.
    for since in [i64::MIN, -8_000_000_000_000_000, i64::MAX] {
        let logs = admin(&lab, &project, "GET", &format!("/{}/logs?since={since}", "work"), None).await;
        assert_eq!((logs.status, since < 0), (200, logs.body["logs"][0].is_object()), "{since}: {logs:?}");
    }
}

// Goal: what the platform says of an attempt is that attempt's, and a plain call's lines are nobody's attempt.
#[tokio::test]
async fn what_the_platform_says_of_an_attempt_is_in_its_log() {
    let (lab, project) = world().await;
    let code = "export default async (req) => {
        if (req.headers.get('x-run402-run-id')) await new Promise(() => {});
        console.log('called');
        return new Response('done');
    };";
    let body = json!({ "name": "stuck", "code": code, "config": { "timeout": 1 } });
    assert_eq!(send_deploy(&lab, &project, body).await.status, 201);
    let asked = json!({ "event_type": "x", "idempotency_key": "x", "retry": { "preset": "none" } });
    let made = lab.with_key(key(&project), "POST", "/functions/v1/stuck/runs", Some(asked)).await;
    let run = reached(&lab, &project, made.body["run_id"].as_str().unwrap(), "failed", 20).await;
    let attempt = run["last_attempt"]["attempt_id"].as_str().unwrap();
    let said = entries(&lab, &project, ("stuck", attempt), 1).await;
    assert_eq!(
        (&said[0]["message"], &said[0]["stream"], &said[0]["request_id"]),
        (&json!("no answer within 1 s"), &json!("platform"), &run["run_id"])
    );
    let called = invoke(&lab, &project, "stuck").await;
    let id = called.headers["x-run402-request-id"].to_str().unwrap().to_owned();
    let entry = entries(&lab, &project, ("stuck", &id), 1).await;
    assert_eq!((&entry[0]["message"], &entry[0]["attempt_id"]), (&json!("called"), &Value::Null));
}
