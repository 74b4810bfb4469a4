//! Repeated, or done by an owner that was superseded.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};
use store::StoreError;
use store::deploys::{self, Plan, Status};
use store::projects;

use super::kit::{DEATHS, Site, ask, claim, commit, until_ready};
use crate::deploy::{Deploy, Request};
use crate::kit::{ActorError, Kind};
use crate::testing::Node;

// E08, E06. Goal: a step that was done is not done again, and an older owner writes nothing. Method: stop before
// each step, load the state twice, let one go on and then the other: once under the same claim (its memory is
// old), once under an older claim.
#[tokio::test]
async fn each_step_done_twice_or_by_a_stale_owner_changes_nothing() {
    let (site, node) = Site::start().await;
    done_twice(site, node, &["committing", "staging", "activating", "ready"]).await;
}

// E08, E06. Goal: the same for the steps that change the database: what had been committed there is found.
#[tokio::test]
async fn each_step_of_a_migration_done_twice_or_by_a_stale_owner_changes_nothing() {
    let (site, node) = Site::with_database().await;
    let stops = ["committing", "staging", "gating", "migrating", "schema_settling", "activating", "ready"];
    done_twice(site, node, &stops).await;
}

async fn done_twice(mut site: Site, node: Node, stops: &[&str]) {
    let mut n = 100;
    for stop in stops {
        for older_claim in [false, true] {
            n += 1;
            let plan = site.plan(n).await;
            let condition = format!("new.status = '{stop}'");
            let write = ("deploy_operations", "update", condition.as_str());
            site.break_at(write, DEATHS[0]).await;
            let fence = claim(&node, "deploy", plan.operation.0).await;
            let mut first = site.load(&node, &plan, &fence).await;
            Deploy::handle(&node.deps, &mut first, commit()).await.unwrap_err();
            site.mend("deploy_operations").await;

            let mut stale = site.load(&node, &plan, &fence).await;
            let fence = match older_claim {
                true => claim(&node, "deploy", plan.operation.0).await,
                false => fence,
            };
            let mut fresh = site.load(&node, &plan, &fence).await;
            assert_eq!(stale.operation.status, fresh.operation.status);
            Deploy::handle(&node.deps, &mut fresh, commit()).await.unwrap();
            assert_eq!(site.status(&plan).await, Status::Ready, "{stop}");
            site.check(&plan).await;
            let rows = facts(&mut site, &plan).await;

            let refused = Deploy::handle(&node.deps, &mut stale, commit()).await.unwrap_err();
            let known = match older_claim {
                true => matches!(&refused, ActorError::Store(StoreError::Fenced)),
                false => matches!(&refused, ActorError::Store(StoreError::Stale(_))),
            };
            assert!(known && refused.doubts_memory(), "{stop}, older claim {older_claim}: {refused:?}");
            assert_eq!(facts(&mut site, &plan).await, rows, "{stop}");
            site.check(&plan).await;
            // Repeating what is finished is an answer, not a second run.
            Deploy::handle(&node.deps, &mut fresh, commit()).await.unwrap();
            Deploy::handle(&node.deps, &mut fresh, Request::Step).await.unwrap();
            assert_eq!(facts(&mut site, &plan).await, rows, "{stop}");
        }
    }
    node.stop().await;
}

/// All that a deploy writes, as one text.
async fn facts(site: &mut Site, plan: &Plan) -> Value {
    let (id, project) = (plan.operation.0, site.project.0);
    let sql = format!(
        "select json_build_object(
           'operation', (select row_to_json(o) from deploy_operations o where id = '{id}'),
           'events', (select json_agg(e order by seq) from deploy_events e where operation_id = '{id}'),
           'gates', (select json_agg(g) from deploy_gates g),
           'migrations', (select json_agg(m order by seq) from project_migrations m),
           'releases', (select json_agg(r order by created_at, id) from releases r where project_id = '{project}'),
           'project', (select row_to_json(p) from projects p where id = '{project}'))::text"
    );
    let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(&mut site.breaker).await.unwrap();
    serde_json::from_str(&row.get::<String, _>(0)).unwrap()
}

// E08. Goal: of two plans on one base, one goes live; the other fails for good, and its release never shows.
// Method: kill the first in the pointer move, let the second go live, then go on with the first.
#[tokio::test]
async fn a_resumed_deploy_does_not_overwrite_what_went_live_meanwhile() {
    let (mut site, node) = Site::start().await;
    let (first, second) = (site.plan(1).await, site.plan(2).await);
    let write = ("projects", "update", "new.active_release is distinct from old.active_release");
    site.break_at(write, DEATHS[1]).await;
    let _ = ask(&node, &first, commit()).await; // It cannot end.
    site.check(&first).await;
    site.mend("projects").await;
    node.stop().await;

    let node = site.world.node().await;
    until_ready(&site, &node, &second).await;
    let live = projects::project_fetch(&site.world.store, site.project).await.unwrap().active_release;
    ask(&node, &first, Request::Step).await.unwrap();
    let operation = deploys::operation_find(&site.world.store, first.operation).await.unwrap().unwrap();
    assert_eq!(operation.status, Status::Failed);
    assert_eq!(operation.error.unwrap()["code"], json!("BASE_RELEASE_CONFLICT"));
    let after = projects::project_fetch(&site.world.store, site.project).await.unwrap();
    assert_eq!((after.active_release, after.account), (live, site.account));
    site.check(&first).await;
    let deps: &Arc<crate::Deps> = &node.deps;
    assert!(deps.store.begin().await.is_ok(), "the pool survived the cut connections");
    node.stop().await;
}
