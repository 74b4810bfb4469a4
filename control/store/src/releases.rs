//! Releases, their files, and the pointer that makes one of them live.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, OperationId, PlanId, ProjectId, ReleaseId, Sha256Hex};

use crate::deploys::release_id;
use crate::{During, FencedTx, Store, StoreError, Tx};

mod activate;
mod host;
mod parts;
mod triggers;

pub use activate::{ActivateRefused, NameChange, release_activate, release_fail};
pub use host::{SiteTarget, site_of_deployment, site_of_domain, site_of_project, site_of_subdomain};
pub(crate) use parts::release_function;
pub use parts::{
    ReleaseFunction, Route, functions_elsewhere, release_functions, release_routes, sort_routes,
};
pub use triggers::{Trigger, TriggerRetry, TriggerRun};

/// An immutable release.
#[derive(Debug, Clone)]
pub struct Release {
    pub id: ReleaseId,
    pub project: ProjectId,
    pub parent: Option<ReleaseId>,
    pub operation: OperationId,
    pub plan: PlanId,
    /// `staged`, `active`, `superseded` or `failed`.
    pub status: String,
    pub digest: Sha256Hex,
    /// `dpl_<time>_<6 hex>`.
    pub deployment_id: String,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    pub activated_at: Option<DateTime<Utc>>,
    pub superseded_at: Option<DateTime<Utc>>,
    /// The project's names when it went live.
    pub names: Option<Vec<String>>,
    /// The keys of the project's secrets when it went live.
    pub secret_keys: Option<Vec<String>>,
}

/// A release to write, still invisible.
#[derive(Debug, Clone)]
pub struct NewRelease {
    pub id: ReleaseId,
    pub project: ProjectId,
    pub parent: Option<ReleaseId>,
    pub operation: OperationId,
    pub plan: PlanId,
    pub digest: Sha256Hex,
    pub deployment_id: String,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    pub files: Vec<ReleaseFile>,
    pub functions: Vec<ReleaseFunction>,
    /// Sorted.
    pub routes: Vec<Route>,
}

/// One file of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFile {
    /// Relative, canonical.
    pub path: String,
    pub sha256: Sha256Hex,
    pub size_bytes: u64,
    pub content_type: String,
    /// Its name looks immutable, but its bytes have changed under that name.
    pub revalidate: bool,
}

/// What a deploy needs to know of its project.
#[derive(Debug, Clone)]
pub struct LiveProject {
    pub id: ProjectId,
    pub account: AccountId,
    pub public_id: String,
    pub active_release: Option<ReleaseId>,
    pub is_ready: bool,
}

/// # Errors
/// `Db` only.
pub async fn live_project_find(store: &Store, id: ProjectId) -> Result<Option<LiveProject>, StoreError> {
    let row =
        sqlx::query("select id, account_id, public_id, active_release, phase from projects where id = $1")
            .bind(id.0)
            .fetch_optional(store.pool())
            .await
            .during("find a project")?;
    row.map(|row| {
        Ok(LiveProject {
            id: ProjectId(row.try_get("id")?),
            account: AccountId(row.try_get("account_id")?),
            public_id: row.try_get("public_id")?,
            active_release: release_id(&row, "active_release")?,
            is_ready: row.try_get::<String, _>("phase")? == "ready",
        })
    })
    .transpose()
    .during("read a project")
}

/// Holds a ready project until the transaction ends: erasing it waits, or has come first (false).
///
/// # Errors
/// `Db` only.
pub async fn project_ready_locked(tx: &mut Tx, id: ProjectId) -> Result<bool, StoreError> {
    let alive = sqlx::query("select 1 from projects where id = $1 and phase = 'ready' for share")
        .bind(id.0)
        .fetch_optional(tx.conn())
        .await
        .during("lock a project")?;
    Ok(alive.is_some())
}

/// Writes a release with all its parts. Invisible until it is activated.
///
/// # Errors
/// `Constraint` when an id or the deployment id is used twice, or content is unknown.
pub async fn release_stage(tx: &mut FencedTx, release: &NewRelease) -> Result<(), StoreError> {
    let routes = serde_json::to_value(&release.routes)
        .map_err(|e| StoreError::Corrupt(format!("routes to store: {e}")))?;
    sqlx::query(
        "insert into releases (id, project_id, parent_id, operation_id, plan_id, status, digest,
           deployment_id, created_by, created_at, routes)
         values ($1, $2, $3, $4, $5, 'staged', $6, $7, $8, $9, $10)",
    )
    .bind(release.id.0)
    .bind(release.project.0)
    .bind(release.parent.map(|r| r.0))
    .bind(release.operation.0)
    .bind(release.plan.0)
    .bind(release.digest.as_str())
    .bind(&release.deployment_id)
    .bind(&release.created_by)
    .bind(release.created_at)
    .bind(routes)
    .execute(tx.conn())
    .await
    .during("stage a release")?;
    stage_files(tx, release.id, &release.files).await?;
    parts::stage(tx, release.id, &release.functions).await
}

async fn stage_files(tx: &mut FencedTx, release: ReleaseId, files: &[ReleaseFile]) -> Result<(), StoreError> {
    let sizes: Vec<i64> = files.iter().map(|f| i64::try_from(f.size_bytes).unwrap_or(i64::MAX)).collect();
    sqlx::query(
        "insert into release_files (release_id, path, sha256, size_bytes, content_type, revalidate)
         select $1, path, sha256, size_bytes, content_type, revalidate
         from unnest($2::text[], $3::text[], $4::bigint[], $5::text[], $6::boolean[])
           as f (path, sha256, size_bytes, content_type, revalidate)",
    )
    .bind(release.0)
    .bind(files.iter().map(|f| f.path.as_str()).collect::<Vec<_>>())
    .bind(files.iter().map(|f| f.sha256.as_str()).collect::<Vec<_>>())
    .bind(sizes)
    .bind(files.iter().map(|f| f.content_type.as_str()).collect::<Vec<_>>())
    .bind(files.iter().map(|f| f.revalidate).collect::<Vec<_>>())
    .execute(tx.conn())
    .await
    .during("stage files")?;
    Ok(())
}

/// # Errors
/// `Db`, `Corrupt`.
pub async fn release_find(store: &Store, id: ReleaseId) -> Result<Option<Release>, StoreError> {
    let row = sqlx::query("select * from releases where id = $1")
        .bind(id.0)
        .fetch_optional(store.pool())
        .await
        .during("find a release")?;
    row.as_ref().map(release).transpose()
}

/// The release of a deployment id, if the project has it.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn release_of_deployment_find(
    store: &Store,
    project: ProjectId,
    deployment_id: &str,
) -> Result<Option<Release>, StoreError> {
    let row = sqlx::query("select * from releases where project_id = $1 and deployment_id = $2")
        .bind(project.0)
        .bind(deployment_id)
        .fetch_optional(store.pool())
        .await
        .during("find a deployment")?;
    row.as_ref().map(release).transpose()
}

/// The files of a release by path.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn release_files(store: &Store, id: ReleaseId) -> Result<Vec<ReleaseFile>, StoreError> {
    let rows = sqlx::query(
        "select path, sha256, size_bytes, content_type, revalidate from release_files
         where release_id = $1 order by path collate \"C\"",
    )
    .bind(id.0)
    .fetch_all(store.pool())
    .await
    .during("list files")?;
    rows.iter()
        .map(|row| {
            Ok(ReleaseFile {
                path: row.try_get("path").during("read a file")?,
                sha256: crate::content::digest(row, "sha256")?,
                size_bytes: crate::content::size(row, "size_bytes")?,
                content_type: row.try_get("content_type").during("read a file")?,
                revalidate: row.try_get("revalidate").during("read a file")?,
            })
        })
        .collect()
}

/// Takes releases, operations and plans from a project that is being erased. Idempotent. Call it before
/// `content::project_content_drop`.
///
/// # Errors
/// `Db` only.
pub async fn project_releases_drop(
    tx: &mut FencedTx,
    project: ProjectId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "update projects set active_release = null, updated_at = $2
         where id = $1 and active_release is not null",
    )
    .bind(project.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("clear the live release")?;
    crate::functions::functions_drop(tx, project).await?;
    crate::apps::project_apps_drop(tx, project).await?;
    for (what, sql) in [
        (
            "drop files",
            "delete from release_files f using releases r where r.id = f.release_id and r.project_id = $1",
        ),
        (
            "drop functions",
            "delete from release_functions f using releases r
             where r.id = f.release_id and r.project_id = $1",
        ),
        ("drop secrets", "delete from function_secrets where project_id = $1"),
        ("drop the gate", "delete from deploy_gates where project_id = $1"),
        ("drop the list of migrations", "delete from project_migrations where project_id = $1"),
        ("drop releases", "delete from releases where project_id = $1"),
        (
            "drop deploy events",
            "delete from deploy_events e using deploy_operations o
             where o.id = e.operation_id and o.project_id = $1",
        ),
        ("drop operations", "delete from deploy_operations where project_id = $1"),
        ("drop plans", "delete from deploy_plans where project_id = $1"),
    ] {
        sqlx::query(sql).bind(project.0).execute(tx.conn()).await.during(what)?;
    }
    Ok(())
}

fn release(row: &PgRow) -> Result<Release, StoreError> {
    let digest = crate::content::digest(row, "digest")?;
    let read = || -> Result<Release, sqlx::Error> {
        Ok(Release {
            id: ReleaseId(row.try_get("id")?),
            project: ProjectId(row.try_get("project_id")?),
            parent: release_id(row, "parent_id")?,
            operation: OperationId(row.try_get("operation_id")?),
            plan: PlanId(row.try_get("plan_id")?),
            status: row.try_get("status")?,
            digest,
            deployment_id: row.try_get("deployment_id")?,
            created_by: row.try_get("created_by")?,
            created_at: row.try_get("created_at")?,
            activated_at: row.try_get("activated_at")?,
            superseded_at: row.try_get("superseded_at")?,
            names: row.try_get("names")?,
            secret_keys: row.try_get("secret_keys")?,
        })
    };
    read().during("read a release")
}
