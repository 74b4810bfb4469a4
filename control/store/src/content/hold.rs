//! What a project holds, counted against its account.

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
    /// Another content has the immutable address that this one would get; roll back.
    AddressTaken,
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
    sha256: &Sha256Hex,
    room: Room,
    now: DateTime<Utc>,
) -> Result<Taken, StoreError> {
    if let Some(ended) = upload_locked(tx, upload).await? {
        return Ok(ended);
    }
    let fresh = sqlx::query(
        "insert into project_content (project_id, sha256, added_at) values ($1, $2, $3)
         on conflict do nothing",
    )
    .bind(upload.project.0)
    .bind(sha256.as_str())
    .bind(now)
    .execute(tx.conn())
    .await
    .during("hold content")?
    .rows_affected()
        == 1;
    let counted = (upload.project, upload.size_bytes, room);
    if fresh && let Some(used_bytes) = usage_add(tx, counted).await? {
        return Ok(Taken::NoRoom { used_bytes });
    }
    upload_end(tx, upload, sha256, now).await?;
    Ok(if fresh { Taken::New } else { Taken::Before })
}

pub(super) async fn upload_end(
    tx: &mut Tx,
    upload: &Upload,
    sha256: &Sha256Hex,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query("update uploads set state = 'completed', sha256 = $3, completed_at = $2 where id = $1")
        .bind(upload.id.0)
        .bind(now)
        .bind(sha256.as_str())
        .execute(tx.conn())
        .await
        .during("complete an upload")?;
    Ok(())
}

/// Locks a ready project and its open upload. Some is the answer for one that had ended.
pub(super) async fn upload_locked(tx: &mut Tx, upload: &Upload) -> Result<Option<Taken>, StoreError> {
    if !crate::releases::project_ready_locked(tx, upload.project).await? {
        return Ok(Some(Taken::Gone));
    }
    let state: Option<String> = sqlx::query("select state from uploads where id = $1 for update")
        .bind(upload.id.0)
        .fetch_optional(tx.conn())
        .await
        .and_then(|row| row.map(|row| row.try_get(0)).transpose())
        .during("lock an upload")?;
    Ok(match state.as_deref() {
        Some(state) if state == UploadState::Open.as_str() => None,
        Some(state) if state == UploadState::Completed.as_str() => Some(Taken::Before),
        _ => Some(Taken::Gone),
    })
}

/// Counts an object in, or says how much is used already when it does not fit. Databases count too.
pub(crate) async fn usage_add(
    tx: &mut Tx,
    (project, size_bytes, room): (ProjectId, u64, Room),
) -> Result<Option<u64>, StoreError> {
    let row = sqlx::query(
        "with owner as (select account_id from projects where id = $1)
         insert into content_usage as u (account_id, bytes) select account_id, $2 from owner
         on conflict (account_id) do update set bytes = u.bytes + excluded.bytes
         returning u.bytes, (select coalesce(sum(d.database_bytes), 0)::bigint from project_usage d
           join projects p on p.id = d.project_id where p.account_id = u.account_id and p.phase <> 'erased')",
    )
    .bind(project.0)
    .bind(i64::try_from(size_bytes).unwrap_or(i64::MAX))
    .fetch_one(tx.conn())
    .await
    .during("count content")?;
    let total = super::size(&row, "bytes")?
        .saturating_add(u64::try_from(row.try_get::<i64, _>(1).during("count content")?).unwrap_or_default());
    Ok((total > room.bytes_max).then(|| total - size_bytes))
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

/// Takes everything from a project that is being erased: blobs, what it holds, its uploads. The bytes stay
/// until they are swept ([`super::content_due_list`]). Call `releases::project_releases_drop` before it.
/// Idempotent.
///
/// # Errors
/// `Db` only.
pub async fn project_content_drop(
    tx: &mut FencedTx,
    project: ProjectId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    for sql in ["delete from blobs where project_id = $1", "delete from blob_versions where project_id = $1"]
    {
        sqlx::query(sql).bind(project.0).execute(tx.conn()).await.during("drop blobs")?;
    }
    sqlx::query(
        "with gone as (delete from project_content k using content_objects o
           where k.project_id = $1 and o.sha256 = k.sha256 returning o.sha256, o.size_bytes),
         due as (insert into content_due (sha256, due_at) select sha256, $2 from gone order by sha256
           on conflict (sha256) do update set due_at = greatest(content_due.due_at, excluded.due_at)),
         total as (select coalesce(sum(size_bytes), 0)::bigint as bytes from gone)
         update content_usage u set bytes = greatest(0, u.bytes - total.bytes)
         from total, projects p where p.id = $1 and u.account_id = p.account_id",
    )
    .bind(project.0)
    .bind(super::due_at(now))
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

/// Keeps contents for as long as the project lives, because a release refers to them. Says how many of them
/// the project holds: fewer than there are when one was given up in between.
///
/// # Errors
/// `Db` only.
pub async fn content_pin(
    tx: &mut Tx,
    project: ProjectId,
    contents: &[Sha256Hex],
) -> Result<usize, StoreError> {
    // All are locked, so that none is given up after it was counted; in one order, for two that pin at once.
    let row = sqlx::query(
        "with held as (select sha256, pinned from project_content
           where project_id = $1 and sha256 = any($2) order by sha256 for update),
         pins as (update project_content k set pinned = true from held
           where k.project_id = $1 and k.sha256 = held.sha256 and not held.pinned)
         select count(*) from held",
    )
    .bind(project.0)
    .bind(contents.iter().map(Sha256Hex::as_str).collect::<Vec<_>>())
    .fetch_one(tx.conn())
    .await
    .during("pin content")?;
    let count: i64 = row.try_get(0).during("pin content")?;
    Ok(usize::try_from(count).unwrap_or_default())
}
