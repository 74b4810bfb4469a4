//! Is it up, and what is it. Public.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use plane::Plane;
use plane::status::{Health, Status};
use serde_json::{Map, Value, json};

use crate::app::AppState;

const VERSION: &str = env!("CARGO_PKG_VERSION");

pub fn routes() -> Router<AppState> {
    Router::new().route("/health", get(health)).route("/status", get(status)).route("/ping/v1", get(ping))
}

/// # Source
/// Wire contract 04 section 9.2. The only failure whose body is not the error envelope: clients read
/// `checks`.
async fn health(State(plane): State<Plane>) -> Response {
    let health = plane.health().await;
    let status = if health.is_healthy() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health_view(&health))).into_response()
}

async fn status(State(plane): State<Plane>) -> Json<Value> {
    let status = plane.status().await;
    Json(status_view(&status))
}

/// Touches nothing: for load balancers.
async fn ping() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

fn health_view(health: &Health) -> Value {
    let checks: Map<String, Value> = health
        .checks
        .iter()
        .map(|(name, works)| (name.clone(), if *works { "ok" } else { "fail" }.into()))
        .collect();
    let status = if health.is_healthy() { "healthy" } else { "degraded" };
    json!({ "status": status, "checks": checks, "version": VERSION })
}

/// # Source
/// Wire contract 04 section 9.1: one client reads some fields without looking whether they are there.
fn status_view(status: &Status) -> Value {
    let (word, current) = if status.healthy { ("ok", "operational") } else { ("degraded", "degraded") };
    let states: Map<String, Value> =
        status.capabilities.iter().map(|name| ((*name).to_owned(), current.into())).collect();
    let watchers: Map<String, Value> = status
        .watchers
        .iter()
        .map(|at| {
            let place = json!({
                "next_block": at.next_block,
                "safe_block": at.safe_block,
                "finalized_block": at.finalized_block,
                "halted_reason": at.halted_reason,
            });
            (at.network.as_str().to_owned(), place)
        })
        .collect();
    // This process has served for all of its life; what was before it is not known here.
    let available = json!({ "uptime_pct": 100 });
    let mut view = json!({
        "schema_version": "run402-status-v1",
        "service": "Run402",
        "status": word,
        "current_status": current,
        "uptime_seconds": status.uptime_secs,
        "deployment": { "version": VERSION },
        "operator": {
            "name": status.operator.name,
            "legal_name": status.operator.name,
            "contact": status.operator.contact,
        },
        "capabilities": status.capabilities,
        "capability_states": states,
        "availability": { "last_24h": available, "last_7d": available, "last_30d": available },
        "links": { "health": "/health", "openapi": "/openapi.json", "x402": "/.well-known/x402" },
        "networks": status.networks.iter().map(|network| network.as_str()).collect::<Vec<_>>(),
        "watchers": watchers,
        "nodes": status.nodes,
        "actors": status.actors,
        "outbox_rows": status.outbox_rows,
        "payments_in_flight": status.payments_in_flight,
    });
    if let Some(functions) = &status.functions {
        view["functions"] = json!({
            "running": functions.refused.is_none(),
            "refused": functions.refused,
            "limits": {
                "by": if functions.ungrouped.is_none() { "cgroup" } else { "rlimit" },
                "why": functions.ungrouped,
            },
            "workers": { "bound": functions.workers.bound, "ahead": functions.workers.ahead },
        });
    }
    if let Some(lab) = &status.lab {
        view["lab"] = lab.clone();
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_has_what_the_unmodified_client_reads_unguarded() {
        let view = status_view(&Status {
            healthy: true,
            uptime_secs: 7,
            operator: plane::Operator { name: "Ops".into(), contact: "https://ops.example.test".into() },
            capabilities: vec!["x402"],
            actors: [("lease", 2)].into(),
            nodes: Some(1),
            outbox_rows: Some(0),
            payments_in_flight: None,
            networks: vec![types::Network::BaseSepolia],
            watchers: Vec::new(),
            functions: None,
            lab: None,
        });
        assert!(view["uptime_seconds"].is_number() && view["deployment"]["version"].is_string());
        assert!(view["operator"]["name"].is_string() && view["operator"]["contact"].is_string());
        assert!(view["capabilities"].as_array().unwrap().iter().all(Value::is_string));
        assert_eq!(view["actors"]["lease"], 2);
        assert!(view.get("lab").is_none());
    }

    #[test]
    fn health_names_what_fails() {
        let checks = [("postgres".to_owned(), true), ("s3".to_owned(), false)].into();
        let view = health_view(&Health { checks });
        assert_eq!(view["status"], "degraded");
        assert_eq!((&view["checks"]["postgres"], &view["checks"]["s3"]), (&"ok".into(), &"fail".into()));
    }
}
