//! What every request passes on its way in and out. [`crate::app`] has the order and its reasons.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::{HeaderValue, Method, Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tracing::Instrument;
use types::{Code, Entropy, Mutation, OsEntropy, Problem, TraceId};

use crate::extract::Body;
use crate::problem::{self, ApiProblem, Asked};

pub(crate) const REQUEST_ID: &str = "x-run402-request-id";
/// The most that is read of a body that was refused for its size.
const DISCARDED_BYTES_MAX: u64 = 64 << 20;

/// Names the request, opens its span, and writes whatever failed inside as the one envelope.
pub(crate) async fn traced(mut request: Request, next: Next) -> Response {
    let trace = TraceId::new(&OsEntropy as &dyn Entropy);
    request.extensions_mut().insert(trace);
    let asked = Asked::of(&request, trace);
    let span = tracing::info_span!(
        "request",
        trace.id = %trace,
        http.method = %request.method(),
        http.path = %request.uri().path(),
    );
    async move {
        let started = std::time::Instant::now();
        let response = next.run(request).await;
        let mut response = problem::render(response, &asked).await;
        if let Ok(id) = HeaderValue::from_str(&trace.to_string()) {
            // A function's call has an id of its own.
            response.headers_mut().entry(REQUEST_ID).or_insert(id);
        }
        let (status, duration_ms) = (response.status().as_u16(), started.elapsed().as_millis() as u64);
        tracing::debug!(http.status = status, duration_ms, "answered");
        response
    }
    .instrument(span)
    .await
}

/// A panic is a bug, and still an answer. Whether the change happened is not known.
pub(crate) async fn panics_caught(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(payload) => {
            tracing::error!(panic = panic_text(&*payload), "a handler panicked");
            let problem = Problem::new(Code::Internal, "the server failed").mutation(Mutation::Unknown);
            ApiProblem::from(problem).into_response()
        }
    }
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

/// Refuses at once what would only wait: a queue in front of a busy server helps nobody.
pub(crate) async fn shed(State(permits): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = permits.try_acquire() else {
        let problem = Problem::new(Code::Unavailable, "the server is busy").mutation(Mutation::NotStarted);
        return ApiProblem::from(problem).into_response();
    };
    next.run(request).await
}

/// Ends what takes too long, slow uploads included. A change may still happen afterwards: actors finish what
/// they began.
pub(crate) async fn deadline(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    let read = problem::is_read(request.method());
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let mutation = if read { Mutation::None } else { Mutation::Unknown };
            let text = format!("no answer within {} seconds", limit.as_secs());
            ApiProblem::from(Problem::new(Code::Timeout, text).mutation(mutation)).into_response()
        }
    }
}

/// Reads the body whole, up to a limit, and hashes it, so that a handler may look at it twice and the replay
/// rule of signatures can tell requests apart.
pub(crate) async fn buffered(State(bytes_max): State<usize>, request: Request, next: Next) -> Response {
    if request.uri().path() == crate::routes::assets::PUT {
        // Larger, and read only once it is known who sends it.
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    // A client that is still writing when we hang up sees a broken pipe instead of the refusal, so what it
    // announces is read and thrown away first, within reason.
    let announced =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > bytes_max as u64) {
        if announced.is_some_and(|bytes| bytes <= DISCARDED_BYTES_MAX) {
            discard(body).await;
        }
        return too_large(bytes_max);
    }
    let bytes = match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(e) if e.downcast_ref::<LengthLimitError>().is_some() => return too_large(bytes_max),
        Err(_) => return ApiProblem::new(Code::BadRequest, "the body broke off").into_response(),
    };
    let sha256 = Sha256::digest(&bytes).into();
    parts.extensions.insert(Body { bytes: bytes.clone(), sha256 });
    next.run(Request::from_parts(parts, HttpBody::from(bytes))).await
}

/// A CI session only deploys: every other route is closed to it, whatever else the request carries.
///
/// # Source
/// Wire contract 02 section 8.4.
pub(crate) async fn ci_scope(request: Request, next: Next) -> Response {
    let bearer = request.headers().get_all(header::AUTHORIZATION).iter().filter_map(|value| {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let is_session = bearer.into_iter().any(plane::ci::is_session_token);
    if is_session && !plane::ci::is_callable(request.method().as_str(), request.uri().path()) {
        return ApiProblem::new(Code::CiInsufficientScope, "a CI session does not reach this route")
            .into_response();
    }
    next.run(request).await
}

/// Reads a body to its end and keeps nothing of it.
async fn discard(mut body: HttpBody) {
    while let Some(Ok(_)) = body.frame().await {}
}

fn too_large(bytes_max: usize) -> Response {
    let problem = Problem::new(Code::BodyTooLarge, format!("the body is larger than {bytes_max} bytes"))
        .detail("bytes_max", bytes_max);
    ApiProblem::from(problem).into_response()
}

/// Answers preflights and lets every origin read: the API has no cookies, so there is nothing to ride on.
///
/// # Source
/// Wire contract 04 section 1.11.
pub(crate) async fn cors(request: Request, next: Next) -> Response {
    let preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response =
        if preflight { http::StatusCode::NO_CONTENT.into_response() } else { next.run(request).await };
    let headers = response.headers_mut();
    // A function may have its own opinion.
    if !headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED_HEADERS));
    }
    if preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(ALLOWED_METHODS));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED_HEADERS));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
    response
}

const ALLOWED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// The last one is really sent as a request header by the x402 wrapper on its paid repeat.
const ALLOWED_HEADERS: &str = "apikey, authorization, content-type, prefer, range, range-unit, accept, accept-profile, \
     content-profile, x-client-info, if-match, sign-in-with-x, \
     idempotency-key, payment-signature, x-payment, x-admin-mode, x-confirm-drain, x-confirm-delete, \
     run402-client, access-control-expose-headers, x-run402-asset-key, x-run402-asset-visibility, \
     x-run402-asset-immutable, x-run402-asset-exif-policy, x-run402-asset-metadata";
const EXPOSED_HEADERS: &str = "PAYMENT-REQUIRED, PAYMENT-RESPONSE, X-PAYMENT-RESPONSE, Retry-After, \
     Content-Range, Content-Location, Location, Preference-Applied, ETag, x-run402-request-id";

/// The target with one leading slash: a client whose base ends in a slash asks for `//tiers/v1`.
///
/// # Source
/// Wire contract 01 section 1.1.
pub(crate) fn one_leading_slash(uri: &Uri) -> Option<Uri> {
    let target = uri.path_and_query()?.as_str();
    if !target.starts_with("//") {
        return None;
    }
    format!("/{}", target.trim_start_matches('/')).parse().ok()
}
