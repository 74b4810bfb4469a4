//! A credited payment's block is final: nothing of it is exposed any more.

use std::sync::Arc;

use billing::legs::EXPOSURE;
use store::ledger::{NewTransfer, post, transfer_find};
use store::payments::{PaymentState, payment_finalized, payment_locked};
use types::PaymentId;

use super::Reply;
use super::credit::deposit_id;
use super::refused;
use super::state::LeaseState;
use crate::Deps;
use crate::kit::ActorError;

/// Ends the exposure of a credited payment. Does nothing the second time.
pub(super) async fn on_finalized(
    deps: &Arc<Deps>,
    state: &mut LeaseState,
    id: PaymentId,
) -> Result<Reply, ActorError> {
    let mut tx = deps.store.fenced(&state.fence).await?;
    let payment = payment_locked(tx.tx(), id).await?;
    if payment.state != PaymentState::Credited || payment.finalized_at.is_some() {
        return Ok(Reply::Done);
    }
    let now = deps.clock.now();
    payment_finalized(tx.tx(), id, now).await?;
    let exposed = transfer_find(tx.tx(), EXPOSURE, &deposit_id(&payment, payment.credits)).await?;
    if let Some(exposed) = exposed.filter(|t| t.reversed_by.is_none()) {
        let release = NewTransfer::reversal(&exposed, "final");
        post(tx.tx(), deps.entropy.uuid(), &[release], now).await.map_err(refused)?;
    }
    tx.commit().await?;
    Ok(Reply::Done)
}
