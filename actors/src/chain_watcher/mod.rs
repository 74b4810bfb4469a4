//! Scans one chain for money that reaches our payees.
//!
//! **Invariants.** Cursor, blocks and sightings of a range are one fenced commit, so every block is counted
//! once however many watchers run and wherever they are killed (B14, B15). Each block's parent hash is
//! checked against the block before it; a reorganisation rewinds to the common ancestor and scans the new
//! blocks in the same commit, so a payment that only changed blocks is never seen as missing (B01). What left
//! the chain stays as a row, marked.
//!
//! **Halting.** A reorganisation that goes below the retained blocks, or a chain that lost history we have
//! scanned, is not ours to interpret: the watcher stops with a reason and an ERROR until an operator has
//! looked (B04).
//!
//! **Money without a payment** goes to suspense in the same commit, so that all USDC on the chain is in the
//! books.

mod handlers;
mod messages;
mod place;
mod scan;
mod stall;
mod suspense;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use store::Fence;
use types::{Code, Network, Problem, WatcherId};
use uuid::Uuid;

use crate::kit::{ActorError, Kind};
use crate::{ChainDeps, Deps};

pub use messages::Request;

pub struct Watcher;

/// The claim, and nothing else: the cursor is read anew at every tick.
pub struct WatcherState {
    network: Network,
    fence: Fence,
}

impl WatcherState {
    fn chain<'a>(&self, deps: &'a Deps) -> Result<&'a ChainDeps, ActorError> {
        let missing = || Problem::new(Code::ChainUnavailable, "this server is not connected to that chain");
        Ok(deps.chains.get(self.network).ok_or_else(missing)?)
    }
}

impl Kind for Watcher {
    const NAME: &'static str = "chain_watcher";
    type Key = WatcherId;
    type Request = Request;
    type Reply = ();
    type State = WatcherState;

    fn entity(key: WatcherId) -> Uuid {
        key.0
    }
    fn key(entity: Uuid) -> WatcherId {
        WatcherId(entity)
    }
    async fn load(_: &Arc<Deps>, key: WatcherId, fence: Fence) -> Result<WatcherState, ActorError> {
        let unknown = || Problem::new(Code::ResourceNotFound, "no such watcher");
        let network = Network::ALL.into_iter().find(|n| WatcherId::of(*n) == key).ok_or_else(unknown)?;
        Ok(WatcherState { network, fence })
    }
    async fn handle(deps: &Arc<Deps>, state: &mut WatcherState, request: Request) -> Result<(), ActorError> {
        match request {
            Request::Tick => handlers::on_tick(deps, state).await,
        }
    }
}
