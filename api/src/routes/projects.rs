//! Projects: made, listed, queried, measured, erased.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use plane::Plane;
use plane::project::{LeaseFacts, ListedProject, ProjectUsage, Provision, Provisioned};
use rest::{SqlOutcome, SqlRequest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use types::{Code, ProjectId, Wallet, rfc3339};

use crate::app::AppState;
use crate::extract::{Body, Who, id};
use crate::problem::ApiProblem;

const PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("payment-response");
const X_PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("x-payment-response");

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/projects/v1", post(create).get(list_own))
        .route("/projects/v1/{id}", get(info).delete(delete))
        .route("/projects/v1/admin/{id}/usage", get(usage))
        .route("/projects/v1/admin/{id}/schema", get(schema))
        .route("/projects/v1/admin/{id}/sql", post(sql))
        .route("/projects/v1/admin/{id}/pin", post(pin))
        .route("/wallets/v1/{wallet}/projects", get(list_by_wallet))
}

#[derive(Deserialize)]
struct ProvisionRequest {
    tier: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct SqlBody {
    sql: String,
    #[serde(default)]
    params: Option<Vec<Value>>,
}

/// # Source
/// Wire contract 01 section 6.6: both spellings of the count, for both generations of clients.
#[derive(Serialize)]
struct SqlView {
    status: &'static str,
    schema: String,
    rows: Vec<rest::sql::SqlRow>,
    #[serde(rename = "rowCount")]
    row_count_camel: Option<u64>,
    row_count: Option<u64>,
    fields: Vec<rest::sql::Field>,
}

impl From<SqlOutcome> for SqlView {
    fn from(done: SqlOutcome) -> Self {
        Self {
            status: "ok",
            schema: done.schema,
            rows: done.rows,
            row_count_camel: done.count,
            row_count: done.count,
            fields: done.fields,
        }
    }
}

/// `POST /projects/v1`: makes a project; 402 when the wallet has no tier and no payment came along.
async fn create(State(plane): State<Plane>, Who(caller): Who, body: Body) -> Result<Response, ApiProblem> {
    let ProvisionRequest { tier, name } = body.json()?;
    let made = plane.project_provision(&caller, Provision { tier, name }).await?;
    let headers = receipt(made.settle_response.as_deref());
    Ok((StatusCode::CREATED, headers, Json(provisioned_view(&made))).into_response())
}

/// `GET /projects/v1`: the signed-in wallet's projects, for later clients.
async fn list_own(State(plane): State<Plane>, Who(caller): Who) -> Result<Json<Value>, ApiProblem> {
    let projects = plane.project_list_own(&caller).await?;
    let rows: Vec<Value> = projects.iter().map(listed_view).collect();
    Ok(Json(json!({ "projects": rows, "has_more": false, "next_cursor": null })))
}

/// `GET /projects/v1/{id}`: one project, for its owner or its keys.
async fn info(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let found = plane.project_info(&caller, project_id(&project)?).await?;
    Ok(Json(listed_view(&found)))
}

/// `DELETE /projects/v1/{id}`: erases a project at once and for good.
async fn delete(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let project = project_id(&project)?;
    plane.project_delete(&caller, project).await?;
    Ok(Json(json!({ "status": "purged", "project_id": project })))
}

/// `GET /wallets/v1/{wallet}/projects`: open to everyone, and without keys.
async fn list_by_wallet(
    State(plane): State<Plane>,
    Path(wallet): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let wallet: Wallet = id(&wallet, Code::BadRequest)?;
    let projects = plane.project_list_by_wallet(wallet).await?;
    let rows: Vec<Value> = projects.iter().map(listed_view).collect();
    Ok(Json(json!({ "wallet": wallet, "projects": rows })))
}

/// `GET /projects/v1/admin/{id}/usage`
async fn usage(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let used = plane.project_usage(&caller, project_id(&project)?).await?;
    Ok(Json(usage_view(&used)))
}

/// `GET /projects/v1/admin/{id}/schema`
async fn schema(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let found = plane.project_schema(&caller, project_id(&project)?).await?;
    Ok(Json(json!({ "schema": found.schema, "tables": found.tables })))
}

/// `POST /projects/v1/admin/{id}/sql`: plain text, or JSON with parameters.
async fn sql(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<SqlView>, ApiProblem> {
    let project = project_id(&project)?;
    let request = if is_json(&headers) {
        let SqlBody { sql, params } = body.json()?;
        SqlRequest { text: sql, params: params.unwrap_or_default() }
    } else {
        SqlRequest { text: body.text()?.to_owned(), params: Vec::new() }
    };
    Ok(Json(plane.project_sql(&caller, project, request).await?.into()))
}

/// `POST /projects/v1/admin/{id}/pin`: for operators.
async fn pin(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let project = project_id(&project)?;
    plane.project_pin(&caller, project).await?;
    let message = "The account of this project no longer ages: none of its projects is frozen or erased.";
    Ok(Json(json!({ "status": "pinned", "project_id": project, "message": message })))
}

fn project_id(text: &str) -> Result<ProjectId, ApiProblem> {
    id(text, Code::ProjectNotFound)
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    kind.trim_start().to_ascii_lowercase().starts_with("application/json")
}

/// The receipt, under the names of both versions of x402.
pub(super) fn receipt(settle_response: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let receipt = settle_response.and_then(|text| HeaderValue::from_str(text).ok());
    if let Some(receipt) = receipt {
        headers.insert(PAYMENT_RESPONSE, receipt.clone());
        headers.insert(X_PAYMENT_RESPONSE, receipt);
    }
    headers
}

fn provisioned_view(made: &Provisioned) -> Value {
    json!({
        "project_id": made.project,
        "id": made.project,
        "name": made.name,
        "anon_key": made.keys.anon,
        "service_key": made.keys.service,
        "schema_slot": made.schema_slot,
        "tier": made.lease.map(|lease| lease.tier),
        "lease_expires_at": expiry(made.lease),
    })
}

fn listed_view(project: &ListedProject) -> Value {
    json!({
        "id": project.id,
        "project_id": project.id,
        "name": project.name,
        "tier": project.lease.map(|lease| lease.tier),
        "status": project.status.as_str(),
        "effective_status": project.status.as_str(),
        "api_calls": project.api_calls,
        "storage_bytes": project.storage_bytes,
        "lease_expires_at": expiry(project.lease),
        "created_at": rfc3339(project.created_at),
    })
}

fn usage_view(used: &ProjectUsage) -> Value {
    json!({
        "project_id": used.project,
        "tier": used.tier,
        "api_calls": used.api_calls,
        "api_calls_limit": used.api_calls_max,
        "storage_bytes": used.storage_bytes,
        "storage_limit_bytes": used.storage_bytes_max,
        "status": used.status.as_str(),
        "effective_status": used.status.as_str(),
        "organization_lifecycle_state": used.status.as_str(),
        "lease_expires_at": expiry(used.lease),
    })
}

fn expiry(lease: Option<LeaseFacts>) -> Option<String> {
    lease.map(|lease| rfc3339(lease.ends_at))
}
