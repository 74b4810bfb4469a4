//! What one payer has open and has failed with: each of both may cost us gas (A34).

use chrono::{DateTime, Utc};
use sqlx::Row;

use super::AuthorisationKey;
use crate::{During, StoreError, Tx};

/// A payer's payments on one network, without the one asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayerRecord {
    /// The authorisation asked about has a row already: presenting it again costs nothing.
    pub known: bool,
    pub unfinished: i64,
    /// Failed since the time asked about, and when the first of them did.
    pub failed: i64,
    pub failed_first_at: Option<DateTime<Utc>>,
}

/// Counts a payer's payments. Until this transaction ends nobody else can count the same payer's, so that a
/// flood at one instant is counted one by one.
///
/// # Errors
/// `Db` only.
pub async fn payer_record_locked(
    tx: &mut Tx,
    key: &AuthorisationKey,
    failed_since: DateTime<Utc>,
) -> Result<PayerRecord, StoreError> {
    let during = "count a payer's payments";
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('payer/' || $1 || '/' || $2, 0))")
        .bind(key.network.as_str())
        .bind(key.payer.to_string())
        .execute(tx.conn())
        .await
        .during(during)?;
    let row = sqlx::query(
        "select exists (select from payments where network = $1 and payer = $2 and asset = $3 and nonce = $4),
           count(*) filter (where state in ('verified', 'settling')),
           count(*) filter (where state = 'failed'), min(updated_at) filter (where state = 'failed')
         from payments
         where network = $1 and payer = $2 and nonce <> $4
           and (state in ('verified', 'settling') or (state = 'failed' and updated_at > $5))",
    )
    .bind(key.network.as_str())
    .bind(key.payer.to_string())
    .bind(key.asset.to_string())
    .bind(key.nonce.as_slice())
    .bind(failed_since)
    .fetch_one(tx.conn())
    .await
    .during(during)?;
    Ok(PayerRecord {
        known: row.try_get(0).during(during)?,
        unfinished: row.try_get(1).during(during)?,
        failed: row.try_get(2).during(during)?,
        failed_first_at: row.try_get(3).during(during)?,
    })
}
