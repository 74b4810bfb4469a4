//! The same by the words of the command line.

use std::process::Command;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tests::{Lab, eventually, fresh_folder, target_binary};

use super::schedules::planned;

const API: &str = "import { adminDb } from '@run402/functions';

interface Item { id: number; title: string }

export default async (req: Request): Promise<Response> => {
  const { title } = (await req.json()) as { title: string };
  const [made] = await adminDb().from<Item>('items').insert({ title: `${process.env.GREETING} ${title}` });
  console.log('made', made.id, process.env.GREETING);
  return Response.json(made, { status: 201 });
};
";

const TICK: &str = "import { adminDb } from '@run402/functions';
export default async () => {
  await adminDb().from('items').insert({ title: `${process.env.GREETING} by the clock` });
  return new Response('written');
};
";

// Goal: a site with an API route, a cron function that writes through adminDb() and a secret works end to end by
// the command line alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_with_an_api_a_cron_and_a_secret_is_deployed_and_looked_at_by_words() {
    let lab = Lab::start().await;
    let home = fresh_folder();
    std::fs::create_dir_all(&home).unwrap();
    let output = |args: &[&str]| {
        let mut command = Command::new(target_binary("run402"));
        command.args(args).env("RUN402_API_BASE", &lab.api).env("RUN402_CONFIG_DIR", home.join("config"));
        command.output().unwrap()
    };
    let run = |args: &[&str]| -> Value {
        let done = output(args);
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "run402 {args:?}\n{out}\n{err}");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("run402 {args:?}: {e}\n{out}"))
    };
    let file = |name: &str, text: &str| -> String {
        let path = home.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    run(&["init"]);
    run(&["tier", "set", "prototype"]);
    let project = run(&["projects", "provision", "--name", "app"]);
    let id = project["project_id"].as_str().unwrap();
    run(&["secrets", "set", id, "GREETING", "salutations"]);
    let manifest = json!({
        "database": { "migrations": [{ "id": "001",
            "sql": "create table items (id serial primary key, title text not null)" }] },
        "secrets": { "require": ["GREETING"] },
        "functions": { "replace": {
            "api": { "source": API }, "tick": { "source": TICK, "schedule": "*/15 * * * *" } } },
        "routes": { "replace": [{ "pattern": "/api/*", "target": { "type": "function", "name": "api" } }] },
        "site": { "replace": { "index.html": "home" } },
    });
    let manifest = file("release.json", &manifest.to_string());
    let done = run(&["deploy", "apply", "--manifest", &manifest]);
    let site = reqwest::Url::parse(done["urls"]["project"].as_str().unwrap()).unwrap();
    let host = format!("{}:{}", site.host_str().unwrap(), site.port().unwrap());
    let posted = lab.http.post(lab.url("/api/items")).header("host", host).json(&json!({ "title": "world" }));
    let made = lab.send(posted).await;
    assert_eq!((made.status, &made.body["title"]), (201, &json!("salutations world")), "{made:?}");
    let rows = run(&["projects", "sql", id, "select title from items"]);
    assert_eq!(rows["rows"], json!([{ "title": "salutations world" }]), "{rows}");

    let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    planned(&lab, &project).await;
    let next = eventually("the schedule to be read", 20, || async {
        let all = run(&["functions", "list", id]);
        let all = all["functions"].as_array().unwrap();
        let tick = all.iter().find(|one| one["name"] == "tick").unwrap();
        let next = tick["schedule_meta"]["next_run_at"].as_str().map(time);
        // Before it is planned this is the time of the deploy.
        next.filter(|next| next.timestamp() % 900 == 0)
    })
    .await;
    // Not further: what is seen a minute late was missed.
    let secs = (next - time(run(&["lab", "clock"])["now"].as_str().unwrap())).num_seconds() + 2;
    run(&["lab", "clock", &format!("+{secs}s")]);
    let ran = eventually("the clock's run", 30, || async {
        let runs = run(&["functions", "runs", id, "tick"]);
        runs["runs"].as_array().unwrap().iter().find(|run| !run["ended_at"].is_null()).cloned()
    })
    .await;
    assert_eq!(ran["status"], "succeeded", "{ran}");
    let rows = run(&["projects", "sql", id, "select title from items where title like '%clock'"]);
    assert_eq!(rows["rows"], json!([{ "title": "salutations by the clock" }]), "{rows}");

    let logs = eventually("the log by words", 10, || async {
        let logs = run(&["functions", "logs", id, "api"]);
        logs["logs"].as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!(logs["message"], "made 1 [redacted]", "{logs}");

    let made = run(&[
        "runs",
        "create",
        id,
        "api",
        "--event",
        "item.made",
        "--key",
        "k1",
        "--payload",
        r#"{"a":1}"#,
        "--delay",
        "3600",
        "--max-attempts",
        "2",
    ]);
    let run_id = made["run_id"].as_str().unwrap();
    assert_eq!((&made["status"], &made["attempts"]["max"]), (&json!("scheduled"), &json!(2)), "{made}");
    let listed = run(&["runs", "list", id, "api", "--status", "scheduled", "--event", "item.made"]);
    assert_eq!(listed["runs"][0]["run_id"], run_id, "{listed}");
    assert_eq!(run(&["runs", "cancel", id, run_id])["status"], "cancelled");
    assert_eq!(run(&["runs", "redrive", id, run_id, "--retry", "none"])["generation"], 2);
    eventually("the run to end by words", 10, || async {
        (run(&["runs", "get", id, run_id])["terminal"] == true).then_some(())
    })
    .await;
    let attempt = run(&["runs", "get", id, run_id])["last_attempt"]["attempt_id"].clone();
    let attempt = attempt.as_str().unwrap();
    assert!(run(&["runs", "logs", id, run_id])["logs"].is_array());
    eventually("the attempt's log by words", 10, || async {
        let by_run = run(&["runs", "logs", id, run_id, "--request-id", attempt]);
        let by_name = run(&["functions", "logs", id, "api", "--request-id", attempt]);
        assert_eq!(by_run, by_name);
        (by_run["logs"][0]["attempt_id"] == attempt).then_some(())
    })
    .await;
    let refused = output(&["functions", "logs", id, "api", "--request-id", "fnatt_"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("BAD_REQUEST"), "{refused:?}");
    assert_eq!(run(&["functions", "rebuild", id, "api"])["rebuilt"], true);
    let nightly = json!([{ "id": "nightly", "type": "schedule", "cron": "0 3 * * *", "timezone": "Europe/Berlin",
        "run": { "event_type": "night", "retry": { "preset": "none" } } }]);
    let patch = json!({ "functions": { "patch": { "set": { "tick": { "triggers": nightly } } } } });
    run(&["deploy", "apply", "--manifest", &file("nightly.json", &patch.to_string())]);
    let fired = run(&["functions", "fire", id, "tick", "nightly", "--key", "n1"]);
    assert_eq!((&fired["run"]["event_type"], &fired["run"]["attempts"]["max"]), (&json!("night"), &json!(1)));
    let again = run(&["functions", "fire", id, "tick", "nightly", "--key", "n1"]);
    assert_eq!(again["run"]["run_id"], fired["run"]["run_id"], "{again}");
    assert_eq!(run(&["functions", "rebuild-all", id])["rebuilt_count"], 2);

    let hello =
        file("hello.ts", "export default async (req: Request) => new Response(`got ${await req.text()}`);");
    let deployed = run(&["functions", "deploy", id, "hello", "--file", &hello, "--timeout", "5"]);
    assert_eq!((&deployed["name"], &deployed["timeout"]), (&json!("hello"), &json!(5)), "{deployed}");
    assert_eq!(run(&["functions", "invoke", id, "hello", "--body", "{\"a\":1}"]), "got {\"a\":1}");
    assert_eq!(run(&["functions", "invoke", id, "hello/deeper?x=1", "--method", "GET"]), "got ");
    assert_eq!(run(&["functions", "update", id, "hello", "--memory", "64"])["memory"], 64);
    let all = run(&["functions", "list", id]);
    let names: Vec<&str> =
        all["functions"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["api", "hello", "tick"], "a function alone leaves the release's others");
    assert_eq!(run(&["functions", "delete", id, "hello"])["status"], "deleted");
    let refused = output(&["functions", "delete", id, "api"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("routes"), "a route leads to it");
    let refused = output(&["functions", "update", id, "api"]);
    assert!(!refused.status.success());
}
