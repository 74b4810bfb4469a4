//! Runs: which are due, who has which, and how each ended.
//!
//! A run is a row, whoever asked for it: a schedule's is unique by function and due time, one that was asked for
//! ([`super::queue`]) by function and key. One node has it at a time, and every step compares the attempt that it
//! belongs to, so a node that was too slow changes nothing. How long a node is believed to work on a run goes by
//! the database's clock, everything else by the platform's.

use chrono::{DateTime, Utc};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row};
use types::{AccountId, FunctionAttemptId, FunctionRunId, NodeId, ProjectId, ReleaseId};
use uuid::Uuid;

use super::LiveAt;
use super::triggers::{triggers_advance, triggers_due};
use crate::{During, Store, StoreError};

/// A node is believed for the function's timeout and so much more.
pub(super) const GRACE_SECS: i32 = 30;

/// A function whose time has come.
#[derive(Debug, Clone)]
pub struct DueFunction {
    /// Of the function, or of its trigger.
    pub id: Uuid,
    pub is_trigger: bool,
    pub account: AccountId,
    pub schedule: String,
    /// In which the schedule is meant.
    pub timezone: String,
    /// `skip`, `run_once` or `run_all`.
    pub missed: String,
    pub next_due_at: DateTime<Utc>,
    /// False once after each change of the schedule: `next_due_at` is the time of the change.
    pub is_planned: bool,
}

/// What becomes of a due function: its next time, and the runs until then.
#[derive(Debug, Clone)]
pub struct Advance {
    pub id: Uuid,
    pub is_trigger: bool,
    /// What was read; when it is another by now, somebody else was faster.
    pub from: DateTime<Utc>,
    pub to: Option<DateTime<Utc>>,
    /// With why it does not run.
    pub runs: Vec<(DateTime<Utc>, Option<&'static str>)>,
}

/// A run that this node has.
#[derive(Debug, Clone)]
pub struct ClaimedRun {
    pub id: FunctionRunId,
    /// Another one has it when this is no longer the run's.
    pub attempt_id: FunctionAttemptId,
    pub project: ProjectId,
    pub account: AccountId,
    pub name: String,
    pub live: LiveAt,
    /// When it was meant to begin.
    pub run_at: DateTime<Utc>,
    pub source: String,
    /// From 1.
    pub attempt: i32,
    pub attempts_max: i32,
    pub generation: i32,
    /// Of a run that was asked for.
    pub asked: Option<Asked>,
}

/// What a run that was asked for is about, and how it is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub event_type: String,
    pub idempotency_key: String,
    /// A JSON object.
    pub payload: Option<String>,
    pub retry_min_secs: i32,
    pub retry_max_secs: i32,
}

/// A run as it is shown.
#[derive(Debug, Clone)]
pub struct Run {
    pub id: FunctionRunId,
    pub due_at: DateTime<Utc>,
    pub source: String,
    pub state: String,
    pub attempt: i32,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub status: Option<i32>,
    pub error: Option<String>,
}

/// Functions and triggers whose time has come, each in the order of their times.
///
/// # Errors
/// `Db` only.
pub async fn functions_due(
    store: &Store,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<DueFunction>, StoreError> {
    let rows = sqlx::query(
        "select f.id, p.account_id, f.schedule, f.missed, f.next_due_at, f.is_planned
         from functions f join projects p on p.id = f.project_id
         where f.next_due_at <= $1 order by f.next_due_at limit $2",
    )
    .bind(now)
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .during("find due functions")?;
    let read = |row: &PgRow| {
        Ok(DueFunction {
            id: row.try_get("id")?,
            is_trigger: false,
            account: AccountId(row.try_get("account_id")?),
            timezone: "UTC".to_owned(),
            schedule: row.try_get::<Option<String>, _>("schedule")?.unwrap_or_default(),
            missed: row.try_get("missed")?,
            next_due_at: row.try_get("next_due_at")?,
            is_planned: row.try_get("is_planned")?,
        })
    };
    let mut due =
        rows.iter().map(read).collect::<Result<Vec<_>, sqlx::Error>>().during("read due functions")?;
    due.extend(triggers_due(store, now, limit).await?);
    Ok(due)
}

/// Moves functions and triggers to their next times and writes their runs, each only if nobody else did. Says how
/// many moved.
///
/// # Errors
/// `Db` only: those of one kind, or of both, did not move.
pub async fn functions_advance(
    store: &Store,
    advances: &[Advance],
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let (triggers, functions): (Vec<_>, Vec<_>) = advances.iter().partition(|one| one.is_trigger);
    let mut moved = 0;
    // Two transactions: each locks rows of one table only, so that neither waits for the other in a circle.
    if !functions.is_empty() {
        moved += plain_advance(store, &functions, now).await?;
    }
    if !triggers.is_empty() {
        moved += triggers_advance(store, &triggers, now).await?;
    }
    Ok(moved)
}

async fn plain_advance(store: &Store, advances: &[&Advance], now: DateTime<Utc>) -> Result<u64, StoreError> {
    let mut tx = store.begin().await?;
    let moved = moves(ADVANCE, advances, now).fetch_one(tx.conn()).await;
    let moved: i64 = moved.and_then(|row| row.try_get(0)).during("move functions to their next times")?;
    tx.commit().await?;
    Ok(moved.unsigned_abs())
}

/// A statement over what is to move: ids, times read and next times as `$1` to `$3`, then ids, times and reasons of
/// the runs, and the time as `$7`.
pub(super) fn moves<'q>(
    sql: &'static str,
    advances: &[&Advance],
    now: DateTime<Utc>,
) -> Query<'q, Postgres, PgArguments> {
    let runs = || advances.iter().flat_map(|a| a.runs.iter().map(move |(due_at, why)| (a.id, *due_at, *why)));
    sqlx::query(sql)
        .bind(advances.iter().map(|a| a.id).collect::<Vec<_>>())
        .bind(advances.iter().map(|a| a.from).collect::<Vec<_>>())
        .bind(advances.iter().map(|a| a.to).collect::<Vec<_>>())
        .bind(runs().map(|(id, _, _)| id).collect::<Vec<_>>())
        .bind(runs().map(|(_, due_at, _)| due_at).collect::<Vec<_>>())
        .bind(runs().map(|(_, _, why)| why).collect::<Vec<_>>())
        .bind(now)
}

const ADVANCE: &str = "with wanted as (
       select * from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) as w (id, was, next)),
     held as (select f.id from functions f join wanted w on w.id = f.id and w.was = f.next_due_at
       order by f.id for update of f),
     moved as (update functions f set next_due_at = w.next, is_planned = true
       from wanted w, held h where h.id = f.id and w.id = f.id and f.next_due_at = w.was returning f.id),
     made as (insert into function_runs (function_id, due_at, source, state, ended_at, error)
       select r.id, r.due_at, 'schedule', case when r.why is null then 'due' else 'skipped' end,
         case when r.why is null then null else $7::timestamptz end, r.why
       from unnest($4::uuid[], $5::timestamptz[], $6::text[]) as r (id, due_at, why)
       join moved m on m.id = r.id on conflict (function_id, due_at) do nothing)
     select count(*) from moved";

/// Ends runs whose turn came while the one before was not over, where that is the rule.
///
/// # Errors
/// `Db` only.
pub async fn runs_overlapped(store: &Store, now: DateTime<Utc>) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "update function_runs r set state = 'skipped', ended_at = $1, error = 'the run before was not over'
         from functions f where f.id = r.function_id and r.state = 'due' and r.due_at <= $1
           and f.overlap = 'skip' and f.missed <> 'run_all'
           and exists (select from function_runs o where o.function_id = r.function_id and o.state = 'running'
             and o.due_at < r.due_at)",
    )
    .bind(now)
    .execute(store.pool())
    .await
    .during("skip overlapping runs")?;
    Ok(done.rows_affected())
}

/// A run that somebody asked for by hand, taken at once. None: there is no such function.
///
/// # Errors
/// `Db` only.
pub async fn run_start(
    store: &Store,
    (project, name): (ProjectId, &str),
    node: NodeId,
    now: DateTime<Utc>,
) -> Result<Option<ClaimedRun>, StoreError> {
    // Two in one microsecond would be one run; the second finds no row and may ask again.
    let row = sqlx::query(concat!(
        "insert into function_runs as r (function_id, due_at, source, state, attempt, attempts_total, attempts_max,
           attempt_id, node_id, started_at, believed_until)
         select f.id, $4, 'manual', 'running', 1, 1, 1, gen_random_uuid(), $3, $4,
           clock_timestamp() + make_interval(secs => n.timeout_seconds + $5)
         from functions f join projects p on p.id = f.project_id
         join release_functions n on n.release_id = p.active_release and n.name = f.name
         where f.project_id = $1 and f.name = $2 and p.phase = 'ready'
         on conflict do nothing
         returning r.*, $2 as name, (select account_id from projects where id = $1) as account_id,
           (select active_release from projects where id = $1) as release_id, ",
        environment!("$1"),
        " as environment",
    ))
    .bind(project.0)
    .bind(name)
    .bind(node.0)
    .bind(now)
    .bind(GRACE_SECS)
    .fetch_optional(store.pool())
    .await
    .during("start a run")?;
    row.as_ref().map(claimed).transpose().during("read a run")
}

/// Gives runs of nodes that are gone back, under their ids, or ends those that were tried often enough.
///
/// # Errors
/// `Db` only.
pub async fn runs_reclaim(store: &Store, now: DateTime<Utc>) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "with judged as (
           select id, case when cancel_asked_at is not null then 'cancelled'
             when attempt < attempts_max and source <> 'manual' then 'due' else 'failed' end as state
           from function_runs where state = 'running' and believed_until < clock_timestamp()
           for update skip locked)
         update function_runs r set state = j.state,
           ended_at = case when j.state = 'due' then null else $1::timestamptz end,
           next_at = $1, attempt_ended_at = $1, updated_at = $1, error = 'the server that ran it ended',
           error_code = 'SERVER_ENDED', is_retryable = true
         from judged j where r.id = j.id",
    )
    .bind(now)
    .execute(store.pool())
    .await
    .during("take runs back")?;
    Ok(done.rows_affected())
}

/// The newest runs of a function by schedule and by hand.
///
/// # Errors
/// `Db` only.
pub async fn runs_list(
    store: &Store,
    (project, name): (ProjectId, &str),
    limit: i64,
) -> Result<Vec<Run>, StoreError> {
    let rows = sqlx::query(
        "select r.* from function_runs r join functions f on f.id = r.function_id
         where f.project_id = $1 and f.name = $2 and r.due_at is not null order by r.due_at desc limit $3",
    )
    .bind(project.0)
    .bind(name)
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .during("list runs")?;
    let read = |row: &PgRow| {
        Ok(Run {
            id: FunctionRunId(row.try_get("id")?),
            due_at: row.try_get("due_at")?,
            source: row.try_get("source")?,
            state: row.try_get("state")?,
            attempt: row.try_get("attempt")?,
            started_at: row.try_get("started_at")?,
            ended_at: row.try_get("ended_at")?,
            status: row.try_get("status")?,
            error: row.try_get("error")?,
        })
    };
    rows.iter().map(read).collect::<Result<_, sqlx::Error>>().during("read runs")
}

/// Forgets runs that ended before; says how many.
///
/// # Errors
/// `Db` only.
pub async fn runs_drop_before(store: &Store, before: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "delete from function_runs where id in
           (select id from function_runs where ended_at < $1 order by ended_at limit $2)",
    )
    .bind(before)
    .bind(limit)
    .execute(store.pool())
    .await
    .during("forget runs")?;
    Ok(done.rows_affected())
}

pub(super) fn claimed(row: &PgRow) -> Result<ClaimedRun, sqlx::Error> {
    let asked = match row.try_get::<Option<String>, _>("idempotency_key")? {
        None => None,
        Some(idempotency_key) => Some(Asked {
            event_type: row.try_get::<Option<String>, _>("event_type")?.unwrap_or_default(),
            idempotency_key,
            payload: row.try_get("payload")?,
            retry_min_secs: row.try_get("retry_min_secs")?,
            retry_max_secs: row.try_get("retry_max_secs")?,
        }),
    };
    Ok(ClaimedRun {
        id: FunctionRunId(row.try_get("id")?),
        attempt_id: FunctionAttemptId(row.try_get("attempt_id")?),
        project: ProjectId(row.try_get("project_id")?),
        account: AccountId(row.try_get("account_id")?),
        name: row.try_get("name")?,
        live: LiveAt { release: ReleaseId(row.try_get("release_id")?), version: row.try_get("environment")? },
        run_at: row.try_get("run_at")?,
        source: row.try_get("source")?,
        attempt: row.try_get("attempt")?,
        attempts_max: row.try_get("attempts_max")?,
        generation: row.try_get("generation")?,
        asked,
    })
}
