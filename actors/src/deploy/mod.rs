//! Owns deploy operations: validate, stage, gate, migrate, settle, activate, ready.
//!
//! Each step is one fenced transaction that compares and sets the operation's status and appends its events,
//! so a crash leaves a row that says exactly what comes next, and [`Request::Step`] goes on from there.
//! Nothing of a release is visible before `activating`; going live is one pointer move of the project's actor,
//! which refuses when another release went live since the plan. A step that cannot be done now is left for the
//! sweep; one that can never be done ends the operation with the reason on the row.
//!
//! A release that changes the project's database takes the project's gate first: then no other release goes
//! live until this operation has moved the pointer or ended. Up to there it can be given up without a trace.
//! From `migrating` on it goes forward: migrations and manifest are idempotent work in the project's own
//! database (`rest::migrate`), so a step that died is done again, and what had been committed is found there.

mod canonical;
mod check;
mod checks;
mod database;
mod error;
mod functions;
mod handlers;
mod manifest_json;
mod materialise;
mod parts;
mod routes;
mod spec;
mod sweep;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use store::Fence;
use store::deploys::{Operation, Plan};
use types::{OperationId, TraceId};
use uuid::Uuid;

use crate::Deps;
use crate::kit::{ActorError, Kind};

pub use canonical::{canonical_json, digest};
pub use check::{Verdict, check, urls};
pub use database::{SQL_BYTES_MAX, changed};
pub use error::deploy_problem;
pub use functions::{FunctionChanged, FunctionDiff, Functions, RUNTIME, function_diff, packages_of};
pub use handlers::misfit;
pub use manifest_json::{Effective, effective};
pub use materialise::{FileChange, Files, SiteDiff, materialise, site_diff};
pub use parts::{Parts, Unmade, parts_after, parts_of};
pub use routes::{RouteChanged, RouteDiff, route_diff, route_view, routes_digest};
pub use spec::{
    Anchor, Base, Check, Content, Database, FunctionChange, FunctionSpec, Migration, Placed, SecretChange,
    SiteChange, Source, Spec, Transaction,
};
pub use sweep::{garbage_sweep, staged_discard, uploads_sweep};

pub struct Deploy;

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub enum Request {
    /// Starts the operation of a plan and takes it as far as it gets. A no-op once it was started.
    Commit { trace: TraceId },
    /// Tries again what could not be done before.
    Resume { trace: TraceId },
    /// Goes on from what the rows say.
    Step,
}

/// An operation and its plan.
pub struct State {
    pub(super) operation: Operation,
    pub(super) plan: Plan,
    pub(super) fence: Fence,
    /// The plan's spec as it is carried out, once it was asked for.
    pub(super) spec: Option<Arc<Spec>>,
}

impl Kind for Deploy {
    const NAME: &'static str = "deploy";
    type Key = OperationId;
    type Request = Request;
    type Reply = ();
    type State = State;

    fn entity(key: OperationId) -> Uuid {
        key.0
    }
    fn key(entity: Uuid) -> OperationId {
        OperationId(entity)
    }
    async fn load(deps: &Arc<Deps>, key: OperationId, fence: Fence) -> Result<State, ActorError> {
        handlers::load(deps, key, fence).await
    }
    async fn handle(deps: &Arc<Deps>, state: &mut State, request: Request) -> Result<(), ActorError> {
        match request {
            Request::Commit { trace } => handlers::commit(deps, state, trace).await,
            Request::Resume { .. } | Request::Step => handlers::advance(deps, state).await,
        }
    }
}
