//! A failure on its way to the wire. Handlers answer [`ApiProblem`]; the outermost layer writes the body,
//! because only it knows the trace id and whether a repeat is harmless.

use axum::body::Body as HttpBody;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use serde_json::{Map, Value, json};
use types::{Code, Mutation, Problem, TraceId};

/// Clients look for the challenge here, and nowhere else.
const PAYMENT_REQUIRED: HeaderName = HeaderName::from_static("payment-required");
/// What became of a payment, also of one that was refused.
const PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("payment-response");
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
/// What a framework's own refusal may say.
const FOREIGN_BYTES_MAX: usize = 2048;
const RETRY_AFTER_SECS_DEFAULT: u64 = 1;
/// Published commands spread the body over their own `status` and `http`, which scripts look at.
const FORBIDDEN_NAMES: [&str; 2] = ["status", "http"];

/// What a handler answers instead of its result.
#[derive(Debug, Clone)]
pub struct ApiProblem(pub Box<Problem>);

impl ApiProblem {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Problem::new(code, message)))
    }
}

impl From<Problem> for ApiProblem {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl IntoResponse for ApiProblem {
    /// An empty body: the envelope is written by the outermost layer.
    fn into_response(self) -> Response {
        let mut response = status_of(&self.0).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Marks an answer that is not ours to change, whatever its status.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verbatim;

/// What the envelope has to know of the request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    trace: TraceId,
    method: Method,
    path: String,
    has_idempotency_key: bool,
}

impl Asked {
    pub(crate) fn of(request: &Request, trace: TraceId) -> Self {
        Self {
            trace,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            has_idempotency_key: request.headers().contains_key("idempotency-key"),
        }
    }
}

pub(crate) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Gives every failure the one envelope: ours, and those the framework made (404, 405, a path that is not
/// UTF-8).
pub(crate) async fn render(mut response: Response, asked: &Asked) -> Response {
    if let Some(ApiProblem(problem)) = response.extensions_mut().remove::<ApiProblem>() {
        return enveloped(response, &problem, asked);
    }
    if response.extensions().get::<Verbatim>().is_some() {
        return response;
    }
    let failed = response.status().is_client_error() || response.status().is_server_error();
    // Pages of sites, and `/health`, say by their content type that they mean their body.
    if !failed || response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| !is_plain(kind)) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let said = Limited::new(body, FOREIGN_BYTES_MAX).collect().await.map(|c| c.to_bytes());
    let said = said.ok().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok()).unwrap_or_default();
    let problem = foreign(parts.status, said.trim(), asked);
    enveloped(Response::from_parts(parts, HttpBody::empty()), &problem, asked)
}

fn is_plain(content_type: &HeaderValue) -> bool {
    content_type.as_bytes().starts_with(b"text/plain")
}

/// A refusal by the framework, as one of ours.
fn foreign(status: StatusCode, said: &str, asked: &Asked) -> Problem {
    let code = match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
        status if status.is_server_error() => Code::Internal,
        _ => Code::BadRequest,
    };
    let message = match code {
        Code::NotFound => format!("there is no {}", asked.path),
        Code::MethodNotAllowed => format!("{} does not take {}", asked.path, asked.method),
        // The inside of a failure is for the log.
        Code::Internal => "the server failed".to_owned(),
        _ if said.is_empty() => "the request is malformed".to_owned(),
        _ => said.to_owned(),
    };
    if code == Code::Internal {
        tracing::error!(http.status = status.as_u16(), said, "a failure without a problem");
    }
    Problem::new(code, message)
}

fn enveloped(mut response: Response, problem: &Problem, asked: &Asked) -> Response {
    let body = envelope(problem, asked);
    *response.status_mut() = status_of(problem);
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, JSON);
    for (name, text) in
        [(PAYMENT_REQUIRED, &problem.payment_required), (PAYMENT_RESPONSE, &problem.payment_response)]
    {
        if let Some(value) = text.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(name, value);
        }
    }
    if let Some(secs) = body.get("retry_after").and_then(Value::as_f64) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(secs.ceil() as u64));
    }
    *response.body_mut() = HttpBody::from(Value::Object(body).to_string());
    response
}

fn status_of(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The canonical body.
///
/// # Source
/// Wire contract 04 section 1.5.
pub(crate) fn envelope(problem: &Problem, asked: &Asked) -> Map<String, Value> {
    let code = problem.code;
    let action = code.action();
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
    put("error", json!(problem.message));
    put("message", json!(problem.message));
    put("code", json!(code.as_str()));
    put("category", json!(code.category()));
    put("retryable", json!(code.retryable()));
    put("safe_to_retry", json!(safe_to_retry(problem, asked)));
    put("mutation_state", json!(problem.mutation.as_str()));
    put("trace_id", json!(asked.trace));
    put("hint", json!(problem.hint.as_deref().unwrap_or(code.advice())));
    put("details", Value::Object(problem.details.clone()));
    // Older clients read `action`, newer ones `type`.
    put("next_actions", json!([{ "action": action, "type": action, "label": code.advice() }]));
    if matches!(code.status(), 429 | 503) && code.retryable() {
        put("retry_after", json!(RETRY_AFTER_SECS_DEFAULT));
    }
    for (name, value) in &problem.extra {
        if !FORBIDDEN_NAMES.contains(&name.as_str()) {
            put(name, value.clone());
        }
    }
    body
}

/// Repeating it cannot do it twice. Clients repeat at once when they read `true`, so it is said of a change
/// only where another try may help.
///
/// # Source
/// Wire contract 04 section 1.8.
fn safe_to_retry(problem: &Problem, asked: &Asked) -> bool {
    if is_read(&asked.method) {
        return true;
    }
    // The payment that is under way answers the repeat; it is never charged again.
    if problem.code == Code::PaymentPending {
        return true;
    }
    let idempotent = matches!(asked.method, Method::PUT | Method::DELETE) || asked.has_idempotency_key;
    let untouched = matches!(problem.mutation, Mutation::None | Mutation::NotStarted | Mutation::RolledBack);
    problem.code.retryable() && (untouched || idempotent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::OsEntropy;

    fn asked(method: Method) -> Asked {
        Asked { trace: TraceId::new(&OsEntropy), method, path: "/x".into(), has_idempotency_key: false }
    }

    #[test]
    fn every_code_gives_every_field_and_never_the_names_that_scripts_own() {
        for code in Code::ALL {
            let problem = Problem::new(*code, "no").extra("status", "x").extra("http", 1).extra("phase", "p");
            let body = envelope(&problem, &asked(Method::POST));
            for name in ["error", "message", "code", "category", "mutation_state", "trace_id", "hint"] {
                assert!(body[name].is_string(), "{code:?} {name}");
            }
            assert!(body["retryable"].is_boolean() && body["safe_to_retry"].is_boolean());
            assert!(body["details"].is_object() && body["next_actions"].is_array());
            assert_eq!(body["next_actions"][0]["action"], body["next_actions"][0]["type"]);
            assert!(!body.contains_key("status") && !body.contains_key("http"));
            assert_eq!(body["phase"], "p");
        }
    }

    #[test]
    fn a_change_of_unknown_outcome_is_not_called_safe_to_repeat() {
        let unknown = Problem::new(Code::OutcomeUnknown, "lost").mutation(Mutation::Unknown);
        assert_eq!(envelope(&unknown, &asked(Method::POST))["safe_to_retry"], false);
        assert_eq!(envelope(&unknown, &asked(Method::DELETE))["safe_to_retry"], true);
        assert_eq!(envelope(&unknown, &asked(Method::GET))["safe_to_retry"], true);
        let keyed = Asked { has_idempotency_key: true, ..asked(Method::POST) };
        assert_eq!(envelope(&unknown, &keyed)["safe_to_retry"], true);
        let busy = Problem::new(Code::Unavailable, "busy").mutation(Mutation::NotStarted);
        assert_eq!(envelope(&busy, &asked(Method::POST))["safe_to_retry"], true);
        // A permanent refusal of a change: repeating is harmless and pointless.
        let refused = Problem::new(Code::BadSubdomain, "no");
        assert_eq!(envelope(&refused, &asked(Method::POST))["safe_to_retry"], false);
    }

    #[tokio::test]
    async fn the_challenge_and_the_wait_are_headers_too() {
        let mut problem = Problem::new(Code::PaymentRequired, "pay").extra("retry_after", 1.2);
        problem.payment_required = Some("e30=".into());
        problem.payment_response = Some("e31=".into());
        let answer = render(ApiProblem::from(problem).into_response(), &asked(Method::POST)).await;
        assert_eq!(answer.status(), 402);
        assert_eq!(answer.headers()["payment-required"], "e30=");
        assert_eq!(answer.headers()["payment-response"], "e31=");
        assert_eq!(answer.headers()["retry-after"], "2");
        assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
        let unsigned = Problem::new(Code::AuthenticationRequired, "sign in");
        let answer = render(ApiProblem::from(unsigned).into_response(), &asked(Method::GET)).await;
        assert!(answer.status() == 402 && !answer.headers().contains_key("payment-required"));
    }

    #[tokio::test]
    async fn bodies_that_mean_themselves_are_left_alone() {
        let page = (StatusCode::NOT_FOUND, [("content-type", "text/html")], "<h1>no</h1>").into_response();
        let page = render(page, &asked(Method::GET)).await;
        assert_eq!(page.headers()["content-type"], "text/html");
        let health = (StatusCode::SERVICE_UNAVAILABLE, axum::Json(json!({"status": "degraded"})));
        let health = render(health.into_response(), &asked(Method::GET)).await;
        let bytes = health.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&bytes[..], br#"{"status":"degraded"}"#);
    }
}
