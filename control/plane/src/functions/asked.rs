//! What of a run may be asked for.

use actors::deploy::canonical_json;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::functions::{AskedRun, FunctionRun, LogQuery, Retry, RunQuery};
use types::{Code, FunctionRunId, Mutation, Problem, ProjectId};

use super::runs::{RetryAsked, RunAsked, RunsAsked};

pub(crate) const EVENT_TYPE_CHARS_MAX: usize = 128;
pub(super) const KEY_CHARS_MAX: usize = 255;
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 * 1024;
/// How far ahead a run may be asked for.
const AHEAD_MAX: TimeDelta = TimeDelta::days(366);
const ATTEMPTS_MAX: i64 = 20;
const DELAY_SECS_MAX: i64 = 86_400;
/// Of a run that says nothing of retries.
const STANDARD: Retry = Retry { attempts_max: 5, min_secs: 30, max_secs: 6 * 3_600 };
/// Entries of a log that are shown at most.
///
/// # Source
/// Wire contract 03 section 2.5.
const TAIL_MAX: i64 = 1_000;
/// Of what follows the prefix of an id.
///
/// # Source
/// Wire contract 03 section 2.5.
const ID_CHARS: std::ops::RangeInclusive<usize> = 4..=128;
/// The last second of the year 9999.
const LAST_SECS: i64 = 253_402_300_799;
const NONE: Retry = Retry { attempts_max: 1, min_secs: 0, max_secs: 0 };
const STATUSES: [&str; 9] =
    ["scheduled", "queued", "running", "retrying", "blocked", "succeeded", "failed", "cancelled", "expired"];

/// Which entries of a log are read.
#[derive(Debug, Clone, Default)]
pub struct LogsAsked {
    /// At most so many, the newest ones.
    pub tail: i64,
    /// From this time on, in milliseconds since 1970.
    pub since: Option<i64>,
    /// Of a call, of a run with all its attempts, or of one attempt.
    pub request_id: Option<String>,
}

impl LogsAsked {
    /// # Errors
    /// `BAD_REQUEST` when `request_id` is no id.
    pub(super) fn query(self) -> Result<LogQuery, Problem> {
        let since = self.since.map(|millis| millis.clamp(0, LAST_SECS * 1_000));
        let mut query = LogQuery {
            tail: self.tail.clamp(1, TAIL_MAX),
            since: since.and_then(DateTime::from_timestamp_millis),
            ..LogQuery::default()
        };
        match self.request_id {
            None => {}
            Some(id) if !is_request_id(&id) => {
                let text =
                    "request_id: req_, fnrun_ or fnatt_ and 4 to 128 of A-Z, a-z, 0-9, _ and - are needed";
                let problem = Problem::new(Code::BadRequest, text).mutation(Mutation::NotStarted);
                return Err(problem.detail("field", "request_id"));
            }
            Some(id) => match id.parse() {
                Ok(attempt) => query.attempt_id = Some(attempt),
                Err(_) => query.request_id = Some(id),
            },
        }
        Ok(query)
    }
}

/// # Source
/// Wire contract 03 section 2.5.
fn is_request_id(text: &str) -> bool {
    let rest = ["req_", "fnrun_", "fnatt_"].iter().find_map(|prefix| text.strip_prefix(prefix));
    let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'-');
    rest.is_some_and(|rest| ID_CHARS.contains(&rest.len()) && rest.bytes().all(fits))
}

/// The run as it is written down.
///
/// # Errors
/// `BAD_FUNCTION_RUN` with the field.
pub(super) fn run_of(
    id: FunctionRunId,
    (project, name): (ProjectId, &str),
    asked: RunAsked,
    source: &'static str,
    now: DateTime<Utc>,
) -> Result<AskedRun, Problem> {
    plain("event_type", &asked.event_type, EVENT_TYPE_CHARS_MAX)?;
    plain("idempotency_key", &asked.idempotency_key, KEY_CHARS_MAX)?;
    let intent_hash = intent(&asked);
    let run_at = match (&asked.run_at, asked.delay_seconds) {
        (Some(_), Some(_)) => return Err(bad("run_at", "either run_at or delay_seconds, not both")),
        (Some(text), None) => time("run_at", text)?,
        (None, Some(secs)) if (0..=AHEAD_MAX.num_seconds()).contains(&secs) => now + TimeDelta::seconds(secs),
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
        id,
        project,
        name: name.to_owned(),
        source,
        trigger: None,
        event_type: asked.event_type,
        idempotency_key: asked.idempotency_key,
        intent_hash,
        payload,
        run_at,
        expires_at,
        retry: asked.retry.as_ref().map_or(Ok(STANDARD), retry)?,
    })
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

pub(crate) fn retry(asked: &RetryAsked) -> Result<Retry, Problem> {
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

pub(super) fn query(asked: RunsAsked, limit: i64) -> Result<RunQuery, Problem> {
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
pub(super) fn cursor(run: &FunctionRun) -> String {
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
    (0..=LAST_SECS).contains(&at.timestamp())
}

pub(super) fn plain(field: &str, text: &str, chars_max: usize) -> Result<(), Problem> {
    let is_plain =
        !text.is_empty() && text.chars().count() <= chars_max && !text.chars().any(char::is_control);
    let why = || format!("1 to {chars_max} characters without control characters are needed");
    if is_plain { Ok(()) } else { Err(bad(field, &why())) }
}

pub(super) fn bad(field: &str, why: &str) -> Problem {
    Problem::new(Code::BadFunctionRun, format!("{field}: {why}"))
        .mutation(Mutation::NotStarted)
        .detail("field", field)
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

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
    fn entries_of_a_log_are_asked_for_by_call_run_or_attempt() {
        let asked = |id: &str| LogsAsked { request_id: Some(id.to_owned()), ..LogsAsked::default() }.query();
        let attempt = types::FunctionAttemptId(uuid::Uuid::from_u128(7));
        assert_eq!(asked(&attempt.to_string()).unwrap().attempt_id, Some(attempt));
        for id in ["req_0123", "fnrun_a-_Z", "fnatt_abcd", &format!("req_{}", "x".repeat(128))] {
            let query = asked(id).unwrap();
            assert_eq!((query.request_id.as_deref(), query.attempt_id), (Some(id), None), "{id}");
        }
        let long = format!("req_{}", "x".repeat(129));
        for id in [
            "",
            "req_",
            "req_012",
            &long,
            "fnatt_a b c",
            "fnrun_\u{e9}\u{e9}",
            "REQ_0123",
            "upl_0123",
            "0123",
        ] {
            assert_eq!(asked(id).unwrap_err().code, Code::BadRequest, "{id}");
        }
        let since = |since| LogsAsked { since: Some(since), ..LogsAsked::default() }.query().unwrap().since;
        assert_eq!(since(i64::MIN), DateTime::from_timestamp(0, 0));
        assert_eq!(since(i64::MAX), DateTime::from_timestamp(LAST_SECS, 0));
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
