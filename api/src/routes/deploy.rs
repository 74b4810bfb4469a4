//! Deploy plans, operations and releases.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use plane::Plane;
use plane::deploy::PlanRequest;
use serde::Deserialize;
use serde_json::{Value, json};
use types::{Code, OperationId, PlanId, ReleaseId};

use crate::app::AppState;
use crate::extract::{Body, Who, id};
use crate::problem::ApiProblem;

mod resolve;
mod view;

use view::{commit_view, diff_view, inventory_view, plan_view, snapshot_view};

const SITE_PATHS_DEFAULT: usize = 5_000;
const SITE_PATHS_MAX: usize = 25_000;
/// Paths in each list of a difference.
const DIFF_PATHS_DEFAULT: usize = 1_000;

/// Later clients know the same operations under another prefix.
pub fn routes() -> Router<AppState> {
    let later = under_prefix().route("/resolve", get(resolve::resolve));
    Router::new().nest("/deploy/v2", under_prefix()).nest("/apply/v1", later)
}

fn under_prefix() -> Router<AppState> {
    Router::new()
        .route("/plans", post(plan))
        .route("/plans/{id}/commit", post(commit))
        .route("/operations", get(list))
        .route("/operations/{id}", get(operation))
        .route("/operations/{id}/events", get(events))
        .route("/operations/{id}/resume", post(resume))
        .route("/releases/active", get(active))
        .route("/releases/diff", get(diff))
        .route("/releases/{id}", get(release))
        .route("/releases/{id}/promote", post(promote))
}

#[derive(Deserialize)]
struct PlanBody {
    #[serde(default)]
    spec: Value,
    manifest_ref: Option<Value>,
    idempotency_key: Option<String>,
}

/// Later clients also send the codes of warnings that they accept; going back has none.
#[derive(Deserialize)]
struct PromoteBody {
    project: String,
}

#[derive(Deserialize)]
struct DryRun {
    dry_run: Option<String>,
}

#[derive(Deserialize)]
struct Page {
    limit: Option<String>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct Shown {
    site_limit: Option<String>,
}

#[derive(Deserialize)]
struct Ends {
    from: Option<String>,
    to: Option<String>,
    limit: Option<String>,
}

/// `POST /deploy/v2/plans`
async fn plan(
    State(plane): State<Plane>,
    Who(caller): Who,
    Query(DryRun { dry_run }): Query<DryRun>,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let PlanBody { spec, manifest_ref, idempotency_key } = body.json()?;
    let dry_run = matches!(dry_run.as_deref(), Some("true" | "1"));
    let request = PlanRequest { spec, manifest_ref, idempotency_key, dry_run };
    let planned = plane.deploy_plan(&caller, request).await?;
    // 200 also for a new plan: a repeat of the question is answered with the first one.
    Ok(Json(plan_view(&planned, DIFF_PATHS_DEFAULT)))
}

/// `POST /deploy/v2/plans/{id}/commit`
async fn commit(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(plan): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let plan: PlanId = id(&plan, Code::PlanNotFound)?;
    Ok(Json(commit_view(&plane.deploy_commit(&caller, plan).await?)))
}

/// `GET /deploy/v2/operations`
async fn list(
    State(plane): State<Plane>,
    Who(caller): Who,
    Query(Page { limit, cursor }): Query<Page>,
) -> Result<Json<Value>, ApiProblem> {
    let limit = number(limit.as_deref(), "limit")?;
    let after = cursor.as_deref().map(read_cursor).transpose()?;
    let page = plane.operation_list(&caller, limit, after).await?;
    let operations: Vec<Value> = page.operations.iter().map(snapshot_view).collect();
    Ok(Json(json!({ "operations": operations, "cursor": page.next.map(cursor_of) })))
}

/// `GET /deploy/v2/operations/{id}`
async fn operation(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(operation): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let found = plane.operation_get(&caller, operation_id(&operation)?).await?;
    Ok(Json(snapshot_view(&found)))
}

/// `GET /deploy/v2/operations/{id}/events`
async fn events(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(operation): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let events = plane.operation_events(&caller, operation_id(&operation)?).await?;
    Ok(Json(json!({ "events": events })))
}

/// `POST /deploy/v2/operations/{id}/resume`
async fn resume(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(operation): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let resumed = plane.deploy_resume(&caller, operation_id(&operation)?).await?;
    Ok(Json(snapshot_view(&resumed)))
}

/// `GET /deploy/v2/releases/active`
async fn active(
    State(plane): State<Plane>,
    Who(caller): Who,
    Query(Shown { site_limit }): Query<Shown>,
) -> Result<Json<Value>, ApiProblem> {
    let limit = site_limit_of(site_limit.as_deref())?;
    Ok(Json(inventory_view(&plane.release_active(&caller).await?, limit)))
}

/// `GET /deploy/v2/releases/{id}`
async fn release(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(release): Path<String>,
    Query(Shown { site_limit }): Query<Shown>,
) -> Result<Json<Value>, ApiProblem> {
    let limit = site_limit_of(site_limit.as_deref())?;
    let release: ReleaseId = id(&release, Code::ResourceNotFound)?;
    Ok(Json(inventory_view(&plane.release_get(&caller, release).await?, limit)))
}

/// `POST /deploy/v2/releases/{id}/promote`
async fn promote(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(release): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let PromoteBody { project } = body.json()?;
    let (project, release) = (id(&project, Code::ProjectNotFound)?, id(&release, Code::ResourceNotFound)?);
    Ok(Json(commit_view(&plane.release_promote(&caller, project, release).await?)))
}

/// `GET /deploy/v2/releases/diff`
async fn diff(
    State(plane): State<Plane>,
    Who(caller): Who,
    Query(Ends { from, to, limit }): Query<Ends>,
) -> Result<Json<Value>, ApiProblem> {
    let end = |end: Option<String>| {
        end.ok_or_else(|| ApiProblem::new(Code::InvalidDiffTarget, "name both from and to"))
    };
    let limit = number(limit.as_deref(), "limit")?.map_or(DIFF_PATHS_DEFAULT, clamped);
    let found = plane.release_diff(&caller, &end(from)?, &end(to)?).await?;
    Ok(Json(diff_view(&found, limit)))
}

fn operation_id(text: &str) -> Result<OperationId, ApiProblem> {
    id(text, Code::OperationNotFound)
}

fn site_limit_of(text: Option<&str>) -> Result<usize, ApiProblem> {
    Ok(number(text, "site_limit")?.map_or(SITE_PATHS_DEFAULT, clamped))
}

fn clamped(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(SITE_PATHS_MAX).clamp(1, SITE_PATHS_MAX)
}

fn number(text: Option<&str>, name: &str) -> Result<Option<u64>, ApiProblem> {
    let bad = || ApiProblem::new(Code::BadRequest, format!("{name} is not a number"));
    text.filter(|text| !text.is_empty()).map(|text| text.parse().map_err(|_| bad())).transpose()
}

fn cursor_of(last: OperationId) -> String {
    URL_SAFE_NO_PAD.encode(last.to_string())
}

fn read_cursor(text: &str) -> Result<OperationId, ApiProblem> {
    let read = || String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?.parse().ok();
    read().ok_or_else(|| ApiProblem::new(Code::BadRequest, "this is not a cursor of ours"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_others_are_refused() {
        let last = OperationId::new(&types::OsEntropy);
        assert_eq!(read_cursor(&cursor_of(last)).ok(), Some(last));
        for bad in ["", "x", "!!", &last.to_string()] {
            assert!(read_cursor(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_are_numbers_within_bounds() {
        assert_eq!(site_limit_of(None).ok(), Some(SITE_PATHS_DEFAULT));
        assert_eq!(site_limit_of(Some("7")).ok(), Some(7));
        assert_eq!(site_limit_of(Some("0")).ok(), Some(1));
        assert_eq!(site_limit_of(Some("99999999")).ok(), Some(SITE_PATHS_MAX));
        assert!(site_limit_of(Some("-1")).is_err() && site_limit_of(Some("x")).is_err());
    }
}
