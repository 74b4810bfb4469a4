//! Owns leases and the account's purchases: the one place where money moves in the ledger.
//!
//! **States.** A lease is what the account's live purchases amount to (`billing::lease`); the row is a copy
//! of that for readers. An x402 payment is credited here and nowhere else, in one commit: deposit, charge,
//! lease, purchase, payment, outbox.
//!
//! **Invariants.** Whatever is repeated, a payment has one live purchase: its state is compared under its
//! lock, its ledger facts are unique by authorisation, and only the newest claim holder can write. Purchases
//! of an account take effect at strictly rising times.
//!
//! **Failure story.** Before the commit nothing happened; after it everything did. A lost commit ends the
//! actor; the payment actor asks again and is told what the first one did.

mod card;
mod credit;
mod finalize;
mod grant;
mod image;
mod messages;
mod purchase;
mod reverse;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use store::Fence;
use store::ledger::LedgerError;
use types::{AccountId, Code, Mutation, Problem};
use uuid::Uuid;

use crate::Deps;
use crate::kit::{ActorError, Kind};

pub use messages::{Reply, Request};
pub use purchase::downgrade_check;
pub(crate) use purchase::exceeded;
pub use state::LeaseState;

pub struct Lease;

impl Kind for Lease {
    const NAME: &'static str = "lease";
    type Key = AccountId;
    type Request = Request;
    type Reply = Reply;
    type State = LeaseState;

    fn entity(key: AccountId) -> Uuid {
        key.0
    }

    fn key(entity: Uuid) -> AccountId {
        AccountId(entity)
    }

    async fn load(deps: &Arc<Deps>, account: AccountId, fence: Fence) -> Result<LeaseState, ActorError> {
        LeaseState::load(&deps.store, account, fence).await
    }

    async fn handle(deps: &Arc<Deps>, state: &mut LeaseState, request: Request) -> Result<Reply, ActorError> {
        match request {
            Request::Credit { payment } => credit::on_credit(deps, state, payment).await,
            Request::Card { checkout } => card::on_card(deps, state, checkout).await,
            Request::Reverse { payment } => reverse::on_reverse(deps, state, payment).await,
            Request::Finalized { payment } => finalize::on_finalized(deps, state, payment).await,
            Request::Purchase { tier, wallet, request_key } => {
                purchase::on_purchase(deps, state, purchase::Asked { tier, wallet, request_key }).await
            }
            Request::Step => state::on_step(deps, state).await,
        }
    }
}

/// What the ledger refused, as this actor's answer.
pub(crate) fn refused(e: LedgerError) -> ActorError {
    match e {
        LedgerError::Store(e) => e.into(),
        // Somebody else was faster; the caller repeats and finds what was done.
        LedgerError::Raced => ActorError::Unavailable("ledger"),
        e => {
            tracing::error!(error = &e as &dyn std::error::Error, "the ledger refused a journal");
            let problem = Problem::new(Code::Internal, "the ledger refused the transfers");
            problem.mutation(Mutation::RolledBack).into()
        }
    }
}
