//! From HTTP to HTTPS, where this server speaks TLS itself.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, header};
use plane::Plane;

use super::acme::{CHALLENGES, ServerName, bare};

/// Long enough to be worth it, short enough to be taken back.
const KEPT: &str = "public, max-age=86400";

/// What a visitor without TLS asks for, where it can be asked again with it. Our own functions are left alone:
/// their way to us is inside of this machine.
pub(crate) fn asked(plane: &Plane, host: Option<&str>, request: &Request) -> Option<(String, String)> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_plain = request.extensions().get::<ServerName>().is_none();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let is_own = peer.is_some_and(|info| plane.is_function(info.0));
    // A proxy before us speaks TLS: what it sends here came that way.
    let forwarded = request.headers().get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    // An authority asks without TLS, because there is no certificate yet.
    let is_challenge = request.uri().path().starts_with(CHALLENGES);
    if !reads || !is_plain || is_own || forwarded || is_challenge {
        return None;
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    Some((bare(host?), target.to_owned()))
}

/// The same address over TLS, once the host has a certificate.
pub(crate) async fn redirect(plane: &Plane, host: &str, target: &str) -> Option<Response> {
    let origin = plane.tls_origin(host).await?;
    // What begins with two slashes would be read as another host.
    let location = format!("{origin}/{}", target.trim_start_matches('/'));
    let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, KEPT.to_owned())];
    Some((StatusCode::PERMANENT_REDIRECT, headers).into_response())
}
