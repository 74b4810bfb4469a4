//! End users of a project.

mod admin;
mod google;
mod passkeys;

use axum::extract::{Query, State};
use axum::routing::{get, patch, post, put};
use axum::{Json, Router};
use http::StatusCode;
use plane::Plane;
use plane::users::{AskedLink, Delivery, Login, UserSession};
use serde::Deserialize;
use serde_json::{Value, json};
use types::{Code, rfc3339};
use users::{Intent, LinkProof, Settings, SettingsChange, User, UserKey};
use uuid::Uuid;

use crate::app::AppState;
use crate::extract::{Body, Who};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/auth/v1/signup", post(signup))
        .route("/auth/v1/token", post(token))
        .route("/auth/v1/magic-link", post(magic_link))
        .route("/auth/v1/user", get(user))
        .route("/auth/v1/user/password", put(password))
        .route("/auth/v1/providers", get(providers))
        .route("/auth/v1/logout", post(logout))
        .route("/auth/v1/settings", patch(settings))
        .route("/internal/v1/project-jwt-keys", get(jwt_keys))
        .merge(admin::routes())
        .merge(google::routes())
        .merge(passkeys::routes())
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
struct LinkGrant {
    token: String,
}

#[derive(Deserialize)]
struct CodeGrant {
    challenge_id: String,
    code: String,
}

#[derive(Deserialize)]
struct PageGrant {
    code: String,
    code_verifier: String,
}

#[derive(Deserialize)]
struct LinkRequest {
    email: String,
    redirect_url: Option<String>,
    intent: Option<Intent>,
    client_state: Option<Value>,
    delivery: Option<Delivery>,
}

#[derive(Deserialize)]
struct PasswordRequest {
    new_password: String,
    current_password: Option<String>,
}

#[derive(Deserialize)]
struct LogoutRequest {
    #[serde(default)]
    everywhere: bool,
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
        Some("magic_link") => {
            let token = body.json::<LinkGrant>()?.token;
            plane.user_link_use(&caller, LinkProof::Token(token)).await?
        }
        Some("email_code") => {
            let CodeGrant { challenge_id, code } = body.json()?;
            // What is no id names no request, like an id that we never gave.
            let id = challenge_id.parse().unwrap_or(Uuid::nil());
            plane.user_link_use(&caller, LinkProof::Code { id, code }).await?
        }
        Some("authorization_code") => {
            let PageGrant { code, code_verifier } = body.json()?;
            plane.google_end(&caller, &code, &code_verifier).await?
        }
        Some(_) => return Err(ApiProblem::new(Code::UnsupportedGrantType, "this grant type is unknown")),
    };
    Ok(Json(session_view(&session)))
}

/// `POST /auth/v1/magic-link`: the same answer for every address.
async fn magic_link(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let asked: LinkRequest = body.json()?;
    let asked = AskedLink {
        email: asked.email,
        redirect_url: asked.redirect_url,
        intent: asked.intent.unwrap_or_default(),
        client_state: asked.client_state,
        delivery: asked.delivery.unwrap_or_default(),
    };
    let id = plane.user_link_ask(&caller, asked).await?;
    let message = "If the address can sign in, a link is on its way.";
    Ok(Json(json!({ "message": message, "challenge_id": id })))
}

/// `GET /auth/v1/user`
async fn user(State(plane): State<Plane>, Who(caller): Who) -> Result<Json<Value>, ApiProblem> {
    let (account, role) = plane.user_account(&caller).await?;
    let mut view = user_view(&account.user);
    view["role"] = json!(role);
    view["has_password"] = json!(account.password_hash.is_some());
    view["has_passkeys"] = json!(account.passkeys > 0);
    view["passkey_count"] = json!(account.passkeys);
    let identity = |one: &users::Identity| {
        json!({
            "provider": one.provider,
            "provider_sub": one.provider_sub,
            "provider_email": one.provider_email,
            "created_at": rfc3339(one.created_at),
        })
    };
    view["identities"] = account.identities.iter().map(identity).collect();
    Ok(Json(view))
}

/// `PUT /auth/v1/user/password`
async fn password(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let PasswordRequest { new_password, current_password } = body.json()?;
    plane.user_password_set(&caller, current_password, new_password).await?;
    Ok(Json(json!({ "status": "ok" })))
}

/// `POST /auth/v1/logout`: ends the token's sign-in, whichever refresh token is named.
async fn logout(State(plane): State<Plane>, Who(caller): Who, body: Body) -> Result<Json<Value>, ApiProblem> {
    let LogoutRequest { everywhere } = body.json()?;
    plane.user_logout(&caller, everywhere).await?;
    Ok(Json(json!({ "status": "ok" })))
}

/// `GET /auth/v1/providers`
///
/// # Source
/// Wire contract 04 section 2.11.
async fn providers(State(plane): State<Plane>, Who(caller): Who) -> Result<Json<Value>, ApiProblem> {
    let offered = plane.auth_offered(&caller).await?;
    let all =
        [("password", true), ("magic_link", offered.mail), ("google", offered.google), ("passkey", true)];
    let names: Vec<_> = all.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    let modes: &[&str] = if offered.mail { &["link", "code", "both"] } else { &[] };
    Ok(Json(json!({
        "providers": names,
        "password": { "enabled": true },
        "magic_link": { "enabled": offered.mail, "delivery_modes": modes },
        "google": { "enabled": offered.google },
        "passkey": { "enabled": true },
        "preferred_sign_in_method": offered.settings.preferred_sign_in_method,
        "public_signup": offered.settings.public_signup,
    })))
}

/// `PATCH /auth/v1/settings`
async fn settings(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<Settings>, ApiProblem> {
    Ok(Json(plane.auth_settings(&caller, body.json::<SettingsChange>()?).await?))
}

/// `GET /internal/v1/project-jwt-keys`
///
/// # Source
/// Wire contract 03 section 6.3.
async fn jwt_keys(State(plane): State<Plane>, Who(caller): Who) -> Result<Json<Value>, ApiProblem> {
    let keys = plane.user_keys(&caller).await?;
    Ok(Json(json!({ "keys": keys.iter().map(UserKey::public).collect::<Vec<_>>() })))
}

/// # Source
/// Wire contract 04 section 2.1, "session object".
fn session_view(session: &UserSession) -> Value {
    let mut view = json!({
        "access_token": session.access_token,
        "refresh_token": session.refresh_token,
        "token_type": "bearer",
        "expires_in": users::token::ACCESS_SECS,
        "user": user_view(&session.user),
    });
    if let Some(link) = &session.magic_link {
        view["magic_link"] = json!({
            "intent": link.intent,
            "client_state": link.client_state,
            "state_source": if link.trusted { "service_key" } else { "anonymous" },
            "state_trusted": link.trusted,
        });
    }
    if session.needs_passkey() {
        view["elevation_required"] = json!(true);
        view["required_method"] = json!("passkey");
        view["effective_role"] = json!(session.role);
        view["intended_role"] = json!(users::token::Role::ProjectAdmin);
    }
    view
}

fn user_view(user: &User) -> Value {
    json!({
        "id": user.id,
        "email": user.email,
        "display_name": user.display_name,
        "avatar_url": user.avatar_url,
        "email_verified_at": user.email_verified_at.map(rfc3339),
        "is_admin": user.is_admin,
        "created_at": rfc3339(user.created_at),
    })
}
