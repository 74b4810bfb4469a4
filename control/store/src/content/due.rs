//! Content that may be garbage: since when, and whether it is.
//!
//! Lock order: a content object's row comes before projects, uploads, the account's usage and blobs.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::Row;
use types::Sha256Hex;

use crate::{During, Store, StoreError, Tx};

/// How long content that nobody refers to is kept: it may be asked for again, and be on its way already.
pub const GRACE_HOURS: i64 = 24;

/// When content that is given up, or put, now falls due.
pub fn due_at(now: DateTime<Utc>) -> DateTime<Utc> {
    now + TimeDelta::hours(GRACE_HOURS)
}

/// Has content looked at once it is due. Called before its bytes are put, so that bytes whose row never came
/// are found.
///
/// # Errors
/// `Db` only.
pub async fn content_due_put(
    tx: &mut Tx,
    contents: &[Sha256Hex],
    due_at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into content_due (sha256, due_at)
         select distinct sha256, $2::timestamptz from unnest($1::text[]) as c (sha256)
         order by sha256
         on conflict (sha256) do update set due_at = greatest(content_due.due_at, excluded.due_at)",
    )
    .bind(contents.iter().map(Sha256Hex::as_str).collect::<Vec<_>>())
    .bind(due_at)
    .execute(tx.conn())
    .await
    .during("remember what may be garbage")?;
    Ok(())
}

/// Content that is due, the longest first.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn content_due_list(
    store: &Store,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Sha256Hex>, StoreError> {
    let rows = sqlx::query("select sha256 from content_due where due_at <= $1 order by due_at limit $2")
        .bind(now)
        .bind(limit)
        .fetch_all(store.pool())
        .await
        .during("find content that is due")?;
    rows.iter().map(|row| super::digest(row, "sha256")).collect()
}

/// Takes content off the list, and drops its row when still nobody refers to it. True when the bytes are
/// garbage: delete them before the commit. Whoever takes the same content over meanwhile waits for this
/// transaction, and then sees that they are gone; whoever came first is seen here.
///
/// # Errors
/// `Db` only.
pub async fn content_due_take(
    tx: &mut Tx,
    sha256: &Sha256Hex,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    // A row that is not there is made, and never seen by anybody: its place in the index makes others wait.
    let made: bool = sqlx::query(
        "insert into content_objects as o (sha256, size_bytes, stored_at) values ($1, 0, $2)
         on conflict (sha256) do update set stored_at = o.stored_at returning (xmax = 0)",
    )
    .bind(sha256.as_str())
    .bind(now)
    .fetch_one(tx.conn())
    .await
    .and_then(|row| row.try_get(0))
    .during("lock content that is due")?;
    // After the lock: somebody may have given it up anew, which counts from then.
    let due = sqlx::query("delete from content_due where sha256 = $1 and due_at <= $2")
        .bind(sha256.as_str())
        .bind(now)
        .execute(tx.conn())
        .await
        .during("take content off the list")?;
    if due.rows_affected() == 0 {
        if made {
            // Another sweep was here before: nothing may stay of the row that was only made to wait.
            sqlx::query("delete from content_objects where sha256 = $1")
                .bind(sha256.as_str())
                .execute(tx.conn())
                .await
                .during("drop a row that nobody saw")?;
        }
        return Ok(false);
    }
    let done = sqlx::query(
        "delete from content_objects o where o.sha256 = $1
           and not exists (select from project_content k where k.sha256 = o.sha256)
           and not exists (select from release_files f where f.sha256 = o.sha256)",
    )
    .bind(sha256.as_str())
    .execute(tx.conn())
    .await
    .during("drop garbage")?;
    Ok(done.rows_affected() == 1)
}
