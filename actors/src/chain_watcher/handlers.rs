//! One tick.

use std::collections::BTreeSet;
use std::sync::Arc;

use chain::rpc::{Head, RpcError};
use store::sightings::{
    BlockRow, Cursor, CursorMove, SightingRow, blocks_insert, blocks_rewound, cursor_halted, cursor_insert,
    cursor_moved, sightings_insert, sightings_payments,
};
use types::{PaymentId, kill_point};

use super::WatcherState;
use super::place::{Place, locate, signed};
use super::scan::{Range, Scanned, scan};
use super::stall;
use super::suspense::{suspend, unsuspend};
use crate::kit::ActorError;
use crate::wallet::chain_error;
use crate::{ChainDeps, Deps, payment};

/// Blocks of one commit. Never fewer than are retained, so that a fork is rewound and scanned again in one.
const CHUNK_BLOCKS: i64 = 2_000;
/// Commits of one tick: a backlog is worked off over many ticks, so that the watcher stays answerable.
const CHUNKS_MAX: usize = 4;
/// Payments woken by one rise of the safe or final block; the next tick takes the rest.
const WAKE_MAX: i64 = 500;

pub(super) async fn on_tick(deps: &Arc<Deps>, state: &WatcherState) -> Result<(), ActorError> {
    let chain = state.chain(deps)?;
    for _ in 0..CHUNKS_MAX {
        let head = chain.rpc.head().await.map_err(|e| chain_error("read the head", e))?;
        stall::note(deps, state, &head).await?;
        let Some(cursor) = deps.store.cursor_find(state.network).await? else {
            start(deps, state, chain, &head).await?;
            continue;
        };
        if cursor.halted_reason.is_some() {
            return Ok(());
        }
        let known = deps.store.blocks_recent(state.network, signed(chain.retained_blocks) + 1).await?;
        let ancestor = match locate(chain.rpc.as_ref(), &cursor, &known, &head).await? {
            Place::Level => {
                finality(deps, state, chain, &cursor).await?;
                break;
            }
            Place::Halt { reason } => return halt(deps, state, &reason).await,
            Place::Ahead => None,
            Place::Forked { ancestor } => Some(ancestor),
        };
        advance(deps, state, chain, Advance { cursor, known, ancestor, head }).await?;
    }
    unsuspend(deps, state).await
}

/// The first start on this database: what is older than the retained blocks was not paid to us.
async fn start(
    deps: &Arc<Deps>,
    state: &WatcherState,
    chain: &ChainDeps,
    head: &Head,
) -> Result<(), ActorError> {
    let first = signed(head.number.saturating_sub(chain.retained_blocks));
    let mut tx = deps.store.fenced(&state.fence).await?;
    cursor_insert(&mut tx, state.network, first, deps.clock.now()).await?;
    tx.commit().await?;
    tracing::info!(network = %state.network, first_block = first, "watching a chain");
    Ok(())
}

async fn halt(deps: &Arc<Deps>, state: &WatcherState, reason: &str) -> Result<(), ActorError> {
    let mut tx = deps.store.fenced(&state.fence).await?;
    cursor_halted(&mut tx, state.network, reason, deps.clock.now()).await?;
    tx.commit().await?;
    tracing::error!(network = %state.network, reason, "the watcher has halted: an operator must look");
    Ok(())
}

/// From where, over which blocks, towards which head.
struct Advance {
    cursor: Cursor,
    known: Vec<BlockRow>,
    ancestor: Option<i64>,
    head: Head,
}

/// Scans up to one chunk and commits it, with the rewind before it if the chain forked.
async fn advance(
    deps: &Arc<Deps>,
    state: &WatcherState,
    chain: &ChainDeps,
    plan: Advance,
) -> Result<(), ActorError> {
    let parent = match plan.ancestor {
        Some(ancestor) => plan.known.iter().find(|b| b.number == ancestor),
        None => plan.known.first(),
    };
    let from = plan.ancestor.map_or(plan.cursor.next_block, |ancestor| ancestor + 1);
    let range = Range { from, to: signed(plan.head.number).min(from + CHUNK_BLOCKS - 1) };
    let scanned = if range.to < range.from {
        // The new chain is, for now, no longer than the ancestor.
        Scanned { blocks: Vec::new(), sightings: Vec::new() }
    } else {
        scan(chain, range, &plan.head, parent).await?
    };
    if !scanned.sightings.is_empty() {
        kill_point!("payment.sighting.scanned");
    }
    let levels = levels(chain).await?;
    let change = CursorMove {
        network: state.network,
        from: plan.cursor.next_block,
        to: range.to.max(range.from - 1) + 1,
        safe_block: levels.0,
        finalized_block: levels.1,
    };
    let woken = commit(deps, state, chain, &plan, &scanned, change).await?;
    for id in woken {
        deps.actors().payment.hint(id, payment::Request::Step);
    }
    wake_by_level(deps, state, &plan.cursor, levels).await
}

/// Answers the payments whose sightings came or went.
async fn commit(
    deps: &Arc<Deps>,
    state: &WatcherState,
    chain: &ChainDeps,
    plan: &Advance,
    scanned: &Scanned,
    change: CursorMove,
) -> Result<BTreeSet<PaymentId>, ActorError> {
    let now = deps.clock.now();
    let mut tx = deps.store.fenced(&state.fence).await?;
    // First, so that a rival that moved the cursor is found before anything else is done.
    cursor_moved(&mut tx, change, now).await?;
    let left = match plan.ancestor {
        Some(ancestor) => blocks_rewound(&mut tx, state.network, ancestor).await?,
        None => Vec::new(),
    };
    let keep_from = change.to - signed(chain.retained_blocks) - 1;
    blocks_insert(&mut tx, state.network, &scanned.blocks, keep_from).await?;
    let came = sightings_insert(&mut tx, &scanned.sightings, now).await?;
    let mut woken = BTreeSet::new();
    woken.extend(sightings_payments(&mut tx, &left).await?.into_iter().flatten().map(|p| p.id));
    let mut orphans: Vec<SightingRow> = Vec::new();
    for (seen, payment) in came.iter().zip(sightings_payments(&mut tx, &came).await?) {
        woken.extend(payment.map(|p| p.id));
        // What the facilitator was asked to settle towards us bought nothing here.
        let explained = payment.is_some_and(|p| !p.facilitated);
        if seen.ours && !explained && !seen.in_suspense {
            orphans.push(seen.clone());
        }
    }
    suspend(deps, &mut tx, &orphans).await?;
    if !came.is_empty() {
        kill_point!("payment.sighting.written");
    }
    tx.commit().await?;
    if !came.is_empty() {
        kill_point!("payment.sighting.committed");
    }
    report(state, plan, change, (&left, &came, &orphans));
    Ok(woken)
}

fn report(
    state: &WatcherState,
    plan: &Advance,
    change: CursorMove,
    (left, came, orphans): (&[SightingRow], &[SightingRow], &[SightingRow]),
) {
    if let Some(ancestor) = plan.ancestor {
        tracing::warn!(
            network = %state.network, ancestor, depth_blocks = change.from - 1 - ancestor, left = left.len(),
            came = came.len(), "reorganisation"
        );
    }
    for seen in came {
        tracing::info!(
            network = %state.network, block = seen.block_number, tx.hash = %hex::encode(seen.tx_hash),
            payer = %seen.payer, amount_micros = seen.amount.0, "money seen"
        );
    }
    if !orphans.is_empty() {
        let count = orphans.len();
        tracing::warn!(network = %state.network, count, "money that no payment explains is in suspense");
    }
}

/// The safe and the final block; -1 where the chain has none yet.
async fn levels(chain: &ChainDeps) -> Result<(i64, i64), ActorError> {
    let number = |head: Result<Option<Head>, RpcError>| {
        let head = head.map_err(|e| chain_error("read the safe block", e))?;
        Ok::<_, ActorError>(head.map_or(-1, |head| signed(head.number)))
    };
    Ok((number(chain.rpc.safe().await)?, number(chain.rpc.finalized().await)?))
}

/// Safe and final blocks rise without new blocks, too.
async fn finality(
    deps: &Arc<Deps>,
    state: &WatcherState,
    chain: &ChainDeps,
    cursor: &Cursor,
) -> Result<(), ActorError> {
    let levels = levels(chain).await?;
    if levels.0 > cursor.safe_block || levels.1 > cursor.finalized_block {
        let mut tx = deps.store.fenced(&state.fence).await?;
        let change = CursorMove {
            network: state.network,
            from: cursor.next_block,
            to: cursor.next_block,
            safe_block: levels.0,
            finalized_block: levels.1,
        };
        cursor_moved(&mut tx, change, deps.clock.now()).await?;
        tx.commit().await?;
    }
    wake_by_level(deps, state, cursor, levels).await
}

/// Wakes the payments that waited for depth: for their credit, or for the end of their exposure.
async fn wake_by_level(
    deps: &Arc<Deps>,
    state: &WatcherState,
    cursor: &Cursor,
    (safe, finalized): (i64, i64),
) -> Result<(), ActorError> {
    let (safe, finalized) = (safe.max(cursor.safe_block), finalized.max(cursor.finalized_block));
    let mut woken = deps.store.payments_seen_uncredited(state.network, safe, WAKE_MAX).await?;
    woken.extend(deps.store.payments_to_finalize(state.network, finalized, WAKE_MAX).await?);
    for id in woken {
        deps.actors().payment.hint(id, payment::Request::Step);
    }
    Ok(())
}
