//! Recharging e-mail credits: the wish, the saved card, and the one charge under way.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, CheckoutId};
use uuid::Uuid;

use crate::account_mail::{Letter, letter_append};
use crate::cards::{NewCheckout, checkout_insert};
use crate::{During, Store, StoreError, Tx};

/// # Source
/// Wire contract 01 section 9.8.
const THRESHOLD_DEFAULT: i64 = 2_000;
/// Failures in a row that switch it off.
const FAILURES_MAX: i32 = 3;
/// The rest after the first failure; it doubles.
const REST_HOURS: i64 = 1;

/// The wish of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recharge {
    pub enabled: bool,
    /// In e-mail credits: fewer than this are recharged.
    pub threshold: i64,
    /// In a row.
    pub failures: i32,
}

impl Default for Recharge {
    fn default() -> Self {
        Self { enabled: false, threshold: THRESHOLD_DEFAULT, failures: 0 }
    }
}

/// A charge that is to be made, or was begun before.
#[derive(Debug, Clone)]
pub struct RechargeDue {
    pub account: AccountId,
    pub customer: String,
    pub payment_method: String,
    /// The charge under way, and since when: it is made under its own name until its end is known.
    pub running: Option<(CheckoutId, DateTime<Utc>)>,
}

/// # Errors
/// `Db` only.
pub async fn recharge_find(store: &Store, account: AccountId) -> Result<Option<Recharge>, StoreError> {
    let row = sqlx::query("select enabled, threshold, failures from email_recharges where account_id = $1")
        .bind(account.0)
        .fetch_optional(store.pool())
        .await
        .during("find a recharge")?;
    row.map(|row| read(&row)).transpose().during("find a recharge")
}

/// Stores the wish; none when it is switched on without a saved card, and then nothing was written.
///
/// # Errors
/// `NotFound` when there is no such account.
pub async fn recharge_set(
    store: &Store,
    account: AccountId,
    (enabled, threshold): (bool, Option<i64>),
    now: DateTime<Utc>,
) -> Result<Option<Recharge>, StoreError> {
    const DURING: &str = "store a recharge";
    crate::accounts::account_find(store, account).await?.ok_or(StoreError::NotFound("account"))?;
    let row = sqlx::query(
        "insert into email_recharges as r (account_id, enabled, threshold, not_before, updated_at)
         select $1, $2, coalesce($3, $4), $5, $5 where not $2
           or exists (select from email_recharges where account_id = $1 and payment_method is not null)
         on conflict (account_id) do update set enabled = excluded.enabled,
           threshold = coalesce($3, r.threshold), failures = 0, not_before = $5, updated_at = $5
         returning enabled, threshold, failures",
    )
    .bind(account.0)
    .bind(enabled)
    .bind(threshold)
    .bind(THRESHOLD_DEFAULT)
    .bind(now)
    .fetch_optional(store.pool())
    .await
    .during(DURING)?;
    row.map(|row| read(&row)).transpose().during(DURING)
}

/// The payment behind the newest e-mail pack that an account bought in person, when no card is saved yet.
///
/// # Errors
/// `Db` only.
pub async fn recharge_card_wanted(store: &Store, account: AccountId) -> Result<Option<String>, StoreError> {
    const DURING: &str = "find a payment with a card to keep";
    let row = sqlx::query(
        "select payment_intent from card_checkouts where account_id = $1 and product = 'email_pack'
           and paid_at is not null and payment_intent is not null and not off_session
           and not exists (select from email_recharges r
             where r.account_id = $1 and r.payment_method is not null)
         order by paid_at desc limit 1",
    )
    .bind(account.0)
    .fetch_optional(store.pool())
    .await
    .during(DURING)?;
    row.map(|row| row.try_get(0)).transpose().during(DURING)
}

/// Keeps a card for an account.
///
/// # Errors
/// `Db` only.
pub async fn recharge_card_save(
    store: &Store,
    account: AccountId,
    (customer, payment_method): (&str, &str),
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into email_recharges (account_id, enabled, threshold, customer, payment_method, not_before,
           updated_at)
         values ($1, false, $2, $3, $4, $5, $5)
         on conflict (account_id) do update set customer = excluded.customer,
           payment_method = excluded.payment_method, updated_at = excluded.updated_at",
    )
    .bind(account.0)
    .bind(THRESHOLD_DEFAULT)
    .bind(customer)
    .bind(payment_method)
    .bind(now)
    .execute(store.pool())
    .await
    .during("keep a card")?;
    Ok(())
}

/// Charges to make or to go on with. An account whose last charge is not in the books yet is left alone: its
/// credits are still few only because of that.
///
/// # Errors
/// `Db` only.
pub async fn recharges_due(
    store: &Store,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<RechargeDue>, StoreError> {
    const DURING: &str = "list recharges";
    let rows = sqlx::query(
        "select r.account_id, r.customer, r.payment_method, r.running, c.created_at
         from email_recharges r left join card_checkouts c on c.id = r.running
         where r.payment_method is not null and r.customer is not null and (r.running is not null or (
           r.enabled and r.not_before <= $1
           and coalesce((select a.posted - a.held from ledger_accounts a
             where a.owner = r.account_id and a.kind = 'email_credits'), 0) < r.threshold
           and not exists (select from card_checkouts d
             where d.account_id = r.account_id and d.facts_revision > d.posted_revision)
           and not exists (select from accounts o where o.id = r.account_id and o.card_debt_micros > 0)))
         order by r.updated_at limit $2",
    )
    .bind(now)
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .during(DURING)?;
    let due = |row: &PgRow| -> Result<RechargeDue, sqlx::Error> {
        let running: Option<Uuid> = row.try_get("running")?;
        let since: Option<DateTime<Utc>> = row.try_get("created_at")?;
        Ok(RechargeDue {
            account: AccountId(row.try_get("account_id")?),
            customer: row.try_get("customer")?,
            payment_method: row.try_get("payment_method")?,
            running: running.map(CheckoutId).zip(since),
        })
    };
    rows.iter().map(due).collect::<Result<_, _>>().during(DURING)
}

/// Begins a charge; `false` when one is under way already, whoever began it.
///
/// # Errors
/// `Db` only.
pub async fn recharge_begin(
    store: &Store,
    account: AccountId,
    quote: &NewCheckout,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    const DURING: &str = "begin a recharge";
    let mut tx = store.begin().await?;
    // The row's lock and its conditions are one: of two that saw the same few credits, the second finds the
    // first one's charge, or its money that is not in the books yet, or its units.
    let free = sqlx::query(
        "select 1 from email_recharges where account_id = $1 and running is null and enabled for update",
    )
    .bind(account.0)
    .fetch_optional(tx.conn())
    .await
    .during(DURING)?;
    let few = sqlx::query(
        "select 1 from email_recharges r where r.account_id = $1
           and coalesce((select a.posted - a.held from ledger_accounts a
             where a.owner = $1 and a.kind = 'email_credits'), 0) < r.threshold
           and not exists (select from card_checkouts d
             where d.account_id = $1 and d.facts_revision > d.posted_revision)",
    )
    .bind(account.0)
    .fetch_optional(tx.conn())
    .await
    .during(DURING)?;
    if free.is_none() || few.is_none() {
        tx.rollback().await?;
        return Ok(false);
    }
    checkout_insert(&mut tx, quote, now).await?;
    sqlx::query("update email_recharges set running = $2, updated_at = $3 where account_id = $1")
        .bind(account.0)
        .bind(quote.id.0)
        .bind(now)
        .execute(tx.conn())
        .await
        .during(DURING)?;
    tx.commit().await?;
    Ok(true)
}

/// How a charge ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RechargeEnd<'a> {
    /// By this payment intent.
    Paid(&'a str),
    /// With what the owner is told when this was one failure too many.
    Failed(&'a Letter),
}

/// Ends a charge and says whether this switched recharging off. Does nothing the second time.
///
/// # Errors
/// `Db` only.
pub async fn recharge_end(
    store: &Store,
    (account, id): (AccountId, CheckoutId),
    end: RechargeEnd<'_>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    const DURING: &str = "end a recharge";
    let mut tx = store.begin().await?;
    let failed = matches!(end, RechargeEnd::Failed(_));
    let row = sqlx::query(
        "update email_recharges set running = null, updated_at = $4,
           failures = case when $3 then failures + 1 else 0 end,
           enabled = enabled and not ($3 and failures + 1 >= $5),
           not_before = case when $3 then $4 + make_interval(hours => ($6 * 2 ^ least(failures, 10))::int)
             else $4 end
         where account_id = $1 and running = $2 returning failures >= $5 and not enabled as off",
    )
    .bind(account.0)
    .bind(id.0)
    .bind(failed)
    .bind(now)
    .bind(FAILURES_MAX)
    .bind(REST_HOURS)
    .fetch_optional(tx.conn())
    .await
    .during(DURING)?;
    let Some(row) = row else { return Ok(false) };
    let off = row.try_get("off").during(DURING)?;
    charge_record(&mut tx, id, end, now).await?;
    if let RechargeEnd::Failed(letter) = end
        && off
    {
        letter_append(&mut tx, letter, now).await?;
    }
    tx.commit().await?;
    Ok(off)
}

async fn charge_record(
    tx: &mut Tx,
    id: CheckoutId,
    end: RechargeEnd<'_>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let query = match end {
        RechargeEnd::Paid(intent) => {
            crate::cards::card_intent_lock(tx, intent).await?;
            sqlx::query(
                "update card_checkouts set payment_intent = $3, paid_at = $2, updated_at = $2,
                   facts_revision = facts_revision + 1 where id = $1 and paid_at is null",
            )
            .bind(id.0)
            .bind(now)
            .bind(intent)
        }
        RechargeEnd::Failed(_) => {
            sqlx::query("update card_checkouts set failed_at = $2, updated_at = $2 where id = $1")
                .bind(id.0)
                .bind(now)
        }
    };
    query.execute(tx.conn()).await.during("note what became of a charge")?;
    Ok(())
}

fn read(row: &PgRow) -> Result<Recharge, sqlx::Error> {
    Ok(Recharge {
        enabled: row.try_get("enabled")?,
        threshold: row.try_get("threshold")?,
        failures: row.try_get("failures")?,
    })
}
