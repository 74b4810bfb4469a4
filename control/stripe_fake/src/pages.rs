//! The page behind `checkout_url`: one click pays.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State as Shares};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use crate::{Settled, Shared, webhooks};

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/pay/{session}", get(show).post(act))
}

async fn show(Shares(shared): Shares<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let state = shared.state();
    let Some(session) = state.sessions.get(&id) else { return missing() };
    let amount = format!("${}.{:02}", session.cents / 100, session.cents % 100);
    let form = |how: &str, words: &str| {
        format!("<form method=post action=\"?how={how}\"><button>{words}</button></form>")
    };
    let forms = match (session.status, session.payment_status) {
        ("open", _) => {
            form("now", &format!("Pay {amount}")) + &form("later", "Pay by bank, the money comes later")
        }
        (_, "unpaid") => form("arrived", "The money arrives") + &form("failed", "The money does not arrive"),
        _ => form("refund", "Refund all of it"),
    };
    page(&format!(
        "<h1>{}</h1><p>{amount}, {}, {}. This is a lab: no card is charged.</p>{forms}",
        escaped(&session.name),
        session.status,
        session.payment_status
    ))
}

async fn act(
    Shares(shared): Shares<Arc<Shared>>,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    if !shared.state().sessions.contains_key(&id) {
        return missing();
    }
    let how = query.get("how").map_or("now", String::as_str);
    webhooks::send(&shared, |state| match how {
        "later" => state.complete(&id, "unpaid"),
        "arrived" => state.settle(&id, Settled::Paid),
        "failed" => state.settle(&id, Settled::Failed),
        "refund" => {
            let cents = state.sessions.get(&id).map_or(0, |session| session.cents);
            let intent = state.intent_of(&id)?;
            state.refund(&intent, cents)
        }
        _ => state.complete(&id, "paid"),
    });
    page("<h1>Done</h1><p>You may close this page.</p>")
}

fn page(body: &str) -> Response {
    Html(format!("<!doctype html><meta charset=utf-8><title>Lab checkout</title><body>{body}"))
        .into_response()
}

fn missing() -> Response {
    (StatusCode::NOT_FOUND, Html("<!doctype html><title>Lab checkout</title>No such checkout."))
        .into_response()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}
