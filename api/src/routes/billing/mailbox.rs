//! Where the links in an account's mail lead.

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, header};
use plane::Plane;
use plane::billing::mailbox::Confirmed;
use serde::Deserialize;
use serde_json::json;

use crate::app::AppState;
use crate::extract::{Body, Who};
use crate::problem::ApiProblem;

/// Nothing but its own form, shown nowhere else; the address holds a secret that no other page is told.
const PAGE_HEADERS: [(&str, &str); 6] = [
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    (
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    ),
];

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/billing/v1/email-confirmations", get(page).post(confirm))
}

/// `GET /billing/v1/email-confirmations?token=`: a page with one button. Mail scanners follow links, so the link
/// alone confirms nothing.
async fn page() -> Response {
    // The form goes to the page's own address, token included.
    html("<p>Confirm that this mail was yours.</p><form method=\"post\"><button>Confirm</button></form>")
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
}

/// `POST /billing/v1/email-confirmations`: takes the answer; the token is in the query or in the body.
async fn confirm(
    State(plane): State<Plane>,
    Who(caller): Who,
    Query(query): Query<Token>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiProblem> {
    plane.public_call(&caller)?;
    let person = wants_html(&headers);
    let token = match query.token {
        Some(token) => token,
        None => body.json::<Token>()?.token.unwrap_or_default(),
    };
    match plane.billing_confirm_email(&caller, &token).await {
        Ok(confirmed) if person => Ok(html(thanks(&confirmed))),
        Ok(confirmed) => Ok(Json(json!({
            "status": "confirmed",
            "id": confirmed.account.0,
            "email": confirmed.email,
            "wallet": confirmed.link.map(|(wallet, _)| wallet),
            "linked": confirmed.link.map(|(_, linked)| linked),
        }))
        .into_response()),
        Err(problem) => Err(problem.into()),
    }
}

fn thanks(confirmed: &Confirmed) -> &'static str {
    match confirmed.link {
        None => "<p>Your address is confirmed. You can close this page.</p>",
        Some((_, true)) => "<p>The wallet has joined your account. You can close this page.</p>",
        Some((_, false)) => "<p>Your account agrees. The wallet has to sign its request once more.</p>",
    }
}

fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

fn html(inner: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Billing account</title><style>body{{font:1rem/1.5 system-ui;\
         max-width:32rem;margin:4rem auto;padding:0 1rem}}button{{font:inherit;padding:.5rem 1rem}}</style>{inner}"
    );
    (PAGE_HEADERS, page).into_response()
}
