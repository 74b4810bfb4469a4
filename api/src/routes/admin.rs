//! What only operators do: an allow-listed wallet signs, and `X-Admin-Mode: 1` says that it is meant.

use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use plane::Plane;
use plane::suspense::{Decided, Resolution, ResolveTo, Suspended, name};
use serde::Deserialize;
use serde_json::{Value, json};
use types::{AccountId, Code, Wallet, rfc3339};

use crate::app::AppState;
use crate::extract::{Body, Who};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/admin/api/suspense", get(suspense_list))
        .route("/admin/api/suspense/resolve", post(suspense_resolve))
}

#[derive(Deserialize)]
struct PageQuery {
    after: Option<String>,
    limit: Option<String>,
}

/// `GET /admin/api/suspense?after=&limit=`: money that no payment explains.
async fn suspense_list(
    State(plane): State<Plane>,
    Who(caller): Who,
    Query(query): Query<PageQuery>,
) -> Result<Json<Value>, ApiProblem> {
    let page = (query.after.as_deref(), query.limit.as_deref());
    let page = plane.suspense_list(&caller, page).await?;
    Ok(Json(json!({
        "suspended": page.rows.iter().map(suspended_view).collect::<Vec<_>>(),
        "has_more": page.next.is_some(),
        "next_cursor": page.next.map(|next| next.to_string()),
    })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ResolveRequest {
    sighting: String,
    account: Option<AccountId>,
    wallet: Option<Wallet>,
    returned_tx: Option<String>,
    #[serde(default)]
    note: String,
}

/// `POST /admin/api/suspense/resolve`: gives it to an account, or notes that it was sent back.
async fn suspense_resolve(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let request: ResolveRequest = body.json()?;
    let to = destination(&request)?;
    let done = plane.suspense_resolve(&caller, &request.sighting, to, &request.note).await?;
    Ok(Json(resolution_view(&done)))
}

fn destination(request: &ResolveRequest) -> Result<ResolveTo, ApiProblem> {
    match (request.account, request.wallet, request.returned_tx.as_deref()) {
        (Some(account), None, None) => Ok(ResolveTo::Account(account)),
        (None, Some(wallet), None) => Ok(ResolveTo::Wallet(wallet)),
        (None, None, Some(hash)) => {
            let bytes = hash.strip_prefix("0x").and_then(|hex| hex::decode(hex).ok());
            let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
            bytes
                .map(ResolveTo::Returned)
                .ok_or_else(|| ApiProblem::new(Code::BadRequest, "returned_tx is not 0x and 64 hex digits"))
        }
        _ => Err(ApiProblem::new(Code::BadRequest, "send one of account, wallet and returned_tx")),
    }
}

fn suspended_view(row: &Suspended) -> Value {
    let seen = &row.sighting;
    json!({
        "sighting": name(seen).to_string(),
        "network": seen.network.as_str(),
        "block_number": seen.block_number,
        "block_time": rfc3339(seen.block_time),
        "transaction": format!("0x{}", hex::encode(seen.tx_hash)),
        "log_index": seen.log_index,
        "payer": seen.payer,
        "pay_to": seen.pay_to,
        "amount_usd_micros": seen.amount,
        "authorization_nonce": seen.nonce.map(|nonce| format!("0x{}", hex::encode(nonce))),
        "final": row.is_final,
        "claimed": row.claimed,
    })
}

fn resolution_view(done: &Resolution) -> Value {
    let (outcome, account, returned) = match done.decided {
        Decided::Credited { account } => ("credited", Some(account), None),
        Decided::Returned { tx_hash } => ("returned", None, Some(format!("0x{}", hex::encode(tx_hash)))),
    };
    json!({
        "sighting": done.sighting,
        "outcome": outcome,
        "account": account,
        "returned_tx": returned,
        "amount_usd_micros": done.amount,
        "currency": done.currency.as_str(),
        "note": done.note,
        "admin": done.admin,
        "resolved_at": rfc3339(done.created_at),
    })
}
