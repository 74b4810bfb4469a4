//! Each loop: what it does and how often.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use types::{Network, WatcherId};

use crate::kit::ActorError;
use crate::{
    Deps, account_mail, cards, certificates, chain_watcher, deploy, domains, images, mail, payment, project,
    recharges, wallet,
};

type Work = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), ActorError>> + Send>> + Send + Sync>;

/// Every second, and so on: six fields, the first one seconds, in UTC.
pub(super) const SECOND: &str = "* * * * * *";
const FIVE_SECONDS: &str = "*/5 * * * * *";
const MINUTE: &str = "0 * * * * *";

/// One loop.
pub(super) struct Tick {
    pub name: &'static str,
    pub cron: &'static str,
    work: Work,
    running: AtomicBool,
}

/// Ends the run however it ended, a panic included.
struct Running<'a>(&'a AtomicBool);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Tick {
    fn new<F, R>(name: &'static str, cron: &'static str, deps: &Arc<Deps>, work: F) -> Self
    where
        F: Fn(Arc<Deps>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), ActorError>> + Send + 'static,
    {
        let deps = deps.clone();
        Self::of(name, cron, move || work(deps.clone()))
    }

    pub fn of<F, R>(name: &'static str, cron: &'static str, work: F) -> Self
    where
        F: Fn() -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), ActorError>> + Send + 'static,
    {
        Self { name, cron, work: Box::new(move || Box::pin(work())), running: AtomicBool::new(false) }
    }

    /// Loops that are rarer tidy up, and need not do so at the start.
    pub fn runs_at_start(&self) -> bool {
        self.cron == SECOND || self.cron == FIVE_SECONDS
    }

    pub async fn work(&self) -> Result<(), ActorError> {
        (self.work)().await
    }

    /// Runs once, unless the previous run has not ended.
    pub async fn run(&self) {
        if self.running.swap(true, Ordering::SeqCst) {
            tracing::debug!(tick = self.name, "the previous tick is still running");
            return;
        }
        let _running = Running(&self.running);
        if let Err(e) = self.work().await {
            // Each loop is a second chance for what failed elsewhere, so the next tick is its own.
            tracing::debug!(tick = self.name, error = &e as &dyn std::error::Error, "tick failed");
        }
    }
}

/// Entries of functions' logs that one sweep forgets.
const LOG_ROWS_MAX: i64 = 20_000;
/// Rows that one sweep looks at; the next sweep takes the rest.
const SWEEP_ROWS_MAX: i64 = 500;
/// Counted windows that one sweep forgets.
const WINDOW_ROWS_MAX: i64 = 10_000;
/// Transfers that one run of the sealer takes.
const SEAL_ROWS_MAX: i64 = 5_000;
/// Databases of a cell that wait for their project: a burst of provisioning takes this many at once.
const WARM_SLOTS: usize = 6;
/// A watcher or a lane that takes longer is asked again; it goes on with what it is doing.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// All loops of a node. Each runs on every node: claims, locks and `skip locked` see to it that the work is
/// done once.
pub(super) fn all(deps: &Arc<Deps>) -> Vec<Tick> {
    let mut ticks: Vec<Tick> = deps.chains.0.keys().map(|network| watcher(*network, deps)).collect();
    ticks.extend([
        Tick::new("lanes", FIVE_SECONDS, deps, lanes),
        Tick::new("payments", FIVE_SECONDS, deps, payments),
        Tick::new("deploys", FIVE_SECONDS, deps, deploys),
        Tick::new("projects", FIVE_SECONDS, deps, projects),
        Tick::new("forks", FIVE_SECONDS, deps, forks),
        Tick::new("sealer", FIVE_SECONDS, deps, seal),
        Tick::new("cards", SECOND, deps, |deps| async move { cards::sweep(&deps).await }),
        Tick::new("card reconciler", FIVE_SECONDS, deps, |deps| async move { cards::reconcile(&deps).await }),
        Tick::new("recharges", FIVE_SECONDS, deps, |deps| async move { recharges::sweep(&deps).await }),
        Tick::new("mail", SECOND, deps, |deps| async move { mail::sweep(&deps).await }),
        Tick::new("account mail", SECOND, deps, |deps| async move { account_mail::sweep(&deps).await }),
        Tick::new("images", FIVE_SECONDS, deps, |deps| async move { images::sweep(&deps).await }),
        Tick::new("warm pool", SECOND, deps, warm_pool),
        Tick::new("calls", FIVE_SECONDS, deps, calls),
        Tick::new("lifecycle", FIVE_SECONDS, deps, lifecycle),
        Tick::new("domains", FIVE_SECONDS, deps, |deps| async move { domains::sweep(&deps).await }),
        Tick::new("certificates", FIVE_SECONDS, deps, |deps| async move { certificates::sweep(&deps).await }),
        Tick::new("expiry", MINUTE, deps, expire),
        Tick::new("claims", MINUTE, deps, claims),
        Tick::new("uploads", MINUTE, deps, uploads),
        Tick::new("garbage", FIVE_SECONDS, deps, garbage),
        Tick::new(
            "function schedules",
            SECOND,
            deps,
            |deps| async move { crate::functions::sweep(&deps).await },
        ),
        Tick::new("function runs", MINUTE, deps, |deps| async move {
            crate::functions::forget(&deps, LOG_ROWS_MAX).await
        }),
        Tick::new("function logs", MINUTE, deps, |deps| async move {
            crate::functions::logs_sweep(&deps, LOG_ROWS_MAX).await
        }),
    ]);
    if deps.movable.is_some() {
        ticks.push(Tick::new("lab clock", SECOND, deps, lab_clock));
    }
    ticks
}

/// One per network, so that a slow chain does not hold up another.
fn watcher(network: Network, deps: &Arc<Deps>) -> Tick {
    Tick::new("watcher", SECOND, deps, move |deps| async move {
        let watcher = &deps.actors().chain_watcher;
        watcher.call(WatcherId::of(network), chain_watcher::Request::Tick, ANSWER_WITHIN).await.map(drop)
    })
}

async fn lanes(deps: Arc<Deps>) -> Result<(), ActorError> {
    let steps = wallet::lanes(&deps).into_iter().map(|(lane, ..)| {
        let wallet = &deps.actors().wallet;
        wallet.call(lane, wallet::Request::Step, ANSWER_WITHIN)
    });
    for outcome in futures::future::join_all(steps).await {
        outcome?;
    }
    Ok(())
}

async fn payments(deps: Arc<Deps>) -> Result<(), ActorError> {
    for id in deps.store.payments_unfinished(SWEEP_ROWS_MAX).await? {
        deps.actors().payment.hint(id, payment::Request::Step);
    }
    // Nobody else looks at a payment that has ended.
    for id in deps.store.payments_to_revive(SWEEP_ROWS_MAX).await? {
        deps.actors().payment.hint(id, payment::Request::Step);
    }
    Ok(())
}

async fn deploys(deps: Arc<Deps>) -> Result<(), ActorError> {
    for id in store::deploys::unfinished(&deps.store, deps.clock.now(), SWEEP_ROWS_MAX).await? {
        deps.actors().deploy.hint(id, deploy::Request::Step);
    }
    Ok(())
}

async fn projects(deps: Arc<Deps>) -> Result<(), ActorError> {
    for id in store::projects::unfinished(&deps.store, SWEEP_ROWS_MAX).await? {
        deps.actors().project.hint(id, project::Request::Step);
    }
    Ok(())
}

/// A fork that nobody can ask for any more has keys that nobody has.
async fn forks(deps: Arc<Deps>) -> Result<(), ActorError> {
    for id in store::apps::forks_abandoned(&deps.store, deps.clock.now(), SWEEP_ROWS_MAX).await? {
        deps.actors().project.hint(id, project::Request::Erase);
    }
    Ok(())
}

async fn seal(deps: Arc<Deps>) -> Result<(), ActorError> {
    let limit = SEAL_ROWS_MAX;
    while store::ledger::seal(&deps.store, deps.clock.now(), limit).await? == limit.unsigned_abs() {}
    Ok(())
}

async fn warm_pool(deps: Arc<Deps>) -> Result<(), ActorError> {
    project::pool::fill(&deps, WARM_SLOTS).await;
    Ok(())
}

async fn expire(deps: Arc<Deps>) -> Result<(), ActorError> {
    // A nonce lives as long as its signature, which the outside world made.
    deps.store.requests_expire(deps.wall.now(), SWEEP_ROWS_MAX).await?;
    store::account_mail::confirmations_expire(&deps.store, deps.clock.now(), SWEEP_ROWS_MAX).await?;
    Ok(())
}

/// Hands what was counted to the database: first the window whose outcome is not known, then the next one.
pub(super) async fn calls(deps: Arc<Deps>) -> Result<(), ActorError> {
    for _ in 0..2 {
        let Some(window) = deps.meter.close() else { break };
        store::calls::calls_flush(&deps.store, &window).await?;
        deps.meter.acknowledge(window.number);
    }
    Ok(())
}

async fn lifecycle(deps: Arc<Deps>) -> Result<(), ActorError> {
    super::lifecycle::work(&deps).await
}

/// Follows what other nodes did to the lab's clock.
async fn lab_clock(deps: Arc<Deps>) -> Result<(), ActorError> {
    if let Some(clock) = &deps.movable {
        clock.raise(store::lab_clock::lab_clock_shift(&deps.store).await?);
    }
    Ok(())
}

async fn claims(deps: Arc<Deps>) -> Result<(), ActorError> {
    deps.store.claims_sweep(SWEEP_ROWS_MAX).await?;
    store::calls::windows_expire(&deps.store, WINDOW_ROWS_MAX).await?;
    Ok(())
}

async fn uploads(deps: Arc<Deps>) -> Result<(), ActorError> {
    deploy::uploads_sweep(&deps).await.map(drop)
}

async fn garbage(deps: Arc<Deps>) -> Result<(), ActorError> {
    deploy::garbage_sweep(&deps).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[tokio::test]
    async fn a_tick_skips_while_the_one_before_is_running_and_only_then() {
        let started = Arc::new(AtomicU32::new(0));
        let counter = started.clone();
        let tick = Tick::of("slow", SECOND, move || {
            counter.fetch_add(1, Ordering::SeqCst);
            async {
                tokio::task::yield_now().await;
                Ok(())
            }
        });
        tokio::join!(tick.run(), tick.run());
        assert_eq!(started.load(Ordering::SeqCst), 1);
        tick.run().await;
        assert_eq!(started.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_tick_that_panicked_runs_again() {
        let tick = Arc::new(Tick::of("bad", SECOND, || async { panic!("a bug") }));
        let first = tick.clone();
        assert!(tokio::spawn(async move { first.run().await }).await.is_err());
        assert!(!tick.running.load(Ordering::SeqCst));
    }
}
