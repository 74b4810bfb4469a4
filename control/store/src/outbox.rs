//! Facts to deliver, written in the commit that makes them true and deleted once they are acknowledged.

use serde_json::Value;
use sqlx::Row;

use crate::{During, Store, StoreError, Tx};

/// One undelivered fact. Consumers deduplicate by `seq`.
#[derive(Debug, Clone)]
pub struct OutboxRow {
    pub seq: i64,
    pub topic: String,
    pub payload: Value,
    pub trace_id: Option<String>,
    pub attempts: i32,
}

/// Appends a fact to the commit under way.
///
/// # Errors
/// `Db` only.
pub async fn outbox_append(tx: &mut Tx, topic: &str, payload: Value) -> Result<(), StoreError> {
    sqlx::query("insert into outbox (topic, payload) values ($1, $2)")
        .bind(topic)
        .bind(payload)
        .execute(tx.conn())
        .await
        .during("append to outbox")?;
    Ok(())
}

/// Takes up to `limit` due rows and keeps them locked until the transaction ends, skipping what others took.
///
/// # Errors
/// `Db` only.
pub async fn outbox_take(tx: &mut Tx, limit: i64) -> Result<Vec<OutboxRow>, StoreError> {
    let rows = sqlx::query(
        "select seq, topic, payload, trace_id, attempts from outbox
         where available_at <= now() order by seq limit $1 for update skip locked",
    )
    .bind(limit)
    .fetch_all(tx.conn())
    .await
    .during("take from outbox")?;
    rows.into_iter()
        .map(|row| {
            Ok(OutboxRow {
                seq: row.try_get("seq")?,
                topic: row.try_get("topic")?,
                payload: row.try_get("payload")?,
                trace_id: row.try_get("trace_id")?,
                attempts: row.try_get("attempts")?,
            })
        })
        .collect::<Result<_, sqlx::Error>>()
        .during("take from outbox")
}

/// Deletes a delivered row.
///
/// # Errors
/// `Db` only.
pub async fn outbox_done(tx: &mut Tx, seq: i64) -> Result<(), StoreError> {
    sqlx::query("delete from outbox where seq = $1")
        .bind(seq)
        .execute(tx.conn())
        .await
        .during("settle outbox")?;
    Ok(())
}

/// Puts a row off: twice as long after each failure, an hour at most.
///
/// # Errors
/// `Db` only.
pub async fn outbox_retry(tx: &mut Tx, seq: i64, why: &str) -> Result<(), StoreError> {
    sqlx::query(
        "update outbox set attempts = attempts + 1, last_error = $2,
           available_at = now() + least(interval '1 hour', interval '1 second' * power(2, least(attempts, 12)))
         where seq = $1",
    )
    .bind(seq)
    .bind(why)
    .execute(tx.conn())
    .await
    .during("put off outbox")?;
    Ok(())
}

impl Store {
    /// Rows waiting, for `/status` and for tests that want it empty.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn outbox_depth(&self) -> Result<i64, StoreError> {
        sqlx::query("select count(*) from outbox")
            .fetch_one(self.pool())
            .await
            .and_then(|row| row.try_get(0))
            .during("count outbox")
    }
}
