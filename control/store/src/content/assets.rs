//! Blobs that come and go with a release.

use chrono::{DateTime, Utc};
use sqlx::Row;
use types::{ProjectId, Sha256Hex};

use super::blobs::usage_lock;
use super::{BlobName, BlobWrite, Room, Taken, Visibility, blob_delete, blob_put};
use crate::{During, StoreError, Tx};

/// A blob over content that the project holds already.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AssetPut {
    /// Canonical.
    pub key: String,
    pub sha256: Sha256Hex,
    pub size: u64,
    pub content_type: String,
    pub visibility: Visibility,
    pub immutable: bool,
}

impl AssetPut {
    pub fn name(&self) -> BlobName {
        BlobName { key: self.key.clone(), visibility: self.visibility, immutable: self.immutable }
    }
}

/// What a release does to its project's blobs. No key is in both lists; both are sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AssetChange {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub put: Vec<AssetPut>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delete: Vec<String>,
    /// Beginnings of keys, each with a slash at its end: what is there and is not put goes. Sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sync: Vec<String>,
}

impl AssetChange {
    /// Whether a blob that is there goes because its folder is made to hold what is put and nothing else.
    pub fn syncs_away(&self, key: &str) -> bool {
        self.sync.iter().any(|prefix| key.starts_with(prefix)) && !self.put.iter().any(|put| put.key == key)
    }
}

/// Why a blob of a release was not written; roll back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unput {
    /// Its content was given up since it was uploaded.
    ContentGone(String),
    /// Another content has the immutable address that this one would get.
    AddressTaken(String),
}

/// Writes and deletes the blobs of a release, in its transaction. What it puts must be held already, so no more
/// is counted than was.
///
/// # Errors
/// `Db` only.
pub async fn assets_apply(
    tx: &mut Tx,
    project: ProjectId,
    change: &AssetChange,
    now: DateTime<Utc>,
) -> Result<Option<Unput>, StoreError> {
    for asset in &change.put {
        let held =
            sqlx::query("select 1 from project_content where project_id = $1 and sha256 = $2 for key share")
                .bind(project.0)
                .bind(asset.sha256.as_str())
                .fetch_optional(tx.conn())
                .await
                .during("hold an asset's content")?;
        if held.is_none() {
            return Ok(Some(Unput::ContentGone(asset.key.clone())));
        }
        let write = BlobWrite {
            project,
            name: &asset.name(),
            sha256: &asset.sha256,
            size_bytes: asset.size,
            content_type: &asset.content_type,
            // Held, so already counted.
            room: Room { bytes_max: u64::MAX },
            now,
        };
        if blob_put(tx, &write).await? == Taken::AddressTaken {
            return Ok(Some(Unput::AddressTaken(asset.key.clone())));
        }
    }
    for key in &change.delete {
        blob_delete(tx, project, key, now).await?;
    }
    sync(tx, project, change, now).await?;
    Ok(None)
}

/// Judged now and not when it was planned, with everybody else who writes blobs waiting.
async fn sync(
    tx: &mut Tx,
    project: ProjectId,
    change: &AssetChange,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if change.sync.is_empty() {
        return Ok(());
    }
    usage_lock(tx, project).await?;
    for prefix in &change.sync {
        let rows = sqlx::query(
            "select key from blobs where project_id = $1 and starts_with(key, $2) and key >= $2 order by key",
        )
        .bind(project.0)
        .bind(prefix)
        .fetch_all(tx.conn())
        .await
        .during("list what is synced")?;
        for row in rows {
            let key: String = row.try_get("key").during("list what is synced")?;
            if change.syncs_away(&key) {
                blob_delete(tx, project, &key, now).await?;
            }
        }
    }
    Ok(())
}
