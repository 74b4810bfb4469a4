//! What Stripe said. Each fact is written so that telling it again, or telling an older one later, changes
//! nothing.

use chrono::{DateTime, Utc};
use sqlx::Row;
use types::{AccountId, CheckoutId, UsdMicros};

use super::{Checkout, account_bind, checkout_locked};
use crate::{During, Store, StoreError, Tx};

/// What an event says about a checkout session.
#[derive(Debug, Clone)]
pub struct SessionFact<'a> {
    pub session_id: &'a str,
    pub payment_intent: Option<&'a str>,
    pub paid: bool,
    pub failed: bool,
    pub said_at: DateTime<Utc>,
}

/// A dispute as an event shows it.
#[derive(Debug, Clone)]
pub struct DisputeFact<'a> {
    pub id: &'a str,
    pub payment_intent: &'a str,
    pub amount: UsdMicros,
    pub status: &'a str,
    /// 0 an inquiry that moves no money, 1 money withdrawn, 2 decided.
    pub stage: i16,
    pub said_at: DateTime<Utc>,
}

/// Remembers which session Stripe made for a quote.
///
/// # Errors
/// `Db`; `Constraint` when that session belongs to another quote.
pub async fn card_session_bind(
    store: &Store,
    id: CheckoutId,
    session_id: &str,
    payment_intent: Option<&str>,
) -> Result<(), StoreError> {
    sqlx::query(
        "update card_checkouts set session_id = coalesce(session_id, $2),
           payment_intent = coalesce(payment_intent, $3) where id = $1",
    )
    .bind(id.0)
    .bind(session_id)
    .bind(payment_intent)
    .execute(store.pool())
    .await
    .during("note a session")?;
    Ok(())
}

/// Notes what an event says about a session, and binds a paid checkout to its account. `Err(why)` within `Ok`
/// when the event cannot be believed: nothing was written.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn card_session_record(
    tx: &mut Tx,
    checkout: &Checkout,
    fact: &SessionFact<'_>,
    fresh: AccountId,
    now: DateTime<Utc>,
) -> Result<Result<(), &'static str>, StoreError> {
    if checkout.session_id.as_deref().is_some_and(|known| known != fact.session_id) {
        return Ok(Err("another session than the one that was made for this quote"));
    }
    let known = checkout.payment_intent.as_deref();
    if known.is_some() && fact.payment_intent.is_some() && known != fact.payment_intent {
        return Ok(Err("another payment intent than before"));
    }
    if fact.paid {
        account_bind(tx, checkout, fresh, now).await?;
    }
    sqlx::query(
        "update card_checkouts set session_id = coalesce(session_id, $2),
           payment_intent = coalesce(payment_intent, $3),
           paid_at = case when $4 then least(coalesce(paid_at, $6), $6) else paid_at end,
           failed_at = case when $5 then least(coalesce(failed_at, $6), $6) else failed_at end,
           facts_revision = facts_revision + case when $4 or paid_at is not null then 1 else 0 end,
           updated_at = $7
         where id = $1",
    )
    .bind(checkout.id.0)
    .bind(fact.session_id)
    .bind(fact.payment_intent)
    .bind(fact.paid)
    .bind(fact.failed)
    .bind(fact.said_at)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("note what became of a session")?;
    Ok(Ok(()))
}

/// Notes all that was refunded of a payment so far. `false` when it was known.
///
/// # Errors
/// `Db` only.
pub async fn card_refund_record(
    tx: &mut Tx,
    payment_intent: &str,
    refunded: UsdMicros,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "insert into card_charges as c (payment_intent, refunded_micros, updated_at) values ($1, $2, $3)
         on conflict (payment_intent) do update set refunded_micros = excluded.refunded_micros,
           updated_at = excluded.updated_at
         where c.refunded_micros < excluded.refunded_micros",
    )
    .bind(payment_intent)
    .bind(refunded.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("note a refund")?;
    touch(tx, payment_intent, now).await?;
    Ok(done.rows_affected() == 1)
}

/// Notes how a dispute stands, unless a later stage is known. `false` when it was known.
///
/// # Errors
/// `Db` only.
pub async fn card_dispute_record(
    tx: &mut Tx,
    fact: &DisputeFact<'_>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "insert into card_disputes as d (id, payment_intent, amount_micros, status, stage, said_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (id) do update set amount_micros = excluded.amount_micros, status = excluded.status,
           stage = excluded.stage, said_at = excluded.said_at, updated_at = excluded.updated_at
         where (d.stage, d.said_at, d.status) < (excluded.stage, excluded.said_at, excluded.status)",
    )
    .bind(fact.id)
    .bind(fact.payment_intent)
    .bind(fact.amount.0)
    .bind(fact.status)
    .bind(fact.stage)
    .bind(fact.said_at)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("note a dispute")?;
    touch(tx, fact.payment_intent, now).await?;
    Ok(done.rows_affected() == 1)
}

/// Lets facts about one payment be written one after another: whichever comes second sees the first, so that a
/// refund and the session that it belongs to cannot miss each other.
///
/// # Errors
/// `Db` only.
pub async fn card_intent_lock(tx: &mut Tx, payment_intent: &str) -> Result<(), StoreError> {
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 402))")
        .bind(payment_intent)
        .execute(tx.conn())
        .await
        .during("lock a payment intent")?;
    Ok(())
}

/// Tells the books to look at a paid checkout again. One that is not known by this name yet is looked at when
/// it is.
async fn touch(tx: &mut Tx, payment_intent: &str, now: DateTime<Utc>) -> Result<(), StoreError> {
    sqlx::query(
        "update card_checkouts set facts_revision = facts_revision + 1, updated_at = $2
         where payment_intent = $1 and paid_at is not null",
    )
    .bind(payment_intent)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("note a fact about a checkout")?;
    Ok(())
}

/// What was taken back of a locked checkout by now: refunds, and disputes that are open or lost. May be more
/// than was ever paid.
///
/// # Errors
/// `Db` only.
pub async fn card_withdrawn(tx: &mut Tx, checkout: &Checkout) -> Result<(UsdMicros, UsdMicros), StoreError> {
    const DURING: &str = "sum what was taken back";
    let Some(intent) = &checkout.payment_intent else { return Ok((UsdMicros::ZERO, UsdMicros::ZERO)) };
    let row = sqlx::query(
        "select coalesce((select refunded_micros from card_charges where payment_intent = $1), 0) as refunded,
           coalesce((select sum(amount_micros) from card_disputes
             where payment_intent = $1 and stage > 0 and status <> 'won'), 0)::bigint as disputed",
    )
    .bind(intent)
    .fetch_one(tx.conn())
    .await
    .during(DURING)?;
    Ok((
        UsdMicros(row.try_get("refunded").during(DURING)?),
        UsdMicros(row.try_get("disputed").during(DURING)?),
    ))
}

/// The checkout that an event's session is about, locked: by the session's name, or by ours in it when its
/// answer was lost.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn card_checkout_of_session(
    tx: &mut Tx,
    session_id: &str,
    ours: Option<CheckoutId>,
) -> Result<Option<Checkout>, StoreError> {
    let row = sqlx::query(
        "select id from card_checkouts where session_id = $1 union all
         select id from card_checkouts where id = $2 limit 1",
    )
    .bind(session_id)
    .bind(ours.map(|id| id.0))
    .fetch_optional(tx.conn())
    .await
    .during("find the checkout of a session")?;
    let Some(row) = row else { return Ok(None) };
    let id = CheckoutId(row.try_get(0).during("find the checkout of a session")?);
    checkout_locked(tx, id).await.map(Some)
}
