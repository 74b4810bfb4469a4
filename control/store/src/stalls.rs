//! Spans in which a chain made no block.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::Network;

use crate::{During, FencedTx, Store, StoreError, Tx};

/// A chain stood still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stall {
    /// When its last block was made.
    pub started_at: DateTime<Utc>,
    /// When the next one was seen; none while it still stands.
    pub ended_at: Option<DateTime<Utc>>,
}

/// How far back a stall may have ended and still matter to a lease: more than any grace.
const MEMORY_DAYS: i64 = 7;

/// Stalls, oldest first, that began before `ends_at` or within days after it, and had not ended long before.
///
/// # Errors
/// `Db` only.
pub async fn stalls_touching(store: &Store, ends_at: DateTime<Utc>) -> Result<Vec<Stall>, StoreError> {
    let memory = chrono::TimeDelta::days(MEMORY_DAYS);
    let rows = sqlx::query(
        "select started_at, ended_at from chain_stalls
         where started_at <= $2 and (ended_at is null or ended_at >= $1) order by started_at",
    )
    .bind(ends_at.checked_sub_signed(memory))
    .bind(ends_at.checked_add_signed(memory))
    .fetch_all(store.pool())
    .await
    .during("list stalls")?;
    rows.iter().map(stall).collect()
}

/// Every stall of the last days before `since` and after it, oldest first.
///
/// # Errors
/// `Db` only.
pub async fn stalls_since(tx: &mut Tx, since: DateTime<Utc>) -> Result<Vec<Stall>, StoreError> {
    let memory = chrono::TimeDelta::days(MEMORY_DAYS);
    let rows = sqlx::query(
        "select started_at, ended_at from chain_stalls where ended_at is null or ended_at >= $1
         order by started_at",
    )
    .bind(since.checked_sub_signed(memory))
    .fetch_all(tx.conn())
    .await
    .during("list stalls")?;
    rows.iter().map(stall).collect()
}

/// The stall that still goes on.
///
/// # Errors
/// `Db` only.
pub async fn stall_open_find(store: &Store, network: Network) -> Result<Option<Stall>, StoreError> {
    let row =
        sqlx::query("select started_at, ended_at from chain_stalls where network = $1 and ended_at is null")
            .bind(network.as_str())
            .fetch_optional(store.pool())
            .await
            .during("find a stall")?;
    row.as_ref().map(stall).transpose()
}

/// Notes that a chain stands still. Idempotent while it does.
///
/// # Errors
/// `Db` only.
pub async fn stall_begin(
    tx: &mut FencedTx,
    network: Network,
    started_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query("insert into chain_stalls (network, started_at) values ($1, $2) on conflict do nothing")
        .bind(network.as_str())
        .bind(started_at)
        .execute(tx.conn())
        .await
        .during("note a stall")?;
    Ok(())
}

/// Notes that a chain moves again. A no-op when it did before.
///
/// # Errors
/// `Db` only.
pub async fn stall_end(
    tx: &mut FencedTx,
    network: Network,
    ended_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "update chain_stalls set ended_at = greatest(started_at, $2) where network = $1 and ended_at is null",
    )
    .bind(network.as_str())
    .bind(ended_at)
    .execute(tx.conn())
    .await
    .during("end a stall")?;
    Ok(())
}

fn stall(row: &PgRow) -> Result<Stall, StoreError> {
    Ok(Stall {
        started_at: row.try_get("started_at").during("read a stall")?,
        ended_at: row.try_get("ended_at").during("read a stall")?,
    })
}
