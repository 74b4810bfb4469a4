//! How others reach an actor: with a permit, a deadline, and one hop to the claim's holder.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorRef, call_t};
use store::Peer;

use super::directory::{Directory, DirectoryMsg, Entry, Limits, Observed};
use super::keeper::{Answer, KeeperMsg};
use super::{ActorError, Forward, Forwarded, Kind};
use crate::Deps;

const FIND_MILLIS_MAX: u64 = 5_000;
const HINT_WITHIN: Duration = Duration::from_secs(60);

/// The way to all actors of a kind. Cheap to clone.
pub struct Handle<K: Kind> {
    directory: ActorRef<DirectoryMsg<K>>,
    forward: Arc<dyn Forward>,
}

impl<K: Kind> Clone for Handle<K> {
    fn clone(&self) -> Self {
        Self { directory: self.directory.clone(), forward: self.forward.clone() }
    }
}

impl<K: Kind> Handle<K> {
    /// Starts the kind's directory under `root`.
    ///
    /// # Errors
    /// `Unavailable` when the runtime is shutting down.
    pub async fn start(
        root: ActorCell,
        deps: Arc<Deps>,
        limits: Limits,
        forward: Arc<dyn Forward>,
    ) -> Result<Self, ActorError> {
        let directory = Directory::<K>(std::marker::PhantomData);
        let (directory, _) = Actor::spawn_linked(None, directory, (deps, limits), root)
            .await
            .map_err(|_| ActorError::Unavailable(K::NAME))?;
        Ok(Self { directory, forward })
    }

    /// Asks the owner of `key`, wherever it is.
    ///
    /// # Errors
    /// What the actor refused; `Unavailable` when nothing was sent; `OutcomeUnknown` when the answer did not
    /// come within `timeout` (repeat the same request: actors treat it as the same).
    pub async fn call(
        &self,
        key: K::Key,
        request: K::Request,
        timeout: Duration,
    ) -> Result<K::Reply, ActorError> {
        match self.ask_here(key, request.clone(), timeout).await? {
            Answer::Done(outcome) => outcome,
            Answer::Elsewhere(peer) => self.ask_there(&peer, key, request, timeout).await,
        }
    }

    /// Asks the owner of `key` only if it is on this node: what a forwarded message does, so that it never
    /// hops twice.
    ///
    /// # Errors
    /// As `call`; `PeerSilent` when another node owns it.
    pub async fn call_here(
        &self,
        key: K::Key,
        request: K::Request,
        timeout: Duration,
    ) -> Result<K::Reply, ActorError> {
        match self.ask_here(key, request, timeout).await? {
            Answer::Done(outcome) => outcome,
            Answer::Elsewhere(_) => Err(ActorError::PeerSilent),
        }
    }

    /// Sends without waiting. Carries no facts: a lost hint costs latency.
    pub fn hint(&self, key: K::Key, request: K::Request) {
        if self.forward.hold(&|| message::<K>(key, &request, HINT_WITHIN).ok()) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            if let Err(e) = this.call(key, request, HINT_WITHIN).await {
                tracing::debug!(kind = K::NAME, key = %key, error = %e, "hint not delivered");
            }
        });
    }

    /// The living keepers of this node.
    pub async fn observe(&self) -> Vec<Observed> {
        call_t!(self.directory, |reply| DirectoryMsg::Observe { reply }, FIND_MILLIS_MAX).unwrap_or_default()
    }

    /// Ends every keeper after what it is doing now, and gives their claims back.
    pub async fn drain(&self) {
        self.directory.stop_children_and_wait(Some("draining".to_owned()), None).await;
        self.directory.stop(Some("draining".to_owned()));
    }

    async fn ask_here(
        &self,
        key: K::Key,
        request: K::Request,
        timeout: Duration,
    ) -> Result<Answer<K>, ActorError> {
        let entry: Entry<K> =
            call_t!(self.directory, |reply| DirectoryMsg::Find { key, reply }, FIND_MILLIS_MAX)
                .map_err(|_| ActorError::Unavailable(K::NAME))??;
        let _permit =
            entry.permits.clone().try_acquire_owned().map_err(|_| ActorError::Unavailable(K::NAME))?;
        let span = tracing::Span::current();
        let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        call_t!(entry.keeper, |reply| KeeperMsg::Ask { request, span, reply }, millis)
            .map_err(|_| ActorError::OutcomeUnknown)
    }

    async fn ask_there(
        &self,
        peer: &Peer,
        key: K::Key,
        request: K::Request,
        timeout: Duration,
    ) -> Result<K::Reply, ActorError> {
        let message = message::<K>(key, &request, timeout)?;
        let reply = self.forward.forward(peer, message).await??;
        serde_json::from_value(reply).map_err(|_| ActorError::OutcomeUnknown)
    }
}

/// A request as it travels.
fn message<K: Kind>(key: K::Key, request: &K::Request, timeout: Duration) -> Result<Forwarded, ActorError> {
    let request = serde_json::to_value(request).map_err(|_| ActorError::PeerSilent)?;
    Ok(Forwarded { kind: K::NAME.to_owned(), entity: K::entity(key), request, timeout })
}
