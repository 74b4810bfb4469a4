//! Functions built again.

use axum::Json;
use axum::extract::{Path, State};
use plane::Plane;
use plane::functions::{LIBRARY_VERSION, RebuiltFunction};
use serde_json::{Value, json};
use types::{Code, ProjectId};

use crate::extract::{Who, id};
use crate::problem::ApiProblem;

/// `POST /projects/v1/{id}/functions/{name}/rebuild`
pub(super) async fn one(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path((project, name)): Path<(String, String)>,
) -> Result<Json<Value>, ApiProblem> {
    let project: ProjectId = id(&project, Code::ProjectNotFound)?;
    Ok(Json(view(&plane.function_rebuild(&caller, (project, &name)).await?)))
}

/// `POST /projects/v1/{id}/functions/rebuild`
pub(super) async fn all(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let project: ProjectId = id(&project, Code::ProjectNotFound)?;
    let results = plane.functions_rebuild(&caller, project).await?;
    let rebuilt = results.iter().filter(|(_, outcome)| outcome.is_ok()).count();
    let views: Vec<Value> = results
        .iter()
        .map(|(name, outcome)| match outcome {
            Ok(rebuilt) => view(rebuilt),
            Err(problem) => json!({
                "name": name,
                "rebuilt": false,
                "code": problem.code.as_str(),
                "error": problem.message,
            }),
        })
        .collect();
    Ok(Json(json!({ "rebuilt_count": rebuilt, "total": views.len(), "results": views })))
}

/// # Source
/// Wire contract 03 section 2.9.
fn view(rebuilt: &RebuiltFunction) -> Value {
    let before = rebuilt.built.before.as_ref();
    json!({
        "name": rebuilt.name,
        "rebuilt": true,
        "old_fingerprint": before.map(|mark| &mark.fingerprint),
        "new_fingerprint": rebuilt.built.after.fingerprint,
        // What was built before versions were written down had this one as well.
        "runtime_version_before":
            before.map(|mark| mark.library_version.as_deref().unwrap_or(LIBRARY_VERSION)),
        "runtime_version_after": rebuilt.built.after.library_version,
        "code_hash": rebuilt.code_hash,
    })
}
