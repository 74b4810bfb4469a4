//! What an account's owner lets its agents spend.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use plane::Plane;
use plane::budgets::{Budget, Scope};
use serde::Deserialize;
use serde_json::{Value, json};
use types::{ProjectId, UsdMicros, Wallet, rfc3339};

use crate::app::AppState;
use crate::extract::{Body, Who};
use crate::problem::ApiProblem;

pub fn routes() -> Router<AppState> {
    Router::new().route("/billing/v1/budgets", get(list).post(set))
}

/// `GET /billing/v1/budgets`: the budgets of the caller's account.
async fn list(State(plane): State<Plane>, Who(caller): Who) -> Result<Json<Value>, ApiProblem> {
    Ok(Json(view(&plane.budget_list(&caller).await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetRequest {
    wallet: Option<Wallet>,
    project_id: Option<ProjectId>,
    /// Null takes the budget away; it must be there, so that nothing is taken away by mistake.
    #[serde(deserialize_with = "Option::deserialize")]
    limit_usd_micros: Option<i64>,
}

/// `POST /billing/v1/budgets`: sets a limit, or takes it away.
async fn set(State(plane): State<Plane>, Who(caller): Who, body: Body) -> Result<Json<Value>, ApiProblem> {
    let BudgetRequest { wallet, project_id, limit_usd_micros } = body.json()?;
    let scope = Scope { wallet, project: project_id };
    Ok(Json(view(&plane.budget_set(&caller, scope, limit_usd_micros.map(UsdMicros)).await?)))
}

fn view(budgets: &[Budget]) -> Value {
    let rows: Vec<Value> = budgets
        .iter()
        .map(|budget| {
            json!({
                "wallet": budget.scope.wallet,
                "project_id": budget.scope.project,
                "period": "day",
                "limit_usd_micros": budget.limit,
                "spent_usd_micros": budget.spent_cash,
                "spent_test_usd_micros": budget.spent_test,
                "set_by": budget.set_by,
                "updated_at": rfc3339(budget.updated_at),
            })
        })
        .collect();
    json!({ "budgets": rows })
}
