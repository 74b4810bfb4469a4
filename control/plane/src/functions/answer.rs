//! What a call of a function is answered, success or not.

use bytes::Bytes;
use functions::{Reply, RunError};
use serde_json::json;
use types::{Code, Problem};

/// An answer as it goes out.
#[derive(Debug, Clone)]
pub struct FunctionAnswer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// Of one connection, so never passed on.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header is only between two neighbours, or ours to say.
pub(super) fn is_private(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    HOP_BY_HOP.contains(&name.as_str()) || name.starts_with("x-run402-") || name == "content-length"
}

impl FunctionAnswer {
    /// The function's own answer.
    pub(super) fn of(reply: Reply, request_id: &str) -> Self {
        let mut headers: Vec<(String, String)> =
            reply.headers.into_iter().filter(|(name, _)| !is_private(name)).collect();
        headers.push((REQUEST_ID.to_owned(), request_id.to_owned()));
        Self { status: reply.status, headers, body: reply.body }
    }

    /// A failure of ours, as JSON or, for people, as a page.
    pub(super) fn failed(problem: &Problem, request_id: &str, accept: Option<&str>) -> Self {
        let wants_page = accept.is_some_and(|accept| accept.contains("text/html"));
        let (kind, body) = match wants_page {
            true => {
                let text = escaped(&problem.message);
                let page = format!(
                    "<!doctype html><meta charset=\"utf-8\"><title>{text}</title><h1>{text}</h1><p>{request_id}</p>\n"
                );
                ("text/html; charset=utf-8", page)
            }
            false => ("application/json; charset=utf-8", body(problem, request_id)),
        };
        let status = problem.code.status();
        let headers = [
            ("content-type", kind),
            ("cache-control", "private, no-store"),
            ("x-run402-cache", "dynamic-bypass"),
            ("x-content-type-options", "nosniff"),
            (REQUEST_ID, request_id),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { status, headers: headers.into(), body: body_bytes(body) }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(one, _)| one.eq_ignore_ascii_case(name))
    }
}

fn body_bytes(text: String) -> Bytes {
    Bytes::from(text)
}

const REQUEST_ID: &str = "x-run402-request-id";

fn body(problem: &Problem, request_id: &str) -> String {
    let code = problem.code;
    json!({
        "error": problem.message,
        "message": problem.message,
        "code": code.as_str(),
        "category": code.category(),
        "retryable": code.retryable(),
        "safe_to_retry": false,
        "hint": code.advice(),
        "request_id": request_id,
    })
    .to_string()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What the caller of a function is told when it has no answer.
///
/// # Source
/// Wire contract 03 section 2.6, open question 11.
pub(super) fn problem(error: RunError, name: &str) -> Problem {
    let (code, text) = match error {
        RunError::Threw => (Code::FunctionError, format!("the function {name} failed")),
        RunError::Ended => (Code::FunctionError, format!("the function {name} ended before it answered")),
        RunError::Timeout => (Code::FunctionTimeout, format!("the function {name} did not answer in time")),
        RunError::TooLarge => {
            (Code::FunctionResponseTooLarge, format!("the answer of {name} is larger than 6 MiB"))
        }
        RunError::Busy => (Code::FunctionUnavailable, format!("the function {name} is busy")),
        RunError::Unavailable => {
            (Code::FunctionUnavailable, "this server cannot run functions at the moment".to_owned())
        }
    };
    Problem::new(code, text)
}
