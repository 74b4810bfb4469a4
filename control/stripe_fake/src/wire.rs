//! The part of Stripe's API that we call.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, Query, State as Shares};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Form, Json, Router};
use serde_json::{Value, json};

use crate::state::{Answer, Intent, Session, State, refuse};
use crate::{Fault, Shared};

pub(crate) type Pairs = HashMap<String, String>;

pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/checkout/sessions", post(create_session))
        .route("/v1/checkout/sessions/{id}", get(fetch_session))
        .route("/v1/payment_intents", post(create_intent))
        .route("/v1/payment_intents/{id}", get(fetch_intent))
        .route("/v1/events", get(list_events))
        .route("/v1/balance_transactions", get(list_balance))
}

async fn create_session(
    Shares(shared): Shares<Arc<Shared>>,
    headers: HeaderMap,
    Form(form): Form<Pairs>,
) -> Response {
    let base = shared.base.clone();
    change(&shared, &headers, "session", &form, |state| session(state, &base, &form))
}

async fn create_intent(
    Shares(shared): Shares<Arc<Shared>>,
    headers: HeaderMap,
    Form(form): Form<Pairs>,
) -> Response {
    change(&shared, &headers, "intent", &form, |state| intent(state, &form))
}

async fn fetch_session(
    Shares(shared): Shares<Arc<Shared>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    read(&shared, &headers, |state| found(state.sessions.get(&id).map(Session::shown)))
}

async fn fetch_intent(
    Shares(shared): Shares<Arc<Shared>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Response {
    read(&shared, &headers, |state| found(state.intents.get(&id).map(Intent::shown)))
}

/// Newest first, in pages.
async fn list_events(
    Shares(shared): Shares<Arc<Shared>>,
    headers: HeaderMap,
    Query(query): Query<Pairs>,
) -> Response {
    read(&shared, &headers, |state| events(state, &query))
}

pub(crate) fn events(state: &State, query: &Pairs) -> Answer {
    let kinds: Vec<&String> =
        query.iter().filter(|(name, _)| name.starts_with("types[")).map(|(_, kind)| kind).collect();
    let wanted = |event: &Value| {
        !state.unlisted && (kinds.is_empty() || kinds.iter().any(|kind| event["type"] == kind.as_str()))
    };
    page("/v1/events", &state.events, query, wanted)
}

async fn list_balance(
    Shares(shared): Shares<Arc<Shared>>,
    headers: HeaderMap,
    Query(query): Query<Pairs>,
) -> Response {
    read(&shared, &headers, |state| balance(state, &query))
}

pub(crate) fn balance(state: &State, query: &Pairs) -> Answer {
    let expanded = query.iter().any(|(name, what)| name.starts_with("expand[") && what == "data.source");
    let (status, mut list) = page("/v1/balance_transactions", &state.balance, query, |_| true);
    for transaction in list["data"].as_array_mut().into_iter().flatten().filter(|_| !expanded) {
        transaction["source"] = transaction["source"]["id"].take();
    }
    (status, list)
}

fn page(url: &str, all: &[Value], query: &Pairs, wanted: impl Fn(&Value) -> bool) -> Answer {
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<i64>().ok());
    let since = number("created[gte]").unwrap_or(0);
    let limit = usize::try_from(number("limit").unwrap_or(10)).unwrap_or(10).clamp(1, 100);
    let mut found: Vec<&Value> =
        all.iter().rev().filter(|one| one["created"].as_i64() >= Some(since) && wanted(one)).collect();
    if let Some(last) = query.get("starting_after") {
        let Some(place) = found.iter().position(|one| one["id"] == last.as_str()) else {
            return refuse(400, "invalid_request_error", "no such object to start after");
        };
        found.drain(..=place);
    }
    let more = found.len() > limit;
    found.truncate(limit);
    (200, json!({ "object": "list", "url": url, "has_more": more, "data": found }))
}

pub(crate) fn session(state: &mut State, base: &str, form: &Pairs) -> Answer {
    let text = |name: &str| form.get(name).cloned().unwrap_or_default();
    let cents = text("line_items[0][price_data][unit_amount]").parse::<i64>().ok();
    let currency = text("line_items[0][price_data][currency]");
    let (Some(cents), true) = (cents, text("mode") == "payment" && !currency.is_empty()) else {
        return refuse(400, "invalid_request_error", "mode, currency and unit_amount are needed");
    };
    if cents < 50 {
        return refuse(400, "invalid_request_error", "the amount is below the minimum of $0.50");
    }
    let id = state.source.name("cs_test");
    let session = Session {
        url: format!("{base}/pay/{id}"),
        id: id.clone(),
        reference: text("client_reference_id"),
        cents,
        currency,
        name: text("line_items[0][price_data][product_data][name]"),
        success_url: text("success_url"),
        cancel_url: text("cancel_url"),
        status: "open",
        payment_status: "unpaid",
        intent: None,
        customer: None,
        saves_card: text("payment_intent_data[setup_future_usage]") == "off_session",
        kept: kept(form, "metadata"),
        metadata: kept(form, "payment_intent_data[metadata]"),
        created: state.source.now(),
    };
    let shown = session.shown();
    state.sessions.insert(id, session);
    (200, shown)
}

/// A charge of a saved card.
pub(crate) fn intent(state: &mut State, form: &Pairs) -> Answer {
    let text = |name: &str| form.get(name).cloned().unwrap_or_default();
    let card = text("payment_method");
    let known = state
        .intents
        .values()
        .any(|i| i.payment_method == card && i.customer == form.get("customer").cloned());
    let Some(cents) = text("amount").parse::<i64>().ok().filter(|_| known) else {
        return refuse(400, "invalid_request_error", "no such card of that customer");
    };
    if state.decline {
        return refuse(402, "card_error", "Your card was declined.");
    }
    let intent = Intent {
        id: state.source.name("pi"),
        charge: state.source.name("ch"),
        cents,
        refunded: 0,
        status: "succeeded",
        customer: form.get("customer").cloned(),
        payment_method: card,
        metadata: kept(form, "metadata"),
    };
    let shown = intent.shown();
    state.moved("charge", cents, intent.charge());
    state.intents.insert(intent.id.clone(), intent);
    (200, shown)
}

/// The metadata that a form gives under a name.
fn kept(form: &Pairs, within: &str) -> Value {
    let field =
        |name: &String| Some(name.strip_prefix(within)?.strip_prefix('[')?.strip_suffix(']')?.to_owned());
    form.iter()
        .filter_map(|(name, text)| Some((field(name)?, json!(text))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

pub(crate) fn found(object: Option<Value>) -> Answer {
    object.map_or_else(|| refuse(404, "invalid_request_error", "no such object"), |object| (200, object))
}

/// Reads do not fail: faults are for what a lost answer could do twice.
fn read(shared: &Shared, headers: &HeaderMap, answer: impl FnOnce(&State) -> Answer) -> Response {
    let state = shared.state();
    respond(stranger(headers).unwrap_or_else(|| answer(&state)))
}

/// A change under an idempotency key: the first answer is everybody's.
fn change(
    shared: &Shared,
    headers: &HeaderMap,
    what: &str,
    form: &Pairs,
    act: impl FnOnce(&mut State) -> Answer,
) -> Response {
    let mut state = shared.state();
    let gate = gate(&mut state, headers);
    match gate {
        Gate::Refused(refused) => return respond(refused),
        Gate::Break { done: false } => {
            drop(state);
            return broken();
        }
        Gate::Open | Gate::Break { done: true } => {}
    }
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let answer = state.once(key, asked(what, form), act);
    drop(state);
    if matches!(gate, Gate::Break { .. }) { broken() } else { respond(answer) }
}

/// What a change asks for, in whatever order its form says it.
pub(crate) fn asked(what: &str, form: &Pairs) -> String {
    let mut sorted: Vec<_> = form.iter().collect();
    sorted.sort();
    format!("{what} {sorted:?}")
}

enum Gate {
    Open,
    Refused(Answer),
    Break { done: bool },
}

fn gate(state: &mut State, headers: &HeaderMap) -> Gate {
    if let Some(refused) = stranger(headers) {
        return Gate::Refused(refused);
    }
    match state.faults.pop_front() {
        None => Gate::Open,
        Some(Fault::Status(status)) => Gate::Refused(refuse(status, "api_error", "a fault was asked for")),
        Some(Fault::LostAnswer) => Gate::Break { done: true },
        Some(Fault::Reset) => Gate::Break { done: false },
    }
}

fn stranger(headers: &HeaderMap) -> Option<Answer> {
    let key = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let known = key.starts_with("Bearer sk_test_");
    (!known).then(|| refuse(401, "invalid_request_error", "no API key that this server knows"))
}

/// Ends the connection without an answer: a handler that unwinds takes its connection with it.
fn broken() -> Response {
    std::panic::resume_unwind(Box::new("the connection breaks"))
}

fn respond((status, body): Answer) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(body)).into_response()
}
