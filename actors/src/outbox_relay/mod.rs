//! Delivers what commits announced: hints the actor that a row names, then deletes the row.
//!
//! `NOTIFY` wakes it and a poll backs that up. Rows are taken with `skip locked`, so the relays of several
//! nodes share them, and whatever is there is taken, because commits do not land in `seq` order. A row is
//! deleted in the transaction that took it: if that is lost the hint is repeated, which is harmless.

mod topics;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use store::StoreError;
use store::outbox::{outbox_done, outbox_retry, outbox_take};
use tokio::task::JoinHandle;

use crate::Deps;

const BATCH_ROWS_MAX: i64 = 200;
const POLL: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// The relay of one node.
pub(crate) struct OutboxRelay;

#[derive(Debug)]
pub(crate) enum Msg {
    /// There may be rows.
    Tick,
}

pub(crate) struct RelayState {
    deps: Arc<Deps>,
    /// Set while a `Tick` waits in the queue: a burst of hints must not become a queue of ticks.
    ticked: Arc<AtomicBool>,
    waker: JoinHandle<()>,
    /// Topics already complained about.
    unknown: HashSet<String>,
    failures: u32,
}

impl Actor for OutboxRelay {
    type Msg = Msg;
    type State = RelayState;
    type Arguments = Arc<Deps>;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        deps: Arc<Deps>,
    ) -> Result<RelayState, ActorProcessingErr> {
        let ticked = Arc::new(AtomicBool::new(false));
        let waker = tokio::spawn(wake(deps.clone(), myself, ticked.clone()));
        Ok(RelayState { deps, ticked, waker, unknown: HashSet::new(), failures: 0 })
    }

    async fn handle(
        &self,
        _: ActorRef<Msg>,
        Msg::Tick: Msg,
        state: &mut RelayState,
    ) -> Result<(), ActorProcessingErr> {
        // Before the rows are read: a row that commits afterwards sends a tick of its own.
        state.ticked.store(false, Ordering::SeqCst);
        match state.deliver_all().await {
            Ok(()) => state.failures = 0,
            Err(e) => {
                state.failures += 1;
                let wait = Duration::from_secs(1 << state.failures.min(5)).min(BACK_OFF_MAX);
                tracing::warn!(error = &e as &dyn std::error::Error, ?wait, "the outbox cannot be read");
                tokio::time::sleep(wait).await;
            }
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Msg>, state: &mut RelayState) -> Result<(), ActorProcessingErr> {
        state.waker.abort();
        Ok(())
    }
}

impl Drop for RelayState {
    /// A relay that panicked is not stopped in order, and its waker must end all the same.
    fn drop(&mut self) {
        self.waker.abort();
    }
}

impl RelayState {
    async fn deliver_all(&mut self) -> Result<(), StoreError> {
        while self.deliver_batch().await? == BATCH_ROWS_MAX as usize {}
        Ok(())
    }

    async fn deliver_batch(&mut self) -> Result<usize, StoreError> {
        deliver_batch(&self.deps, &mut self.unknown).await
    }
}

/// One batch without an actor around it; answers how many rows it took.
///
/// # Errors
/// What the store says; the batch was rolled back.
pub async fn relay_once(deps: &Deps) -> Result<usize, StoreError> {
    deliver_batch(deps, &mut HashSet::new()).await
}

async fn deliver_batch(deps: &Deps, unknown: &mut HashSet<String>) -> Result<usize, StoreError> {
    let mut tx = deps.store.begin().await?;
    let rows = outbox_take(&mut tx, BATCH_ROWS_MAX).await?;
    for row in &rows {
        match topics::deliver(deps.actors(), row) {
            Ok(()) => outbox_done(&mut tx, row.seq).await?,
            Err(why) => {
                if unknown.insert(row.topic.clone()) {
                    let (topic, seq) = (&row.topic, row.seq);
                    tracing::warn!(outbox.topic = %topic, outbox.seq = seq, %why, "outbox row kept");
                }
                outbox_retry(&mut tx, row.seq, &why.to_string()).await?;
            }
        }
    }
    tx.commit().await?;
    if !rows.is_empty() {
        tracing::debug!(rows = rows.len(), "outbox delivered");
    }
    Ok(rows.len())
}

/// Sends a tick for every hint of the database, and every second whatever it says.
async fn wake(deps: Arc<Deps>, relay: ActorRef<Msg>, ticked: Arc<AtomicBool>) {
    loop {
        let mut hints = match deps.store.listen(&["outbox"]).await {
            Ok(hints) => Some(hints),
            Err(e) => {
                tracing::debug!(error = &e as &dyn std::error::Error, "polling the outbox without hints");
                None
            }
        };
        loop {
            if !ticked.swap(true, Ordering::SeqCst) && relay.cast(Msg::Tick).is_err() {
                return;
            }
            let Some(listener) = hints.as_mut() else {
                tokio::time::sleep(POLL).await;
                break;
            };
            // Cancelling `next` loses no more than a hint.
            if let Ok(Err(_)) = tokio::time::timeout(POLL, listener.next()).await {
                tokio::time::sleep(POLL).await;
                hints = None;
            }
        }
    }
}
