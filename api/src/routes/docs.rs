//! Documents about the API itself. Public.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use plane::Plane;
use plane::status::{Acceptable, PricedOffer};
use serde_json::{Value, json};

use crate::app::{ApiConfig, AppState};

const X402_VERSION: u8 = 2;
const OFFER_SECS_MAX: u64 = 300;

pub fn routes() -> Router<AppState> {
    Router::new().route("/openapi.json", get(openapi)).route("/.well-known/x402", get(x402))
}

async fn openapi(State(config): State<Arc<ApiConfig>>) -> Json<Value> {
    Json(config.openapi.clone())
}

/// # Source
/// Wire contract 04 section 9.3; x402 specification, discovery.
async fn x402(State(plane): State<Plane>) -> Json<Value> {
    let base = plane.public_url();
    let items: Vec<Value> = plane.priced_offers().iter().map(|offer| item(base, offer)).collect();
    // The same by resource, for crawlers that read no items.
    let resources: Vec<Value> = items
        .iter()
        .map(|item| json!({ "url": item["resource"], "method": item["method"], "accepts": item["accepts"] }))
        .collect();
    let accepts: Vec<&Value> = items.iter().filter_map(|item| item["accepts"].as_array()).flatten().collect();
    Json(json!({
        "x402Version": X402_VERSION, "items": items, "resources": resources, "accepts": accepts,
    }))
}

fn item(base: &str, offer: &PricedOffer) -> Value {
    json!({
        "resource": format!("{base}{}", offer.path),
        "type": "http",
        "method": "POST",
        "x402Version": X402_VERSION,
        "description": offer.description,
        "accepts": offer.accepts.iter().map(|one| acceptable(offer, one)).collect::<Vec<_>>(),
    })
}

fn acceptable(offer: &PricedOffer, one: &Acceptable) -> Value {
    json!({
        "scheme": "exact",
        "network": one.network.as_str(),
        "amount": offer.price.to_string(),
        "asset": one.asset,
        "payTo": one.pay_to,
        "maxTimeoutSeconds": OFFER_SECS_MAX,
        "extra": { "name": one.asset_name, "version": one.asset_version },
    })
}
