//! What `GET /status`, `GET /health` and `GET /.well-known/x402` are made of. All public, so all bounded:
//! answers are kept for two seconds, however often they are asked for.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chain::asset;
use serde_json::Value;
use store::sightings::Cursor;
use tokio::sync::Mutex;
use types::{Network, UsdMicros};

use crate::{Operator, Plane};

/// Long enough to shield the services behind, short enough for a person who watches.
const KEPT: Duration = Duration::from_secs(2);
const CHECK_SECS_MAX: u64 = 3;
/// Never written; asking for it costs the object store one lookup.
const PROBE_KEY: &str = "health-probe";

/// Begins the name of the check of a chain's watcher; it fails while the watcher is halted.
pub const WATCHER: &str = "watcher ";

/// What this server can do, by the names that clients know.
const CAPABILITIES: [&str; 9] =
    ["x402", "siwx", "postgres", "sql", "content", "deploy", "sites", "subdomains", "billing"];
/// Where they run.
const FUNCTIONS: &str = "functions";

/// The last answers.
#[derive(Default)]
pub(crate) struct StatusCache {
    health: Kept<Health>,
    status: Kept<Status>,
}

/// An answer and its age. The lock is held while a new one is made, so that many askers cause one check.
struct Kept<T>(Mutex<Option<(Instant, Arc<T>)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T> Kept<T> {
    async fn get(&self, make: impl Future<Output = T>) -> Arc<T> {
        let mut kept = self.0.lock().await;
        if let Some((_, value)) = kept.as_ref().filter(|(at, _)| at.elapsed() < KEPT) {
            return value.clone();
        }
        let value = Arc::new(make.await);
        *kept = Some((Instant::now(), value.clone()));
        value
    }
}

/// The state of the services behind this server.
#[derive(Debug, Clone)]
pub struct Health {
    /// By the names that clients know; whether each works.
    pub checks: BTreeMap<String, bool>,
}

impl Health {
    pub fn is_healthy(&self) -> bool {
        self.checks.values().all(|works| *works)
    }

    /// The names of what does not work.
    pub fn failing(&self) -> impl Iterator<Item = &str> {
        self.checks.iter().filter(|(_, works)| !**works).map(|(name, _)| name.as_str())
    }
}

/// What the server is and does right now.
#[derive(Debug, Clone)]
pub struct Status {
    pub healthy: bool,
    pub uptime_secs: u64,
    pub operator: Operator,
    pub capabilities: Vec<&'static str>,
    /// Living actors of this node by kind.
    pub actors: BTreeMap<&'static str, u64>,
    /// Live nodes of this installation, none when the control database does not say.
    pub nodes: Option<i64>,
    pub outbox_rows: Option<i64>,
    pub payments_in_flight: Option<i64>,
    pub networks: Vec<Network>,
    /// Where each chain's watcher is, and why it is halted if it is.
    pub watchers: Vec<Cursor>,
    /// None where functions are not meant to run.
    pub functions: Option<crate::functions::FunctionStatus>,
    pub lab: Option<Value>,
}

/// One way to pay for one thing.
#[derive(Debug, Clone)]
pub struct PricedOffer {
    /// Such as `/tiers/v1/hobby`.
    pub path: String,
    pub description: String,
    pub price: UsdMicros,
    pub accepts: Vec<Acceptable>,
}

#[derive(Debug, Clone)]
pub struct Acceptable {
    pub network: Network,
    /// EIP-55 spelling, as `pay_to`.
    pub asset: String,
    pub asset_name: &'static str,
    pub asset_version: &'static str,
    pub pay_to: String,
}

impl Plane {
    /// Asks every service behind this server, all at once.
    pub async fn health(&self) -> Arc<Health> {
        self.inner.status.health.get(self.check_all()).await
    }

    /// What this server is, for people and programs.
    pub async fn status(&self) -> Arc<Status> {
        self.inner.status.status.get(self.look_around()).await
    }

    /// Everything that can be paid for, with the ways to pay in the order they are offered.
    ///
    /// # Source
    /// Wire contract 04 section 9.3.
    pub fn priced_offers(&self) -> Vec<PricedOffer> {
        let deps = self.deps();
        let offers = deps.prices.offers().iter().map(|offer| PricedOffer {
            path: format!("/tiers/v1/{}", offer.tier),
            description: offer.description(),
            price: offer.price,
            accepts: offer.networks.iter().filter_map(|network| self.acceptable(*network)).collect(),
        });
        offers.collect()
    }

    fn acceptable(&self, network: Network) -> Option<Acceptable> {
        let payee = self.deps().chains.get(network)?.payee;
        let usdc = asset::usdc(network);
        Some(Acceptable {
            network,
            asset: asset::checksummed(usdc.address),
            asset_name: usdc.name,
            asset_version: usdc.version,
            pay_to: asset::checksummed(payee),
        })
    }

    async fn check_all(&self) -> Health {
        let deps = self.deps();
        let database = in_time(async { deps.store.ping().await.is_ok() });
        // A cell on which PUBLIC may do something is as bad as one that does not answer.
        let cells = in_time(async { deps.cells.public_rights().await.is_ok_and(|found| found.is_empty()) });
        let objects = in_time(async { deps.blobs.head(PROBE_KEY).await.is_ok() });
        let chains = futures::future::join_all(deps.chains.0.values().map(|chain| async move {
            (chain.network, in_time(async { chain.rpc.head().await.is_ok() }).await)
        }));
        let watchers = futures::future::join_all(deps.chains.0.keys().map(|network| async move {
            let runs = async {
                let cursor = deps.store.cursor_find(*network).await;
                cursor.is_ok_and(|cursor| cursor.is_none_or(|cursor| cursor.halted_reason.is_none()))
            };
            (*network, in_time(runs).await)
        }));
        let (database, cells, objects, chains, watchers) =
            tokio::join!(database, cells, objects, chains, watchers);
        let all_chains = chains.iter().all(|(_, works)| *works);
        let named = [
            ("postgres", database),
            ("postgrest", cells),
            ("s3", objects),
            // Sites are served by this process, from what these two hold.
            ("cloudfront", database && objects),
            ("chain", all_chains),
        ];
        let mut checks: BTreeMap<String, bool> =
            named.into_iter().map(|(name, works)| (name.to_owned(), works)).collect();
        checks.extend(chains.into_iter().map(|(network, works)| (format!("chain {network}"), works)));
        checks.extend(watchers.into_iter().map(|(network, works)| (format!("{WATCHER}{network}"), works)));
        Health { checks }
    }

    async fn look_around(&self) -> Status {
        let deps = self.deps();
        let (health, observed, nodes, outbox, in_flight) = tokio::join!(
            self.health(),
            self.actors().observe(),
            deps.store.node_count(),
            deps.store.outbox_depth(),
            deps.store.payments_in_flight(),
        );
        let mut actors = BTreeMap::new();
        for one in &observed {
            *actors.entry(one.kind).or_insert(0) += 1;
        }
        let mut capabilities = CAPABILITIES.to_vec();
        if deps.chains.0.values().any(|chain| chain.faucet.is_some()) {
            capabilities.push("faucet");
        }
        let functions = self.function_status();
        if functions.as_ref().is_some_and(|functions| functions.refused.is_none()) {
            capabilities.push(FUNCTIONS);
        }
        let mut watchers = Vec::new();
        for network in deps.chains.0.keys() {
            watchers.extend(deps.store.cursor_find(*network).await.ok().flatten());
        }
        Status {
            healthy: health.is_healthy(),
            uptime_secs: (self.deps().wall.now() - self.inner.started_at).num_seconds().unsigned_abs(),
            operator: self.config().operator.clone(),
            capabilities,
            actors,
            nodes: nodes.ok(),
            outbox_rows: outbox.ok(),
            payments_in_flight: in_flight.ok(),
            networks: deps.chains.0.keys().copied().collect(),
            watchers,
            functions,
            lab: self.config().lab.clone(),
        }
    }
}

/// A service that does not say in time counts as one that does not work.
async fn in_time(check: impl Future<Output = bool>) -> bool {
    tokio::time::timeout(Duration::from_secs(CHECK_SECS_MAX), check).await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn many_askers_cause_one_check() {
        let (kept, made) = (Kept::default(), AtomicU32::new(0));
        let ask = || {
            kept.get(async {
                tokio::task::yield_now().await;
                made.fetch_add(1, Ordering::SeqCst)
            })
        };
        let answers = tokio::join!(ask(), ask(), ask());
        assert_eq!((*answers.0, *answers.1, *answers.2), (0, 0, 0));
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }
}
