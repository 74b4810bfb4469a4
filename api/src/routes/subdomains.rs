//! Names of sites.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use plane::Plane;
use plane::subdomain::NamedSite;
use serde::Deserialize;
use serde_json::{Value, json};
use types::rfc3339;

use crate::app::AppState;
use crate::extract::{Body, Who};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/subdomains/v1", post(claim).get(list))
        .route("/subdomains/v1/{name}", get(lookup).delete(delete))
}

#[derive(Deserialize)]
struct ClaimRequest {
    name: String,
    deployment_id: String,
}

/// `POST /subdomains/v1`: claims a name, or points one elsewhere.
async fn claim(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiProblem> {
    let ClaimRequest { name, deployment_id } = body.json()?;
    let claimed = plane.subdomain_claim(&caller, &name, &deployment_id).await?;
    let status = if claimed.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(row_view(&claimed.site))))
}

/// `GET /subdomains/v1`
async fn list(State(plane): State<Plane>, Who(caller): Who) -> Result<Json<Value>, ApiProblem> {
    let found = plane.subdomain_list(&caller).await?;
    let rows: Vec<Value> = found.iter().map(row_view).collect();
    Ok(Json(json!({ "subdomains": rows })))
}

/// `GET /subdomains/v1/{name}`: open to everyone, and silent about the owner.
async fn lookup(State(plane): State<Plane>, Path(name): Path<String>) -> Result<Json<Value>, ApiProblem> {
    let found = plane.subdomain_get(&name).await?;
    Ok(Json(json!({
        "name": found.subdomain.name,
        "url": found.url,
        "deployment_url": found.deployment_url,
    })))
}

/// `DELETE /subdomains/v1/{name}`
async fn delete(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let gone = plane.subdomain_delete(&caller, &name).await?;
    Ok(Json(json!({
        "name": gone.site.subdomain.name,
        "deployment_id": gone.site.subdomain.deployment_id,
        "project_id": gone.site.subdomain.project,
        "deleted_at": rfc3339(gone.deleted_at),
    })))
}

fn row_view(site: &NamedSite) -> Value {
    json!({
        "name": site.subdomain.name,
        "url": site.url,
        "deployment_id": site.subdomain.deployment_id,
        "deployment_url": site.deployment_url,
        "project_id": site.subdomain.project,
        "created_at": rfc3339(site.subdomain.created_at),
        "updated_at": rfc3339(site.subdomain.updated_at),
    })
}
