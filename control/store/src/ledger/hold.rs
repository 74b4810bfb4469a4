//! What is left of holds.

use std::collections::HashMap;

use sqlx::Row;

use super::accounts::Currency;
use crate::{During, StoreError, Tx};

/// A hold and what is left of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    pub debit: i64,
    pub currency: Currency,
    /// Its amount less what was captured and voided.
    pub remaining: i64,
}

/// Reads holds. Their debit accounts must be locked, so that nobody else captures or voids meanwhile.
///
/// # Errors
/// `Db`, `Corrupt`.
pub(super) async fn holds_read(tx: &mut Tx, ids: &[i64]) -> Result<HashMap<i64, Hold>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows = sqlx::query(
        "select h.id, h.debit, h.currency,
           (h.amount - coalesce((select sum(t.amount) from ledger_transfers t where t.hold_id = h.id),
             0))::bigint
             as remaining
         from ledger_transfers h where h.id = any($1) and h.kind = 'hold'",
    )
    .bind(ids)
    .fetch_all(tx.conn())
    .await
    .during("read holds")?;
    let mut holds = HashMap::with_capacity(rows.len());
    for row in rows {
        let hold = Hold {
            debit: row.try_get("debit").during("read holds")?,
            currency: Currency::parse(row.try_get("currency").during("read holds")?)?,
            remaining: row.try_get("remaining").during("read holds")?,
        };
        holds.insert(row.try_get("id").during("read holds")?, hold);
    }
    Ok(holds)
}
