//! Signing in with Google.

use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderName, StatusCode, header};
use plane::Plane;
use plane::users::{AskedGoogle, CALLBACK, GoogleAnswer};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::AppState;
use crate::extract::{Body, Who};
use crate::problem::ApiProblem;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/auth/v1/oauth/google/start", post(start)).route(CALLBACK, get(callback))
}

/// A page asks for either; a popup ends at the same URL.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Redirect,
    Popup,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Intent {
    Signin,
    Link,
}

/// The only method: a verifier in clear would be in every log of the way.
#[derive(Deserialize)]
enum ChallengeMethod {
    S256,
}

#[derive(Deserialize)]
struct StartRequest {
    redirect_url: String,
    code_challenge: String,
    #[serde(rename = "code_challenge_method")]
    _method: Option<ChallengeMethod>,
    #[serde(rename = "mode")]
    _mode: Option<Mode>,
    intent: Option<Intent>,
}

/// `POST /auth/v1/oauth/google/start`: where the page sends its browser.
async fn start(State(plane): State<Plane>, Who(caller): Who, body: Body) -> Result<Json<Value>, ApiProblem> {
    let asked: StartRequest = body.json()?;
    let link = matches!(asked.intent, Some(Intent::Link));
    let asked = AskedGoogle { redirect_url: asked.redirect_url, code_challenge: asked.code_challenge, link };
    let begun = plane.google_begin(&caller, asked).await?;
    Ok(Json(json!({
        "authorization_url": begun.authorization_url.as_str(),
        "state": begun.state,
        "expires_in": begun.expires_in,
    })))
}

#[derive(Deserialize)]
struct CallbackQuery {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
}

/// `GET /auth/v1/oauth/google/callback`: sends the browser back to the page that began.
async fn callback(
    State(plane): State<Plane>,
    Who(caller): Who,
    Query(query): Query<CallbackQuery>,
) -> Result<(StatusCode, [(HeaderName, String); 3]), ApiProblem> {
    let answer = GoogleAnswer { state: query.state, code: query.code, error: query.error };
    let page = plane.google_answer(&caller, answer).await?;
    let headers = [
        (header::LOCATION, page.into()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        // This URL has a code of Google's in it.
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    Ok((StatusCode::SEE_OTHER, headers))
}
