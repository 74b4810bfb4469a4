//! What every request of a project's data passes: the rate of the project, then the pool of its account.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use serde_json::json;
use store::calls::{Pool, pool_find};
use types::{Code, Mutation, Problem, ProjectId, Tier};

use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;
use crate::rate::{Rates, client_network};

/// Projects, and clients without a credential, that may be over their rest at one instant.
const KEYS_MAX: usize = 100_000;
/// Requests a second of one client without a credential.
const CLIENT_PER_SEC: u32 = 10;
const CLIENT_BURST: u32 = 60;
/// E-mail addresses a second that one client may ask about: an answer tells who is a customer.
const MAIL_PER_SEC: u32 = 1;
const MAIL_BURST: u32 = 20;
/// How long a pool is believed: what other servers count meanwhile comes on top.
const POOL_FOR: Duration = Duration::from_secs(2);
/// Pools that are remembered.
const POOLS_MAX: usize = 20_000;
/// An active project's database is measured again after so long.
const MEASURED_FOR: TimeDelta = TimeDelta::seconds(30);

/// The limits and what is remembered for them.
pub(crate) struct Gatekeeper {
    projects: Rates<ProjectId>,
    clients: Rates<IpAddr>,
    mail: Rates<IpAddr>,
    pools: Mutex<HashMap<ProjectId, Known>>,
}

#[derive(Clone)]
struct Known {
    pool: Pool,
    read_at: Instant,
    /// Windows acknowledged by then.
    acknowledged: i64,
}

impl Gatekeeper {
    pub fn new(project_requests_per_sec: u32) -> Self {
        Self {
            projects: Rates::new(project_requests_per_sec, project_requests_per_sec, KEYS_MAX),
            clients: Rates::new(CLIENT_PER_SEC, CLIENT_BURST, KEYS_MAX),
            mail: Rates::new(MAIL_PER_SEC, MAIL_BURST, KEYS_MAX),
            pools: Mutex::default(),
        }
    }

    fn known(&self, project: ProjectId) -> Option<Known> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).get(&project).cloned()
    }

    fn remember(&self, project: ProjectId, known: Known) {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if pools.len() >= POOLS_MAX {
            pools.retain(|_, known| known.read_at.elapsed() < POOL_FOR);
        }
        if pools.len() < POOLS_MAX {
            pools.insert(project, known);
        }
    }
}

impl Plane {
    /// Admits and counts one request of a project's data. Call it once the credential is verified: a stranger
    /// must not use up what is another's.
    ///
    /// # Errors
    /// `RATE_LIMITED` with `retry_after`; `QUOTA_EXCEEDED` when the lease's calls are used up.
    ///
    /// # Source
    /// Wire contract 01 sections 5.1 and 5.6, open question 17.
    pub(crate) async fn data_call(&self, project: ProjectId) -> Result<Pool, Problem> {
        if let Err(secs) = self.inner.gatekeeper.projects.admit(project) {
            return Err(limited("this project has asked too often; 100 requests a second are served", secs));
        }
        self.announced_call(project).await
    }

    /// Counts one request that an admitted one announced, so that it need not be held to the rate: a client
    /// completes thousands of uploads of one plan, one after the other.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED` when the lease's calls are used up.
    ///
    /// # Source
    /// Wire contract 02, open question 19.
    pub(crate) async fn announced_call(&self, project: ProjectId) -> Result<Pool, Problem> {
        let pool = self.pool(project).await?;
        let meter = &self.deps().meter;
        let used = pool.calls.saturating_add(meter.unflushed(pool.account).0);
        if used >= self.limits_of(&pool).api_calls {
            return Err(self.quota_problem(&pool, "the API calls of this lease are used up"));
        }
        meter.count(pool.account, project);
        Ok(pool)
    }

    /// Refuses what would fill an account's storage further.
    ///
    /// # Errors
    /// `QUOTA_EXCEEDED`.
    pub(crate) fn storage_allowed(&self, pool: &Pool) -> Result<(), Problem> {
        if pool.content_bytes.saturating_add(pool.database_bytes) <= self.limits_of(pool).storage_bytes {
            return Ok(());
        }
        Err(self.quota_problem(pool, "the account's storage is full").hint(
            "Only reading, DELETE, TRUNCATE and DROP are run now. Free some space or move to a larger tier.",
        ))
    }

    /// Admits a client that shows no credential. Whoever is on this machine can read the books anyway.
    ///
    /// # Errors
    /// `RATE_LIMITED` with `retry_after`.
    pub fn public_call(&self, caller: &Caller) -> Result<(), Problem> {
        let Some(client) = client_network(&caller.client_ip) else { return Ok(()) };
        let admitted = self.inner.gatekeeper.clients.admit(client);
        admitted.map_err(|secs| limited("too many requests from this address", secs))
    }

    /// Admits a question about an e-mail address, or the making of its account.
    ///
    /// # Errors
    /// `RATE_LIMITED` with `retry_after`.
    pub(crate) fn mail_call(&self, caller: &Caller) -> Result<(), Problem> {
        let Some(client) = client_network(&caller.client_ip) else { return Ok(()) };
        let admitted = self.inner.gatekeeper.mail.admit(client);
        admitted.map_err(|secs| limited("too many questions about e-mail addresses from this address", secs))
    }

    fn limits_of(&self, pool: &Pool) -> billing::Limits {
        self.deps().prices.limits(pool.tier.unwrap_or(Tier::Prototype))
    }

    async fn pool(&self, project: ProjectId) -> Result<Pool, Problem> {
        let (deps, gatekeeper) = (self.deps(), &self.inner.gatekeeper);
        if let Some(known) = gatekeeper.known(project) {
            let now_acknowledged = deps.meter.unflushed(known.pool.account).1;
            if known.read_at.elapsed() < POOL_FOR && known.acknowledged == now_acknowledged {
                return Ok(known.pool);
            }
        }
        let read = async || pool_find(&deps.store, project).await.map_err(store_problem);
        let gone = || Problem::new(Code::ProjectNotFound, format!("no project {project}"));
        let read_at = Instant::now();
        let mut pool = read().await?.ok_or_else(gone)?;
        if pool.measured_at.is_none_or(|at| self.now() - at >= MEASURED_FOR) {
            self.database_measured(project).await?;
            pool = read().await?.ok_or_else(gone)?;
        }
        let acknowledged = deps.meter.unflushed(pool.account).1;
        gatekeeper.remember(project, Known { pool: pool.clone(), read_at, acknowledged });
        Ok(pool)
    }

    /// # Source
    /// Wire contract 01 section 5.6.
    fn quota_problem(&self, pool: &Pool, message: &str) -> Problem {
        let limits = self.limits_of(pool);
        let calls = pool.calls.saturating_add(self.deps().meter.unflushed(pool.account).0);
        Problem::new(Code::QuotaExceeded, message)
            .mutation(Mutation::NotStarted)
            .extra(
                "usage",
                json!({
                    "api_calls": calls,
                    "limit": limits.api_calls,
                    "storage_bytes": pool.content_bytes.saturating_add(pool.database_bytes),
                    "storage_limit": limits.storage_bytes,
                }),
            )
            .extra("renew_url", format!("/tiers/v1/{}", pool.tier.unwrap_or(Tier::Prototype)))
            .detail("scope", "organization")
    }
}

fn limited(message: &str, secs: u64) -> Problem {
    Problem::new(Code::RateLimited, message).mutation(Mutation::NotStarted).extra("retry_after", secs)
}
