//! What functions wrote, each entry with a time of its own.

use chrono::{DateTime, Utc};
use sqlx::Row;
use types::{FunctionAttemptId, ProjectId};

use crate::{During, Store, StoreError};

/// An entry to keep.
#[derive(Debug, Clone)]
pub struct NewLogEntry {
    pub project: ProjectId,
    pub function: String,
    pub request_id: Option<String>,
    /// Of a run.
    pub attempt_id: Option<FunctionAttemptId>,
    /// `stdout`, `stderr` or `platform`.
    pub stream: &'static str,
    pub message: String,
}

/// An entry as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Whole milliseconds, and no other entry of the function has the same.
    pub at: DateTime<Utc>,
    pub request_id: Option<String>,
    pub attempt_id: Option<FunctionAttemptId>,
    pub stream: String,
    pub message: String,
}

/// Which entries to read.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// At most so many, the newest ones.
    pub tail: i64,
    /// From this time on.
    pub since: Option<DateTime<Utc>>,
    pub request_id: Option<String>,
    pub attempt_id: Option<FunctionAttemptId>,
}

/// Keeps entries in their order. Entries of functions that are gone are dropped. Each gets the first millisecond
/// that is neither over nor another entry's: readers go on one millisecond after the last entry they saw.
///
/// # Errors
/// `Db` only: nothing was kept.
pub async fn logs_append(
    store: &Store,
    entries: &[NewLogEntry],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let mut tx = store.begin().await?;
    let column = |of: fn(&NewLogEntry) -> String| entries.iter().map(of).collect::<Vec<_>>();
    // One statement locks the functions in the order of their ids, so that two writers cannot wait in a circle.
    sqlx::query(
        "with fresh as (
           select f.id, e.request_id, e.attempt_id, e.stream, e.message,
             row_number() over (partition by f.id order by e.n) as place
           from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $7::uuid[]) with ordinality
             as e (project_id, name, request_id, stream, message, attempt_id, n)
           join functions f on f.project_id = e.project_id and f.name = e.name),
         held as (
           select f.id, greatest(date_trunc('milliseconds', $6::timestamptz), f.last_log_at + interval '1 millisecond')
             as first from functions f where f.id in (select id from fresh) order by f.id for update),
         moved as (
           update functions f set last_log_at = h.first + (n.last - 1) * interval '1 millisecond'
           from held h join (select id, max(place) as last from fresh group by id) n on n.id = h.id
           where f.id = h.id)
         insert into function_logs (function_id, at, request_id, attempt_id, stream, message)
         select n.id, h.first + (n.place - 1) * interval '1 millisecond', nullif(n.request_id, ''), n.attempt_id,
           n.stream, n.message
         from fresh n join held h on h.id = n.id",
    )
    .bind(entries.iter().map(|entry| entry.project.0).collect::<Vec<_>>())
    .bind(column(|entry| entry.function.clone()))
    .bind(column(|entry| entry.request_id.clone().unwrap_or_default()))
    .bind(column(|entry| entry.stream.to_owned()))
    .bind(column(|entry| entry.message.clone()))
    .bind(now)
    .bind(entries.iter().map(|entry| entry.attempt_id.map(|id| id.0)).collect::<Vec<_>>())
    .execute(tx.conn())
    .await
    .during("keep logs")?;
    tx.commit().await
}

/// The newest entries that match, the oldest first. None: there is no such function.
///
/// # Errors
/// `Db` only.
pub async fn logs_read(
    store: &Store,
    (project, function): (ProjectId, &str),
    query: &LogQuery,
) -> Result<Option<Vec<LogEntry>>, StoreError> {
    let id = sqlx::query("select id from functions where project_id = $1 and name = $2")
        .bind(project.0)
        .bind(function)
        .fetch_optional(store.pool())
        .await
        .during("find a function")?;
    let Some(id) = id else { return Ok(None) };
    let rows = sqlx::query(
        "select at, request_id, attempt_id, stream, message from function_logs
         where function_id = $1 and ($2::timestamptz is null or at >= $2)
           and ($3::text is null or request_id = $3) and ($4::uuid is null or attempt_id = $4)
         order by at desc limit $5",
    )
    .bind(id.try_get::<uuid::Uuid, _>(0).during("find a function")?)
    .bind(query.since)
    .bind(&query.request_id)
    .bind(query.attempt_id.map(|id| id.0))
    .bind(query.tail)
    .fetch_all(store.pool())
    .await
    .during("read logs")?;
    let read = |row: &sqlx::postgres::PgRow| {
        Ok(LogEntry {
            at: row.try_get(0)?,
            request_id: row.try_get(1)?,
            attempt_id: row.try_get::<Option<_>, _>(2)?.map(FunctionAttemptId),
            stream: row.try_get(3)?,
            message: row.try_get(4)?,
        })
    };
    let entries: Result<Vec<_>, sqlx::Error> = rows.iter().rev().map(read).collect();
    entries.during("read logs").map(Some)
}

/// Forgets entries that are older, a batch at a time; says how many.
///
/// # Errors
/// `Db` only.
pub async fn logs_drop_before(store: &Store, before: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "delete from function_logs where (function_id, at) in
           (select function_id, at from function_logs where at < $1 order by at limit $2)",
    )
    .bind(before)
    .bind(limit)
    .execute(store.pool())
    .await
    .during("forget logs")?;
    Ok(done.rows_affected())
}
