//! Durable runs: asked for once, carried out until they end, whoever dies.

mod logs;
mod metering;
mod outages;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{Answer, Lab, eventually};

use super::{admin, deploy, send_deploy};
use crate::deploys::kit::{set_secret, sql};

/// Writes each attempt down where only its own project sees it, and then does what its payload says.
const WORK: &str = include_str!("work.mjs");

const TABLE: &str =
    "create table ran (id serial, run text, key text, number int, generation int, envelope text,
    told text)";

async fn world() -> (Lab, Value) {
    let lab = Lab::start().await;
    let project = working(&lab).await;
    (lab, project)
}

/// A project with a function that works.
async fn working(lab: &Lab) -> Value {
    let (_, project) = lab.project().await;
    assert_eq!(sql(lab, &project, TABLE).await.status, 200);
    deploy(lab, &project, "work", WORK).await;
    project
}

fn key(project: &Value) -> &str {
    project["service_key"].as_str().unwrap()
}

async fn create(lab: &Lab, project: &Value, key_: &str, mut more: Value) -> Answer {
    more["idempotency_key"] = key_.into();
    if more["event_type"].is_null() {
        more["event_type"] = "work.todo".into();
    }
    lab.with_key(key(project), "POST", "/functions/v1/work/runs", Some(more)).await
}

/// A run that was taken down; its id.
async fn created(lab: &Lab, project: &Value, key_: &str, more: Value) -> String {
    let answer = create(lab, project, key_, more).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.body["run_id"].as_str().unwrap().to_owned()
}

async fn on_run(lab: &Lab, project: &Value, method: &str, rest: &str) -> Answer {
    lab.with_key(key(project), method, &format!("/functions/v1/runs/{rest}"), None).await
}

async fn reached(lab: &Lab, project: &Value, id: &str, status: &str, secs: u64) -> Value {
    eventually(&format!("{id} to be {status}"), secs, || async {
        let run = on_run(lab, project, "GET", id).await;
        assert_eq!(run.status, 200, "{run:?}");
        (run.body["status"] == status).then_some(run.body)
    })
    .await
}

async fn rows(lab: &Lab, project: &Value) -> Vec<Value> {
    let found =
        sql(lab, project, "select run, key, number, generation, envelope, told from ran order by id").await;
    assert_eq!(found.status, 200, "{found:?}");
    found.body["rows"].as_array().unwrap().clone()
}

async fn advance(lab: &Lab, secs: i64) {
    let moved = lab.send(lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": secs }))).await;
    assert_eq!(moved.status, 200, "{moved:?}");
}

// Contract 03 section 8. Goal: a run is answered once it is written down, reaches the handler as the contract says,
// and can be looked at by its project alone.
#[tokio::test]
async fn a_run_is_written_down_carried_out_and_told() {
    let (lab, project) = world().await;
    let asked = json!({ "payload": { "order": 7, "note": "a\u{0}b" }, "event_type": "order.paid" });
    let made = create(&lab, &project, "order-7", asked).await;
    assert_eq!((made.status, &made.body["deduplicated"]), (202, &json!(false)), "{made:?}");
    let id = made.body["run_id"].as_str().unwrap();
    assert!(id.starts_with("fnrun_"));
    let run = reached(&lab, &project, id, "succeeded", 15).await;
    assert_eq!(
        (&run["terminal"], &run["generation"], &run["source"]),
        (&json!(true), &json!(1), &json!({ "type": "api" }))
    );
    assert_eq!(
        (&run["attempts"]["current"], &run["attempts"]["max"], &run["attempts"]["total"]),
        (&json!(1), &json!(5), &json!(1))
    );
    assert_eq!(
        (&run["last_attempt"]["response_status"], &run["last_error"]),
        (&json!(200), &Value::Null),
        "{run}"
    );
    assert!(
        run["last_attempt"]["duration_ms"].as_i64().unwrap() >= 0 && run["completed_at"].is_string(),
        "{run}"
    );

    let seen = rows(&lab, &project).await;
    assert_eq!(seen.len(), 1);
    let envelope: Value = serde_json::from_str(seen[0]["envelope"].as_str().unwrap()).unwrap();
    let attempt = run["last_attempt"]["attempt_id"].as_str().unwrap();
    let expected = json!({ "trigger": "function_run", "run_id": id, "generation": 1, "event_type": "order.paid",
        "idempotency_key": "order-7", "run_at": run["run_at"],
        "attempt": { "attempt_id": attempt, "number": 1, "max": 5 },
        "source": { "type": "api" }, "payload": { "order": 7, "note": "a\u{0}b" } });
    assert_eq!(envelope, expected);
    let told: Value = serde_json::from_str(seen[0]["told"].as_str().unwrap()).unwrap();
    assert_eq!(told, json!(["function_run", id, attempt, "order-7", id]));
    let logs = eventually("the run's log", 10, || async {
        let logs = on_run(&lab, &project, "GET", &format!("{id}/logs")).await;
        (logs.body["logs"].as_array().unwrap().len() == 1).then_some(logs.body)
    })
    .await;
    assert_eq!(
        (&logs["logs"][0]["message"], &logs["logs"][0]["request_id"]),
        (&json!("working on order-7"), &json!(id))
    );

    let (_, other) = lab.project().await;
    for rest in ["", "/logs"] {
        assert_eq!(
            on_run(&lab, &other, "GET", &format!("{id}{rest}")).await.status,
            404,
            "another project's"
        );
    }
    for rest in ["/cancel", "/redrive"] {
        assert_eq!(
            on_run(&lab, &other, "POST", &format!("{id}{rest}")).await.body["code"],
            "FUNCTION_RUN_NOT_FOUND"
        );
    }
    let anon = project["anon_key"].as_str().unwrap();
    let body = json!({ "event_type": "x", "idempotency_key": "x" });
    let run = format!("/functions/v1/runs/{id}");
    for (method, path, body) in [
        ("POST", "/functions/v1/work/runs", Some(body)),
        ("GET", "/functions/v1/work/runs", None),
        ("GET", &run, None),
        ("GET", &format!("{run}/logs"), None),
        ("POST", &format!("{run}/cancel"), None),
        ("POST", &format!("{run}/redrive"), None),
    ] {
        let refused = lab.with_key(anon, method, path, body).await;
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (403, &json!("FORBIDDEN")),
            "{path}: {refused:?}"
        );
    }
}

// Goal: what cannot be asked for is refused with the field's name, and lists are filtered and paged.
#[tokio::test]
async fn runs_are_judged_listed_and_paged() {
    let (lab, project) = world().await;
    for (more, field) in [
        (json!({ "event_type": "" }), "event_type"),
        (json!({ "event_type": "a\nb" }), "event_type"),
        (json!({ "run_at": "2030-01-01T00:00:00Z", "delay_seconds": 1 }), "run_at"),
        (json!({ "run_at": "tomorrow" }), "run_at"),
        (json!({ "run_at": "9999-01-01T00:00:00Z" }), "run_at"),
        (json!({ "delay_seconds": -1 }), "delay_seconds"),
        (json!({ "delay_seconds": i64::MAX }), "delay_seconds"),
        (json!({ "expires_at": "2020-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "delay_seconds": 0, "expires_at": "2020-01-01T00:00:00Z" }), "expires_at"),
        (json!({ "retry": { "max_attempts": 21 } }), "retry.max_attempts"),
        (json!({ "retry": { "preset": "for ever" } }), "retry.preset"),
        (json!({ "payload": { "long": "x".repeat(65 * 1024) } }), "payload"),
    ] {
        let refused = create(&lab, &project, "bad", more.clone()).await;
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (400, &json!("BAD_FUNCTION_RUN")),
            "{more}: {refused:?}"
        );
        assert_eq!(refused.body["details"]["field"], field, "{refused:?}");
    }
    for more in [json!({ "payload": "text" }), json!({ "payload": [1] }), json!({ "retry": 3 })] {
        assert_eq!(create(&lab, &project, "bad", more.clone()).await.status, 400, "{more}");
    }
    let sent = lab.http.post(lab.url("/functions/v1/work/runs")).bearer_auth(key(&project));
    let body = json!({ "event_type": "x", "idempotency_key": "one" });
    let differs = lab.send(sent.header("idempotency-key", "two").json(&body)).await;
    assert_eq!(
        (differs.status, &differs.body["details"]["field"]),
        (400, &json!("idempotency_key")),
        "{differs:?}"
    );
    let nobody = lab.with_key(key(&project), "POST", "/functions/v1/nobody/runs", Some(body)).await;
    assert_eq!((nobody.status, &nobody.body["code"]), (404, &json!("FUNCTION_NOT_FOUND")), "{nobody:?}");

    let mut ids = Vec::new();
    for n in 0..5 {
        let event = if n % 2 == 0 { "even" } else { "odd" };
        ids.push(
            created(&lab, &project, &format!("k{n}"), json!({ "event_type": event, "delay_seconds": 9_000 }))
                .await,
        );
    }
    ids.reverse();
    let list = async |query: &str| -> Value {
        let path = format!("/functions/v1/work/runs?{query}");
        let answer = lab.with_key(key(&project), "GET", &path, None).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    };
    let names = |page: &Value| -> Vec<String> {
        page["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["run_id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (mut all, mut cursor) = (Vec::new(), String::new());
    for _ in 0..3 {
        let page = list(&format!("limit=2{cursor}")).await;
        all.extend(names(&page));
        cursor = page["next_cursor"].as_str().map_or_else(String::new, |next| format!("&cursor={next}"));
    }
    assert_eq!((all, cursor.as_str()), (ids.clone(), ""), "each once, the newest first");
    assert_eq!(names(&list("event_type=odd").await), [ids[1].clone(), ids[3].clone()]);
    assert_eq!(names(&list("status=scheduled").await).len(), 5);
    assert_eq!(names(&list("status=succeeded").await).len(), 0);
    assert_eq!(names(&list("until=2020-01-01T00:00:00Z").await).len(), 0);
    for bad in ["status=done", "cursor=x", "since=yesterday"] {
        let answer =
            lab.with_key(key(&project), "GET", &format!("/functions/v1/work/runs?{bad}"), None).await;
        assert_eq!(answer.status, 400, "{bad}: {answer:?}");
    }
    assert!(rows(&lab, &project).await.is_empty(), "none has begun");
    // A change of the function's schedule ends the schedule's runs and no others.
    let changed = admin(&lab, &project, "PATCH", "/work", Some(json!({ "schedule": "0 0 * * *" }))).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(names(&list("status=scheduled").await).len(), 5);
    advance(&lab, 9_100).await;
    for id in &ids {
        reached(&lab, &project, id, "succeeded", 20).await;
    }
    assert_eq!(rows(&lab, &project).await.len(), 5);
}

// Goal: a key is one run, however often and at once it is asked for; another content under it is refused.
#[tokio::test]
async fn a_key_is_one_run_and_another_content_is_refused() {
    let (lab, project) = world().await;
    let asked = |n: i64| json!({ "payload": { "n": n, "m": 1 } });
    let many = futures::future::join_all((0..20).map(|_| create(&lab, &project, "once", asked(1)))).await;
    let fresh = many.iter().filter(|answer| answer.status == 202).count();
    let ids: BTreeSet<&str> = many.iter().map(|answer| answer.body["run_id"].as_str().unwrap()).collect();
    assert_eq!((fresh, ids.len()), (1, 1), "{many:?}");
    let id = *ids.first().unwrap();
    reached(&lab, &project, id, "succeeded", 15).await;
    let again = create(&lab, &project, "once", json!({ "payload": { "m": 1, "n": 1 } })).await;
    assert_eq!(
        (again.status, &again.body["deduplicated"]),
        (200, &json!(true)),
        "also after its end: {again:?}"
    );
    assert_eq!((&again.body["run_id"], &again.body["status"]), (&json!(id), &json!("succeeded")));
    for other in [asked(2), json!({}), json!({ "payload": { "n": 1, "m": 1 }, "delay_seconds": 1 })] {
        let refused = create(&lab, &project, "once", other.clone()).await;
        let conflict = json!("function_run_idempotency_conflict");
        assert_eq!((refused.status, &refused.body["code"]), (409, &conflict), "{other}: {refused:?}");
    }
    assert_eq!(rows(&lab, &project).await.len(), 1, "it ran once");
    deploy(&lab, &project, "other", WORK).await;
    let body = json!({ "event_type": "x", "idempotency_key": "once" });
    let own = lab.with_key(key(&project), "POST", "/functions/v1/other/runs", Some(body)).await;
    assert_eq!(own.status, 202, "another function has keys of its own: {own:?}");
}

// Goal: failures that may pass are tried again later and later, and not for ever; others end at once; what ended so
// begins anew under its id, once for each time it is asked.
#[tokio::test]
async fn failed_runs_are_retried_capped_and_redriven() {
    let (lab, project) = world().await;
    let quick = json!({ "max_attempts": 3, "min_delay_seconds": 1, "max_delay_seconds": 1 });
    let passing = json!({ "payload": { "status": 503, "until": 2 }, "retry": quick });
    let passing = created(&lab, &project, "passing", passing).await;
    let dead = created(&lab, &project, "dead", json!({ "payload": { "status": 500 }, "retry": quick })).await;
    let refused =
        created(&lab, &project, "refused", json!({ "payload": { "status": 422 }, "retry": quick })).await;
    let slow = created(&lab, &project, "slow", json!({ "payload": { "status": 429 } })).await;
    let run = reached(&lab, &project, &passing, "succeeded", 20).await;
    assert_eq!((&run["attempts"]["current"], &run["last_error"]), (&json!(2), &Value::Null), "{run}");
    let run = reached(&lab, &project, &refused, "failed", 20).await;
    assert_eq!(
        (&run["attempts"]["current"], &run["last_error"]["retryable"]),
        (&json!(1), &json!(false)),
        "{run}"
    );
    assert_eq!(run["last_error"]["code"], "HTTP_422");
    let run = reached(&lab, &project, &slow, "retrying", 20).await;
    assert_eq!((&run["terminal"], &run["last_error"]["code"]), (&json!(false), &json!("HTTP_429")), "{run}");
    assert!(run["attempts"]["next_attempt_at"].is_string(), "{run}");
    let run = reached(&lab, &project, &dead, "failed", 20).await;
    assert_eq!((&run["attempts"]["current"], &run["attempts"]["total"]), (&json!(3), &json!(3)), "{run}");
    assert_eq!(run["next_actions"][0]["path"], format!("/functions/v1/runs/{dead}/redrive"));
    let tried = rows(&lab, &project).await;
    let numbers: Vec<i64> =
        tried.iter().filter(|row| row["key"] == "dead").map(|row| row["number"].as_i64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3], "no attempt more");

    for (id, status) in [(&passing, 409), (&slow, 409)] {
        let answer = on_run(&lab, &project, "POST", &format!("{id}/redrive")).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (status, &json!("FUNCTION_RUN_NOT_REDRIVABLE")),
            "{answer:?}"
        );
    }
    assert_eq!(set_secret(&lab, &project, "MENDED", "yes!").await.status, 200);
    let anew = format!("{dead}/redrive");
    let both = futures::future::join_all([0, 1].map(|_| on_run(&lab, &project, "POST", &anew))).await;
    let mut statuses = both.iter().map(|answer| answer.status).collect::<Vec<_>>();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{both:?}");
    let run = reached(&lab, &project, &dead, "succeeded", 20).await;
    assert_eq!((&run["generation"], &run["attempts"]["current"]), (&json!(2), &json!(1)), "{run}");
    assert_eq!(run["attempts"]["total"], 4);
    let last = rows(&lab, &project).await.into_iter().rfind(|row| row["key"] == "dead").unwrap();
    assert_eq!((&last["run"], &last["generation"], &last["number"]), (&json!(dead), &json!(2), &json!(1)));
    assert_eq!(on_run(&lab, &project, "POST", &format!("{dead}/redrive")).await.status, 409);
}

// Goal: a run begins at its time and not after its expiry, and an expired one can be begun anew.
#[tokio::test]
async fn a_run_waits_for_its_time_and_expires_after_it() {
    let (lab, project) = world().await;
    let clock = lab.send(lab.http.post(lab.url("/lab/clock")).json(&json!({ "advance_secs": 1 }))).await.body;
    let now: chrono::DateTime<chrono::Utc> = clock["now"].as_str().unwrap().parse().unwrap();
    let later = |secs: i64| types::rfc3339(now + chrono::TimeDelta::seconds(secs));
    let timely = created(&lab, &project, "timely", json!({ "run_at": later(600) })).await;
    let late =
        created(&lab, &project, "late", json!({ "run_at": later(900), "expires_at": later(1_000) })).await;
    assert_eq!(on_run(&lab, &project, "GET", &timely).await.body["status"], "scheduled");
    advance(&lab, 620).await;
    reached(&lab, &project, &timely, "succeeded", 15).await;
    assert_eq!(on_run(&lab, &project, "GET", &late).await.body["status"], "scheduled");
    // Past its time and its expiry at once, as after a downtime.
    advance(&lab, 500).await;
    let run = reached(&lab, &project, &late, "expired", 15).await;
    assert_eq!((&run["terminal"], &run["attempts"]["total"]), (&json!(true), &json!(0)), "{run}");
    let again = on_run(&lab, &project, "POST", &format!("{late}/redrive")).await;
    assert_eq!((again.status, &again.body["expires_at"]), (200, &Value::Null), "{again:?}");
    reached(&lab, &project, &late, "succeeded", 15).await;
    assert_eq!(rows(&lab, &project).await.len(), 2);
}

// Goal: whoever is faster, a run that is called off has one end: either it never ran, or it says what it did.
#[tokio::test]
async fn a_cancel_and_a_completion_make_one_end() {
    let (lab, project) = world().await;
    let waiting = created(&lab, &project, "waiting", json!({ "delay_seconds": 600 })).await;
    let cancelled = on_run(&lab, &project, "POST", &format!("{waiting}/cancel")).await;
    assert_eq!((cancelled.status, &cancelled.body["status"]), (200, &json!("cancelled")), "{cancelled:?}");
    let again = on_run(&lab, &project, "POST", &format!("{waiting}/cancel")).await;
    assert_eq!(
        (again.status, &again.body["completed_at"]),
        (200, &cancelled.body["completed_at"]),
        "{again:?}"
    );

    // One that runs is told what it did, and is not tried again.
    let fails = json!({ "payload": { "sleep": 1500, "status": 500 }, "retry": { "min_delay_seconds": 0 } });
    let fails = created(&lab, &project, "fails", fails).await;
    let succeeds = created(&lab, &project, "succeeds", json!({ "payload": { "sleep": 1500 } })).await;
    for id in [&fails, &succeeds] {
        reached(&lab, &project, id, "running", 10).await;
        let asked = on_run(&lab, &project, "POST", &format!("{id}/cancel")).await;
        assert_eq!((asked.status, &asked.body["cancel_requested"]), (200, &json!(true)), "{asked:?}");
    }
    let run = reached(&lab, &project, &fails, "cancelled", 10).await;
    assert_eq!(
        (&run["attempts"]["total"], &run["last_attempt"]["response_status"]),
        (&json!(1), &json!(500)),
        "{run}"
    );
    reached(&lab, &project, &succeeds, "succeeded", 10).await;
    let ended = on_run(&lab, &project, "POST", &format!("{succeeds}/cancel")).await;
    assert_eq!((ended.status, &ended.body["code"]), (409, &json!("FUNCTION_RUN_ENDED")), "{ended:?}");

    // Races: each asked for and called off at once.
    let races = (0..30).map(|n| {
        let (lab, project) = (&lab, &project);
        async move {
            let id =
                created(lab, project, &format!("race-{n}"), json!({ "payload": { "sleep": n * 3 } })).await;
            tokio::time::sleep(std::time::Duration::from_millis(n * 7)).await;
            let answer = on_run(lab, project, "POST", &format!("{id}/cancel")).await;
            assert!(matches!(answer.status, 200 | 409), "{answer:?}");
            id
        }
    });
    let ids = futures::future::join_all(races).await;
    let mut ends = Vec::new();
    for id in &ids {
        let run = eventually("a run to end", 20, || async {
            let run = on_run(&lab, &project, "GET", id).await.body;
            (run["terminal"] == true).then_some(run)
        })
        .await;
        ends.push(run);
    }
    let ran: BTreeSet<String> =
        rows(&lab, &project).await.iter().map(|row| row["run"].as_str().unwrap().to_owned()).collect();
    for run in &ends {
        let id = run["run_id"].as_str().unwrap();
        match run["status"].as_str().unwrap() {
            "succeeded" => assert!(ran.contains(id), "{run}"),
            "cancelled" => assert_eq!(ran.contains(id), run["attempts"]["total"] == 1, "{run}"),
            other => panic!("{other}: {run}"),
        }
    }
    advance(&lab, 1_000).await;
    let after = rows(&lab, &project).await;
    assert!(!after.iter().any(|row| row["key"] == "waiting"), "what was called off does not begin");
}

// Goal: a function begins runs by its library, and a schedule's and a manual run are runs like others.
#[tokio::test]
async fn a_function_begins_runs_and_all_of_them_are_looked_at_alike() {
    let (lab, project) = world().await;
    let code = "import { functions } from '@run402/functions';
        export default async () => Response.json(await functions.runs.create('work',
            { eventType: 'from.function', idempotencyKey: 'f1', payload: { a: 1 }, retry: { preset: 'none' } }));";
    deploy(&lab, &project, "begins", code).await;
    let begun = super::invoke(&lab, &project, "begins").await;
    assert_eq!((begun.status, &begun.body["source"]["type"]), (200, &json!("function")), "{begun:?}");
    let run = reached(&lab, &project, begun.body["run_id"].as_str().unwrap(), "succeeded", 15).await;
    assert_eq!((&run["event_type"], &run["attempts"]["max"]), (&json!("from.function"), &json!(1)), "{run}");
    // A schedule's run is one of them.
    let body = json!({ "name": "work", "code": WORK, "schedule": "0 0 * * *" });
    assert_eq!(send_deploy(&lab, &project, body).await.status, 201);
    let by_hand = admin(&lab, &project, "POST", &format!("/{}/trigger", "work"), Some(json!({}))).await;
    assert_eq!(by_hand.status, 200, "{by_hand:?}");
    let id = by_hand.body["request_id"].as_str().unwrap().to_owned();
    let run = on_run(&lab, &project, "GET", &id).await.body;
    assert_eq!((&run["source"]["type"], &run["event_type"]), (&json!("manual"), &json!("cron")), "{run}");
}
