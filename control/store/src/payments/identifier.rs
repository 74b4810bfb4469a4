//! Clients' own names for payments: the x402 extension `payment-identifier`.

use chrono::{DateTime, Utc};
use sqlx::Row;
use types::Wallet;

use crate::{During, StoreError, Tx};

/// A payer's name for a payment, and what it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentifierClaim {
    pub payer: Wallet,
    /// 16 to 128 characters.
    pub id: String,
    pub payload_hash: [u8; 32],
}

/// Takes a name for a payload. False when it stands for another one; nothing was written then. Waits for a
/// transaction that takes the same name at the same time, on whichever server (A05).
///
/// # Errors
/// `Db` only.
pub async fn payment_identifier_claim(
    tx: &mut Tx,
    claim: &IdentifierClaim,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    const DURING: &str = "claim a payment identifier";
    sqlx::query(
        "insert into payment_identifiers (payer, id, payload_hash, created_at) values ($1, $2, $3, $4)
         on conflict (payer, id) do nothing",
    )
    .bind(claim.payer.to_string())
    .bind(&claim.id)
    .bind(claim.payload_hash.as_slice())
    .bind(now)
    .execute(tx.conn())
    .await
    .during(DURING)?;
    // A statement of its own, so that it sees what was committed while the insert waited.
    let stored = sqlx::query("select payload_hash from payment_identifiers where payer = $1 and id = $2")
        .bind(claim.payer.to_string())
        .bind(&claim.id)
        .fetch_one(tx.conn())
        .await
        .during(DURING)?;
    let hash: Vec<u8> = stored.try_get(0).during(DURING)?;
    Ok(hash == claim.payload_hash)
}
