//! Projects, their secrets and usage.

mod lists;
mod secrets;

use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::postgres::PgRow;
use sqlx::{PgExecutor, Row};
use types::{AccountId, ProjectId, ReleaseId};

use crate::outbox::outbox_append;
use crate::{During, FencedTx, Store, StoreError, Tx};

pub use lists::{Listed, project_list_by_account, ready_of_account, unfinished};
pub use secrets::{
    Access, Purpose, Secret, project_access_fetch, project_secret_add, project_secrets_destroy,
    projects_access, projects_callable,
};

/// `provisioning -> ready -> erasing -> erased`. An unfinished provisioning may go straight to `erasing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Provisioning,
    Ready,
    Erasing,
    Erased,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Ready => "ready",
            Self::Erasing => "erasing",
            Self::Erased => "erased",
        }
    }
}

impl FromStr for Phase {
    type Err = StoreError;
    fn from_str(text: &str) -> Result<Self, StoreError> {
        [Self::Provisioning, Self::Ready, Self::Erasing, Self::Erased]
            .into_iter()
            .find(|phase| phase.as_str() == text)
            .ok_or_else(|| StoreError::Corrupt(format!("projects.phase {text}")))
    }
}

/// A project's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    pub id: ProjectId,
    pub account: AccountId,
    pub name: String,
    pub phase: Phase,
    /// The number of its slot; kept after erasure, when the slot is `dropped`.
    pub slot: Option<i32>,
    /// Names the host of its own site: `pr-<public_id>`.
    pub public_id: String,
    pub active_release: Option<ReleaseId>,
    /// Moves with every change that a cached snapshot must notice.
    pub revision: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

impl Project {
    /// `p0007`, once it has a slot.
    pub fn schema(&self) -> Option<String> {
        self.slot.map(|number| crate::cells::SlotName(number).to_string())
    }
}

/// What a new project starts with.
#[derive(Debug, Clone)]
pub struct NewProject {
    pub id: ProjectId,
    pub account: AccountId,
    /// 1 to 128 characters.
    pub name: String,
    /// 6 to 20 of `a-z0-9`.
    pub public_id: String,
}

/// Usage as measured last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub api_calls: i64,
    pub database_bytes: i64,
    pub measured_at: Option<DateTime<Utc>>,
}

/// Enters a project in `provisioning` and announces it. Its actor does the rest.
///
/// # Errors
/// `Constraint("projects_pkey")` when the id exists.
pub async fn project_insert(tx: &mut Tx, new: &NewProject, now: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query(
        "insert into projects (id, account_id, name, phase, public_id, created_at, updated_at)
         values ($1, $2, $3, 'provisioning', $4, $5, $5)",
    )
    .bind(new.id.0)
    .bind(new.account.0)
    .bind(&new.name)
    .bind(&new.public_id)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("insert project")?;
    outbox_append(tx, "project.step", json!({ "id": new.id })).await
}

/// Moves a project's phase by compare-and-set, raises its revision and announces the move, in one commit.
///
/// # Errors
/// `Stale` when the row no longer holds `from`: nothing was written.
pub async fn project_move(
    tx: &mut FencedTx,
    id: ProjectId,
    (from, to): (Phase, Phase),
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "update projects set phase = $3, revision = revision + 1, updated_at = $4,
           erased_at = case when $3 = 'erased' then $4 end,
           active_release = case when $3 in ('erasing', 'erased') then null else active_release end
         where id = $1 and phase = $2",
    )
    .bind(id.0)
    .bind(from.as_str())
    .bind(to.as_str())
    .bind(now)
    .execute(tx.conn())
    .await
    .during("move project")?;
    if done.rows_affected() != 1 {
        return Err(StoreError::Stale("projects.phase"));
    }
    match to {
        // Someone must go on from here.
        Phase::Erasing => outbox_append(tx.tx(), "project.step", json!({ "id": id })).await,
        Phase::Provisioning | Phase::Ready | Phase::Erased => Ok(()),
    }
}

/// Points a ready project at a release and raises its revision.
///
/// # Errors
/// `Stale` when the project is not ready.
pub async fn project_activate(
    tx: &mut FencedTx,
    id: ProjectId,
    release: ReleaseId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "update projects set active_release = $2, revision = revision + 1, updated_at = $3
         where id = $1 and phase = 'ready'",
    )
    .bind(id.0)
    .bind(release.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("activate release")?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Stale("projects.phase")) }
}

/// Makes cached snapshots of the project notice a change elsewhere.
///
/// # Errors
/// `Db` only.
pub async fn project_revision_bump(tx: &mut Tx, id: ProjectId, now: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query("update projects set revision = revision + 1, updated_at = $2 where id = $1")
        .bind(id.0)
        .bind(now)
        .execute(tx.conn())
        .await
        .during("bump project")?;
    Ok(())
}

/// # Errors
/// `NotFound` when there never was such a project.
pub async fn project_fetch(store: &Store, id: ProjectId) -> Result<Project, StoreError> {
    project_find(store, id).await?.ok_or(StoreError::NotFound("project"))
}

/// # Errors
/// `Db` only.
pub async fn project_find(store: &Store, id: ProjectId) -> Result<Option<Project>, StoreError> {
    project_where(store.pool(), "id = $1", |q| q.bind(id.0)).await
}

/// The same within a transaction.
///
/// # Errors
/// `Db` only.
pub async fn project_find_in(tx: &mut Tx, id: ProjectId) -> Result<Option<Project>, StoreError> {
    project_where(tx.conn(), "id = $1", |q| q.bind(id.0)).await
}

/// The project behind `pr-<public_id>`, erased ones excluded.
///
/// # Errors
/// `Db` only.
pub async fn project_by_public_id(store: &Store, public_id: &str) -> Result<Option<Project>, StoreError> {
    project_where(store.pool(), "public_id = $1 and phase <> 'erased'", |q| q.bind(public_id.to_owned()))
        .await
}

/// What was measured last; zero before the first measurement.
///
/// # Errors
/// `Db` only.
pub async fn usage_fetch(store: &Store, id: ProjectId) -> Result<Usage, StoreError> {
    let row =
        sqlx::query("select api_calls, database_bytes, measured_at from project_usage where project_id = $1")
            .bind(id.0)
            .fetch_optional(store.pool())
            .await
            .during("read usage")?;
    let Some(row) = row else { return Ok(Usage::default()) };
    Ok(Usage {
        api_calls: row.try_get(0).during("read usage")?,
        database_bytes: row.try_get(1).during("read usage")?,
        measured_at: row.try_get(2).during("read usage")?,
    })
}

/// Records the size of a project's database. The later measurement wins.
///
/// # Errors
/// `Db` only.
pub async fn usage_measured(
    store: &Store,
    id: ProjectId,
    database_bytes: i64,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into project_usage as u (project_id, database_bytes, measured_at) values ($1, $2, $3)
         on conflict (project_id) do update
           set database_bytes = excluded.database_bytes, measured_at = excluded.measured_at
           where u.measured_at is null or u.measured_at < excluded.measured_at",
    )
    .bind(id.0)
    .bind(database_bytes)
    .bind(now)
    .execute(store.pool())
    .await
    .during("record usage")?;
    Ok(())
}

type PgQuery<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

const COLUMNS: &str =
    "id, account_id, name, phase, slot, public_id, active_release, revision, created_at, updated_at";

async fn project_where<'e>(
    on: impl PgExecutor<'e>,
    condition: &'static str,
    bind: impl FnOnce(PgQuery<'static>) -> PgQuery<'static>,
) -> Result<Option<Project>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!("select {COLUMNS} from projects where {condition}"));
    let row = bind(sqlx::query(sql)).fetch_optional(on).await.during("find project")?;
    row.as_ref().map(project).transpose()
}

fn project(row: &PgRow) -> Result<Project, StoreError> {
    let read = |row: &PgRow| -> Result<(Project, String), sqlx::Error> {
        let phase: String = row.try_get("phase")?;
        let project = Project {
            id: ProjectId(row.try_get("id")?),
            account: AccountId(row.try_get("account_id")?),
            name: row.try_get("name")?,
            phase: Phase::Erased,
            slot: row.try_get("slot")?,
            public_id: row.try_get("public_id")?,
            active_release: row.try_get::<Option<uuid::Uuid>, _>("active_release")?.map(ReleaseId),
            revision: row.try_get("revision")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
        };
        Ok((project, phase))
    };
    let (project, phase) = read(row).during("read project")?;
    Ok(Project { phase: phase.parse()?, ..project })
}
