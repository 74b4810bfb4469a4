//! Drives one payment to its end. Owns nothing: every move is a compare-and-set on the payment's row, or a
//! request to the actor that owns what changes.
//!
//! **Cast.** The lane signs and sends; the watcher sees; the lease credits. This actor only looks at where
//! things stand ([`decide`]) and asks the next of them.
//!
//! **Rules.** Only a canonical sighting of the authorisation, to our payee and of the right amount, credits
//! (A10, A11, A14). An unknown outcome is never called a failure: a payment fails when the chain shows that
//! its authorisation can not pay us any more, judged on the chain's time at blocks that the watcher has
//! scanned (A09, B19). And should money appear for a payment that had ended, it is taken up again, so that it
//! never lies around (B03).

mod decide;
mod handlers;
mod messages;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use store::Fence;
use types::PaymentId;
use uuid::Uuid;

use crate::Deps;
use crate::kit::{ActorError, Kind};

pub use messages::Request;

pub struct Payment;

/// What is remembered between requests: nothing that a fresh look would not find again.
pub struct PaymentState {
    id: PaymentId,
    /// The block by which the authorisation was used, found when no sighting showed it yet.
    used_at: Option<i64>,
}

impl Kind for Payment {
    const NAME: &'static str = "payment";
    type Key = PaymentId;
    type Request = Request;
    type Reply = ();
    type State = PaymentState;

    fn entity(key: PaymentId) -> Uuid {
        key.0
    }
    fn key(entity: Uuid) -> PaymentId {
        PaymentId(entity)
    }
    async fn load(_: &Arc<Deps>, id: PaymentId, _: Fence) -> Result<PaymentState, ActorError> {
        Ok(PaymentState { id, used_at: None })
    }
    async fn handle(deps: &Arc<Deps>, state: &mut PaymentState, request: Request) -> Result<(), ActorError> {
        match request {
            Request::Settle | Request::Step => handlers::on_step(deps, state).await,
        }
    }
}
