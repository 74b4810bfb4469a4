//! Charges saved cards for e-mail packs.
//!
//! A charge is a row before Stripe hears of it, and its name is the idempotency key: whoever goes on with it,
//! and however often, it is one charge.

use std::sync::Arc;

use billing::card_legs::EMAIL_PACK_PRICE;
use billing::stripe::{CardError, Cards, SavedCard};
use chrono::TimeDelta;
use store::account_mail::Letter;
use store::cards::{CardBuyer, CardProduct, NewCheckout};
use store::recharges::{RechargeDue, RechargeEnd, recharge_begin, recharge_end, recharges_due};
use types::CheckoutId;

use crate::Deps;
use crate::kit::ActorError;

const ROWS_MAX: i64 = 100;
/// Stripe forgets idempotency keys after a day: later, the same question could be a second charge. Hence all
/// times here are of the wall clock, which a lab cannot move.
const KEY_HOURS: i64 = 23;

/// Begins what is due and goes on with what was begun.
///
/// # Errors
/// What the store says; the next tick goes on.
pub async fn sweep(deps: &Arc<Deps>) -> Result<(), ActorError> {
    let Some(cards) = &deps.cards else { return Ok(()) };
    for due in recharges_due(&deps.store, deps.wall.now(), ROWS_MAX).await? {
        recharge(deps, cards, &due).await?;
    }
    Ok(())
}

async fn recharge(deps: &Deps, cards: &Cards, due: &RechargeDue) -> Result<(), ActorError> {
    let now = deps.wall.now();
    let id = match due.running {
        Some((id, since)) if now - since > TimeDelta::hours(KEY_HOURS) => {
            tracing::error!(checkout.id = %id, account.id = %due.account,
                "a charge has no known end after a day: look it up at Stripe");
            return Ok(());
        }
        Some((id, _)) => id,
        None => {
            let quote = quote(deps, cards, due);
            if !recharge_begin(&deps.store, due.account, &quote, now).await? {
                return Ok(());
            }
            quote.id
        }
    };
    let card = SavedCard { customer: due.customer.clone(), payment_method: due.payment_method.clone() };
    let end = cards.charge(id, EMAIL_PACK_PRICE, &card).await;
    let letter = letter(deps, due);
    let end = match &end {
        Ok(intent) => RechargeEnd::Paid(intent),
        Err(CardError::Unknown(why)) => {
            tracing::warn!(checkout.id = %id, why, "a recharge has no known end yet");
            return Ok(());
        }
        Err(e) => {
            tracing::warn!(checkout.id = %id, error = %e, "a recharge failed");
            RechargeEnd::Failed(&letter)
        }
    };
    if recharge_end(&deps.store, (due.account, id), end, deps.wall.now()).await? {
        tracing::warn!(account.id = %due.account, "recharging is switched off after failures in a row");
    }
    Ok(())
}

fn letter(deps: &Deps, due: &RechargeDue) -> Letter {
    Letter {
        id: deps.entropy.uuid(),
        account: due.account,
        template: "recharge_off".to_owned(),
        subject: format!("{}: your card is not charged any more", deps.hosts.apex),
        body: format!(
            "Your saved card was refused several times in a row, so e-mail credits are not bought by themselves any \
             more.\n\nBuy a pack with another card: run402 billing buy-email-pack\nThen switch it on again: run402 \
             billing auto-recharge {} on\n",
            due.account.0
        ),
    }
}

fn quote(deps: &Deps, cards: &Cards, due: &RechargeDue) -> NewCheckout {
    NewCheckout {
        id: CheckoutId::new(&*deps.entropy),
        product: CardProduct::EmailPack,
        product_key: String::new(),
        amount: EMAIL_PACK_PRICE,
        price: EMAIL_PACK_PRICE,
        livemode: cards.livemode,
        buyer: CardBuyer::Account(due.account),
        wallet: None,
        off_session: true,
    }
}
