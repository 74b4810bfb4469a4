//! Tiers.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderName, HeaderValue};
use plane::Plane;
use plane::tiers::{Offer, TierSet, TierStatus};
use serde_json::{Map, Value, json};
use types::{Code, Problem, rfc3339};

use crate::app::AppState;
use crate::extract::Who;
use crate::problem::ApiProblem;

const PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("payment-response");

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/tiers/v1", get(quote))
        .route("/tiers/v1/status", get(status))
        .route("/tiers/v1/{tier}", post(set).get(offer))
}

/// `GET /tiers/v1`: what is for sale.
async fn quote(State(plane): State<Plane>) -> Json<Value> {
    let tiers: Map<String, Value> =
        plane.tier_quote().iter().map(|offer| (offer.tier.to_string(), offer_view(offer))).collect();
    Json(json!({
        "tiers": tiers,
        "auth": { "header": "SIGN-IN-WITH-X", "chain_id": "eip155:84532" },
    }))
}

/// `GET /tiers/v1/status`: what the signing wallet has.
async fn status(State(plane): State<Plane>, Who(caller): Who) -> Result<Json<Value>, ApiProblem> {
    Ok(Json(status_view(&plane.tier_status(&caller).await?)))
}

/// `POST /tiers/v1/{tier}`: subscribes, renews, upgrades or downgrades.
async fn set(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(tier): Path<String>,
) -> Result<Response, ApiProblem> {
    let TierSet { body, settle_response } = plane.tier_set(&caller, &tier).await?;
    with_receipt(body, settle_response)
}

/// `GET /tiers/v1/{tier}`: the offer of a tier, as the 402 that a buyer is given.
async fn offer(State(plane): State<Plane>, Who(caller): Who, Path(tier): Path<String>) -> ApiProblem {
    plane.tier_challenge(&caller, &tier).into()
}

/// A body, and the receipt of the payment behind it.
pub(super) fn with_receipt(body: Value, receipt: Option<String>) -> Result<Response, ApiProblem> {
    let mut response = Json(body).into_response();
    if let Some(receipt) = receipt {
        let value = HeaderValue::try_from(receipt)
            .map_err(|_| Problem::new(Code::Internal, "the settlement receipt is not a header"))?;
        response.headers_mut().insert(PAYMENT_RESPONSE, value);
    }
    Ok(response)
}

fn status_view(status: &TierStatus) -> Value {
    let lease = status.lease;
    json!({
        "wallet": status.wallet,
        "tier": lease.map(|l| l.tier),
        "lease_started_at": lease.map(|l| rfc3339(l.started_at)),
        "lease_expires_at": lease.map(|l| rfc3339(l.ends_at)),
        "active": status.active,
        "status": status.lifecycle.map(|l| l.as_str()),
        "organization_lifecycle_state": status.lifecycle.map(|l| l.as_str()),
        "lease_perpetual": status.pinned,
        "pool_usage": pool_usage(status),
    })
}

fn offer_view(offer: &Offer) -> Value {
    json!({
        "price": offer.price.dollars(),
        "price_usd_micros": offer.price,
        "lease_days": offer.lease_days,
        "storage_mb": offer.limits.storage_bytes >> 20,
        "api_calls": offer.limits.api_calls,
        "max_functions": offer.limits.functions,
        "networks": offer.networks.iter().map(|network| network.as_str()).collect::<Vec<_>>(),
        "description": offer.long_description(),
    })
}

/// Always there, also without a tier: a published client reads into it unguarded.
fn pool_usage(status: &TierStatus) -> Value {
    json!({
        "projects": status.usage.projects,
        "total_api_calls": status.usage.api_calls,
        "total_storage_bytes": status.usage.storage_bytes,
        "api_calls_limit": status.limits.map_or(0, |limits| limits.api_calls),
        "storage_bytes_limit": status.limits.map_or(0, |limits| limits.storage_bytes),
    })
}
