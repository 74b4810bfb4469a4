//! Balances and histories.

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::HeaderMap;
use plane::Plane;
use plane::billing::checkouts::{Buyer, CheckoutView};
use plane::billing::{BillingAccount, Entry};
use serde::Deserialize;
use serde_json::{Value, json};
use types::{Code, rfc3339};

use crate::app::AppState;
use crate::extract::{Body, Who};
use crate::problem::ApiProblem;

mod mailbox;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/billing/v1/accounts/{identifier}", get(account))
        .route("/billing/v1/accounts/{identifier}/history", get(history))
        .route("/billing/v1/accounts", post(create_email))
        .route("/billing/v1/accounts/{identifier}/link-wallet", post(link_wallet))
        .merge(mailbox::routes())
        .route("/billing/v1/checkouts", post(top_up))
        .route("/billing/v1/tiers/{tier}/checkout", post(tier_checkout))
        .route("/billing/v1/email-packs/checkout", post(email_pack))
        .route("/billing/v1/email-packs/auto-recharge", post(auto_recharge))
        .route("/webhooks/v1/stripe", post(stripe_webhook))
}

/// `GET /billing/v1/accounts/{identifier}`: what the account of a wallet or an e-mail address has.
async fn account(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(identifier): Path<String>,
) -> Result<Json<Value>, ApiProblem> {
    plane.public_call(&caller)?;
    Ok(Json(account_view(&plane.billing_account(&caller, &identifier).await?)))
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
    let history = plane.billing_history(&caller, &identifier, query.limit.as_deref(), after).await?;
    let next = history.entries.last().filter(|_| history.has_more).map(|entry| entry_name(entry.id));
    Ok(Json(json!({
        "identifier": history.identifier.to_string(),
        "identifier_type": history.identifier.kind(),
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

#[derive(Deserialize)]
struct CreateEmailRequest {
    email: String,
}

/// `POST /billing/v1/accounts`: the account of an e-mail address, made at first sight.
async fn create_email(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    plane.public_call(&caller)?;
    let request: CreateEmailRequest = body.json()?;
    let made = plane.billing_email_account(&caller, &request.email).await?;
    Ok(Json(json!({
        "id": made.account.0,
        "org_id": made.account,
        "email": made.email,
        "email_credits_remaining": made.email_credits,
        "verification_sent": made.asked,
        "email_verified": made.verified,
    })))
}

#[derive(Deserialize)]
struct LinkWalletRequest {
    wallet: String,
}

/// `POST /billing/v1/accounts/{id}/link-wallet`: one account for a wallet and an e-mail address.
async fn link_wallet(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    plane.public_call(&caller)?;
    let request: LinkWalletRequest = body.json()?;
    let link = plane.billing_link_wallet(&caller, &id, &request.wallet).await?;
    Ok(Json(json!({
        "status": if link.linked { "linked" } else { "pending" },
        "id": link.account.0,
        "org_id": link.account,
        "wallet": link.wallet,
        "next": link.missing,
    })))
}

#[derive(Deserialize)]
struct CheckoutRequest {
    wallet: Option<String>,
    email: Option<String>,
    amount_usd_micros: Option<i64>,
}

impl CheckoutRequest {
    fn buyer(&self) -> Buyer {
        Buyer { wallet: self.wallet.clone(), email: self.email.clone() }
    }
}

/// `POST /billing/v1/checkouts`: pays credit in by card.
async fn top_up(State(plane): State<Plane>, Who(caller): Who, body: Body) -> Result<Json<Value>, ApiProblem> {
    plane.public_call(&caller)?;
    let request: CheckoutRequest = body.json()?;
    let amount = request.amount_usd_micros;
    let amount =
        amount.ok_or_else(|| ApiProblem::new(Code::InvalidAmount, "amount_usd_micros is missing"))?;
    Ok(checkout_view(&plane.checkout_top_up(&caller, &request.buyer(), amount).await?))
}

/// `POST /billing/v1/tiers/{tier}/checkout`: buys a tier by card.
async fn tier_checkout(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(tier): Path<String>,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    plane.public_call(&caller)?;
    let request: CheckoutRequest = body.json()?;
    Ok(checkout_view(&plane.checkout_tier(&caller, &request.buyer(), &tier).await?))
}

/// `POST /billing/v1/email-packs/checkout`: buys e-mail credits by card.
async fn email_pack(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    plane.public_call(&caller)?;
    let request: CheckoutRequest = body.json()?;
    Ok(checkout_view(&plane.checkout_email_pack(&caller, &request.buyer()).await?))
}

fn checkout_view(checkout: &CheckoutView) -> Json<Value> {
    Json(json!({ "checkout_url": checkout.url, "topup_id": checkout.id }))
}

#[derive(Deserialize)]
struct AutoRechargeRequest {
    billing_account_id: String,
    enabled: bool,
    threshold: Option<i64>,
}

/// `POST /billing/v1/email-packs/auto-recharge`: recharges by itself when few credits are left.
async fn auto_recharge(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    plane.public_call(&caller)?;
    let request: AutoRechargeRequest = body.json()?;
    let wish = (request.enabled, request.threshold);
    let set = plane.recharge_set(&caller, &request.billing_account_id, wish).await?;
    Ok(Json(json!({
        "billing_account_id": request.billing_account_id,
        "auto_recharge_enabled": set.enabled,
        "auto_recharge_threshold": set.threshold,
    })))
}

/// `POST /webhooks/v1/stripe`: a delivery of Stripe. Acknowledged once it is durable.
async fn stripe_webhook(
    State(plane): State<Plane>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let signature = headers.get("stripe-signature").and_then(|value| value.to_str().ok());
    plane.stripe_webhook(signature, &body.bytes).await?;
    Ok(Json(json!({ "received": true })))
}

fn account_view(account: &BillingAccount) -> Value {
    json!({
        "identifier": account.identifier.to_string(),
        "identifier_type": account.identifier.kind(),
        "exists": account.account.is_some(),
        "available_usd_micros": account.available,
        "held_usd_micros": account.held,
        "cash_available_usd_micros": account.cash.available(),
        "test_available_usd_micros": account.test.available(),
        "email_credits_remaining": account.email_credits,
        "tier": account.lease.map(|lease| lease.tier),
        "lease_expires_at": account.lease.map(|lease| rfc3339(lease.ends_at)),
        "auto_recharge_enabled": account.recharge.enabled,
        "auto_recharge_threshold": account.recharge.threshold,
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
