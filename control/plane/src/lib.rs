//! Operations, one file per resource: authorisation, idempotency, choice of actor.
//!
//! Every operation is a method of [`Plane`], named noun first (`tier_set`), that takes the
//! [`caller::Caller`], checks what it may do, and answers plain values or a [`types::Problem`]. Reads go to
//! the store; changes are one transaction or a message to the entity's actor. What the answers look like on
//! the wire is `api`'s business.

pub mod ai;
pub mod apps;
pub mod billing;
pub mod blob;
pub mod books;
pub mod budgets;
pub mod caller;
mod certificate;
pub mod ci;
pub mod content;
pub mod deploy;
pub mod domain;
pub mod expose;
pub mod faucet;
pub mod finance;
pub mod functions;
pub mod host;
pub mod images;
pub mod keys;
pub mod lab;
mod meter;
pub mod pay;
pub mod payments;
pub mod project;
mod rate;
pub mod release;
pub mod rest;
pub mod secrets;
pub mod sql;
pub mod status;
pub mod subdomain;
pub mod suspense;
pub mod tiers;
pub mod uploads;
pub mod users;

use std::sync::Arc;

use actors::{Actors, Deps};
use chain::siwx::SiwxPolicy;
use chrono::{DateTime, Utc};
use serde_json::Value;
use store::Gather;
use store::functions::LiveAt;
use store::projects::Access;
use types::{ProjectId, Wallet};

/// All operations. Cheap to clone.
#[derive(Clone)]
pub struct Plane {
    pub(crate) inner: Arc<Inner>,
}

/// A resource that remembers something between requests (a cache, a pool) adds a field here.
pub(crate) struct Inner {
    deps: Arc<Deps>,
    actors: Actors,
    pub(crate) config: PlaneConfig,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) status: status::StatusCache,
    pub(crate) sites: host::SiteMemory,
    pub(crate) endings: uploads::Endings,
    access: Gather<ProjectId, Arc<Access>>,
    callable: Gather<ProjectId, (Arc<Access>, Option<LiveAt>)>,
    gatekeeper: meter::Gatekeeper,
    certificates: certificate::CertificateMemory,
    users: users::UsersState,
    rest: rest::RestState,
}

/// What the operator decides and no adapter carries.
#[derive(Debug, Clone)]
pub struct PlaneConfig {
    /// `scheme://host[:port]` of the API, without a trailing slash.
    pub public_url: String,
    pub siwx: SiwxPolicy,
    /// Changes must be signed for exactly their own path and query.
    pub siwx_path_bound: bool,
    /// How long a request waits for its payment or its deploy before it answers that it is pending.
    pub wait_secs_max: u64,
    /// How long the end of an upload is waited for before clients are told that it goes on without them.
    pub completion_wait_secs: u64,
    /// Larger blobs are uploaded in parts.
    pub single_put_bytes_max: u64,
    pub admin_wallets: Vec<Wallet>,
    pub operator: Operator,
    /// Whose workflows may deploy.
    pub ci: ci::CiConfig,
    /// Shown under `lab` in `GET /status`; absent in production.
    pub lab: Option<Value>,
}

/// Who runs this server, for `GET /status`.
#[derive(Debug, Clone)]
pub struct Operator {
    pub name: String,
    pub contact: String,
}

impl Plane {
    pub fn new(deps: Arc<Deps>, actors: Actors, config: PlaneConfig) -> Self {
        let started_at = deps.wall.now();
        let (status, sites, certificates, endings) = Default::default();
        let (access, callable) = Default::default();
        let gatekeeper = meter::Gatekeeper::new(deps.prices.project_requests_per_sec);
        let rest = rest::RestState::new(deps.cells.clone());
        let users = users::UsersState::new();
        let inner = Inner {
            deps,
            actors,
            config,
            started_at,
            status,
            sites,
            endings,
            access,
            callable,
            certificates,
            gatekeeper,
            rest,
            users,
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn deps(&self) -> &Deps {
        &self.inner.deps
    }

    pub(crate) fn actors(&self) -> &Actors {
        &self.inner.actors
    }

    pub(crate) fn config(&self) -> &PlaneConfig {
        &self.inner.config
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.inner.deps.clock.now()
    }

    /// `scheme://host[:port]` of the API, without a trailing slash.
    pub fn public_url(&self) -> &str {
        &self.inner.config.public_url
    }

    /// A fresh id for one request.
    pub fn trace(&self) -> types::TraceId {
        types::TraceId::new(&*self.inner.deps.entropy)
    }
}
