//! Balances and histories.

use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use plane::Plane;
use plane::billing::{BillingAccount, Entry};
use serde::Deserialize;
use serde_json::{Value, json};
use types::{Code, rfc3339};

use crate::app::AppState;
use crate::extract::Who;
use crate::problem::ApiProblem;

/// What an account without other wishes would recharge at, in e-mail credits.
const AUTO_RECHARGE_THRESHOLD: i64 = 2_000;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/billing/v1/accounts/{identifier}", get(account))
        .route("/billing/v1/accounts/{identifier}/history", get(history))
}

/// `GET /billing/v1/accounts/{identifier}`: what the account of a wallet has.
async fn account(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(identifier): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    plane.public_call(&caller)?;
    Ok(Json(account_view(&plane.billing_account(&identifier).await?)))
}

#[derive(Deserialize)]
struct HistoryQuery {
    /// Text, so that a bad one is answered like every other bad request.
    limit: Option<String>,
    after: Option<String>,
}

/// `GET /billing/v1/accounts/{identifier}/history?limit=&after=`: its entries, newest first.
async fn history(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(identifier): Path<String>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<Value>, ApiProblem> {
    plane.public_call(&caller)?;
    let after = query.after.as_deref().filter(|text| !text.is_empty()).map(entry_id).transpose()?;
    let history = plane.billing_history(&identifier, query.limit.as_deref(), after).await?;
    let next = history.entries.last().filter(|_| history.has_more).map(|entry| entry_name(entry.id));
    Ok(Json(json!({
        "identifier": history.wallet,
        "identifier_type": "wallet",
        "entries": history.entries.iter().map(entry_view).collect::<Vec<_>>(),
        "has_more": history.has_more,
        "next_cursor": next,
    })))
}

fn entry_name(id: i64) -> String {
    format!("led_{id}")
}

/// An entry's number from its name. The cursor is an entry's name, so any entry can be gone on from.
fn entry_id(text: &str) -> Result<i64, ApiProblem> {
    let id = text.strip_prefix("led_").and_then(|number| number.parse::<i64>().ok());
    id.filter(|id| *id > 0).ok_or_else(|| ApiProblem::new(Code::BadRequest, "after is not a next_cursor"))
}

fn account_view(account: &BillingAccount) -> Value {
    json!({
        "identifier": account.wallet,
        "identifier_type": "wallet",
        "exists": account.account.is_some(),
        "available_usd_micros": account.available,
        "held_usd_micros": account.held,
        "cash_available_usd_micros": account.cash.available(),
        "test_available_usd_micros": account.test.available(),
        "email_credits_remaining": 0,
        "tier": account.lease.map(|lease| lease.tier),
        "lease_expires_at": account.lease.map(|lease| rfc3339(lease.ends_at)),
        "auto_recharge_enabled": false,
        "auto_recharge_threshold": AUTO_RECHARGE_THRESHOLD,
    })
}

fn entry_view(entry: &Entry) -> Value {
    let mut metadata = entry.metadata.clone();
    if let Some(fields) = metadata.as_object_mut() {
        fields.insert("currency".to_owned(), entry.currency.as_str().into());
    }
    let reference = entry.reference.as_ref();
    json!({
        "id": entry_name(entry.id),
        "direction": entry.direction.as_str(),
        "kind": entry.reason,
        "amount_usd_micros": entry.amount,
        "balance_after_available": entry.balance_after_available,
        "balance_after_held": entry.balance_after_held,
        "reference_type": reference.map(|r| &r.0),
        "reference_id": reference.map(|r| &r.1),
        "metadata": metadata,
        "created_at": rfc3339(entry.created_at),
    })
}
