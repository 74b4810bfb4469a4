//! How attempts end: many in one commit.
//!
//! Each end also counts its function's runs, on one row for all of them. Written one by one, every run of a busy
//! function would wait for the commit of the one before.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use sqlx::Row;
use types::FunctionRunId;

use super::runs::ClaimedRun;
use crate::{During, Store, StoreError};

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnd {
    pub succeeded: bool,
    /// Of the answer.
    pub status: Option<i32>,
    pub error: Option<RunError>,
    /// When it is tried again; none ends the run.
    pub retry_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunError {
    pub code: String,
    pub message: String,
    pub is_retryable: bool,
}

/// Writes how attempts ended, each once: what succeeded has ended, whoever wished it cancelled meanwhile. Tells which
/// counted; another attempt was given up, and its outcome counts no more.
///
/// # Errors
/// `Db` only: none is written.
pub async fn runs_end(
    store: &Store,
    ends: &[(&ClaimedRun, &RunEnd)],
    now: DateTime<Utc>,
) -> Result<HashSet<FunctionRunId>, StoreError> {
    fn each<T>(ends: &[(&ClaimedRun, &RunEnd)], of: impl Fn(&ClaimedRun, &RunEnd) -> T) -> Vec<T> {
        ends.iter().map(|(run, end)| of(run, end)).collect()
    }
    let error = |of: fn(&RunError) -> String| each(ends, move |_, end: &RunEnd| end.error.as_ref().map(of));
    let rows = sqlx::query(END)
        .bind(each(ends, |run, _| run.id.0))
        .bind(each(ends, |run, _| run.attempt_id.0))
        .bind(each(ends, |_, end| end.succeeded))
        .bind(now)
        .bind(each(ends, |_, end| end.status))
        .bind(error(|error| error.message.clone()))
        .bind(error(|error| error.code.clone()))
        .bind(each(ends, |_, end| end.error.as_ref().map(|error| error.is_retryable)))
        .bind(each(ends, |_, end| end.retry_at))
        .fetch_all(store.pool())
        .await
        .during("end runs")?;
    let ids = rows.iter().map(|row| row.try_get("id").map(FunctionRunId));
    ids.collect::<Result<_, sqlx::Error>>().during("end runs")
}

/// Rows are locked in the order of their ids, so that two nodes never wait for one another. The first list hides in a
/// select, so that each group is not planned for anew.
const END: &str = "with given as (
       select * from unnest((select $1::uuid[]), $2::uuid[], $3::bool[], $5::int4[], $6::text[], $7::text[], $8::bool[],
         $9::timestamptz[])
       as g (id, attempt_id, succeeded, status, error, error_code, is_retryable, retry_at)),
     judged as (
       select g.*, case when g.succeeded then 'succeeded' when r.cancel_asked_at is not null then 'cancelled'
         when g.retry_at is not null then 'due' else 'failed' end as state
       from function_runs r join given g on g.id = r.id and g.attempt_id = r.attempt_id
       where r.state = 'running' order by r.id for update of r),
     ended as (
       update function_runs r set state = j.state,
         ended_at = case when j.state = 'due' then null else $4::timestamptz end,
         next_at = coalesce(j.retry_at, r.next_at), status = j.status, error = j.error, error_code = j.error_code,
         is_retryable = j.is_retryable, attempt_ended_at = $4, updated_at = $4,
         payload = case when j.succeeded then null else r.payload end
       from judged j where r.id = j.id
       returning r.id, r.function_id, r.started_at, r.due_at, r.status, r.error),
     newest as (
       select distinct on (function_id) function_id, started_at, status, error,
         count(*) over (partition by function_id) as runs
       from ended where due_at is not null order by function_id, started_at desc),
     held as (select f.id from functions f join newest n on n.function_id = f.id order by f.id
       for no key update of f),
     counted as (
       update functions f set run_count = f.run_count + n.runs, last_run_at = n.started_at, last_status = n.status,
         last_error = n.error
       from newest n join held h on h.id = n.function_id where f.id = n.function_id)
     select id from ended";
