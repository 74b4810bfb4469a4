//! Versions of projects that others may fork.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AppVersionId, ProjectId, ReleaseId, Tier};

use crate::{During, FencedTx, Store, StoreError, Tx};

mod forks;

pub use forks::{
    Fork, ForkDone, ForkState, Held, NewFork, fork_bootstrap, fork_done, fork_enter, fork_fail, fork_find,
    fork_hold, fork_live, forks_abandoned,
};

/// Who sees a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody, also in the list.
    Public,
    /// Whoever has its id.
    Unlisted,
    /// The project's owner.
    Private,
}

impl Visibility {
    pub const ALL: [Self; 3] = [Self::Public, Self::Unlisted, Self::Private];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Unlisted => "unlisted",
            Self::Private => "private",
        }
    }
}

/// A version as stored, without what it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    pub id: AppVersionId,
    pub project: ProjectId,
    /// From 1, counted up per project.
    pub number: i32,
    /// The project's at the time.
    pub name: String,
    pub description: Option<String>,
    pub tags: Vec<String>,
    pub visibility: Visibility,
    pub fork_allowed: bool,
    pub min_tier: Tier,
    pub release: Option<ReleaseId>,
    pub table_count: i32,
    pub function_count: i32,
    pub site_file_count: i32,
    pub site_total_bytes: i64,
    /// Keys, never values.
    pub required_secrets: Vec<String>,
    pub compatibility_warnings: Vec<String>,
    pub bootstrap_variables: Option<Value>,
    pub created_at: DateTime<Utc>,
    /// Of the project: its own address, and its first name.
    pub public_id: String,
    pub subdomain: Option<String>,
    pub is_live: bool,
}

/// What a version is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct VersionContent {
    /// A release spec in its normal form.
    pub spec: Value,
    /// SQL that makes the schema.
    pub structure: Option<String>,
    /// The schema that the SQL was read from.
    pub structure_schema: String,
}

/// What of a version may be changed later; none stays as it is.
#[derive(Debug, Clone, Default)]
pub struct VersionChange {
    /// Some(None) takes it away.
    pub description: Option<Option<String>>,
    pub tags: Option<Vec<String>>,
    pub visibility: Option<Visibility>,
    pub fork_allowed: Option<bool>,
}

const COLUMNS: &str = "v.id, v.project_id, v.number, v.name, v.description, v.tags, v.visibility, v.fork_allowed,
  v.min_tier, v.release_id, v.table_count, v.function_count, v.site_file_count, v.site_total_bytes,
  v.required_secrets, v.compatibility_warnings, v.bootstrap_variables, v.created_at, p.public_id,
  p.active_release is not null as is_live,
  (select s.name from subdomains s where s.project_id = p.id order by s.created_at, s.name limit 1) as subdomain";

/// Stores a version under the project's next number, unless the project has `count_max` of them (none).
///
/// # Errors
/// `NotFound` when the project is not ready.
pub async fn version_publish(
    tx: &mut Tx,
    version: &Version,
    content: &VersionContent,
    count_max: i64,
) -> Result<Option<i32>, StoreError> {
    const DURING: &str = "publish a version";
    let row = sqlx::query(
        "update projects set app_versions_made = app_versions_made + 1 where id = $1 and phase = 'ready'
         returning app_versions_made, (select count(*) from app_versions where project_id = $1)",
    )
    .bind(version.project.0)
    .fetch_optional(tx.conn())
    .await
    .during(DURING)?
    .ok_or(StoreError::NotFound("project"))?;
    let (number, count): (i32, i64) = (row.try_get(0).during(DURING)?, row.try_get(1).during(DURING)?);
    if count >= count_max {
        return Ok(None);
    }
    sqlx::query(
        "insert into app_versions (id, project_id, number, name, description, tags, visibility, fork_allowed,
           min_tier, release_id, spec, structure, structure_schema, table_count, function_count, site_file_count,
           site_total_bytes, required_secrets, compatibility_warnings, bootstrap_variables, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $21)",
    )
    .bind(version.id.0)
    .bind(version.project.0)
    .bind(number)
    .bind(&version.name)
    .bind(&version.description)
    .bind(&version.tags)
    .bind(version.visibility.as_str())
    .bind(version.fork_allowed)
    .bind(version.min_tier.as_str())
    .bind(version.release.map(|id| id.0))
    .bind(&content.spec)
    .bind(&content.structure)
    .bind(&content.structure_schema)
    .bind(version.table_count)
    .bind(version.function_count)
    .bind(version.site_file_count)
    .bind(version.site_total_bytes)
    .bind(&version.required_secrets)
    .bind(&version.compatibility_warnings)
    .bind(&version.bootstrap_variables)
    .bind(version.created_at)
    .execute(tx.conn())
    .await
    .during(DURING)?;
    Ok(Some(number))
}

/// Public versions with any of the tags, or all of them without tags, the newest first.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn versions_browse(store: &Store, tags: &[String], limit: i64) -> Result<Vec<Version>, StoreError> {
    let sql = format!(
        "select {COLUMNS} from app_versions v join projects p on p.id = v.project_id
         where v.visibility = 'public' and p.phase = 'ready' and (cardinality($1::text[]) = 0 or v.tags && $1)
         order by v.created_at desc, v.id desc limit $2"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tags).bind(limit);
    query.fetch_all(store.pool()).await.during("browse versions")?.iter().map(version).collect()
}

/// How many there are to browse.
///
/// # Errors
/// `Db` only.
pub async fn versions_count(store: &Store, tags: &[String]) -> Result<i64, StoreError> {
    const DURING: &str = "count versions";
    let row = sqlx::query(
        "select count(*) from app_versions v join projects p on p.id = v.project_id
         where v.visibility = 'public' and p.phase = 'ready' and (cardinality($1::text[]) = 0 or v.tags && $1)",
    )
    .bind(tags)
    .fetch_one(store.pool())
    .await
    .during(DURING)?;
    row.try_get(0).during(DURING)
}

/// A project's own versions, the newest first.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn versions_of_project(
    store: &Store,
    project: ProjectId,
    limit: i64,
) -> Result<Vec<Version>, StoreError> {
    let sql = format!(
        "select {COLUMNS} from app_versions v join projects p on p.id = v.project_id
         where v.project_id = $1 order by v.number desc limit $2"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(project.0).bind(limit);
    query.fetch_all(store.pool()).await.during("list versions")?.iter().map(version).collect()
}

/// A version of a project that is ready, whoever may see it.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn version_find(store: &Store, id: AppVersionId) -> Result<Option<Version>, StoreError> {
    let sql = format!(
        "select {COLUMNS} from app_versions v join projects p on p.id = v.project_id
         where v.id = $1 and p.phase = 'ready'"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.0);
    query.fetch_optional(store.pool()).await.during("find a version")?.as_ref().map(version).transpose()
}

/// # Errors
/// `Db` only.
pub async fn version_content_find(
    store: &Store,
    id: AppVersionId,
) -> Result<Option<VersionContent>, StoreError> {
    let row = sqlx::query("select spec, structure, structure_schema from app_versions where id = $1")
        .bind(id.0)
        .fetch_optional(store.pool())
        .await
        .during("read a version")?;
    row.map(|row| {
        Ok(VersionContent {
            spec: row.try_get(0)?,
            structure: row.try_get(1)?,
            structure_schema: row.try_get(2)?,
        })
    })
    .transpose()
    .during("read a version")
}

/// Changes a version of that project; false when it has none of that id.
///
/// # Errors
/// `Db` only.
pub async fn version_update(
    store: &Store,
    (project, id): (ProjectId, AppVersionId),
    change: &VersionChange,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "update app_versions set description = case when $3 then $4 else description end,
           tags = coalesce($5, tags), visibility = coalesce($6, visibility),
           fork_allowed = coalesce($7, fork_allowed), updated_at = $8
         where project_id = $1 and id = $2",
    )
    .bind(project.0)
    .bind(id.0)
    .bind(change.description.is_some())
    .bind(change.description.clone().flatten())
    .bind(&change.tags)
    .bind(change.visibility.map(Visibility::as_str))
    .bind(change.fork_allowed)
    .bind(now)
    .execute(store.pool())
    .await
    .during("change a version")?;
    Ok(done.rows_affected() == 1)
}

/// Takes a version back; false when the project has none of that id. What was forked from it stays.
///
/// # Errors
/// `Db` only.
pub async fn version_delete(store: &Store, project: ProjectId, id: AppVersionId) -> Result<bool, StoreError> {
    let done = sqlx::query("delete from app_versions where project_id = $1 and id = $2")
        .bind(project.0)
        .bind(id.0)
        .execute(store.pool())
        .await
        .during("delete a version")?;
    Ok(done.rows_affected() == 1)
}

/// Takes its versions from a project that is being erased, and what it still had of its own fork. Idempotent.
///
/// # Errors
/// `Db` only.
pub async fn project_apps_drop(tx: &mut FencedTx, project: ProjectId) -> Result<(), StoreError> {
    for (what, sql) in [
        ("drop versions", "delete from app_versions where project_id = $1"),
        (
            "drop a fork's parts",
            "update project_forks set spec = null, structure = null, variables = null, result = null
             where project_id = $1",
        ),
    ] {
        sqlx::query(sql).bind(project.0).execute(tx.conn()).await.during(what)?;
    }
    Ok(())
}

fn version(row: &PgRow) -> Result<Version, StoreError> {
    let read = || -> Result<(Version, String, String), sqlx::Error> {
        let version = Version {
            id: AppVersionId(row.try_get("id")?),
            project: ProjectId(row.try_get("project_id")?),
            number: row.try_get("number")?,
            name: row.try_get("name")?,
            description: row.try_get("description")?,
            tags: row.try_get("tags")?,
            visibility: Visibility::Private,
            fork_allowed: row.try_get("fork_allowed")?,
            min_tier: Tier::Prototype,
            release: row.try_get::<Option<uuid::Uuid>, _>("release_id")?.map(ReleaseId),
            table_count: row.try_get("table_count")?,
            function_count: row.try_get("function_count")?,
            site_file_count: row.try_get("site_file_count")?,
            site_total_bytes: row.try_get("site_total_bytes")?,
            required_secrets: row.try_get("required_secrets")?,
            compatibility_warnings: row.try_get("compatibility_warnings")?,
            bootstrap_variables: row.try_get("bootstrap_variables")?,
            created_at: row.try_get("created_at")?,
            public_id: row.try_get("public_id")?,
            subdomain: row.try_get("subdomain")?,
            is_live: row.try_get("is_live")?,
        };
        Ok((version, row.try_get("visibility")?, row.try_get("min_tier")?))
    };
    let (version, visibility, tier) = read().during("read a version")?;
    let corrupt = |what: &str| StoreError::Corrupt(format!("app_versions.{what}"));
    let visibility = Visibility::ALL.into_iter().find(|one| one.as_str() == visibility);
    Ok(Version {
        visibility: visibility.ok_or_else(|| corrupt("visibility"))?,
        min_tier: tier.parse().map_err(|_| corrupt("min_tier"))?,
        ..version
    })
}
