//! The actor of one entity.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use store::{Claimed, Fence, Peer, StoreError};
use tracing::Instrument;

use super::{ActorError, Kind};
use crate::Deps;

/// What a keeper answers.
pub(super) enum Answer<K: Kind> {
    Done(Result<K::Reply, ActorError>),
    /// Another live node holds the claim: nothing was done here.
    Elsewhere(Peer),
}

pub(super) enum KeeperMsg<K: Kind> {
    Ask {
        request: K::Request,
        span: tracing::Span,
        reply: RpcReplyPort<Answer<K>>,
    },
    /// Ends the keeper when it has had nothing to do for a while.
    IdleCheck,
}

/// Counters that the directory reads without asking.
#[derive(Debug, Default)]
pub(super) struct Vitals {
    pub handled: AtomicU64,
    pub epoch: AtomicU64,
    busy: Mutex<Option<Busy>>,
}

/// A request that is being handled.
#[derive(Debug)]
struct Busy {
    since: Instant,
    told: bool,
}

impl Vitals {
    /// How long the request under way has taken.
    pub fn busy_for(&self) -> Option<Duration> {
        self.lock().as_ref().map(|busy| monotonic().duration_since(busy.since))
    }

    /// The same, once for each request that takes longer than `limit`.
    pub fn newly_slow(&self, limit: Duration) -> Option<Duration> {
        let mut busy = self.lock();
        let busy = busy.as_mut().filter(|busy| !busy.told)?;
        let taken = monotonic().duration_since(busy.since);
        busy.told = taken > limit;
        busy.told.then_some(taken)
    }

    fn begin(&self) {
        *self.lock() = Some(Busy { since: monotonic(), told: false });
    }

    fn end(&self) {
        *self.lock() = None;
    }

    /// Two plain fields are whole even after a panic.
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Busy>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Keeper<K: Kind>(pub std::marker::PhantomData<fn() -> K>);

pub(super) struct KeeperArgs<K: Kind> {
    pub deps: Arc<Deps>,
    pub key: K::Key,
    pub idle: Duration,
    pub vitals: Arc<Vitals>,
}

pub(super) struct KeeperState<K: Kind> {
    args: KeeperArgs<K>,
    /// None until the first request: loading happens there, so that a refusal reaches whoever asked.
    held: Option<(Fence, K::State)>,
    last_used: Instant,
}

impl<K: Kind> Actor for Keeper<K> {
    type Msg = KeeperMsg<K>;
    type State = KeeperState<K>;
    type Arguments = KeeperArgs<K>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        args: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        myself.send_after(args.idle, || KeeperMsg::IdleCheck);
        Ok(KeeperState { args, held: None, last_used: monotonic() })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            KeeperMsg::Ask { request, span, reply } => {
                let span = tracing::info_span!(parent: &span, "actor", kind = K::NAME, key = %state.args.key);
                state.args.vitals.begin();
                let answer = state.answer(request).instrument(span).await;
                state.args.vitals.end();
                state.last_used = monotonic();
                let fatal = match &answer {
                    Answer::Done(Err(e)) if e.doubts_memory() || state.held.is_none() => Some(e.to_string()),
                    Answer::Elsewhere(_) => Some("held by another node".to_owned()),
                    Answer::Done(_) => None,
                };
                let _ = reply.send(answer); // A caller who gave up is not our failure.
                if let Some(why) = fatal {
                    myself.stop(Some(why));
                }
                Ok(())
            }
            KeeperMsg::IdleCheck => {
                let idle = monotonic().duration_since(state.last_used);
                if idle >= state.args.idle {
                    myself.stop(Some("idle".to_owned()));
                } else {
                    myself.send_after(state.args.idle.saturating_sub(idle), || KeeperMsg::IdleCheck);
                }
                Ok(())
            }
        }
    }

    async fn post_stop(
        &self,
        _: ActorRef<Self::Msg>,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if let Some((fence, _)) = state.held.take()
            && let Err(e) = state.args.deps.store.claim_release(&fence).await
        {
            // It lapses by itself.
            tracing::debug!(kind = K::NAME, key = %state.args.key, error = %e, "claim not given back");
        }
        Ok(())
    }
}

impl<K: Kind> KeeperState<K> {
    /// Handles a request. One that another's claim cut off has written nothing under the old fence and is
    /// repeatable, so it goes to whoever holds the entity now, once: its caller need not know of the change.
    async fn answer(&mut self, request: K::Request) -> Answer<K> {
        match self.attempt(request.clone()).await {
            Answer::Done(Err(ActorError::Store(StoreError::Fenced))) => {
                self.held = None;
                self.attempt(request).await
            }
            answer => answer,
        }
    }

    async fn attempt(&mut self, request: K::Request) -> Answer<K> {
        if self.held.is_none() {
            match self.claim_and_load().await {
                Ok(None) => {}
                Ok(Some(peer)) => return Answer::Elsewhere(peer),
                Err(e) => return Answer::Done(Err(e)),
            }
        }
        let Some((_, entity)) = self.held.as_mut() else {
            return Answer::Done(Err(ActorError::Unavailable(K::NAME)));
        };
        #[cfg(test)]
        crate::testing::panic_point(self.args.deps.node, K::NAME, crate::testing::Place::Before);
        let outcome = K::handle(&self.args.deps, entity, request).await;
        #[cfg(test)]
        crate::testing::panic_point(self.args.deps.node, K::NAME, crate::testing::Place::After);
        self.args.vitals.handled.fetch_add(1, Ordering::Relaxed);
        Answer::Done(outcome)
    }

    async fn claim_and_load(&mut self) -> Result<Option<Peer>, ActorError> {
        let deps = &self.args.deps;
        match deps.store.claim(K::NAME, K::entity(self.args.key), deps.node).await? {
            Claimed::Theirs(peer) => Ok(Some(peer)),
            Claimed::Ours(fence) => {
                self.args.vitals.epoch.store(fence.epoch.unsigned_abs(), Ordering::Relaxed);
                let loaded = match K::load(deps, self.args.key, fence.clone()).await {
                    Ok(loaded) => loaded,
                    Err(e) => {
                        // Nobody else should wait for this node to lapse.
                        let _ = deps.store.claim_release(&fence).await;
                        return Err(e);
                    }
                };
                self.held = Some((fence, loaded));
                Ok(None)
            }
        }
    }
}

/// Intervals, not dates: how long something took or rested.
fn monotonic() -> Instant {
    Instant::now()
}
