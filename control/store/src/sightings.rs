//! What the chain showed: the watcher's cursor, the recent blocks, and the money seen arriving.
//!
//! Written by the watcher alone, under its fence, in one commit per scanned range.

mod columns;
mod read;

use chrono::{DateTime, Utc};
use sqlx::Row;
use types::{Network, PaymentId, UsdMicros, Wallet};

pub(crate) use self::read::sighting_row;
use crate::payments::{AuthorisationKey, FACILITATION};
use crate::{During, FencedTx, StoreError};

pub(crate) use columns::Reader;
pub use read::sighting_of_locked;

/// The watcher's place on one chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub network: Network,
    /// Where watching began: what is older was not paid to us.
    pub first_block: i64,
    /// Everything from there to below this is scanned.
    pub next_block: i64,
    /// Set when an operator must look: nothing is scanned meanwhile.
    pub halted_reason: Option<String>,
    /// What the chain called safe and final; -1 until it did.
    pub safe_block: i64,
    pub finalized_block: i64,
}

/// A scanned block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRow {
    pub number: i64,
    pub hash: [u8; 32],
    pub parent_hash: [u8; 32],
    /// The chain's time, which decides what has expired (B19).
    pub time: DateTime<Utc>,
}

/// Money seen arriving at one of our payees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SightingRow {
    pub network: Network,
    pub block_hash: [u8; 32],
    pub tx_hash: [u8; 32],
    pub log_index: i32,
    pub block_number: i64,
    pub asset: Wallet,
    pub payer: Wallet,
    /// None for a plain transfer, which carries no authorisation.
    pub nonce: Option<[u8; 32]>,
    pub pay_to: Wallet,
    pub amount: UsdMicros,
    pub block_time: DateTime<Utc>,
    pub canonical: bool,
    /// How often it became canonical: above one only after reorganisations there and back.
    pub turn: i32,
    /// Its money was posted to suspense, because no payment was known for it: a credit draws it from there.
    pub in_suspense: bool,
    /// False when it went to somebody for whom we settle: no money of ours.
    pub ours: bool,
}

impl SightingRow {
    /// Its name in the ledger (source `sighting`): one log of one block, and the turn, because a block that
    /// comes back after a reorganisation brings the same logs.
    pub fn source_id(&self) -> String {
        format!("{}/0x{}/{}/#{}", self.network, hex::encode(self.block_hash), self.log_index, self.turn)
    }

    /// The authorisation that moved it, if one did.
    pub fn authorisation(&self) -> Option<AuthorisationKey> {
        let Self { network, asset, payer, nonce, .. } = *self;
        nonce.map(|nonce| AuthorisationKey { network, asset, payer, nonce })
    }
}

/// Makes the cursor of a chain that was never watched. False when it exists.
///
/// # Errors
/// `Db` only.
pub async fn cursor_insert(
    tx: &mut FencedTx,
    network: Network,
    first_block: i64,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "insert into chain_cursors (network, first_block, next_block, updated_at) values ($1, $2, $2, $3)
         on conflict (network) do nothing",
    )
    .bind(network.as_str())
    .bind(first_block)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("insert cursor")?;
    Ok(done.rows_affected() == 1)
}

/// A cursor's move from one place to another, with what the chain now calls safe and final.
#[derive(Debug, Clone, Copy)]
pub struct CursorMove {
    pub network: Network,
    pub from: i64,
    pub to: i64,
    pub safe_block: i64,
    pub finalized_block: i64,
}

/// # Errors
/// `Stale` when the cursor is elsewhere or halted: nothing was written.
pub async fn cursor_moved(
    tx: &mut FencedTx,
    change: CursorMove,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "update chain_cursors set next_block = $3, safe_block = greatest(safe_block, $4),
           finalized_block = greatest(finalized_block, $5), updated_at = $6
         where network = $1 and next_block = $2 and halted_reason is null",
    )
    .bind(change.network.as_str())
    .bind(change.from)
    .bind(change.to)
    .bind(change.safe_block)
    .bind(change.finalized_block)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("move cursor")?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Stale("cursor")) }
}

/// Stops a watcher until an operator has looked (B04). The first reason stays.
///
/// # Errors
/// `Db` only.
pub async fn cursor_halted(
    tx: &mut FencedTx,
    network: Network,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "update chain_cursors set halted_reason = coalesce(halted_reason, $2), updated_at = $3 where network = $1",
    )
    .bind(network.as_str())
    .bind(reason)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("halt cursor")?;
    Ok(())
}

/// Takes every block above `ancestor` out of the canonical chain and answers the sightings that left with
/// them.
///
/// # Errors
/// `Db` only.
pub async fn blocks_rewound(
    tx: &mut FencedTx,
    network: Network,
    ancestor: i64,
) -> Result<Vec<SightingRow>, StoreError> {
    sqlx::query("delete from chain_blocks where network = $1 and number > $2")
        .bind(network.as_str())
        .bind(ancestor)
        .execute(tx.conn())
        .await
        .during("rewind blocks")?;
    let rows = sqlx::query(
        "update sightings s set canonical = false where s.network = $1 and s.block_number > $2 and s.canonical
         returning s.network, s.block_hash, s.tx_hash, s.log_index, s.block_number, s.asset, s.payer, s.nonce, s.pay_to,
           s.amount_micros, s.block_time, s.canonical, s.turn, s.in_suspense, s.ours",
    )
    .bind(network.as_str())
    .bind(ancestor)
    .fetch_all(tx.conn())
    .await
    .during("rewind sightings")?;
    rows.iter().map(sighting_row).collect()
}

/// Stores scanned blocks and forgets those below `keep_from`.
///
/// # Errors
/// `Constraint` when a block of that number is stored: rewind first.
pub async fn blocks_insert(
    tx: &mut FencedTx,
    network: Network,
    blocks: &[BlockRow],
    keep_from: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into chain_blocks (network, number, hash, parent_hash, block_time)
         select $1, * from unnest($2::bigint[], $3::bytea[], $4::bytea[], $5::timestamptz[])",
    )
    .bind(network.as_str())
    .bind(blocks.iter().map(|b| b.number).collect::<Vec<_>>())
    .bind(blocks.iter().map(|b| b.hash.to_vec()).collect::<Vec<_>>())
    .bind(blocks.iter().map(|b| b.parent_hash.to_vec()).collect::<Vec<_>>())
    .bind(blocks.iter().map(|b| b.time).collect::<Vec<_>>())
    .execute(tx.conn())
    .await
    .during("insert blocks")?;
    sqlx::query("delete from chain_blocks where network = $1 and number < $2")
        .bind(network.as_str())
        .bind(keep_from)
        .execute(tx.conn())
        .await
        .during("forget old blocks")?;
    Ok(())
}

/// Stores what was seen. Seeing the same log again changes nothing, except that a block which came back makes
/// its sightings canonical again (B01). Answers those that became canonical now.
///
/// # Errors
/// `Constraint` when another sighting of the same authorisation is canonical: the chain cannot show that.
pub async fn sightings_insert(
    tx: &mut FencedTx,
    rows: &[SightingRow],
    now: DateTime<Utc>,
) -> Result<Vec<SightingRow>, StoreError> {
    let text = |wallet: &dyn Fn(&SightingRow) -> Wallet| -> Vec<String> {
        rows.iter().map(|s| wallet(s).to_string()).collect()
    };
    let found = sqlx::query(
        "insert into sightings as s (network, block_hash, tx_hash, log_index, block_number, asset, payer, nonce, pay_to,
           amount_micros, block_time, ours, seen_at)
         select *, $13 from unnest($1::text[], $2::bytea[], $3::bytea[], $4::integer[], $5::bigint[], $6::text[],
           $7::text[], $8::bytea[], $9::text[], $10::bigint[], $11::timestamptz[], $12::bool[])
         on conflict (network, block_hash, tx_hash, log_index) do update
           set canonical = true, turn = s.turn + case when s.in_suspense then 0 else 1 end
           where not s.canonical
         returning s.network, s.block_hash, s.tx_hash, s.log_index, s.block_number, s.asset, s.payer, s.nonce, s.pay_to,
           s.amount_micros, s.block_time, s.canonical, s.turn, s.in_suspense, s.ours",
    )
    .bind(rows.iter().map(|s| s.network.as_str().to_owned()).collect::<Vec<_>>())
    .bind(rows.iter().map(|s| s.block_hash.to_vec()).collect::<Vec<_>>())
    .bind(rows.iter().map(|s| s.tx_hash.to_vec()).collect::<Vec<_>>())
    .bind(rows.iter().map(|s| s.log_index).collect::<Vec<_>>())
    .bind(rows.iter().map(|s| s.block_number).collect::<Vec<_>>())
    .bind(text(&|s| s.asset))
    .bind(text(&|s| s.payer))
    .bind(rows.iter().map(|s| s.nonce.map(|n| n.to_vec())).collect::<Vec<_>>())
    .bind(text(&|s| s.pay_to))
    .bind(rows.iter().map(|s| s.amount.0).collect::<Vec<_>>())
    .bind(rows.iter().map(|s| s.block_time).collect::<Vec<_>>())
    .bind(rows.iter().map(|s| s.ours).collect::<Vec<_>>())
    .bind(now)
    .fetch_all(tx.conn())
    .await
    .during("insert sightings")?;
    found.iter().map(sighting_row).collect()
}

/// A payment that a sighting pays for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenPayment {
    pub id: PaymentId,
    /// It was presented to our facilitator: it explains no money of ours.
    pub facilitated: bool,
}

/// The payments that sightings pay for, one answer each in their order; none where no such proof was ever
/// presented.
///
/// # Errors
/// `Db` only.
pub async fn sightings_payments(
    tx: &mut FencedTx,
    rows: &[SightingRow],
) -> Result<Vec<Option<SeenPayment>>, StoreError> {
    let found = sqlx::query(
        "select p.id, coalesce(p.product = $7, false)
         from unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::bigint[])
             with ordinality as s (network, asset, payer, nonce, pay_to, amount, place)
           left join payments p on p.network = s.network and p.asset = s.asset and p.payer = s.payer
             and p.nonce = s.nonce and p.pay_to = s.pay_to and p.amount_micros = s.amount
         order by s.place",
    )
    .bind(rows.iter().map(|s| s.network.as_str().to_owned()).collect::<Vec<_>>())
    .bind(rows.iter().map(|s| s.asset.to_string()).collect::<Vec<_>>())
    .bind(rows.iter().map(|s| s.payer.to_string()).collect::<Vec<_>>())
    .bind(rows.iter().map(|s| s.nonce.map(|n| n.to_vec())).collect::<Vec<_>>())
    .bind(rows.iter().map(|s| s.pay_to.to_string()).collect::<Vec<_>>())
    .bind(rows.iter().map(|s| s.amount.0).collect::<Vec<_>>())
    .bind(FACILITATION)
    .fetch_all(tx.conn())
    .await
    .during("find the payments of sightings")?;
    found
        .iter()
        .map(|row| {
            let id: Option<uuid::Uuid> = row.try_get(0).during("find the payments of sightings")?;
            let facilitated = row.try_get(1).during("find the payments of sightings")?;
            Ok(id.map(|id| SeenPayment { id: PaymentId(id), facilitated }))
        })
        .collect()
}

/// Records that a sighting's money was posted to suspense, or taken off it again.
///
/// # Errors
/// `Stale` when that is already so: nothing was written.
pub async fn sighting_suspended(
    tx: &mut FencedTx,
    seen: &SightingRow,
    in_suspense: bool,
) -> Result<(), StoreError> {
    let done = sqlx::query(
        "update sightings set in_suspense = $5
         where network = $1 and block_hash = $2 and tx_hash = $3 and log_index = $4 and in_suspense <> $5",
    )
    .bind(seen.network.as_str())
    .bind(seen.block_hash.as_slice())
    .bind(seen.tx_hash.as_slice())
    .bind(seen.log_index)
    .bind(in_suspense)
    .execute(tx.conn())
    .await
    .during("mark sighting suspended")?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Stale("sighting.in_suspense")) }
}
