//! The expose manifest of a project.

use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Json, Router};
use plane::Plane;
use rest::expose::{Exposed, Issues, Outcome};
use serde::Deserialize;
use serde_json::{Value, json};
use types::{Code, ProjectId};

use crate::app::AppState;
use crate::extract::{Body, Who, id};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/projects/v1/admin/{id}/expose", post(apply).get(show))
        .route("/projects/v1/admin/{id}/expose/validate", post(validate))
        .route("/projects/v1/expose/validate", post(validate_alone))
}

#[derive(Deserialize)]
struct ValidateBody {
    #[serde(default)]
    manifest: Value,
    #[serde(default)]
    migration_sql: Option<String>,
}

/// `POST /projects/v1/admin/{id}/expose`: the body is the manifest itself.
async fn apply(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let project = project_id(&project)?;
    let manifest: Value = body.json()?;
    let done = plane.project_expose(&caller, project, &manifest).await?;
    Ok(Json(applied_view(project, &done)))
}

/// `GET /projects/v1/admin/{id}/expose`
async fn show(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let project = project_id(&project)?;
    let found = plane.project_exposed(&caller, project).await?;
    Ok(Json(exposed_view(project, &found)))
}

/// `POST /projects/v1/admin/{id}/expose/validate`: changes nothing.
async fn validate(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let ValidateBody { manifest, migration_sql } = body.json()?;
    let project = project_id(&project)?;
    let found = plane.project_expose_validate(&caller, project, &manifest, migration_sql.as_deref()).await?;
    Ok(Json(issues_view(&found)))
}

/// `POST /projects/v1/expose/validate`: without a project.
async fn validate_alone(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let ValidateBody { manifest, migration_sql } = body.json()?;
    let found = plane.expose_validate(&caller, &manifest, migration_sql.as_deref()).await?;
    Ok(Json(issues_view(&found)))
}

fn project_id(text: &str) -> Result<ProjectId, ApiProblem> {
    id(text, Code::ProjectNotFound)
}

fn applied_view(project: ProjectId, done: &Outcome) -> Value {
    json!({
        "status": "ok",
        "project_id": project,
        "applied": done.applied(),
        "dropped": done.dropped,
        "changed": done.changed,
        "statements": done.statements,
        "warnings": done.warnings,
    })
}

/// Two readers of this answer disagree: one takes the manifest from its field, the other takes the answer for
/// the manifest.
fn exposed_view(project: ProjectId, found: &Exposed) -> Value {
    let manifest = &found.manifest;
    json!({
        "status": "ok",
        "project_id": project,
        "source": if found.introspected { "introspected" } else { "applied" },
        "manifest": manifest,
        "version": manifest.version,
        "tables": manifest.tables,
        "views": manifest.views,
        "rpcs": manifest.rpcs,
    })
}

fn issues_view(found: &Issues) -> Value {
    json!({
        "has_errors": !found.errors.is_empty(),
        "errors": found.errors,
        "warnings": found.warnings,
    })
}
