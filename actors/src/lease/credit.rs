//! Step 6 of a payment: the money is on the chain, so book it, charge the product and grant it, in one
//! commit.

use std::sync::Arc;

use billing::image_legs::IMAGE;
use billing::legs::{self, Deposit};
use serde_json::Value;
use store::FencedTx;
use store::accounts::{NewPurchase, PurchaseAction, purchases_of_payment};
use store::ledger::{Currency, NewTransfer, Transfer, balances_within, transfer_find, transfers_of_link};
use store::payments::{PaymentRow, PaymentState, payment_credited, payment_locked};
use store::sightings::{SightingRow, sighting_of_locked};
use types::{Code, PaymentId, Problem, Tier, UsdMicros, kill_point};

use super::Reply;
use super::grant::{Grant, Told, order};
use super::state::LeaseState;
use super::{image, refused};
use crate::Deps;
use crate::kit::ActorError;

/// Credits a payment. A payment that is credited already gets the same answer again.
pub(super) async fn on_credit(
    deps: &Arc<Deps>,
    state: &mut LeaseState,
    id: PaymentId,
) -> Result<Reply, ActorError> {
    let mut tx = deps.store.fenced(&state.fence).await?;
    let payment = payment_locked(tx.tx(), id).await?;
    if payment.account != state.account {
        return Err(internal(&payment, "it belongs to another account"));
    }
    if payment.state == PaymentState::Credited {
        let answer = payment.response.clone().ok_or_else(|| internal(&payment, "it has no answer"))?;
        return Ok(Reply::Answer(answer));
    }
    let seen = match sighting_of_locked(tx.tx(), &payment).await? {
        Some(seen) if payment.state.unfinished() => seen,
        _ => return Err(pending(&payment)),
    };
    if payment.product == IMAGE {
        return image::credit(deps, tx, &payment, &seen).await;
    }
    let (mut grant, again) = decide(deps, &mut tx, state, &payment).await?;
    grant.purchase.payment = Some(id);

    let legs = legs_of(&mut tx, &payment, &seen, &grant, &again).await?;
    let told = match &again {
        Some(again) => Told::Before(&again.response),
        None => Told::Now(Some(payment.key.payer), &deps.prices),
    };
    let now = deps.clock.now();
    let response = grant.write(&mut tx, &legs, &told, now).await.map_err(refused)?;
    payment_credited(tx.tx(), id, &response, now).await?;
    kill_point!("payment.credit.written");
    tx.commit().await?;
    kill_point!("payment.credit.committed");

    let amount_micros = payment.amount.0;
    tracing::info!(payment.id = %id, account.id = %state.account, amount_micros, "payment credited");
    grant.remember(state);
    Ok(Reply::Answer(response))
}

/// A purchase that is given back after a reorganisation.
struct Again {
    response: Value,
    /// What its undoing had to write off.
    written_off: uuid::Uuid,
}

/// Decides what the payment buys. After a reorganisation that is what it bought the first time, at that
/// time's place among the purchases: whatever came later stands on it again. Reads in the transaction under way: who
/// waits for a second connection while holding one waits for others who do the same.
async fn decide(
    deps: &Deps,
    tx: &mut FencedTx,
    state: &LeaseState,
    payment: &PaymentRow,
) -> Result<(Grant, Option<Again>), ActorError> {
    let link = deps.entropy.uuid();
    let key = format!("{}/#{}", payment.id, payment.credits + 1);
    let history = purchases_of_payment(tx.tx(), payment.id).await?;
    let bought = history.iter().rfind(|p| p.action != PurchaseAction::Revoke);
    let undone = history.iter().rfind(|p| p.action == PurchaseAction::Revoke);
    if let (Some(bought), Some(undone)) = (bought, undone) {
        let response = payment.response.clone().ok_or_else(|| internal(payment, "it has no answer"))?;
        let purchase = NewPurchase {
            account: state.account,
            action: bought.action,
            tier: bought.tier,
            previous_tier: bought.previous_tier,
            price: bought.price,
            currency: bought.currency,
            link,
            payment: Some(payment.id),
            request_key: None,
            revokes: None,
            starts_at: bought.starts_at,
            ends_at: bought.ends_at,
            response: response.clone(),
        };
        let again = Again { response, written_off: undone.link };
        return Ok((Grant::place(state, purchase, bought.created_at, key), Some(again)));
    }
    let tier: Tier = match payment.product.as_str() {
        legs::TIER => payment.product_key.parse().map_err(|_| internal(payment, "unknown tier"))?,
        _ => return Err(internal(payment, "unknown product")),
    };
    let at = state.effective(deps.clock.now());
    // What was offered and signed is what is charged, even if the price has changed since.
    let price: UsdMicros = payment.amount;
    let order =
        billing::lease::Order { price, ..order(&deps.prices, tier, Currency::of(payment.key.network), at) };
    Ok((Grant::decide(state, &order, key, link), None))
}

/// Deposit, charge and refund in order, with what had been written off taken back as far as possible.
async fn legs_of(
    tx: &mut FencedTx,
    payment: &PaymentRow,
    seen: &SightingRow,
    grant: &Grant,
    again: &Option<Again>,
) -> Result<Vec<NewTransfer>, ActorError> {
    let mut all = deposited(tx, payment, seen).await?;
    all.extend(grant.legs());
    if let Some(again) = again {
        let balances = balances_within(tx.tx(), payment.account).await?;
        let written_off = transfers_of_link(tx.tx(), again.written_off).await?;
        let lacking = legs::write_offs(payment.account, &grant.key, &balances, &all);
        all.extend(legs::recover(&written_off, &balances, &all));
        all.splice(0..0, lacking);
    }
    Ok(all)
}

/// The deposit of a payment, from where its money lies.
pub(super) async fn deposited(
    tx: &mut FencedTx,
    payment: &PaymentRow,
    seen: &SightingRow,
) -> Result<Vec<NewTransfer>, ActorError> {
    let name = seen.source_id();
    // An operator gave it to somebody: read after the sighting was locked, as the operator locks it too.
    if transfer_find(tx.tx(), legs::RESOLUTION, &name).await?.is_some() {
        return Err(resolved(payment));
    }
    let suspended: Option<Transfer> = transfer_find(tx.tx(), legs::SIGHTING, &name).await?;
    // Row and ledger must agree on where the money lies: drawn from the wrong place, it would be there twice.
    if suspended.as_ref().is_some_and(|t| t.reversed_by.is_none()) != seen.in_suspense {
        return Err(internal(payment, "its money is not where its sighting says"));
    }
    Ok(legs::deposit(&Deposit {
        account: payment.account,
        payment: payment.id,
        network: payment.key.network,
        source_id: deposit_id(payment, payment.credits + 1),
        amount: payment.amount,
        suspended: suspended.as_ref(),
    }))
}

/// Names a payment's nth deposit in the ledger: by its authorisation, because anyone may have submitted it.
pub(super) fn deposit_id(payment: &PaymentRow, credit: i32) -> String {
    format!("{}/#{credit}", payment.key)
}

/// No fault of ours: the payment's next look finds no money for it and ends it.
fn resolved(payment: &PaymentRow) -> ActorError {
    tracing::warn!(payment.id = %payment.id, "an operator resolved the money of this payment first");
    Problem::new(Code::SuspenseNotResolvable, "an operator gave this money to an account or sent it back")
        .extra("payment_id", payment.id.to_string())
        .into()
}

fn pending(payment: &PaymentRow) -> ActorError {
    Problem::new(Code::PaymentPending, "the chain does not show the payment yet")
        .extra("payment_id", payment.id.to_string())
        .into()
}

pub(super) fn internal(payment: &PaymentRow, why: &str) -> ActorError {
    tracing::error!(payment.id = %payment.id, product = %payment.product, why, "payment cannot be credited");
    Problem::new(Code::Internal, format!("the payment cannot be credited: {why}")).into()
}
