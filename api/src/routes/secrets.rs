//! Secrets of a project's functions.

use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Json, Router};
use plane::Plane;
use serde::Deserialize;
use serde_json::{Value, json};
use types::{Code, ProjectId, rfc3339};

use crate::app::AppState;
use crate::extract::{Body, Who, id};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/projects/v1/admin/{id}/secrets", post(set_named).get(list))
        .route("/projects/v1/admin/{id}/secrets/{key}", post(set).delete(delete))
}

#[derive(Deserialize)]
struct SetRequest {
    value: String,
}

#[derive(Deserialize)]
struct SetNamedRequest {
    key: String,
    value: String,
}

/// `POST /projects/v1/admin/{id}/secrets/{key}`
async fn set(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path((project, key)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let SetRequest { value } = body.json()?;
    store(&plane, &caller, &project, &key, &value).await
}

/// `POST /projects/v1/admin/{id}/secrets`: the key travels in the body, as later clients send it.
async fn set_named(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let SetNamedRequest { key, value } = body.json()?;
    store(&plane, &caller, &project, &key, &value).await
}

async fn store(
    plane: &Plane,
    caller: &plane::caller::Caller,
    project: &str,
    key: &str,
    value: &str,
) -> Result<Json<Value>, ApiProblem> {
    let project: ProjectId = id(project, Code::ProjectNotFound)?;
    plane.secret_set(caller, project, key, value).await?;
    Ok(Json(json!({ "status": "ok", "key": key })))
}

/// `GET /projects/v1/admin/{id}/secrets`: a bare list, keys only.
async fn list(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let project: ProjectId = id(&project, Code::ProjectNotFound)?;
    let found = plane.secret_list(&caller, project).await?;
    let rows: Vec<Value> = found
        .iter()
        .map(|one| {
            json!({
                "key": one.key,
                "created_at": rfc3339(one.created_at),
                "updated_at": rfc3339(one.updated_at),
            })
        })
        .collect();
    Ok(Json(Value::from(rows)))
}

/// `DELETE /projects/v1/admin/{id}/secrets/{key}`
async fn delete(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path((project, key)): Path<(String, String)>,
) -> Result<Json<Value>, ApiProblem> {
    let project: ProjectId = id(&project, Code::ProjectNotFound)?;
    plane.secret_delete(&caller, project, &key).await?;
    Ok(Json(json!({ "status": "deleted", "key": key })))
}
