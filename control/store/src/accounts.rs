//! Billing accounts, their wallets and leases.

mod emails;
mod purchases;

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, Tier, UsdMicros, Wallet};

use crate::lifecycle::steps_plan;
use crate::stalls::{Stall, stalls_touching};
use crate::{During, FencedTx, Store, StoreError, Tx};

pub(crate) use emails::account_wallet_insert;
pub use emails::{
    EmailAccount, LinkVoice, Linked, account_of_email_ensure, account_of_email_find, mailbox_of_account_find,
    wallet_link,
};
pub use purchases::{
    NewPurchase, Purchase, PurchaseAction, purchase_answer_find, purchase_append, purchase_of_link,
    purchases_live, purchases_of_payment, refunds_of_account,
};

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

/// The account that a wallet speaks for; `fresh` becomes it when there is none yet. Safe to race: all callers
/// get the same one.
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
    account_insert(&mut tx, fresh, now).await?;
    if account_wallet_insert(&mut tx, fresh, wallet, now).await? {
        tx.commit().await?;
        return Ok(fresh);
    }
    // Somebody else was first; our account goes with the rollback.
    tx.rollback().await?;
    account_of_wallet_find(store, wallet).await?.ok_or(StoreError::Stale("account of wallet"))
}

/// Makes an account that nobody speaks for yet.
pub(crate) async fn account_insert(tx: &mut Tx, id: AccountId, now: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query("insert into accounts (id, created_at) values ($1, $2) on conflict do nothing")
        .bind(id.0)
        .bind(now)
        .execute(tx.conn())
        .await
        .during("make an account")?;
    Ok(())
}

/// # Errors
/// `Db` only.
pub async fn account_exists(tx: &mut Tx, id: AccountId) -> Result<bool, StoreError> {
    let row = sqlx::query("select exists (select from accounts where id = $1)")
        .bind(id.0)
        .fetch_one(tx.conn())
        .await;
    row.and_then(|row| row.try_get(0)).during("look for an account")
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

/// Exempts an account from the lease's lifecycle, or ends the exemption. Every project of the account
/// follows.
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

/// The account's lease and pin, and the stalls of chains that may put the lease's end off: what gates need.
///
/// # Errors
/// As `lease_find`.
pub async fn standing_find(store: &Store, account: AccountId) -> Result<Standing, StoreError> {
    let row = sqlx::query(
        "select a.pinned, a.card_debt_micros, l.tier, l.started_at, l.ends_at, coalesce(c.calls, 0) as calls
         from accounts a left join leases l on l.account_id = a.id
         left join account_calls c on c.account_id = a.id where a.id = $1",
    )
    .bind(account.0)
    .fetch_optional(store.pool())
    .await
    .during("find standing")?;
    let Some(row) = row else { return Ok(Standing::default()) };
    let tier: Option<String> = row.try_get("tier").during("find standing")?;
    let lease = tier.map(|_| read_lease(&row)).transpose()?;
    Ok(Standing {
        pinned: row.try_get("pinned").during("find standing")?,
        card_debt: UsdMicros(row.try_get("card_debt_micros").during("find standing")?),
        calls: row.try_get("calls").during("find standing")?,
        lease,
        stalls: match lease {
            Some(lease) => stalls_touching(store, lease.ends_at).await?,
            None => Vec::new(),
        },
    })
}

/// An account's lease, pin, debt and use.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    pub pinned: bool,
    /// Above zero while it owes money that was taken back after it had been spent.
    pub card_debt: UsdMicros,
    /// API calls of this lease, as far as they were flushed.
    pub calls: i64,
    pub lease: Option<Lease>,
    /// Every stall that began before the lease's end and was not long over by then.
    pub stalls: Vec<Stall>,
}

/// Sets the lease row to what the purchases amount to, and plans what falls due as it ages; none removes both.
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
    steps_plan(tx, account, lease.map(|lease| lease.ends_at)).await
}

/// All that the account's projects use together.
///
/// # Errors
/// `Db` only.
pub async fn account_usage(store: &Store, account: AccountId) -> Result<PooledUsage, StoreError> {
    let row = sqlx::query(
        "select count(*) as projects,
           coalesce((select calls from account_calls where account_id = $1), 0) as api_calls,
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

pub(crate) fn tier(row: &PgRow, column: &str) -> Result<Tier, StoreError> {
    let word: String = row.try_get(column).during("read tier")?;
    word.parse().map_err(|_| StoreError::Corrupt(format!("tier {word}")))
}
