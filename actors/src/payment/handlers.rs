//! Carrying out the next move.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use store::StoreError;
use store::chain_txs::Purpose;
use store::payments::{
    Failure, Move, PaymentRow, PaymentState as State, payment_finalized, payment_moved, payment_moved_block,
    payment_settled_for_others,
};
use store::sightings::{Cursor, SightingRow};
use types::kill_point;

use super::PaymentState;
use super::decide::{Next, next, seen};
use crate::kit::ActorError;
use crate::wallet::{self, chain_error, settlement_lane};
use crate::{ChainDeps, Deps, lease};

/// Moves that one request may make: revive, credit and what follows from it.
const MOVES_MAX: usize = 4;
/// How long callees may take; what they do is repeated harmlessly.
const CALL: Duration = Duration::from_secs(20);
/// How far the chain's time must be past the end of an authorisation before it counts as expired.
const EXPIRY_MARGIN: TimeDelta = TimeDelta::seconds(10);

/// Goes on until there is nothing to do but wait.
pub(super) async fn on_step(deps: &Arc<Deps>, state: &mut PaymentState) -> Result<(), ActorError> {
    for _ in 0..MOVES_MAX {
        let payment = deps.store.payment_fetch(state.id).await?;
        let moved = match step(deps, state, &payment).await {
            // Somebody else moved it: look again.
            Err(ActorError::Store(StoreError::Stale(_))) => true,
            other => other?,
        };
        if !moved {
            return Ok(());
        }
    }
    Ok(())
}

/// One move. True when it is worth looking again.
async fn step(deps: &Arc<Deps>, state: &mut PaymentState, payment: &PaymentRow) -> Result<bool, ActorError> {
    let Some(chain) = deps.chains.get(payment.key.network) else {
        tracing::error!(payment.id = %payment.id, network = %payment.key.network, "no connection to its chain");
        return Ok(false);
    };
    // Before the first scan nothing is seen, hence nothing can be concluded.
    let Some(cursor) = deps.store.cursor_find(payment.key.network).await? else { return Ok(false) };
    let sighting = deps.store.sighting_of(payment).await?;
    if sighting.is_some() {
        state.used_at = None;
    }
    let level = seen(sighting.as_ref(), &cursor, payment.amount, chain.instant_max);
    match next(payment.state, level) {
        Next::Submit => submit(deps, state, chain, payment).await,
        Next::Chase => chase(deps, state, chain, payment).await,
        Next::Credit if payment.facilitated() => settled(deps, payment).await,
        Next::Credit => credit(deps, payment).await,
        Next::Doubt => doubt(deps, state, chain, payment).await,
        Next::Keep => keep(deps, payment, sighting.as_ref()).await,
        Next::Finalize => {
            keep(deps, payment, sighting.as_ref()).await?;
            finalize(deps, payment).await
        }
        Next::Revive => {
            tracing::warn!(payment.id = %payment.id, "money appeared for a payment that had ended");
            moved(deps, payment, State::Settling, None).await
        }
        Next::Wait | Next::Rest => Ok(false),
    }
}

/// Has the lane sign and send it. A refusal is no verdict: what the chain shows decides.
async fn submit(
    deps: &Arc<Deps>,
    state: &mut PaymentState,
    chain: &ChainDeps,
    payment: &PaymentRow,
) -> Result<bool, ActorError> {
    let lane = settlement_lane(deps, payment.key.network)?;
    let request = wallet::Request::Settle { payment: payment.id };
    kill_point!("payment.lane.asking");
    let answer = deps.actors().wallet.call(lane, request, CALL).await?;
    kill_point!("payment.lane.answered");
    match answer {
        // Both say that the row has moved, or soon will by a sighting.
        wallet::Reply::Sent { .. } | wallet::Reply::Done => Ok(false),
        wallet::Reply::Refused { reason } => match evidence(deps, state, chain, payment).await? {
            Evidence::Pays => Ok(true),
            Evidence::Unclear => Ok(false),
            Evidence::Elsewhere => fail(deps, payment, elsewhere()).await,
            Evidence::Expired => expire(deps, payment).await,
            Evidence::Unused if was_paid(payment) => Ok(false),
            Evidence::Unused => fail(deps, payment, refusal(chain, payment, reason).await?).await,
        },
    }
}

/// Whether the chain has shown its money before. A reorganisation that takes a payment may take with it what the
/// payer had to pay from, and bring that back later: until the authorisation ends, a refusal is no verdict (B03).
fn was_paid(payment: &PaymentRow) -> bool {
    payment.credits > 0 || payment.tx_hash.is_some()
}

/// Sent and not seen. It is given up only when the chain shows that it cannot pay us any more.
async fn chase(
    deps: &Arc<Deps>,
    state: &mut PaymentState,
    chain: &ChainDeps,
    payment: &PaymentRow,
) -> Result<bool, ActorError> {
    match evidence(deps, state, chain, payment).await? {
        Evidence::Pays => return Ok(true),
        Evidence::Unclear => return Ok(false),
        Evidence::Elsewhere => return fail(deps, payment, elsewhere()).await,
        Evidence::Expired => return expire(deps, payment).await,
        Evidence::Unused => {}
    }
    let attempts = deps.store.chain_txs_of_intent(payment.id.0).await?;
    if attempts.iter().any(|attempt| attempt.open()) {
        return Ok(false);
    }
    let gave_up =
        |a: &&store::chain_txs::ChainTxRow| a.succeeded == Some(false) || a.purpose == Purpose::Cancel;
    match attempts.last().filter(gave_up) {
        // Ours was mined and moved nothing: the payer cannot pay, or has withdrawn (A12).
        Some(_) if !was_paid(payment) => {
            let message = "the chain refused the transfer when it was submitted";
            fail(deps, payment, failure("transaction_failed", message)).await
        }
        // A nonce of ours was used by something else, or a reorganisation took it all back: again.
        _ => submit(deps, state, chain, payment).await,
    }
}

async fn credit(deps: &Arc<Deps>, payment: &PaymentRow) -> Result<bool, ActorError> {
    let request = lease::Request::Credit { payment: payment.id };
    kill_point!("payment.credit.asking");
    deps.actors().lease.call(payment.account, request, CALL).await?;
    kill_point!("payment.credit.answered");
    Ok(true)
}

/// Somebody else's money is where it was to go: that is all there is to say.
async fn settled(deps: &Deps, payment: &PaymentRow) -> Result<bool, ActorError> {
    let mut tx = deps.store.begin().await?;
    payment_settled_for_others(&mut tx, payment.id, deps.clock.now()).await?;
    kill_point!("facilitate.written");
    tx.commit().await?;
    kill_point!("facilitate.committed");
    tracing::info!(payment.id = %payment.id, pay_to = %payment.pay_to, "payment settled for its payee");
    Ok(true)
}

/// Credited, and not to be seen. While the chain says that the authorisation is used, the watcher will see
/// where.
async fn doubt(
    deps: &Arc<Deps>,
    state: &mut PaymentState,
    chain: &ChainDeps,
    payment: &PaymentRow,
) -> Result<bool, ActorError> {
    match evidence(deps, state, chain, payment).await? {
        Evidence::Pays => return Ok(true),
        Evidence::Unclear => return Ok(false),
        Evidence::Unused | Evidence::Elsewhere | Evidence::Expired => {}
    }
    if payment.facilitated() {
        tracing::warn!(payment.id = %payment.id, "a reorganisation took a settled payment; settling it again");
        return moved(deps, payment, State::Settling, None).await;
    }
    tracing::warn!(payment.id = %payment.id, "a reorganisation took a credited payment; reversing it");
    let request = lease::Request::Reverse { payment: payment.id };
    deps.actors().lease.call(payment.account, request, CALL).await?;
    Ok(true)
}

/// Notes the block it is in now (B01).
async fn keep(deps: &Deps, payment: &PaymentRow, sighting: Option<&SightingRow>) -> Result<bool, ActorError> {
    if let Some(seen) = sighting.filter(|s| payment.block_hash != Some(s.block_hash)) {
        let mut tx = deps.store.begin().await?;
        payment_moved_block(&mut tx, payment.id, seen).await?;
        tx.commit().await?;
        tracing::info!(payment.id = %payment.id, block = seen.block_number, "payment is in another block now");
    }
    Ok(false)
}

async fn finalize(deps: &Arc<Deps>, payment: &PaymentRow) -> Result<bool, ActorError> {
    if payment.finalized_at.is_some() {
        return Ok(false);
    }
    let request = lease::Request::Finalized { payment: payment.id };
    deps.actors().lease.call(payment.account, request, CALL).await?;
    let mut tx = deps.store.begin().await?;
    payment_finalized(&mut tx, payment.id, deps.clock.now()).await?;
    tx.commit().await?;
    Ok(false)
}

/// Blocks by which the head may lag behind what was read before it: behind one address answer nodes that are not
/// equally far, and a node that is making a block shows some of it already.
const HEAD_LAG_MAX: i64 = 3;

/// What the chain says about an authorisation that no canonical sighting shows.
enum Evidence {
    /// A sighting turned up meanwhile.
    Pays,
    /// Used somewhere that the watcher has not scanned yet, or not enough is scanned to tell.
    Unclear,
    /// Used or cancelled, and nothing of it came to us: it never will (A12).
    Elsewhere,
    /// Unused, and the chain's time is past its end (A16, B19).
    Expired,
    /// Unused and usable.
    Unused,
}

async fn evidence(
    deps: &Deps,
    state: &mut PaymentState,
    chain: &ChainDeps,
    payment: &PaymentRow,
) -> Result<Evidence, ActorError> {
    let key = &payment.key;
    let used = chain.rpc.authorization_state(key.asset, key.payer, key.nonce).await;
    if used.map_err(|e| chain_error("read an authorisation", e))? {
        let used_at = match state.used_at {
            Some(block) => block,
            None => {
                let head = chain.rpc.head().await.map_err(|e| chain_error("read the head", e))?;
                i64::try_from(head.number).unwrap_or(i64::MAX).saturating_add(HEAD_LAG_MAX)
            }
        };
        state.used_at = Some(used_at);
        let cursor = deps.store.cursor_find(key.network).await?;
        if !cursor.is_some_and(|c| scanned(&c, used_at)) {
            return Ok(Evidence::Unclear);
        }
        // Read after the cursor: a scanned block's sightings were committed with it.
        return Ok(match deps.store.sighting_of(payment).await? {
            Some(_) => Evidence::Pays,
            None => Evidence::Elsewhere,
        });
    }
    state.used_at = None;
    // Unused at the head. A scanned block past the window's end shows that no later block can use it either.
    let scanned = deps.store.blocks_recent(key.network, 1).await?;
    let Some(newest) = scanned.first() else { return Ok(Evidence::Unclear) };
    Ok(if window_closed(payment, newest.time) { Evidence::Expired } else { Evidence::Unused })
}

fn scanned(cursor: &Cursor, block: i64) -> bool {
    cursor.next_block > block && cursor.halted_reason.is_none()
}

fn window_closed(payment: &PaymentRow, chain_time: DateTime<Utc>) -> bool {
    chain_time.timestamp() > payment.valid_before.saturating_add(EXPIRY_MARGIN.num_seconds())
}

/// Why the token refuses an unused authorisation, in a facilitator's words.
async fn refusal(chain: &ChainDeps, payment: &PaymentRow, reason: String) -> Result<Failure, ActorError> {
    let balance = chain.rpc.usdc_balance(payment.key.asset, payment.key.payer).await;
    let balance = balance.map_err(|e| chain_error("read a balance", e))?;
    Ok(if balance < payment.amount {
        failure("insufficient_funds", "the wallet holds less USDC than the price")
    } else {
        failure("invalid_transaction_state", &format!("the token refuses the transfer: {reason}"))
    })
}

fn elsewhere() -> Failure {
    failure("invalid_transaction_state", "the authorisation was cancelled or used for something else")
}

fn failure(code: &str, message: &str) -> Failure {
    Failure { code: code.to_owned(), message: message.to_owned() }
}

async fn fail(deps: &Deps, payment: &PaymentRow, why: Failure) -> Result<bool, ActorError> {
    moved(deps, payment, State::Failed, Some(&why)).await
}

async fn expire(deps: &Deps, payment: &PaymentRow) -> Result<bool, ActorError> {
    let why = failure(
        "invalid_exact_evm_payload_authorization_valid_before",
        "the authorisation ended before the chain used it; nothing was paid",
    );
    moved(deps, payment, State::Expired, Some(&why)).await
}

async fn moved(
    deps: &Deps,
    payment: &PaymentRow,
    to: State,
    failure: Option<&Failure>,
) -> Result<bool, ActorError> {
    let mut tx = deps.store.begin().await?;
    let change = Move { from: payment.state, to, failure };
    payment_moved(&mut tx, payment.id, change, deps.clock.now()).await?;
    tx.commit().await?;
    let code = failure.map(|f| f.code.as_str());
    tracing::info!(payment.id = %payment.id, from = payment.state.as_str(), to = to.as_str(), code, "payment moved");
    Ok(to == State::Settling)
}
