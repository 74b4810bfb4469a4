//! Sites: every request whose host is not the API's.

use std::borrow::Cow;

use axum::body::Body as HttpBody;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use plane::Plane;
use plane::host::{SiteAnswer, SiteBody, SiteOutcome, SiteRequest};
use sites::Conditions;
use types::Code;

use super::functions;
use crate::extract;
use crate::problem::ApiProblem;

/// Of a request to a function.
///
/// # Source
/// Wire contract 03 section 5.3.
const BODY_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Any method and path of a site's host.
pub async fn serve(plane: &Plane, request: Request) -> Response {
    let (uri, headers) = (request.uri(), request.headers());
    let host = extract::host(uri, headers).ok().flatten().unwrap_or_default();
    let outcome = plane
        .site_get(SiteRequest {
            host: &host,
            method: request.method().as_str(),
            path: uri.path(),
            query: uri.query(),
            conditions: conditions(headers),
            service_worker: headers.contains_key("service-worker"),
        })
        .await;
    match outcome {
        SiteOutcome::Answer(answer) => response(answer),
        SiteOutcome::Function(call) => match functions::incoming(request, BODY_BYTES_MAX).await {
            Some(incoming) => functions::response(plane.function_routed(call, incoming).await),
            None => {
                let text = "the body is larger than 6 MiB, or broke off";
                ApiProblem::new(Code::BodyTooLarge, text).into_response()
            }
        },
    }
}

/// The conditions and ranges of a request.
pub(super) fn conditions(headers: &HeaderMap) -> Conditions<'_> {
    Conditions {
        if_none_match: text(headers, "if-none-match"),
        if_match: text(headers, "if-match"),
        range: text(headers, "range"),
        if_range: text(headers, "if-range"),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

pub(super) fn response(answer: SiteAnswer) -> Response {
    let body = match answer.body {
        SiteBody::Whole(bytes) => HttpBody::from(bytes),
        SiteBody::Stream(stream) => HttpBody::from_stream(stream),
    };
    let mut response = body.into_response();
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        let value = match value {
            Cow::Borrowed(value) => HeaderValue::from_str(value),
            Cow::Owned(value) => HeaderValue::from_maybe_shared(Bytes::from(value)),
        };
        // A value that is not one was refused when it was stored; leaving it out is the safe answer.
        if let Ok(value) = value {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_keeps_its_status_and_headers() {
        let answer = SiteAnswer {
            status: 404,
            headers: vec![("content-type", "text/html".into()), ("x-bad", "a\nb".into())],
            body: SiteBody::Whole("no".into()),
        };
        let response = response(answer);
        assert_eq!(response.status(), 404);
        assert_eq!(response.headers()["content-type"], "text/html");
        assert!(!response.headers().contains_key("x-bad"));
    }
}
