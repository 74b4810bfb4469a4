//! Doing something on the chain once.

use std::sync::Arc;

use chain::lane::{self, Effect, Slot};
use chain::rpc::{Broadcast, Fees, RpcError};
use store::StoreError;
use store::chain_txs::{
    ChainTxRow, NewChainTx, Purpose, TxState, chain_tx_insert, chain_tx_sent, lane_advanced,
};
use store::payments::{Move, PaymentState, payment_moved};
use store::requests::drip_sent;
use types::{ChainTxId, Code, PaymentId, Problem, kill_point};
use uuid::Uuid;

use super::effect::Job;
use super::error::{chain_error, signer_error};
use super::messages::Reply;
use super::state::{LaneState, Role};
use super::sweep;
use crate::Deps;
use crate::kit::ActorError;

/// Several times what a transfer of USDC takes. We pay for it, and a payer whose account has code decides how
/// much its signature check burns (A18, A34).
const GAS_MAX: u64 = 300_000;

pub(super) async fn on_settle(
    deps: &Arc<Deps>,
    state: &mut LaneState,
    id: PaymentId,
) -> Result<Reply, ActorError> {
    let payment = deps.store.payment_fetch(id).await?;
    if state.role != Role::FeePayer || payment.key.network != state.network {
        return Err(wrong_lane());
    }
    if !payment.state.unfinished() {
        return Ok(Reply::Done);
    }
    once(deps, state, Job::Settle(Box::new(payment))).await
}

pub(super) async fn on_faucet(
    deps: &Arc<Deps>,
    state: &mut LaneState,
    id: Uuid,
) -> Result<Reply, ActorError> {
    let faucet = state.chain(deps)?.faucet.as_ref().map(|signer| signer.address());
    if faucet != Some(state.address) {
        return Err(wrong_lane());
    }
    let drip = deps.store.drip_find(id).await?.ok_or(StoreError::NotFound("drip"))?;
    once(deps, state, Job::Faucet(drip)).await
}

fn wrong_lane() -> ActorError {
    Problem::new(Code::Internal, "this lane does not do that").into()
}

/// Sends what was signed for this intent before; signs only when there is nothing that can still be mined, or
/// was.
async fn once(deps: &Arc<Deps>, state: &mut LaneState, job: Job) -> Result<Reply, ActorError> {
    let attempts = deps.store.chain_txs_of_intent(job.intent()).await?;
    if let Some(live) = attempts.iter().rfind(|attempt| attempt.open()) {
        broadcast(deps, state, live).await?;
        return Ok(sent(live.hash));
    }
    if let Some(done) = attempts.iter().find(|a| a.purpose != Purpose::Cancel && a.succeeded == Some(true)) {
        if !stands(deps, state, done).await? {
            sweep::reopen(deps, state, done.nonce).await?;
        }
        return Ok(sent(done.hash));
    }
    // Whatever was signed before can never be mined again: its nonce is used up.
    let effect = job.effect(state.network)?;
    let (gas_limit, fees) = match simulate(deps, state, &effect).await? {
        Ok(bid) => bid,
        Err(reason) => return Ok(Reply::Refused { reason }),
    };
    let attempt = attempts.last().map_or(1, |last| last.attempt + 1);
    let nonce = state.next_nonce;
    let (intent, purpose) = (job.intent(), job.purpose());
    let new = Signing { intent, purpose, effect, nonce, attempt, gas_limit, fees };
    let new = sign(deps, state, new).await?;
    kill_point!("payment.intent.signed");
    if !intend(deps, state, &job, &new).await? {
        return Ok(Reply::Done);
    }
    state.next_nonce = nonce + 1;

    let row = stored(&new, deps.wall.now());
    broadcast(deps, state, &row).await?;
    Ok(sent(row.hash))
}

/// Whether the chain still shows that an attempt did its work. Between two looks at the lane a reorganisation may
/// have mined its bytes again where they do nothing, and the nonce is as used as before (B03).
async fn stands(deps: &Deps, state: &LaneState, done: &ChainTxRow) -> Result<bool, ActorError> {
    let receipt = state.chain(deps)?.rpc.receipt(done.hash).await;
    let receipt = receipt.map_err(|e| chain_error("read a receipt", e))?;
    Ok(receipt.is_some_and(|receipt| receipt.succeeded))
}

/// Gas limit and bid, or why the chain would refuse.
pub(super) async fn simulate(
    deps: &Deps,
    state: &LaneState,
    effect: &Effect,
) -> Result<Result<(u64, Fees), String>, ActorError> {
    let rpc = &state.chain(deps)?.rpc;
    let gas = match rpc.estimate_gas(&effect.as_call(state.address)).await {
        Ok(gas) => gas,
        Err(RpcError::Reverted(reason)) => return Ok(Err(reason)),
        Err(e) => return Err(chain_error("estimate gas", e)),
    };
    if gas > GAS_MAX {
        return Ok(Err(format!("it would take {gas} gas, more than {GAS_MAX}")));
    }
    let fees = rpc.fees().await.map_err(|e| chain_error("read fees", e))?;
    // State may change until it is mined: half as much again is still cheap, and unused gas is not paid.
    Ok(Ok((gas.saturating_add(gas / 2), fees)))
}

/// What to sign, and what for.
pub(super) struct Signing {
    pub intent: Uuid,
    pub purpose: Purpose,
    pub effect: Effect,
    pub nonce: i64,
    pub attempt: i32,
    pub gas_limit: u64,
    pub fees: Fees,
}

pub(super) async fn sign(deps: &Deps, state: &LaneState, what: Signing) -> Result<NewChainTx, ActorError> {
    let nonce = u64::try_from(what.nonce).map_err(|_| StoreError::Corrupt("negative nonce".to_owned()))?;
    let slot = Slot { network: state.network, nonce, gas_limit: what.gas_limit, fees: what.fees };
    let signed = lane::sign(&what.effect.at(slot), state.signer(deps)?).await.map_err(signer_error)?;
    Ok(NewChainTx {
        id: ChainTxId::new(&*deps.entropy),
        lane: state.id,
        nonce: what.nonce,
        attempt: what.attempt,
        purpose: what.purpose,
        intent: what.intent,
        raw: signed.raw,
        hash: signed.hash,
        max_fee_wei: what.fees.max_fee_per_gas,
        priority_fee_wei: what.fees.max_priority_fee_per_gas,
        gas_limit: i64::try_from(what.gas_limit).unwrap_or(i64::MAX),
    })
}

/// Commits nonce, bytes and the job's own move together. False when the job no longer needs them: nothing was
/// written.
async fn intend(deps: &Deps, state: &LaneState, job: &Job, new: &NewChainTx) -> Result<bool, ActorError> {
    let now = deps.wall.now();
    let mut tx = deps.store.fenced(&state.fence).await?;
    match job {
        Job::Settle(payment) if payment.state == PaymentState::Verified => {
            let settling = Move { from: PaymentState::Verified, to: PaymentState::Settling, failure: None };
            match payment_moved(tx.tx(), payment.id, settling, now).await {
                Ok(()) => {}
                // It was credited or given up in between; our own memory is not in doubt.
                Err(StoreError::Stale(_)) => return Ok(false),
                Err(e) => return Err(e.into()),
            }
        }
        Job::Settle(_) => {}
        Job::Faucet(drip) => drip_sent(tx.tx(), drip.id, new.hash).await?,
    }
    lane_advanced(&mut tx, state.id, new.nonce, new.nonce + 1).await?;
    chain_tx_insert(&mut tx, new, now).await?;
    kill_point!("payment.intent.written");
    tx.commit().await?;
    kill_point!("payment.intent.committed");
    tracing::info!(
        lane.id = %state.id, nonce = new.nonce, intent = %new.intent, purpose = new.purpose.as_str(),
        tx.hash = %hex::encode(new.hash), "transaction intended"
    );
    Ok(true)
}

/// Offers stored bytes to the node. Whatever it says, the bytes stay ours to look after.
pub(super) async fn broadcast(deps: &Deps, state: &LaneState, row: &ChainTxRow) -> Result<(), ActorError> {
    kill_point!("payment.broadcast.sending");
    let answer = state.chain(deps)?.rpc.send_raw(&row.raw).await;
    kill_point!("payment.broadcast.sent");
    let hash = hex::encode(row.hash);
    match answer {
        Ok(Broadcast::Accepted | Broadcast::AlreadyKnown | Broadcast::NonceTooLow) => {
            if row.state == TxState::Intended {
                let mut tx = deps.store.fenced(&state.fence).await?;
                chain_tx_sent(&mut tx, row.id, deps.wall.now()).await?;
                tx.commit().await?;
                kill_point!("payment.broadcast.marked");
            }
            tracing::debug!(lane.id = %state.id, tx.hash = %hash, "transaction sent");
        }
        Ok(Broadcast::Underpriced) => {
            tracing::debug!(lane.id = %state.id, tx.hash = %hash, "another attempt bids more");
        }
        Ok(Broadcast::OutOfGasMoney) => {
            tracing::error!(lane.id = %state.id, address = %state.address, "the lane cannot pay for gas: fund it");
        }
        Ok(Broadcast::Refused(reason)) => {
            tracing::warn!(lane.id = %state.id, tx.hash = %hash, reason, "the node refuses a transaction");
        }
        // Unknown, not failed: the sweep sends the same bytes again.
        Err(e) => tracing::warn!(lane.id = %state.id, tx.hash = %hash, error = %e, "broadcast unanswered"),
    }
    Ok(())
}

pub(super) fn stored(new: &NewChainTx, now: chrono::DateTime<chrono::Utc>) -> ChainTxRow {
    ChainTxRow {
        id: new.id,
        lane: new.lane,
        nonce: new.nonce,
        attempt: new.attempt,
        purpose: new.purpose,
        intent: new.intent,
        raw: new.raw.clone(),
        hash: new.hash,
        max_fee_wei: new.max_fee_wei,
        priority_fee_wei: new.priority_fee_wei,
        gas_limit: new.gas_limit,
        state: TxState::Intended,
        succeeded: None,
        block_number: None,
        created_at: now,
        sent_at: None,
    }
}

fn sent(hash: [u8; 32]) -> Reply {
    Reply::Sent { tx_hash: format!("0x{}", hex::encode(hash)) }
}
