//! What tells that a project's functions find another environment.

use store::functions::environment_version;
use types::ProjectId;
use uuid::Uuid;

use crate::common::Db;

// J10. Goal: each change of a project's secrets is another environment, also the end of one that was not the newest.
// Method: one change at a time; what is looked at is rows, so nothing of them has to open.
#[tokio::test]
async fn each_change_of_a_projects_secrets_is_another_environment() {
    let db = Db::fresh().await;
    let project = "00000000-0000-0000-0000-000000000001";
    let made = format!(
        "insert into projects (id, account_id, name, phase, public_id, created_at, updated_at)
         values ('{project}', gen_random_uuid(), 'p', 'ready', 'project', now(), now())"
    );
    let secret = |purpose: &str, version: i32| {
        format!(
            "insert into project_secrets (project_id, purpose, version, sealed, created_at)
             values ('{project}', '{purpose}', {version}, '', '2026-01-01')"
        )
    };
    let retire = |purpose: &str, version: i32| {
        format!(
            "update project_secrets set retired_at = now() where purpose = '{purpose}' and version = {version}"
        )
    };
    sqlx::raw_sql("alter table projects disable trigger all").execute(&db.raw).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(made)).execute(&db.raw).await.unwrap();
    let mut seen = Vec::new();
    for change in [
        secret("keys", 1),
        secret("users", 1),
        secret("users", 2),
        retire("users", 1),
        secret("keys", 2),
        retire("keys", 1),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(change.clone())).execute(&db.raw).await.unwrap();
        let version = environment_version(&db.store, ProjectId(Uuid::from_u128(1))).await.unwrap();
        assert_ne!(seen.last(), Some(&version), "{change}");
        seen.push(version);
    }
}
