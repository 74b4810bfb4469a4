//! Killed at its writes.

use serde_json::json;
use sqlx::{AssertSqlSafe, Row};
use store::deploys::{self, Status};
use store::projects;

use super::kit::{DEATHS, Site, ask, commit, until_ready};
use crate::deploy::Request;
use crate::testing::Node;

/// Where a process may die: a write, and the condition that picks it out.
const WRITES: [(&str, &str, &str); 12] = [
    ("deploy_operations", "update", "new.status = 'committing'"),
    ("deploy_events", "insert", "new.event->>'phase' = 'validate' and new.event->>'status' = 'started'"),
    ("outbox", "insert", "new.topic = 'deploy.step'"),
    ("deploy_operations", "update", "new.status = 'staging'"),
    ("releases", "insert", "true"),
    ("release_files", "insert", "true"),
    ("release_functions", "insert", "true"),
    ("deploy_operations", "update", "new.status = 'activating'"),
    ("releases", "update", "new.status = 'active'"),
    ("projects", "update", "new.active_release is distinct from old.active_release"),
    ("deploy_operations", "update", "new.status = 'ready'"),
    ("deploy_events", "insert", "new.event->>'type' = 'ready'"),
];

/// The same for a deploy that changes the database, in the control database.
const DATABASE_WRITES: [(&str, &str, &str); 11] = [
    ("deploy_operations", "update", "new.status = 'gating'"),
    ("deploy_gates", "insert", "true"),
    ("deploy_operations", "update", "new.status = 'migrating'"),
    ("project_migrations", "insert", "true"),
    ("deploy_operations", "update", "new.status = 'schema_settling'"),
    ("deploy_gates", "update", "not new.blocks_data"),
    ("deploy_operations", "update", "new.status = 'activating'"),
    ("releases", "update", "new.names is not null"),
    ("releases", "update", "new.status = 'active'"),
    ("projects", "update", "new.active_release is distinct from old.active_release"),
    ("deploy_operations", "update", "new.status = 'ready'"),
];

// E08. Goal: dying at any write, in any way, costs nothing but time. Method: break each write of a deploy, try,
// look, mend, go on; every second time on another node.
#[tokio::test]
async fn a_deploy_killed_at_any_write_goes_live_once_or_not_yet() {
    let (site, node) = Site::start().await;
    killed_at(site, node, &WRITES).await;
}

// E08. Goal: the same for gate, migration and settling. Method: the same; each migration fails when it runs twice.
#[tokio::test]
async fn a_deploy_with_a_migration_killed_at_any_write_runs_it_once() {
    let (site, node) = Site::with_database().await;
    killed_at(site, node, &DATABASE_WRITES).await;
}

async fn killed_at(mut site: Site, mut node: Node, writes: &[(&str, &str, &str)]) {
    let mut n = 0;
    for death in DEATHS {
        for write in writes.iter().copied() {
            n += 1;
            let plan = site.plan(n).await;
            let before = projects::project_fetch(&site.world.store, site.project).await.unwrap();
            site.break_at(write, death).await;
            for request in [commit(), Request::Step] {
                let _ = ask(&node, &plan, request).await; // Refused, put off or lost: the rows say which.
                site.check(&plan).await;
            }
            let status = site.status(&plan).await;
            assert_ne!(status, Status::Ready, "{write:?} was not hit");
            assert_ne!(status, Status::Failed, "{write:?}: a passing fault is no verdict");
            if n % 2 == 0 {
                node.stop().await;
                node = site.node().await;
            }
            site.mend(write.0).await;
            until_ready(&site, &node, &plan).await;
            site.check(&plan).await;
            let after = projects::project_fetch(&site.world.store, site.project).await.unwrap();
            assert_ne!(after.active_release, before.active_release, "{write:?}");
            assert_eq!(site.count("deploy_gates").await, 0, "{write:?}: the gate was given back");
            if site.cell.is_some() {
                let sql = AssertSqlSafe(format!("select count(*) from {}.t_{n}", site.schema().await));
                let row = sqlx::raw_sql(sql).fetch_one(&mut site.inside().await).await.unwrap();
                assert_eq!(row.get::<i64, _>(0), 1, "{write:?}: the migration ran once");
            }
        }
    }
    node.stop().await;
}

// E08. Goal: a project's database that fails or goes away in the middle of the work. Method: in that database
// break the registry's row, first by a refusal, then by a cut; and break the migration itself.
#[tokio::test]
async fn a_database_that_fails_in_the_middle_is_rolled_back_or_asked_again() {
    let (site, node) = Site::with_database().await;
    let mut inside = site.inside().await;
    for (n, death) in DEATHS.iter().enumerate() {
        let n = u8::try_from(n).unwrap() + 1;
        let plan = site.plan(n).await;
        // With the rights of its owner: a tenant may not end sessions.
        let fault = format!(
            "create function internal.fault() returns trigger language plpgsql security definer as $$
               begin {death}; return new; end $$;
             create trigger fault before insert on internal.deploy_migrations for each row
               execute function internal.fault()"
        );
        sqlx::raw_sql(AssertSqlSafe(fault)).execute(&mut inside).await.unwrap();
        for request in [commit(), Request::Step] {
            ask(&node, &plan, request).await.unwrap();
            assert_eq!(site.status(&plan).await, Status::Migrating, "{death}: it waits, with the gate");
        }
        let mend = "drop trigger fault on internal.deploy_migrations; drop function internal.fault()";
        sqlx::raw_sql(mend).execute(&mut inside).await.unwrap();
        until_ready(&site, &node, &plan).await;
        let sql = AssertSqlSafe(format!("select count(*) from {}.t_{n}", site.schema().await));
        assert_eq!(sqlx::raw_sql(sql).fetch_one(&mut inside).await.unwrap().get::<i64, _>(0), 1, "{death}");
    }
    let plan = site.plan(9).await;
    let taken = AssertSqlSafe(format!("create table {}.t_9 (n int)", site.schema().await));
    sqlx::raw_sql(taken).execute(&mut inside).await.unwrap();
    let before = projects::project_fetch(&site.world.store, site.project).await.unwrap();
    ask(&node, &plan, commit()).await.unwrap();
    let operation = deploys::operation_find(&site.world.store, plan.operation).await.unwrap().unwrap();
    assert_eq!(operation.status, Status::RolledBack);
    assert_eq!(operation.error.unwrap()["code"], json!("MIGRATION_FAILED"));
    let after = projects::project_fetch(&site.world.store, site.project).await.unwrap();
    assert_eq!(after.active_release, before.active_release);
    let made = operation.target_release.unwrap();
    let made = store::releases::release_find(&site.world.store, made).await.unwrap().unwrap();
    assert_eq!(made.status, "failed");
    assert_eq!(store::deploys::gate_find(&site.world.store, site.project).await.unwrap(), None);
    node.stop().await;
}

// E08. Goal: a migration outside of a transaction that was cut off is never run again by itself. Method: leave the
// mark of a run that died; go on; deploy the same again as a new operation.
#[tokio::test]
async fn a_bare_migration_that_was_cut_off_waits_for_a_person() {
    let (mut site, node) = Site::with_database().await;
    let bare = "update deploy_plans set spec =
        jsonb_set(spec, '{database,migrations,0,transaction}', '\"none\"')";
    let plan = site.plan(1).await;
    site.run(bare.to_owned()).await;
    let mark = format!(
        "insert into internal.deploy_migrations (id, checksum, state, operation)
         values ('m1', 'x', 'started', '{}')",
        plan.operation
    );
    sqlx::raw_sql(AssertSqlSafe(mark)).execute(&mut site.inside().await).await.unwrap();
    ask(&node, &plan, commit()).await.unwrap();
    let operation = deploys::operation_find(&site.world.store, plan.operation).await.unwrap().unwrap();
    assert_eq!(operation.status, Status::NeedsRepair);
    let error = operation.error.unwrap();
    assert_eq!((&error["code"], &error["mutation_state"]), (&json!("MIGRATION_FAILED"), &json!("partial")));
    assert_eq!(store::deploys::gate_find(&site.world.store, site.project).await.unwrap(), None);

    let again = site.plan(1).await;
    site.run(bare.to_owned()).await;
    until_ready(&site, &node, &again).await;
    let sql = AssertSqlSafe(format!("select count(*) from {}.t_1", site.schema().await));
    let row = sqlx::raw_sql(sql).fetch_one(&mut site.inside().await).await.unwrap();
    assert_eq!(row.get::<i64, _>(0), 1);
    node.stop().await;
}
