//! x402 payments: one row per authorisation, moved by compare-and-set.
//!
//! A payment is verified, then settling once signed bytes for it are durable, then credited by the lease
//! actor when a canonical sighting of its authorisation shows that the money is ours. `failed` and `expired`
//! are what the chain has shown; a sighting that appears later all the same (after a reorganisation) takes
//! the payment up again.

mod budget;
mod identifier;
mod read;

use chrono::{DateTime, Utc};
use serde_json::Value;
use types::{AccountId, Network, PaymentId, TraceId, UsdMicros, Wallet};

use crate::sightings::{SightingRow, sighting_of_locked};
use crate::{During, StoreError, Tx};

pub use budget::{PayerRecord, payer_record_locked};
pub use identifier::{IdentifierClaim, payment_identifier_claim};

/// Where a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PaymentState {
    /// Checked and simulated; nothing was sent.
    Verified,
    /// Signed bytes are durable: they may be on their way.
    Settling,
    Credited,
    /// Settled for somebody else: their money, so nothing is booked.
    Settled,
    Failed,
    Expired,
}

impl PaymentState {
    pub const ALL: [Self; 6] =
        [Self::Verified, Self::Settling, Self::Credited, Self::Settled, Self::Failed, Self::Expired];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Settling => "settling",
            Self::Credited => "credited",
            Self::Settled => "settled",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    /// Its outcome is open: a second payment for the same thing must wait for it.
    pub fn unfinished(self) -> bool {
        matches!(self, Self::Verified | Self::Settling)
    }
}

/// What names an authorisation on its chain. The same proof is the same payment (A23).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthorisationKey {
    pub network: Network,
    pub asset: Wallet,
    pub payer: Wallet,
    pub nonce: [u8; 32],
}

impl std::fmt::Display for AuthorisationKey {
    /// `network/asset/payer/0xnonce`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}/0x{}", self.network, self.asset, self.payer, hex::encode(self.nonce))
    }
}

/// A verified payment, before it has a row.
#[derive(Debug, Clone)]
pub struct NewPayment {
    pub id: PaymentId,
    pub key: AuthorisationKey,
    pub pay_to: Wallet,
    pub amount: UsdMicros,
    /// Unix seconds of the chain.
    pub valid_after: i64,
    pub valid_before: i64,
    pub signature: Vec<u8>,
    /// What it was presented for, readable, and hashed for comparison.
    pub request: String,
    pub request_hash: [u8; 32],
    pub product: String,
    pub product_key: String,
    pub account: AccountId,
    pub trace: TraceId,
}

/// A payment as stored.
#[derive(Debug, Clone)]
pub struct PaymentRow {
    pub id: PaymentId,
    pub key: AuthorisationKey,
    pub pay_to: Wallet,
    pub amount: UsdMicros,
    pub valid_after: i64,
    pub valid_before: i64,
    pub signature: Vec<u8>,
    pub request: String,
    pub request_hash: [u8; 32],
    pub product: String,
    pub product_key: String,
    pub account: AccountId,
    pub state: PaymentState,
    pub failure: Option<Failure>,
    /// Where its money was seen when it was credited; never our own transaction's word.
    pub tx_hash: Option<[u8; 32]>,
    pub block_number: Option<i64>,
    pub block_hash: Option<[u8; 32]>,
    /// How often it was credited so far. The next deposit's `source_id` ends in `#<credits + 1>`.
    pub credits: i32,
    pub response: Option<Value>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub credited_at: Option<DateTime<Utc>>,
    pub finalized_at: Option<DateTime<Utc>>,
}

impl PaymentRow {
    /// Presented to our facilitator: it buys nothing from us.
    pub fn facilitated(&self) -> bool {
        self.product == FACILITATION
    }
}

/// The product of payments that we settle for others; its key is their payee.
pub const FACILITATION: &str = "facilitation";

/// Why a payment ended without a credit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// A facilitator's word, such as `insufficient_funds`.
    pub code: String,
    pub message: String,
}

/// A change of state, refused when the row is not in `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move<'a> {
    pub from: PaymentState,
    pub to: PaymentState,
    pub failure: Option<&'a Failure>,
}

/// Inserts a verified payment. False when its authorisation already has a row: read that one (A01, A02).
///
/// # Errors
/// `Db` only.
pub async fn payment_insert(tx: &mut Tx, new: &NewPayment, now: DateTime<Utc>) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "insert into payments (id, network, asset, payer, nonce, pay_to, amount_micros, valid_after, valid_before,
           signature, request, request_hash, product, product_key, account_id, state, trace_id, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 'verified', $16, $17, $17)
         on conflict on constraint payment_once do nothing",
    )
    .bind(new.id.0)
    .bind(new.key.network.as_str())
    .bind(new.key.asset.to_string())
    .bind(new.key.payer.to_string())
    .bind(new.key.nonce.as_slice())
    .bind(new.pay_to.to_string())
    .bind(new.amount.0)
    .bind(new.valid_after)
    .bind(new.valid_before)
    .bind(new.signature.as_slice())
    .bind(&new.request)
    .bind(new.request_hash.as_slice())
    .bind(&new.product)
    .bind(&new.product_key)
    .bind(new.account.0)
    .bind(new.trace.to_string())
    .bind(now)
    .execute(tx.conn())
    .await
    .during("insert payment")?;
    Ok(done.rows_affected() == 1)
}

/// Locks a payment, and with it the canonical sighting that pays for it, if there is one: until this
/// transaction ends the watcher cannot take the sighting away. Call it before anything is posted, to keep the
/// lock order.
///
/// # Errors
/// `NotFound`.
pub async fn payment_locked(tx: &mut Tx, id: PaymentId) -> Result<PaymentRow, StoreError> {
    let row = read::payment_for_update(tx, id).await?;
    sighting_of_locked(tx, &row).await?;
    Ok(row)
}

/// Marks a verified or settling payment as credited, with the answer that every repeat gets, and records
/// where its money was seen. The caller has locked it with [`payment_locked`] and posts its transfers in the
/// same transaction.
///
/// # Errors
/// `Stale` when it is neither verified nor settling, or when no canonical sighting pays for it: nothing was
/// written.
pub async fn payment_credited(
    tx: &mut Tx,
    id: PaymentId,
    response: &Value,
    now: DateTime<Utc>,
) -> Result<SightingRow, StoreError> {
    let row = payment_locked(tx, id).await?;
    let seen = sighting_of_locked(tx, &row).await?.ok_or(StoreError::Stale("payment.sighting"))?;
    let done = sqlx::query(
        "update payments set state = 'credited', response = $2, tx_hash = $3, block_number = $4, block_hash = $5,
           credits = credits + 1, credited_at = $6, updated_at = $6, failure_code = null, failure_message = null
         where id = $1 and state in ('verified', 'settling')",
    )
    .bind(id.0)
    .bind(response)
    .bind(seen.tx_hash.as_slice())
    .bind(seen.block_number)
    .bind(seen.block_hash.as_slice())
    .bind(now)
    .execute(tx.conn())
    .await
    .during("credit payment")?;
    if done.rows_affected() != 1 {
        return Err(StoreError::Stale("payment.state"));
    }
    Ok(seen)
}

/// Marks a verified or settling payment of our facilitator as settled, and records where its money was seen.
/// Books nothing.
///
/// # Errors
/// `Stale` when it is neither verified nor settling, is not the facilitator's, or when no canonical sighting
/// shows its money: nothing was written.
pub async fn payment_settled_for_others(
    tx: &mut Tx,
    id: PaymentId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let row = payment_locked(tx, id).await?;
    let seen = sighting_of_locked(tx, &row).await?.ok_or(StoreError::Stale("payment.sighting"))?;
    let done = sqlx::query(
        "update payments set state = 'settled', tx_hash = $2, block_number = $3, block_hash = $4, updated_at = $5,
           failure_code = null, failure_message = null
         where id = $1 and product = $6 and state in ('verified', 'settling')",
    )
    .bind(id.0)
    .bind(seen.tx_hash.as_slice())
    .bind(seen.block_number)
    .bind(seen.block_hash.as_slice())
    .bind(now)
    .bind(FACILITATION)
    .execute(tx.conn())
    .await
    .during("settle payment for others")?;
    exactly_one(done.rows_affected())
}

/// Takes a credit back after a reorganisation: credited to settling. The transfers that undo it are the
/// caller's, in the same transaction.
///
/// # Errors
/// `Stale` when it is not credited, or its money is canonical after all: nothing was written.
pub async fn payment_uncredited(tx: &mut Tx, id: PaymentId, now: DateTime<Utc>) -> Result<(), StoreError> {
    let row = payment_locked(tx, id).await?;
    if sighting_of_locked(tx, &row).await?.is_some() {
        return Err(StoreError::Stale("payment.sighting"));
    }
    let done = sqlx::query(
        "update payments set state = 'settling', tx_hash = null, block_number = null, block_hash = null,
           updated_at = $2, finalized_at = null
         where id = $1 and state = 'credited'",
    )
    .bind(id.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("uncredit payment")?;
    exactly_one(done.rows_affected())
}

/// Moves a payment by compare-and-set. Never to `credited`: that is [`payment_credited`].
///
/// # Errors
/// `Stale` when it is not in `from`: nothing was written.
pub async fn payment_moved(
    tx: &mut Tx,
    id: PaymentId,
    change: Move<'_>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let by_sighting = matches!(change.to, PaymentState::Credited | PaymentState::Settled);
    assert!(!by_sighting, "only a canonical sighting credits or settles a payment");
    let done = sqlx::query(
        "update payments set state = $3, failure_code = $4, failure_message = $5, updated_at = $6
         where id = $1 and state = $2",
    )
    .bind(id.0)
    .bind(change.from.as_str())
    .bind(change.to.as_str())
    .bind(change.failure.map(|f| f.code.as_str()))
    .bind(change.failure.map(|f| f.message.as_str()))
    .bind(now)
    .execute(tx.conn())
    .await
    .during("move payment")?;
    exactly_one(done.rows_affected())
}

/// Records that the authorisation was mined in another block than the one it was credited from (B01).
/// Idempotent.
///
/// # Errors
/// `Stale` when the payment is neither credited nor settled.
pub async fn payment_moved_block(tx: &mut Tx, id: PaymentId, seen: &SightingRow) -> Result<(), StoreError> {
    let done = sqlx::query(
        "update payments set tx_hash = $2, block_number = $3, block_hash = $4
         where id = $1 and state in ('credited', 'settled')",
    )
    .bind(id.0)
    .bind(seen.tx_hash.as_slice())
    .bind(seen.block_number)
    .bind(seen.block_hash.as_slice())
    .execute(tx.conn())
    .await
    .during("move payment to its new block")?;
    exactly_one(done.rows_affected())
}

/// Records that the credit's block is final and its exposure has been released. Idempotent.
///
/// # Errors
/// `Stale` when the payment is not credited.
pub async fn payment_finalized(tx: &mut Tx, id: PaymentId, now: DateTime<Utc>) -> Result<(), StoreError> {
    let done = sqlx::query(
        "update payments set finalized_at = coalesce(finalized_at, $2) where id = $1 and state = 'credited'",
    )
    .bind(id.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("finalize payment")?;
    exactly_one(done.rows_affected())
}

fn exactly_one(rows: u64) -> Result<(), StoreError> {
    if rows == 1 { Ok(()) } else { Err(StoreError::Stale("payment.state")) }
}
