//! Group commit: the journals of many callers in one transaction. On an account that everybody credits, each
//! commit waits for the one before it; together they wait once.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use types::Clock;

use super::post::{Journal, LedgerError, Posted, post, post_many};
use crate::{Fence, Store, StoreError};

/// Journals of one transaction at most.
const BATCH_MAX: usize = 1_000;
/// Callers that wait at most; more wait before they are queued.
const QUEUE_MAX: usize = 4_096;

/// Posts for many callers at once. Cheap to clone. For journals that stand alone: what must commit together
/// with other rows calls [`post`] in the transaction of those rows.
#[derive(Clone)]
pub struct Poster {
    store: Store,
    clock: Arc<dyn Clock>,
    queue: Arc<Mutex<Option<mpsc::Sender<Ask>>>>,
}

struct Ask {
    fence: Option<Fence>,
    journal: Journal,
    answer: oneshot::Sender<Result<Posted, LedgerError>>,
}

impl Poster {
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock, queue: Arc::default() }
    }

    /// Posts one journal, all legs or none, and answers once it is committed. The same facts again answer
    /// `Before`. With a fence, only while that claim is the newest.
    ///
    /// # Errors
    /// What `LedgerError` names; `Store(Fenced)` when the claim is superseded. A journal that is refused
    /// does not touch those it shared the transaction with. After `Store` ask again with the same facts.
    pub async fn post(&self, fence: Option<Fence>, journal: Journal) -> Result<Posted, LedgerError> {
        let gone = || LedgerError::Store(StoreError::Stale("ledger poster"));
        let (answer, answered) = oneshot::channel();
        let queue = self.queue();
        queue.send(Ask { fence, journal, answer }).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// The queue of the writer that lives; a writer that died is replaced.
    fn queue(&self) -> mpsc::Sender<Ask> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(living) = queue.as_ref().filter(|queue| !queue.is_closed()) {
            return living.clone();
        }
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(write(self.store.clone(), self.clock.clone(), receiver));
        *queue = Some(sender.clone());
        sender
    }
}

/// The one writer: while it commits, the next batch gathers. Ends when nobody can ask any more.
async fn write(store: Store, clock: Arc<dyn Clock>, mut queue: mpsc::Receiver<Ask>) {
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let asks = std::mem::take(&mut batch);
        let outcomes = match asks.as_slice() {
            [_] => None,
            asks => together(&store, clock.as_ref(), asks).await,
        };
        match outcomes {
            Some(outcomes) => {
                for (ask, outcome) in asks.into_iter().zip(outcomes) {
                    let _ = ask.answer.send(outcome);
                }
            }
            // Something is wrong with one of them, or the outcome is unknown. A fact is posted once however
            // often it is tried, so each finds out for itself.
            None => {
                for ask in asks {
                    let outcome = alone(&store, clock.as_ref(), &ask).await;
                    let _ = ask.answer.send(outcome);
                }
            }
        }
    }
}

async fn together(
    store: &Store,
    clock: &dyn Clock,
    asks: &[Ask],
) -> Option<Vec<Result<Posted, LedgerError>>> {
    let fences: Vec<Fence> = asks.iter().filter_map(|ask| ask.fence.clone()).collect();
    let journals: Vec<Journal> = asks.iter().map(|ask| ask.journal.clone()).collect();
    let mut tx = store.fenced_all(&fences).await.ok()?;
    let outcomes = post_many(tx.tx(), &journals, clock.now()).await.ok()?;
    tx.commit().await.ok()?;
    Some(outcomes)
}

async fn alone(store: &Store, clock: &dyn Clock, ask: &Ask) -> Result<Posted, LedgerError> {
    let fences: Vec<Fence> = ask.fence.clone().into_iter().collect();
    let mut tx = store.fenced_all(&fences).await?;
    let posted = post(tx.tx(), ask.journal.link, &ask.journal.legs, clock.now()).await?;
    tx.commit().await?;
    Ok(posted)
}
