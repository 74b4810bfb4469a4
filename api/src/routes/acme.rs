//! What an ACME authority asks of a host, and which host a client shook hands with.

use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, header};
use plane::Plane;
use types::Code;

use crate::problem::ApiProblem;

pub(super) const CHALLENGES: &str = "/.well-known/acme-challenge/";
const TOKEN_BYTES_MAX: usize = 128;

/// The host that a client named in its TLS handshake.
#[derive(Debug, Clone)]
pub struct ServerName(pub String);

/// What is looked at before anything else.
pub(crate) enum Asked {
    /// For another host than the one whose certificate the client was shown.
    Misdirected(Box<Response>),
    /// Maybe the authority's question; a site may have such a path as well.
    Challenge {
        host: String,
        token: String,
    },
    Other,
}

pub(crate) fn read(host: Option<&str>, request: &Request) -> Asked {
    let host = host.map(bare).unwrap_or_default();
    if let Some(ServerName(shown)) = request.extensions().get::<ServerName>()
        && *shown != host
    {
        let why = "the connection was made for another host";
        return Asked::Misdirected(Box::new(ApiProblem::new(Code::MisdirectedRequest, why).into_response()));
    }
    let known = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    match request.uri().path().strip_prefix(CHALLENGES) {
        Some(token)
            if request.method() == Method::GET
                && token.len() <= TOKEN_BYTES_MAX
                && token.bytes().all(known) =>
        {
            Asked::Challenge { host, token: token.to_owned() }
        }
        _ => Asked::Other,
    }
}

/// The authority's answer, if it has asked for that.
pub(crate) async fn answer(plane: &Plane, host: &str, token: &str) -> Option<Response> {
    let answer = plane.acme_challenge(host, token).await?;
    Some((StatusCode::OK, [(header::CONTENT_TYPE, "application/octet-stream")], answer).into_response())
}

/// Lower case, without a port and without the root's dot.
pub(super) fn bare(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.contains(':') => name,
        _ => &host,
    };
    name.strip_suffix('.').unwrap_or(name).to_owned()
}
