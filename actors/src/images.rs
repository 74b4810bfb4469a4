//! Images under way: ordered out of a balance, made by the AI provider, and paid for once they are there.
//!
//! **Failure story.** The price is held before anything is asked of the provider and captured with the image in one
//! commit, so an image is charged when it is there and not before. Whoever dies in between leaves a hold; the next one
//! who asks for the same tries again, and when nobody does the sweep voids it: the money is on the balance then.

use std::sync::Arc;

use ai::{AiError, Aspect};
use billing::image_legs::{capture, reserve, void};
use chrono::TimeDelta;
use store::budgets::{Counted, Scope, Spend, budget_spend, budget_unspend};
use store::image_orders::{
    Asker, ImageOrder, NewImageOrder, OrderState, image_order_attempt, image_order_end, image_order_insert,
    image_order_locked, image_order_of_request, image_order_taken, image_orders_given_up, images_forget,
};
use store::ledger::{Currency, LedgerError, balances_within, post};
use store::payments::Failure;
use types::{AccountId, Code, ImageOrderId, Problem, kill_point};

use crate::kit::ActorError;
use crate::lease::{exceeded, refused};
use crate::{AiDeps, Deps};

/// How long an order stands that nobody begins to make.
pub const RESERVED_FOR: TimeDelta = TimeDelta::minutes(2);
/// An attempt's time beyond the provider's deadline: to write what it answered.
const WRITE_FOR: TimeDelta = TimeDelta::seconds(10);
/// How long after an attempt's time whoever still waits may begin another one.
const GIVEN_UP_AFTER: TimeDelta = TimeDelta::seconds(30);
/// How long a made image can be fetched again by the same request.
const KEPT_FOR: TimeDelta = TimeDelta::hours(24);
const SWEEP_ROWS_MAX: i64 = 200;

/// An image that is asked for out of a balance.
#[derive(Debug, Clone)]
pub struct Asked {
    pub account: AccountId,
    pub asker: Asker,
    /// The same request of the account is the same order.
    pub request_key: String,
    /// Of what is asked for.
    pub request_hash: [u8; 32],
}

/// Orders an image: its price is held on the balance. `None` when the balance does not cover it.
///
/// # Errors
/// `BUDGET_EXCEEDED`; `IDEMPOTENCY_KEY_REUSED` when the request's name stands for another image.
pub async fn order(deps: &Arc<Deps>, asked: &Asked) -> Result<Option<ImageOrder>, ActorError> {
    if let Some(before) = before(deps, asked).await? {
        return Ok(Some(before));
    }
    let monies = [(Currency::TestUsd, deps.prices.image.takes_test_money()), (Currency::Usd, true)];
    for (currency, _) in monies.into_iter().filter(|(_, allowed)| *allowed) {
        if hold(deps, asked, currency).await? {
            return before(deps, asked).await;
        }
    }
    Ok(None)
}

async fn before(deps: &Deps, asked: &Asked) -> Result<Option<ImageOrder>, ActorError> {
    let found = image_order_of_request(&deps.store, asked.account, &asked.request_key).await?;
    match found {
        Some(order) if order.of.request_hash != asked.request_hash => {
            Err(Problem::new(Code::IdempotencyKeyReused, "this key was used to ask for another image").into())
        }
        found => Ok(found),
    }
}

/// One try with one money: false when its balance is too small.
async fn hold(deps: &Deps, asked: &Asked, currency: Currency) -> Result<bool, ActorError> {
    let now = deps.clock.now();
    let order = NewImageOrder {
        id: ImageOrderId::new(&*deps.entropy),
        account: asked.account,
        asker: asked.asker,
        payment: None,
        request_key: asked.request_key.clone(),
        request_hash: asked.request_hash,
        price: deps.prices.image.price,
        currency,
    };
    let mut tx = deps.store.begin().await?;
    if image_order_taken(&mut tx, asked.account, &asked.request_key).await? {
        // The same request on another connection was faster.
        tx.rollback().await?;
        return Ok(true);
    }
    let spend = spend(&order, now);
    if let Counted::Exceeded { scope, limit, spent } = budget_spend(&mut tx, &spend).await? {
        let balances = balances_within(&mut tx, asked.account).await?;
        tx.rollback().await?;
        let covered = balances.get(&currency).is_some_and(|b| b.available() >= order.price);
        return if covered { Err(exceeded(&spend, scope, (limit, spent))) } else { Ok(false) };
    }
    let posted = match post(&mut tx, deps.entropy.uuid(), &[reserve(&order)], now).await {
        Ok(posted) => posted,
        Err(LedgerError::Overdraft { .. }) => {
            tx.rollback().await?;
            return Ok(false);
        }
        Err(e) => return Err(refused(e)),
    };
    let hold = posted.ids().first().copied().ok_or(ActorError::Unavailable("ledger"))?;
    image_order_insert(&mut tx, &order, hold, (now, now + RESERVED_FOR)).await?;
    tx.commit().await?;
    kill_point!("image.reserved");
    Ok(true)
}

/// What budgets count for an order; nothing for a wallet's own money over x402.
fn spend(order: &NewImageOrder, at: chrono::DateTime<chrono::Utc>) -> Spend {
    let scope = match order.asker {
        Asker::Wallet(wallet) => Scope { wallet: Some(wallet), project: None },
        Asker::Project(project) => Scope { wallet: None, project: Some(project) },
    };
    Spend { account: order.account, scope, currency: order.currency, amount: order.price, at }
}

/// Tries to make an image that is ordered, unless it has ended or somebody else is trying. Ends the order.
///
/// # Errors
/// When the control database fails: the order stands, and may be tried again.
pub async fn make(
    deps: &Arc<Deps>,
    ai: &AiDeps,
    id: ImageOrderId,
    (prompt, aspect): (&str, Aspect),
) -> Result<(), ActorError> {
    let now = deps.clock.now();
    let timeout = TimeDelta::from_std(ai.timeout).unwrap_or(TimeDelta::MAX / 2);
    let until = now + timeout + WRITE_FOR;
    let Some(attempt) = image_order_attempt(&deps.store, id, (now, until)).await? else { return Ok(()) };
    kill_point!("image.attempted");
    match ai.provider.image(prompt, aspect).await {
        Ok(png) => end(deps, id, Some(attempt), Ok(png.bytes())).await,
        Err(e) => {
            tracing::warn!(order.id = %id, error = %e, "no image was made");
            end(deps, id, Some(attempt), Err(&failure(&e))).await
        }
    }
}

fn failure(error: &AiError) -> Failure {
    let code = if error.may_pass() { Code::AiProviderFailed } else { Code::AiRequestRefused };
    Failure { code: code.as_str().to_owned(), message: error.to_string() }
}

/// Captures or voids the hold, with the order's end, in one commit. Without an attempt it is the sweep that ends it,
/// and only if nobody has begun another attempt.
async fn end(
    deps: &Deps,
    id: ImageOrderId,
    attempt: Option<i32>,
    made: Result<&[u8], &Failure>,
) -> Result<(), ActorError> {
    let now = deps.clock.now();
    let mut tx = deps.store.begin().await?;
    let order = image_order_locked(&mut tx, id).await?;
    let mine = match attempt {
        Some(attempt) => attempt == order.attempt,
        None => order.attempt_until < now,
    };
    if order.state != OrderState::Reserved || !mine {
        tx.rollback().await?;
        return Ok(());
    }
    let leg = match made {
        Ok(_) => capture(&order.of, order.hold),
        Err(_) => {
            if order.of.payment.is_none() {
                budget_unspend(&mut tx, &spend(&order.of, order.created_at)).await?;
            }
            void(&order.of, order.hold)
        }
    };
    image_order_end(&mut tx, id, made, now).await?;
    post(&mut tx, deps.entropy.uuid(), &[leg], now).await.map_err(refused)?;
    kill_point!("image.capture.written");
    tx.commit().await?;
    kill_point!("image.captured");
    tracing::info!(order.id = %id, account.id = %order.of.account, made = made.is_ok(), "image order ended");
    Ok(())
}

/// Voids what nobody makes any more, and forgets images that were fetched long ago.
///
/// # Errors
/// The first failure; the next sweep takes the rest.
pub async fn sweep(deps: &Arc<Deps>) -> Result<(), ActorError> {
    let now = deps.clock.now();
    let given_up = Failure {
        code: Code::AiProviderFailed.as_str().to_owned(),
        message: "nobody finished making it".to_owned(),
    };
    for id in image_orders_given_up(&deps.store, now - GIVEN_UP_AFTER, SWEEP_ROWS_MAX).await? {
        end(deps, id, None, Err(&given_up)).await?;
    }
    images_forget(&deps.store, now - KEPT_FOR, SWEEP_ROWS_MAX).await?;
    Ok(())
}
