//! Migrations and the manifest as parts of a release.

use serde_json::{Value, json};
use tests::{Lab, eventually};

use super::kit::{
    bare_migration, ended, migration, plan, read, ready, reference, release, send_commit, spec, sql,
};
use super::{fetch, send_plan};
use crate::service::assert_envelope;

const ITEMS: &str =
    "create table items (id serial primary key, title text); insert into items (title) values ('one')";
const INDEX: &str = "create index concurrently items_title on items (title)";

fn exposed(table: &str) -> Value {
    json!({ "version": "1", "tables": [
        { "name": table, "expose": true, "policy": "public_read_authenticated_write" } ] })
}

// Contract 02 sections 4.1, 4.4, 4.8. Goal: schema, rights and site of one release show together, and nothing
// runs twice. Method: deploy all three; the same again; the same id with other SQL; more on top.
#[tokio::test]
async fn migrations_manifest_and_site_go_live_together_and_run_once() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let parts = json!({
        "database": { "migrations": [migration("001_items", ITEMS), bare_migration("002_index", INDEX)],
            "expose": exposed("items") },
        "site": { "replace": { "index.html": reference("home", "text/html") } },
    });
    let texts = [ITEMS, INDEX, "home"];
    let planned = plan(&lab, &wallet, &project, parts.clone(), &texts).await;
    let new: Vec<&Value> = planned["migrations"]["new"].as_array().unwrap().iter().collect();
    assert_eq!((new[0]["id"].as_str(), new[0]["transaction"].as_str()), (Some("001_items"), Some("default")));
    assert_eq!((new[1]["id"].as_str(), new[1]["transaction"].as_str()), (Some("002_index"), Some("none")));
    assert_eq!(planned["summary"], "2 migrations to run; 1 file added");
    assert_eq!(send_commit(&lab, &wallet, &planned).await.status, 200);
    let done = ended(&lab, &wallet, &planned).await;
    assert_eq!(done["status"], "ready", "{done}");
    let rows = read(&lab, &project, "/rest/v1/items?select=title").await;
    assert_eq!((rows.status, &rows.body), (200, &json!([{ "title": "one" }])), "{rows:?}");
    let page = fetch(&lab, done["urls"]["project"].as_str().unwrap(), "/", &[]).await;
    assert_eq!(page.body, "home");

    let events = format!("/deploy/v2/operations/{}/events", done["operation_id"].as_str().unwrap());
    let events = read(&lab, &project, &events).await;
    let phases: Vec<String> = events.body["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["type"] == "commit.phase" && e["status"] == "done")
        .map(|e| e["phase"].as_str().unwrap().to_owned())
        .collect();
    let all = ["validate", "stage", "migrate-gate", "migrate", "schema-settle", "activate", "ready"];
    assert_eq!(phases, all, "{events:?}");

    let again = plan(&lab, &wallet, &project, parts, &texts).await;
    assert_eq!((again["is_noop"].as_bool(), again["summary"].as_str()), (Some(true), Some("No changes")));
    assert_eq!(again["migrations"]["noop"].as_array().unwrap().len(), 2, "{again}");
    send_commit(&lab, &wallet, &again).await;
    assert_eq!(ended(&lab, &wallet, &again).await["release_id"], done["release_id"]);

    let other = json!({ "database": { "migrations": [migration("001_items", "create table others ()")] } });
    let refused = send_plan(&lab, &wallet, spec(&project, other)).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("MIGRATION_CHECKSUM_MISMATCH")));
    assert_eq!(refused.body["resource"], "database.migrations.001_items");
    assert_envelope(&refused.body);

    let more = "alter table items add done boolean default false";
    let parts =
        json!({ "database": { "migrations": [migration("001_items", ITEMS), migration("003_done", more)] } });
    let second = ready(&lab, &wallet, &project, parts, &[more]).await;
    let active = read(&lab, &project, "/deploy/v2/releases/active").await.body;
    let applied: Vec<&str> = active["migrations_applied"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["migration_id"].as_str().unwrap())
        .collect();
    assert_eq!(applied, ["001_items", "002_index", "003_done"]);
    assert_eq!(active["site"]["paths"][0]["path"], "index.html", "the site was carried forward");
    let (from, to) = (done["release_id"].as_str().unwrap(), second["release_id"].as_str().unwrap());
    let diff = read(&lab, &project, &format!("/deploy/v2/releases/diff?from={from}&to={to}")).await.body;
    assert_eq!(diff["migrations"]["applied_between_releases"], json!(["003_done"]), "{diff}");
    assert_eq!(diff["is_noop"], false);
}

// E08. Goal: a migration that fails leaves nothing: no table, no row in the registry, no release. Method: break
// the second of two, look, correct it under the same ids.
#[tokio::test]
async fn a_migration_that_fails_takes_everything_of_its_deploy_back() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let first = ready(
        &lab,
        &wallet,
        &project,
        json!({ "site": { "replace": { "index.html": reference("old", "text/html") } } }),
        &["old"],
    )
    .await;
    let bad = "create table b (n int); insert into b values ('x')";
    let parts = |sql: &str| {
        json!({
            "database": { "migrations": [migration("1", "create table a (n int)"), migration("2", sql)] },
            "site": { "replace": { "index.html": reference("new", "text/html") } },
        })
    };
    let failed = release(&lab, &wallet, &project, parts(bad), &["create table a (n int)", bad, "new"]).await;
    assert_eq!(failed["status"], "rolled_back", "{failed}");
    let error = &failed["error"];
    assert_eq!(
        (error["code"].as_str(), error["phase"].as_str()),
        (Some("MIGRATION_FAILED"), Some("migrate"))
    );
    assert_eq!((&error["rolled_back"], &error["mutation_state"]), (&json!(true), &json!("rolled_back")));
    assert_eq!(error["resource"], "database.migrations.2");
    assert!(error["logs"][0].as_str().unwrap().contains("invalid input syntax"), "{error}");
    assert_eq!(error["details"]["sqlstate"], "22P02");
    assert_eq!(sql(&lab, &project, "select * from a").await.status, 400, "nothing of it stayed");
    let active = read(&lab, &project, "/deploy/v2/releases/active").await.body;
    assert_eq!(active["release_id"], first["release_id"]);
    let page = fetch(&lab, first["urls"]["project"].as_str().unwrap(), "/", &[]).await;
    assert_eq!(page.body, "old");
    let resume = format!("/deploy/v2/operations/{}/resume", failed["operation_id"].as_str().unwrap());
    let resumed = lab.as_wallet(&wallet, "POST", &resume, None).await;
    assert_eq!((resumed.status, &resumed.body["code"]), (409, &json!("NOT_RESUMABLE")), "{resumed:?}");

    let good = "create table b (n int); insert into b values (1)";
    ready(&lab, &wallet, &project, parts(good), &[good]).await;
    assert_eq!(sql(&lab, &project, "select * from a, b").await.status, 200);

    // A text that would end our transaction is refused before it runs.
    let sly = "create table c (n int); commit; create table d (n int)";
    let parts = json!({ "database": { "migrations": [migration("3", sly)] } });
    let failed = release(&lab, &wallet, &project, parts, &[sly]).await;
    assert_eq!(
        (failed["status"].as_str(), &failed["error"]["rolled_back"]),
        (Some("rolled_back"), &json!(true))
    );
    assert_eq!(sql(&lab, &project, "select * from c").await.status, 400);
}

// Goal: what runs outside of a transaction and fails asks for a person, and goes on when that one deploys again.
#[tokio::test]
async fn a_bare_migration_that_fails_needs_repair_and_is_deployed_again() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let bad = "create table t (n int); create index concurrently i on missing (n)";
    let parts = |sql: &str| json!({ "database": { "migrations": [bare_migration("1", sql)] } });
    let failed = release(&lab, &wallet, &project, parts(bad), &[bad]).await;
    assert_eq!(failed["status"], "needs_repair", "{failed}");
    assert_eq!(failed["error"]["mutation_state"], "partial");
    assert_eq!(sql(&lab, &project, "select * from t").await.status, 200, "its first statement stayed");
    let good = "create table if not exists t (n int); create index concurrently i on t (n)";
    ready(&lab, &wallet, &project, parts(good), &[good]).await;
}

// Contract 02 section 4.4. Goal: a manifest that does not fit is refused whole, with every mistake, as early as
// it can be known. Method: a table that nobody makes; one that a migration may make, and does not.
#[tokio::test]
async fn a_manifest_that_does_not_fit_is_refused_with_every_mistake() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let parts = json!({ "database": { "expose": { "version": "1", "tables": [
        { "name": "ghost", "expose": true, "policy": "public_read_authenticated_write" },
        { "name": "shade", "expose": true, "policy": "public_read_authenticated_write" } ] } } });
    let refused = send_plan(&lab, &wallet, spec(&project, parts)).await;
    assert_eq!((refused.status, &refused.body["code"]), (400, &json!("INVALID_MANIFEST")), "{refused:?}");
    assert_eq!(refused.body["errors"].as_array().unwrap().len(), 2);
    assert_envelope(&refused.body);

    let sql_text = "do $$ begin execute 'create table real (n int)'; end $$";
    let migrations = json!([migration("1", sql_text)]);
    let parts = |table: &str| json!({ "database": { "migrations": migrations, "expose": exposed(table) } });
    let failed = release(&lab, &wallet, &project, parts("ghost"), &[sql_text]).await;
    assert_eq!(failed["status"], "rolled_back", "{failed}");
    assert_eq!(failed["error"]["code"], "INVALID_MANIFEST");
    assert_eq!(failed["error"]["errors"].as_array().unwrap().len(), 1);
    assert_eq!(sql(&lab, &project, "select * from real").await.status, 400, "the migration went with it");
    ready(&lab, &wallet, &project, parts("real"), &[]).await;
    assert_eq!(read(&lab, &project, "/rest/v1/real").await.status, 200);
}

// Contract 02 section 5.2 and its open question 3. Goal: a manifest.json that is one is applied and not shown; a
// web application's stays a file.
#[tokio::test]
async fn a_sites_manifest_json_is_applied_and_not_shown() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let manifest = exposed("items").to_string();
    let site = |text: &str| {
        json!({ "replace": { "index.html": reference("home", "text/html"),
            "manifest.json": reference(text, "application/json") } })
    };
    let parts = json!({ "database": { "migrations": [migration("1", ITEMS)] }, "site": site(&manifest) });
    let done = ready(&lab, &wallet, &project, parts.clone(), &[ITEMS, "home", &manifest]).await;
    assert_eq!(read(&lab, &project, "/rest/v1/items").await.status, 200);
    let url = done["urls"]["project"].as_str().unwrap();
    assert_eq!(fetch(&lab, url, "/manifest.json", &[]).await.status, 404);
    let again = plan(&lab, &wallet, &project, parts.clone(), &[]).await;
    assert_eq!(again["is_noop"], true, "{again}");
    let told = again["warnings"].as_array().unwrap().iter().any(|w| w["code"] == "MANIFEST_JSON_APPLIED");
    assert!(told, "{again}");

    let mut twice = parts;
    twice["database"]["expose"] = exposed("items");
    let refused = send_plan(&lab, &wallet, spec(&project, twice)).await;
    assert_eq!((refused.status, &refused.body["code"]), (400, &json!("INVALID_SPEC")), "{refused:?}");

    let app = r#"{"name":"Shop","start_url":"/"}"#;
    let parts = json!({ "site": site(app) });
    ready(&lab, &wallet, &project, parts, &[app]).await;
    let shown = eventually("the file", 10, || async {
        let shown = fetch(&lab, url, "/manifest.json", &[]).await;
        (shown.status == 200).then_some(shown)
    })
    .await;
    assert_eq!(shown.body["name"], "Shop");
}

// Contract 02 section 4.5. Goal: while migrations run, data and other deploys are told to come back, and nothing
// else fails. Method: a slow migration; ask for data and deploy beside it; the same with zero_downtime.
#[tokio::test]
async fn data_and_other_deploys_wait_while_migrations_run() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    assert_eq!(sql(&lab, &project, "create table old (n int)").await.status, 200);
    for (id, zero_downtime) in [("1", false), ("2", true)] {
        let slow = format!("select pg_sleep(4); create table t_{id} (n int)");
        let parts = json!({ "database": {
            "migrations": [migration(id, &slow)], "zero_downtime": zero_downtime } });
        let slow_plan = plan(&lab, &wallet, &project, parts, &[&slow]).await;
        let page = format!("page {id}");
        let site = json!({ "site": { "replace": { "index.html": reference(&page, "text/html") } } });
        let site_plan = plan(&lab, &wallet, &project, site, &[&page]).await;

        let committing = send_commit(&lab, &wallet, &slow_plan);
        let looking = async {
            let gate = "select count(*) from deploy_gates";
            let database = lab.database().await;
            eventually("the gate", 10, || async {
                let held: i64 = sqlx::query_scalar(gate).fetch_one(&database).await.unwrap();
                (held == 1).then_some(())
            })
            .await;
            let data = sql(&lab, &project, "select * from old").await;
            let other = send_commit(&lab, &wallet, &site_plan).await;
            (data, other)
        };
        let (committed, (data, other)) = tokio::join!(committing, looking);
        assert_eq!(committed.status, 200, "{committed:?}");
        if zero_downtime {
            assert_eq!(data.status, 200, "{data:?}");
        } else {
            assert_eq!((data.status, &data.body["code"]), (503, &json!("MIGRATE_GATE_ACTIVE")), "{data:?}");
            assert_eq!(data.body["retryable"], true);
        }
        assert_eq!((other.status, &other.body["code"]), (503, &json!("MIGRATE_GATE_ACTIVE")), "{other:?}");
        assert_eq!((&other.body["retryable"], &other.body["safe_to_retry"]), (&json!(true), &json!(true)));
        let done = ended(&lab, &wallet, &slow_plan).await;
        assert_eq!(done["status"], "ready", "{done}");
        assert_eq!(sql(&lab, &project, "select * from old").await.status, 200);
        // The other one was made on a base that is gone now.
        let other = send_commit(&lab, &wallet, &site_plan).await;
        assert_eq!((other.status, &other.body["code"]), (409, &json!("BASE_RELEASE_CONFLICT")), "{other:?}");
        assert_eq!(other.body["safe_to_retry"], true);
    }
}

// Contract 02 section 4.7. Goal: SQL that was never uploaded is named before anything starts.
#[tokio::test]
async fn sql_that_was_not_uploaded_is_named() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let parts = json!({ "database": { "migrations": [migration("001", "create table never ()")] } });
    let planned = send_plan(&lab, &wallet, spec(&project, parts)).await.body;
    let refused = send_commit(&lab, &wallet, &planned).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("MIGRATION_SQL_NOT_FOUND")));
    assert_eq!(refused.body["resource"], "database.migrations.001");
    assert_eq!(
        (&refused.body["retryable"], &refused.body["mutation_state"]),
        (&json!(true), &json!("not_started"))
    );
}
