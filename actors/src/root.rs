//! The root of the tree: one directory per kind hangs under it.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};
use serde_json::Value;
use types::{Code, Problem};

use crate::kit::{ActorError, Forward, Forwarded, Handle, Kind, Limits, Observed};
use crate::{Deps, chain_watcher, deploy, lease, payment, project, wallet};

/// The way to every actor. Cheap to clone.
#[derive(Clone)]
pub struct Actors {
    pub deploy: Handle<deploy::Deploy>,
    pub payment: Handle<payment::Payment>,
    pub project: Handle<project::Project>,
    pub lease: Handle<lease::Lease>,
    pub wallet: Handle<wallet::Lane>,
    pub chain_watcher: Handle<chain_watcher::Watcher>,
}

/// The running tree.
pub struct Started {
    pub actors: Actors,
    root: ActorCell,
}

struct Root;

impl Actor for Root {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    /// A directory holds no facts and never fails by itself; if one does, the process must not limp on
    /// without it.
    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<()>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(cell, why) = event {
            tracing::error!(actor = ?cell.get_id(), error = %why, "a directory died; stopping");
            myself.stop(Some("directory died".to_owned()));
        }
        Ok(())
    }
}

impl Actors {
    /// Starts the tree and makes it known to `deps`.
    ///
    /// # Errors
    /// `Unavailable` when the runtime is shutting down.
    pub async fn start(
        deps: &Arc<Deps>,
        limits: Limits,
        forward: Arc<dyn Forward>,
    ) -> Result<Started, ActorError> {
        let (root, _) = Actor::spawn(None, Root, ()).await.map_err(|_| ActorError::Unavailable("root"))?;
        let cell = root.get_cell();
        let actors = Self {
            deploy: Handle::start(cell.clone(), deps.clone(), limits, forward.clone()).await?,
            payment: Handle::start(cell.clone(), deps.clone(), limits, forward.clone()).await?,
            project: Handle::start(cell.clone(), deps.clone(), limits, forward.clone()).await?,
            lease: Handle::start(cell.clone(), deps.clone(), limits, forward.clone()).await?,
            wallet: Handle::start(cell.clone(), deps.clone(), limits, forward.clone()).await?,
            chain_watcher: Handle::start(cell.clone(), deps.clone(), limits, forward).await?,
        };
        // A second start in one process keeps the first tree: only tests do that, each with its own deps.
        let _ = deps.actors.set(actors.clone());
        Ok(Started { actors, root: cell })
    }

    /// Answers a message that another node forwarded, on this node only.
    ///
    /// # Errors
    /// What the actor refused; `NOT_FOUND` for an unknown kind.
    pub async fn answer_forwarded(&self, message: Forwarded) -> Result<Value, Problem> {
        self.answer(Reach::Here, message).await
    }

    /// Carries a held message (see [`Forward::hold`]) to its actor, wherever that is.
    ///
    /// # Errors
    /// As [`Actors::answer_forwarded`].
    pub async fn deliver(&self, message: Forwarded) -> Result<Value, Problem> {
        self.answer(Reach::Anywhere, message).await
    }

    async fn answer(&self, reach: Reach, message: Forwarded) -> Result<Value, Problem> {
        match message.kind.as_str() {
            deploy::Deploy::NAME => ask(&self.deploy, reach, message).await,
            payment::Payment::NAME => ask(&self.payment, reach, message).await,
            project::Project::NAME => ask(&self.project, reach, message).await,
            lease::Lease::NAME => ask(&self.lease, reach, message).await,
            wallet::Lane::NAME => ask(&self.wallet, reach, message).await,
            chain_watcher::Watcher::NAME => ask(&self.chain_watcher, reach, message).await,
            other => Err(Problem::new(Code::NotFound, format!("no actors of kind {other}"))),
        }
    }

    /// Every living keeper of this node.
    pub async fn observe(&self) -> Vec<Observed> {
        let (a, b, c, d, e, f) = tokio::join!(
            self.deploy.observe(),
            self.payment.observe(),
            self.project.observe(),
            self.lease.observe(),
            self.wallet.observe(),
            self.chain_watcher.observe(),
        );
        [a, b, c, d, e, f].concat()
    }
}

impl Started {
    /// Stops callers before callees, so that work under way can finish, and gives all claims back.
    pub async fn drain(self) {
        self.actors.deploy.drain().await;
        self.actors.payment.drain().await;
        self.actors.chain_watcher.drain().await;
        self.actors.project.drain().await;
        self.actors.lease.drain().await;
        self.actors.wallet.drain().await;
        let _ = self.root.stop_and_wait(None, Some(Duration::from_secs(5))).await;
    }
}

/// Which keepers a message may reach.
#[derive(Debug, Clone, Copy)]
enum Reach {
    Here,
    Anywhere,
}

async fn ask<K: Kind>(handle: &Handle<K>, reach: Reach, message: Forwarded) -> Result<Value, Problem> {
    let bad = |e: serde_json::Error| Problem::new(Code::BadRequest, e.to_string());
    let request = serde_json::from_value(message.request).map_err(bad)?;
    let key = K::key(message.entity);
    let reply = match reach {
        Reach::Here => handle.call_here(key, request, message.timeout).await,
        Reach::Anywhere => handle.call(key, request, message.timeout).await,
    };
    let reply = reply.map_err(ActorError::into_problem)?;
    serde_json::to_value(reply).map_err(bad)
}
