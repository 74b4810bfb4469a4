//! Billing accounts, their wallets and leases.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, PaymentId, Tier, UsdMicros, Wallet};
use uuid::Uuid;

use crate::ledger::Currency;
use crate::{During, FencedTx, Store, StoreError, Tx};

/// A billing account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub id: AccountId,
    /// Never leaves `active`, whatever its lease says.
    pub pinned: bool,
    pub created_at: DateTime<Utc>,
}

/// What an account holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Lease {
    pub tier: Tier,
    pub started_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
}

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

/// What all projects of an account use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PooledUsage {
    pub projects: i64,
    pub api_calls: i64,
    /// Content held by the projects, and their databases.
    pub storage_bytes: i64,
}

/// The account that a wallet speaks for, if it was ever seen.
///
/// # Errors
/// `Db` only.
pub async fn account_of_wallet_find(store: &Store, wallet: Wallet) -> Result<Option<AccountId>, StoreError> {
    let row = sqlx::query("select account_id from account_wallets where wallet = $1")
        .bind(wallet.to_string())
        .fetch_optional(store.pool())
        .await
        .during("find the account of a wallet")?;
    row.map(|row| row.try_get(0).map(AccountId)).transpose().during("find the account of a wallet")
}

/// The account that a wallet speaks for; `fresh` becomes it when there is none yet. Safe to race: all callers get
/// the same one.
///
/// # Errors
/// `Db` only.
pub async fn account_of_wallet_ensure(
    store: &Store,
    wallet: Wallet,
    fresh: AccountId,
    now: DateTime<Utc>,
) -> Result<AccountId, StoreError> {
    if let Some(known) = account_of_wallet_find(store, wallet).await? {
        return Ok(known);
    }
    let mut tx = store.begin().await?;
    sqlx::query("insert into accounts (id, created_at) values ($1, $2) on conflict do nothing")
        .bind(fresh.0)
        .bind(now)
        .execute(tx.conn())
        .await
        .during("make an account")?;
    let linked = sqlx::query(
        "insert into account_wallets (wallet, account_id, linked_at) values ($1, $2, $3) on conflict do nothing",
    )
    .bind(wallet.to_string())
    .bind(fresh.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("link a wallet")?;
    if linked.rows_affected() == 1 {
        tx.commit().await?;
        return Ok(fresh);
    }
    // Somebody else was first; our account goes with the rollback.
    tx.rollback().await?;
    account_of_wallet_find(store, wallet).await?.ok_or(StoreError::Stale("account of wallet"))
}

/// # Errors
/// `Db` only.
pub async fn account_find(store: &Store, id: AccountId) -> Result<Option<Account>, StoreError> {
    let row = sqlx::query("select id, pinned, created_at from accounts where id = $1")
        .bind(id.0)
        .fetch_optional(store.pool())
        .await
        .during("find account")?;
    let read = |row: PgRow| -> Result<Account, sqlx::Error> {
        Ok(Account {
            id: AccountId(row.try_get("id")?),
            pinned: row.try_get("pinned")?,
            created_at: row.try_get("created_at")?,
        })
    };
    row.map(read).transpose().during("find account")
}

/// The account's wallets, oldest first.
///
/// # Errors
/// `Db` only.
pub async fn account_wallets(store: &Store, id: AccountId) -> Result<Vec<Wallet>, StoreError> {
    let rows =
        sqlx::query("select wallet from account_wallets where account_id = $1 order by linked_at, wallet")
            .bind(id.0)
            .fetch_all(store.pool())
            .await
            .during("list wallets")?;
    rows.into_iter()
        .map(|row| {
            let text: String = row.try_get(0).during("list wallets")?;
            text.parse().map_err(|_| StoreError::Corrupt(format!("wallet {text}")))
        })
        .collect()
}

/// Exempts an account from the lease's lifecycle, or ends the exemption. Every project of the account follows.
///
/// # Errors
/// `NotFound` when there is no such account.
pub async fn account_pin(tx: &mut Tx, id: AccountId, pinned: Pin) -> Result<(), StoreError> {
    let done = sqlx::query("update accounts set pinned = $2 where id = $1")
        .bind(id.0)
        .bind(pinned == Pin::Set)
        .execute(tx.conn())
        .await
        .during("pin account")?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::NotFound("account")) }
}

/// Whether to pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    Set,
    Clear,
}

/// # Errors
/// `Db`; `Corrupt` for a tier that the code does not know.
pub async fn lease_find(store: &Store, account: AccountId) -> Result<Option<Lease>, StoreError> {
    let row = sqlx::query("select tier, started_at, ends_at from leases where account_id = $1")
        .bind(account.0)
        .fetch_optional(store.pool())
        .await
        .during("find lease")?;
    row.map(|row| read_lease(&row)).transpose()
}

/// Whether the account has a lease and a pin, in one read: what gates need.
///
/// # Errors
/// As `lease_find`.
pub async fn standing_find(store: &Store, account: AccountId) -> Result<Standing, StoreError> {
    let row = sqlx::query(
        "select a.pinned, l.tier, l.started_at, l.ends_at
         from accounts a left join leases l on l.account_id = a.id where a.id = $1",
    )
    .bind(account.0)
    .fetch_optional(store.pool())
    .await
    .during("find standing")?;
    let Some(row) = row else { return Ok(Standing::default()) };
    let tier: Option<String> = row.try_get("tier").during("find standing")?;
    Ok(Standing {
        pinned: row.try_get("pinned").during("find standing")?,
        lease: tier.map(|_| read_lease(&row)).transpose()?,
    })
}

/// An account's lease and pin.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    pub pinned: bool,
    pub lease: Option<Lease>,
}

/// Sets the lease row to what the purchases amount to; none removes it.
///
/// # Errors
/// `Db` only.
pub async fn lease_write(
    tx: &mut FencedTx,
    account: AccountId,
    lease: Option<Lease>,
) -> Result<(), StoreError> {
    let query = match lease {
        Some(lease) => sqlx::query(
            "insert into leases as l (account_id, tier, started_at, ends_at) values ($1, $2, $3, $4)
             on conflict (account_id) do update set tier = excluded.tier, started_at = excluded.started_at,
               ends_at = excluded.ends_at, revision = l.revision + 1",
        )
        .bind(account.0)
        .bind(lease.tier.as_str())
        .bind(lease.started_at)
        .bind(lease.ends_at),
        None => sqlx::query("delete from leases where account_id = $1").bind(account.0),
    };
    query.execute(tx.conn()).await.during("write lease")?;
    Ok(())
}

/// Appends a purchase that took effect `at`. One that is given back after a reorganisation keeps its first `at`, and so
/// its place among the others.
///
/// # Errors
/// `Constraint("purchases_link_key")` and kin when the same purchase is appended twice.
pub async fn purchase_append(
    tx: &mut FencedTx,
    purchase: &NewPurchase,
    at: DateTime<Utc>,
) -> Result<i64, StoreError> {
    let row = sqlx::query(
        "insert into purchases (account_id, action, tier, previous_tier, price_micros, currency, link, payment_id,
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

/// Starts the count of API calls anew for every project of an account: a lease's calls are counted from its start.
///
/// # Errors
/// `Db` only.
pub async fn account_calls_reset(tx: &mut FencedTx, account: AccountId) -> Result<(), StoreError> {
    // Locked in one order, as whoever flushes counts for many projects must do.
    sqlx::query(
        "with mine as (
           select u.project_id from project_usage u join projects p on p.id = u.project_id
           where p.account_id = $1 order by u.project_id for update of u)
         update project_usage u set api_calls = 0 from mine where u.project_id = mine.project_id",
    )
    .bind(account.0)
    .execute(tx.conn())
    .await
    .during("reset call counts")?;
    Ok(())
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
pub async fn purchases_of_payment(store: &Store, payment: PaymentId) -> Result<Vec<Purchase>, StoreError> {
    let rows = sqlx::query("select * from purchases where payment_id = $1 order by id")
        .bind(payment.0)
        .fetch_all(store.pool())
        .await
        .during("list purchases of a payment")?;
    rows.iter().map(read_purchase).collect()
}

/// All that the account's projects use together.
///
/// # Errors
/// `Db` only.
pub async fn account_usage(store: &Store, account: AccountId) -> Result<PooledUsage, StoreError> {
    let row = sqlx::query(
        "select count(*) as projects,
           coalesce(sum(u.api_calls), 0)::bigint as api_calls,
           (coalesce(sum(u.database_bytes), 0) + coalesce(sum(c.bytes), 0))::bigint as storage_bytes
         from projects p
         left join project_usage u on u.project_id = p.id
         left join lateral (
           select sum(o.size_bytes) as bytes from project_content k
           join content_objects o on o.sha256 = k.sha256 where k.project_id = p.id) c on true
         where p.account_id = $1 and p.phase in ('provisioning', 'ready')",
    )
    .bind(account.0)
    .fetch_one(store.pool())
    .await
    .during("sum usage")?;
    let read = |row: &PgRow| -> Result<PooledUsage, sqlx::Error> {
        Ok(PooledUsage {
            projects: row.try_get("projects")?,
            api_calls: row.try_get("api_calls")?,
            storage_bytes: row.try_get("storage_bytes")?,
        })
    };
    read(&row).during("sum usage")
}

/// What an account was refunded for unused time in all, by currency: what its purchases deserve, if the books are right.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn refunds_of_account(
    store: &Store,
    account: AccountId,
) -> Result<Vec<(Currency, UsdMicros)>, StoreError> {
    const DURING: &str = "sum refunds";
    let rows = sqlx::query(
        "select a.currency, sum(case when t.credit = a.id then t.amount else -t.amount end)::bigint as refunded
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

/// Accounts that have a lease or a purchase, in id order after `after`: for audits, page by page.
///
/// # Errors
/// `Db` only.
pub async fn accounts_with_purchases(
    store: &Store,
    after: Option<AccountId>,
    limit: i64,
) -> Result<Vec<AccountId>, StoreError> {
    let rows = sqlx::query(
        "select id from accounts a where ($1::uuid is null or id > $1)
           and (exists (select from leases l where l.account_id = a.id)
             or exists (select from purchases p where p.account_id = a.id))
         order by id limit $2",
    )
    .bind(after.map(|a| a.0))
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .during("list accounts")?;
    rows.into_iter()
        .map(|row| row.try_get(0).map(AccountId))
        .collect::<Result<_, _>>()
        .during("list accounts")
}

fn read_lease(row: &PgRow) -> Result<Lease, StoreError> {
    Ok(Lease {
        tier: tier(row, "tier")?,
        started_at: row.try_get("started_at").during("read lease")?,
        ends_at: row.try_get("ends_at").during("read lease")?,
    })
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

fn tier(row: &PgRow, column: &str) -> Result<Tier, StoreError> {
    let word: String = row.try_get(column).during("read tier")?;
    word.parse().map_err(|_| StoreError::Corrupt(format!("tier {word}")))
}
