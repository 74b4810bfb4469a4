//! Runs that are asked for: written down under a key, looked at, called off, begun anew.
//!
//! They are claimed and ended like every other run ([`super::runs`]).

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use types::{FunctionAttemptId, FunctionRunId, ProjectId};

use super::ends::RunError;
use super::runs::ClaimedRun;
use crate::{During, Store, StoreError};

/// Runs of one project that wait or run.
pub(super) const OPEN_MAX: i64 = 5_000;

/// A run that is asked for.
#[derive(Debug, Clone)]
pub struct AskedRun {
    pub id: FunctionRunId,
    pub project: ProjectId,
    pub name: String,
    /// `api`, `function` and so on: who asked.
    pub source: &'static str,
    /// The id of the function's trigger that was fired.
    pub trigger: Option<String>,
    pub event_type: String,
    pub idempotency_key: String,
    /// The same key with another one is refused.
    pub intent_hash: String,
    /// A JSON object.
    pub payload: Option<String>,
    pub run_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub retry: Retry,
}

/// How often a run is tried, and how long after one attempt the next one begins: twice as long each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    pub attempts_max: i32,
    pub min_secs: i32,
    pub max_secs: i32,
}

/// A run as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionRun {
    pub id: FunctionRunId,
    pub project: ProjectId,
    pub name: String,
    /// None of a schedule's and of one by hand.
    pub event_type: Option<String>,
    pub source: String,
    /// The id of the function's trigger that it is of.
    pub trigger: Option<String>,
    /// `scheduled`, `queued`, `running`, `retrying`, `blocked`, `succeeded`, `failed`, `cancelled` or `expired`.
    pub status: String,
    pub generation: i32,
    pub run_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    /// Of this generation.
    pub attempts: i32,
    pub attempts_max: i32,
    pub attempts_total: i32,
    /// While it waits.
    pub next_at: Option<DateTime<Utc>>,
    pub last_attempt: Option<FunctionAttemptId>,
    pub started_at: Option<DateTime<Utc>>,
    pub attempt_ended_at: Option<DateTime<Utc>>,
    pub response_status: Option<i32>,
    pub error: Option<RunError>,
    pub is_cancelling: bool,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// What became of a run that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enqueued {
    New(FunctionRun),
    /// It was asked for before.
    Same(FunctionRun),
    /// Something else was asked for under this key.
    Other,
    /// Too many of the project's runs are open.
    Full,
    NoFunction,
}

/// Why a run is not changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    NotFound,
    /// It is not where this could be done.
    Standing(Box<FunctionRun>),
}

/// Which runs of a function.
#[derive(Debug, Clone, Default)]
pub struct RunQuery {
    pub status: Option<String>,
    pub event_type: Option<String>,
    pub since: Option<DateTime<Utc>>,
    pub until: Option<DateTime<Utc>>,
    pub limit: i64,
    /// The last one of the page before.
    pub after: Option<(DateTime<Utc>, FunctionRunId)>,
}

/// What a run is at the time `$1`. A schedule's time that was skipped never began.
macro_rules! shown {
    ($rest:literal) => {
        concat!(
            "select r.*, f.name, s.shown from function_runs r join functions f on f.id = r.function_id
             cross join lateral (select case
               when r.state = 'due' and r.is_blocked then 'blocked'
               when r.state = 'due' and r.attempt > 0 then 'retrying'
               when r.state = 'due' and r.next_at > $1 then 'scheduled'
               when r.state = 'due' then 'queued'
               when r.state = 'skipped' then 'cancelled'
               else r.state end as shown) s ",
            $rest
        )
    };
}

const BY_ID: &str = shown!("where r.project_id = $2 and r.id = $3");
const BY_KEY: &str = shown!("where f.project_id = $2 and f.name = $3 and r.idempotency_key = $4");
const PAGE: &str = shown!(
    "where f.project_id = $2 and f.name = $3 and ($4::text is null or s.shown = $4)
       and ($5::text is null or r.event_type = $5)
       and ($6::timestamptz is null or r.created_at >= $6) and ($7::timestamptz is null or r.created_at < $7)
       and ($8::timestamptz is null or (r.created_at, r.id) < ($8, $9::uuid))
     order by r.created_at desc, r.id desc limit $10"
);

/// Writes a run down, or finds the one of its key.
///
/// # Errors
/// `Db`: nothing was written, or the same again finds it.
pub async fn run_enqueue(
    store: &Store,
    asked: &AskedRun,
    now: DateTime<Utc>,
) -> Result<Enqueued, StoreError> {
    if let Some(found) = by_key(store, asked, now).await? {
        return Ok(found);
    }
    let mut tx = store.begin().await?;
    // Of many at once none may pass the limit together.
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("function runs {}", asked.project))
        .execute(tx.conn())
        .await
        .during("wait for a run's turn")?;
    let open = "select count(*) from (select 1 from function_runs
         where project_id = $1 and state in ('due', 'running') limit $2) one";
    let open = sqlx::query(open).bind(asked.project.0).bind(OPEN_MAX).fetch_one(tx.conn()).await;
    if open.and_then(|row| row.try_get::<i64, _>(0)).during("count open runs")? >= OPEN_MAX {
        return Ok(Enqueued::Full);
    }
    let row = sqlx::query(
        "insert into function_runs (id, function_id, project_id, source, state, created_at, run_at, next_at, expires_at,
           event_type, idempotency_key, intent_hash, payload, attempts_max, retry_min_secs, retry_max_secs,
           trigger_name)
         select $1, f.id, f.project_id, $4, 'due', $5, $6, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15
         from functions f where f.project_id = $2 and f.name = $3
         on conflict (function_id, idempotency_key) where idempotency_key is not null do nothing",
    )
    .bind(asked.id.0)
    .bind(asked.project.0)
    .bind(&asked.name)
    .bind(asked.source)
    .bind(now)
    .bind(asked.run_at)
    .bind(asked.expires_at)
    .bind(&asked.event_type)
    .bind(&asked.idempotency_key)
    .bind(&asked.intent_hash)
    .bind(&asked.payload)
    .bind(asked.retry.attempts_max)
    .bind(asked.retry.min_secs)
    .bind(asked.retry.max_secs)
    .bind(&asked.trigger)
    .execute(tx.conn())
    .await
    .during("write a run")?;
    tx.commit().await?;
    if row.rows_affected() == 1
        && let Some(run) = run_find(store, asked.project, asked.id, now).await?
    {
        return Ok(Enqueued::New(run));
    }
    Ok(by_key(store, asked, now).await?.unwrap_or(Enqueued::NoFunction))
}

async fn by_key(store: &Store, asked: &AskedRun, now: DateTime<Utc>) -> Result<Option<Enqueued>, StoreError> {
    let row = sqlx::query(BY_KEY)
        .bind(now)
        .bind(asked.project.0)
        .bind(&asked.name)
        .bind(&asked.idempotency_key)
        .fetch_optional(store.pool())
        .await
        .during("find a run by its key")?;
    let Some(row) = row else { return Ok(None) };
    let intent: Option<String> = row.try_get("intent_hash").during("read a run")?;
    if intent.as_deref() != Some(&*asked.intent_hash) {
        return Ok(Some(Enqueued::Other));
    }
    Ok(Some(Enqueued::Same(shown(&row).during("read a run")?)))
}

/// A project's run.
///
/// # Errors
/// `Db` only.
pub async fn run_find(
    store: &Store,
    project: ProjectId,
    id: FunctionRunId,
    now: DateTime<Utc>,
) -> Result<Option<FunctionRun>, StoreError> {
    let row = sqlx::query(BY_ID)
        .bind(now)
        .bind(project.0)
        .bind(id.0)
        .fetch_optional(store.pool())
        .await
        .during("find a run")?;
    row.as_ref().map(shown).transpose().during("read a run")
}

/// A function's runs, the newest first.
///
/// # Errors
/// `Db` only.
pub async fn runs_page(
    store: &Store,
    (project, name): (ProjectId, &str),
    query: &RunQuery,
    now: DateTime<Utc>,
) -> Result<Vec<FunctionRun>, StoreError> {
    let rows = sqlx::query(PAGE)
        .bind(now)
        .bind(project.0)
        .bind(name)
        .bind(&query.status)
        .bind(&query.event_type)
        .bind(query.since)
        .bind(query.until)
        .bind(query.after.map(|(at, _)| at))
        .bind(query.after.map(|(_, id)| id.0))
        .bind(query.limit)
        .fetch_all(store.pool())
        .await
        .during("list runs")?;
    rows.iter().map(shown).collect::<Result<_, sqlx::Error>>().during("read runs")
}

/// Calls a run off. One that waits ends here; one that runs ends when its attempt does, and has succeeded if that
/// did. Repeating it changes nothing.
///
/// # Errors
/// `Db` only.
pub async fn run_cancel(
    store: &Store,
    project: ProjectId,
    id: FunctionRunId,
    now: DateTime<Utc>,
) -> Result<Result<FunctionRun, Refused>, StoreError> {
    let sql = "update function_runs set cancel_asked_at = coalesce(cancel_asked_at, $3), updated_at = $3,
           ended_at = case when state = 'due' then $3 else ended_at end,
           state = case when state = 'due' then 'cancelled' else state end
         where id = $1 and project_id = $2 and state in ('due', 'running')";
    let done =
        changed(store, sqlx::query(sql).bind(id.0).bind(project.0).bind(now), "call a run off").await?;
    let Some(run) = run_find(store, project, id, now).await? else { return Ok(Err(Refused::NotFound)) };
    let stands = done || run.status == "cancelled";
    Ok(if stands { Ok(run) } else { Err(Refused::Standing(run.into())) })
}

/// Begins a run anew that ended without success, as another generation of it.
///
/// # Errors
/// `Db` only.
pub async fn run_redrive(
    store: &Store,
    project: ProjectId,
    id: FunctionRunId,
    retry: Option<Retry>,
    now: DateTime<Utc>,
) -> Result<Result<FunctionRun, Refused>, StoreError> {
    let sql =
        "update function_runs set state = 'due', generation = generation + 1, attempt = 0, ended_at = null,
           next_at = $3, expires_at = case when expires_at <= $3 then null else expires_at end,
           cancel_asked_at = null, is_blocked = false, updated_at = $3,
           attempts_max = coalesce($4, attempts_max), retry_min_secs = coalesce($5, retry_min_secs),
           retry_max_secs = coalesce($6, retry_max_secs)
         where id = $1 and project_id = $2 and state in ('failed', 'skipped', 'cancelled', 'expired')";
    let query = sqlx::query(sql)
        .bind(id.0)
        .bind(project.0)
        .bind(now)
        .bind(retry.map(|retry| retry.attempts_max))
        .bind(retry.map(|retry| retry.min_secs))
        .bind(retry.map(|retry| retry.max_secs));
    let done = changed(store, query, "begin a run anew").await?;
    let Some(run) = run_find(store, project, id, now).await? else { return Ok(Err(Refused::NotFound)) };
    Ok(if done { Ok(run) } else { Err(Refused::Standing(run.into())) })
}

/// Puts a run back that this node took, as if it had not; false when it has it no longer.
///
/// # Errors
/// `Db` only.
pub async fn run_block(
    store: &Store,
    run: &ClaimedRun,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let sql =
        "update function_runs set attempt = attempt - 1, attempts_total = attempts_total - 1, next_at = $3,
           is_blocked = true, updated_at = $4::timestamptz,
           ended_at = case when cancel_asked_at is null then null else $4::timestamptz end,
           state = case when cancel_asked_at is null then 'due' else 'cancelled' end
         where id = $1 and attempt_id = $2 and state = 'running'";
    let query = sqlx::query(sql).bind(run.id.0).bind(run.attempt_id.0).bind(until).bind(now);
    changed(store, query, "hold a run back").await
}

/// Ends runs whose time has passed before they began, or began again.
///
/// # Errors
/// `Db` only.
pub async fn runs_expire(store: &Store, now: DateTime<Utc>) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "update function_runs set state = 'expired', ended_at = $1, updated_at = $1,
           error = coalesce(error, 'its time passed before it began'),
           error_code = coalesce(error_code, 'EXPIRED'), is_retryable = coalesce(is_retryable, false)
         where state = 'due' and expires_at <= $1",
    )
    .bind(now)
    .execute(store.pool())
    .await
    .during("end runs that are too late")?;
    Ok(done.rows_affected())
}

async fn changed(
    store: &Store,
    query: Query<'_, sqlx::Postgres, PgArguments>,
    during: &'static str,
) -> Result<bool, StoreError> {
    Ok(query.execute(store.pool()).await.during(during)?.rows_affected() == 1)
}

fn shown(row: &PgRow) -> Result<FunctionRun, sqlx::Error> {
    let error = match row.try_get::<Option<String>, _>("error")? {
        None => None,
        Some(message) => Some(RunError {
            code: row
                .try_get::<Option<String>, _>("error_code")?
                .unwrap_or_else(|| "FUNCTION_ERROR".to_owned()),
            message,
            is_retryable: row.try_get::<Option<bool>, _>("is_retryable")?.unwrap_or(false),
        }),
    };
    let status: String = row.try_get("shown")?;
    let waits = matches!(&*status, "blocked" | "retrying" | "scheduled" | "queued");
    Ok(FunctionRun {
        id: FunctionRunId(row.try_get("id")?),
        project: ProjectId(row.try_get("project_id")?),
        name: row.try_get("name")?,
        event_type: row.try_get("event_type")?,
        source: row.try_get("source")?,
        trigger: row.try_get("trigger_name")?,
        status,
        generation: row.try_get("generation")?,
        run_at: row.try_get("run_at")?,
        expires_at: row.try_get("expires_at")?,
        attempts: row.try_get("attempt")?,
        attempts_max: row.try_get("attempts_max")?,
        attempts_total: row.try_get("attempts_total")?,
        next_at: row.try_get::<Option<_>, _>("next_at")?.filter(|_| waits),
        last_attempt: row.try_get::<Option<_>, _>("attempt_id")?.map(FunctionAttemptId),
        started_at: row.try_get("started_at")?,
        attempt_ended_at: row.try_get("attempt_ended_at")?,
        response_status: row.try_get("status")?,
        error,
        is_cancelling: row.try_get::<Option<DateTime<Utc>>, _>("cancel_asked_at")?.is_some(),
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        ended_at: row.try_get("ended_at")?,
    })
}
