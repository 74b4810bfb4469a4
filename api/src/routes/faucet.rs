//! Test money.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use plane::Plane;
use serde::{Deserialize, Serialize};

use crate::app::AppState;
use crate::extract::{Body, Who};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new().route("/faucet/v1", post(drip))
}

#[derive(Deserialize)]
struct DripRequest {
    #[serde(default)]
    address: String,
}

/// # Source
/// Wire contract 01 section 4.
#[derive(Serialize)]
struct DripView {
    transaction_hash: String,
    amount_usd_micros: i64,
    token: &'static str,
    network: &'static str,
}

/// `POST /faucet/v1`: sends 0.25 test USDC and answers once it is mined, or after ten seconds.
async fn drip(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<DripView>, ApiProblem> {
    let request: DripRequest = body.json()?;
    let drip = plane.faucet_drip(&caller, &request.address).await?;
    Ok(Json(DripView {
        transaction_hash: format!("0x{}", hex::encode(drip.tx_hash)),
        amount_usd_micros: drip.amount.0,
        token: "USDC",
        network: drip.network.v1_name(),
    }))
}
