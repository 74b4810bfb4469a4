//! Which release a host shows.

use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{ProjectId, ReleaseId};

use crate::deploys::release_id;
use crate::{During, Store, StoreError};

/// A host's project, and the release that it shows, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteTarget {
    pub project: ProjectId,
    pub release: Option<ReleaseId>,
}

/// The live release of the project with this public id.
///
/// # Errors
/// `Db` only.
pub async fn site_of_project(store: &Store, public_id: &str) -> Result<Option<SiteTarget>, StoreError> {
    let sql = "select id as project_id, active_release as release_id from projects
        where public_id = $1 and phase = 'ready'";
    target(store, sql, public_id).await
}

/// The release that a claimed name points at.
///
/// # Errors
/// `Db` only.
pub async fn site_of_subdomain(store: &Store, name: &str) -> Result<Option<SiteTarget>, StoreError> {
    let sql = "select p.id as project_id, r.id as release_id from subdomains s
        join projects p on p.id = s.project_id and p.phase = 'ready'
        left join releases r on r.deployment_id = s.deployment_id and r.project_id = p.id
          and r.status in ('active', 'superseded')
        where s.name = $1";
    target(store, sql, name).await
}

/// The release of the name that an active domain shows. A domain whose name is gone shows nothing.
///
/// # Errors
/// `Db` only.
pub async fn site_of_domain(store: &Store, domain: &str) -> Result<Option<SiteTarget>, StoreError> {
    let sql = "select p.id as project_id, r.id as release_id from custom_domains d
        join projects p on p.id = d.project_id and p.phase = 'ready'
        left join subdomains s on s.name = d.subdomain_name and s.project_id = p.id
        left join releases r on r.deployment_id = s.deployment_id and r.project_id = p.id
          and r.status in ('active', 'superseded')
        where d.domain = $1 and d.status = 'active'";
    target(store, sql, domain).await
}

/// The release of a deployment that is or was live.
///
/// # Errors
/// `Db` only.
pub async fn site_of_deployment(
    store: &Store,
    deployment_id: &str,
) -> Result<Option<SiteTarget>, StoreError> {
    let sql = "select p.id as project_id, r.id as release_id from releases r
        join projects p on p.id = r.project_id and p.phase = 'ready'
        where r.deployment_id = $1 and r.status in ('active', 'superseded')";
    target(store, sql, deployment_id).await
}

async fn target(store: &Store, sql: &'static str, key: &str) -> Result<Option<SiteTarget>, StoreError> {
    let row = sqlx::query(sql).bind(key).fetch_optional(store.pool()).await.during("find a site")?;
    let read = |row: PgRow| {
        Ok::<_, sqlx::Error>(SiteTarget {
            project: ProjectId(row.try_get("project_id")?),
            release: release_id(&row, "release_id")?,
        })
    };
    row.map(read).transpose().during("read a site")
}
