//! Money in suspense, and what operators decided about it.
//!
//! A sighting's row belongs to its watcher; here it is only locked, so that a credit of the same money (which
//! locks it too) comes before or after a decision and sees it.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, Network, UsdMicros, Wallet};

use crate::ledger::Currency;
use crate::payments::FACILITATION;
use crate::sightings::{Reader, SightingRow, sighting_row};
use crate::{During, Store, StoreError, Tx};

/// Names one log of one block, and the turn in which it was canonical:
/// `eip155:84532/0x<block hash>/<log index>/#<turn>`. What [`SightingRow::source_id`] writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SightingName {
    pub network: Network,
    pub block_hash: [u8; 32],
    pub log_index: i32,
    pub turn: i32,
}

/// A text that names no sighting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a sighting: expected eip155:N/0x<64 hex digits>/<log>/#<turn>")]
pub struct BadSightingName;

impl FromStr for SightingName {
    type Err = BadSightingName;

    fn from_str(text: &str) -> Result<Self, BadSightingName> {
        let parse = || {
            let mut parts = text.split('/');
            let network = parts.next()?.parse().ok()?;
            let hash = hex::decode(parts.next()?.strip_prefix("0x")?).ok()?;
            let log_index = parts.next()?.parse().ok()?;
            let turn = parts.next()?.strip_prefix('#')?.parse().ok()?;
            let name = Self { network, block_hash: hash.try_into().ok()?, log_index, turn };
            // One spelling per sighting: the text is a key of the ledger.
            (parts.next().is_none() && name.to_string() == text).then_some(name)
        };
        parse().ok_or(BadSightingName)
    }
}

impl std::fmt::Display for SightingName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { network, block_hash, log_index, turn } = self;
        write!(f, "{network}/0x{}/{log_index}/#{turn}", hex::encode(block_hash))
    }
}

/// Money that no payment explained when it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspended {
    pub sighting: SightingRow,
    /// Its block cannot leave the chain any more.
    pub is_final: bool,
    /// A payment was presented for it since: that one is credited, nobody else.
    pub claimed: bool,
}

/// Where an operator sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    Credited {
        account: AccountId,
    },
    /// By a transaction of the operator's own.
    Returned {
        tx_hash: [u8; 32],
    },
}

/// A decision on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The sighting's name.
    pub sighting: String,
    pub decided: Decided,
    pub amount: UsdMicros,
    pub currency: Currency,
    /// At most 500 characters.
    pub note: String,
    pub admin: Wallet,
    pub created_at: DateTime<Utc>,
}

macro_rules! select_suspended {
    ($tail:literal) => {
        concat!(
            "select s.network, s.block_hash, s.tx_hash, s.log_index, s.block_number, s.asset, s.payer, s.nonce,
               s.pay_to, s.amount_micros, s.block_time, s.canonical, s.turn, s.in_suspense, s.ours,
               coalesce(s.block_number <= c.finalized_block and c.halted_reason is null, false) as is_final,
               exists (select from payments p where p.network = s.network and p.asset = s.asset
                 and p.payer = s.payer and p.nonce = s.nonce and p.pay_to = s.pay_to
                 and p.amount_micros = s.amount_micros and p.product <> $1) as claimed
             from sightings s left join chain_cursors c on c.network = s.network ",
            $tail
        )
    };
}

impl Store {
    /// What lies in suspense and is nobody's yet, in the order of chains and blocks, from after a sighting on.
    ///
    /// # Errors
    /// `Db` and `Corrupt` only.
    pub async fn suspense_list(
        &self,
        after: Option<&SightingName>,
        limit: i64,
    ) -> Result<Vec<Suspended>, StoreError> {
        let rows = sqlx::query(select_suspended!(
            "where s.in_suspense and s.canonical
               and not exists (select from suspense_resolutions r where r.sighting = s.network || '/0x'
                 || encode(s.block_hash, 'hex') || '/' || s.log_index || '/#' || s.turn)
               and not exists (select from payments p where p.network = s.network and p.asset = s.asset
                 and p.payer = s.payer and p.nonce = s.nonce and p.pay_to = s.pay_to
                 and p.amount_micros = s.amount_micros and p.state = 'credited')
               and ($2::text is null or (s.network, s.block_number, s.log_index) > (
                 select a.network, a.block_number, a.log_index from sightings a
                 where a.network = $2 and a.block_hash = $3 and a.log_index = $4 limit 1))
             order by s.network, s.block_number, s.log_index limit $5"
        ))
        .bind(FACILITATION)
        .bind(after.map(|a| a.network.as_str()))
        .bind(after.map(|a| a.block_hash.to_vec()))
        .bind(after.map(|a| a.log_index))
        .bind(limit)
        .fetch_all(self.pool())
        .await
        .during("list suspense")?;
        rows.iter().map(suspended_row).collect()
    }

    /// Whether an operator decided about this money.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn sighting_resolved(&self, seen: &SightingRow) -> Result<bool, StoreError> {
        sqlx::query("select exists (select from suspense_resolutions where sighting = $1)")
            .bind(seen.source_id())
            .fetch_one(self.pool())
            .await
            .and_then(|row| row.try_get(0))
            .during("find a resolution")
    }
}

/// Locks a sighting against credits and other decisions, and reads it with what decides about it.
///
/// # Errors
/// `Db` and `Corrupt` only.
pub async fn suspended_locked(tx: &mut Tx, name: &SightingName) -> Result<Option<Suspended>, StoreError> {
    const DURING: &str = "lock a sighting";
    let key = |sql| {
        sqlx::query(sql)
            .bind(FACILITATION)
            .bind(name.network.as_str())
            .bind(name.block_hash.to_vec())
            .bind(name.log_index)
            .bind(name.turn)
    };
    let lock =
        key("select 1 from sightings s where $1::text is not null and s.network = $2 and s.block_hash = $3
           and s.log_index = $4 and s.turn = $5 for update");
    lock.execute(tx.conn()).await.during(DURING)?;
    // A statement of its own: what was committed while we waited for the lock is seen.
    let row = key(select_suspended!(
        "where s.network = $2 and s.block_hash = $3 and s.log_index = $4 and s.turn = $5"
    ));
    let row = row.fetch_optional(tx.conn()).await.during(DURING)?;
    row.as_ref().map(suspended_row).transpose()
}

/// # Errors
/// `Db` and `Corrupt` only.
pub async fn resolution_find(tx: &mut Tx, sighting: &str) -> Result<Option<Resolution>, StoreError> {
    let row = sqlx::query(
        "select sighting, outcome, account_id, returned_tx, amount_micros, currency, note, admin, created_at
         from suspense_resolutions where sighting = $1",
    )
    .bind(sighting)
    .fetch_optional(tx.conn())
    .await
    .during("find a resolution")?;
    row.as_ref().map(resolution_row).transpose()
}

/// Records a decision; its transfer goes into the same transaction.
///
/// # Errors
/// `Constraint` when the sighting is resolved already.
pub async fn resolution_append(tx: &mut Tx, new: &Resolution) -> Result<(), StoreError> {
    let (outcome, account, returned) = match new.decided {
        Decided::Credited { account } => ("credited", Some(account.0), None),
        Decided::Returned { tx_hash } => ("returned", None, Some(tx_hash.to_vec())),
    };
    sqlx::query(
        "insert into suspense_resolutions (sighting, outcome, account_id, returned_tx, amount_micros, currency,
           note, admin, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&new.sighting)
    .bind(outcome)
    .bind(account)
    .bind(returned)
    .bind(new.amount.0)
    .bind(new.currency.as_str())
    .bind(&new.note)
    .bind(new.admin.to_string())
    .bind(new.created_at)
    .execute(tx.conn())
    .await
    .during("record a resolution")?;
    Ok(())
}

fn suspended_row(row: &PgRow) -> Result<Suspended, StoreError> {
    let read = Reader { row };
    Ok(Suspended {
        sighting: sighting_row(row)?,
        is_final: read.get("is_final")?,
        claimed: read.get("claimed")?,
    })
}

fn resolution_row(row: &PgRow) -> Result<Resolution, StoreError> {
    let read = Reader { row };
    let account: Option<uuid::Uuid> = read.get("account_id")?;
    let decided = match (account, read.bytes32_opt("returned_tx")?) {
        (Some(account), None) => Decided::Credited { account: AccountId(account) },
        (None, Some(tx_hash)) => Decided::Returned { tx_hash },
        _ => return Err(StoreError::Corrupt("a resolution with two outcomes or none".into())),
    };
    Ok(Resolution {
        sighting: read.get("sighting")?,
        decided,
        amount: UsdMicros(read.get("amount_micros")?),
        currency: Currency::parse(read.get("currency")?)?,
        note: read.get("note")?,
        admin: read.wallet("admin")?,
        created_at: read.get("created_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sighting_has_one_name() {
        let name = format!("eip155:84532/0x{}/3/#1", "ab".repeat(32));
        assert_eq!(name.parse::<SightingName>().map(|n| n.to_string()), Ok(name.clone()));
        let bad = [
            name.to_uppercase(),
            name.replace("/3/", "/03/"),
            name.replace("#1", "1"),
            format!("{name}/"),
            name.replace("84532", "1"),
            String::new(),
        ];
        assert!(bad.iter().all(|text| text.parse::<SightingName>().is_err()), "{bad:?}");
    }
}
