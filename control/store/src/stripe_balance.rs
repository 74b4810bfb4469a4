//! Stripe's balance transactions, beside what our books say of the same payments.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{CheckoutId, UsdMicros};

use crate::{During, Store, StoreError};

/// One balance transaction about a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceLine {
    pub id: String,
    pub payment_intent: String,
    /// Our quote, where the payment carries its name.
    pub checkout: Option<CheckoutId>,
    /// Before fees; negative when money was taken back.
    pub amount: UsdMicros,
    pub said_at: DateTime<Utc>,
}

/// A payment of ours of which Stripe's books and ours say different things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BalanceDifference {
    pub payment_intent: String,
    pub checkout: CheckoutId,
    pub at_stripe: UsdMicros,
    pub in_books: UsdMicros,
}

/// From when Stripe's balance is to be read; `first` when it never was.
///
/// # Errors
/// `Db` only.
pub async fn balance_read_from(store: &Store, first: DateTime<Utc>) -> Result<DateTime<Utc>, StoreError> {
    const DURING: &str = "find the balance's place";
    let row = sqlx::query("select balance_read_until from stripe_cursor")
        .fetch_optional(store.pool())
        .await
        .during(DURING)?;
    let known: Option<Option<DateTime<Utc>>> = row.map(|row| row.try_get(0)).transpose().during(DURING)?;
    Ok(known.flatten().unwrap_or(first))
}

/// Stores what was read and moves the place forward, in one commit. A line that is known stays as it is.
///
/// # Errors
/// `Db` only.
pub async fn balance_store(
    store: &Store,
    lines: &[BalanceLine],
    read_until: DateTime<Utc>,
) -> Result<(), StoreError> {
    const DURING: &str = "store Stripe's balance";
    let mut tx = store.begin().await?;
    for line in lines {
        sqlx::query(
            "insert into stripe_balance (id, payment_intent, checkout_id, amount_micros, said_at)
             values ($1, $2, $3, $4, $5) on conflict (id) do nothing",
        )
        .bind(&line.id)
        .bind(&line.payment_intent)
        .bind(line.checkout.map(|id| id.0))
        .bind(line.amount.0)
        .bind(line.said_at)
        .execute(tx.conn())
        .await
        .during(DURING)?;
    }
    sqlx::query("update stripe_cursor set balance_read_until = greatest(balance_read_until, $1)")
        .bind(read_until)
        .execute(tx.conn())
        .await
        .during(DURING)?;
    tx.commit().await
}

/// Compares payments whose last line is older than `before` and answers those that differ and nobody was told
/// of; marks them as told, and what agrees or is not ours as matched.
///
/// What was heard since `before` and is not in the books yet explains a difference, so nobody is told while an event
/// waits or a payment's facts are to be posted; what waits for longer hides nothing. Nor is anybody told of a charge
/// that is under way: one that does not end is told of where it is made.
///
/// # Errors
/// `Db` only.
pub async fn balance_compare(
    store: &Store,
    before: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<BalanceDifference>, StoreError> {
    const DURING: &str = "compare Stripe's balance";
    let mut tx = store.begin().await?;
    let compared = "with due as (
           select distinct payment_intent from stripe_balance where not matched
         ), said as (
           select b.payment_intent, sum(b.amount_micros)::bigint as at_stripe, max(b.said_at) as last,
             max(b.checkout_id::text)::uuid as named, bool_and(b.alarmed_at is not null) as told
           from stripe_balance b join due using (payment_intent) group by 1
         ), compared as (
           select s.*, coalesce(c.id, s.named) as checkout,
             -- A payment that carries our name and has no quote is one that the database has lost.
             case when c.deposited then c.amount_micros - c.refunded_micros - c.disputed_micros else 0 end
               as in_books,
             coalesce(c.facts_revision > c.posted_revision and c.updated_at >= $1, false) or exists (
               select from email_recharges r where r.running = coalesce(c.id, s.named)) as moves
           from said s left join card_checkouts c
             on c.payment_intent = s.payment_intent or (c.payment_intent is null and c.id = s.named)
         )";
    let matched = format!(
        "{compared} update stripe_balance b set matched = true from compared c
         where b.payment_intent = c.payment_intent and (c.at_stripe = c.in_books or c.checkout is null)
           and c.last < $1"
    );
    sqlx::query(sqlx::AssertSqlSafe(matched)).bind(before).execute(tx.conn()).await.during(DURING)?;
    let differ = format!(
        "{compared} update stripe_balance b set alarmed_at = $2 from compared c
         where b.payment_intent = c.payment_intent and c.at_stripe <> c.in_books and c.checkout is not null
           and c.last < $1 and not c.told and not c.moves
           and not exists (select from stripe_events where state = 'pending' and received_at >= $1)
         returning b.payment_intent, c.checkout, c.at_stripe, c.in_books"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(differ))
        .bind(before)
        .bind(now)
        .fetch_all(tx.conn())
        .await
        .during(DURING)?;
    tx.commit().await?;
    let mut found = rows.iter().map(read).collect::<Result<Vec<_>, _>>().during(DURING)?;
    found.sort_by(|a, b| a.payment_intent.cmp(&b.payment_intent));
    found.dedup();
    Ok(found)
}

fn read(row: &PgRow) -> Result<BalanceDifference, sqlx::Error> {
    Ok(BalanceDifference {
        payment_intent: row.try_get("payment_intent")?,
        checkout: CheckoutId(row.try_get("checkout")?),
        at_stripe: UsdMicros(row.try_get("at_stripe")?),
        in_books: UsdMicros(row.try_get("in_books")?),
    })
}
