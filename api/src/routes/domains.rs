//! Domains of tenants' own.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use plane::Plane;
use plane::domain::NamedDomain;
use serde::Deserialize;
use serde_json::{Value, json};
use types::rfc3339;

use crate::app::AppState;
use crate::extract::{Body, Who};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/domains/v1", post(add).get(list))
        .route("/domains/v1/{domain}", get(status).delete(delete))
}

#[derive(Deserialize)]
struct AddRequest {
    domain: String,
    subdomain_name: String,
}

/// `POST /domains/v1`
async fn add(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiProblem> {
    let AddRequest { domain, subdomain_name } = body.json()?;
    let added = plane.domain_add(&caller, &domain, &subdomain_name).await?;
    let status = if added.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(full_view(&added.domain))))
}

/// `GET /domains/v1`
async fn list(State(plane): State<Plane>, Who(caller): Who) -> Result<Json<Value>, ApiProblem> {
    let found = plane.domain_list(&caller).await?;
    let rows: Vec<Value> = found.iter().map(row_view).collect();
    Ok(Json(json!({ "domains": rows })))
}

/// `GET /domains/v1/{domain}`: after a look at its DNS.
async fn status(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(domain): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    Ok(Json(full_view(&plane.domain_get(&caller, &domain).await?)))
}

/// `DELETE /domains/v1/{domain}`
async fn delete(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(domain): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let domain = plane.domain_delete(&caller, &domain).await?;
    Ok(Json(json!({ "status": "deleted", "domain": domain })))
}

fn row_view(named: &NamedDomain) -> Value {
    json!({
        "domain": named.domain.domain,
        "subdomain_name": named.domain.subdomain_name,
        "url": named.url,
        "subdomain_url": named.subdomain_url,
        "status": named.domain.status.as_str(),
        "reason": named.domain.reason,
        "created_at": rfc3339(named.domain.created_at),
    })
}

fn full_view(named: &NamedDomain) -> Value {
    let mut row = row_view(named);
    row["dns_instructions"] = named.instructions.as_ref().map_or(Value::Null, |one| {
        json!({ "cname_target": one.cname_target, "txt_name": one.txt_name, "txt_value": one.txt_value })
    });
    row["project_id"] = json!(named.domain.project);
    row
}
