//! Content held per project, and the uploads that bring it.
//!
//! Whether a project holds an object is judged by `project_content` alone: another project's copy is never
//! evidence.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{CiBindingId, ContentPlanId, ProjectId, Sha256Hex, UploadId};

use crate::{During, Store, StoreError, Tx};

mod assets;
mod blobs;
mod due;
pub(crate) mod hold;

pub use assets::{AssetChange, AssetPut, Unput, assets_apply};
pub use blobs::{
    Blob, BlobVersion, BlobWrite, blob_delete, blob_describe, blob_find, blob_list, blob_put, blob_take,
    blob_version_find,
};
pub use due::{GRACE_HOURS, content_due_list, content_due_put, content_due_take, due_at};
pub use hold::{
    Room, Taken, content_lock, content_pin, content_take, project_content_bytes, project_content_drop,
};

/// A plan for bringing content in.
#[derive(Debug, Clone)]
pub struct ContentPlan {
    pub id: ContentPlanId,
    pub project: ProjectId,
    /// The workflow's that asked, if one did.
    pub ci_binding: Option<CiBindingId>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadState {
    Open,
    Completed,
    Aborted,
}

impl UploadState {
    const ALL: [Self; 3] = [Self::Open, Self::Completed, Self::Aborted];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Completed => "completed",
            Self::Aborted => "aborted",
        }
    }
}

/// Who may read a blob without a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    Public,
    Private,
}

impl Visibility {
    pub const ALL: [Self; 2] = [Self::Public, Self::Private];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// What a blob shall be, its bytes apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobName {
    /// Canonical: see `sites::path::canonical`.
    pub key: String,
    pub visibility: Visibility,
    pub immutable: bool,
}

/// An upload in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multipart {
    /// The object store's name for it.
    pub id: String,
    /// Of every part but the last.
    pub part_size_bytes: u64,
}

/// One object on its way in.
#[derive(Debug, Clone)]
pub struct Upload {
    pub id: UploadId,
    pub project: ProjectId,
    pub content_plan: Option<ContentPlanId>,
    /// As announced, or as found at its end. Only a blob's may be unknown before.
    pub sha256: Option<Sha256Hex>,
    pub size_bytes: u64,
    pub content_type: Option<String>,
    /// What it becomes; none when it is content for a deploy.
    pub blob: Option<BlobName>,
    pub multipart: Option<Multipart>,
    pub staging_key: String,
    pub state: UploadState,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// Which of `wanted` the project holds, with their sizes in bytes.
///
/// # Errors
/// `Db` only.
pub async fn content_held(
    store: &Store,
    project: ProjectId,
    wanted: &[Sha256Hex],
) -> Result<HashMap<Sha256Hex, u64>, StoreError> {
    let wanted: Vec<&str> = wanted.iter().map(Sha256Hex::as_str).collect();
    let rows = sqlx::query(
        "select o.sha256, o.size_bytes from project_content k join content_objects o using (sha256)
         where k.project_id = $1 and k.sha256 = any($2)",
    )
    .bind(project.0)
    .bind(wanted)
    .fetch_all(store.pool())
    .await
    .during("look for content")?;
    rows.iter().map(|row| Ok((digest(row, "sha256")?, size(row, "size_bytes")?))).collect()
}

/// Writes a plan and its uploads, in one commit with whatever else `tx` carries.
///
/// # Errors
/// `Constraint` when an id is used twice.
pub async fn content_plan_create(
    tx: &mut Tx,
    plan: &ContentPlan,
    uploads: &[Upload],
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into content_plans (id, project_id, state, created_at, expires_at, ci_binding_id)
         values ($1, $2, 'open', $3, $4, $5)",
    )
    .bind(plan.id.0)
    .bind(plan.project.0)
    .bind(plan.created_at)
    .bind(plan.expires_at)
    .bind(plan.ci_binding.map(|b| b.0))
    .execute(tx.conn())
    .await
    .during("create a content plan")?;
    let announced: Vec<Sha256Hex> = uploads.iter().filter_map(|upload| upload.sha256.clone()).collect();
    let ends_at = uploads.iter().map(|upload| upload.expires_at).max().unwrap_or(plan.expires_at);
    content_due_put(tx, &announced, due_at(ends_at)).await?;
    let sizes: Vec<i64> = uploads.iter().map(|u| i64::try_from(u.size_bytes).unwrap_or(i64::MAX)).collect();
    sqlx::query(
        "insert into uploads (id, project_id, content_plan_id, sha256, size_bytes, content_type, staging_key,
           state, created_at, expires_at)
         select id, $1, $2, sha256, size_bytes, content_type, staging_key, 'open', $3, $4
         from unnest($5::uuid[], $6::text[], $7::bigint[], $8::text[], $9::text[])
           as u (id, sha256, size_bytes, content_type, staging_key)",
    )
    .bind(plan.project.0)
    .bind(plan.id.0)
    .bind(plan.created_at)
    .bind(uploads.first().map_or(plan.expires_at, |u| u.expires_at))
    .bind(uploads.iter().map(|u| u.id.0).collect::<Vec<_>>())
    .bind(uploads.iter().map(|u| u.sha256.as_ref().map(Sha256Hex::as_str)).collect::<Vec<_>>())
    .bind(sizes)
    .bind(uploads.iter().map(|u| u.content_type.as_deref()).collect::<Vec<_>>())
    .bind(uploads.iter().map(|u| u.staging_key.as_str()).collect::<Vec<_>>())
    .execute(tx.conn())
    .await
    .during("create uploads")?;
    Ok(())
}

/// # Errors
/// `Db` only.
pub async fn content_plan_find(store: &Store, id: ContentPlanId) -> Result<Option<ContentPlan>, StoreError> {
    let row = sqlx::query("select * from content_plans where id = $1")
        .bind(id.0)
        .fetch_optional(store.pool())
        .await
        .during("find a content plan")?;
    row.map(|row| {
        Ok(ContentPlan {
            id: ContentPlanId(row.try_get("id")?),
            project: ProjectId(row.try_get("project_id")?),
            ci_binding: row.try_get::<Option<uuid::Uuid>, _>("ci_binding_id")?.map(CiBindingId),
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
        })
    })
    .transpose()
    .during("read a content plan")
}

/// Opens the upload of one blob.
///
/// # Errors
/// `Constraint` when the id is used twice.
pub async fn upload_create(tx: &mut Tx, upload: &Upload) -> Result<(), StoreError> {
    let (blob, parts) = (upload.blob.as_ref(), upload.multipart.as_ref());
    sqlx::query(
        "insert into uploads (id, project_id, content_plan_id, sha256, size_bytes, content_type, staging_key,
           state, created_at, expires_at, blob_key, visibility, immutable, multipart_id, part_size_bytes)
         values ($1, $2, $3, $4, $5, $6, $7, 'open', $8, $9, $10, $11, $12, $13, $14)",
    )
    .bind(upload.id.0)
    .bind(upload.project.0)
    .bind(upload.content_plan.map(|plan| plan.0))
    .bind(upload.sha256.as_ref().map(Sha256Hex::as_str))
    .bind(i64::try_from(upload.size_bytes).unwrap_or(i64::MAX))
    .bind(&upload.content_type)
    .bind(&upload.staging_key)
    .bind(upload.created_at)
    .bind(upload.expires_at)
    .bind(blob.map(|blob| &blob.key))
    .bind(blob.map(|blob| blob.visibility.as_str()))
    .bind(blob.map(|blob| blob.immutable))
    .bind(parts.map(|parts| &parts.id))
    .bind(parts.map(|parts| i64::try_from(parts.part_size_bytes).unwrap_or(i64::MAX)))
    .execute(tx.conn())
    .await
    .during("create an upload")?;
    Ok(())
}

/// Remembers that everything of the plan is in. Idempotent.
///
/// # Errors
/// `Db` only.
pub async fn content_plan_commit(tx: &mut Tx, id: ContentPlanId) -> Result<(), StoreError> {
    sqlx::query("update content_plans set state = 'committed' where id = $1")
        .bind(id.0)
        .execute(tx.conn())
        .await
        .during("commit a content plan")?;
    Ok(())
}

const UPLOAD: &str =
    "select id, project_id, content_plan_id, sha256, size_bytes, content_type, staging_key, state,
    blob_key, visibility, immutable, multipart_id, part_size_bytes, created_at, expires_at from uploads";

/// The uploads of a plan, in the order of their ids.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn content_plan_uploads(store: &Store, id: ContentPlanId) -> Result<Vec<Upload>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!("{UPLOAD} where content_plan_id = $1 order by id"));
    let rows = sqlx::query(sql).bind(id.0).fetch_all(store.pool()).await.during("list uploads")?;
    rows.iter().map(upload).collect()
}

/// # Errors
/// `Db`, `Corrupt`.
pub async fn upload_find(store: &Store, id: UploadId) -> Result<Option<Upload>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!("{UPLOAD} where id = $1"));
    let row = sqlx::query(sql).bind(id.0).fetch_optional(store.pool()).await.during("find an upload")?;
    row.as_ref().map(upload).transpose()
}

/// Open uploads whose time is over, the oldest first.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn uploads_expired(
    store: &Store,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Upload>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!(
        "{UPLOAD} where state = 'open' and expires_at <= $1 order by expires_at limit $2"
    ));
    let rows = sqlx::query(sql)
        .bind(now)
        .bind(limit)
        .fetch_all(store.pool())
        .await
        .during("find expired uploads")?;
    rows.iter().map(upload).collect()
}

/// Keeps everybody else from ending an upload until the transaction ends. False when it has ended.
///
/// # Errors
/// `Db` only.
pub async fn upload_lock(tx: &mut Tx, id: UploadId) -> Result<bool, StoreError> {
    let open = sqlx::query("select 1 from uploads where id = $1 and state = 'open' for update")
        .bind(id.0)
        .fetch_optional(tx.conn())
        .await
        .during("lock an upload")?;
    Ok(open.is_some())
}

/// Gives an open upload up. False when it had ended before, one way or the other.
///
/// # Errors
/// `Db` only.
pub async fn upload_abort(tx: &mut Tx, id: UploadId) -> Result<bool, StoreError> {
    let done = sqlx::query("update uploads set state = 'aborted' where id = $1 and state = 'open'")
        .bind(id.0)
        .execute(tx.conn())
        .await
        .during("abort an upload")?;
    Ok(done.rows_affected() == 1)
}

fn upload(row: &PgRow) -> Result<Upload, StoreError> {
    let state: String = row.try_get("state").during("read an upload")?;
    Ok(Upload {
        id: UploadId(row.try_get("id").during("read an upload")?),
        project: ProjectId(row.try_get("project_id").during("read an upload")?),
        content_plan: row
            .try_get::<Option<uuid::Uuid>, _>("content_plan_id")
            .during("read an upload")?
            .map(ContentPlanId),
        sha256: digest_maybe(row, "sha256")?,
        size_bytes: size(row, "size_bytes")?,
        content_type: row.try_get("content_type").during("read an upload")?,
        blob: blob_name(row)?,
        multipart: multipart(row)?,
        staging_key: row.try_get("staging_key").during("read an upload")?,
        state: UploadState::ALL
            .into_iter()
            .find(|known| known.as_str() == state)
            .ok_or_else(|| StoreError::Corrupt(format!("upload state {state}")))?,
        created_at: row.try_get("created_at").during("read an upload")?,
        expires_at: row.try_get("expires_at").during("read an upload")?,
    })
}

fn blob_name(row: &PgRow) -> Result<Option<BlobName>, StoreError> {
    let key: Option<String> = row.try_get("blob_key").during("read an upload")?;
    let Some(key) = key else { return Ok(None) };
    let immutable = row.try_get("immutable").during("read an upload")?;
    Ok(Some(BlobName { key, visibility: visibility(row)?, immutable }))
}

fn multipart(row: &PgRow) -> Result<Option<Multipart>, StoreError> {
    let id: Option<String> = row.try_get("multipart_id").during("read an upload")?;
    let Some(id) = id else { return Ok(None) };
    Ok(Some(Multipart { id, part_size_bytes: size(row, "part_size_bytes")? }))
}

fn visibility(row: &PgRow) -> Result<Visibility, StoreError> {
    let text: String = row.try_get("visibility").during("read a visibility")?;
    let known = Visibility::ALL.into_iter().find(|known| known.as_str() == text);
    known.ok_or_else(|| StoreError::Corrupt(format!("visibility {text}")))
}

fn digest_maybe(row: &PgRow, column: &str) -> Result<Option<Sha256Hex>, StoreError> {
    let text: Option<String> = row.try_get(column).during("read a digest")?;
    text.map(|text| text.parse().map_err(|_| StoreError::Corrupt(format!("digest {text}")))).transpose()
}

pub(crate) fn digest(row: &PgRow, column: &str) -> Result<Sha256Hex, StoreError> {
    let text: String = row.try_get(column).during("read a digest")?;
    text.parse().map_err(|_| StoreError::Corrupt(format!("digest {text}")))
}

pub(crate) fn size(row: &PgRow, column: &str) -> Result<u64, StoreError> {
    let bytes: i64 = row.try_get(column).during("read a size")?;
    u64::try_from(bytes).map_err(|_| StoreError::Corrupt(format!("size {bytes}")))
}
