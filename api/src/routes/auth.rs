//! End users of a project.

use axum::extract::{Query, State};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use http::StatusCode;
use plane::Plane;
use plane::users::{Login, UserSession};
use serde::Deserialize;
use serde_json::{Value, json};
use types::{Code, rfc3339};
use users::{Settings, SettingsChange, User};

use crate::app::AppState;
use crate::extract::{Body, Who};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/auth/v1/signup", post(signup))
        .route("/auth/v1/token", post(token))
        .route("/auth/v1/user", get(user))
        .route("/auth/v1/logout", post(logout))
        .route("/auth/v1/settings", patch(settings))
}

#[derive(Deserialize)]
struct LoginRequest {
    email: String,
    password: String,
}

impl From<LoginRequest> for Login {
    fn from(request: LoginRequest) -> Self {
        Self { email: request.email, password: request.password }
    }
}

#[derive(Deserialize)]
struct RefreshRequest {
    refresh_token: String,
}

#[derive(Deserialize)]
struct Grant {
    grant_type: Option<String>,
}

/// `POST /auth/v1/signup`: makes an account; the password grant signs it in.
async fn signup(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiProblem> {
    let made = plane.user_signup(&caller, body.json::<LoginRequest>()?.into()).await?;
    Ok((StatusCode::CREATED, Json(user_view(&made))))
}

/// `POST /auth/v1/token?grant_type=…`: older clients leave the type out and mean a password.
async fn token(
    State(plane): State<Plane>,
    Who(caller): Who,
    Query(grant): Query<Grant>,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let session = match grant.grant_type.as_deref() {
        None | Some("password") => plane.user_login(&caller, body.json::<LoginRequest>()?.into()).await?,
        Some("refresh_token") => {
            plane.user_refresh(&caller, &body.json::<RefreshRequest>()?.refresh_token).await?
        }
        Some(_) => return Err(ApiProblem::new(Code::UnsupportedGrantType, "this grant type is unknown")),
    };
    Ok(Json(session_view(&session)))
}

/// `GET /auth/v1/user`
async fn user(State(plane): State<Plane>, Who(caller): Who) -> Result<Json<Value>, ApiProblem> {
    let (user, role) = plane.user_info(&caller).await?;
    let mut view = user_view(&user);
    view["role"] = json!(role);
    Ok(Json(view))
}

/// `POST /auth/v1/logout`: ends the token's sign-in, whichever refresh token is named.
async fn logout(State(plane): State<Plane>, Who(caller): Who) -> Result<Json<Value>, ApiProblem> {
    plane.user_logout(&caller).await?;
    Ok(Json(json!({ "status": "ok" })))
}

/// `PATCH /auth/v1/settings`
async fn settings(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<Settings>, ApiProblem> {
    Ok(Json(plane.auth_settings(&caller, body.json::<SettingsChange>()?).await?))
}

/// # Source
/// Wire contract 04 section 2.1, "session object".
fn session_view(session: &UserSession) -> Value {
    json!({
        "access_token": session.access_token,
        "refresh_token": session.refresh_token,
        "token_type": "bearer",
        "expires_in": users::token::ACCESS_SECS,
        "user": user_view(&session.user),
    })
}

fn user_view(user: &User) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "display_name": user.display_name,
        "avatar_url": user.avatar_url,
        "email_verified_at": user.email_verified_at.map(rfc3339),
        "is_admin": user.is_admin,
        "identities": [],
        "created_at": rfc3339(user.created_at),
    })
}
