//! Money that no payment explains: a plain transfer, or an authorisation that was never presented to us.

use std::sync::Arc;

use store::FencedTx;
use store::ledger::{AccountRef, Journal, LedgerError, NewTransfer, post, post_many, transfer_find};
use store::sightings::{SightingRow, sighting_suspended};
use types::{Code, Problem};

use super::WatcherState;
use crate::Deps;
use crate::kit::ActorError;

/// How many sightings one tick takes off suspense again.
const UNSUSPEND_MAX: i64 = 32;

/// Posts each sighting from the network's clearing account to suspense, in the watcher's commit. The last
/// thing before that commit, because ledger accounts are locked last.
pub(super) async fn suspend(
    deps: &Deps,
    tx: &mut FencedTx,
    orphans: &[SightingRow],
) -> Result<(), ActorError> {
    if orphans.is_empty() {
        return Ok(());
    }
    let now = deps.clock.now();
    for seen in orphans {
        sighting_suspended(tx, seen, true).await?;
    }
    let journals: Vec<Journal> = orphans
        .iter()
        .map(|seen| {
            let accounts = (AccountRef::x402_clearing(seen.network), AccountRef::suspense(seen.network));
            let source = ("sighting", seen.source_id());
            let leg = NewTransfer::post(source, accounts, seen.amount, "unattributed_deposit")
                .referring_to("tx", format!("0x{}", hex::encode(seen.tx_hash)));
            Journal { link: deps.entropy.uuid(), legs: vec![leg] }
        })
        .collect();
    for outcome in post_many(tx.tx(), &journals, now).await.map_err(ledger_error)? {
        outcome.map_err(ledger_error)?;
    }
    Ok(())
}

/// Takes money off suspense whose block has left the chain. Money that a standing credit drew is not there to
/// be taken (the store leaves such sightings out): it is in another block now, or the payment actor reverses
/// the credit first and a later tick comes here again.
pub(super) async fn unsuspend(deps: &Arc<Deps>, state: &WatcherState) -> Result<(), ActorError> {
    for seen in deps.store.sightings_to_unsuspend(state.network, UNSUSPEND_MAX).await? {
        let mut tx = deps.store.fenced(&state.fence).await?;
        sighting_suspended(&mut tx, &seen, false).await?;
        let name = seen.source_id();
        let Some(posted) = transfer_find(tx.tx(), "sighting", &name).await.map_err(ledger_error)? else {
            tracing::error!(sighting = %name, "marked as in suspense, and no transfer says so");
            continue;
        };
        let leg = NewTransfer::reversal(&posted, "deposit_left_chain");
        match post(tx.tx(), deps.entropy.uuid(), &[leg], deps.clock.now()).await {
            Ok(_) => {}
            Err(LedgerError::Overdraft { .. }) => {
                tracing::error!(sighting = %name, "suspense does not hold what was put there");
                continue;
            }
            Err(e) => return Err(ledger_error(e)),
        }
        tx.commit().await?;
        tracing::warn!(sighting = %name, amount = %seen.amount, "unattributed money left the chain");
    }
    Ok(())
}

fn ledger_error(e: impl Into<LedgerError>) -> ActorError {
    match e.into() {
        LedgerError::Store(e) => e.into(),
        // Two writers met; nothing is committed and the next tick does it again.
        LedgerError::Raced => store::StoreError::Stale("ledger transfer").into(),
        other => {
            tracing::error!(error = %other, "the ledger refuses what the chain shows");
            Problem::new(Code::Internal, other.to_string()).into()
        }
    }
}
