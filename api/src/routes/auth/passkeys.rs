//! Passkeys of a project's users.

use axum::extract::{Path, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::StatusCode;
use plane::Plane;
use plane::users::PasskeyOptions;
use serde::Deserialize;
use serde_json::{Value, json};
use types::rfc3339;
use users::PasskeyRecord;

use super::session_view;
use crate::app::AppState;
use crate::extract::{Body, Who};
use crate::problem::ApiProblem;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
        .route("/auth/v1/passkeys", get(list))
        .route("/auth/v1/passkeys/{id}", delete(remove))
        .route("/auth/v1/passkeys/register/options", post(register_options))
        .route("/auth/v1/passkeys/register/verify", post(register))
        .route("/auth/v1/passkeys/login/options", post(login_options))
        .route("/auth/v1/passkeys/login/verify", post(login))
}

/// An `email` may come along as a hint; it is not looked at, so that the answer cannot depend on it.
#[derive(Deserialize)]
struct OptionsRequest {
    app_origin: String,
}

#[derive(Deserialize)]
struct AnswerRequest {
    challenge_id: String,
    response: Value,
    label: Option<String>,
}

/// `POST /auth/v1/passkeys/register/options`
async fn register_options(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let OptionsRequest { app_origin } = body.json()?;
    Ok(Json(options_view(&plane.passkey_register_options(&caller, &app_origin).await?)))
}

/// `POST /auth/v1/passkeys/register/verify`
async fn register(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiProblem> {
    let AnswerRequest { challenge_id, response, label } = body.json()?;
    let made = plane.passkey_register(&caller, &challenge_id, &response, label).await?;
    Ok((StatusCode::CREATED, Json(passkey_view(&made))))
}

/// `POST /auth/v1/passkeys/login/options`
async fn login_options(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let OptionsRequest { app_origin } = body.json()?;
    Ok(Json(options_view(&plane.passkey_login_options(&caller, &app_origin).await?)))
}

/// `POST /auth/v1/passkeys/login/verify`
async fn login(State(plane): State<Plane>, Who(caller): Who, body: Body) -> Result<Json<Value>, ApiProblem> {
    let AnswerRequest { challenge_id, response, .. } = body.json()?;
    Ok(Json(session_view(&plane.passkey_login(&caller, &challenge_id, &response).await?)))
}

/// `GET /auth/v1/passkeys`
async fn list(State(plane): State<Plane>, Who(caller): Who) -> Result<Json<Value>, ApiProblem> {
    let found = plane.passkey_list(&caller).await?;
    Ok(Json(json!({ "passkeys": found.iter().map(passkey_view).collect::<Vec<_>>() })))
}

/// `DELETE /auth/v1/passkeys/{id}`
async fn remove(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    plane.passkey_remove(&caller, &id).await?;
    Ok(Json(json!({ "status": "ok" })))
}

fn options_view(begun: &PasskeyOptions) -> Value {
    json!({ "challenge_id": begun.challenge_id, "options": begun.options })
}

/// # Source
/// Wire contract 04 section 2.15.
fn passkey_view(passkey: &PasskeyRecord) -> Value {
    json!({
        "id": passkey.id,
        "rp_id": passkey.rp_id,
        "created_origin": passkey.created_origin,
        "last_used_origin": passkey.last_used_origin,
        "transports": passkey.transports,
        "label": passkey.label,
        "credential_device_type": if passkey.is_multi_device { "multiDevice" } else { "singleDevice" },
        "credential_backed_up": passkey.is_backed_up,
        "created_at": rfc3339(passkey.created_at),
        "last_used_at": passkey.last_used_at.map(rfc3339),
        "disabled_at": passkey.disabled_at.map(rfc3339),
    })
}
