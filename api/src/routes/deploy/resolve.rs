//! What a visitor's request would come to.

use axum::Json;
use axum::extract::{Query, State};
use plane::Plane;
use plane::deploy::route_view;
use plane::host::{ResolveRequest, Resolved, ResolvedTo};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::extract::Who;
use crate::problem::ApiProblem;

#[derive(Deserialize)]
pub(super) struct Asked {
    host: Option<String>,
    path: Option<String>,
    method: Option<String>,
}

/// `GET /apply/v1/resolve`
pub(super) async fn resolve(
    State(plane): State<Plane>,
    Who(caller): Who,
    Query(Asked { host, path, method }): Query<Asked>,
) -> Result<Json<Value>, ApiProblem> {
    let found = plane.site_resolve(&caller, ResolveRequest { host, path, method }).await?;
    Ok(Json(view(&found)))
}

/// Every key is always there, as in the other answers about releases.
fn view(found: &Resolved) -> Value {
    let mut view = json!({
        "kind": "resolve_result",
        "schema_version": super::view::SCHEMA_VERSION,
        "project_id": found.project,
        "release_id": found.release,
        "host": found.host,
        "path": found.path,
        "method": found.method,
        "result": word(&found.to),
        "http_status": found.to.status(),
        "static": null,
        "route": null,
        "blob": null,
        "location": null,
        "allow": null,
    });
    match &found.to {
        ResolvedTo::File { path, sha256, content_type, .. } => {
            view["static"] = json!({ "path": path, "content_sha256": sha256, "content_type": content_type });
        }
        ResolvedTo::Function(route) => view["route"] = route_view(route),
        ResolvedTo::Blob { path } => view["blob"] = json!({ "path": path }),
        ResolvedTo::Redirect { location } => view["location"] = json!(location),
        ResolvedTo::NotAllowed(methods) => view["allow"] = json!(methods),
        ResolvedTo::BadPath | ResolvedTo::NotFound | ResolvedTo::NoSite => {}
    }
    view
}

fn word(to: &ResolvedTo) -> &'static str {
    match to {
        ResolvedTo::File { is_missing: false, .. } => "static",
        ResolvedTo::File { .. } | ResolvedTo::NotFound => "not_found",
        ResolvedTo::Redirect { .. } => "redirect",
        ResolvedTo::Function(_) => "function",
        ResolvedTo::Blob { .. } => "blob",
        ResolvedTo::NotAllowed(_) => "method_not_allowed",
        ResolvedTo::BadPath => "bad_path",
        ResolvedTo::NoSite => "no_site",
    }
}
