//! What was bought: append-only, so that the lease at any time can be re-derived from here.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, PaymentId, Tier, UsdMicros};
use uuid::Uuid;

use super::tier;
use crate::ledger::Currency;
use crate::{During, FencedTx, Store, StoreError, Tx};

/// What happened to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PurchaseAction {
    Subscribe,
    Renew,
    Upgrade,
    Downgrade,
    /// Undoes an earlier purchase whose money left the chain again.
    Revoke,
}

impl PurchaseAction {
    pub const ALL: [Self; 5] = [Self::Subscribe, Self::Renew, Self::Upgrade, Self::Downgrade, Self::Revoke];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Renew => "renew",
            Self::Upgrade => "upgrade",
            Self::Downgrade => "downgrade",
            Self::Revoke => "revoke",
        }
    }
}

/// One purchase to append.
#[derive(Debug, Clone)]
pub struct NewPurchase {
    pub account: AccountId,
    pub action: PurchaseAction,
    pub tier: Tier,
    pub previous_tier: Option<Tier>,
    pub price: UsdMicros,
    pub currency: Currency,
    /// The ledger's link of the legs that paid for it.
    pub link: Uuid,
    /// The x402 payment behind it; none when the balance paid.
    pub payment: Option<PaymentId>,
    /// The request that asked for it, when it came with a key of its own.
    pub request_key: Option<String>,
    /// The purchase that a `Revoke` undoes.
    pub revokes: Option<i64>,
    /// The span of time that was bought.
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    /// What the buyer was told.
    pub response: serde_json::Value,
}

/// A purchase as it stands.
#[derive(Debug, Clone)]
pub struct Purchase {
    pub id: i64,
    pub action: PurchaseAction,
    pub tier: Tier,
    pub previous_tier: Option<Tier>,
    pub price: UsdMicros,
    pub currency: Currency,
    pub link: Uuid,
    pub payment: Option<PaymentId>,
    pub revokes: Option<i64>,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    /// When it took effect; rises strictly over an account's purchases.
    pub created_at: DateTime<Utc>,
}

impl NewPurchase {
    /// The purchase as it stands once it is appended under `id`.
    pub fn stored(self, id: i64, at: DateTime<Utc>) -> Purchase {
        Purchase {
            id,
            action: self.action,
            tier: self.tier,
            previous_tier: self.previous_tier,
            price: self.price,
            currency: self.currency,
            link: self.link,
            payment: self.payment,
            revokes: self.revokes,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            created_at: at,
        }
    }
}

/// Appends a purchase that took effect `at`. One that is given back after a reorganisation keeps its first
/// `at`, and so its place among the others.
///
/// # Errors
/// `Constraint("purchases_link_key")` and kin when the same purchase is appended twice.
pub async fn purchase_append(
    tx: &mut FencedTx,
    purchase: &NewPurchase,
    at: DateTime<Utc>,
) -> Result<i64, StoreError> {
    let row = sqlx::query(
        "insert into purchases (account_id, action, tier, previous_tier, price_micros, currency, link,
          payment_id,
           request_key, revokes, starts_at, ends_at, response, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) returning id",
    )
    .bind(purchase.account.0)
    .bind(purchase.action.as_str())
    .bind(purchase.tier.as_str())
    .bind(purchase.previous_tier.map(Tier::as_str))
    .bind(purchase.price.0)
    .bind(purchase.currency.as_str())
    .bind(purchase.link)
    .bind(purchase.payment.map(|p| p.0))
    .bind(purchase.request_key.as_deref())
    .bind(purchase.revokes)
    .bind(purchase.starts_at)
    .bind(purchase.ends_at)
    .bind(&purchase.response)
    .bind(at)
    .fetch_one(tx.conn())
    .await
    .during("append purchase")?;
    row.try_get(0).during("append purchase")
}

/// The answer that a purchase with this key was given before, if there was one.
///
/// # Errors
/// `Db` only.
pub async fn purchase_answer_find(
    store: &Store,
    account: AccountId,
    request_key: &str,
) -> Result<Option<(Tier, serde_json::Value)>, StoreError> {
    let row = sqlx::query("select tier, response from purchases where account_id = $1 and request_key = $2")
        .bind(account.0)
        .bind(request_key)
        .fetch_optional(store.pool())
        .await
        .during("find purchase")?;
    let Some(row) = row else { return Ok(None) };
    let response = row.try_get("response").during("find purchase")?;
    Ok(Some((tier(&row, "tier")?, response)))
}

/// Every purchase of an account that was not undone, oldest first: the lease is what they amount to.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn purchases_live(store: &Store, account: AccountId) -> Result<Vec<Purchase>, StoreError> {
    let rows = sqlx::query(
        "select p.* from purchases p
         where p.account_id = $1 and p.action <> 'revoke'
           and not exists (select from purchases r where r.revokes = p.id)
         order by p.created_at, p.id",
    )
    .bind(account.0)
    .fetch_all(store.pool())
    .await
    .during("list purchases")?;
    rows.iter().map(read_purchase).collect()
}

/// Everything that a payment bought, and what undid it, oldest first.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn purchases_of_payment(tx: &mut Tx, payment: PaymentId) -> Result<Vec<Purchase>, StoreError> {
    let rows = sqlx::query("select * from purchases where payment_id = $1 order by id")
        .bind(payment.0)
        .fetch_all(tx.conn())
        .await
        .during("list purchases of a payment")?;
    rows.iter().map(read_purchase).collect()
}

/// The purchase that a journal paid for, and what its buyer was told.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn purchase_of_link(
    tx: &mut Tx,
    link: Uuid,
) -> Result<Option<(Purchase, serde_json::Value)>, StoreError> {
    let row = sqlx::query("select * from purchases where link = $1")
        .bind(link)
        .fetch_optional(tx.conn())
        .await
        .during("find the purchase of a journal")?;
    let Some(row) = row else { return Ok(None) };
    let response = row.try_get("response").during("find the purchase of a journal")?;
    Ok(Some((read_purchase(&row)?, response)))
}

/// What an account was refunded for unused time in all, by currency: what its purchases deserve, if the books
/// are right.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn refunds_of_account(
    store: &Store,
    account: AccountId,
) -> Result<Vec<(Currency, UsdMicros)>, StoreError> {
    const DURING: &str = "sum refunds";
    let rows = sqlx::query(
        "select a.currency, sum(case when t.credit = a.id then t.amount else -t.amount end)::bigint as
          refunded
         from ledger_accounts a join ledger_transfers t on (t.credit = a.id or t.debit = a.id)
         where a.owner = $1 and t.source = 'refund' group by a.currency",
    )
    .bind(account.0)
    .fetch_all(store.pool())
    .await
    .during(DURING)?;
    rows.into_iter()
        .map(|row| {
            let currency = Currency::parse(row.try_get("currency").during(DURING)?)?;
            Ok((currency, UsdMicros(row.try_get("refunded").during(DURING)?)))
        })
        .collect()
}

fn read_purchase(row: &PgRow) -> Result<Purchase, StoreError> {
    const DURING: &str = "read purchase";
    let action: String = row.try_get("action").during(DURING)?;
    let action = PurchaseAction::ALL.into_iter().find(|a| a.as_str() == action);
    let previous: Option<String> = row.try_get("previous_tier").during(DURING)?;
    Ok(Purchase {
        id: row.try_get("id").during(DURING)?,
        action: action.ok_or_else(|| StoreError::Corrupt("action of a purchase".into()))?,
        tier: tier(row, "tier")?,
        previous_tier: previous.map(|_| tier(row, "previous_tier")).transpose()?,
        price: UsdMicros(row.try_get("price_micros").during(DURING)?),
        currency: Currency::parse(row.try_get("currency").during(DURING)?)?,
        link: row.try_get("link").during(DURING)?,
        payment: row.try_get::<Option<Uuid>, _>("payment_id").during(DURING)?.map(PaymentId),
        revokes: row.try_get("revokes").during(DURING)?,
        starts_at: row.try_get("starts_at").during(DURING)?,
        ends_at: row.try_get("ends_at").during(DURING)?,
        created_at: row.try_get("created_at").during(DURING)?,
    })
}
