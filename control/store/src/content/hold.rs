//! What a project holds, counted against its account, and what nobody holds any more.

use chrono::{DateTime, Utc};
use sqlx::Row;
use types::{ProjectId, Sha256Hex};

use super::{Upload, UploadState};
use crate::{During, FencedTx, Store, StoreError, Tx};

/// How much an account may hold.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub bytes_max: u64,
}

/// The answer to taking an uploaded object over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    New,
    /// The project held it already, or this upload was completed before.
    Before,
    /// It would pass the limit; roll back.
    NoRoom {
        used_bytes: u64,
    },
    /// The upload was aborted in the meantime, or its project erased; roll back.
    Gone,
}

/// Makes the object's row, or locks it, until the transaction ends. While it is locked nobody sweeps the
/// bytes away, so what is seen in the final place afterwards stays.
///
/// # Errors
/// `Corrupt` when the digest is known with another size.
pub async fn content_lock(
    tx: &mut Tx,
    sha256: &Sha256Hex,
    size_bytes: u64,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let row = sqlx::query(
        "insert into content_objects (sha256, size_bytes, stored_at) values ($1, $2, $3)
         on conflict (sha256) do update set stored_at = excluded.stored_at returning size_bytes",
    )
    .bind(sha256.as_str())
    .bind(i64::try_from(size_bytes).unwrap_or(i64::MAX))
    .bind(now)
    .fetch_one(tx.conn())
    .await
    .during("lock content")?;
    if super::size(&row, "size_bytes")? == size_bytes {
        return Ok(());
    }
    Err(StoreError::Corrupt(format!("two sizes of {sha256}")))
}

/// Gives the object to the project and ends the upload. The account's usage row is locked until the
/// transaction ends, so uploads at the limit are judged one after the other. Call [`content_lock`] before it.
///
/// # Errors
/// `Db` only.
pub async fn content_take(
    tx: &mut Tx,
    upload: &Upload,
    room: Room,
    now: DateTime<Utc>,
) -> Result<Taken, StoreError> {
    if !crate::releases::project_ready_locked(tx, upload.project).await? {
        return Ok(Taken::Gone);
    }
    let state: Option<String> = sqlx::query("select state from uploads where id = $1 for update")
        .bind(upload.id.0)
        .fetch_optional(tx.conn())
        .await
        .and_then(|row| row.map(|row| row.try_get(0)).transpose())
        .during("lock an upload")?;
    match state.as_deref() {
        Some(state) if state == UploadState::Open.as_str() => {}
        Some(state) if state == UploadState::Completed.as_str() => return Ok(Taken::Before),
        _ => return Ok(Taken::Gone),
    }
    let fresh = sqlx::query(
        "insert into project_content (project_id, sha256, added_at) values ($1, $2, $3)
         on conflict do nothing",
    )
    .bind(upload.project.0)
    .bind(upload.sha256.as_str())
    .bind(now)
    .execute(tx.conn())
    .await
    .during("hold content")?
    .rows_affected()
        == 1;
    if fresh && let Some(used_bytes) = usage_add(tx, upload, room).await? {
        return Ok(Taken::NoRoom { used_bytes });
    }
    sqlx::query("update uploads set state = 'completed', completed_at = $2 where id = $1")
        .bind(upload.id.0)
        .bind(now)
        .execute(tx.conn())
        .await
        .during("complete an upload")?;
    Ok(if fresh { Taken::New } else { Taken::Before })
}

/// Counts the object in, or says how much is used already when it does not fit. Databases count too.
async fn usage_add(tx: &mut Tx, upload: &Upload, room: Room) -> Result<Option<u64>, StoreError> {
    let row = sqlx::query(
        "with owner as (select account_id from projects where id = $1)
         insert into content_usage as u (account_id, bytes) select account_id, $2 from owner
         on conflict (account_id) do update set bytes = u.bytes + excluded.bytes
         returning u.bytes, (select coalesce(sum(d.database_bytes), 0)::bigint from project_usage d
           join projects p on p.id = d.project_id where p.account_id = u.account_id and p.phase <> 'erased')",
    )
    .bind(upload.project.0)
    .bind(i64::try_from(upload.size_bytes).unwrap_or(i64::MAX))
    .fetch_one(tx.conn())
    .await
    .during("count content")?;
    let total = super::size(&row, "bytes")?
        .saturating_add(u64::try_from(row.try_get::<i64, _>(1).during("count content")?).unwrap_or_default());
    Ok((total > room.bytes_max).then(|| total - upload.size_bytes))
}

/// Bytes of content that a project holds.
///
/// # Errors
/// `Db` only.
pub async fn project_content_bytes(store: &Store, project: ProjectId) -> Result<u64, StoreError> {
    let row = sqlx::query(
        "select coalesce(sum(o.size_bytes), 0)::bigint as bytes
         from project_content k join content_objects o using (sha256) where k.project_id = $1",
    )
    .bind(project.0)
    .fetch_one(store.pool())
    .await
    .during("count content")?;
    super::size(&row, "bytes")
}

/// Takes everything from a project that is being erased: what it holds, its plans, its uploads. The bytes
/// stay until they are swept ([`content_orphans`]). Call `releases::project_releases_drop` before it.
/// Idempotent.
///
/// # Errors
/// `Db` only.
pub async fn project_content_drop(
    tx: &mut FencedTx,
    project: ProjectId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "with gone as (delete from project_content k using content_objects o
           where k.project_id = $1 and o.sha256 = k.sha256 returning o.size_bytes),
         total as (select coalesce(sum(size_bytes), 0)::bigint as bytes from gone)
         update content_usage u set bytes = greatest(0, u.bytes - total.bytes)
         from total, projects p where p.id = $1 and u.account_id = p.account_id",
    )
    .bind(project.0)
    .execute(tx.conn())
    .await
    .during("drop content")?;
    // Open uploads expire, so that the sweep finds what they staged.
    sqlx::query(
        "update uploads set expires_at = least(expires_at, $2) where project_id = $1 and state = 'open'",
    )
    .bind(project.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("expire uploads")?;
    Ok(())
}

/// Objects that no project holds and no release shows, stored before `before`.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn content_orphans(
    store: &Store,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Sha256Hex>, StoreError> {
    let rows = sqlx::query(
        "select o.sha256 from content_objects o where o.stored_at < $1
           and not exists (select from project_content k where k.sha256 = o.sha256)
           and not exists (select from release_files f where f.sha256 = o.sha256)
         order by o.stored_at limit $2",
    )
    .bind(before)
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .during("find orphaned content")?;
    rows.iter().map(|row| super::digest(row, "sha256")).collect()
}

/// Drops the row of an object that still nobody holds. True when it was dropped: delete the bytes before the
/// commit, so that an upload of the same content, which waits for this row, sees that they are gone.
///
/// # Errors
/// `Db` only.
pub async fn content_orphan_drop(tx: &mut Tx, sha256: &Sha256Hex) -> Result<bool, StoreError> {
    // Locked first: whoever takes the content over holds this lock until its own row is visible.
    let locked = sqlx::query("select 1 from content_objects where sha256 = $1 for update")
        .bind(sha256.as_str())
        .fetch_optional(tx.conn())
        .await
        .during("lock orphaned content")?;
    if locked.is_none() {
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
    .during("drop orphaned content")?;
    Ok(done.rows_affected() == 1)
}
