//! What operators ask of the ledger.

use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use plane::Plane;
use plane::finance::{Exposed, Flow, PlatformFinance, ProjectFinance, Standing, cost_name};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use types::{Code, ProjectId};

use crate::app::AppState;
use crate::extract::{Who, id};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/admin/api/finance/project/{id}", get(project))
        .route("/admin/api/finance/platform", get(platform))
        .route("/admin/api/finance/exposure", get(exposure))
}

#[derive(Deserialize)]
struct WindowQuery {
    window: Option<String>,
}

/// `GET /admin/api/finance/project/{id}?window=`: what a project brings in and costs.
async fn project(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(text): Path<String>,
    Query(query): Query<WindowQuery>,
) -> Result<Json<Value>, ApiProblem> {
    let id = id::<ProjectId>(&text, Code::ProjectNotFound)?;
    Ok(Json(project_view(&plane.finance_project(&caller, id, query.window.as_deref()).await?)))
}

/// `GET /admin/api/finance/platform?window=`: profit and loss, and where all accounts stand.
async fn platform(
    State(plane): State<Plane>,
    Who(caller): Who,
    Query(query): Query<WindowQuery>,
) -> Result<Json<Value>, ApiProblem> {
    Ok(Json(platform_view(&plane.finance_platform(&caller, query.window.as_deref()).await?)))
}

/// `GET /admin/api/finance/exposure`: what is credited and not final, by level.
async fn exposure(State(plane): State<Plane>, Who(caller): Who) -> Result<Json<Value>, ApiProblem> {
    Ok(Json(exposure_view(&plane.finance_exposure(&caller).await?)))
}

/// # Source
/// Wire contract 01 section 6.9.
fn project_view(of: &ProjectFinance) -> Value {
    let (revenue, cost) = (of.revenue.total().0, of.cost().0);
    let costs: Vec<Value> = of
        .costs
        .iter()
        .map(|(category, micros)| json!({ "category": category, "cost_usd_micros": micros }))
        .collect();
    json!({
        "project_id": of.id,
        "project_name": of.name,
        "window": of.window.word,
        "revenue_usd_micros": revenue,
        "direct_cost_usd_micros": cost,
        "direct_margin_usd_micros": revenue.saturating_sub(cost),
        "revenue_breakdown": {
            "tier_fees_usd_micros": of.revenue.tier_fees,
            "email_packs_usd_micros": of.revenue.email_packs,
            "kms_rental_usd_micros": of.revenue.kms_rental,
            "kms_sign_fees_usd_micros": of.revenue.kms_sign_fees,
            "per_call_sku_usd_micros": of.revenue.per_call_sku,
        },
        "direct_cost_breakdown": costs,
        "includes_test_money": of.test_money,
        "notes": format!(
            "Direct costs only. The account's fees are split evenly over its {} projects of this window.",
            of.sharers
        ),
    })
}

fn platform_view(of: &PlatformFinance) -> Value {
    let mut by_currency = Map::new();
    for flow in &of.flows {
        let empty = || json!({ "revenue": {}, "costs": {}, "revenue_usd_micros": 0, "cost_usd_micros": 0 });
        let entry = by_currency.entry(flow.currency.as_str()).or_insert_with(empty);
        book(entry, flow);
    }
    for entry in by_currency.values_mut() {
        let of = |name: &str| entry[name].as_i64().unwrap_or_default();
        entry["profit_usd_micros"] = json!(of("revenue_usd_micros").saturating_sub(of("cost_usd_micros")));
    }
    json!({
        "window": of.window.word,
        "profit_and_loss": by_currency,
        "accounts": of.standings.iter().map(standing_view).collect::<Vec<_>>(),
    })
}

fn book(entry: &mut Value, flow: &Flow) {
    let (group, total, name, micros) = match cost_name(flow.kind) {
        Some(name) => ("costs", "cost_usd_micros", name, flow.net.0.saturating_neg()),
        None => ("revenue", "revenue_usd_micros", flow.name.as_str(), flow.net.0),
    };
    let add = |slot: &mut Value| *slot = json!(slot.as_i64().unwrap_or_default().saturating_add(micros));
    add(&mut entry[group][name]);
    add(&mut entry[total]);
}

fn standing_view(of: &Standing) -> Value {
    json!({
        "kind": of.kind.as_str(),
        "name": of.name,
        "currency": of.currency.as_str(),
        "posted_micros": of.posted,
        "held_micros": of.held,
        "accounts": of.accounts,
    })
}

fn exposure_view(rows: &[Exposed]) -> Value {
    let levels = rows.iter().filter_map(|row| {
        let level = row.level?.as_str();
        Some(json!({
            "network": row.network.as_str(),
            "currency": row.currency.as_str(),
            "level": level,
            "amount_usd_micros": row.amount,
            "payments": row.payments,
        }))
    });
    let unexplained: i64 = rows.iter().filter(|row| row.level.is_none()).map(|row| row.amount.0).sum();
    let exposed: i64 = rows.iter().filter(|row| row.level.is_some()).map(|row| row.amount.0).sum();
    json!({
        "exposure": levels.collect::<Vec<_>>(),
        "exposed_usd_micros": exposed,
        "unexplained_usd_micros": unexplained,
    })
}
