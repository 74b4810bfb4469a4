//! Tables and functions of a project: `/rest/v1` for visitors and users, `/admin/v1/rest` for the service key.

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use plane::Plane;
use plane::rest::Door;
use rest::rest::{Answer, Ask, Target};

use crate::app::AppState;
use crate::extract::{Body, Who};
use crate::problem::{ApiProblem, Verbatim};

/// Not for a project's functions to see.
const CREDENTIALS: [&str; 4] = ["authorization", "apikey", "sign-in-with-x", "payment-signature"];

pub fn routes() -> Router<AppState> {
    Router::new().merge(door("/rest/v1")).merge(door("/admin/v1/rest"))
}

/// Whatever the method or the path: it is refused in the dialect's own words.
fn door(base: &str) -> Router<AppState> {
    Router::new()
        .route(base, any(root))
        .route(&format!("{base}/"), any(root))
        .route(&format!("{base}/{{table}}"), any(rows))
        .route(&format!("{base}/rpc/{{function}}"), any(function))
        .route(&format!("{base}/{{table}}/{{*rest}}"), any(nowhere))
}

/// The description of the API.
async fn root(state: State<Plane>, who: Who, uri: Uri, headers: HeaderMap) -> Result<Response, ApiProblem> {
    answer(state, who, Target::Root, uri, &headers, Body::default()).await
}

async fn nowhere(
    state: State<Plane>,
    who: Who,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiProblem> {
    answer(state, who, Target::Nowhere, uri, &headers, Body::default()).await
}

/// A table, or a function whose path came as one segment.
async fn rows(
    state: State<Plane>,
    who: Who,
    Path(table): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiProblem> {
    let target = match table.strip_prefix("rpc/") {
        Some(function) => Target::Function(function.to_owned()),
        None => Target::Table(table),
    };
    answer(state, who, target, uri, &headers, body).await
}

async fn function(
    state: State<Plane>,
    who: Who,
    Path(function): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiProblem> {
    answer(state, who, Target::Function(function), uri, &headers, body).await
}

async fn answer(
    State(plane): State<Plane>,
    Who(caller): Who,
    target: Target,
    uri: Uri,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, ApiProblem> {
    let door = if uri.path().starts_with("/admin/") { Door::Admin } else { Door::Public };
    let base = if door == Door::Admin { "/admin/v1/rest" } else { "/rest/v1" };
    let ask = Ask {
        method: caller.method.clone(),
        path: uri.path().to_owned(),
        base: base.to_owned(),
        target,
        query: uri.query().unwrap_or_default().to_owned(),
        headers: shown(headers),
        body: body.bytes,
    };
    Ok(response(plane.rest(&caller, door, ask).await?))
}

fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    headers.iter().filter(|(name, _)| !CREDENTIALS.contains(&name.as_str())).filter_map(text).collect()
}

fn response(answer: Answer) -> Response {
    let mut response = HttpBody::from(answer.body).into_response();
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().remove(http::header::CONTENT_TYPE);
    // A function may refuse without a word.
    response.extensions_mut().insert(Verbatim);
    for (name, value) in answer.headers {
        // A function may have set a header that is none; leaving it out is the safe answer.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(&value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_see_no_credentials() {
        let mut headers = HeaderMap::new();
        headers.insert("apikey", HeaderValue::from_static("a"));
        headers.insert("authorization", HeaderValue::from_static("Bearer b"));
        headers.insert("x-mine", HeaderValue::from_static("c"));
        assert_eq!(shown(&headers), [("x-mine".to_owned(), "c".to_owned())]);
    }

    #[test]
    fn an_answer_without_a_body_has_no_content_type() {
        let answer = Answer { status: 204, headers: vec![("x\n".into(), "y".into())], body: String::new() };
        let response = response(answer);
        assert!(response.status() == 204 && response.headers().is_empty());
    }
}
