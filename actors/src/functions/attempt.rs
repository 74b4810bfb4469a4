//! One attempt of a run: what the function is called with, and what its answer means.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use functions::Call;
use serde_json::{Value, json};
use store::functions::{Asked, ClaimedRun, RunEnd, RunError};
use types::rfc3339;

use super::FunctionHost;
use crate::Deps;

const ERROR_BYTES_MAX: usize = 500;

/// What a run was answered.
#[derive(Debug, Clone)]
pub struct RunAnswer {
    pub request_id: String,
    pub status: u16,
    pub body: Bytes,
}

pub(super) async fn attempt(
    deps: &Arc<Deps>,
    host: &FunctionHost,
    run: &ClaimedRun,
) -> (RunEnd, Option<RunAnswer>) {
    let failed = |code: &str, message: String, is_retryable: bool| {
        let error = RunError { code: code.to_owned(), message, is_retryable };
        let retry_at = retry_at(run, is_retryable, deps.clock.now());
        (RunEnd { succeeded: false, status: None, error: Some(error), retry_at }, None)
    };
    let function = match host.function(deps, run.live.release, &run.name).await {
        Ok(Some(function)) => function,
        Ok(None) => return failed("FUNCTION_NOT_FOUND", "the function is gone".to_owned(), false),
        Err(e) => return failed("UNAVAILABLE", format!("the function was not read: {e}"), true),
    };
    let at = (&*function, run.live.version.clone());
    match host.call_in(deps, run.project, at, call(host, run)).await {
        Ok(reply) => {
            let succeeded = (200..300).contains(&reply.status);
            let is_retryable = reply.status == 429 || reply.status >= 500;
            let error = (!succeeded).then(|| RunError {
                code: format!("HTTP_{}", reply.status),
                message: short(&reply.body, reply.status),
                is_retryable,
            });
            let again = !succeeded && is_retryable;
            let retry_at = retry_at(run, again, deps.clock.now());
            let end = RunEnd { succeeded, status: Some(i32::from(reply.status)), error, retry_at };
            let request_id = run.id.to_string();
            (end, Some(RunAnswer { request_id, status: reply.status, body: reply.body }))
        }
        Err(error) => failed(code(error), error.to_string(), true),
    }
}

/// What a function is called with.
///
/// # Source
/// Wire contract 03 sections 2.8 and 8.
fn call(host: &FunctionHost, run: &ClaimedRun) -> Call {
    let id = run.id.to_string();
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        ("x-run402-run-id", id.clone()),
        ("x-run402-attempt-id", run.attempt_id.to_string()),
        ("x-run402-request-id", id.clone()),
        ("x-run402-project-id", run.project.to_string()),
        ("x-run402-function-name", run.name.clone()),
    ];
    let body = match &run.asked {
        None => {
            headers.push(("x-run402-trigger", "cron".to_owned()));
            json!({ "trigger": "cron", "scheduled_at": rfc3339(run.run_at) })
        }
        Some(asked) => {
            headers.push(("x-run402-trigger", "function_run".to_owned()));
            // A header takes fewer characters than a key has.
            if asked.idempotency_key.is_ascii() {
                headers.push(("x-run402-idempotency-key", asked.idempotency_key.clone()));
            }
            envelope(run, asked)
        }
    };
    Call {
        request_id: id,
        attempt_id: Some(run.attempt_id.to_string()),
        method: "POST".to_owned(),
        url: host.url(&run.name),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        body: Bytes::from(body.to_string()),
        routed: None,
        depth: 0,
    }
}

fn envelope(run: &ClaimedRun, asked: &Asked) -> Value {
    let payload = asked.payload.as_deref().and_then(|text| serde_json::from_str(text).ok());
    json!({
        "trigger": "function_run",
        "run_id": run.id,
        "generation": run.generation,
        "event_type": asked.event_type,
        "idempotency_key": asked.idempotency_key,
        "run_at": rfc3339(run.run_at),
        "attempt": { "attempt_id": run.attempt_id, "number": run.attempt, "max": run.attempts_max },
        "source": { "type": run.source },
        "payload": payload.unwrap_or_else(|| json!({})),
    })
}

fn code(error: functions::RunError) -> &'static str {
    match error {
        functions::RunError::Timeout => "FUNCTION_TIMEOUT",
        functions::RunError::Unavailable | functions::RunError::Busy => "FUNCTION_UNAVAILABLE",
        functions::RunError::TooLarge => "ROUTED_RESPONSE_TOO_LARGE",
        _ => "FUNCTION_ERROR",
    }
}

/// When a run that failed is tried again: its shortest delay, doubled with each attempt up to its longest. None when
/// it was tried often enough, would fail again, or is a schedule's, whose next time is its own.
fn retry_at(run: &ClaimedRun, is_retryable: bool, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let asked = run.asked.as_ref().filter(|_| is_retryable && run.attempt < run.attempts_max)?;
    let doubled = i64::from(asked.retry_min_secs) << run.attempt.saturating_sub(1).clamp(0, 30);
    Some(now + TimeDelta::seconds(doubled.min(i64::from(asked.retry_max_secs))))
}

/// The beginning of an answer that is no success.
fn short(body: &[u8], status: u16) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(ERROR_BYTES_MAX)]).into_owned();
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    if text.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {text}") }
}

#[cfg(test)]
mod tests {
    use store::functions::LiveAt;
    use types::{AccountId, ProjectId};

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    // Goal: retries are spaced out, end at their number, and are for what was asked for and may help.
    #[test]
    fn a_run_is_tried_again_later_each_time_and_not_for_ever() {
        let now = at("2026-11-26T11:00:00Z");
        let asked = Asked {
            event_type: "go".to_owned(),
            idempotency_key: "k".to_owned(),
            payload: None,
            retry_min_secs: 30,
            retry_max_secs: 100,
        };
        let mut run = ClaimedRun {
            id: types::FunctionRunId(uuid::Uuid::nil()),
            attempt_id: types::FunctionAttemptId(uuid::Uuid::nil()),
            project: ProjectId(uuid::Uuid::nil()),
            account: AccountId(uuid::Uuid::nil()),
            name: "work".to_owned(),
            live: LiveAt { release: types::ReleaseId(uuid::Uuid::nil()), version: String::new() },
            run_at: now,
            source: "api".to_owned(),
            attempt: 1,
            attempts_max: 5,
            generation: 1,
            asked: Some(asked),
        };
        let waits: Vec<Option<i64>> = (1..=5)
            .map(|attempt| {
                run.attempt = attempt;
                retry_at(&run, true, now).map(|at| (at - now).num_seconds())
            })
            .collect();
        assert_eq!(waits, [Some(30), Some(60), Some(100), Some(100), None]);
        run.attempt = 1;
        assert_eq!(retry_at(&run, false, now), None);
        let most = i32::MAX;
        run.asked = run.asked.map(|asked| Asked { retry_min_secs: most, retry_max_secs: most, ..asked });
        (run.attempt, run.attempts_max) = (40, 50);
        assert_eq!(retry_at(&run, true, now), Some(now + TimeDelta::seconds(i64::from(most))));
        run.asked = None;
        assert_eq!(retry_at(&run, true, now), None);
    }
}
