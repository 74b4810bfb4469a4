//! Looking after what was signed.

use std::sync::Arc;

use chain::lane::Effect;
use chain::rpc::{Fees, NonceAt};
use chrono::TimeDelta;
use store::chain_txs::{
    ChainTxRow, MinedIn, Purpose, TxState, chain_tx_insert, chain_tx_mined, chain_txs_reopened,
    chain_txs_replaced,
};
use types::PaymentId;

use super::effect::{CANCEL_GAS, Job, nothing};
use super::error::chain_error;
use super::handlers::{Signing, broadcast, sign, simulate, stored};
use super::messages::Reply;
use super::state::{LaneState, nonce_number};
use crate::Deps;
use crate::kit::ActorError;

/// Attempts that one sweep looks at; the next takes the rest.
const OPEN_MAX: i64 = 256;
/// Unused nonces that one sweep fills.
const GAPS_MAX: i64 = 32;
/// Bytes are offered again after this: nodes forget.
const RESEND_AFTER: TimeDelta = TimeDelta::seconds(4);
/// A higher bid is made after this: some ten blocks of Base.
const BUMP_AFTER: TimeDelta = TimeDelta::seconds(20);
/// How far from the front of the lane bids are raised: those behind wait for the front, not for a better
/// price.
const BUMP_NONCES_MAX: i64 = 8;
/// Bids per intent. Each is an eighth above the last, so this is some four times the first.
const ATTEMPTS_MAX: i32 = 12;
/// How long a used nonce may be without a receipt for any attempt before we say that somebody else used it.
const FOREIGN_AFTER: TimeDelta = TimeDelta::seconds(120);

pub(super) async fn on_step(deps: &Arc<Deps>, state: &mut LaneState) -> Result<Reply, ActorError> {
    let used = state.chain(deps)?.rpc.nonce(state.address, NonceAt::Latest).await;
    let used = nonce_number(used.map_err(|e| chain_error("read the lane's nonce", e))?)?;
    if used > state.next_nonce {
        state.jump_to(deps, used).await?;
    }
    if used < state.next_nonce {
        reopen(deps, state, used).await?;
    }
    let open = deps.store.chain_txs_open(state.id, OPEN_MAX).await?;
    let (ended, waiting): (Vec<_>, Vec<_>) =
        open.chunk_by(|a, b| a.nonce == b.nonce).partition(|attempts| attempts[0].nonce < used);
    conclude(deps, state, &ended).await?;
    for attempts in waiting {
        push(deps, state, attempts, used).await?;
    }
    for nonce in deps.store.lane_gaps(state.id, used, state.next_nonce, GAPS_MAX).await? {
        let gap = Signing {
            intent: deps.entropy.uuid(),
            purpose: Purpose::Cancel,
            effect: nothing(state.address),
            nonce,
            attempt: 1,
            gas_limit: CANCEL_GAS,
            fees: market(deps, state).await?,
        };
        tracing::warn!(lane.id = %state.id, nonce, "filling an unused nonce");
        attempt(deps, state, gap).await?;
    }
    Ok(Reply::Done)
}

/// What was mined at these nonces fell out with a reorganisation: the chain does not show them as used any more,
/// or shows something else there. What it shows now, the next sweep finds out.
pub(super) async fn reopen(deps: &Deps, state: &LaneState, first: i64) -> Result<(), ActorError> {
    let mut tx = deps.store.fenced(&state.fence).await?;
    let reopened = chain_txs_reopened(&mut tx, state.id, first).await?;
    if reopened == 0 {
        return Ok(());
    }
    tx.commit().await?;
    tracing::warn!(
        lane.id = %state.id, from_nonce = first, reopened, "transactions left the chain; looking at them again"
    );
    Ok(())
}

/// For nonces that are used: which attempt was mined, and how.
async fn conclude(deps: &Deps, state: &LaneState, ended: &[&[ChainTxRow]]) -> Result<(), ActorError> {
    let mut mined = Vec::new();
    let mut foreign = Vec::new();
    for attempts in ended {
        match receipt(deps, state, attempts).await? {
            Some(found) => mined.push(found),
            None if deps.wall.now() - attempts[attempts.len() - 1].created_at > FOREIGN_AFTER => {
                foreign.push(attempts[0].nonce);
            }
            None => {}
        }
    }
    if mined.is_empty() && foreign.is_empty() {
        return Ok(());
    }
    let mut tx = deps.store.fenced(&state.fence).await?;
    for (row, how) in &mined {
        chain_tx_mined(&mut tx, row, *how).await?;
    }
    for nonce in &foreign {
        chain_txs_replaced(&mut tx, state.id, *nonce).await?;
    }
    tx.commit().await?;
    for (row, how) in mined {
        tracing::info!(
            lane.id = %state.id, nonce = row.nonce, tx.hash = %hex::encode(row.hash), purpose = row.purpose.as_str(),
            succeeded = how.succeeded, block = how.block_number, "transaction mined"
        );
        // What did not work may settle the payment's fate; what did is the watcher's to see.
        if !how.succeeded || row.purpose == Purpose::Cancel {
            deps.actors().payment.hint(PaymentId(row.intent), crate::payment::Request::Step);
        }
    }
    for nonce in foreign {
        tracing::error!(lane.id = %state.id, nonce, "a nonce was used by a transaction that is not ours");
    }
    Ok(())
}

async fn receipt<'a>(
    deps: &Deps,
    state: &LaneState,
    attempts: &'a [ChainTxRow],
) -> Result<Option<(&'a ChainTxRow, MinedIn)>, ActorError> {
    for row in attempts.iter().rev() {
        let found = state.chain(deps)?.rpc.receipt(row.hash).await;
        if let Some(receipt) = found.map_err(|e| chain_error("read a receipt", e))? {
            let block_number = i64::try_from(receipt.block_number).unwrap_or(i64::MAX);
            return Ok(Some((row, MinedIn { succeeded: receipt.succeeded, block_number })));
        }
    }
    Ok(None)
}

/// For a nonce that is not used yet: the newest bytes again, or a better bid.
async fn push(deps: &Deps, state: &LaneState, attempts: &[ChainTxRow], used: i64) -> Result<(), ActorError> {
    let newest = &attempts[attempts.len() - 1];
    let age = deps.wall.now() - newest.created_at;
    let near = newest.nonce < used + BUMP_NONCES_MAX;
    if age > BUMP_AFTER && near && newest.attempt < ATTEMPTS_MAX {
        return bump(deps, state, newest).await;
    }
    if newest.state == TxState::Intended || age > RESEND_AFTER {
        broadcast(deps, state, newest).await?;
    }
    Ok(())
}

/// The same effect under the same nonce for a higher bid; nothing at all, when the effect would only revert
/// by now.
async fn bump(deps: &Deps, state: &LaneState, newest: &ChainTxRow) -> Result<(), ActorError> {
    let (purpose, effect, gas_limit) = again(deps, state, newest).await?;
    let last =
        Fees { max_fee_per_gas: newest.max_fee_wei, max_priority_fee_per_gas: newest.priority_fee_wei };
    let attempts = deps.store.chain_txs_of_intent(newest.intent).await?;
    let next = Signing {
        intent: newest.intent,
        purpose,
        effect,
        nonce: newest.nonce,
        attempt: attempts.last().map_or(1, |row| row.attempt + 1),
        gas_limit,
        fees: last.bump().max(market(deps, state).await?),
    };
    tracing::warn!(
        lane.id = %state.id, nonce = next.nonce, attempt = next.attempt, purpose = purpose.as_str(),
        "not mined yet; bidding more"
    );
    attempt(deps, state, next).await
}

async fn again(
    deps: &Deps,
    state: &LaneState,
    newest: &ChainTxRow,
) -> Result<(Purpose, Effect, u64), ActorError> {
    let cancel = || (Purpose::Cancel, nothing(state.address), CANCEL_GAS);
    if newest.purpose == Purpose::Cancel {
        return Ok(cancel());
    }
    let Some(job) = Job::of(deps, newest).await? else { return Ok(cancel()) };
    let effect = job.effect(state.network)?;
    match simulate(deps, state, &effect).await? {
        Ok((gas_limit, _)) => Ok((job.purpose(), effect, gas_limit)),
        Err(reason) => {
            tracing::info!(lane.id = %state.id, nonce = newest.nonce, reason, "it would revert; cancelling");
            Ok(cancel())
        }
    }
}

/// Signs, commits, sends: another attempt at a nonce that is ours already.
async fn attempt(deps: &Deps, state: &LaneState, what: Signing) -> Result<(), ActorError> {
    let new = sign(deps, state, what).await?;
    let now = deps.wall.now();
    let mut tx = deps.store.fenced(&state.fence).await?;
    chain_tx_insert(&mut tx, &new, now).await?;
    tx.commit().await?;
    broadcast(deps, state, &stored(&new, now)).await
}

async fn market(deps: &Deps, state: &LaneState) -> Result<Fees, ActorError> {
    state.chain(deps)?.rpc.fees().await.map_err(|e| chain_error("read fees", e))
}
