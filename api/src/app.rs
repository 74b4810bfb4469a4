//! Puts routes and layers together.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, Request, State};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use plane::Plane;
use serde_json::Value;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::routes::acme::Asked;
use crate::{extract, layers, routes};

/// What every handler may use.
#[derive(Clone, FromRef)]
pub struct AppState {
    pub plane: Plane,
    pub config: Arc<ApiConfig>,
}

/// Limits and documents of the HTTP side.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    pub body_bytes_max: usize,
    pub timeout_secs: u64,
    /// Requests served at once; more are told to come back.
    pub concurrent_max: usize,
    /// Believe the last entry of `X-Forwarded-For`: only behind a proxy that writes it.
    pub trust_forwarded_for: bool,
    /// Send readers who come without TLS to the same address with it, where this server speaks it itself.
    pub redirects_to_tls: bool,
    /// The OpenAPI document, made from the catalogue.
    pub openapi: Value,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            body_bytes_max: 6 * 1024 * 1024,
            timeout_secs: 60,
            concurrent_max: 1024,
            trust_forwarded_for: false,
            redirects_to_tls: false,
            openapi: Value::Null,
        }
    }
}

/// The API and the sites, told apart by the request's host.
#[derive(Clone)]
struct Front {
    plane: Plane,
    api: Router,
    redirects_to_tls: bool,
}

/// The whole server.
pub fn router(plane: Plane, config: ApiConfig) -> Router {
    let state = AppState { plane: plane.clone(), config: Arc::new(config) };
    let config = state.config.clone();
    let api = api_layers(routes::all().with_state(state), &config);
    let front = Front { plane, api, redirects_to_tls: config.redirects_to_tls };
    outer_layers(Router::new().fallback(by_host).with_state(front))
}

/// For every host. Here layers are written innermost first, because each wraps what is above it.
fn outer_layers(router: Router) -> Router {
    router
        // Inside the envelope, so that a panic is answered with one.
        .layer(from_fn(layers::panics_caught))
        // Outermost: whatever fails below gets its trace id and its envelope here.
        .layer(from_fn(layers::traced))
}

/// For the API host only: sites stream, and set their own headers.
fn api_layers(router: Router, config: &ApiConfig) -> Router {
    router
        // Before any handler reads a credential.
        .layer(from_fn(layers::ci_scope))
        // Handlers and the replay rule need the bytes; nothing is read of a request that was shed.
        .layer(from_fn_with_state(config.body_bytes_max, layers::buffered))
        // Around the body, so that a trickling upload ends too.
        .layer(from_fn_with_state(Duration::from_secs(config.timeout_secs), layers::deadline))
        // Before any work.
        .layer(from_fn_with_state(Arc::new(Semaphore::new(config.concurrent_max)), layers::shed))
        // Here as well as for all hosts, because the next layer must see an answer.
        .layer(from_fn(layers::panics_caught))
        // Outside of the refusals above: a browser hides an answer without these headers from its page.
        .layer(from_fn(layers::cors))
}

/// Chooses before routing, because a path of a site may look like one of ours.
async fn by_host(State(front): State<Front>, mut request: Request) -> Response {
    let host = match extract::host(request.uri(), request.headers()) {
        Ok(host) => host,
        Err(refused) => return refused.into_response(),
    };
    match routes::acme::read(host.as_deref(), &request) {
        Asked::Misdirected(refused) => return *refused,
        Asked::Challenge { host, token } => {
            if let Some(answer) = routes::acme::answer(&front.plane, &host, &token).await {
                return answer;
            }
        }
        Asked::Other => {}
    }
    if front.redirects_to_tls
        && let Some((host, target)) = routes::secure::asked(&front.plane, host.as_deref(), &request)
        && let Some(redirect) = routes::secure::redirect(&front.plane, &host, &target).await
    {
        return redirect;
    }
    let is_site = match &host {
        Some(host) => front.plane.is_site_host(host).await,
        None => false,
    };
    if is_site {
        // A site has no routes of ours, so it needs no router.
        return routes::sites::serve(&front.plane, request).await;
    }
    if let Some(uri) = layers::one_leading_slash(request.uri()) {
        *request.uri_mut() = uri;
    }
    let target = extract::Target::of(request.uri());
    request.extensions_mut().insert(target);
    front.api.oneshot(request).await.into_response()
}

#[cfg(test)]
mod tests;
