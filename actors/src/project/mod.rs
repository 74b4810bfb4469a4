//! Owns projects: provisioning, activation of releases, erasure.
//!
//! **States.** `provisioning -> ready -> erasing -> erased`. A project's row is inserted by `plane`; every
//! later move is made here, under the project's fence.
//!
//! **Failure story.** Each phase is left in one commit, so a crash repeats a step and never half of one.
//! Binding a slot, making the secrets and becoming `ready` are one commit. Erasure first kills the keys (the
//! move to `erasing`), then drops the database, then the rest in one commit; every step of it may run twice.
//! Whatever is unfinished is hinted by the outbox and by a sweep.

mod handlers;
mod messages;
pub mod pool;

use std::sync::Arc;

use store::Fence;
use store::projects::Project as Row;
use types::ProjectId;
use uuid::Uuid;

use crate::Deps;
use crate::kit::{ActorError, Kind};

pub use messages::{Reply, Request};

pub struct Project;

/// A copy of the project's row, true while the fence is the newest claim.
pub struct State {
    pub(super) project: Row,
    pub(super) fence: Fence,
}

impl Kind for Project {
    const NAME: &'static str = "project";
    type Key = ProjectId;
    type Request = Request;
    type Reply = Reply;
    type State = State;

    fn entity(key: ProjectId) -> Uuid {
        key.0
    }
    fn key(entity: Uuid) -> ProjectId {
        ProjectId(entity)
    }
    async fn load(deps: &Arc<Deps>, key: ProjectId, fence: Fence) -> Result<State, ActorError> {
        handlers::load(deps, key, fence).await
    }
    async fn handle(deps: &Arc<Deps>, state: &mut State, request: Request) -> Result<Reply, ActorError> {
        match request {
            Request::Provision => handlers::provision(deps, state).await,
            Request::Erase => handlers::erase(deps, state).await,
            Request::Activate { release, operation } => {
                handlers::activate(deps, state, release, operation).await
            }
            Request::Step => handlers::step(deps, state).await,
        }
    }
}
