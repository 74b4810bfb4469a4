//! Reading what the chain showed.

use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{Network, PaymentId, UsdMicros};

use super::{BlockRow, Cursor, Reader, SightingRow};
use crate::payments::{AuthorisationKey, PaymentRow};
use crate::{During, Store, StoreError, Tx};

macro_rules! select_sightings {
    ($tail:literal) => {
        concat!(
            "select s.network, s.block_hash, s.tx_hash, s.log_index, s.block_number, s.asset, s.payer, s.nonce,
               s.pay_to, s.amount_micros, s.block_time, s.canonical, s.turn, s.in_suspense, s.ours
             from sightings s ",
            $tail
        )
    };
}

/// Locks and reads the canonical sighting that pays for a payment: its authorisation, to its payee, of its
/// amount. The same nonce may have been signed twice for different money, so the nonce alone proves nothing.
///
/// # Errors
/// `Db` only.
pub async fn sighting_of_locked(
    tx: &mut Tx,
    payment: &PaymentRow,
) -> Result<Option<SightingRow>, StoreError> {
    let row = sqlx::query(select_sightings!(
        "where s.network = $1 and s.asset = $2 and s.payer = $3 and s.nonce = $4 and s.pay_to = $5
           and s.amount_micros = $6 and s.canonical for share"
    ))
    .bind(payment.key.network.as_str())
    .bind(payment.key.asset.to_string())
    .bind(payment.key.payer.to_string())
    .bind(payment.key.nonce.as_slice())
    .bind(payment.pay_to.to_string())
    .bind(payment.amount.0)
    .fetch_optional(tx.conn())
    .await
    .during("lock sighting")?;
    row.as_ref().map(sighting_row).transpose()
}

impl Store {
    /// # Errors
    /// `Db` and `Corrupt` only.
    pub async fn cursor_find(&self, network: Network) -> Result<Option<Cursor>, StoreError> {
        let row = sqlx::query(
            "select network, first_block, next_block, halted_reason, safe_block, finalized_block
             from chain_cursors where network = $1",
        )
        .bind(network.as_str())
        .fetch_optional(self.pool())
        .await
        .during("find cursor")?;
        row.as_ref()
            .map(|row| {
                let read = Reader { row };
                Ok(Cursor {
                    network: read.network()?,
                    first_block: read.get("first_block")?,
                    next_block: read.get("next_block")?,
                    halted_reason: read.get("halted_reason")?,
                    safe_block: read.get("safe_block")?,
                    finalized_block: read.get("finalized_block")?,
                })
            })
            .transpose()
    }

    /// The stored blocks of a chain, newest first.
    ///
    /// # Errors
    /// `Db` and `Corrupt` only.
    pub async fn blocks_recent(&self, network: Network, limit: i64) -> Result<Vec<BlockRow>, StoreError> {
        let rows = sqlx::query(
            "select number, hash, parent_hash, block_time from chain_blocks where network = $1
             order by number desc limit $2",
        )
        .bind(network.as_str())
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .during("list recent blocks")?;
        rows.iter()
            .map(|row| {
                let read = Reader { row };
                Ok(BlockRow {
                    number: read.get("number")?,
                    hash: read.bytes32("hash")?,
                    parent_hash: read.bytes32("parent_hash")?,
                    time: read.get("block_time")?,
                })
            })
            .collect()
    }

    /// The canonical sighting that pays for a payment; none when an operator gave its money to somebody else.
    ///
    /// # Errors
    /// `Db` and `Corrupt` only.
    pub async fn sighting_of(&self, payment: &PaymentRow) -> Result<Option<SightingRow>, StoreError> {
        let seen = self.sighting_of_authorisation(&payment.key).await?;
        let seen = seen.filter(|s| s.pay_to == payment.pay_to && s.amount == payment.amount);
        match seen {
            // Only what lay in suspense can have been resolved.
            Some(s) if s.in_suspense && self.sighting_resolved(&s).await? => Ok(None),
            seen => Ok(seen),
        }
    }

    /// The canonical sighting of an authorisation, whatever it moved.
    ///
    /// # Errors
    /// `Db` and `Corrupt` only.
    pub async fn sighting_of_authorisation(
        &self,
        key: &AuthorisationKey,
    ) -> Result<Option<SightingRow>, StoreError> {
        let row = sqlx::query(select_sightings!(
            "where s.network = $1 and s.asset = $2 and s.payer = $3 and s.nonce = $4 and s.canonical"
        ))
        .bind(key.network.as_str())
        .bind(key.asset.to_string())
        .bind(key.payer.to_string())
        .bind(key.nonce.as_slice())
        .fetch_optional(self.pool())
        .await
        .during("find sighting")?;
        row.as_ref().map(sighting_row).transpose()
    }

    /// Every canonical sighting of our money in a range of blocks, both ends included. The caller bounds the
    /// range.
    ///
    /// # Errors
    /// `Db` and `Corrupt` only.
    pub async fn sightings_between(
        &self,
        network: Network,
        (from, to): (i64, i64),
    ) -> Result<Vec<SightingRow>, StoreError> {
        let rows = sqlx::query(select_sightings!(
            "where s.network = $1 and s.canonical and s.ours and s.block_number between $2 and $3
             order by s.block_number, s.log_index"
        ))
        .bind(network.as_str())
        .bind(from)
        .bind(to)
        .fetch_all(self.pool())
        .await
        .during("list sightings of a range")?;
        rows.iter().map(sighting_row).collect()
    }

    /// Sightings that left the canonical chain while their money stands on suspense. Not those whose money a
    /// standing credit drew: it came back to us in another block, and other people's money is on suspense. Nor
    /// those that an operator resolved: their money is not there any more.
    ///
    /// # Errors
    /// `Db` and `Corrupt` only.
    pub async fn sightings_to_unsuspend(
        &self,
        network: Network,
        limit: i64,
    ) -> Result<Vec<SightingRow>, StoreError> {
        let rows = sqlx::query(select_sightings!(
            "where s.network = $1 and s.in_suspense and not s.canonical and not exists (
               select from payments p join ledger_transfers t on t.source = 'x402' and t.source_id = p.network
                 || '/' || p.asset || '/' || p.payer || '/0x' || encode(p.nonce, 'hex') || '/#' || p.credits
               where p.network = s.network and p.asset = s.asset and p.payer = s.payer and p.nonce = s.nonce
                 and p.state = 'credited' and t.metadata->>'drawn' = s.network || '/0x'
                   || encode(s.block_hash, 'hex') || '/' || s.log_index || '/#' || s.turn)
               and not exists (select from suspense_resolutions r where r.sighting = s.network || '/0x'
                 || encode(s.block_hash, 'hex') || '/' || s.log_index || '/#' || s.turn)
             limit $2"
        ))
        .bind(network.as_str())
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .during("list sightings to unsuspend")?;
        rows.iter().map(sighting_row).collect()
    }

    /// Payments that a canonical sighting at or below `safe` pays for and that are not credited yet.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn payments_seen_uncredited(
        &self,
        network: Network,
        safe: i64,
        limit: i64,
    ) -> Result<Vec<PaymentId>, StoreError> {
        let rows = sqlx::query(
            "select p.id from payments p join sightings s on s.network = p.network and s.asset = p.asset
               and s.payer = p.payer and s.nonce = p.nonce and s.pay_to = p.pay_to
               and s.amount_micros = p.amount_micros and s.canonical
             where p.network = $1 and p.state in ('verified', 'settling') and s.block_number <= $2 limit $3",
        )
        .bind(network.as_str())
        .bind(safe)
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .during("list seen payments")?;
        rows.iter().map(|row| Ok(PaymentId(row.try_get(0).during("list seen payments")?))).collect()
    }
}

pub(crate) fn sighting_row(row: &PgRow) -> Result<SightingRow, StoreError> {
    let read = Reader { row };
    Ok(SightingRow {
        network: read.network()?,
        block_hash: read.bytes32("block_hash")?,
        tx_hash: read.bytes32("tx_hash")?,
        log_index: read.get("log_index")?,
        block_number: read.get("block_number")?,
        asset: read.wallet("asset")?,
        payer: read.wallet("payer")?,
        nonce: read.bytes32_opt("nonce")?,
        pay_to: read.wallet("pay_to")?,
        amount: UsdMicros(read.get("amount_micros")?),
        block_time: read.get("block_time")?,
        canonical: read.get("canonical")?,
        turn: read.get("turn")?,
        in_suspense: read.get("in_suspense")?,
        ours: read.get("ours")?,
    })
}
