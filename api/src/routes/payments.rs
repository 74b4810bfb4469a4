//! Payments.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use plane::Plane;
use plane::payments::PaymentStatus;
use serde_json::{Value, json};
use types::{Code, PaymentId, rfc3339};

use crate::app::AppState;
use crate::extract::{Who, id};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new().route("/payments/v1/{id}", get(fetch))
}

/// `GET /payments/v1/{id}`: where a payment stands, for the account that made it.
async fn fetch(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(text): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    let id = id::<PaymentId>(&text, Code::ResourceNotFound)?;
    Ok(Json(view(plane.payment_get(&caller, id).await?)))
}

fn view(payment: PaymentStatus) -> Value {
    let failure = payment.failure.map(|(code, message)| json!({ "code": code, "message": message }));
    json!({
        "payment_id": payment.id,
        "state": payment.state,
        "network": payment.network.as_str(),
        "payer": payment.payer,
        "pay_to": payment.pay_to,
        "amount_usd_micros": payment.amount.0,
        "product": payment.product,
        "product_key": payment.product_key,
        "failure": failure,
        "transaction": payment.tx_hash.map(|hash| format!("0x{}", hex::encode(hash))),
        "block_number": payment.block_number,
        "result": payment.answer,
        "created_at": rfc3339(payment.created_at),
        "updated_at": rfc3339(payment.updated_at),
        "credited_at": payment.credited_at.map(rfc3339),
        "finalized_at": payment.finalized_at.map(rfc3339),
    })
}
