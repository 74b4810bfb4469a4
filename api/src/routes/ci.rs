//! Deploys by CI workflows: bindings and the exchange of tokens.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use plane::Plane;
use plane::ci::{CiBinding, Exchange, NewBinding};
use serde::Deserialize;
use serde_json::{Value, json};
use types::{CiBindingId, Code, rfc3339};

use crate::app::AppState;
use crate::extract::{Body, Who, id};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/ci/v1/bindings", post(create).get(list))
        .route("/ci/v1/bindings/{id}", get(one))
        .route("/ci/v1/bindings/{id}/revoke", post(revoke))
        .route("/ci/v1/token-exchange", post(exchange))
}

#[derive(Deserialize)]
struct CreateRequest {
    project_id: String,
    provider: String,
    subject_match: String,
    allowed_actions: Vec<String>,
    allowed_events: Vec<String>,
    /// Later clients send it.
    route_scopes: Option<Vec<String>>,
    github_repository_id: Option<String>,
    expires_at: Option<String>,
    nonce: String,
    signed_delegation: String,
}

#[derive(Deserialize)]
struct Of {
    project: Option<String>,
}

#[derive(Deserialize)]
struct ExchangeRequest {
    #[serde(default)]
    grant_type: String,
    #[serde(default)]
    subject_token: String,
    #[serde(default)]
    subject_token_type: String,
    #[serde(default)]
    project_id: String,
}

/// `POST /ci/v1/bindings`
async fn create(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiProblem> {
    let asked: CreateRequest = body.json()?;
    let asked = NewBinding {
        project_id: asked.project_id,
        provider: asked.provider,
        subject_match: asked.subject_match,
        allowed_actions: asked.allowed_actions,
        allowed_events: asked.allowed_events,
        route_scopes: asked.route_scopes.unwrap_or_default(),
        github_repository_id: asked.github_repository_id,
        expires_at: asked.expires_at,
        nonce: asked.nonce,
        signed_delegation: asked.signed_delegation,
    };
    let made = plane.ci_binding_create(&caller, asked).await?;
    Ok((StatusCode::CREATED, Json(row_view(&made))))
}

/// `GET /ci/v1/bindings?project=`
async fn list(
    State(plane): State<Plane>,
    Who(caller): Who,
    Query(Of { project }): Query<Of>,
) -> Result<Json<Value>, ApiProblem> {
    let project =
        project.ok_or_else(|| ApiProblem::new(Code::CiInvalidRequest, "name the project: ?project="))?;
    let found = plane.ci_binding_list(&caller, id(&project, Code::ProjectNotFound)?).await?;
    let rows: Vec<Value> = found.iter().map(row_view).collect();
    Ok(Json(json!({ "bindings": rows })))
}

/// `GET /ci/v1/bindings/{id}`: with what was signed.
async fn one(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(binding): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let found = plane.ci_binding_get(&caller, binding_id(&binding)?).await?;
    let mut row = row_view(&found);
    row["created_sig"] = found.delegation;
    Ok(Json(row))
}

/// `POST /ci/v1/bindings/{id}/revoke`
async fn revoke(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(binding): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    Ok(Json(row_view(&plane.ci_binding_revoke(&caller, binding_id(&binding)?).await?)))
}

/// `POST /ci/v1/token-exchange`
async fn exchange(State(plane): State<Plane>, body: Body) -> Result<Json<Value>, ApiProblem> {
    let asked: ExchangeRequest = body.json().map_err(|_| {
        ApiProblem::new(
            Code::CiInvalidRequest,
            "send grant_type, subject_token, subject_token_type and project_id",
        )
    })?;
    let granted = plane
        .ci_exchange(Exchange {
            grant_type: asked.grant_type,
            subject_token: asked.subject_token,
            subject_token_type: asked.subject_token_type,
            project_id: asked.project_id,
        })
        .await?;
    Ok(Json(json!({
        "access_token": granted.access_token,
        "token_type": "Bearer",
        "expires_in": granted.expires_in_secs,
        "scope": "deploy",
    })))
}

fn binding_id(text: &str) -> Result<CiBindingId, ApiProblem> {
    id(text, Code::ResourceNotFound)
}

fn row_view(binding: &CiBinding) -> Value {
    let time = |at: Option<chrono::DateTime<chrono::Utc>>| at.map(rfc3339);
    json!({
        "id": binding.id,
        "project_id": binding.project,
        "issuer": binding.issuer,
        "audience": binding.audience,
        "subject_match": binding.subject_match,
        "allowed_actions": ["deploy"],
        "allowed_events": binding.allowed_events,
        "route_scopes": binding.route_scopes,
        "github_repository_id": binding.github_repository_id,
        "expires_at": binding.expires.as_ref().map(|(text, _)| text),
        "nonce": binding.nonce,
        "created_by": binding.created_by,
        "created_at": rfc3339(binding.created_at),
        "revoked_at": time(binding.revoked_at),
        "last_used_at": time(binding.last_used_at),
        "use_count": binding.use_count,
    })
}
