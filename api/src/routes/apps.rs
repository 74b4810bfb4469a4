//! The marketplace: browsing, publishing, forking.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use http::StatusCode;
use plane::Plane;
use plane::apps::{AppVersion, AppVisibility, ForkRequest, ForkTerms, Forked, PublishRequest, VersionChange};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use types::{AppVersionId, Code, ProjectId, rfc3339};

use super::projects::receipt;
use crate::app::AppState;
use crate::extract::{Body, Who, id};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/apps/v1", get(browse))
        .route("/apps/v1/{version_id}", get(inspect))
        .route("/fork/v1", post(fork).get(terms))
        .route("/projects/v1/admin/{id}/publish", post(publish))
        .route("/projects/v1/admin/{id}/versions", get(versions))
        .route("/projects/v1/admin/{id}/versions/{version_id}", patch(update).delete(delete))
}

#[derive(Deserialize)]
struct PublishBody {
    description: Option<String>,
    tags: Option<Vec<String>>,
    visibility: Option<String>,
    fork_allowed: Option<bool>,
}

#[derive(Deserialize)]
struct UpdateBody {
    #[serde(default, deserialize_with = "given")]
    description: Option<Option<String>>,
    tags: Option<Vec<String>>,
    visibility: Option<String>,
    fork_allowed: Option<bool>,
}

#[derive(Deserialize)]
struct ForkBody {
    version_id: String,
    name: String,
    subdomain: Option<String>,
    bootstrap: Option<Value>,
}

/// A field that is there, even if it is null.
fn given<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(d).map(Some)
}

/// `GET /apps/v1`: public versions, with any of the tags.
async fn browse(
    State(plane): State<Plane>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Value>, ApiProblem> {
    let tags = query.into_iter().filter(|(name, _)| name == "tag").map(|(_, value)| value).collect();
    let found = plane.apps_browse(tags).await?;
    let apps: Vec<Value> = found.versions.iter().map(|version| summary(&plane, version)).collect();
    Ok(Json(json!({ "apps": apps, "total": found.total })))
}

/// `GET /apps/v1/{version_id}`
async fn inspect(State(plane): State<Plane>, Path(version): Path<String>) -> Result<Json<Value>, ApiProblem> {
    let found = plane.app_get(version_id(&version)?).await?;
    Ok(Json(summary(&plane, &found)))
}

/// `POST /projects/v1/admin/{id}/publish`
async fn publish(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
    body: Body,
) -> Result<Response, ApiProblem> {
    let project = project_id(&project)?;
    let PublishBody { description, tags, visibility, fork_allowed } = body.json()?;
    let asked = PublishRequest {
        description,
        tags: tags.unwrap_or_default(),
        visibility: visibility.as_deref().map(visibility_of).transpose()?,
        fork_allowed: fork_allowed.unwrap_or_default(),
    };
    let made = plane.app_publish(&caller, project, asked).await?;
    Ok((StatusCode::CREATED, Json(summary(&plane, &made))).into_response())
}

/// `GET /projects/v1/admin/{id}/versions`
async fn versions(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(project): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let found = plane.versions_list(&caller, project_id(&project)?).await?;
    let rows: Vec<Value> = found.iter().map(|version| summary(&plane, version)).collect();
    Ok(Json(json!({ "versions": rows })))
}

/// `PATCH /projects/v1/admin/{id}/versions/{version_id}`
async fn update(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path((project, version)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let named = (project_id(&project)?, version_id(&version)?);
    let UpdateBody { description, tags, visibility, fork_allowed } = body.json()?;
    let visibility = visibility.as_deref().map(visibility_of).transpose()?;
    let change = VersionChange { description, tags, visibility, fork_allowed };
    let changed = plane.version_update(&caller, named, change).await?;
    Ok(Json(summary(&plane, &changed)))
}

/// `DELETE /projects/v1/admin/{id}/versions/{version_id}`
async fn delete(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path((project, version)): Path<(String, String)>,
) -> Result<Json<Value>, ApiProblem> {
    let (project, version) = (project_id(&project)?, version_id(&version)?);
    plane.version_delete(&caller, project, version).await?;
    Ok(Json(json!({ "status": "deleted", "version_id": version })))
}

/// `GET /fork/v1`: what a fork takes.
async fn terms(State(plane): State<Plane>) -> Json<Value> {
    let tier = |terms: &ForkTerms| {
        json!({
            "tier": terms.tier,
            "price": terms.price.dollars(),
            "price_usd_micros": terms.price,
            "lease_days": terms.lease_days,
        })
    };
    let tiers: Vec<Value> = plane.fork_terms().iter().map(tier).collect();
    Json(json!({
        "description": "POST /fork/v1 makes a project of yours from a published app. It needs a tier of at least \
                        the app's min_tier, and costs nothing besides: a wallet without a tier buys that one.",
        "fork_pricing": null,
        "tiers": tiers,
    }))
}

/// `POST /fork/v1`: a project from a version; 402 when the wallet has no tier and no payment came along.
async fn fork(State(plane): State<Plane>, Who(caller): Who, body: Body) -> Result<Response, ApiProblem> {
    let ForkBody { version_id: version, name, subdomain, bootstrap } = body.json()?;
    let asked = ForkRequest { version: version_id(&version)?, name, subdomain, variables: bootstrap };
    let forked = plane.app_fork(&caller, asked).await?;
    let headers = receipt(forked.settle_response.as_deref());
    Ok((StatusCode::CREATED, headers, Json(forked_view(&forked))).into_response())
}

fn project_id(text: &str) -> Result<ProjectId, ApiProblem> {
    id(text, Code::ProjectNotFound)
}

fn version_id(text: &str) -> Result<AppVersionId, ApiProblem> {
    id(text, Code::VersionNotFound)
}

fn visibility_of(word: &str) -> Result<AppVisibility, ApiProblem> {
    let found = AppVisibility::ALL.into_iter().find(|one| one.as_str() == word);
    found
        .ok_or_else(|| ApiProblem::new(Code::BadVersion, "visibility: public, unlisted or private is needed"))
}

/// # Source
/// Wire contract 02 section 9: no list is null, because clients read their lengths.
fn summary(plane: &Plane, version: &AppVersion) -> Value {
    let secrets: Vec<Value> = version.required_secrets.iter().map(|key| json!({ "key": key })).collect();
    let description = "Set the secrets that the functions read: run402 secrets set.";
    let actions = match secrets.is_empty() {
        true => json!([]),
        false => json!([{ "action": "set_secrets", "description": description }]),
    };
    json!({
        "id": version.id,
        "version_id": version.id,
        "project_id": version.project,
        "name": version.name,
        "version": version.number,
        "description": version.description,
        "live_url": plane.version_url(version),
        "visibility": version.visibility.as_str(),
        "fork_allowed": version.fork_allowed,
        "fork_pricing": null,
        "min_tier": version.min_tier,
        "derived_min_tier": version.min_tier,
        "status": "published",
        "table_count": version.table_count,
        "function_count": version.function_count,
        "site_file_count": version.site_file_count,
        "site_total_bytes": version.site_total_bytes,
        "required_secrets": secrets,
        "required_actions": actions,
        "tags": version.tags,
        "compatibility_warnings": version.compatibility_warnings,
        "bootstrap_variables": version.bootstrap_variables,
        "created_at": rfc3339(version.created_at),
    })
}

fn forked_view(forked: &Forked) -> Value {
    let functions: Vec<Value> =
        forked.functions.iter().map(|(name, url)| json!({ "name": name, "url": url })).collect();
    json!({
        "project_id": forked.project,
        "id": forked.project,
        "anon_key": forked.keys.anon,
        "service_key": forked.keys.service,
        "schema_slot": forked.schema_slot,
        "site_url": forked.site_url,
        "subdomain_url": forked.subdomain_url,
        "functions": functions,
        "bootstrap_result": forked.result,
        "bootstrap_error": forked.error,
    })
}
