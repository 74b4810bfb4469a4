//! Reading a range of the chain so that all of it is of one piece.

use chain::asset::usdc;
use chain::rpc::{BlockAt, Head, RpcError};
use chain::scan::{ScanQuery, Sighting};
use chrono::DateTime;
use futures::stream::{self, StreamExt, TryStreamExt};
use store::sightings::{BlockRow, SightingRow};
use types::UsdMicros;

use super::place::signed;
use crate::ChainDeps;
use crate::kit::ActorError;
use crate::wallet::chain_error;

const BLOCKS_AT_ONCE: usize = 8;

/// A scanned range: block numbers, both included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range {
    pub from: i64,
    pub to: i64,
}

/// What a range holds.
pub(super) struct Scanned {
    /// Ascending; all that are within the retained depth of the head, and the last one in any case.
    pub blocks: Vec<BlockRow>,
    pub sightings: Vec<SightingRow>,
}

/// Reads a range whose parent is `parent`, if that is stored.
pub(super) async fn scan(
    chain: &ChainDeps,
    range: Range,
    head: &Head,
    parent: Option<&BlockRow>,
) -> Result<Scanned, ActorError> {
    let moved = || chain_error("scan a range", RpcError::Moved);
    let query = ScanQuery {
        from: range.from.unsigned_abs(),
        to: range.to.unsigned_abs(),
        asset: usdc(chain.network).address,
        payees: chain.watched(),
    };
    let found = chain.rpc.authorizations(&query).await.map_err(|e| chain_error("read sightings", e))?;

    let retained_from = signed(head.number.saturating_sub(chain.retained_blocks));
    let first = range.from.max(retained_from).min(range.to);
    let blocks: Vec<BlockRow> = stream::iter(first..=range.to)
        .map(|number| async move {
            let at = BlockAt::Number(number.unsigned_abs());
            let head = chain.rpc.block_at(at).await.map_err(|e| chain_error("read a block", e))?;
            head.ok_or_else(moved).and_then(|head| block_row(&head))
        })
        .buffered(BLOCKS_AT_ONCE)
        .try_collect()
        .await?;

    // Everything was asked for by number, and the chain may have changed in between: only one piece may be
    // stored.
    let before = parent.filter(|p| p.number + 1 == first).map(|p| p.hash);
    let broken = blocks.windows(2).any(|pair| pair[1].parent_hash != pair[0].hash)
        || before.is_some_and(|hash| blocks.first().is_some_and(|b| b.parent_hash != hash));
    let strange = found.iter().any(|s| {
        let number = signed(s.block_number);
        let stored = blocks.iter().find(|b| b.number == number);
        number < range.from || number > range.to || stored.is_some_and(|b| b.hash != s.block_hash)
    });
    if broken || strange {
        return Err(moved());
    }
    // Moving nothing is no payment, and no price is zero.
    let sightings = found
        .iter()
        .filter(|s| s.amount > UsdMicros::ZERO)
        .map(|s| sighting_row(s, chain))
        .collect::<Result<_, _>>()?;
    Ok(Scanned { blocks, sightings })
}

fn block_row(head: &Head) -> Result<BlockRow, ActorError> {
    Ok(BlockRow {
        number: signed(head.number),
        hash: head.hash,
        parent_hash: head.parent_hash,
        time: time(head.timestamp)?,
    })
}

fn sighting_row(s: &Sighting, chain: &ChainDeps) -> Result<SightingRow, ActorError> {
    let beyond = |_| chain_error("read sightings", RpcError::Forged("a log index beyond all logs"));
    Ok(SightingRow {
        network: s.network,
        block_hash: s.block_hash,
        tx_hash: s.tx_hash,
        log_index: i32::try_from(s.log_index).map_err(beyond)?,
        block_number: signed(s.block_number),
        asset: s.asset,
        payer: s.payer,
        nonce: s.nonce(),
        pay_to: s.pay_to,
        amount: s.amount,
        block_time: time(s.timestamp)?,
        canonical: true,
        turn: 1,
        in_suspense: false,
        ours: chain.payees.contains(&s.pay_to),
    })
}

fn time(secs: u64) -> Result<chrono::DateTime<chrono::Utc>, ActorError> {
    DateTime::from_timestamp(signed(secs), 0)
        .ok_or_else(|| chain_error("read a block", RpcError::Forged("a time beyond all times")))
}
