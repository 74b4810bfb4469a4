//! Our facilitator.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use plane::Plane;
use plane::pay::facilitator::Verdict;
use serde_json::{Map, Value, json};

use crate::app::AppState;
use crate::extract::{Body, Who};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/facilitator/supported", get(supported))
        .route("/facilitator/verify", post(verify))
        .route("/facilitator/settle", post(settle))
}

/// `GET /facilitator/supported`: what can be verified and settled.
async fn supported(State(plane): State<Plane>) -> Json<Value> {
    let supported = plane.facilitator_supported();
    let kinds: Vec<Value> = supported
        .networks
        .iter()
        .flat_map(|network| [(2, network.as_str()), (1, network.v1_name())])
        .map(|(version, network)| {
            json!({ "x402Version": version, "scheme": supported.scheme, "network": network })
        })
        .collect();
    let signers = match supported.signers.as_slice() {
        [] => json!({}),
        signers => json!({ "eip155:*": signers }),
    };
    Json(json!({ "kinds": kinds, "extensions": [], "signers": signers }))
}

/// `POST /facilitator/verify`: whether a payment could be settled now. Changes nothing.
async fn verify(State(plane): State<Plane>, body: Body) -> Result<Json<Value>, ApiProblem> {
    Ok(Json(verdict_view(plane.facilitator_verify(body.json::<Map<_, _>>()?).await?)))
}

/// `POST /facilitator/settle`: settles a payment to a payee that is served, once.
async fn settle(State(plane): State<Plane>, Who(caller): Who, body: Body) -> Result<Json<Value>, ApiProblem> {
    let answer = plane.facilitator_settle(&caller, body.json::<Map<_, _>>()?).await?;
    Ok(Json(json!(answer)))
}

fn verdict_view(verdict: Verdict) -> Value {
    let mut view = json!({ "isValid": verdict.refused.is_none() });
    if let Some((reason, message)) = verdict.refused {
        view["invalidReason"] = reason.into();
        view["invalidMessage"] = message.into();
    }
    if let Some(payer) = verdict.payer {
        view["payer"] = json!(payer);
    }
    view
}
