//! How far a lab's clock was moved.

use chrono::TimeDelta;
use sqlx::Row;

use crate::{During, Store, StoreError};

/// Zero until it was moved.
///
/// # Errors
/// `Db` only.
pub async fn lab_clock_shift(store: &Store) -> Result<TimeDelta, StoreError> {
    let row = sqlx::query("select shift_micros from lab_clock")
        .fetch_optional(store.pool())
        .await
        .during("read the lab's clock")?;
    let micros = row.map(|row| row.try_get(0)).transpose().during("read the lab's clock")?;
    Ok(TimeDelta::microseconds(micros.unwrap_or_default()))
}

/// Adds to the shift, and answers the sum. Safe to race: each call counts once.
///
/// # Errors
/// `Constraint` when the sum would pass a century: nothing was moved.
pub async fn lab_clock_advance(store: &Store, by: TimeDelta) -> Result<TimeDelta, StoreError> {
    let row = sqlx::query(
        "insert into lab_clock as c (shift_micros) values ($1)
         on conflict (singleton) do update set shift_micros = c.shift_micros + excluded.shift_micros
         returning shift_micros",
    )
    .bind(by.num_microseconds().unwrap_or(i64::MAX))
    .fetch_one(store.pool())
    .await
    .during("move the lab's clock")?;
    row.try_get(0).map(TimeDelta::microseconds).during("move the lab's clock")
}
