//! AI helpers: images, translation, moderation.

use ai::Moderated;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use plane::Plane;
use plane::ai::{AiUsage, TranslateAsked};
use plane::images::{IMAGE_PATH, ImageOffer};
use serde::Deserialize;
use serde_json::{Value, json};
use types::{Network, rfc3339};

use crate::app::AppState;
use crate::extract::{Body, Who};
use crate::problem::ApiProblem;
use crate::routes::tiers::with_receipt;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route(IMAGE_PATH, get(quote).post(generate))
        .route("/ai/v1/translate", post(translate))
        .route("/ai/v1/moderate", post(moderate))
        .route("/ai/v1/usage", get(usage))
        .route("/ai/v1/addons", post(addon_enable).delete(addon_disable))
}

#[derive(Deserialize)]
struct GenerateRequest {
    prompt: String,
    aspect: Option<String>,
}

/// `to` as the contract has it, or as published examples send it: in an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum To {
    Plain(String),
    Wrapped { to: String, from: Option<String>, context: Option<String> },
}

#[derive(Deserialize)]
struct TranslateRequest {
    text: String,
    to: To,
    from: Option<String>,
    context: Option<String>,
}

#[derive(Deserialize)]
struct ModerateRequest {
    text: String,
}

#[derive(Deserialize)]
struct AddonRequest {
    addon: String,
}

/// `GET /generate-image/v1`: what an image costs.
async fn quote(State(plane): State<Plane>) -> Json<Value> {
    let ImageOffer { price, networks } = plane.image_quote();
    Json(json!({
        "price": price.dollars(),
        "price_usd_micros": price,
        "network": networks.first().map(word),
        "networks": networks.iter().map(|network| network.as_str()).collect::<Vec<_>>(),
    }))
}

/// As the published client writes it.
fn word(network: &Network) -> &'static str {
    match network {
        Network::Base => "base",
        Network::BaseSepolia => "base-sepolia",
    }
}

/// `POST /generate-image/v1`
async fn generate(State(plane): State<Plane>, Who(caller): Who, body: Body) -> Result<Response, ApiProblem> {
    let GenerateRequest { prompt, aspect } = body.json()?;
    let made = plane.image_generate(&caller, &prompt, aspect.as_deref().unwrap_or("square")).await?;
    let view = json!({
        "image": BASE64_STANDARD.encode(&made.png),
        "content_type": "image/png",
        "aspect": made.aspect.as_str(),
    });
    with_receipt(view, made.settle_response)
}

/// `POST /ai/v1/translate`
async fn translate(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let TranslateRequest { text, to, from, context } = body.json()?;
    let (to, from, context) = match to {
        To::Plain(to) => (to, from, context),
        To::Wrapped { to, from: inner, context: said } => (to, inner.or(from), said.or(context)),
    };
    let done = plane.ai_translate(&caller, &TranslateAsked { text, to, from, context }).await?;
    Ok(Json(json!({ "text": done.text, "from": done.from.as_str(), "to": done.to.as_str() })))
}

/// `POST /ai/v1/moderate`
async fn moderate(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let ModerateRequest { text } = body.json()?;
    let Moderated { flagged, categories, scores } = plane.ai_moderate(&caller, &text).await?;
    Ok(Json(json!({ "flagged": flagged, "categories": categories, "category_scores": scores })))
}

/// `GET /ai/v1/usage`
async fn usage(State(plane): State<Plane>, Who(caller): Who) -> Result<Json<Value>, ApiProblem> {
    let AiUsage { active, used_words, included_words, since } = plane.ai_usage(&caller).await?;
    Ok(Json(json!({
        "translation": {
            "active": active,
            "used_words": used_words,
            "included_words": included_words,
            "remaining_words": included_words.saturating_sub(used_words).max(0),
            "billing_cycle_start": rfc3339(since),
        },
    })))
}

/// `POST /ai/v1/addons`
async fn addon_enable(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    addon(&plane, &caller, &body, true).await
}

/// `DELETE /ai/v1/addons`
async fn addon_disable(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    addon(&plane, &caller, &body, false).await
}

async fn addon(
    plane: &Plane,
    caller: &plane::caller::Caller,
    body: &Body,
    on: bool,
) -> Result<Json<Value>, ApiProblem> {
    let AddonRequest { addon } = body.json()?;
    plane.ai_addon_set(caller, &addon, on).await?;
    Ok(Json(json!({ "status": "ok", "addon": addon, "active": on })))
}
