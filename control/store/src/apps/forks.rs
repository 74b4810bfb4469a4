//! Forks: from a project that was just entered to one that has everything of its version.
//!
//! The row is written together with the project's and holds what the rest needs, so that neither the version nor the
//! publisher's project has to be there any longer once the content is held.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Row;
use types::{AppVersionId, ProjectId, Sha256Hex};

use crate::content::Room;
use crate::{During, Store, StoreError, Tx};

/// `entered -> held -> live -> bootstrapping -> done`, or `failed` from any of the first two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForkState {
    Entered,
    /// The project holds the content.
    Held,
    /// Its release is live.
    Live,
    /// Its function `bootstrap` is being called, or was when somebody died.
    Bootstrapping,
    Done,
    Failed,
}

impl ForkState {
    const ALL: [Self; 6] =
        [Self::Entered, Self::Held, Self::Live, Self::Bootstrapping, Self::Done, Self::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Entered => "entered",
            Self::Held => "held",
            Self::Live => "live",
            Self::Bootstrapping => "bootstrapping",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// A fork to make.
#[derive(Debug, Clone)]
pub struct NewFork {
    pub project: ProjectId,
    pub version: AppVersionId,
    pub spec: Value,
    /// SQL that makes the schema, with the schema that it was read from.
    pub structure: Option<String>,
    pub variables: Option<Value>,
    pub repeat_until: DateTime<Utc>,
}

/// A fork as stored.
#[derive(Debug, Clone)]
pub struct Fork {
    pub project: ProjectId,
    pub version: AppVersionId,
    pub state: ForkState,
    pub spec: Option<Value>,
    pub structure: Option<String>,
    pub variables: Option<Value>,
    pub result: Option<Value>,
    /// Of the bootstrap function, or why it failed.
    pub error: Option<String>,
    /// When it came into its state.
    pub updated_at: DateTime<Utc>,
}

/// What came of the bootstrap function.
#[derive(Debug, Clone, Default)]
pub struct ForkDone {
    pub result: Option<Value>,
    pub error: Option<String>,
}

/// Whether a fork's project got the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    Yes,
    /// The publisher's project is gone, or gave the content up; roll back.
    Gone,
    /// It would pass the limit; roll back.
    NoRoom {
        used_bytes: u64,
    },
}

/// Notes a fork in the transaction that enters its project.
///
/// # Errors
/// `Constraint` when it is there.
pub async fn fork_enter(tx: &mut Tx, fork: &NewFork, now: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query(
        "insert into project_forks (project_id, version_id, state, spec, structure, variables, repeat_until,
           created_at, updated_at)
         values ($1, $2, 'entered', $3, $4, $5, $6, $7, $7)",
    )
    .bind(fork.project.0)
    .bind(fork.version.0)
    .bind(&fork.spec)
    .bind(&fork.structure)
    .bind(&fork.variables)
    .bind(fork.repeat_until)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("enter a fork")?;
    Ok(())
}

/// # Errors
/// `Db`, `Corrupt`.
pub async fn fork_find(store: &Store, project: ProjectId) -> Result<Option<Fork>, StoreError> {
    const DURING: &str = "find a fork";
    let row = sqlx::query("select * from project_forks where project_id = $1")
        .bind(project.0)
        .fetch_optional(store.pool())
        .await
        .during(DURING)?;
    let Some(row) = row else { return Ok(None) };
    let word: String = row.try_get("state").during(DURING)?;
    let state = ForkState::ALL.into_iter().find(|state| state.as_str() == word);
    let state = state.ok_or_else(|| StoreError::Corrupt(format!("project_forks.state {word}")))?;
    let read = || -> Result<Fork, sqlx::Error> {
        Ok(Fork {
            project,
            version: AppVersionId(row.try_get("version_id")?),
            state,
            spec: row.try_get("spec")?,
            structure: row.try_get("structure")?,
            variables: row.try_get("variables")?,
            result: row.try_get("result")?,
            error: row.try_get("error")?,
            updated_at: row.try_get("updated_at")?,
        })
    };
    read().during(DURING).map(Some)
}

/// Gives the fork's project the right to contents that the publisher's project holds, and counts them against the
/// forker's account. Nothing else tells the fork that bytes exist, so it learns of nothing that the version does not
/// name.
///
/// # Errors
/// `Stale` when it is not `entered` any more.
pub async fn fork_hold(
    tx: &mut Tx,
    (source, fork): (ProjectId, ProjectId),
    contents: &[Sha256Hex],
    room: Room,
    now: DateTime<Utc>,
) -> Result<Held, StoreError> {
    const DURING: &str = "hold a fork's content";
    let (first, second) = if source <= fork { (source, fork) } else { (fork, source) };
    for project in [first, second] {
        if !crate::releases::project_ready_locked(tx, project).await? {
            return Ok(Held::Gone);
        }
    }
    let digests: Vec<&str> = contents.iter().map(Sha256Hex::as_str).collect();
    // Locked, so that nobody gives them up before this is committed.
    let row = sqlx::query(
        "with held as (select k.sha256 from project_content k where k.project_id = $1 and k.sha256 = any($3)
             order by k.sha256 for share),
           taken as (insert into project_content (project_id, sha256, added_at, pinned)
             select $2, sha256, $4, true from held order by sha256 on conflict do nothing returning sha256)
         select (select count(*) from held),
           (select coalesce(sum(o.size_bytes), 0)::bigint from taken join content_objects o using (sha256))",
    )
    .bind(source.0)
    .bind(fork.0)
    .bind(digests)
    .bind(now)
    .fetch_one(tx.conn())
    .await
    .during(DURING)?;
    let (held, bytes): (i64, i64) = (row.try_get(0).during(DURING)?, row.try_get(1).during(DURING)?);
    if usize::try_from(held).unwrap_or_default() != contents.len() {
        return Ok(Held::Gone);
    }
    let bytes = u64::try_from(bytes).unwrap_or_default();
    if let Some(used_bytes) = crate::content::hold::usage_add(tx, (fork, bytes, room)).await? {
        return Ok(Held::NoRoom { used_bytes });
    }
    moved(tx, fork, (ForkState::Entered, ForkState::Held), now).await?;
    Ok(Held::Yes)
}

async fn moved(
    tx: &mut Tx,
    project: ProjectId,
    (from, to): (ForkState, ForkState),
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "update project_forks set state = $3, updated_at = $4 where project_id = $1 and state = $2",
    )
    .bind(project.0)
    .bind(from.as_str())
    .bind(to.as_str())
    .bind(now)
    .execute(tx.conn())
    .await
    .during("move a fork")?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Stale("project_forks.state")) }
}

/// Its release is live, so its parts are kept there and no longer here. A repeat changes nothing.
///
/// # Errors
/// `Db` only.
pub async fn fork_live(store: &Store, project: ProjectId, now: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query(
        "update project_forks set state = 'live', spec = null, structure = null, updated_at = $2
         where project_id = $1 and state = 'held'",
    )
    .bind(project.0)
    .bind(now)
    .execute(store.pool())
    .await
    .during("note that a fork is live")?;
    Ok(())
}

/// Takes the one right to call the bootstrap function; false when somebody else has it.
///
/// # Errors
/// `Db` only.
pub async fn fork_bootstrap(
    store: &Store,
    project: ProjectId,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let mut tx = store.begin().await?;
    match moved(&mut tx, project, (ForkState::Live, ForkState::Bootstrapping), now).await {
        Ok(()) => tx.commit().await.map(|()| true),
        Err(StoreError::Stale(_)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Everything is done. Without a function to call it is so right after it went live.
///
/// # Errors
/// `Db` only.
pub async fn fork_done(
    store: &Store,
    project: ProjectId,
    done: &ForkDone,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "update project_forks set state = 'done', variables = null, result = $2, error = $3, updated_at = $4
         where project_id = $1 and state in ('live', 'bootstrapping')",
    )
    .bind(project.0)
    .bind(&done.result)
    .bind(&done.error)
    .bind(now)
    .execute(store.pool())
    .await
    .during("finish a fork")?;
    Ok(())
}

/// It can never be done; its project is to be erased.
///
/// # Errors
/// `Db` only.
pub async fn fork_fail(
    store: &Store,
    project: ProjectId,
    error: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "update project_forks set state = 'failed', spec = null, structure = null, variables = null, error = $2,
           updated_at = $3
         where project_id = $1 and state in ('entered', 'held')",
    )
    .bind(project.0)
    .bind(error)
    .bind(now)
    .execute(store.pool())
    .await
    .during("give a fork up")?;
    Ok(())
}

/// Projects that are not and will not be finished forks: nobody has or can get their keys.
///
/// # Errors
/// `Db` only.
pub async fn forks_abandoned(
    store: &Store,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<ProjectId>, StoreError> {
    const DURING: &str = "find abandoned forks";
    let rows = sqlx::query(
        "select f.project_id from project_forks f join projects p on p.id = f.project_id
         where f.state <> 'done' and (f.state = 'failed' or f.repeat_until < $1)
           and p.phase in ('provisioning', 'ready')
         order by f.repeat_until limit $2",
    )
    .bind(now)
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .during(DURING)?;
    rows.iter().map(|row| row.try_get(0).map(ProjectId).during(DURING)).collect()
}
