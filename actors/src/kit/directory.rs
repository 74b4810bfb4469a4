//! The supervisor of one kind.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::Semaphore;

use super::keeper::{Keeper, KeeperArgs, KeeperMsg, Vitals};
use super::{ActorError, Kind};
use crate::Deps;

const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// Bounds of a kind on this node.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests that may wait for one entity.
    pub mailbox_max: usize,
    /// Entities alive at once.
    pub live_max: usize,
    /// Rest after which a keeper gives its claim back.
    pub idle: Duration,
    /// A request that takes longer is told to the log: handlers are meant to take under a second.
    pub slow: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mailbox_max: 256,
            live_max: 200_000,
            idle: Duration::from_secs(300),
            slow: Duration::from_secs(10),
        }
    }
}

/// One living keeper, as operators see it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Observed {
    pub kind: &'static str,
    pub key: String,
    pub epoch: u64,
    pub handled: u64,
    pub waiting: usize,
    /// How long the request under way has taken; zero at rest.
    pub busy_millis: u64,
}

/// A living keeper: where to send, and the right to wait in its queue.
pub(super) struct Entry<K: Kind> {
    pub keeper: ActorRef<KeeperMsg<K>>,
    pub permits: Arc<Semaphore>,
    vitals: Arc<Vitals>,
}

impl<K: Kind> Clone for Entry<K> {
    fn clone(&self) -> Self {
        Self { keeper: self.keeper.clone(), permits: self.permits.clone(), vitals: self.vitals.clone() }
    }
}

pub(super) enum DirectoryMsg<K: Kind> {
    Find {
        key: K::Key,
        reply: RpcReplyPort<Result<Entry<K>, ActorError>>,
    },
    Observe {
        reply: RpcReplyPort<Vec<Observed>>,
    },
    /// Looks for requests that take too long. Not the keeper's own business: a blocked one cannot tell.
    Watch,
}

/// A key whose keeper died young: when it may be started again.
struct Grief {
    deaths: u32,
    until: Instant,
}

pub(super) struct Directory<K: Kind>(pub std::marker::PhantomData<fn() -> K>);

pub(super) struct DirectoryState<K: Kind> {
    deps: Arc<Deps>,
    limits: Limits,
    living: HashMap<K::Key, Entry<K>>,
    keys: HashMap<ActorId, K::Key>,
    griefs: HashMap<K::Key, Grief>,
}

impl<K: Kind> Actor for Directory<K> {
    type Msg = DirectoryMsg<K>;
    type State = DirectoryState<K>;
    type Arguments = (Arc<Deps>, Limits);

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (deps, limits): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        myself.send_interval(limits.slow / 2, || DirectoryMsg::Watch);
        Ok(DirectoryState {
            deps,
            limits,
            living: HashMap::new(),
            keys: HashMap::new(),
            griefs: HashMap::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            DirectoryMsg::Find { key, reply } => {
                let found = state.find(&myself, key).await;
                let _ = reply.send(found);
            }
            DirectoryMsg::Observe { reply } => {
                let _ = reply.send(state.observe());
            }
            DirectoryMsg::Watch => state.watch(),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(cell, ..) => state.forget(cell.get_id(), None),
            SupervisionEvent::ActorFailed(cell, why) => state.forget(cell.get_id(), Some(why.to_string())),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }
}

impl<K: Kind> DirectoryState<K> {
    async fn find(
        &mut self,
        myself: &ActorRef<DirectoryMsg<K>>,
        key: K::Key,
    ) -> Result<Entry<K>, ActorError> {
        if let Some(entry) = self.living.get(&key) {
            // A keeper that is stopping still stands here until its death is reported; sending to it would
            // fail.
            if entry.keeper.get_status() <= ractor::ActorStatus::Running {
                return Ok(entry.clone());
            }
        }
        if self.griefs.get(&key).is_some_and(|grief| Instant::now() < grief.until) {
            return Err(ActorError::Unavailable(K::NAME));
        }
        if self.living.len() >= self.limits.live_max {
            return Err(ActorError::Unavailable(K::NAME));
        }
        let vitals = Arc::new(Vitals::default());
        let args =
            KeeperArgs { deps: self.deps.clone(), key, idle: self.limits.idle, vitals: vitals.clone() };
        let keeper = Keeper::<K>(std::marker::PhantomData);
        let (keeper, _) = Actor::spawn_linked(None, keeper, args, myself.get_cell())
            .await
            .map_err(|_| ActorError::Unavailable(K::NAME))?;
        self.keys.insert(keeper.get_id(), key);
        let entry = Entry { keeper, permits: Arc::new(Semaphore::new(self.limits.mailbox_max)), vitals };
        self.living.insert(key, entry.clone());
        Ok(entry)
    }

    /// A keeper ended. Only failures count against its key.
    fn forget(&mut self, id: ActorId, failure: Option<String>) {
        let Some(key) = self.keys.remove(&id) else { return };
        if self.living.get(&key).is_some_and(|entry| entry.keeper.get_id() == id) {
            self.living.remove(&key);
        }
        let Some(why) = failure else {
            self.griefs.remove(&key);
            return;
        };
        let grief = self.griefs.entry(key).or_insert(Grief { deaths: 0, until: Instant::now() });
        grief.deaths += 1;
        let wait = BACK_OFF_FIRST.saturating_mul(1 << grief.deaths.min(12)).min(BACK_OFF_MAX);
        grief.until = Instant::now() + wait;
        tracing::error!(kind = K::NAME, key = %key, deaths = grief.deaths, error = %why, "actor died");
    }

    fn watch(&self) {
        for (key, entry) in &self.living {
            if let Some(taken) = entry.vitals.newly_slow(self.limits.slow) {
                let waiting = self.limits.mailbox_max - entry.permits.available_permits();
                let taken_ms = taken.as_millis() as u64;
                tracing::warn!(kind = K::NAME, key = %key, taken_ms, waiting, "a request takes too long");
            }
        }
    }

    fn observe(&self) -> Vec<Observed> {
        self.living
            .iter()
            .map(|(key, entry)| Observed {
                kind: K::NAME,
                key: key.to_string(),
                epoch: entry.vitals.epoch.load(Ordering::Relaxed),
                handled: entry.vitals.handled.load(Ordering::Relaxed),
                waiting: self.limits.mailbox_max - entry.permits.available_permits(),
                busy_millis: entry.vitals.busy_for().map_or(0, |taken| taken.as_millis() as u64),
            })
            .collect()
    }
}
