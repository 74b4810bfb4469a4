//! One running node: its sockets, its heartbeat, its actors and its loops.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actors::kit::watchdog::{self, Watchdog};
use actors::kit::{Forwarded, HttpForward, Limits};
use actors::schedule::Schedule;
use actors::{Actors, Deps, Started};
use anyhow::{Context, anyhow};
use api::ApiConfig;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::post;
use axum::{Json, Router};
use chain::siwx::SiwxPolicy;
use http::{HeaderMap, StatusCode, header};
use plane::{Operator, Plane, PlaneConfig};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use types::Problem;

use crate::config::{Config, Listen};
use crate::generate;
use crate::http::HttpServer;
use crate::tls::Tls;
use crate::wire::Ports;

const REQUEST_SECS_MAX: u64 = 10;
const FORWARDED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Heartbeats within the time after which a node counts as dead.
const BEATS_PER_TTL: u32 = 3;

/// What to call a listener in a complaint: a flag, or a key of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    pub api: &'static str,
    pub internal: &'static str,
    pub tls: &'static str,
}

/// Sockets that are held before anything else is started.
pub struct Bound {
    api: TcpListener,
    internal: TcpListener,
    tls: Option<TcpListener>,
    api_address: SocketAddr,
    internal_address: SocketAddr,
}

impl Bound {
    /// # Errors
    /// One line that names the port and where it is chosen.
    pub async fn bind(listen: Listen, tls: Option<SocketAddr>, names: Names) -> anyhow::Result<Self> {
        let api = bind(listen.api, names.api).await?;
        let internal = bind(listen.internal, names.internal).await?;
        let tls = match tls {
            Some(address) => Some(bind(address, names.tls).await?),
            None => None,
        };
        Ok(Self {
            api_address: api.local_addr().context("reading a listener's address")?,
            internal_address: internal.local_addr().context("reading a listener's address")?,
            api,
            internal,
            tls,
        })
    }

    pub fn api_address(&self) -> SocketAddr {
        self.api_address
    }

    /// The ports that URLs may have to name.
    pub fn ports(&self) -> Ports {
        Ports { api: self.api_address.port(), tls: self.tls_address().map(|address| address.port()) }
    }

    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// How a client on this machine reaches the API.
    pub fn api_url(&self) -> String {
        let mut address = self.api_address;
        if address.ip().is_unspecified() {
            address.set_ip([127, 0, 0, 1].into());
        }
        format!("http://{address}")
    }
}

async fn bind(address: SocketAddr, name: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|e| match e.kind() {
        ErrorKind::AddrInUse => anyhow!(
            "port {} of {} is in use: end what listens there, or choose another with {name}",
            address.port(),
            address.ip()
        ),
        _ => anyhow!("cannot listen on {address} ({name}): {e}"),
    })
}

/// A node that serves.
pub struct Node {
    deps: Arc<Deps>,
    plane: Plane,
    started: Started,
    schedule: Schedule,
    heartbeat: JoinHandle<()>,
    _watchdog: Watchdog,
    api: HttpServer,
    tls: Option<HttpServer>,
    internal: HttpServer,
    internal_url: String,
    listen: SocketAddr,
    tls_listen: Option<SocketAddr>,
}

impl Node {
    /// Proves itself alive, starts actors and loops, and then serves. `lab` is shown in `GET /status`.
    ///
    /// # Errors
    /// When the control database does not take this node in.
    pub async fn start(
        config: &Config,
        deps: Arc<Deps>,
        bound: Bound,
        lab: Option<Value>,
    ) -> anyhow::Result<Self> {
        let public_url = config.server.public_url.clone().unwrap_or_else(|| bound.api_url());
        let internal_url = config
            .server
            .internal_url
            .clone()
            .unwrap_or_else(|| format!("http://{}", bound.internal_address));
        let ttl = Duration::from_secs(config.server.claim_ttl_secs);
        // Claims of a node without a heartbeat are free for all, so this comes before the first actor.
        deps.store.node_heartbeat(deps.node, &internal_url, ttl).await.context("joining the other nodes")?;
        let heartbeat = tokio::spawn(beat(deps.clone(), internal_url.clone(), ttl));
        let _watchdog = watchdog::start().context("starting the watchdog's thread")?;
        let secret = forward_secret(&deps);
        let started = start_actors(&deps).await?;
        let schedule = Schedule::start(&deps).await.context("starting the platform loops")?;
        let (listen, tls_listen) = (bound.api_address, bound.tls_address());
        let plane = Plane::new(deps.clone(), started.actors.clone(), plane_config(config, public_url, lab)?);
        let internal = HttpServer::start(bound.internal, internal_router(started.actors.clone(), secret));
        let router = api::router(plane.clone(), api_config(config));
        let tls = bound
            .tls
            .map(|listener| HttpServer::start_tls(listener, router.clone(), Tls::new(plane.clone())));
        let api = HttpServer::start(bound.api, router);
        tracing::info!(node.id = %deps.node, %listen, internal = %internal_url, "serving");
        Ok(Self {
            deps,
            plane,
            started,
            schedule,
            heartbeat,
            _watchdog,
            api,
            tls,
            internal,
            internal_url,
            listen,
            tls_listen,
        })
    }

    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    pub fn tls_listen(&self) -> Option<SocketAddr> {
        self.tls_listen
    }

    pub fn internal_url(&self) -> &str {
        &self.internal_url
    }

    /// Drains: no new requests, those under way finish, actors give their claims back, and the node leaves.
    pub async fn stop(self) {
        let (patience, api, tls) = (Duration::from_secs(REQUEST_SECS_MAX), self.api, self.tls);
        let tls = async move {
            if let Some(tls) = tls {
                tls.stop(patience).await;
            }
        };
        tokio::join!(api.stop(patience), tls);
        self.schedule.stop().await;
        self.started.drain().await;
        // Other nodes may still be asking, and are told to look again.
        self.internal.stop(Duration::from_secs(1)).await;
        self.heartbeat.abort();
        if let Err(e) = self.deps.store.node_leave(self.deps.node).await {
            // The claims lapse by themselves.
            tracing::warn!(error = &e as &dyn std::error::Error, "the node could not say that it leaves");
        }
        self.deps.store.close().await;
        tracing::info!("stopped");
    }
}

/// The tree of actors, without loops: what `books verify` needs as well.
///
/// # Errors
/// When the runtime is shutting down.
pub async fn start_actors(deps: &Arc<Deps>) -> anyhow::Result<Started> {
    // A peer's answer may take as long as its actor does; each message carries its own deadline.
    let client = reqwest::Client::builder().no_proxy().build().context("making an HTTP client")?;
    let forward = Arc::new(HttpForward::new(client, forward_secret(deps)));
    Actors::start(deps, Limits::default(), forward).await.context("starting the actors")
}

fn forward_secret(deps: &Deps) -> String {
    deps.master_key.derive("nodes/forward/1")
}

/// # Errors
/// When no TLS client can be made.
pub fn plane_config(config: &Config, public_url: String, lab: Option<Value>) -> anyhow::Result<PlaneConfig> {
    let issuer = users::oidc::Provider::new(config.ci.provider()).context("ci")?;
    let mut domains = config.identity.siwx_domains.clone();
    if domains.is_empty() {
        domains.extend(host_of(&public_url));
    }
    let siwx = SiwxPolicy { origins: config.identity.siwx_origins.clone(), ..SiwxPolicy::new(domains) };
    Ok(PlaneConfig {
        public_url,
        siwx,
        siwx_path_bound: config.identity.siwx_path_bound,
        wait_secs_max: config.server.wait_secs_max,
        single_put_bytes_max: config.s3.single_put_bytes_max,
        admin_wallets: config.identity.admin_wallets.clone(),
        operator: Operator {
            name: config.server.operator_name.clone(),
            contact: config.server.operator_contact.clone(),
        },
        ci: plane::ci::CiConfig { issuer: Some(Arc::new(issuer)), audiences: config.ci.audiences.clone() },
        lab,
    })
}

/// The host of a URL without its port, in lower case.
pub(crate) fn host_of(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    uri.host().map(str::to_ascii_lowercase)
}

fn api_config(config: &Config) -> ApiConfig {
    let server = &config.server;
    ApiConfig {
        body_bytes_max: usize::try_from(server.body_bytes_max).unwrap_or(usize::MAX),
        timeout_secs: server.timeout_secs,
        concurrent_max: usize::try_from(server.concurrent_requests_max).unwrap_or(usize::MAX),
        trust_forwarded_for: server.trust_forwarded_for,
        redirects_to_tls: config.tls.as_ref().is_some_and(|tls| tls.redirects),
        openapi: generate::openapi(),
    }
}

async fn beat(deps: Arc<Deps>, internal_url: String, ttl: Duration) {
    let mut every = tokio::time::interval(ttl / BEATS_PER_TTL);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if let Err(e) = deps.store.node_heartbeat(deps.node, &internal_url, ttl).await {
            // After a few of these others take over; every write here is then refused by its fence.
            tracing::warn!(error = &e as &dyn std::error::Error, "heartbeat missed");
        }
    }
}

#[derive(Clone)]
struct Internal {
    actors: Actors,
    secret: Arc<str>,
}

fn internal_router(actors: Actors, secret: String) -> Router {
    Router::new()
        .route(HttpForward::PATH, post(answer_forwarded))
        .layer(DefaultBodyLimit::max(FORWARDED_BYTES_MAX))
        .with_state(Internal { actors, secret: secret.into() })
}

/// A message that another node's handle sent here, because this node holds the claim.
async fn answer_forwarded(
    State(internal): State<Internal>,
    headers: HeaderMap,
    message: String,
) -> Result<Json<Result<Value, Problem>>, StatusCode> {
    let presented = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    let expected = format!("Bearer {}", internal.secret);
    if !same(presented, expected.as_bytes()) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    // Only now is anything of it read.
    let message: Forwarded = serde_json::from_str(&message).map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(Json(internal.actors.answer_forwarded(message).await))
}

/// Compares without stopping at the first difference.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (x, y)| difference | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_busy_port_is_named_with_the_flag_that_changes_it() {
        let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = holder.local_addr().unwrap();
        let error = bind(address, "--listen").await.unwrap_err().to_string();
        assert!(error.contains(&format!("port {} of 127.0.0.1", address.port())), "{error}");
        assert!(error.contains("--listen") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn the_default_sign_in_domain_is_the_public_host() {
        assert_eq!(host_of("https://API.example.com:8443/base").as_deref(), Some("api.example.com"));
        assert_eq!(host_of("http://[::1]:4020").as_deref(), Some("[::1]"));
        assert!(same(b"Bearer a", b"Bearer a") && !same(b"Bearer a", b"Bearer b") && !same(b"", b"B"));
    }
}
