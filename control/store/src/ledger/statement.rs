//! What an owner sees of the ledger.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, UsdMicros};

use super::accounts::Currency;
use super::post::Kind;
use crate::{During, Store, StoreError};

/// Which way the money went, as the owner sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Credit,
    Debit,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credit => "credit",
            Self::Debit => "debit",
        }
    }
}

/// One line of a statement.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The transfer.
    pub id: i64,
    pub direction: Direction,
    pub kind: Kind,
    pub reason: String,
    pub currency: Currency,
    /// Always positive.
    pub amount: UsdMicros,
    /// Of the owner's account in this currency, right after this entry.
    pub balance_after_available: UsdMicros,
    pub balance_after_held: UsdMicros,
    pub reference: Option<(String, String)>,
    pub metadata: Value,
    pub created_at: DateTime<Utc>,
}

/// The newest `limit` entries on the owner's accounts, newest first; older than the entry `before`, if given.
///
/// Entries of one account commit in the order of their ids, because each is written under the account's lock: what
/// is posted between two pages comes above both, so walking down by `before` neither skips nor repeats an entry.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn statement(
    store: &Store,
    owner: AccountId,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<Entry>, StoreError> {
    let rows = sqlx::query(
        "select e.* from ledger_accounts a cross join lateral (
           (select t.id, true as credits, t.kind, t.reason, t.currency, t.amount, t.credit_posted_after as
             posted,
              t.credit_held_after as held, t.reference_type, t.reference_id, t.metadata, t.created_at
            from ledger_transfers t where t.credit = a.id and t.kind in ('post', 'capture')
              and t.id < $3
            order by t.id desc limit $2)
           union all
           (select t.id, false, t.kind, t.reason, t.currency, t.amount, t.debit_posted_after,
              t.debit_held_after, t.reference_type, t.reference_id, t.metadata, t.created_at
            from ledger_transfers t where t.debit = a.id and t.id < $3 order by t.id desc limit $2)) e
         where a.owner = $1 order by e.id desc limit $2",
    )
    .bind(owner.0)
    .bind(limit)
    .bind(before.unwrap_or(i64::MAX))
    .fetch_all(store.pool())
    .await
    .during("read statement")?;
    rows.iter().map(read_entry).collect()
}

fn read_entry(row: &PgRow) -> Result<Entry, StoreError> {
    const DURING: &str = "read statement";
    let credits: bool = row.try_get("credits").during(DURING)?;
    let posted: i64 = row.try_get("posted").during(DURING)?;
    let held: i64 = row.try_get("held").during(DURING)?;
    let reference: (Option<String>, Option<String>) =
        (row.try_get("reference_type").during(DURING)?, row.try_get("reference_id").during(DURING)?);
    let kind = Kind::parse(row.try_get("kind").during(DURING)?)?;
    Ok(Entry {
        id: row.try_get("id").during(DURING)?,
        // A void gives back what its hold took.
        direction: if credits || kind == Kind::Void { Direction::Credit } else { Direction::Debit },
        kind,
        reason: row.try_get("reason").during(DURING)?,
        currency: Currency::parse(row.try_get("currency").during(DURING)?)?,
        amount: UsdMicros(row.try_get("amount").during(DURING)?),
        balance_after_available: UsdMicros(posted - held),
        balance_after_held: UsdMicros(held),
        reference: reference.0.zip(reference.1),
        metadata: row.try_get("metadata").during(DURING)?,
        created_at: row.try_get("created_at").during(DURING)?,
    })
}
