//! A payment for an image: its money goes to the wallet's balance, and the price is held there for the order.
//!
//! The two are separate from then on. If the image is not made, the hold is voided and the money stays on the balance;
//! if the payment leaves the chain, its deposit is taken back, and what the image had used of it is bad debt.

use std::sync::Arc;

use billing::image_legs::reserve;
use billing::legs::{self, WRITE_OFF};
use serde_json::json;
use store::FencedTx;
use store::image_orders::{Asker, NewImageOrder, image_order_insert, image_order_of_payment};
use store::ledger::{Currency, NewTransfer, balances_within, post, transfer_find, transfers_of_link};
use store::payments::{PaymentRow, payment_credited, payment_uncredited};
use store::sightings::SightingRow;
use types::{ImageOrderId, kill_point};

use super::credit::{deposit_id, deposited, internal};
use super::{Reply, refused};
use crate::Deps;
use crate::images::RESERVED_FOR;
use crate::kit::ActorError;

/// Books the deposit and, the first time, the order with its hold, in one commit. Answers `{"order": id}`.
pub(super) async fn credit(
    deps: &Arc<Deps>,
    mut tx: FencedTx,
    payment: &PaymentRow,
    seen: &SightingRow,
) -> Result<Reply, ActorError> {
    let now = deps.clock.now();
    let mut all = deposited(&mut tx, payment, seen).await?;
    let answer = match image_order_of_payment(tx.tx(), payment.id).await? {
        Some(order) => {
            // It was undone by a reorganisation and is back; its order went its own way meanwhile.
            let balances = balances_within(tx.tx(), payment.account).await?;
            let name = format!("{}/{}", revoked(payment), Currency::of(payment.key.network).as_str());
            let written_off = transfer_find(tx.tx(), WRITE_OFF, &name).await?;
            let written_off: Vec<_> = written_off.into_iter().collect();
            let back = legs::recover(&written_off, &balances, &all);
            all.extend(back);
            post(tx.tx(), deps.entropy.uuid(), &all, now).await.map_err(refused)?;
            json!({ "order": order.of.id })
        }
        None => {
            let order = ordered(deps, payment)?;
            all.push(reserve(&order));
            let posted = post(tx.tx(), deps.entropy.uuid(), &all, now).await.map_err(refused)?;
            let hold = posted.ids().last().copied();
            let hold = hold.ok_or_else(|| internal(payment, "its hold has no id"))?;
            image_order_insert(tx.tx(), &order, hold, (now, now + RESERVED_FOR)).await?;
            json!({ "order": order.id })
        }
    };
    payment_credited(tx.tx(), payment.id, &answer, now).await?;
    kill_point!("payment.credit.written");
    tx.commit().await?;
    kill_point!("payment.credit.committed");
    let amount_micros = payment.amount.0;
    tracing::info!(payment.id = %payment.id, account.id = %payment.account, amount_micros, "payment credited");
    Ok(Reply::Answer(answer))
}

fn ordered(deps: &Deps, payment: &PaymentRow) -> Result<NewImageOrder, ActorError> {
    let mut request_hash = [0; 32];
    hex::decode_to_slice(&payment.product_key, &mut request_hash)
        .map_err(|_| internal(payment, "its key is no hash"))?;
    Ok(NewImageOrder {
        id: ImageOrderId::new(&*deps.entropy),
        account: payment.account,
        asker: Asker::Wallet(payment.key.payer),
        payment: Some(payment.id),
        request_key: format!("payment:{}", payment.id),
        request_hash,
        price: payment.amount,
        currency: Currency::of(payment.key.network),
    })
}

/// Takes the deposit back. What the customer has not got any more is bad debt.
pub(super) async fn reverse(
    deps: &Arc<Deps>,
    mut tx: FencedTx,
    payment: &PaymentRow,
) -> Result<Reply, ActorError> {
    let now = deps.clock.now();
    let deposit = transfer_find(tx.tx(), legs::X402, &deposit_id(payment, payment.credits)).await?;
    let deposit = deposit.ok_or_else(|| internal(payment, "it has no deposit"))?;
    let journal = transfers_of_link(tx.tx(), deposit.link).await?;
    let mut all: Vec<NewTransfer> = legs::undo(&journal);
    let balances = balances_within(tx.tx(), payment.account).await?;
    let lacking = legs::write_offs(payment.account, &revoked(payment), &balances, &all);
    all.splice(0..0, lacking);
    payment_uncredited(tx.tx(), payment.id, now).await?;
    post(tx.tx(), deps.entropy.uuid(), &all, now).await.map_err(refused)?;
    tx.commit().await?;
    tracing::warn!(payment.id = %payment.id, account.id = %payment.account, "the credit was taken back");
    Ok(Reply::Done)
}

/// Names what undid a payment's newest credit.
fn revoked(payment: &PaymentRow) -> String {
    format!("{}/#{}/revoked", payment.id, payment.credits)
}
