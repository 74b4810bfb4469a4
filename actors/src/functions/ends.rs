//! Ends of runs, written together: whoever has the turn writes for all that came while the turn before was taken.

use std::sync::{Mutex, PoisonError};

use store::Store;
use store::functions::{ClaimedRun, RunEnd, runs_end};
use tokio::sync::oneshot;
use types::Clock;

use crate::kit::ActorError;

/// Ends that wait to be written.
#[derive(Default)]
pub(super) struct Ends {
    waiting: Mutex<Vec<Ended>>,
    turn: tokio::sync::Mutex<()>,
}

struct Ended {
    run: ClaimedRun,
    end: RunEnd,
    tell: oneshot::Sender<Result<bool, ActorError>>,
}

impl Ends {
    /// Writes how an attempt ended, once. False: the attempt was given up, and its outcome counts no more.
    ///
    /// Called from tasks that nobody cuts off: whoever has the turn holds what others wait for.
    ///
    /// # Errors
    /// `Store`: whether it is written is not known. Another attempt follows if it is not.
    pub(super) async fn write(
        &self,
        (store, clock): (&Store, &dyn Clock),
        run: ClaimedRun,
        end: RunEnd,
    ) -> Result<bool, ActorError> {
        let (tell, told) = oneshot::channel();
        self.waiting().push(Ended { run, end, tell });
        let turn = self.turn.lock().await;
        // Empty when another's turn has written ours.
        let group = std::mem::take(&mut *self.waiting());
        together(store, clock, group).await;
        drop(turn);
        told.await.unwrap_or(Err(ActorError::Unavailable("ends of runs")))
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Vec<Ended>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn together(store: &Store, clock: &dyn Clock, group: Vec<Ended>) {
    let all: Vec<_> = group.iter().map(|one| (&one.run, &one.end)).collect();
    if all.is_empty() {
        return;
    }
    match runs_end(store, &all, clock.now()).await {
        Ok(counted) => {
            for one in group {
                let _ = one.tell.send(Ok(counted.contains(&one.run.id)));
            }
        }
        // What one of them is refused for must not cost the others a second attempt.
        Err(_) => {
            for one in group {
                let alone = runs_end(store, &[(&one.run, &one.end)], clock.now()).await;
                let _ = one.tell.send(alone.map(|counted| !counted.is_empty()).map_err(ActorError::from));
            }
        }
    }
}
