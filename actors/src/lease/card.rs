//! Card payments: makes the books say what Stripe said, step by step, each in one commit.
//!
//! What is to be done follows from the checkout's row alone, under its lock: facts on one side, what was posted
//! on the other. A repeat finds nothing left to do.

use std::sync::Arc;

use billing::card_legs::{self as legs, Change, ProductChange, Step};
use billing::lease::{Holding, Order, fold};
use billing::legs::{recover, refund, write_offs};
use serde_json::json;
use store::FencedTx;
use store::accounts::{
    NewPurchase, Purchase, PurchaseAction, lease_write, purchase_append, purchase_of_link,
};
use store::cards::{
    CardProduct, Checkout, CheckoutPosted, card_debt_links, card_debt_write, card_withdrawn, checkout_locked,
    checkout_posted,
};
use store::ledger::{Currency, NewTransfer, balances_within, post, transfers_of_link};
use store::outbox::outbox_append;
use types::{CheckoutId, Code, Problem, Tier, UsdMicros, kill_point};
use uuid::Uuid;

use super::Reply;
use super::grant::{Grant, Told, order};
use super::refused;
use super::state::LeaseState;
use crate::Deps;
use crate::kit::ActorError;

/// A deposit, a change, and one more look: facts that come meanwhile are the next message's.
const STEPS_MAX: usize = 4;

/// Posts whatever the facts of a checkout amount to and is not posted yet.
pub(super) async fn on_card(
    deps: &Arc<Deps>,
    state: &mut LeaseState,
    id: CheckoutId,
) -> Result<Reply, ActorError> {
    for _ in 0..STEPS_MAX {
        let mut tx = deps.store.fenced(&state.fence).await?;
        let checkout = checkout_locked(tx.tx(), id).await?;
        if checkout.account != Some(state.account) {
            return Err(internal(&checkout, "it belongs to another account"));
        }
        let withdrawn = card_withdrawn(tx.tx(), &checkout).await?;
        let Some(step) = legs::next(&checkout, withdrawn) else {
            if checkout.posted_revision < checkout.facts_revision {
                let posted = posted(&checkout, Some(checkout.facts_revision));
                checkout_posted(&mut tx, id, &posted, deps.clock.now()).await?;
                tx.commit().await?;
            }
            return Ok(Reply::Done);
        };
        match step {
            Step::Deposit => deposit(deps, state, tx, &checkout).await?,
            Step::Change(change) => take_back(deps, state, tx, &checkout, &change).await?,
        }
    }
    Ok(Reply::Done)
}

/// What a step changes in memory once it is committed.
enum After {
    Nothing,
    Granted(Box<Grant>),
    Revoked(Vec<Purchase>),
}

impl After {
    fn remember(self, state: &mut LeaseState) {
        match self {
            Self::Nothing => {}
            Self::Granted(grant) => grant.remember(state),
            Self::Revoked(rest) => state.purchases = rest,
        }
    }
}

async fn deposit(
    deps: &Arc<Deps>,
    state: &mut LeaseState,
    mut tx: FencedTx,
    checkout: &Checkout,
) -> Result<(), ActorError> {
    let link = deps.entropy.uuid();
    let mut journal = vec![legs::deposit(state.account, checkout)];
    let bought = match checkout.product {
        CardProduct::TopUp => None,
        CardProduct::EmailPack => {
            journal.extend(legs::email_pack(state.account, checkout, checkout.steps));
            None
        }
        CardProduct::Tier => {
            let mut grant = Grant::decide(state, &tier_order(deps, state, checkout)?, key(checkout), link);
            grant.purchase.request_key = Some(format!("card:{}", checkout.id));
            journal.extend(grant.legs());
            Some(grant)
        }
    };
    let posted = CheckoutPosted { deposited: true, link: Some(link), ..posted(checkout, None) };
    let after = write(deps, state, &mut tx, checkout, (link, journal, bought)).await?;
    finish(deps, state, tx, checkout, posted, after).await?;
    tracing::info!(checkout.id = %checkout.id, account.id = %state.account, amount_micros = checkout.amount.0,
        "card payment credited");
    Ok(())
}

async fn take_back(
    deps: &Arc<Deps>,
    state: &mut LeaseState,
    mut tx: FencedTx,
    checkout: &Checkout,
    change: &Change,
) -> Result<(), ActorError> {
    let step = checkout.steps + 1;
    let bought = checkout.link.ok_or_else(|| internal(checkout, "its deposit has no journal"))?;
    let moved = legs::moved(state.account, checkout, change, step);
    let mut posted = CheckoutPosted {
        refunded: change.refunded,
        disputed: change.disputed,
        steps: step,
        ..posted(checkout, None)
    };
    let after = match (change.product, checkout.product) {
        (ProductChange::Goes, CardProduct::Tier) => {
            revoke(deps, state, &mut tx, checkout, (bought, moved)).await?
        }
        (ProductChange::Goes, CardProduct::EmailPack) => {
            let before = transfers_of_link(tx.tx(), bought).await?;
            let units = balances_within(tx.tx(), state.account).await?;
            let units = units.get(&Currency::Email).copied().unwrap_or_default();
            let mut journal = legs::email_pack_back(state.account, checkout, &before, (units, step));
            journal.extend(moved);
            write(deps, state, &mut tx, checkout, (deps.entropy.uuid(), journal, None)).await?
        }
        (ProductChange::ComesBack, CardProduct::Tier) => {
            let link = deps.entropy.uuid();
            posted.link = Some(link);
            let grant = again(state, &mut tx, checkout, (bought, link)).await?;
            let journal = [moved, grant.legs()].concat();
            write(deps, state, &mut tx, checkout, (link, journal, Some(grant))).await?
        }
        (ProductChange::ComesBack, CardProduct::EmailPack) => {
            let link = deps.entropy.uuid();
            posted.link = Some(link);
            let journal = [moved, legs::email_pack(state.account, checkout, step)].concat();
            write(deps, state, &mut tx, checkout, (link, journal, None)).await?
        }
        _ => write(deps, state, &mut tx, checkout, (deps.entropy.uuid(), moved, None)).await?,
    };
    finish(deps, state, tx, checkout, posted, after).await?;
    tracing::warn!(checkout.id = %checkout.id, account.id = %state.account, refund_micros = change.refund,
        dispute_micros = change.dispute, "a card payment was taken back or given again");
    Ok(())
}

/// Writes a journal and what it buys. What the customer lacks is written off in front; what was written off
/// before and is there again is recovered at the end.
async fn write(
    deps: &Deps,
    state: &LeaseState,
    tx: &mut FencedTx,
    checkout: &Checkout,
    (link, journal, grant): (Uuid, Vec<NewTransfer>, Option<Grant>),
) -> Result<After, ActorError> {
    let journal = with_debts(state, tx, checkout, journal).await?;
    let now = deps.clock.now();
    let Some(mut grant) = grant else {
        post(tx.tx(), link, &journal, now).await.map_err(refused)?;
        return Ok(After::Nothing);
    };
    let before = grant.purchase.response.clone();
    let told =
        if before.is_null() { Told::Now(checkout.wallet, &deps.prices) } else { Told::Before(&before) };
    grant.write(tx, &journal, &told, now).await.map_err(refused)?;
    Ok(After::Granted(Box::new(grant)))
}

async fn with_debts(
    state: &LeaseState,
    tx: &mut FencedTx,
    checkout: &Checkout,
    mut journal: Vec<NewTransfer>,
) -> Result<Vec<NewTransfer>, ActorError> {
    let balances = balances_within(tx.tx(), state.account).await?;
    let debt = legs::debt_key(checkout, checkout.steps + 1);
    let lacking = write_offs(state.account, &debt, &balances, &journal);
    if lacking.is_empty() {
        for link in card_debt_links(tx.tx(), state.account).await? {
            let written_off = transfers_of_link(tx.tx(), link).await?;
            // One after another: what one takes is not there for the next.
            journal.extend(recover(&written_off, &balances, &journal));
        }
    }
    journal.splice(0..0, lacking);
    Ok(journal)
}

/// Takes a tier back, as if it had never been bought.
async fn revoke(
    deps: &Deps,
    state: &LeaseState,
    tx: &mut FencedTx,
    checkout: &Checkout,
    (bought, moved): (Uuid, Vec<NewTransfer>),
) -> Result<After, ActorError> {
    let undone = state.purchases.iter().find(|p| p.link == bought);
    let undone = undone.ok_or_else(|| internal(checkout, "it bought nothing"))?.clone();
    let rest: Vec<Purchase> = state.purchases.iter().filter(|p| p.id != undone.id).cloned().collect();
    let outcome = fold(&rest);
    let step = checkout.steps + 1;
    let mut journal = legs::tier_back(&transfers_of_link(tx.tx(), bought).await?);
    let refunds = (state.outcome().refunds, outcome.refunds);
    let key = format!("{}/#{step}/revoked", checkout.id);
    journal.extend(refund(state.account, &key, &refunds.0, &refunds.1));
    journal.extend(moved);
    let journal = with_debts(state, tx, checkout, journal).await?;
    let (now, link) = (deps.clock.now(), deps.entropy.uuid());
    lease_write(tx, state.account, outcome.holding.as_ref().map(Holding::lease)).await?;
    post(tx.tx(), link, &journal, now).await.map_err(refused)?;
    let revocation = NewPurchase {
        action: PurchaseAction::Revoke,
        revokes: Some(undone.id),
        ..purchase(state, &undone, link)
    };
    purchase_append(tx, &revocation, state.effective(now)).await?;
    outbox_append(tx.tx(), "lease.changed", json!({ "id": state.account })).await?;
    Ok(After::Revoked(rest))
}

/// Puts a revoked purchase back in its own place: the dispute was won.
async fn again(
    state: &LeaseState,
    tx: &mut FencedTx,
    checkout: &Checkout,
    (bought, link): (Uuid, Uuid),
) -> Result<Grant, ActorError> {
    let (before, response) = purchase_of_link(tx.tx(), bought)
        .await?
        .ok_or_else(|| internal(checkout, "what it bought is gone"))?;
    let purchase = NewPurchase { response, ..purchase(state, &before, link) };
    let key = format!("{}/#{}", checkout.id, checkout.steps + 1);
    Ok(Grant::place(state, purchase, before.created_at, key))
}

/// The same purchase under another link.
fn purchase(state: &LeaseState, of: &Purchase, link: Uuid) -> NewPurchase {
    NewPurchase {
        account: state.account,
        action: of.action,
        tier: of.tier,
        previous_tier: of.previous_tier,
        price: of.price,
        currency: of.currency,
        link,
        payment: None,
        request_key: None,
        revokes: None,
        starts_at: of.starts_at,
        ends_at: of.ends_at,
        response: serde_json::Value::Null,
    }
}

async fn finish(
    deps: &Deps,
    state: &mut LeaseState,
    mut tx: FencedTx,
    checkout: &Checkout,
    posted: CheckoutPosted,
    after: After,
) -> Result<(), ActorError> {
    checkout_posted(&mut tx, checkout.id, &posted, deps.clock.now()).await?;
    card_debt_write(&mut tx, state.account).await?;
    kill_point!("card.post.written");
    tx.commit().await?;
    kill_point!("card.post.committed");
    after.remember(state);
    Ok(())
}

fn posted(checkout: &Checkout, revision: Option<i64>) -> CheckoutPosted {
    CheckoutPosted {
        deposited: checkout.deposited,
        refunded: checkout.refunded,
        disputed: checkout.disputed,
        steps: checkout.steps,
        link: checkout.link,
        revision,
    }
}

fn tier_order(deps: &Deps, state: &LeaseState, checkout: &Checkout) -> Result<Order, ActorError> {
    let tier: Tier = checkout.product_key.parse().map_err(|_| internal(checkout, "unknown tier"))?;
    let at = state.effective(deps.clock.now());
    // What was quoted is what is charged, even if the price has changed since.
    let price: UsdMicros = checkout.price;
    Ok(Order { price, ..order(&deps.prices, tier, legs::currency(checkout), at) })
}

fn key(checkout: &Checkout) -> String {
    format!("{}/#{}", checkout.id, checkout.steps)
}

fn internal(checkout: &Checkout, why: &str) -> ActorError {
    tracing::error!(checkout.id = %checkout.id, why, "a card payment cannot be posted");
    Problem::new(Code::Internal, format!("the card payment cannot be posted: {why}")).into()
}
