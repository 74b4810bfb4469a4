//! Content plans, and uploads however they began.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use plane::Plane;
use plane::content::{PlannedContent, Session, Wanted};
use plane::uploads::{SentPart, UploadStatus};
use serde::Deserialize;
use serde_json::{Value, json};
use types::{Code, ContentPlanId, ProjectId, Sha256Hex, UploadId, rfc3339};

use crate::app::AppState;
use crate::extract::{Body, Who, id};
use crate::problem::ApiProblem;

use super::blobs::{asset_view, mode};

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/content/v1/plans", post(plan))
        .route("/content/v1/plans/{id}/commit", post(plan_commit))
        .route("/storage/v1/uploads/{id}", get(upload).delete(abort))
        .route("/storage/v1/uploads/{id}/complete", post(complete))
}

#[derive(Deserialize)]
struct PlanRequest {
    content: Vec<WantedContent>,
    project_id: Option<ProjectId>,
}

#[derive(Deserialize)]
struct WantedContent {
    sha256: Sha256Hex,
    size: u64,
    #[serde(alias = "contentType")]
    content_type: Option<String>,
}

/// What a client says that it sent; only of an upload in parts.
#[derive(Deserialize)]
struct CompleteRequest {
    parts: Option<Vec<CompletedPart>>,
}

#[derive(Deserialize)]
struct CompletedPart {
    part_number: i32,
    etag: Option<String>,
}

/// `POST /content/v1/plans`
async fn plan(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiProblem> {
    let PlanRequest { content, project_id } = body.json()?;
    let wanted = content
        .into_iter()
        .map(|one| Wanted { sha256: one.sha256, size_bytes: one.size, content_type: one.content_type })
        .collect();
    let planned = plane.content_plan(&caller, project_id, wanted).await?;
    Ok((StatusCode::CREATED, Json(plan_view(&planned))))
}

/// `POST /content/v1/plans/{id}/commit`
async fn plan_commit(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(plan): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let plan: ContentPlanId = id(&plan, Code::PlanNotFound)?;
    plane.content_plan_commit(&caller, plan).await?;
    Ok(Json(json!({ "plan_id": plan, "committed": true })))
}

/// `GET /storage/v1/uploads/{id}`: only a status of `active` lets a client go on with the URLs that it kept.
async fn upload(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(upload): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let found = plane.upload_get(&caller, upload_id(&upload)?).await?;
    Ok(Json(upload_view(&found)))
}

/// `POST /storage/v1/uploads/{id}/complete`
async fn complete(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(upload): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let CompleteRequest { parts } = body.json()?;
    let sent: Vec<SentPart> = parts
        .unwrap_or_default()
        .into_iter()
        .map(|part| SentPart { number: part.part_number, etag: part.etag.unwrap_or_default() })
        .collect();
    let done = plane.upload_complete(&caller, upload_id(&upload)?, &sent).await?;
    if let Some(asset) = plane.upload_asset(&done).await? {
        return Ok(Json(asset_view(&asset)));
    }
    Ok(Json(json!({
        "upload_id": done.id,
        "sha256": done.sha256,
        "size_bytes": done.size_bytes,
        "content_type": done.content_type,
    })))
}

/// `DELETE /storage/v1/uploads/{id}`
async fn abort(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(upload): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let upload = upload_id(&upload)?;
    plane.upload_abort(&caller, upload).await?;
    Ok(Json(json!({ "upload_id": upload, "aborted": true })))
}

fn upload_id(text: &str) -> Result<UploadId, ApiProblem> {
    id(text, Code::UploadNotFound)
}

/// # Source
/// Wire contract 02 section 3.1.
fn plan_view(planned: &PlannedContent) -> Value {
    let entries: Vec<Value> = planned
        .entries
        .iter()
        .map(|(sha256, missing)| json!({ "sha256": sha256, "missing": missing }))
        .collect();
    let missing: Vec<Value> = planned.sessions.iter().map(session_view).collect();
    json!({
        "plan_id": planned.plan,
        "expires_at": rfc3339(planned.expires_at),
        "entries": entries,
        "missing": missing,
    })
}

/// One part that covers the object; for an empty one the end is 0 as well, because clients slice with it.
fn session_view(session: &Session) -> Value {
    let upload = &session.upload;
    json!({
        "sha256": upload.sha256,
        "mode": "single",
        "parts": [{
            "part_number": 1,
            "url": session.url,
            "byte_start": 0,
            "byte_end": upload.size_bytes.saturating_sub(1),
        }],
        "part_size_bytes": upload.size_bytes,
        "part_count": 1,
        "upload_id": upload.id,
        "staging_key": upload.staging_key,
        "expires_at": rfc3339(session.url_expires_at),
    })
}

fn upload_view(found: &UploadStatus) -> Value {
    let upload = &found.upload;
    let parts: Vec<Value> = found
        .parts
        .iter()
        .map(|part| json!({ "part_number": part.number, "size_bytes": part.size_bytes, "etag": part.etag }))
        .collect();
    json!({
        "upload_id": upload.id,
        "status": found.status,
        "key": upload.blob.as_ref().map(|blob| &blob.key),
        "mode": mode(upload),
        "sha256": upload.sha256,
        "size_bytes": upload.size_bytes,
        "parts": parts,
        "expires_at": rfc3339(found.url_expires_at),
    })
}
