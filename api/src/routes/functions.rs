//! Functions: managed with the service key, called by everybody who has a key of the project.

mod rebuild;
mod runs;
pub(super) mod triggers;

use std::net::SocketAddr;

use axum::body::Body as HttpBody;
use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, patch, post};
use axum::{Extension, Json, Router};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use plane::Plane;
use plane::functions::{
    FunctionAnswer, FunctionChange, FunctionDeploy, FunctionView, Incoming, LogEntry, LogsAsked, Scheduled,
};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use types::{Code, ProjectId, rfc3339};

use crate::app::AppState;
use crate::extract::{Body, Target, Who, id};
use crate::problem::{ApiProblem, Verbatim};

const TAIL_DEFAULT: i64 = 50;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/projects/v1/admin/{id}/functions", post(deploy).get(list))
        .route("/projects/v1/admin/{id}/functions/{name}", patch(update).delete(delete))
        .route("/projects/v1/admin/{id}/functions/{name}/logs", get(logs))
        .route("/projects/v1/admin/{id}/functions/{name}/runs", get(history))
        .route("/projects/v1/admin/{id}/functions/{name}/trigger", post(trigger))
        .route("/projects/v1/{id}/functions/{name}/rebuild", post(rebuild::one))
        .route("/projects/v1/{id}/functions/rebuild", post(rebuild::all))
        .merge(runs::routes())
        .merge(triggers::routes())
        .route("/functions/v1/{name}", called())
        .route("/functions/v1/{name}/{*rest}", called())
}

fn called() -> MethodRouter<AppState> {
    get(call).post(call).put(call).patch(call).delete(call).options(call)
}

#[derive(Default, Deserialize)]
struct Config {
    #[serde(default, alias = "timeoutSeconds", alias = "timeout_seconds")]
    timeout: Option<i32>,
    #[serde(default, alias = "memoryMb", alias = "memory_mb")]
    memory: Option<i32>,
}

#[derive(Deserialize)]
struct DeployRequest {
    name: String,
    code: String,
    #[serde(default)]
    config: Option<Config>,
    #[serde(default)]
    deps: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    schedule: Option<Option<String>>,
    schedule_policy: Option<PolicyRequest>,
}

/// What happens to times that were missed, and to those at which the run before is not over.
#[derive(Default, Deserialize)]
struct PolicyRequest {
    missed: Option<Missed>,
    overlap: Option<Overlap>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Missed {
    Skip,
    RunOnce,
    RunAll,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Overlap {
    Skip,
    Queue,
    Allow,
}

#[derive(Deserialize)]
struct UpdateRequest {
    #[serde(default)]
    config: Option<Config>,
    #[serde(default, deserialize_with = "present")]
    schedule: Option<Option<String>>,
    schedule_policy: Option<PolicyRequest>,
}

#[derive(Deserialize)]
struct RunsQuery {
    limit: Option<i64>,
}

#[derive(Deserialize)]
struct LogsQuery {
    tail: Option<i64>,
    since: Option<i64>,
    request_id: Option<String>,
}

impl From<LogsQuery> for LogsAsked {
    fn from(query: LogsQuery) -> Self {
        let LogsQuery { tail, since, request_id } = query;
        Self { tail: tail.unwrap_or(TAIL_DEFAULT), since, request_id }
    }
}

/// A field that is there, even if it is null.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(d).map(Some)
}

fn change(
    config: Option<Config>,
    schedule: Option<Option<String>>,
    policy: Option<PolicyRequest>,
) -> FunctionChange {
    let (config, policy) = (config.unwrap_or_default(), policy.unwrap_or_default());
    let missed = policy.missed.map(|missed| match missed {
        Missed::Skip => "skip",
        Missed::RunOnce => "run_once",
        Missed::RunAll => "run_all",
    });
    let overlap = policy.overlap.map(|overlap| match overlap {
        Overlap::Skip => "skip",
        Overlap::Queue => "queue",
        Overlap::Allow => "allow",
    });
    let policy = plane::functions::Policy { missed, overlap };
    FunctionChange { timeout_seconds: config.timeout, memory_mb: config.memory, schedule, policy }
}

/// `POST /projects/v1/admin/{id}/functions`
async fn deploy(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiProblem> {
    let project: ProjectId = id(&project, Code::ProjectNotFound)?;
    let DeployRequest { name, code, config, deps, schedule, schedule_policy } = body.json()?;
    let change = change(config, schedule, schedule_policy);
    let asked = FunctionDeploy { name, code, change, deps: deps.unwrap_or_default() };
    let made = plane.function_deploy(&caller, project, asked).await?;
    let mut view = view(&made);
    view["status"] = "deployed".into();
    if !made.warnings.is_empty() {
        view["warnings"] = json!(made.warnings);
    }
    Ok((StatusCode::CREATED, Json(view)))
}

/// `GET /projects/v1/admin/{id}/functions`
async fn list(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let project: ProjectId = id(&project, Code::ProjectNotFound)?;
    let all = plane.function_list(&caller, project).await?;
    let view = |function: &FunctionView| {
        let mut one = view(function);
        one["triggers"] = function.triggers.iter().map(triggers::live).collect();
        one
    };
    Ok(Json(json!({ "functions": all.iter().map(view).collect::<Vec<_>>() })))
}

/// `PATCH /projects/v1/admin/{id}/functions/{name}`
async fn update(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path((project, name)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let project: ProjectId = id(&project, Code::ProjectNotFound)?;
    let UpdateRequest { config, schedule, schedule_policy } = body.json()?;
    let change = change(config, schedule, schedule_policy);
    let made = plane.function_update(&caller, (project, &name), change).await?;
    Ok(Json(view(&made)))
}

/// `DELETE /projects/v1/admin/{id}/functions/{name}`
async fn delete(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path((project, name)): Path<(String, String)>,
) -> Result<Json<Value>, ApiProblem> {
    let project: ProjectId = id(&project, Code::ProjectNotFound)?;
    plane.function_delete(&caller, project, &name).await?;
    Ok(Json(json!({ "status": "deleted", "name": name })))
}

/// `GET /projects/v1/admin/{id}/functions/{name}/logs`
async fn logs(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path((project, name)): Path<(String, String)>,
    Query(query): Query<LogsQuery>,
) -> Result<Json<Value>, ApiProblem> {
    let project: ProjectId = id(&project, Code::ProjectNotFound)?;
    let found = plane.function_logs(&caller, (project, &name), query.into()).await?;
    Ok(Json(json!({ "logs": found.iter().map(|one| entry(&name, one)).collect::<Vec<_>>() })))
}

/// # Source
/// Wire contract 03 section 2.5.
fn entry(name: &str, entry: &LogEntry) -> Value {
    let at = rfc3339(entry.at);
    json!({
        "timestamp": at,
        "message": entry.message,
        "request_id": entry.request_id,
        "attempt_id": entry.attempt_id,
        "stream": entry.stream,
        "log_stream_name": format!("{name}/{}", entry.stream),
        // Times are an entry's own, so they name it.
        "event_id": format!("{name}/{}", entry.at.timestamp_millis()),
        "ingestion_time": at,
    })
}

/// `GET /projects/v1/admin/{id}/functions/{name}/runs`
async fn history(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path((project, name)): Path<(String, String)>,
    Query(query): Query<RunsQuery>,
) -> Result<Json<Value>, ApiProblem> {
    let project: ProjectId = id(&project, Code::ProjectNotFound)?;
    let limit = query.limit.unwrap_or(TAIL_DEFAULT);
    let found = plane.function_runs(&caller, (project, &name), limit).await?;
    let runs: Vec<Value> = found
        .iter()
        .map(|run| {
            let lag = run.started_at.map(|at| (at - run.due_at).num_milliseconds());
            json!({
                "run_id": run.id,
                "due_at": rfc3339(run.due_at),
                "source": run.source,
                "status": run.state,
                "attempt": run.attempt,
                "started_at": run.started_at.map(rfc3339),
                "ended_at": run.ended_at.map(rfc3339),
                "lag_ms": lag,
                "response_status": run.status,
                "error": run.error,
            })
        })
        .collect();
    Ok(Json(json!({ "runs": runs })))
}

/// `POST /projects/v1/admin/{id}/functions/{name}/trigger`
async fn trigger(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path((project, name)): Path<(String, String)>,
) -> Result<Json<Value>, ApiProblem> {
    let project: ProjectId = id(&project, Code::ProjectNotFound)?;
    let (ran, function) = plane.function_trigger(&caller, (project, &name)).await?;
    let text = String::from_utf8_lossy(&ran.body).into_owned();
    let response = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Json(json!({
        "request_id": ran.request_id,
        "status": ran.status,
        "response": response,
        "schedule_meta": function.scheduled.as_ref().map(meta),
    })))
}

/// # Source
/// Wire contract 03 section 2.2.
fn meta(scheduled: &Scheduled) -> Value {
    json!({
        "last_run_at": scheduled.last_run_at.map(rfc3339),
        "last_status": scheduled.last_status,
        "next_run_at": scheduled.next_run_at.map(rfc3339),
        "run_count": scheduled.run_count,
        "last_error": scheduled.last_error,
        "missed": scheduled.missed,
        "overlap": scheduled.overlap,
    })
}

fn view(function: &FunctionView) -> Value {
    json!({
        "name": function.name,
        "url": function.url,
        "runtime": function.runtime,
        "timeout": function.timeout_seconds,
        "memory": function.memory_mb,
        "schedule": function.schedule,
        "schedule_meta": function.scheduled.as_ref().map(meta),
        "created_at": rfc3339(function.created_at),
        "updated_at": rfc3339(function.updated_at),
        "runtime_version": plane::functions::LIBRARY_VERSION,
        "deps_resolved": function.packages,
    })
}

/// `ANY /functions/v1/{name}`, and everything below it.
async fn call(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(parts): Path<Vec<(String, String)>>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    target: Extension<Target>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiProblem> {
    let name = parts.into_iter().find(|(key, _)| key == "name").map(|(_, name)| name).unwrap_or_default();
    let incoming = Incoming {
        method: caller.method.clone(),
        path_and_query: target.0.0.clone(),
        headers: listed(&headers),
        body: body.bytes,
        peer: peer.map(|info| info.0.0),
    };
    let answer = plane.function_call(&caller, &name, incoming).await?;
    Ok(response(answer))
}

/// A request of a site's host, as a function gets it. None when its body is too large or broke off.
pub(crate) async fn incoming(request: Request, bytes_max: usize) -> Option<Incoming> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let (parts, body) = request.into_parts();
    let limited = http_body_util::Limited::new(body, bytes_max);
    let body = http_body_util::BodyExt::collect(limited).await.ok()?.to_bytes();
    Some(Incoming {
        method: parts.method.as_str().to_owned(),
        path_and_query: parts.uri.path_and_query().map_or("/", |all| all.as_str()).to_owned(),
        headers: listed(&parts.headers),
        body,
        peer,
    })
}

fn listed(headers: &HeaderMap) -> Vec<(String, String)> {
    // Bytes beyond ASCII are read one by one, and written back the same way.
    let text = |value: &HeaderValue| value.as_bytes().iter().map(|byte| char::from(*byte)).collect();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// The answer as it is: no envelope of ours around it.
pub(crate) fn response(answer: FunctionAnswer) -> Response {
    let mut response = HttpBody::from(answer.body).into_response();
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        let bytes: Option<Vec<u8>> = value.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
        let value = HeaderValue::from_bytes(&bytes.unwrap_or_else(|| value.into_bytes()));
        // What is no header is left out.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), value) {
            response.headers_mut().append(name, value);
        }
    }
    response.extensions_mut().insert(Verbatim);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_keeps_each_cookie_and_drops_what_is_no_header() {
        let headers =
            [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x bad", "1"), ("x-bad", "a\nb"), ("x", "é")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let answer = FunctionAnswer { status: 418, headers: headers.into(), body: "tea".into() };
        let response = response(answer);
        assert_eq!(response.status(), 418);
        assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
        assert_eq!(response.headers()["x"].as_bytes(), b"\xe9");
        assert_eq!(response.headers().len(), 3);
    }
}
