//! A hundred thousand schedules that are not due: what they cost, beside the same server without them and beside one
//! core.

#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::time::Duration;

use bench::{Table, cpu_secs, resident_kib};
use sqlx::{AssertSqlSafe, PgPool};
use tests::Lab;

const SCHEDULES: i64 = 100_000;
const WATCHED: Duration = Duration::from_secs(20);

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
    table.finish("one indexed question each second, whatever the number of schedules");
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
