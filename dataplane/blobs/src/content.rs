//! What is done with content, whatever the store is.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use types::Sha256Hex;

use crate::{BlobError, Blobs, cas_key};

const COPY_CHECKS_MAX: usize = 10;
const COPY_CHECK_PAUSE: Duration = Duration::from_millis(50);

/// What the bytes of an object really are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub sha256: Sha256Hex,
    pub size_bytes: u64,
}

/// Hashes an object as a stream, in constant memory.
///
/// # Errors
/// `NotFound` when it was never uploaded.
pub async fn verify(blobs: &dyn Blobs, key: &str) -> Result<Checked, BlobError> {
    let mut bytes = blobs.get(key, None).await?;
    let mut hash = Sha256::new();
    let mut size_bytes = 0;
    while let Some(part) = bytes.try_next().await? {
        size_bytes += part.len() as u64;
        hash.update(&part);
    }
    Ok(Checked { sha256: Sha256Hex::from_bytes(hash.finalize().into()), size_bytes })
}

/// Copies a verified object to its final place, unless it is there already. Safe to repeat. The staged copy
/// stays until [`discard`], so that a crash before the row is committed can be made good.
///
/// # Errors
/// `NotFound` when the staged copy is gone and the final place is empty.
pub async fn promote(blobs: &dyn Blobs, staged: &str, content: &Checked) -> Result<(), BlobError> {
    let key = cas_key(&content.sha256);
    if fits(blobs, content).await? {
        return Ok(());
    }
    blobs.copy(staged, &key, content.size_bytes).await?;
    // A store that writes in place shows the middle of a copy that somebody else makes of the same object.
    for _ in 0..COPY_CHECKS_MAX {
        if fits(blobs, content).await? {
            return Ok(());
        }
        tokio::time::sleep(COPY_CHECK_PAUSE).await;
    }
    Err(BlobError::unavailable("check the copy", "it has another size than the original"))
}

/// Whether the final place holds an object of the right size.
///
/// # Errors
/// `Unavailable` or `Refused` of the store.
pub async fn fits(blobs: &dyn Blobs, content: &Checked) -> Result<bool, BlobError> {
    Ok(blobs.head(&cas_key(&content.sha256)).await? == Some(content.size_bytes))
}

/// Deletes what nobody needs any more. A failure leaves garbage and is only logged.
pub async fn discard(blobs: &dyn Blobs, key: &str) {
    if let Err(e) = blobs.delete(key).await {
        tracing::warn!(key, error = &e as &dyn std::error::Error, "object not deleted");
    }
}

/// Gives an upload in parts up. A failure leaves garbage and is only logged.
pub async fn parts_discard(blobs: &dyn Blobs, key: &str, upload: &str) {
    if let Err(e) = blobs.parts_abort(key, upload).await {
        tracing::debug!(key, error = &e as &dyn std::error::Error, "upload in parts not given up");
    }
}

/// Reads a whole object into memory.
///
/// # Errors
/// `Refused` when it has more than `size_max` bytes.
pub async fn read_all(blobs: &dyn Blobs, key: &str, size_max: usize) -> Result<Bytes, BlobError> {
    let mut stream = blobs.get(key, None).await?;
    let mut all = BytesMut::new();
    while let Some(part) = stream.try_next().await? {
        if all.len() + part.len() > size_max {
            return Err(BlobError::Refused { during: "read an object", code: "EntityTooLarge".to_owned() });
        }
        all.extend_from_slice(&part);
    }
    Ok(all.freeze())
}
