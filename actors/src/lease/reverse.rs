//! A credited payment's money left the canonical chain: undo it by compensating transfers and a shorter
//! lease.

use std::sync::Arc;

use billing::image_legs::IMAGE;
use billing::lease::{Holding, fold};
use billing::legs;
use serde_json::{Value, json};
use store::accounts::{NewPurchase, Purchase, PurchaseAction, lease_write, purchase_append};
use store::ledger::{NewTransfer, balances_within, post, transfers_of_link};
use store::outbox::outbox_append;
use store::payments::{PaymentRow, PaymentState, payment_locked, payment_uncredited};
use store::sightings::sighting_of_locked;
use store::{FencedTx, StoreError};
use types::PaymentId;

use super::Reply;
use super::credit::internal;
use super::state::LeaseState;
use super::{image, refused};
use crate::Deps;
use crate::kit::ActorError;

/// Takes a credit back. Does nothing when it is not credited, or when its money is canonical after all.
pub(super) async fn on_reverse(
    deps: &Arc<Deps>,
    state: &mut LeaseState,
    id: PaymentId,
) -> Result<Reply, ActorError> {
    let mut tx = deps.store.fenced(&state.fence).await?;
    let payment = payment_locked(tx.tx(), id).await?;
    let back = sighting_of_locked(tx.tx(), &payment).await?.is_some();
    if payment.state != PaymentState::Credited || back {
        return Ok(Reply::Done);
    }
    if payment.product == IMAGE {
        return image::reverse(deps, tx, &payment).await;
    }
    let place = state.purchases.iter().position(|p| p.payment == Some(id));
    let place = place.ok_or_else(|| internal(&payment, "it bought nothing"))?;
    let undone = state.purchases[place].clone();
    let rest: Vec<Purchase> = state.purchases.iter().filter(|p| p.id != undone.id).cloned().collect();

    let now = deps.clock.now();
    let link = deps.entropy.uuid();
    let outcome = fold(&rest);
    let refunds = (state.outcome().refunds, outcome.refunds);
    let legs = legs_of(&mut tx, &payment, &undone, &refunds).await?;
    let lease = outcome.holding.as_ref().map(Holding::lease);
    lease_write(&mut tx, state.account, lease).await?;
    payment_uncredited(tx.tx(), id, now).await?;
    post(tx.tx(), link, &legs, now).await.map_err(refused)?;
    purchase_append(&mut tx, &revocation(state, &undone, link), state.effective(now)).await?;
    outbox_append(tx.tx(), "lease.changed", json!({ "id": state.account })).await?;
    tx.commit().await?;

    tracing::warn!(payment.id = %id, account.id = %state.account, "the credit was taken back");
    state.purchases = rest;
    Ok(Reply::Done)
}

/// Charge back, deposit out, refunds as the remaining purchases deserve them; what the customer has spent
/// meanwhile is bad debt.
async fn legs_of(
    tx: &mut FencedTx,
    payment: &PaymentRow,
    undone: &Purchase,
    (before, after): &(billing::lease::Refunds, billing::lease::Refunds),
) -> Result<Vec<NewTransfer>, StoreError> {
    let journal = transfers_of_link(tx.tx(), undone.link).await?;
    let key = format!("{}/#{}/revoked", payment.id, payment.credits);
    let mut all = legs::undo(&journal);
    all.extend(legs::refund(payment.account, &key, before, after));
    let balances = balances_within(tx.tx(), payment.account).await?;
    let lacking = legs::write_offs(payment.account, &key, &balances, &all);
    all.splice(0..0, lacking);
    Ok(all)
}

fn revocation(state: &LeaseState, undone: &Purchase, link: uuid::Uuid) -> NewPurchase {
    NewPurchase {
        account: state.account,
        action: PurchaseAction::Revoke,
        tier: undone.tier,
        previous_tier: undone.previous_tier,
        price: undone.price,
        currency: undone.currency,
        link,
        payment: undone.payment,
        request_key: None,
        revokes: Some(undone.id),
        starts_at: undone.starts_at,
        ends_at: undone.ends_at,
        response: Value::Null,
    }
}
