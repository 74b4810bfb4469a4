//! F01, F04: two servers with schedules, one of them killed over and over. A short span of it runs always, and
//! `cargo xtask cron-torture MINUTES` runs longer.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::PgPool;
use tests::{Lab, LabOptions, Server, eventually, fresh_folder, target_binary};

use super::schedules::{QUARTERLY, advance, planned, until_due};
use super::{hobby_project, send_deploy};
use crate::deploys::kit::sql;

const MINUTES_VAR: &str = "RUN402_CRON_TORTURE_MINUTES";
const SPAN_DEFAULT: Duration = Duration::from_secs(40);
/// A quarter of an hour passes in each second, less what passes by itself.
const STEP_SECS: i64 = 899;
/// A server lives for so many seconds, by turns.
const LIVES: [u64; 3] = [2, 4, 3];
/// What a dead server had is believed for the timeout and half a minute more, and then tried once more. A function
/// whose runs queue waits for each of them, and has gathered many by then: as long as it went on is added.
const SETTLED_WITHIN_SECS: u64 = 150;
const TIMEOUT_SECS: u64 = 5;
/// By policy: a function's name, what happens to missed times, to times that overlap, and how long it works.
const KINDS: [(&str, &str, &str, u32); 3] =
    [("side", "run_all", "allow", 1200), ("queue", "run_all", "queue", 100), ("skip", "skip", "skip", 1500)];

/// Writes down when it began, that it still lives, and when it ended.
const WORKING: &str = "import { adminDb } from '@run402/functions';
    export default async (req) => {
        const attempt = crypto.randomUUID();
        const run = req.headers.get('x-run402-run-id');
        const say = (text) => adminDb().sql(text, [attempt]);
        await adminDb().sql(`insert into attempts (attempt, run) values ($1, $2)`, [attempt, run]);
        for (let left = WORK; left > 0; left -= 300) {
            await new Promise((done) => setTimeout(done, Math.min(left, 300)));
            await say('update attempts set seen_at = clock_timestamp() where attempt = $1');
        }
        await say('update attempts set ended_at = clock_timestamp() where attempt = $1');
        return new Response('done');
    };";
const ATTEMPTS: &str = "create table attempts (attempt text primary key, run text not null,
    began_at timestamptz not null default clock_timestamp(), seen_at timestamptz, ended_at timestamptz)";

/// A run as the server tells it.
#[derive(Debug)]
struct Run {
    name: String,
    state: String,
    attempt: i32,
}

async fn runs(database: &PgPool) -> BTreeMap<String, Run> {
    let all: Vec<(String, String, String, i32)> = sqlx::query_as(
        "select 'fnrun_' || replace(r.id::text, '-', ''), f.name, r.state, r.attempt
         from function_runs r join functions f on f.id = r.function_id",
    )
    .fetch_all(database)
    .await
    .unwrap();
    all.into_iter().map(|(id, name, state, attempt)| (id, Run { name, state, attempt })).collect()
}

/// Every quarter of an hour from the first to the last is there.
async fn without_gaps(database: &PgPool) {
    let gaps: Vec<(String, i64, i64)> = sqlx::query_as(
        "select f.name, count(distinct r.due_at),
           (extract(epoch from max(r.due_at) - min(r.due_at)) / 900)::bigint + 1
         from function_runs r join functions f on f.id = r.function_id group by f.name",
    )
    .fetch_all(database)
    .await
    .unwrap();
    assert_eq!(gaps.len(), KINDS.len(), "{gaps:?}");
    for (name, there, expected) in gaps {
        assert_eq!(there, expected, "times of {name}");
    }
}

/// Attempts of one run as they saw themselves: seconds of their beginnings and of the last sign of life, by run.
async fn attempts(lab: &Lab, project: &Value) -> BTreeMap<String, Vec<(f64, f64, bool)>> {
    let found = sql(
        lab,
        project,
        "select run, extract(epoch from began_at)::float8 as began,
           extract(epoch from coalesce(ended_at, seen_at, began_at))::float8 as seen, ended_at is not null as ended
         from attempts order by began_at",
    )
    .await;
    let mut all: BTreeMap<String, Vec<(f64, f64, bool)>> = BTreeMap::new();
    for row in found.body["rows"].as_array().unwrap_or_else(|| panic!("{found:?}")) {
        let number = |name: &str| row[name].as_f64().unwrap();
        let of_run = all.entry(row["run"].as_str().unwrap().to_owned()).or_default();
        of_run.push((number("began"), number("seen"), row["ended"] == true));
    }
    all
}

fn span() -> Duration {
    let minutes = std::env::var(MINUTES_VAR).ok().and_then(|text| text.parse().ok());
    minutes.map_or(SPAN_DEFAULT, |minutes: u64| Duration::from_secs(60 * minutes))
}

/// The clock goes on while one server after another is started and killed. Says how many were.
async fn torture(lab: &Lab, serve: impl Fn() -> Command, span: Duration) -> usize {
    let database = lab.database().await;
    let node = std::fs::read_to_string(lab.data.join("node.id")).unwrap();
    let lasting = node.trim().trim_start_matches("node_");
    let until = Instant::now() + span;
    let clock = async {
        while Instant::now() < until {
            advance(lab, STEP_SECS).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let killing = async {
        let mut killed = 0;
        while Instant::now() < until {
            let mut server = Server::start(&mut serve()).await;
            tokio::time::sleep(Duration::from_secs(LIVES[killed % LIVES.len()])).await;
            // In the middle of a run, if it has one soon.
            for _ in 0..20 {
                let busy = "select exists (select from function_runs where state = 'running'
                    and replace(node_id::text, '-', '') <> $1)";
                if sqlx::query_scalar::<_, bool>(busy).bind(lasting).fetch_one(&database).await.unwrap() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            server.kill();
            killed += 1;
        }
        killed
    };
    tokio::join!(clock, killing).1
}

// F01, F04. Goal: with two servers, one of them killed every few seconds, every time that was due ends in one state,
// no time is lost or made twice, and two attempts of one run are never under way together. Method: functions of all
// overlap policies that write down when they live; the lab's clock makes a quarter of an hour of each second.
#[tokio::test]
async fn schedules_survive_a_server_that_dies_over_and_over() {
    let config = fresh_folder().with_extension("toml");
    let args = vec!["--write-serve-config".to_owned(), config.display().to_string()];
    let lab = Lab::start_with(LabOptions { args, ..LabOptions::default() }).await;
    let project = hobby_project(&lab).await;
    assert_eq!(sql(&lab, &project, ATTEMPTS).await.status, 200);
    for (name, missed, overlap, work) in KINDS {
        let body = json!({ "name": name, "code": WORKING.replace("WORK", &work.to_string()), "schedule": QUARTERLY,
            "schedule_policy": { "missed": missed, "overlap": overlap }, "config": { "timeout": TIMEOUT_SECS } });
        assert_eq!(send_deploy(&lab, &project, body).await.status, 201);
    }
    planned(&lab, &project).await;
    advance(&lab, until_due(&lab, &project).await).await;
    let serve = || {
        let mut command = Command::new(target_binary("run402d"));
        command.arg("serve").arg("--config").arg(&config);
        command
    };
    let span = span();
    let killed = torture(&lab, serve, span).await;
    // One that lives, as whoever runs two would have: it takes over with the other.
    let mut survivor = Server::start(&mut serve()).await;
    let database = lab.database().await;
    let settling = Instant::now();
    let runs = eventually("every run to end", SETTLED_WITHIN_SECS + span.as_secs(), || async {
        let runs = runs(&database).await;
        let open = runs.values().any(|run| matches!(run.state.as_str(), "due" | "running"));
        (!open).then_some(runs)
    })
    .await;
    without_gaps(&database).await;
    let attempts = attempts(&lab, &project).await;
    let count = |state: &str| runs.values().filter(|run| run.state == state).count();
    let again = runs.values().filter(|run| run.attempt == 2).count();
    println!(
        "{killed} servers killed in {} s, settled {} s later: {} runs, {} succeeded, {} failed, {} skipped; {again} \
         were tried twice, {} attempts wrote that they began",
        span.as_secs(),
        settling.elapsed().as_secs(),
        runs.len(),
        count("succeeded"),
        count("failed"),
        count("skipped"),
        attempts.values().map(Vec::len).sum::<usize>(),
    );
    for (id, seen) in &attempts {
        let run = runs.get(id).unwrap_or_else(|| panic!("{id} is no run of ours"));
        assert!(seen.len() <= usize::try_from(run.attempt).unwrap(), "{id}: {run:?} {seen:?}");
        for pair in seen.windows(2) {
            assert!(pair[1].0 > pair[0].1, "attempts of {id} overlap: {run:?} {seen:?}");
        }
    }
    for (id, run) in &runs {
        assert!((0..=2).contains(&run.attempt), "{id}: {run:?}");
        let ended = attempts.get(id).is_some_and(|seen| seen.iter().any(|one| one.2));
        assert!(run.state != "succeeded" || ended, "{id} of {} did not end: {run:?}", run.name);
        assert!(run.state != "skipped" || !attempts.contains_key(id), "{id} was skipped and ran: {run:?}");
    }
    assert!(killed > 3 && again > 0, "nobody died in a run: {killed} killed, {again} tried again");
    assert_eq!(survivor.stop(), Some(0));
    let _ = std::fs::remove_file(config);
}
