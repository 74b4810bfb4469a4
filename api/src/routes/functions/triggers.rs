//! Triggers of functions.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use plane::Plane;
use plane::functions::{LiveTrigger, Trigger};
use serde_json::{Value, json};
use types::{Code, ProjectId};

use crate::app::AppState;
use crate::extract::{Who, id};
use crate::problem::ApiProblem;

pub(super) fn routes() -> axum::Router<AppState> {
    axum::Router::new()
        .route("/projects/v1/{id}/functions/{name}/triggers/{trigger_id}/run", axum::routing::post(fire))
}

/// `POST /projects/v1/{id}/functions/{name}/triggers/{trigger_id}/run`
async fn fire(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path((project, name, trigger)): Path<(String, String, String)>,
) -> Result<(StatusCode, Json<Value>), ApiProblem> {
    let project: ProjectId = id(&project, Code::ProjectNotFound)?;
    let ((run, is_new), scheduled) = plane.trigger_fire(&caller, (project, &name), &trigger).await?;
    let mut run = super::runs::view(&run);
    run["deduplicated"] = (!is_new).into();
    let status = if is_new { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, Json(json!({ "run": run, "schedule_meta": super::meta(&scheduled) }))))
}

/// As a release takes it.
///
/// # Source
/// Wire contract 03 section 8.
pub(crate) fn declared(trigger: &Trigger) -> Value {
    json!({
        "id": trigger.id,
        "type": "schedule",
        "cron": trigger.cron,
        "timezone": trigger.timezone,
        "misfire_policy": "skip",
        "overlap_policy": "allow",
        "run": trigger.run,
    })
}

/// With what became of it.
pub(super) fn live(trigger: &LiveTrigger) -> Value {
    let mut view = declared(&trigger.trigger);
    view["schedule_meta"] = super::meta(&trigger.scheduled);
    view
}
