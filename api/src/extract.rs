//! How handlers read a request.

use std::net::SocketAddr;
use std::str::FromStr;

use axum::extract::{ConnectInfo, FromRequestParts};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use plane::caller::Caller;
use serde::de::DeserializeOwned;
use types::{Code, Problem, TraceId};

use crate::app::AppState;
use crate::problem::ApiProblem;

/// What the request presented.
pub struct Who(pub Caller);

/// Path and query as routed, with one leading slash. The request's own URI loses its prefix in a nested
/// router, and signatures are for the whole.
#[derive(Debug, Clone)]
pub(crate) struct Target(pub String);

impl Target {
    pub(crate) fn of(uri: &http::Uri) -> Self {
        Self(uri.path_and_query().map_or("/", |target| target.as_str()).to_owned())
    }
}

/// The whole body, buffered and hashed before the handler ran.
#[derive(Debug, Clone, Default)]
pub struct Body {
    pub bytes: Bytes,
    pub sha256: [u8; 32],
}

impl Body {
    /// Reads JSON whatever the content type says. An empty body is an empty object: clients send bodiless
    /// requests with a JSON content type.
    ///
    /// # Errors
    /// `BAD_REQUEST` naming the place.
    ///
    /// # Source
    /// Wire contract 04 section 1.1.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ApiProblem> {
        let text: &[u8] = if self.bytes.trim_ascii().is_empty() { b"{}" } else { &self.bytes };
        serde_json::from_slice(text).map_err(|e| {
            Problem::new(Code::BadRequest, format!("the body is not what this route reads: {e}"))
                .detail("line", e.line())
                .detail("column", e.column())
                .into()
        })
    }

    /// # Errors
    /// `BAD_REQUEST` when it is not UTF-8.
    pub fn text(&self) -> Result<&str, ApiProblem> {
        std::str::from_utf8(&self.bytes)
            .map_err(|_| ApiProblem::new(Code::BadRequest, "the body is not UTF-8 text"))
    }
}

/// Reads an id from a path or a body; a text that is no such id names nothing, so it fails like an unknown
/// one.
///
/// # Errors
/// `missing` when the text is not an id of that kind.
pub fn id<T: FromStr>(text: &str, missing: Code) -> Result<T, ApiProblem>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e: T::Err| ApiProblem::new(missing, e.to_string()))
}

impl FromRequestParts<AppState> for Body {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, ApiProblem> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

impl FromRequestParts<AppState> for Who {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiProblem> {
        let headers = &parts.headers;
        let text = |name: &str| single(headers, name);
        let bearer = text("authorization")?.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
        });
        Ok(Self(Caller {
            siwx: text("sign-in-with-x")?,
            bearer,
            apikey: text("apikey")?,
            payment_signature: text("payment-signature")?,
            x_payment: text("x-payment")?,
            idempotency_key: text("idempotency-key")?,
            admin_mode: text("x-admin-mode")?.is_some_and(|value| value == "1"),
            method: parts.method.as_str().to_owned(),
            path_and_query: parts
                .extensions
                .get::<Target>()
                .cloned()
                .unwrap_or_else(|| Target::of(&parts.uri))
                .0,
            body_sha256: parts.extensions.get::<Body>().map_or([0; 32], |body| body.sha256),
            client_ip: match function_peer(parts, &state.plane) {
                true => FUNCTIONS_IP.to_owned(),
                false => client_ip(parts, state.config.trust_forwarded_for),
            },
            trace: parts.extensions.get::<TraceId>().copied().unwrap_or_else(|| state.plane.trace()),
        }))
    }
}

/// Somebody on this machine, and no page of a browser: a page may send requests to this machine as well, and
/// its browser says so.
pub struct Local;

impl FromRequestParts<AppState> for Local {
    type Rejection = ApiProblem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiProblem> {
        let info = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
        let peer = info.map(|peer| peer.ip().to_canonical());
        let forwarded = parts.headers.contains_key("x-forwarded-for");
        // The broker of functions is on this machine, and whoever it speaks for is not.
        if peer.is_some_and(|ip| ip.is_loopback())
            && !info.is_some_and(|peer| state.plane.is_function(peer))
            && !forwarded
            && !parts.headers.contains_key(header::ORIGIN)
        {
            return Ok(Self);
        }
        Err(ApiProblem::new(Code::Forbidden, "this is for programs on the server's own machine"))
    }
}

/// One value of a header. Two different values of a credential could be read differently by a proxy before
/// us.
fn single(headers: &HeaderMap, name: &str) -> Result<Option<String>, ApiProblem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bad = |why: &str| ApiProblem::new(Code::BadRequest, format!("header {name} {why}"));
    if values.any(|other| other != value) {
        return Err(bad("is sent twice with different values"));
    }
    let value = value.to_str().map_err(|_| bad("is not plain text"))?.trim();
    Ok((!value.is_empty()).then(|| value.to_owned()))
}

/// Whom functions count as where clients are told apart by their address: one that nobody else has.
const FUNCTIONS_IP: &str = "100.64.0.1";

fn function_peer(parts: &Parts, plane: &plane::Plane) -> bool {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    peer.is_some_and(|info| plane.is_function(info.0))
}

/// The peer's address, or what the proxy before us says when it is trusted.
fn client_ip(parts: &Parts, trust_forwarded_for: bool) -> String {
    let forwarded = || {
        let value = parts.headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
        // The last entry is the one that our own proxy appended; earlier ones are the client's claims.
        value.rsplit(',').next().map(|ip| ip.trim().to_owned()).filter(|ip| !ip.is_empty())
    };
    let peer = || parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_string());
    trust_forwarded_for.then(forwarded).flatten().or_else(peer).unwrap_or_else(|| "unknown".to_owned())
}

/// The request's host with its port, from the header or the target.
///
/// # Errors
/// `BAD_REQUEST` when the request names two hosts, or none that is text: a proxy before us could have chosen
/// the other one, and kept our answer under its name.
pub(crate) fn host(uri: &http::Uri, headers: &HeaderMap) -> Result<Option<String>, ApiProblem> {
    let bad = |why: &str| ApiProblem::new(Code::BadRequest, format!("the request {why}"));
    let mut named = headers.get_all(header::HOST).iter();
    let first = named.next().map(|value| value.to_str().map_err(|_| bad("names a host that is no text")));
    let first = first.transpose()?;
    if named.next().is_some() {
        return Err(bad("has two Host headers"));
    }
    let is_host = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~:[]".contains(&b));
    if first.is_some_and(|host| !is_host(host)) {
        return Err(bad("names a host that can be none"));
    }
    let target = uri.authority().map(http::uri::Authority::as_str);
    match (first, target) {
        (Some(first), Some(target)) if !first.eq_ignore_ascii_case(target) => {
            Err(bad("names one host in its target and another in its header"))
        }
        (first, target) => Ok(first.or(target).map(str::to_owned)),
    }
}
