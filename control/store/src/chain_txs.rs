//! Fee-payer lanes and the signed transactions we send.
//!
//! A nonce and the bytes that use it are committed together, before anything is broadcast: whoever comes
//! after a crash sends the same bytes. A fee bump, or a cancellation, is another attempt at the same nonce,
//! so of all attempts at most one is ever mined. An intent (a payment, a faucet drip) takes a second nonce
//! only when its first one is used up by something else.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{ChainTxId, LaneId, Network, Wallet};
use uuid::Uuid;

use crate::sightings::Reader;
use crate::{During, FencedTx, Store, StoreError};

/// One address on one network: one nonce sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneRow {
    pub id: LaneId,
    pub network: Network,
    pub address: Wallet,
    pub next_nonce: i64,
}

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Submits a payment's authorisation.
    Settle,
    /// Sends test money.
    Faucet,
    /// Fills a nonce whose transaction would only revert, so that later ones are not blocked.
    Cancel,
}

impl Purpose {
    pub const ALL: [Self; 3] = [Self::Settle, Self::Faucet, Self::Cancel];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Settle => "settle",
            Self::Faucet => "faucet",
            Self::Cancel => "cancel",
        }
    }
}

/// Where an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxState {
    /// Durable; perhaps sent.
    Intended,
    /// A node has taken the bytes.
    Sent,
    Mined,
    /// Its nonce was used by something else.
    Replaced,
}

impl TxState {
    pub const ALL: [Self; 4] = [Self::Intended, Self::Sent, Self::Mined, Self::Replaced];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Sent => "sent",
            Self::Mined => "mined",
            Self::Replaced => "replaced",
        }
    }
}

/// A signed transaction, before it has a row.
#[derive(Debug, Clone)]
pub struct NewChainTx {
    pub id: ChainTxId,
    pub lane: LaneId,
    pub nonce: i64,
    pub attempt: i32,
    pub purpose: Purpose,
    pub intent: Uuid,
    pub raw: Vec<u8>,
    pub hash: [u8; 32],
    pub max_fee_wei: u128,
    pub priority_fee_wei: u128,
    pub gas_limit: i64,
}

/// An attempt as stored.
#[derive(Debug, Clone)]
pub struct ChainTxRow {
    pub id: ChainTxId,
    pub lane: LaneId,
    pub nonce: i64,
    pub attempt: i32,
    pub purpose: Purpose,
    pub intent: Uuid,
    pub raw: Vec<u8>,
    pub hash: [u8; 32],
    pub max_fee_wei: u128,
    pub priority_fee_wei: u128,
    pub gas_limit: i64,
    pub state: TxState,
    /// Set when mined: false when it reverted.
    pub succeeded: Option<bool>,
    pub block_number: Option<i64>,
    pub created_at: DateTime<Utc>,
    pub sent_at: Option<DateTime<Utc>>,
}

impl ChainTxRow {
    /// It may still be mined.
    pub fn open(&self) -> bool {
        matches!(self.state, TxState::Intended | TxState::Sent)
    }
}

/// The id of a lane follows from what it is, so every node names it alike without asking.
pub fn lane_id(network: Network, address: Wallet) -> LaneId {
    use sha2::{Digest, Sha256};
    let digest: [u8; 32] = Sha256::digest(format!("lane/{network}/{address}")).into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    LaneId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// Makes the lane when it has no row: it begins at `first_nonce`. Answers what is stored.
///
/// # Errors
/// `Db` only.
pub async fn lane_ensure(
    tx: &mut FencedTx,
    network: Network,
    address: Wallet,
    first_nonce: i64,
) -> Result<LaneRow, StoreError> {
    let row = sqlx::query(
        "insert into lanes as l (id, network, address, next_nonce) values ($1, $2, $3, $4)
         on conflict (network, address) do update set next_nonce = l.next_nonce
         returning id, network, address, next_nonce",
    )
    .bind(lane_id(network, address).0)
    .bind(network.as_str())
    .bind(address.to_string())
    .bind(first_nonce)
    .fetch_one(tx.conn())
    .await
    .during("ensure lane")?;
    lane_row(&row)
}

/// Takes the lane's next nonce, or jumps over nonces that something else has used: `next_nonce` goes from
/// `from` to `to`, which is higher.
///
/// # Errors
/// `Stale` when `next_nonce` is not `from`: nothing was taken.
pub async fn lane_advanced(tx: &mut FencedTx, lane: LaneId, from: i64, to: i64) -> Result<(), StoreError> {
    assert!(to > from, "a nonce sequence only rises");
    let done = sqlx::query("update lanes set next_nonce = $3 where id = $1 and next_nonce = $2")
        .bind(lane.0)
        .bind(from)
        .bind(to)
        .execute(tx.conn())
        .await
        .during("advance lane")?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Stale("lane.next_nonce")) }
}

/// Makes signed bytes durable, in state `intended`. Commit before broadcasting them.
///
/// # Errors
/// `Constraint` when the nonce or the intent has this attempt already.
pub async fn chain_tx_insert(
    tx: &mut FencedTx,
    new: &NewChainTx,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into chain_txs (id, lane_id, nonce, attempt, purpose, intent, raw, hash, max_fee_wei,
           priority_fee_wei, gas_limit, state, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9::numeric, $10::numeric, $11, 'intended', $12)",
    )
    .bind(new.id.0)
    .bind(new.lane.0)
    .bind(new.nonce)
    .bind(new.attempt)
    .bind(new.purpose.as_str())
    .bind(new.intent)
    .bind(new.raw.as_slice())
    .bind(new.hash.as_slice())
    .bind(new.max_fee_wei.to_string())
    .bind(new.priority_fee_wei.to_string())
    .bind(new.gas_limit)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("insert chain transaction")?;
    Ok(())
}

/// Records that a node took the bytes; the first time counts. A no-op on an attempt that has ended.
///
/// # Errors
/// `Db` only.
pub async fn chain_tx_sent(tx: &mut FencedTx, id: ChainTxId, now: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query(
        "update chain_txs set state = 'sent', sent_at = coalesce(sent_at, $2)
         where id = $1 and state in ('intended', 'sent')",
    )
    .bind(id.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("mark transaction sent")?;
    Ok(())
}

/// How an attempt was mined.
#[derive(Debug, Clone, Copy)]
pub struct MinedIn {
    pub succeeded: bool,
    pub block_number: i64,
}

/// Records which attempt at a nonce was mined; the others are replaced.
///
/// # Errors
/// `Db` only.
pub async fn chain_tx_mined(tx: &mut FencedTx, mined: &ChainTxRow, how: MinedIn) -> Result<(), StoreError> {
    sqlx::query(
        "update chain_txs set state = case when id = $1 then 'mined' else 'replaced' end,
           succeeded = case when id = $1 then $4 end, block_number = case when id = $1 then $5 end
         where lane_id = $2 and nonce = $3",
    )
    .bind(mined.id.0)
    .bind(mined.lane.0)
    .bind(mined.nonce)
    .bind(how.succeeded)
    .bind(how.block_number)
    .execute(tx.conn())
    .await
    .during("mark transaction mined")?;
    Ok(())
}

/// Records that a nonce was used by a transaction that is none of our attempts.
///
/// # Errors
/// `Db` only.
pub async fn chain_txs_replaced(tx: &mut FencedTx, lane: LaneId, nonce: i64) -> Result<(), StoreError> {
    sqlx::query(
        "update chain_txs set state = 'replaced', succeeded = null, block_number = null
         where lane_id = $1 and nonce = $2",
    )
    .bind(lane.0)
    .bind(nonce)
    .execute(tx.conn())
    .await
    .during("mark transactions replaced")?;
    Ok(())
}

/// Takes mined and replaced attempts at nonces from `from_nonce` on up again: the chain no longer shows those
/// nonces as used, so a reorganisation has dropped them. Answers how many.
///
/// # Errors
/// `Db` only.
pub async fn chain_txs_reopened(tx: &mut FencedTx, lane: LaneId, from_nonce: i64) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "update chain_txs set state = 'sent', succeeded = null, block_number = null
         where lane_id = $1 and nonce >= $2 and state in ('mined', 'replaced')",
    )
    .bind(lane.0)
    .bind(from_nonce)
    .execute(tx.conn())
    .await
    .during("reopen transactions")?;
    Ok(done.rows_affected())
}

macro_rules! select_txs {
    ($tail:literal) => {
        concat!(
            "select id, lane_id, nonce, attempt, purpose, intent, raw, hash, max_fee_wei::text as max_fee_wei,
               priority_fee_wei::text as priority_fee_wei, gas_limit, state, succeeded, block_number,
               created_at, sent_at
             from chain_txs ",
            $tail
        )
    };
}

impl Store {
    /// # Errors
    /// `Db` and `Corrupt` only.
    pub async fn lane_find(&self, id: LaneId) -> Result<Option<LaneRow>, StoreError> {
        let row = sqlx::query("select id, network, address, next_nonce from lanes where id = $1")
            .bind(id.0)
            .fetch_optional(self.pool())
            .await
            .during("find lane")?;
        row.as_ref().map(lane_row).transpose()
    }

    /// Every attempt for an intent, oldest first.
    ///
    /// # Errors
    /// `Db` and `Corrupt` only.
    pub async fn chain_txs_of_intent(&self, intent: Uuid) -> Result<Vec<ChainTxRow>, StoreError> {
        let rows = sqlx::query(select_txs!("where intent = $1 order by attempt"))
            .bind(intent)
            .fetch_all(self.pool())
            .await
            .during("list transactions of an intent")?;
        rows.iter().map(tx_row).collect()
    }

    /// Attempts of a lane that may still be mined, by nonce and attempt.
    ///
    /// # Errors
    /// `Db` and `Corrupt` only.
    pub async fn chain_txs_open(&self, lane: LaneId, limit: i64) -> Result<Vec<ChainTxRow>, StoreError> {
        let rows = sqlx::query(select_txs!(
            "where lane_id = $1 and state in ('intended', 'sent') order by nonce, attempt limit $2"
        ))
        .bind(lane.0)
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .during("list open transactions")?;
        rows.iter().map(tx_row).collect()
    }

    /// The nonces from `from` up to, not including, `to` that no attempt uses.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn lane_gaps(
        &self,
        lane: LaneId,
        from: i64,
        to: i64,
        limit: i64,
    ) -> Result<Vec<i64>, StoreError> {
        let rows = sqlx::query(
            "select n from generate_series($2::bigint, $3::bigint - 1) n
             where not exists (select from chain_txs t where t.lane_id = $1 and t.nonce = n) order by n limit $4",
        )
        .bind(lane.0)
        .bind(from)
        .bind(to)
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .during("list unused nonces")?;
        rows.iter().map(|row| row.try_get(0).during("list unused nonces")).collect()
    }
}

fn lane_row(row: &PgRow) -> Result<LaneRow, StoreError> {
    let read = Reader { row };
    Ok(LaneRow {
        id: LaneId(read.get("id")?),
        network: read.network()?,
        address: read.wallet("address")?,
        next_nonce: read.get("next_nonce")?,
    })
}

fn tx_row(row: &PgRow) -> Result<ChainTxRow, StoreError> {
    let read = Reader { row };
    let (purpose, state): (String, String) = (read.get("purpose")?, read.get("state")?);
    let corrupt = |what: &str| StoreError::Corrupt(format!("chain transaction {what}"));
    let wei = |name: &str| -> Result<u128, StoreError> {
        read.get::<String>(name)?.parse().map_err(|_| corrupt(name))
    };
    Ok(ChainTxRow {
        id: ChainTxId(read.get("id")?),
        lane: LaneId(read.get("lane_id")?),
        nonce: read.get("nonce")?,
        attempt: read.get("attempt")?,
        purpose: Purpose::ALL
            .into_iter()
            .find(|p| p.as_str() == purpose)
            .ok_or_else(|| corrupt("purpose"))?,
        intent: read.get("intent")?,
        raw: read.get("raw")?,
        hash: read.bytes32("hash")?,
        max_fee_wei: wei("max_fee_wei")?,
        priority_fee_wei: wei("priority_fee_wei")?,
        gas_limit: read.get("gas_limit")?,
        state: TxState::ALL.into_iter().find(|s| s.as_str() == state).ok_or_else(|| corrupt("state"))?,
        succeeded: read.get("succeeded")?,
        block_number: read.get("block_number")?,
        created_at: read.get("created_at")?,
        sent_at: read.get("sent_at")?,
    })
}
