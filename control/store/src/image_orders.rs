//! Images that were ordered, each with the hold that reserves its price.
//!
//! An order is made in the transaction that places its hold, and ends in the one that captures or voids it. Between
//! them one attempt at a time makes the image: an attempt that is over its time has lost its right to end the order.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, ImageOrderId, PaymentId, ProjectId, UsdMicros, Wallet};

use crate::ledger::Currency;
use crate::payments::Failure;
use crate::sightings::Reader;
use crate::{During, Store, StoreError, Tx};

/// Who asked for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    Wallet(Wallet),
    /// By its service key.
    Project(ProjectId),
}

/// An order, before it has a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewImageOrder {
    pub id: ImageOrderId,
    pub account: AccountId,
    pub asker: Asker,
    pub payment: Option<PaymentId>,
    /// The same request of an account is the same order.
    pub request_key: String,
    /// Of what was asked for.
    pub request_hash: [u8; 32],
    pub price: UsdMicros,
    pub currency: Currency,
}

/// Where an order stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderState {
    /// Its price is held.
    Reserved,
    /// Its price was captured; the PNG is gone a day later.
    Made(Option<Vec<u8>>),
    /// Its hold was voided.
    Failed(Failure),
}

/// An order as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOrder {
    pub of: NewImageOrder,
    /// The hold's transfer.
    pub hold: i64,
    pub state: OrderState,
    /// Attempts so far.
    pub attempt: i32,
    pub attempt_until: DateTime<Utc>,
    pub created_at: DateTime<Utc>,
}

const COLUMNS: &str =
    "id, account_id, wallet, project_id, payment_id, request_key, request_hash, price_micros, currency,
    hold_id, state, attempt, attempt_until, image, failure_code, failure_message, created_at";

/// Whether a request has an order. Until the transaction ends nobody else learns it for the same request: of many at
/// once one orders. It is asked before the hold is placed, because an insert that meets a row under change waits for
/// that change while it keeps the ledger's accounts locked.
///
/// # Errors
/// `Db` only.
pub async fn image_order_taken(
    tx: &mut Tx,
    account: AccountId,
    request_key: &str,
) -> Result<bool, StoreError> {
    const DURING: &str = "look for an image order";
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("image order {account} {request_key}"))
        .execute(tx.conn())
        .await
        .during(DURING)?;
    let row =
        sqlx::query("select exists (select from image_orders where account_id = $1 and request_key = $2)")
            .bind(account.0)
            .bind(request_key)
            .fetch_one(tx.conn())
            .await
            .during(DURING)?;
    row.try_get(0).during(DURING)
}

/// Inserts an order whose hold was posted in this transaction. `until` is when it counts as given up, unless somebody
/// tries to make it.
///
/// # Errors
/// `Constraint` when the request or its payment has an order.
pub async fn image_order_insert(
    tx: &mut Tx,
    new: &NewImageOrder,
    hold: i64,
    (now, until): (DateTime<Utc>, DateTime<Utc>),
) -> Result<(), StoreError> {
    let (wallet, project) = match new.asker {
        Asker::Wallet(wallet) => (Some(wallet.to_string()), None),
        Asker::Project(project) => (None, Some(project.0)),
    };
    sqlx::query(
        "insert into image_orders (id, account_id, wallet, project_id, payment_id, request_key, request_hash,
           price_micros, currency, hold_id, state, attempt_until, created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'reserved', $11, $12, $12)",
    )
    .bind(new.id.0)
    .bind(new.account.0)
    .bind(wallet)
    .bind(project)
    .bind(new.payment.map(|p| p.0))
    .bind(&new.request_key)
    .bind(new.request_hash.as_slice())
    .bind(new.price.0)
    .bind(new.currency.as_str())
    .bind(hold)
    .bind(until)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("order an image")
    .map(drop)
}

/// # Errors
/// `Db`, `Corrupt`.
pub async fn image_order_find(store: &Store, id: ImageOrderId) -> Result<Option<ImageOrder>, StoreError> {
    let sql = format!("select {COLUMNS} from image_orders where id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.0).fetch_optional(store.pool()).await;
    row.during("find an image order")?.as_ref().map(read).transpose()
}

/// The order of a request, if it was made before.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn image_order_of_request(
    store: &Store,
    account: AccountId,
    request_key: &str,
) -> Result<Option<ImageOrder>, StoreError> {
    let sql = format!("select {COLUMNS} from image_orders where account_id = $1 and request_key = $2");
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(account.0).bind(request_key);
    let row = query.fetch_optional(store.pool()).await;
    row.during("find an image order")?.as_ref().map(read).transpose()
}

/// A reserved order of an account for the same thing, newest first: asked again, it is waited for (A09).
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn image_order_open_for(
    store: &Store,
    (account, asker): (AccountId, Asker),
    request_hash: [u8; 32],
) -> Result<Option<ImageOrder>, StoreError> {
    let sql = format!(
        "select {COLUMNS} from image_orders where account_id = $1 and state = 'reserved' and request_hash = $2
         order by created_at desc limit 10"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(account.0).bind(request_hash.as_slice());
    let rows = query.fetch_all(store.pool()).await.during("find an open image order")?;
    let orders = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(orders.into_iter().find(|order| order.of.asker == asker))
}

/// The order that a payment paid for, in the transaction under way.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn image_order_of_payment(
    tx: &mut Tx,
    payment: PaymentId,
) -> Result<Option<ImageOrder>, StoreError> {
    let sql = format!("select {COLUMNS} from image_orders where payment_id = $1");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(payment.0).fetch_optional(tx.conn()).await;
    row.during("find a payment's image order")?.as_ref().map(read).transpose()
}

/// Locks an order that somebody is about to end.
///
/// # Errors
/// `NotFound`, `Corrupt`.
pub async fn image_order_locked(tx: &mut Tx, id: ImageOrderId) -> Result<ImageOrder, StoreError> {
    let sql = format!("select {COLUMNS} from image_orders where id = $1 for update");
    let row = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id.0).fetch_optional(tx.conn()).await;
    read(&row.during("lock an image order")?.ok_or(StoreError::NotFound("image order"))?)
}

/// Begins an attempt at a reserved order, unless another one is under way. Answers the attempt's number.
///
/// # Errors
/// `Db` only.
pub async fn image_order_attempt(
    store: &Store,
    id: ImageOrderId,
    (now, until): (DateTime<Utc>, DateTime<Utc>),
) -> Result<Option<i32>, StoreError> {
    let row = sqlx::query(
        "update image_orders set attempt = attempt + 1, attempt_until = $3, updated_at = $2
         where id = $1 and state = 'reserved' and (attempt = 0 or attempt_until <= $2) returning attempt",
    )
    .bind(id.0)
    .bind(now)
    .bind(until)
    .fetch_optional(store.pool())
    .await
    .during("begin an attempt at an image")?;
    row.map(|row| row.try_get(0)).transpose().during("begin an attempt at an image")
}

/// Ends a locked, reserved order.
///
/// # Errors
/// `Stale` when it has ended.
pub async fn image_order_end(
    tx: &mut Tx,
    id: ImageOrderId,
    end: Result<&[u8], &Failure>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let state = if end.is_ok() { "made" } else { "failed" };
    let done = sqlx::query(
        "update image_orders set state = $2, image = $3, failure_code = $4, failure_message = $5, updated_at = $6
         where id = $1 and state = 'reserved'",
    )
    .bind(id.0)
    .bind(state)
    .bind(end.ok())
    .bind(end.err().map(|failure| failure.code.as_str()))
    .bind(end.err().map(|failure| failure.message.as_str()))
    .bind(now)
    .execute(tx.conn())
    .await
    .during("end an image order")?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Stale("image order")) }
}

/// Reserved orders that nobody makes any more, oldest first.
///
/// # Errors
/// `Db` only.
pub async fn image_orders_given_up(
    store: &Store,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<ImageOrderId>, StoreError> {
    let rows = sqlx::query(
        "select id from image_orders where state = 'reserved' and attempt_until < $1
         order by attempt_until limit $2",
    )
    .bind(before)
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .during("list image orders")?;
    rows.iter().map(|row| Ok(ImageOrderId(row.try_get(0).during("list image orders")?))).collect()
}

/// Takes away images that were made before a time; their orders stay.
///
/// # Errors
/// `Db` only.
pub async fn images_forget(store: &Store, before: DateTime<Utc>, limit: i64) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "update image_orders set image = null where id in (
           select id from image_orders where image is not null and updated_at < $1 order by updated_at limit $2)",
    )
    .bind(before)
    .bind(limit)
    .execute(store.pool())
    .await
    .during("forget images")?;
    Ok(done.rows_affected())
}

fn read(row: &PgRow) -> Result<ImageOrder, StoreError> {
    let read = Reader { row };
    let corrupt = |what: String| StoreError::Corrupt(format!("image order: {what}"));
    let asker = match (read.get::<Option<String>>("wallet")?, read.get::<Option<uuid::Uuid>>("project_id")?) {
        (Some(wallet), None) => Asker::Wallet(wallet.parse().map_err(|_| corrupt(wallet))?),
        (None, Some(project)) => Asker::Project(ProjectId(project)),
        _ => return Err(corrupt("two askers or none".to_owned())),
    };
    let hash: Vec<u8> = read.get("request_hash")?;
    let state: String = read.get("state")?;
    let failure: (Option<String>, Option<String>) = (read.get("failure_code")?, read.get("failure_message")?);
    let state = match (state.as_str(), failure) {
        ("reserved", (None, None)) => OrderState::Reserved,
        ("made", (None, None)) => OrderState::Made(read.get("image")?),
        ("failed", (Some(code), Some(message))) => OrderState::Failed(Failure { code, message }),
        _ => return Err(corrupt(format!("state {state}"))),
    };
    let of = NewImageOrder {
        id: ImageOrderId(read.get("id")?),
        account: AccountId(read.get("account_id")?),
        asker,
        payment: read.get::<Option<uuid::Uuid>>("payment_id")?.map(PaymentId),
        request_key: read.get("request_key")?,
        request_hash: hash.try_into().map_err(|_| corrupt("the hash's length".to_owned()))?,
        price: UsdMicros(read.get("price_micros")?),
        currency: Currency::parse(&read.get::<String>("currency")?)?,
    };
    Ok(ImageOrder {
        of,
        hold: read.get("hold_id")?,
        state,
        attempt: read.get("attempt")?,
        attempt_until: read.get("attempt_until")?,
        created_at: read.get("created_at")?,
    })
}
