//! Accounts that are known by an e-mail address, and wallets that join an account.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, Wallet};

use crate::{During, Store, StoreError, Tx};

/// An account known by an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmailAccount {
    pub account: AccountId,
    /// As it was written first, in lower case.
    pub email: String,
    /// None until the mailbox has answered.
    pub verified_at: Option<DateTime<Utc>>,
}

/// # Errors
/// `Db` only.
pub async fn account_of_email_find(store: &Store, key: &str) -> Result<Option<EmailAccount>, StoreError> {
    let row = sqlx::query("select account_id, email, verified_at from account_emails where email_key = $1")
        .bind(key)
        .fetch_optional(store.pool())
        .await
        .during("find the account of an e-mail address")?;
    row.map(|row| read(&row)).transpose().during("find the account of an e-mail address")
}

/// The mailbox of an account: its key, and how it is written.
///
/// # Errors
/// `Db` only.
pub async fn mailbox_of_account_find(
    store: &Store,
    account: AccountId,
) -> Result<Option<(String, EmailAccount)>, StoreError> {
    const DURING: &str = "find the mailbox of an account";
    let row = sqlx::query(
        "select email_key, account_id, email, verified_at from account_emails where account_id = $1",
    )
    .bind(account.0)
    .fetch_optional(store.pool())
    .await
    .during(DURING)?;
    row.map(|row| Ok((row.try_get("email_key")?, read(&row)?))).transpose().during(DURING)
}

/// The account of an e-mail address; `fresh` becomes it when there is none yet. Safe to race: all callers get
/// the same one.
///
/// # Errors
/// `Db` only.
pub async fn account_of_email_ensure(
    store: &Store,
    (key, email): (&str, &str),
    fresh: AccountId,
    now: DateTime<Utc>,
) -> Result<EmailAccount, StoreError> {
    if let Some(known) = account_of_email_find(store, key).await? {
        return Ok(known);
    }
    let mut tx = store.begin().await?;
    super::account_insert(&mut tx, fresh, now).await?;
    let made = sqlx::query(
        "insert into account_emails (email_key, email, account_id, created_at) values ($1, $2, $3, $4)
         on conflict (email_key) do nothing",
    )
    .bind(key)
    .bind(email)
    .bind(fresh.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("name an account by e-mail")?;
    if made.rows_affected() == 1 {
        tx.commit().await?;
    } else {
        // Somebody else was first; our account goes with the rollback.
        tx.rollback().await?;
    }
    account_of_email_find(store, key).await?.ok_or(StoreError::Stale("account of e-mail"))
}

/// Who speaks for a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkVoice {
    /// Nobody proved anything.
    Nobody,
    /// The wallet that wants to join.
    Wallet,
    /// A wallet of the account.
    Member(Wallet),
    /// The account's mailbox, asked about this wallet.
    Mailbox,
}

/// What became of a wish to link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linked {
    Yes,
    /// Somebody has still to agree.
    Pending {
        wallet_agreed: bool,
        account_agreed: bool,
    },
    /// The wallet speaks for another account.
    Elsewhere,
}

/// Notes a wish to link a wallet to an account, and links once both sides have agreed. The account agrees by a
/// wallet of its own or by its mailbox; one without wallets agrees to its first, unless its mailbox is verified:
/// then that has to be asked.
///
/// # Errors
/// `NotFound` when there is no such account.
pub async fn wallet_link(
    store: &Store,
    account: AccountId,
    wallet: Wallet,
    voice: LinkVoice,
    now: DateTime<Utc>,
) -> Result<Linked, StoreError> {
    const DURING: &str = "link a wallet";
    let mut tx = store.begin().await?;
    // Two wallets that want to be the first of an account take turns here.
    let locked = sqlx::query("select 1 from accounts where id = $1 for no key update")
        .bind(account.0)
        .fetch_optional(tx.conn())
        .await
        .during(DURING)?;
    locked.ok_or(StoreError::NotFound("account"))?;
    if let Some(owner) = owner_within(&mut tx, wallet).await? {
        tx.rollback().await?;
        return Ok(if owner == account { Linked::Yes } else { Linked::Elsewhere });
    }
    let open = account_agrees(&mut tx, account, voice).await?;
    let row = sqlx::query(
        "insert into wallet_links as l (wallet, account_id, wallet_agreed_at, account_agreed_at, created_at)
         values ($1, $2, case when $3 then $5 end, case when $4 then $5 end, $5)
         on conflict (wallet, account_id) do update set
           wallet_agreed_at = coalesce(l.wallet_agreed_at, excluded.wallet_agreed_at),
           account_agreed_at = coalesce(l.account_agreed_at, excluded.account_agreed_at)
         returning wallet_agreed_at is not null as wallet_agreed, account_agreed_at is not null as account_agreed",
    )
    .bind(wallet.to_string())
    .bind(account.0)
    .bind(voice == LinkVoice::Wallet)
    .bind(open)
    .bind(now)
    .fetch_one(tx.conn())
    .await
    .during(DURING)?;
    let wallet_agreed: bool = row.try_get("wallet_agreed").during(DURING)?;
    let account_agreed: bool = row.try_get("account_agreed").during(DURING)?;
    if !(wallet_agreed && account_agreed) {
        tx.commit().await?;
        return Ok(Linked::Pending { wallet_agreed, account_agreed });
    }
    if !account_wallet_insert(&mut tx, account, wallet, now).await? {
        tx.rollback().await?;
        return Ok(match super::account_of_wallet_find(store, wallet).await? {
            Some(owner) if owner == account => Linked::Yes,
            _ => Linked::Elsewhere,
        });
    }
    // Wishes to join other accounts stay: whoever writes them holds their rows and waits for the wallet's.
    sqlx::query("delete from wallet_links where wallet = $1 and account_id = $2")
        .bind(wallet.to_string())
        .bind(account.0)
        .execute(tx.conn())
        .await
        .during(DURING)?;
    tx.commit().await?;
    Ok(Linked::Yes)
}

/// Whether the account's side agrees now: a member's word, or the wish of the very first wallet to an account
/// whose mailbox nobody has proven.
async fn account_agrees(tx: &mut Tx, account: AccountId, voice: LinkVoice) -> Result<bool, StoreError> {
    const DURING: &str = "ask an account about a link";
    let member = match voice {
        LinkVoice::Nobody => return Ok(false),
        LinkVoice::Mailbox => return Ok(true),
        LinkVoice::Wallet => None,
        LinkVoice::Member(wallet) => Some(wallet.to_string()),
    };
    let row = sqlx::query(
        "select case when $2::text is not null
           then exists (select from account_wallets where account_id = $1 and wallet = $2)
           else not exists (select from account_wallets where account_id = $1)
             and not exists (select from account_emails where account_id = $1 and verified_at is not null)
           end",
    )
    .bind(account.0)
    .bind(member)
    .fetch_one(tx.conn())
    .await
    .during(DURING)?;
    row.try_get(0).during(DURING)
}

async fn owner_within(tx: &mut Tx, wallet: Wallet) -> Result<Option<AccountId>, StoreError> {
    let row = sqlx::query("select account_id from account_wallets where wallet = $1")
        .bind(wallet.to_string())
        .fetch_optional(tx.conn())
        .await
        .during("find the account of a wallet")?;
    row.map(|row| row.try_get(0).map(AccountId)).transpose().during("find the account of a wallet")
}

/// `false` when the wallet speaks for an account already.
pub(crate) async fn account_wallet_insert(
    tx: &mut Tx,
    account: AccountId,
    wallet: Wallet,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "insert into account_wallets (wallet, account_id, linked_at) values ($1, $2, $3) on conflict do
          nothing",
    )
    .bind(wallet.to_string())
    .bind(account.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("link a wallet")?;
    Ok(done.rows_affected() == 1)
}

fn read(row: &PgRow) -> Result<EmailAccount, sqlx::Error> {
    Ok(EmailAccount {
        account: AccountId(row.try_get("account_id")?),
        email: row.try_get("email")?,
        verified_at: row.try_get("verified_at")?,
    })
}
