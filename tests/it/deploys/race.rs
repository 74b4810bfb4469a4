//! Deploys that meet.

use serde_json::json;
use tests::{Lab, eventually};

use super::kit::{migration, plan, ready, reference, send_commit, sql};

// Goal: of deploys on one base at most one goes live, going back included, and none half: what is live is one
// release whose migration ran, a refused one left nothing. Method: two deploys with migrations, a rollback and a
// site, at one instant, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn deploys_and_a_rollback_that_meet_go_live_one_at_a_time() {
    let lab = Lab::start().await;
    let (wallet, project) = lab.project().await;
    let page = |text: &str| json!({ "replace": { "index.html": reference(text, "text/html") } });
    let first = ready(&lab, &wallet, &project, json!({ "site": page("first") }), &["first"]).await;
    let back = format!("/deploy/v2/releases/{}/promote", first["release_id"].as_str().unwrap());
    ready(&lab, &wallet, &project, json!({ "site": page("second") }), &["second"]).await;
    for round in 0..4 {
        let mut plans = Vec::new();
        for side in ["a", "b"] {
            let table = format!("t_{round}_{side}");
            let text = format!("create table {table} (n int)");
            let words = format!("{round} {side}");
            let parts = json!({ "site": page(&words),
                "database": { "migrations": [migration(&table, &text)] } });
            plans.push(plan(&lab, &wallet, &project, parts, &[&text, &words]).await);
        }
        let words = format!("{round} plain");
        let plain = plan(&lab, &wallet, &project, json!({ "site": page(&words) }), &[&words]).await;
        let body = json!({ "project": project["project_id"] });
        let (a, b, c, d) = tokio::join!(
            send_commit(&lab, &wallet, &plans[0]),
            send_commit(&lab, &wallet, &plans[1]),
            send_commit(&lab, &wallet, &plain),
            lab.as_wallet(&wallet, "POST", &back, Some(body)),
        );
        let mut live = 0;
        for answer in [&a, &b, &c, &d] {
            let told = answer.body["code"].as_str().or(answer.body["error"]["code"].as_str());
            match (answer.status, answer.body["status"].as_str()) {
                (200, Some("ready")) => live += 1,
                (200 | 409 | 503, _) => assert!(
                    matches!(told, Some("BASE_RELEASE_CONFLICT" | "MIGRATE_GATE_ACTIVE")),
                    "{answer:?}"
                ),
                _ => panic!("{answer:?}"),
            }
        }
        // The rollback may have been planned on what another of them had made.
        assert!((1..=2).contains(&live), "{live} went live: {a:?} {b:?} {c:?} {d:?}");
        let database = lab.database().await;
        eventually("all to end", 30, || async {
            let sql =
                "select count(*) from deploy_operations where status not in ('planning', 'ready', 'failed')";
            let open: i64 = sqlx::query_scalar(sql).fetch_one(&database).await.unwrap();
            (open == 0).then_some(())
        })
        .await;
        let gates: i64 =
            sqlx::query_scalar("select count(*) from deploy_gates").fetch_one(&database).await.unwrap();
        assert_eq!(gates, 0);
        for (answer, side) in [(&a, "a"), (&b, "b")] {
            let there = sql(&lab, &project, &format!("select * from t_{round}_{side}")).await.status == 200;
            assert_eq!(there, answer.body["status"] == "ready", "round {round} {side}: {answer:?}");
        }
    }
}

// Goal: a project that is deleted while it is deployed is gone, and nothing of the deploy stays. Method: delete
// at several moments of a deploy with a migration.
#[tokio::test(flavor = "multi_thread")]
async fn a_project_that_is_deleted_during_its_deploy_is_gone_whole() {
    let lab = Lab::start().await;
    let wallet = lab.subscribed_wallet().await;
    for wait_ms in [0_u64, 30, 120, 400] {
        let body = json!({ "name": format!("gone-{wait_ms}") });
        let project = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(body)).await.body;
        let text = "select pg_sleep(0.3); create table t (n int)";
        let parts = json!({ "site": { "replace": { "index.html": reference("x", "text/html") } },
            "database": { "migrations": [migration("1", text)] } });
        let planned = plan(&lab, &wallet, &project, parts, &[text, "x"]).await;
        let path = format!("/projects/v1/{}", project["project_id"].as_str().unwrap());
        let deleting = async {
            tokio::time::sleep(std::time::Duration::from_millis(wait_ms)).await;
            lab.with_key(project["service_key"].as_str().unwrap(), "DELETE", &path, None).await
        };
        let (_, deleted) = tokio::join!(send_commit(&lab, &wallet, &planned), deleting);
        assert!(deleted.status < 300, "{deleted:?}");
        let id = project["project_id"].as_str().unwrap().trim_start_matches("prj_");
        let id = uuid::Uuid::parse_str(id).unwrap();
        let database = lab.database().await;
        eventually("the erasure", 40, || async {
            let phase: String = sqlx::query_scalar("select phase from projects where id = $1")
                .bind(id)
                .fetch_one(&database)
                .await
                .unwrap();
            (phase == "erased").then_some(())
        })
        .await;
        for table in ["releases", "deploy_operations", "deploy_plans", "deploy_gates", "project_migrations"] {
            let sql = format!("select count(*) from {table} where project_id = $1");
            let left: i64 =
                sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(id).fetch_one(&database).await.unwrap();
            assert_eq!(left, 0, "{table} after {wait_ms} ms");
        }
    }
}

// E08, I. Goal: whoever comes first, a project that is deleted is gone whole, and nobody is told of a release that is
// live. Method: two deploys with migrations, a rollback and the deletion at one instant, again and again.
#[tokio::test(flavor = "multi_thread")]
async fn two_deploys_a_rollback_and_a_deletion_at_one_instant_leave_nothing() {
    let lab = Lab::start().await;
    let wallet = lab.subscribed_wallet().await;
    let page = |text: &str| json!({ "replace": { "index.html": reference(text, "text/html") } });
    for round in 0..4 {
        let body = json!({ "name": format!("race-{round}") });
        let project = lab.as_wallet(&wallet, "POST", "/projects/v1", Some(body)).await.body;
        let first = ready(&lab, &wallet, &project, json!({ "site": page("first") }), &["first"]).await;
        let back = format!("/deploy/v2/releases/{}/promote", first["release_id"].as_str().unwrap());
        let second = ready(&lab, &wallet, &project, json!({ "site": page("second") }), &["second"]).await;
        let mut plans = Vec::new();
        for side in ["a", "b"] {
            let (text, words) = (format!("create table t_{side} (n int)"), format!("{round} {side}"));
            let parts = json!({ "site": page(&words),
                "database": { "migrations": [migration(side, &text)] } });
            plans.push(plan(&lab, &wallet, &project, parts, &[&text, &words]).await);
        }
        let id = project["project_id"].as_str().unwrap();
        let path = format!("/projects/v1/{id}");
        let deleting = async {
            tokio::time::sleep(std::time::Duration::from_millis(round * 40)).await;
            lab.with_key(project["service_key"].as_str().unwrap(), "DELETE", &path, None).await
        };
        let (a, b, c, deleted) = tokio::join!(
            send_commit(&lab, &wallet, &plans[0]),
            send_commit(&lab, &wallet, &plans[1]),
            lab.as_wallet(&wallet, "POST", &back, Some(json!({ "project": id }))),
            deleting,
        );
        assert!(deleted.status < 300, "{deleted:?}");
        for answer in [&a, &b, &c] {
            assert!(answer.status < 500 || answer.body["retryable"] == true, "{answer:?}");
        }
        let id = uuid::Uuid::parse_str(id.trim_start_matches("prj_")).unwrap();
        let database = lab.database().await;
        let count = async |sql: String| -> i64 {
            sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).bind(id).fetch_one(&database).await.unwrap()
        };
        let erased =
            "select count(*) from projects where id = $1 and phase = 'erased' and active_release is null";
        eventually("the erasure", 40, || async { (count(erased.to_owned()).await == 1).then_some(()) }).await;
        for table in [
            "releases",
            "deploy_operations",
            "deploy_plans",
            "deploy_gates",
            "project_migrations",
            "subdomains",
            "project_content",
            "blobs",
            "functions",
            "function_secrets",
        ] {
            let left = count(format!("select count(*) from {table} where project_id = $1")).await;
            assert_eq!(left, 0, "{table} in round {round}: {a:?} {b:?} {c:?}");
        }
        let url = second["urls"]["site"].as_str().unwrap();
        let shown = super::fetch(&lab, url, "/", &[]).await;
        assert_eq!(shown.status, 404, "{shown:?}");
    }
}
