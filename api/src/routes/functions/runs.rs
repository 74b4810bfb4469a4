//! Runs of functions that are asked for.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Path, Query, State};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::StatusCode;
use plane::Plane;
use plane::functions::{FunctionRun, RetryAsked, RunAsked, RunsAsked};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use types::{Code, FunctionRunId, rfc3339};

use crate::app::AppState;
use crate::extract::{Body, Who, id};
use crate::problem::ApiProblem;

const PAGE_DEFAULT: i64 = 20;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/functions/v1/{name}/runs", post(create).get(list))
        .route("/functions/v1/runs/{run_id}", get(one))
        .route("/functions/v1/runs/{run_id}/logs", get(logs))
        .route("/functions/v1/runs/{run_id}/cancel", post(cancel))
        .route("/functions/v1/runs/{run_id}/redrive", post(redrive))
}

#[derive(Deserialize)]
struct CreateRequest {
    event_type: String,
    idempotency_key: String,
    payload: Option<Map<String, Value>>,
    run_at: Option<String>,
    delay_seconds: Option<i64>,
    expires_at: Option<String>,
    retry: Option<RetryRequest>,
}

#[derive(Deserialize)]
struct RetryRequest {
    preset: Option<String>,
    max_attempts: Option<i64>,
    min_delay_seconds: Option<i64>,
    max_delay_seconds: Option<i64>,
}

#[derive(Deserialize)]
struct RedriveRequest {
    retry: Option<RetryRequest>,
}

#[derive(Deserialize)]
struct ListQuery {
    status: Option<String>,
    event_type: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<i64>,
    cursor: Option<String>,
}

impl From<RetryRequest> for RetryAsked {
    fn from(retry: RetryRequest) -> Self {
        let RetryRequest { preset, max_attempts, min_delay_seconds, max_delay_seconds } = retry;
        Self { preset, max_attempts, min_delay_seconds, max_delay_seconds }
    }
}

/// `POST /functions/v1/{name}/runs`
async fn create(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(name): Path<String>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiProblem> {
    let request: CreateRequest = body.json()?;
    let asked = RunAsked {
        event_type: request.event_type,
        idempotency_key: request.idempotency_key,
        payload: request.payload,
        run_at: request.run_at,
        delay_seconds: request.delay_seconds,
        expires_at: request.expires_at,
        retry: request.retry.map(RetryAsked::from),
    };
    let (run, is_new) = plane.run_ask(&caller, &name, asked, peer.map(|info| info.0.0)).await?;
    let mut view = view(&run);
    view["deduplicated"] = (!is_new).into();
    Ok((if is_new { StatusCode::ACCEPTED } else { StatusCode::OK }, Json(view)))
}

/// `GET /functions/v1/{name}/runs`
async fn list(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(name): Path<String>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Value>, ApiProblem> {
    let asked = RunsAsked {
        status: query.status,
        event_type: query.event_type,
        since: query.since,
        until: query.until,
        limit: query.limit.unwrap_or(PAGE_DEFAULT),
        cursor: query.cursor,
    };
    let (runs, next) = plane.run_list(&caller, &name, asked).await?;
    let runs: Vec<Value> = runs.iter().map(view).collect();
    Ok(Json(json!({ "runs": runs, "next_cursor": next })))
}

/// `GET /functions/v1/runs/{run_id}`
async fn one(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(run): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let run: FunctionRunId = id(&run, Code::FunctionRunNotFound)?;
    Ok(Json(view(&plane.run_get(&caller, run).await?)))
}

/// `GET /functions/v1/runs/{run_id}/logs`
async fn logs(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(run): Path<String>,
    Query(query): Query<super::LogsQuery>,
) -> Result<Json<Value>, ApiProblem> {
    let run: FunctionRunId = id(&run, Code::FunctionRunNotFound)?;
    let (name, entries) = plane.run_logs(&caller, run, query.into()).await?;
    Ok(Json(json!({ "logs": entries.iter().map(|one| super::entry(&name, one)).collect::<Vec<_>>() })))
}

/// `POST /functions/v1/runs/{run_id}/cancel`
async fn cancel(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(run): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let run: FunctionRunId = id(&run, Code::FunctionRunNotFound)?;
    Ok(Json(view(&plane.run_cancel(&caller, run).await?)))
}

/// `POST /functions/v1/runs/{run_id}/redrive`
async fn redrive(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(run): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let run: FunctionRunId = id(&run, Code::FunctionRunNotFound)?;
    let RedriveRequest { retry } = body.json()?;
    Ok(Json(view(&plane.run_redrive(&caller, run, retry.map(RetryAsked::from)).await?)))
}

/// # Source
/// Wire contract 03 section 8.
pub(super) fn view(run: &FunctionRun) -> Value {
    let is_terminal = run.ended_at.is_some();
    let can_redrive = is_terminal && run.status != "succeeded";
    let redrive = json!({
        "action": "redrive",
        "type": "redrive",
        "label": "Begin the run anew.",
        "method": "POST",
        "path": format!("/functions/v1/runs/{}/redrive", run.id),
    });
    let mut source = json!({ "type": run.source });
    if let Some(trigger) = &run.trigger {
        source["trigger_id"] = trigger.as_str().into();
    }
    json!({
        "run_id": run.id,
        "function_name": run.name,
        // A schedule's run, and one by hand, is about nothing but its time.
        "event_type": run.event_type.as_deref().unwrap_or("cron"),
        "status": run.status,
        "terminal": is_terminal,
        "generation": run.generation,
        "run_at": rfc3339(run.run_at),
        "expires_at": run.expires_at.map(rfc3339),
        "source": source,
        "attempts": {
            "current": run.attempts,
            "max": run.attempts_max,
            "total": run.attempts_total,
            "next_attempt_at": run.next_at.map(rfc3339),
        },
        "last_attempt": last_attempt(run),
        "last_error": run.error.as_ref().map(|error| json!({
            "code": error.code,
            "message": error.message,
            "retryable": error.is_retryable,
        })),
        "cancel_requested": run.is_cancelling,
        "created_at": rfc3339(run.created_at),
        "updated_at": rfc3339(run.updated_at),
        "completed_at": run.ended_at.map(rfc3339),
        "next_actions": if can_redrive { json!([redrive]) } else { json!([]) },
    })
}

fn last_attempt(run: &FunctionRun) -> Option<Value> {
    let (attempt, started_at) = (run.last_attempt?, run.started_at?);
    let duration = run.attempt_ended_at.map(|at| (at - started_at).num_milliseconds());
    Some(json!({
        "attempt_id": attempt,
        // Before a run that was begun anew has had an attempt, the last one is of the generation before.
        "number": if run.attempts > 0 { run.attempts } else { run.attempts_total },
        "started_at": rfc3339(started_at),
        "completed_at": run.attempt_ended_at.map(rfc3339),
        "duration_ms": duration,
        "response_status": run.response_status,
        "error": run.error.as_ref().map(|error| &error.message),
    }))
}
