//! Blobs: named objects of a project, each a name for content that the project holds.
//!
//! Whoever writes one locks the account's usage first, then the blob's row: two that write the same key, or two
//! keys of the same content, come one after the other.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{ProjectId, Sha256Hex};

use super::hold::{upload_end, upload_locked, usage_add};
use super::{BlobName, Room, Taken, Upload, Visibility};
use crate::{During, Store, StoreError, Tx};

/// A blob as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    pub key: String,
    pub sha256: Sha256Hex,
    pub size_bytes: u64,
    pub content_type: String,
    pub visibility: Visibility,
    pub immutable: bool,
    /// What was said of it: a flat object.
    pub metadata: Option<serde_json::Value>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What an immutable address shows for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobVersion {
    pub sha256: Sha256Hex,
    pub size_bytes: u64,
    pub content_type: String,
}

/// A blob to write over content whose row is locked ([`super::content_lock`]).
#[derive(Debug, Clone)]
pub struct BlobWrite<'a> {
    pub project: ProjectId,
    pub name: &'a BlobName,
    pub sha256: &'a Sha256Hex,
    pub size_bytes: u64,
    pub content_type: &'a str,
    pub room: Room,
    pub now: DateTime<Utc>,
}

const ROW: &str = "key, sha256, size_bytes, content_type, visibility, immutable, metadata, created_at,
  updated_at from blobs";
/// How many digits of the digest an immutable address carries.
const SUFFIX_DIGITS: usize = 8;

/// Gives an uploaded object its name and ends the upload. Call [`super::content_lock`] before it.
///
/// # Errors
/// `Db` only.
pub async fn blob_take(
    tx: &mut Tx,
    upload: &Upload,
    sha256: &Sha256Hex,
    room: Room,
    now: DateTime<Utc>,
) -> Result<Taken, StoreError> {
    let name = upload
        .blob
        .as_ref()
        .ok_or_else(|| StoreError::Corrupt(format!("upload {} names no blob", upload.id)))?;
    if let Some(ended) = upload_locked(tx, upload).await? {
        return Ok(ended);
    }
    let write = BlobWrite {
        project: upload.project,
        name,
        sha256,
        size_bytes: upload.size_bytes,
        content_type: upload.content_type.as_deref().unwrap_or("application/octet-stream"),
        room,
        now,
    };
    let taken = blob_put(tx, &write).await?;
    if matches!(taken, Taken::New | Taken::Before) {
        upload_end(tx, upload, sha256, now).await?;
    }
    Ok(taken)
}

/// Writes a blob, counts what that adds to the account and gives up what it replaces. `Before` when the project
/// held the content already.
///
/// # Errors
/// `Db` only.
pub async fn blob_put(tx: &mut Tx, write: &BlobWrite<'_>) -> Result<Taken, StoreError> {
    usage_lock(tx, write.project).await?;
    let before = blob_locked(tx, write.project, &write.name.key).await?;
    let fresh = sqlx::query(
        "insert into project_content (project_id, sha256, added_at) values ($1, $2, $3)
         on conflict do nothing",
    )
    .bind(write.project.0)
    .bind(write.sha256.as_str())
    .bind(write.now)
    .execute(tx.conn())
    .await
    .during("hold a blob's content")?
    .rows_affected()
        == 1;
    if !version_put(tx, write).await? {
        return Ok(Taken::AddressTaken);
    }
    row_put(tx, write).await?;
    if let Some(before) = before.filter(|before| before != write.sha256) {
        content_release(tx, write.project, &before, write.now).await?;
    }
    if fresh && let Some(used_bytes) = usage_add(tx, (write.project, write.size_bytes, write.room)).await? {
        return Ok(Taken::NoRoom { used_bytes });
    }
    Ok(if fresh { Taken::New } else { Taken::Before })
}

/// Deletes a blob. Content that nothing else of the project refers to does not count any more. Its immutable
/// addresses stay. False when there was none.
///
/// # Errors
/// `Db` only.
pub async fn blob_delete(
    tx: &mut Tx,
    project: ProjectId,
    key: &str,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    usage_lock(tx, project).await?;
    let Some(sha256) = blob_locked(tx, project, key).await? else { return Ok(false) };
    sqlx::query("delete from blobs where project_id = $1 and key = $2")
        .bind(project.0)
        .bind(key)
        .execute(tx.conn())
        .await
        .during("delete a blob")?;
    content_release(tx, project, &sha256, now).await?;
    Ok(true)
}

/// Says something of a blob, or takes back what was said, while it still has that content.
///
/// # Errors
/// `Db` only.
pub async fn blob_describe(
    store: &Store,
    (project, key, sha256): (ProjectId, &str, &Sha256Hex),
    metadata: Option<&serde_json::Value>,
) -> Result<(), StoreError> {
    sqlx::query("update blobs set metadata = $4 where project_id = $1 and key = $2 and sha256 = $3")
        .bind(project.0)
        .bind(key)
        .bind(sha256.as_str())
        .bind(metadata)
        .execute(store.pool())
        .await
        .during("describe a blob")?;
    Ok(())
}

/// # Errors
/// `Db`, `Corrupt`.
pub async fn blob_find(store: &Store, project: ProjectId, key: &str) -> Result<Option<Blob>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!("select {ROW} where project_id = $1 and key = $2"));
    let row = sqlx::query(sql).bind(project.0).bind(key).fetch_optional(store.pool()).await;
    row.during("find a blob")?.as_ref().map(blob).transpose()
}

/// Blobs whose key starts with `prefix`, after `after`, in the order of their bytes.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn blob_list(
    store: &Store,
    project: ProjectId,
    (prefix, after): (&str, Option<&str>),
    limit: i64,
) -> Result<Vec<Blob>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!(
        "select {ROW} where project_id = $1 and starts_with(key, $2) and key >= $2 and key > $3
         order by key limit $4"
    ));
    let rows = sqlx::query(sql)
        .bind(project.0)
        .bind(prefix)
        .bind(after.unwrap_or_default())
        .bind(limit)
        .fetch_all(store.pool())
        .await
        .during("list blobs")?;
    rows.iter().map(blob).collect()
}

/// What an immutable address shows.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn blob_version_find(
    store: &Store,
    project: ProjectId,
    (key, suffix): (&str, &str),
) -> Result<Option<BlobVersion>, StoreError> {
    let row = sqlx::query(
        "select sha256, size_bytes, content_type from blob_versions
         where project_id = $1 and key = $2 and suffix = $3",
    )
    .bind(project.0)
    .bind(key)
    .bind(suffix)
    .fetch_optional(store.pool())
    .await
    .during("find a blob's version")?;
    let read = |row: &PgRow| {
        Ok(BlobVersion {
            sha256: super::digest(row, "sha256")?,
            size_bytes: super::size(row, "size_bytes")?,
            content_type: row.try_get("content_type").during("read a blob's version")?,
        })
    };
    row.as_ref().map(read).transpose()
}

/// Everybody who changes blobs of an account waits here.
pub(super) async fn usage_lock(tx: &mut Tx, project: ProjectId) -> Result<(), StoreError> {
    sqlx::query(
        "insert into content_usage as u (account_id, bytes) select account_id, 0 from projects where id = $1
         on conflict (account_id) do update set bytes = u.bytes",
    )
    .bind(project.0)
    .execute(tx.conn())
    .await
    .during("lock an account's usage")?;
    Ok(())
}

async fn blob_locked(tx: &mut Tx, project: ProjectId, key: &str) -> Result<Option<Sha256Hex>, StoreError> {
    let row = sqlx::query("select sha256 from blobs where project_id = $1 and key = $2 for update")
        .bind(project.0)
        .bind(key)
        .fetch_optional(tx.conn())
        .await
        .during("lock a blob")?;
    row.as_ref().map(|row| super::digest(row, "sha256")).transpose()
}

/// Keeps the address of a public immutable blob. False when it leads to other content already.
async fn version_put(tx: &mut Tx, write: &BlobWrite<'_>) -> Result<bool, StoreError> {
    if !write.name.immutable || write.name.visibility == Visibility::Private {
        return Ok(true);
    }
    let row = sqlx::query(
        "insert into blob_versions as v (project_id, key, suffix, sha256, size_bytes, content_type, created_at)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (project_id, key, suffix) do update set created_at = v.created_at returning v.sha256",
    )
    .bind(write.project.0)
    .bind(&write.name.key)
    .bind(&write.sha256.as_str()[..SUFFIX_DIGITS])
    .bind(write.sha256.as_str())
    .bind(i64::try_from(write.size_bytes).unwrap_or(i64::MAX))
    .bind(write.content_type)
    .bind(write.now)
    .fetch_one(tx.conn())
    .await
    .during("keep a blob's version")?;
    Ok(super::digest(&row, "sha256")? == *write.sha256)
}

async fn row_put(tx: &mut Tx, write: &BlobWrite<'_>) -> Result<(), StoreError> {
    sqlx::query(
        "insert into blobs as b (project_id, key, sha256, size_bytes, content_type, visibility, immutable,
           created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $8)
         on conflict (project_id, key) do update set sha256 = excluded.sha256,
           size_bytes = excluded.size_bytes, content_type = excluded.content_type,
           visibility = excluded.visibility, immutable = excluded.immutable, metadata = null,
           updated_at = excluded.updated_at",
    )
    .bind(write.project.0)
    .bind(&write.name.key)
    .bind(write.sha256.as_str())
    .bind(i64::try_from(write.size_bytes).unwrap_or(i64::MAX))
    .bind(write.content_type)
    .bind(write.name.visibility.as_str())
    .bind(write.name.immutable)
    .bind(write.now)
    .execute(tx.conn())
    .await
    .during("write a blob")?;
    Ok(())
}

/// Takes content from a project when neither a release nor another blob nor an address of it refers to it.
async fn content_release(
    tx: &mut Tx,
    project: ProjectId,
    sha256: &Sha256Hex,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "with gone as (delete from project_content k using content_objects o
           where k.project_id = $1 and k.sha256 = $2 and not k.pinned and o.sha256 = k.sha256
             and not exists (select from blobs b where b.project_id = $1 and b.sha256 = $2)
             and not exists (select from blob_versions v where v.project_id = $1 and v.sha256 = $2)
           returning o.size_bytes),
         due as (insert into content_due (sha256, due_at) select $2, $3 from gone
           on conflict (sha256) do update set due_at = greatest(content_due.due_at, excluded.due_at))
         update content_usage u set bytes = greatest(0, u.bytes - gone.size_bytes)
         from gone, projects p where p.id = $1 and u.account_id = p.account_id",
    )
    .bind(project.0)
    .bind(sha256.as_str())
    .bind(super::due_at(now))
    .execute(tx.conn())
    .await
    .during("give content up")?;
    Ok(())
}

fn blob(row: &PgRow) -> Result<Blob, StoreError> {
    let visibility = super::visibility(row)?;
    let (sha256, size_bytes) = (super::digest(row, "sha256")?, super::size(row, "size_bytes")?);
    let read = || -> Result<Blob, sqlx::Error> {
        Ok(Blob {
            key: row.try_get("key")?,
            sha256,
            size_bytes,
            content_type: row.try_get("content_type")?,
            visibility,
            immutable: row.try_get("immutable")?,
            metadata: row.try_get("metadata")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
        })
    };
    read().during("read a blob")
}
