//! Runs of functions that are asked for: written down first, then carried out by whichever node takes them.

use std::net::SocketAddr;

use actors::deploy::canonical_json;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use store::functions::{
    AskedRun, Enqueued, FunctionRun, LogEntry, LogQuery, Refused, Retry, RunQuery, run_cancel, run_enqueue,
    run_find, run_redrive, runs_page,
};
use types::{Code, FunctionRunId, Mutation, Problem, ProjectId};

use super::{is_word, no_function};
use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

const EVENT_TYPE_CHARS_MAX: usize = 128;
const KEY_CHARS_MAX: usize = 255;
const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
const PAGE_MAX: i64 = 100;
/// How far ahead a run may be asked for.
const AHEAD_MAX: TimeDelta = TimeDelta::days(366);
const ATTEMPTS_MAX: i64 = 20;
const DELAY_SECS_MAX: i64 = 86_400;
/// Of a run that says nothing of retries.
const STANDARD: Retry = Retry { attempts_max: 5, min_secs: 30, max_secs: 6 * 3_600 };
const NONE: Retry = Retry { attempts_max: 1, min_secs: 0, max_secs: 0 };
const STATUSES: [&str; 9] =
    ["scheduled", "queued", "running", "retrying", "blocked", "succeeded", "failed", "cancelled", "expired"];

/// A run as it is asked for.
#[derive(Debug, Clone, Default)]
pub struct RunAsked {
    pub event_type: String,
    pub idempotency_key: String,
    pub payload: Option<Map<String, Value>>,
    /// As it was sent; at most one of the two.
    pub run_at: Option<String>,
    pub delay_seconds: Option<i64>,
    pub expires_at: Option<String>,
    pub retry: Option<RetryAsked>,
}

/// How often and how fast a run is tried again; what is absent is the preset's.
#[derive(Debug, Clone, Default)]
pub struct RetryAsked {
    pub preset: Option<String>,
    pub max_attempts: Option<i64>,
    pub min_delay_seconds: Option<i64>,
    pub max_delay_seconds: Option<i64>,
}

/// Which runs of a function are listed.
#[derive(Debug, Clone, Default)]
pub struct RunsAsked {
    pub status: Option<String>,
    pub event_type: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
    pub limit: i64,
    pub cursor: Option<String>,
}

impl Plane {
    /// Writes a run down, and says whether it is a new one. The same key with the same content is the same run.
    ///
    /// # Errors
    /// As [`Plane::project_key`]; `FORBIDDEN`; `RATE_LIMITED`, `QUOTA_EXCEEDED`; `BAD_FUNCTION_RUN`;
    /// `FUNCTION_NOT_FOUND`; `function_run_idempotency_conflict`.
    ///
    /// # Source
    /// Wire contract 03 section 8.
    pub async fn run_ask(
        &self,
        caller: &Caller,
        name: &str,
        asked: RunAsked,
        peer: Option<SocketAddr>,
    ) -> Result<(FunctionRun, bool), Problem> {
        let project = self.service_project(caller).await?;
        self.data_call(project).await?;
        if !is_word(name) {
            return Err(no_function(name));
        }
        if caller.idempotency_key.as_ref().is_some_and(|key| *key != asked.idempotency_key) {
            return Err(bad("idempotency_key", "the Idempotency-Key header says another one"));
        }
        let source = if peer.is_some_and(|peer| self.is_function(peer)) { "function" } else { "api" };
        let run = self.run_of((project, name), asked, source)?;
        let now = self.now();
        match run_enqueue(&self.deps().store, &run, now).await.map_err(store_problem)? {
            Enqueued::New(run) => {
                actors::functions::wake(&self.inner.deps);
                Ok((run, true))
            }
            Enqueued::Same(run) => Ok((run, false)),
            Enqueued::Other => Err(Problem::new(
                Code::FunctionRunConflict,
                "this idempotency key belongs to a run with another content",
            )
            .mutation(Mutation::NotStarted)),
            Enqueued::Full => {
                Err(Problem::new(Code::QuotaExceeded, "too many of this project's runs are waiting")
                    .mutation(Mutation::NotStarted)
                    .detail("resource", "open_function_runs"))
            }
            Enqueued::NoFunction => Err(no_function(name)),
        }
    }

    /// # Errors
    /// As [`Plane::project_key`]; `FORBIDDEN`; `FUNCTION_RUN_NOT_FOUND`.
    pub async fn run_get(&self, caller: &Caller, id: FunctionRunId) -> Result<FunctionRun, Problem> {
        let project = self.service_project(caller).await?;
        let found = run_find(&self.deps().store, project, id, self.now()).await.map_err(store_problem)?;
        found.ok_or_else(|| no_run(id))
    }

    /// The newest runs of a function, and where the next page begins.
    ///
    /// # Errors
    /// As [`Plane::project_key`]; `FORBIDDEN`; `FUNCTION_NOT_FOUND`; `BAD_FUNCTION_RUN`.
    pub async fn run_list(
        &self,
        caller: &Caller,
        name: &str,
        asked: RunsAsked,
    ) -> Result<(Vec<FunctionRun>, Option<String>), Problem> {
        let project = self.service_project(caller).await?;
        self.function_live(project, name).await?;
        let limit = asked.limit.clamp(1, PAGE_MAX);
        let query = query(asked, limit + 1)?;
        let found = runs_page(&self.deps().store, (project, name), &query, self.now()).await;
        let mut runs = found.map_err(store_problem)?;
        let is_last = i64::try_from(runs.len()).unwrap_or(i64::MAX) <= limit;
        runs.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next = runs.last().filter(|_| !is_last).map(cursor);
        Ok((runs, next))
    }

    /// What a run's attempts wrote, the oldest entry first.
    ///
    /// # Errors
    /// As [`Plane::run_get`].
    pub async fn run_logs(
        &self,
        caller: &Caller,
        id: FunctionRunId,
        query: LogQuery,
    ) -> Result<Vec<LogEntry>, Problem> {
        let run = self.run_get(caller, id).await?;
        let query = LogQuery {
            request_id: Some(id.to_string()),
            tail: query.tail.clamp(1, super::TAIL_MAX),
            ..query
        };
        let found = store::functions::logs_read(&self.deps().store, (run.project, &run.name), &query).await;
        found.map_err(store_problem)?.ok_or_else(|| no_run(id))
    }

    /// Calls a run off. One that runs already ends with its attempt, and has succeeded if that did.
    ///
    /// # Errors
    /// As [`Plane::run_get`]; `FUNCTION_RUN_ENDED` when it has ended otherwise.
    pub async fn run_cancel(&self, caller: &Caller, id: FunctionRunId) -> Result<FunctionRun, Problem> {
        let project = self.service_project(caller).await?;
        let done = run_cancel(&self.deps().store, project, id, self.now()).await.map_err(store_problem)?;
        done.map_err(|refused| match refused {
            Refused::NotFound => no_run(id),
            Refused::Standing(run) => standing(Code::FunctionRunEnded, &run),
        })
    }

    /// Begins a run anew that ended without success.
    ///
    /// # Errors
    /// As [`Plane::run_get`]; `RATE_LIMITED`, `QUOTA_EXCEEDED`; `BAD_FUNCTION_RUN`;
    /// `FUNCTION_RUN_NOT_REDRIVABLE` when it has not ended, or has succeeded.
    pub async fn run_redrive(
        &self,
        caller: &Caller,
        id: FunctionRunId,
        asked: Option<RetryAsked>,
    ) -> Result<FunctionRun, Problem> {
        let project = self.service_project(caller).await?;
        self.data_call(project).await?;
        let policy = asked.as_ref().map(retry).transpose()?;
        let done = run_redrive(&self.deps().store, project, id, policy, self.now()).await;
        let run = done.map_err(store_problem)?.map_err(|refused| match refused {
            Refused::NotFound => no_run(id),
            Refused::Standing(run) => standing(Code::FunctionRunNotRedrivable, &run),
        })?;
        actors::functions::wake(&self.inner.deps);
        Ok(run)
    }

    fn run_of(
        &self,
        (project, name): (ProjectId, &str),
        asked: RunAsked,
        source: &'static str,
    ) -> Result<AskedRun, Problem> {
        let now = self.now();
        plain("event_type", &asked.event_type, EVENT_TYPE_CHARS_MAX)?;
        plain("idempotency_key", &asked.idempotency_key, KEY_CHARS_MAX)?;
        let intent_hash = intent(&asked);
        let run_at = match (&asked.run_at, asked.delay_seconds) {
            (Some(_), Some(_)) => return Err(bad("run_at", "either run_at or delay_seconds, not both")),
            (Some(text), None) => time("run_at", text)?,
            (None, Some(secs)) if (0..=AHEAD_MAX.num_seconds()).contains(&secs) => {
                now + TimeDelta::seconds(secs)
            }
            (None, Some(_)) => return Err(bad("delay_seconds", "0 to 366 days")),
            (None, None) => now,
        };
        if run_at > now + AHEAD_MAX {
            return Err(bad("run_at", "at most 366 days ahead"));
        }
        let expires_at = asked.expires_at.as_deref().map(|text| time("expires_at", text)).transpose()?;
        if expires_at.is_some_and(|at| at <= run_at.max(now)) {
            return Err(bad("expires_at", "a time after the one it runs at"));
        }
        let payload = asked.payload.map(|payload| Value::Object(payload).to_string());
        if payload.as_ref().is_some_and(|text| text.len() > PAYLOAD_BYTES_MAX) {
            return Err(bad("payload", "at most 64 KiB of JSON; put more into the project's storage"));
        }
        Ok(AskedRun {
            id: FunctionRunId::new(&*self.deps().entropy),
            project,
            name: name.to_owned(),
            source,
            event_type: asked.event_type,
            idempotency_key: asked.idempotency_key,
            intent_hash,
            payload,
            run_at,
            expires_at,
            retry: asked.retry.as_ref().map_or(Ok(STANDARD), retry)?,
        })
    }
}

/// What was asked for, however its fields were ordered.
fn intent(asked: &RunAsked) -> String {
    let retry = asked.retry.as_ref().map(|retry| {
        json!([retry.preset, retry.max_attempts, retry.min_delay_seconds, retry.max_delay_seconds])
    });
    let all = json!({
        "event_type": asked.event_type,
        "payload": asked.payload,
        "run_at": asked.run_at,
        "delay_seconds": asked.delay_seconds,
        "expires_at": asked.expires_at,
        "retry": retry,
    });
    hex::encode(Sha256::digest(canonical_json(&all)))
}

fn retry(asked: &RetryAsked) -> Result<Retry, Problem> {
    let preset = match asked.preset.as_deref() {
        None | Some("standard") => STANDARD,
        Some("none") => NONE,
        Some(_) => return Err(bad("retry.preset", "standard or none")),
    };
    let number = |field: &str, given: Option<i64>, preset: i32, (least, most): (i64, i64)| match given {
        None => Ok(preset),
        Some(given) if (least..=most).contains(&given) => Ok(i32::try_from(given).unwrap_or(preset)),
        Some(_) => Err(bad(&format!("retry.{field}"), &format!("{least} to {most}"))),
    };
    let delays = (0, DELAY_SECS_MAX);
    let attempts_max = number("max_attempts", asked.max_attempts, preset.attempts_max, (1, ATTEMPTS_MAX))?;
    let min_secs = number("min_delay_seconds", asked.min_delay_seconds, preset.min_secs, delays)?;
    let longest = preset.max_secs.max(min_secs);
    let max_secs = number("max_delay_seconds", asked.max_delay_seconds, longest, delays)?;
    if max_secs < min_secs {
        return Err(bad("retry.max_delay_seconds", "no less than min_delay_seconds"));
    }
    Ok(Retry { attempts_max, min_secs, max_secs })
}

fn query(asked: RunsAsked, limit: i64) -> Result<RunQuery, Problem> {
    if asked.status.as_deref().is_some_and(|status| !STATUSES.contains(&status)) {
        return Err(bad("status", &format!("one of {}", STATUSES.join(", "))));
    }
    if let Some(event_type) = &asked.event_type {
        plain("event_type", event_type, EVENT_TYPE_CHARS_MAX)?;
    }
    Ok(RunQuery {
        since: asked.since.as_deref().map(|text| moment("since", text)).transpose()?,
        until: asked.until.as_deref().map(|text| moment("until", text)).transpose()?,
        after: asked.cursor.as_deref().map(read_cursor).transpose()?,
        status: asked.status,
        event_type: asked.event_type,
        limit,
    })
}

/// The time and the id of a page's last run.
fn cursor(run: &FunctionRun) -> String {
    format!("{}.{}", run.created_at.timestamp_micros(), run.id)
}

fn read_cursor(text: &str) -> Result<(DateTime<Utc>, FunctionRunId), Problem> {
    let parts = text.split_once('.').and_then(|(micros, id)| {
        Some((DateTime::from_timestamp_micros(micros.parse().ok()?).filter(is_storable)?, id.parse().ok()?))
    });
    parts.ok_or_else(|| bad("cursor", "the next_cursor of the page before"))
}

fn time(field: &str, text: &str) -> Result<DateTime<Utc>, Problem> {
    let at = types::parse_rfc3339(text).filter(is_storable);
    at.ok_or_else(|| bad(field, "an ISO-8601 time such as 2030-01-31T12:00:00Z"))
}

/// A time, or milliseconds since 1970.
fn moment(field: &str, text: &str) -> Result<DateTime<Utc>, Problem> {
    match text.parse().ok().and_then(DateTime::from_timestamp_millis).filter(is_storable) {
        Some(at) => Ok(at),
        None => time(field, text),
    }
}

/// Postgres knows fewer years than an i64 has.
fn is_storable(at: &DateTime<Utc>) -> bool {
    (0..=253_402_300_799).contains(&at.timestamp())
}

fn plain(field: &str, text: &str, chars_max: usize) -> Result<(), Problem> {
    let is_plain =
        !text.is_empty() && text.chars().count() <= chars_max && !text.chars().any(char::is_control);
    let why = || format!("1 to {chars_max} characters without control characters are needed");
    if is_plain { Ok(()) } else { Err(bad(field, &why())) }
}

fn bad(field: &str, why: &str) -> Problem {
    Problem::new(Code::BadFunctionRun, format!("{field}: {why}"))
        .mutation(Mutation::NotStarted)
        .detail("field", field)
}

fn no_run(id: FunctionRunId) -> Problem {
    Problem::new(Code::FunctionRunNotFound, format!("no run {id}"))
}

fn standing(code: Code, run: &FunctionRun) -> Problem {
    Problem::new(code, format!("the run is {}", run.status))
        .mutation(Mutation::NotStarted)
        .detail("status", run.status.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_intent_is_known_in_any_order_and_another_is_another() {
        let payload = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let asked = |text: &str| RunAsked {
            event_type: "go".to_owned(),
            payload: Some(payload(text)),
            delay_seconds: Some(5),
            ..RunAsked::default()
        };
        let one = intent(&asked(r#"{"a":1,"b":[1,2]}"#));
        assert_eq!(one, intent(&asked(r#"{"b":[1,2],"a":1}"#)));
        assert_ne!(one, intent(&asked(r#"{"a":1,"b":[2,1]}"#)));
        assert_ne!(one, intent(&RunAsked { delay_seconds: None, ..asked(r#"{"a":1,"b":[1,2]}"#) }));
        let retry = Some(RetryAsked::default());
        assert_ne!(one, intent(&RunAsked { retry, ..asked(r#"{"a":1,"b":[1,2]}"#) }));
    }

    #[test]
    fn retries_are_bounded() {
        let asked = |max_attempts, min_delay_seconds, max_delay_seconds| RetryAsked {
            preset: None,
            max_attempts,
            min_delay_seconds,
            max_delay_seconds,
        };
        assert_eq!(retry(&asked(None, None, None)).unwrap(), STANDARD);
        let own = retry(&asked(Some(2), Some(30_000), None)).unwrap();
        assert_eq!(own, Retry { attempts_max: 2, min_secs: 30_000, max_secs: 30_000 });
        for (attempts, min, max) in [
            (Some(0), None, None),
            (Some(21), None, None),
            (Some(i64::MAX), None, None),
            (None, Some(-1), None),
            (None, Some(86_401), None),
            (None, Some(10), Some(9)),
        ] {
            assert!(retry(&asked(attempts, min, max)).is_err(), "{attempts:?} {min:?} {max:?}");
        }
        let preset = |preset: &str| RetryAsked { preset: Some(preset.to_owned()), ..RetryAsked::default() };
        assert_eq!(retry(&preset("none")).unwrap().attempts_max, 1);
        assert!(retry(&preset("for ever")).is_err());
    }

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let id = FunctionRunId(uuid::Uuid::from_u128(7));
        let at = DateTime::from_timestamp_micros(1_795_000_000_123_456).unwrap();
        assert_eq!(read_cursor(&format!("{}.{id}", at.timestamp_micros())).unwrap(), (at, id));
        for text in ["", ".", "1", "x.y", "9223372036854775807.fnrun_00000000000000000000000000000007"] {
            assert!(read_cursor(text).is_err(), "{text}");
        }
    }
}
