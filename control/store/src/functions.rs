//! Functions that are live, their bundles and their logs.

/// Changes with every change of what a project's functions find in their environment, and when one is built again.
macro_rules! environment {
    ($project:literal) => {
        concat!(
            "concat_ws(' ',
               (select concat(count(*), '/', max(updated_at)) from function_secrets where project_id = ",
            $project,
            "), (select concat(count(*), '/', max(version), '/', max(created_at)) from project_secrets
                 where retired_at is null and project_id = ",
            $project,
            "), (select max(rebuilt_at) from functions where project_id = ",
            $project,
            "))"
        )
    };
}
pub(crate) use environment;

mod builds;
mod claim;
mod ends;
mod logs;
mod queue;
mod runs;
mod triggers;

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{ProjectId, ReleaseId};

use crate::releases::{ReleaseFunction, release_function};
use crate::{During, FencedTx, Store, StoreError, Tx};

pub use builds::{
    BuildMark, NewBuild, build_exists, build_find, build_newest, build_put, build_replace, build_warnings,
};
pub use claim::runs_claim;
pub use ends::{RunEnd, RunError, runs_end};
pub use logs::{LogEntry, LogQuery, NewLogEntry, logs_append, logs_drop_before, logs_read};
pub use queue::{
    AskedRun, Enqueued, FunctionRun, Refused, Retry, RunQuery, run_block, run_cancel, run_enqueue, run_find,
    run_redrive, runs_expire, runs_page,
};
pub use runs::{
    Advance, Asked, ClaimedRun, DueFunction, Run, functions_advance, functions_due, run_start,
    runs_drop_before, runs_list, runs_overlapped, runs_reclaim,
};

pub use triggers::{LiveTrigger, triggers_live};

/// A function of a project's live release.
#[derive(Debug, Clone)]
pub struct LiveFunction {
    pub release: ReleaseId,
    pub function: ReleaseFunction,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// None without a schedule.
    pub scheduled: Option<Scheduled>,
}

/// Where a project's functions are read, as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveAt {
    pub release: ReleaseId,
    /// Of the environment.
    pub version: String,
}

/// What a schedule has done and does next.
#[derive(Debug, Clone)]
pub struct Scheduled {
    /// None while it is worked out, and when it never comes.
    pub next_run_at: Option<DateTime<Utc>>,
    pub run_count: i64,
    pub last_run_at: Option<DateTime<Utc>>,
    pub last_status: Option<i32>,
    pub last_error: Option<String>,
    pub missed: String,
    pub overlap: String,
}

/// What a function's schedule does with times that were missed, and with those that overlap.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// `skip`, `run_once` or `run_all`.
    pub missed: Option<&'static str>,
    /// `skip`, `queue` or `allow`.
    pub overlap: Option<&'static str>,
}

/// Sets what is named of a policy.
///
/// # Errors
/// `Db` only.
pub async fn function_policy_set(
    store: &Store,
    (project, name): (ProjectId, &str),
    policy: &Policy,
) -> Result<(), StoreError> {
    sqlx::query(
        "update functions set missed = coalesce($3, missed), overlap = coalesce($4, overlap)
         where project_id = $1 and name = $2",
    )
    .bind(project.0)
    .bind(name)
    .bind(policy.missed)
    .bind(policy.overlap)
    .execute(store.pool())
    .await
    .during("set a policy")?;
    Ok(())
}

/// Makes the project's functions those of a release that goes live in this transaction.
///
/// # Errors
/// `Db` only.
pub(crate) async fn functions_follow(
    tx: &mut Tx,
    project: ProjectId,
    release: ReleaseId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    triggers::triggers_hold(tx, project).await?;
    sqlx::query(
        "delete from functions f where f.project_id = $1
           and not exists (select from release_functions r where r.release_id = $2 and r.name = f.name)",
    )
    .bind(project.0)
    .bind(release.0)
    .execute(tx.conn())
    .await
    .during("drop functions")?;
    sqlx::query(
        "insert into functions as f (project_id, name, fingerprint, created_at, updated_at, schedule, next_due_at)
         select $1, r.name, concat_ws(' ', r.code_hash, r.timeout_seconds, r.memory_mb, r.schedule), $3, $3,
           r.schedule, case when r.schedule is null then null else $3::timestamptz end
         from release_functions r where r.release_id = $2
         on conflict (project_id, name) do update set fingerprint = excluded.fingerprint,
           updated_at =
             case when f.fingerprint = excluded.fingerprint then f.updated_at else excluded.updated_at end,
           schedule = excluded.schedule,
           next_due_at =
             case when f.schedule is distinct from excluded.schedule then excluded.next_due_at else f.next_due_at end,
           is_planned = f.is_planned and f.schedule is not distinct from excluded.schedule",
    )
    .bind(project.0)
    .bind(release.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("follow the release's functions")?;
    // The change wins over what was due and had not begun, also over what was written while it waited for the
    // functions' rows. What somebody is just taking has begun. What was asked for is no schedule's.
    sqlx::query(
        "with old as (
           select r.id from function_runs r join functions f on f.id = r.function_id
           where f.project_id = $1 and not f.is_planned and r.state = 'due' and r.source = 'schedule'
             and r.due_at is not null for update of r skip locked)
         update function_runs r set state = 'skipped', ended_at = $2, error = 'the schedule was changed'
         from old where r.id = old.id",
    )
    .bind(project.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("end runs of old schedules")?;
    triggers::triggers_follow(tx, project, release, now).await
}

/// Takes functions, bundles and logs from a project that is being erased.
///
/// # Errors
/// `Db` only.
pub(crate) async fn functions_drop(tx: &mut FencedTx, project: ProjectId) -> Result<(), StoreError> {
    for sql in
        ["delete from functions where project_id = $1", "delete from function_builds where project_id = $1"]
    {
        sqlx::query(sql).bind(project.0).execute(tx.conn()).await.during("drop functions")?;
    }
    Ok(())
}

const LIVE: &str =
    "select r.*, f.created_at, f.updated_at, f.next_due_at, f.is_planned, f.run_count, f.last_run_at,
       f.last_status, f.last_error, f.missed, f.overlap from projects p
     join release_functions r on r.release_id = p.active_release
     join functions f on f.project_id = p.id and f.name = r.name
     where p.id = $1 and p.phase = 'ready' and ($2::text is null or r.name = $2)
     order by r.name collate \"C\"";

/// The function of this name in the live release.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn live_function_find(
    store: &Store,
    project: ProjectId,
    name: &str,
) -> Result<Option<LiveFunction>, StoreError> {
    let row = sqlx::query(LIVE)
        .bind(project.0)
        .bind(name)
        .fetch_optional(store.pool())
        .await
        .during("find a function")?;
    row.as_ref().map(live).transpose()
}

/// The functions of the live release by name.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn live_functions(store: &Store, project: ProjectId) -> Result<Vec<LiveFunction>, StoreError> {
    let rows = sqlx::query(LIVE)
        .bind(project.0)
        .bind(None::<String>)
        .fetch_all(store.pool())
        .await
        .during("list functions")?;
    rows.iter().map(live).collect()
}

/// A function of any release.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn release_function_find(
    store: &Store,
    release: ReleaseId,
    name: &str,
) -> Result<Option<ReleaseFunction>, StoreError> {
    let row = sqlx::query("select * from release_functions where release_id = $1 and name = $2")
        .bind(release.0)
        .bind(name)
        .fetch_optional(store.pool())
        .await
        .during("find a function")?;
    row.as_ref().map(release_function).transpose()
}

/// Changes with every change of what a project's functions find in their environment, and when one is built again.
///
/// # Errors
/// `Db` only.
pub async fn environment_version(store: &Store, project: ProjectId) -> Result<String, StoreError> {
    let row = sqlx::query(concat!("select ", environment!("$1")))
        .bind(project.0)
        .fetch_one(store.pool())
        .await
        .during("look at an environment")?;
    row.try_get(0).during("look at an environment")
}

fn live(row: &PgRow) -> Result<LiveFunction, StoreError> {
    let function = release_function(row)?;
    let scheduled = function.schedule.is_some().then(|| scheduled(row));
    let read = || {
        Ok::<_, sqlx::Error>(LiveFunction {
            release: ReleaseId(row.try_get("release_id")?),
            function,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
            scheduled: scheduled.transpose()?,
        })
    };
    read().during("read a function")
}

fn scheduled(row: &PgRow) -> Result<Scheduled, sqlx::Error> {
    let is_planned: bool = row.try_get("is_planned")?;
    let next: Option<DateTime<Utc>> = row.try_get("next_due_at")?;
    Ok(Scheduled {
        next_run_at: next.filter(|_| is_planned),
        run_count: row.try_get("run_count")?,
        last_run_at: row.try_get("last_run_at")?,
        last_status: row.try_get("last_status")?,
        last_error: row.try_get("last_error")?,
        missed: row.try_get("missed")?,
        overlap: row.try_get("overlap")?,
    })
}
