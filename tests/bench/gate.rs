//! Requests of a project's tables as they come: over HTTP, through keys, tokens, rate and quota. Beside a request that
//! asks nobody; and how often each asks the control database.

#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::path::Path;
use std::time::Duration;

use bench::{Load, Table, load, median, missing, program};
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::{Lab, LabOptions};

const CONNECTIONS: usize = 16;
const TURNS: usize = 3;
/// Backends tell what they did once a second.
const TOLD_AFTER: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() {
    let Some(wrk) = program("wrk") else { return missing("wrk", "wrk") };
    let mut table = Table::new("gate");
    let args = ["--project-requests-per-sec", "1000000"].map(str::to_owned).to_vec();
    let lab = Lab::start_with(LabOptions { args, ..LabOptions::default() }).await;
    let (_, project) = lab.project().await;
    let token = tables(&lab, &project).await;
    let anon = project["anon_key"].as_str().unwrap();
    let key = format!("apikey: {anon}");
    let bearer = format!("Authorization: Bearer {token}");
    let url = lab.url("/rest/v1/items?select=id,title&order=id&limit=20");
    let database = lab.database().await;
    for (what, headers) in
        [("20 rows by key", &[key.as_str()][..]), ("20 rows by key and token", &[&key, &bearer])]
    {
        let turn = |url: &str, headers: &[&str]| load(&wrk, url, CONNECTIONS, headers, None);
        turn(&url, headers);
        let (mut ours, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            ours.push(turn(&url, headers));
            bare.push(turn(&lab.url("/health"), &[]));
        }
        let beside = Some(("GET /health", rate(&bare)));
        table.rate(what, "requests/s", rate(&ours), beside, &ours[TURNS - 1].text());
        let asked = asked(&database, &wrk, &url, headers).await;
        table.row([
            &format!("{what}: asks the control database"),
            "",
            "",
            "",
            "",
            "",
            &format!("{asked:.2} times"),
        ]);
    }
    table.finish("the tenant's own statements, which are most of it; see `rest` for those beside pgbench");
}

fn rate(loads: &[Load]) -> f64 {
    median(&mut loads.iter().map(|load| load.rate).collect::<Vec<_>>())
}

/// A table with rows that their owner sees, and the owner's token.
async fn tables(lab: &Lab, project: &Value) -> String {
    let (id, service) = (project["project_id"].as_str().unwrap(), project["service_key"].as_str().unwrap());
    let anon = project["anon_key"].as_str().unwrap();
    let body = json!({ "email": "ada@example.org", "password": "correct horse battery" });
    let signup = lab.http.post(lab.url("/auth/v1/signup")).header("apikey", anon).json(&body);
    assert_eq!(lab.send(signup).await.status, 201);
    let login =
        lab.http.post(lab.url("/auth/v1/token?grant_type=password")).header("apikey", anon).json(&body);
    let token = lab.send(login).await.body["access_token"].as_str().unwrap().to_owned();
    let script = "create table items (id int primary key, title text);
        insert into items select n, 'title ' || n from generate_series(1, 1000) n";
    let path = format!("/projects/v1/admin/{id}/sql");
    let done = lab.with_key(service, "POST", &path, Some(json!({ "sql": script }))).await;
    assert_eq!(done.status, 200, "{done:?}");
    let open = json!({ "name": "items", "expose": true, "policy": "public_read_authenticated_write" });
    let manifest = json!({ "version": "1", "tables": [open] });
    let path = format!("/projects/v1/admin/{id}/expose");
    let done = lab.with_key(service, "POST", &path, Some(manifest)).await;
    assert_eq!(done.status, 200, "{done:?}");
    token
}

/// Transactions of the control database for each request.
async fn asked(database: &PgPool, wrk: &Path, url: &str, headers: &[&str]) -> f64 {
    let count = async || {
        tokio::time::sleep(TOLD_AFTER).await;
        let query = "select xact_commit from pg_stat_database where datname = current_database()";
        sqlx::query_scalar::<_, i64>(query).fetch_one(database).await.unwrap()
    };
    let before = count().await;
    let load = load(wrk, url, CONNECTIONS, headers, None);
    let after = count().await;
    (after - before) as f64 / (load.rate * 3.0)
}
