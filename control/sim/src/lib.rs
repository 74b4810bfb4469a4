//! The simulator: real code, real Postgres, and everything else by chance, drawn from a seed.
//!
//! **Cast.** A [`world::World`] holds a chain in memory, two clocks, wallets that pay, and two nodes with all of
//! their actors. Each step picks one of the [`operations`]: somebody buys, a block is mined, a message arrives. One
//! operation is in flight at a time and all of it runs in one thread, so the same seed is the same run. After each
//! step the [`oracle`] compares what changed in the books with the rules; at the end everything is given time to
//! come to rest ([`settle`]) and the books are verified as an operator would.
//!
//! **Injected** are the chain's node ([`rpc`]), Stripe ([`stripe`]), time, ids and secrets, the ticks of the
//! schedule, and the delivery of messages ([`post`]) and webhooks, which may be late, lost or repeated. Payment, lease,
//! lane, watcher, cards, store and the operations in front of them are the ones that are served.
//!
//! **Crashes.** A node can die after any answer of the database or the chain, and at every kill point ([`stage`]):
//! what is under way unwinds, its connections close, and another node starts from Postgres.
//!
//! **More operations** are one more module of [`operations`] with a table of its own.

mod dice;
mod entropy;
mod memory;
mod node;
mod operations;
mod oracle;
mod post;
mod rpc;
mod settle;
mod stage;
mod stripe;
mod trace;
mod world;

use std::rc::Rc;

use store::{Store, StoreError};
use types::kill_points;

use crate::stage::Stage;
use crate::world::World;

/// Connections of the simulator itself and of each node. One, because nothing that is done here needs a second
/// connection while it holds the first: what did would wait for itself.
const CONNECTIONS: u32 = 1;

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub steps: u32,
    /// Print each step.
    pub told: bool,
}

/// What a run was.
#[derive(Debug, Clone)]
pub struct Report {
    /// SHA-256 of the trace: all that happened, without ids and wall times.
    pub trace: [u8; 32],
    pub crashes: u32,
    pub credited: usize,
    pub purchases: usize,
    pub reversed: usize,
    /// Payments by card that were credited.
    pub cards: usize,
    pub transfers: usize,
    /// Every place at which a node died.
    pub fell_at: Vec<&'static str>,
}

/// A rule that was broken, or why the run could not go on.
#[derive(Debug, thiserror::Error)]
#[error("step {step} ({operation}): {what}")]
pub struct Failure {
    pub step: u32,
    pub operation: String,
    pub what: String,
}

/// What is wrong, where it was found.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fault(pub String);

impl Fault {
    fn of(what: &str, e: &dyn std::error::Error) -> Self {
        let mut text = format!("{what}: {e}");
        let mut source = e.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self(text)
    }
}

impl From<StoreError> for Fault {
    fn from(e: StoreError) -> Self {
        Self::of("the control database", &e)
    }
}

/// A database that simulations may use, one after the other. What was in it is gone.
pub struct Simulator {
    url: String,
    admin: Store,
}

impl Simulator {
    /// Makes every table of the database anew.
    ///
    /// # Errors
    /// What the store says.
    pub async fn prepare(url: &str) -> Result<Self, StoreError> {
        let admin = Store::connect(url, CONNECTIONS).await?;
        store::simulation::renew(&admin).await?;
        // Connections made before still know the tables that are gone.
        admin.close().await;
        Ok(Self { url: url.to_owned(), admin: Store::connect(url, CONNECTIONS).await? })
    }

    /// Runs one seed. Call it on a runtime of one thread: two would race.
    ///
    /// # Errors
    /// The first rule that was broken.
    pub async fn run(&self, plan: Plan) -> Result<Report, Failure> {
        let stage = Stage::new();
        let watcher = stage.clone();
        let failed = |what: String| Failure { step: 0, operation: "start".to_owned(), what };
        kill_points::watch(Some(Rc::new(move |name| watcher.pass(name))))
            .map_err(|e| failed(e.to_string()))?;
        let outcome = match World::start(&self.url, &self.admin, stage, plan).await {
            Ok(mut world) => {
                let outcome = run(&mut world, plan).await;
                world.end().await;
                outcome.map(|()| world.report())
            }
            Err(fault) => Err(failed(fault.0)),
        };
        // In a build that has no kill points the first call has failed already.
        let _ = kill_points::watch(None);
        outcome
    }

    /// Closes its connections.
    pub async fn close(self) {
        self.admin.close().await;
    }
}

async fn run(world: &mut World, plan: Plan) -> Result<(), Failure> {
    for step in 1..=plan.steps {
        let operation = operations::choose(&mut world.dice);
        let done = world.step(operation).await;
        done.map_err(|fault| Failure { step, operation: operation.name.to_owned(), what: fault.0 })?;
    }
    let step = plan.steps;
    let settled = settle::settle(world).await;
    settled.map_err(|fault| Failure { step, operation: "settle".to_owned(), what: fault.0 })
}
