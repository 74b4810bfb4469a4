//! What only a lab does.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use plane::Plane;
use serde::Deserialize;
use serde_json::{Value, json};
use types::rfc3339;

use crate::app::AppState;
use crate::extract::{Body, Local};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new().route("/lab/clock", post(clock))
}

#[derive(Deserialize)]
struct ClockRequest {
    #[serde(default)]
    advance_secs: i64,
}

/// `POST /lab/clock`: moves the platform's time forwards.
async fn clock(State(plane): State<Plane>, _: Local, body: Body) -> Result<Json<Value>, ApiProblem> {
    let ClockRequest { advance_secs } = body.json()?;
    let clock = plane.lab_clock_advance(advance_secs).await?;
    Ok(Json(json!({
        "now": rfc3339(clock.now),
        "shift_secs": clock.shift.num_seconds(),
        "chain_moved": false,
        "note": "Leases and plans age by this clock. The chain's time and signatures do not follow it.",
    })))
}
