//! Mail to the mailboxes of billing accounts, and what those mailboxes are asked to confirm.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, LifecycleStep, Wallet};
use uuid::Uuid;

use crate::lifecycle::step_of_word;
use crate::{During, Store, StoreError, Tx};

/// A mail that waits to be delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountMail {
    pub id: Uuid,
    pub account: AccountId,
    pub recipient: String,
    pub template: String,
    pub subject: String,
    pub body: String,
    pub created_at: DateTime<Utc>,
}

/// What an owner is told, wherever its mailbox is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub id: Uuid,
    pub account: AccountId,
    pub template: String,
    pub subject: String,
    pub body: String,
}

/// A step of a lease that its owner is to be told about.
#[derive(Debug, Clone, PartialEq)]
pub struct WaitingNotice {
    pub id: i64,
    pub account: AccountId,
    pub step: LifecycleStep,
    pub facts: Value,
}

/// A question to a mailbox.
#[derive(Debug, Clone)]
pub struct NewConfirmation {
    pub token_hash: [u8; 32],
    pub email_key: String,
    /// The wallet that wants to join; None asks only whether the mailbox is the account's.
    pub wallet: Option<Wallet>,
    pub mail: AccountMail,
}

/// What came of asking a mailbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Mailed,
    /// The same question was mailed a moment ago and is still open.
    Waiting,
    /// This mailbox got as many questions as it may in a day.
    Limited,
}

/// A question that may still be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenConfirmation {
    pub account: AccountId,
    pub email: String,
    pub wallet: Option<Wallet>,
}

/// How long the same question is not mailed again.
const AGAIN_AFTER: TimeDelta = TimeDelta::minutes(10);
/// Questions that one mailbox gets in a day: anybody may name its address.
const PER_DAY_MAX: i64 = 10;
/// How long a mailed question can be answered.
const ANSWER_WITHIN: TimeDelta = TimeDelta::hours(24);

/// Writes a mail; delivery finds it.
async fn account_mail_append(tx: &mut Tx, mail: &AccountMail) -> Result<(), StoreError> {
    sqlx::query(
        "insert into account_mail (id, account_id, recipient, template, subject, body, created_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(mail.id)
    .bind(mail.account.0)
    .bind(&mail.recipient)
    .bind(&mail.template)
    .bind(&mail.subject)
    .bind(&mail.body)
    .bind(mail.created_at)
    .execute(tx.conn())
    .await
    .during("write an account's mail")?;
    Ok(())
}

/// Writes a letter as mail to the account's mailbox. False when it has none that has answered: nothing was
/// written. The same id again changes nothing.
///
/// # Errors
/// `Db` only.
pub async fn letter_append(tx: &mut Tx, letter: &Letter, now: DateTime<Utc>) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "insert into account_mail (id, account_id, recipient, template, subject, body, created_at)
         select $1, account_id, email, $3, $4, $5, $6 from account_emails
         where account_id = $2 and verified_at is not null
         on conflict (id) do nothing",
    )
    .bind(letter.id)
    .bind(letter.account.0)
    .bind(&letter.template)
    .bind(&letter.subject)
    .bind(&letter.body)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("write a letter")?;
    Ok(done.rows_affected() == 1)
}

/// Mail that is not delivered yet, oldest first.
///
/// # Errors
/// `Db` only.
pub async fn account_mail_waiting(store: &Store, rows_max: i64) -> Result<Vec<AccountMail>, StoreError> {
    const DURING: &str = "list accounts' mail";
    let rows = sqlx::query(
        "select id, account_id, recipient, template, subject, body, created_at from account_mail
         order by created_at limit $1",
    )
    .bind(rows_max)
    .fetch_all(store.pool())
    .await
    .during(DURING)?;
    let read = |row: &PgRow| {
        Ok(AccountMail {
            id: row.try_get("id")?,
            account: AccountId(row.try_get("account_id")?),
            recipient: row.try_get("recipient")?,
            template: row.try_get("template")?,
            subject: row.try_get("subject")?,
            body: row.try_get("body")?,
            created_at: row.try_get("created_at")?,
        })
    };
    rows.iter().map(read).collect::<Result<_, sqlx::Error>>().during(DURING)
}

/// Forgets a mail that was delivered. Idempotent.
///
/// # Errors
/// `Db` only.
pub async fn account_mail_done(store: &Store, id: Uuid) -> Result<(), StoreError> {
    sqlx::query("delete from account_mail where id = $1")
        .bind(id)
        .execute(store.pool())
        .await
        .during("forget a delivered mail")?;
    Ok(())
}

/// Notices that nobody has taken yet, locked until this transaction ends; those of another's are skipped.
///
/// # Errors
/// `Db` and `Corrupt` only.
pub async fn notices_take(tx: &mut Tx, rows_max: i64) -> Result<Vec<WaitingNotice>, StoreError> {
    const DURING: &str = "take notices";
    let rows = sqlx::query(
        "select id, account_id, step, facts from notices where delivered_at is null and unreachable_at is null
         order by id limit $1 for update skip locked",
    )
    .bind(rows_max)
    .fetch_all(tx.conn())
    .await
    .during(DURING)?;
    let read = |row: &PgRow| {
        let step: String = row.try_get("step").during(DURING)?;
        Ok(WaitingNotice {
            id: row.try_get("id").during(DURING)?,
            account: AccountId(row.try_get("account_id").during(DURING)?),
            step: step_of_word(&step)?,
            facts: row.try_get("facts").during(DURING)?,
        })
    };
    rows.iter().map(read).collect()
}

/// Notes what became of notices that were taken: `(id, whether it was written as mail)`.
///
/// # Errors
/// `Db` only.
pub async fn notices_done(tx: &mut Tx, done: &[(i64, bool)], now: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query(
        "update notices n set delivered_at = case when d.mailed then $3 end,
           unreachable_at = case when not d.mailed then $3 end
         from unnest($1::bigint[], $2::boolean[]) as d (id, mailed) where n.id = d.id",
    )
    .bind(done.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(done.iter().map(|(_, mailed)| *mailed).collect::<Vec<_>>())
    .bind(now)
    .execute(tx.conn())
    .await
    .during("note notices")?;
    Ok(())
}

/// Writes a question and its mail, unless the mailbox has the same one already or has enough of them.
///
/// # Errors
/// `NotFound` when no account has that mailbox.
pub async fn confirmation_ask(
    store: &Store,
    new: &NewConfirmation,
    now: DateTime<Utc>,
) -> Result<Asked, StoreError> {
    const DURING: &str = "ask a mailbox";
    let mut tx = store.begin().await?;
    // Those who ask at once take turns here.
    let known = sqlx::query("select 1 from account_emails where email_key = $1 for no key update")
        .bind(&new.email_key)
        .fetch_optional(tx.conn())
        .await
        .during(DURING)?;
    known.ok_or(StoreError::NotFound("mailbox"))?;
    let wallet = new.wallet.map(|wallet| wallet.to_string());
    let asked = sqlx::query(
        "select count(*) as today,
           count(*) filter (where created_at > $3 and used_at is null and wallet is not distinct from $2) as same
         from account_confirmations where email_key = $1 and created_at > $4",
    )
    .bind(&new.email_key)
    .bind(&wallet)
    .bind(now - AGAIN_AFTER)
    .bind(now - TimeDelta::days(1))
    .fetch_one(tx.conn())
    .await
    .during(DURING)?;
    let (today, same): (i64, i64) =
        (asked.try_get("today").during(DURING)?, asked.try_get("same").during(DURING)?);
    if same > 0 || today >= PER_DAY_MAX {
        tx.rollback().await?;
        return Ok(if same > 0 { Asked::Waiting } else { Asked::Limited });
    }
    sqlx::query(
        "insert into account_confirmations (token_hash, email_key, wallet, created_at, expires_at)
         values ($1, $2, $3, $4, $5)",
    )
    .bind(new.token_hash.as_slice())
    .bind(&new.email_key)
    .bind(&wallet)
    .bind(now)
    .bind(now + ANSWER_WITHIN)
    .execute(tx.conn())
    .await
    .during(DURING)?;
    account_mail_append(&mut tx, &new.mail).await?;
    tx.commit().await?;
    Ok(Asked::Mailed)
}

/// The question behind a token; None when it is unknown, over or answered.
///
/// # Errors
/// `Db` and `Corrupt` only.
pub async fn confirmation_open(
    store: &Store,
    token_hash: &[u8; 32],
    now: DateTime<Utc>,
) -> Result<Option<OpenConfirmation>, StoreError> {
    const DURING: &str = "find a mailbox's question";
    let row = sqlx::query(
        "select e.account_id, e.email, c.wallet from account_confirmations c join account_emails e using (email_key)
         where c.token_hash = $1 and c.used_at is null and c.expires_at > $2",
    )
    .bind(token_hash.as_slice())
    .bind(now)
    .fetch_optional(store.pool())
    .await
    .during(DURING)?;
    let Some(row) = row else { return Ok(None) };
    let wallet: Option<String> = row.try_get("wallet").during(DURING)?;
    let wallet = wallet.map(|text| text.parse::<Wallet>()).transpose();
    Ok(Some(OpenConfirmation {
        account: AccountId(row.try_get("account_id").during(DURING)?),
        email: row.try_get("email").during(DURING)?,
        wallet: wallet.map_err(|_| StoreError::Corrupt("account_confirmations.wallet".to_owned()))?,
    }))
}

/// Takes the answer: the mailbox has read its mail, so it is the account's. What the question was about is done
/// before, so that a death in between leaves the token good for the same once more. False when somebody else
/// was first.
///
/// # Errors
/// `Db` only.
pub async fn confirmation_answered(
    store: &Store,
    token_hash: &[u8; 32],
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "with answered as (
           update account_confirmations set used_at = $2 where token_hash = $1 and used_at is null returning email_key)
         update account_emails set verified_at = coalesce(verified_at, $2)
         where email_key in (select email_key from answered)",
    )
    .bind(token_hash.as_slice())
    .bind(now)
    .execute(store.pool())
    .await
    .during("take a mailbox's answer")?;
    Ok(done.rows_affected() == 1)
}

/// Forgets questions that nobody can answer any more and that count for no day. Answers how many.
///
/// # Errors
/// `Db` only.
pub async fn confirmations_expire(
    store: &Store,
    now: DateTime<Utc>,
    rows_max: i64,
) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "delete from account_confirmations where token_hash in (
           select token_hash from account_confirmations where expires_at < $1 order by expires_at limit $2)",
    )
    .bind(now)
    .bind(rows_max)
    .execute(store.pool())
    .await
    .during("forget old questions")?;
    Ok(done.rows_affected())
}
