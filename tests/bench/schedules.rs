//! A hundred thousand schedules that are not due: what they cost, beside the same server without them and beside one
//! core. Then ten thousand runs that are due within one second: how late they begin, and what is left of them.

#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::time::Duration;

use bench::{Table, cpu_secs, resident_kib};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use tests::{Lab, eventually};

const SCHEDULES: i64 = 100_000;
const WATCHED: Duration = Duration::from_secs(20);
const RUNS: i64 = 10_000;
const FUNCTIONS: i64 = 5;

#[tokio::main]
async fn main() {
    let mut table = Table::new("schedules");
    let lab = Lab::start().await;
    let (_, project) = lab.project().await;
    let database = lab.database().await;
    let pid = u32::try_from(lab.server.pid()).unwrap();
    let backends = || backends(&lab);
    // Until what starting left behind is done.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (none, none_database) = watch(pid, &backends).await;
    schedules(&database, project["project_id"].as_str().unwrap()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (all, all_database) = watch(pid, &backends).await;
    let minute = |secs: f64| secs * 60.0 / WATCHED.as_secs_f64();
    let beside = Some(("without any", minute(none)));
    table.rate("this server, 100,000 schedules at rest", "core s/min", minute(all), beside, "");
    let beside = Some(("without any", minute(none_database)));
    table.rate("its database", "core s/min", minute(all_database), beside, "");
    table.rate(
        "both, of a minute of one core",
        "s",
        minute(all + all_database),
        Some(("one core", 60.0)),
        "",
    );
    table.rate("resident", "MiB", resident_kib(pid) as f64 / 1024.0, None, "");
    due_at_once(&lab, &project, &database, &mut table).await;
    table.finish(
        "at rest: one indexed question each second, whatever the number of schedules; due at once: the calls \
         themselves, with the half of a node's places that one project may have",
    );
}

/// Runs of five functions, due within one second that is just over.
async fn due_at_once(lab: &Lab, project: &Value, database: &PgPool, table: &mut Table) {
    let path = format!("/projects/v1/admin/{}/functions", project["project_id"].as_str().unwrap());
    for n in 0..FUNCTIONS {
        let body = json!({ "name": format!("load{n}"), "code": "export default () => new Response('done')" });
        let made = lab.with_key(project["service_key"].as_str().unwrap(), "POST", &path, Some(body)).await;
        assert_eq!(made.status, 201, "{made:?}");
        lab.with_key(project["anon_key"].as_str().unwrap(), "POST", &format!("/functions/v1/load{n}"), None)
            .await;
    }
    let script = format!(
        "update functions set overlap = 'allow', missed = 'run_all' where name like 'load%';
         insert into function_runs (function_id, due_at, source, state)
           select f.id, now() + interval '3 seconds' + n * interval '{FUNCTIONS} s' / {RUNS}, 'schedule', 'due'
           from functions f, generate_series(0, {RUNS} / {FUNCTIONS} - 1) n where f.name like 'load%';"
    );
    sqlx::raw_sql(AssertSqlSafe(script)).execute(database).await.unwrap();
    eventually("every run to end", 300, || async {
        let open = "select count(*) from function_runs where state in ('due', 'running')";
        let open: i64 = sqlx::query_scalar(open).fetch_one(database).await.unwrap();
        (open == 0).then_some(())
    })
    .await;
    let (half, most, secs): (f64, f64, f64) = sqlx::query_as(
        "select percentile_cont(0.5) within group (order by lag), percentile_cont(0.99) within group (order by lag),
           extract(epoch from max(ended_at) - min(started_at))::float8
         from (select started_at, ended_at, extract(epoch from started_at - due_at)::float8 as lag
           from function_runs where source = 'schedule') runs",
    )
    .fetch_one(database)
    .await
    .unwrap();
    let ends: Vec<(String, i32, i64)> = sqlx::query_as(
        "select state, attempt, count(*) from function_runs where source = 'schedule' group by 1, 2",
    )
    .fetch_all(database)
    .await
    .unwrap();
    assert_eq!(ends, [("succeeded".to_owned(), 1, RUNS)], "none lost, none doubled");
    table.rate("10,000 runs due in one second", "runs/s", RUNS as f64 / secs, None, "");
    table.rate(
        "the same, p99 of the starts' lag",
        "s",
        most,
        Some(("aim", 1.0)),
        &format!("{half:.1} s / {most:.1} s"),
    );
}

/// Processes of the lab's database server, whoever they serve.
fn backends(lab: &Lab) -> Vec<u32> {
    let data = lab.data.display().to_string();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| {
        let place = std::fs::read_link(format!("/proc/{id}/cwd")).unwrap_or_default();
        place.display().to_string().starts_with(&data)
    })
    .collect()
}

/// Processor seconds of the server and of its database within the time.
async fn watch(pid: u32, backends: &dyn Fn() -> Vec<u32>) -> (f64, f64) {
    let sum = |ids: &[u32]| ids.iter().map(|id| cpu_secs(*id)).sum::<f64>();
    let ids = backends();
    let (before, before_database) = (cpu_secs(pid), sum(&ids));
    tokio::time::sleep(WATCHED).await;
    (cpu_secs(pid) - before, sum(&ids) - before_database)
}

/// Functions of one project that are next due in a day.
async fn schedules(database: &PgPool, project: &str) {
    let id = uuid::Uuid::parse_str(project.trim_start_matches("prj_")).unwrap();
    let script = format!(
        "insert into functions (project_id, name, fingerprint, created_at, updated_at, schedule, next_due_at,
             is_planned)
           select '{id}', 'f-' || n, 'bench', now(), now(), '0 0 * * *', now() + interval '1 day', true
           from generate_series(1, {SCHEDULES}) n;
         analyze functions;"
    );
    sqlx::raw_sql(AssertSqlSafe(script)).execute(database).await.unwrap();
}
