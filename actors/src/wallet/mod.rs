//! Owns a fee-payer lane: one address on one network, one signer, one nonce sequence.
//!
//! **Order of writes.** Simulate; sign with the next nonce; commit nonce, bytes and the payment's move to
//! `settling` in one fenced transaction; broadcast; note that it was sent. A crash anywhere leaves either
//! nothing, or bytes that the next keeper sends again unchanged (A28). Two keepers cannot both take a nonce,
//! because only the newest fence commits.
//!
//! **A nonce is never abandoned.** What does not get mined is bid up under its own nonce; what would only
//! revert is replaced, at that nonce, by a transfer of nothing to ourselves, so that later transactions are
//! not blocked (A32, B21).
//!
//! **What it does not know**: whether a payment happened. That is read from sightings, by the payment actor.

mod effect;
mod error;
mod handlers;
mod messages;
mod state;
mod sweep;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use store::Fence;
use types::{LaneId, Network};
use uuid::Uuid;

use crate::Deps;
use crate::kit::{ActorError, Kind};

pub(crate) use error::chain_error;
pub use messages::{Reply, Request};
pub use state::{LaneState, Role, lane_of, lanes};

pub struct Lane;

impl Kind for Lane {
    const NAME: &'static str = "wallet";
    type Key = LaneId;
    type Request = Request;
    type Reply = Reply;
    type State = LaneState;

    fn entity(key: LaneId) -> Uuid {
        key.0
    }
    fn key(entity: Uuid) -> LaneId {
        LaneId(entity)
    }
    async fn load(deps: &Arc<Deps>, key: LaneId, fence: Fence) -> Result<LaneState, ActorError> {
        LaneState::load(deps, key, fence).await
    }
    async fn handle(deps: &Arc<Deps>, state: &mut LaneState, request: Request) -> Result<Reply, ActorError> {
        match request {
            Request::Settle { payment } => handlers::on_settle(deps, state, payment).await,
            Request::Faucet { drip } => handlers::on_faucet(deps, state, drip).await,
            Request::Step => sweep::on_step(deps, state).await,
        }
    }
}

/// The lane that settles payments of a network.
///
/// # Errors
/// A refusal when the network is not configured.
pub fn settlement_lane(deps: &Deps, network: Network) -> Result<LaneId, ActorError> {
    let chain = state::chain(deps, network)?;
    Ok(store::chain_txs::lane_id(network, chain.fee_payer.address()))
}
