//! Clears away what uploads left behind, and content that nobody refers to any more.

use store::content;
use types::kill_point;

use crate::Deps;
use crate::kit::ActorError;

const BATCH: i64 = 200;

/// Aborts uploads whose time is over and deletes what they staged. Says how many there were.
///
/// # Errors
/// `Store`.
pub async fn uploads_sweep(deps: &Deps) -> Result<usize, ActorError> {
    let expired = content::uploads_expired(&deps.store, deps.clock.now(), BATCH).await?;
    for upload in &expired {
        let mut tx = deps.store.begin().await?;
        let aborted = content::upload_abort(&mut tx, upload.id).await?;
        tx.commit().await?;
        if aborted {
            staged_discard(&*deps.blobs, upload).await;
        }
    }
    Ok(expired.len())
}

/// Deletes what an upload that has ended left in the object store. A failure leaves garbage and is only logged.
pub async fn staged_discard(blobs: &dyn blobs::Blobs, upload: &content::Upload) {
    if let Some(parts) = &upload.multipart {
        blobs::parts_discard(blobs, &upload.staging_key, &parts.id).await;
    }
    blobs::discard(blobs, &upload.staging_key).await;
}

/// Deletes content that has been due for a day and that no project holds. Says how many objects went. One that the
/// store does not delete keeps nobody else's from going.
///
/// The bytes go while the row is locked and before its end is committed. Committed first, an upload of the same
/// bytes could make a new row, find them in their place, and lose them to the deletion after that.
///
/// # Errors
/// `Store`; `Outside` when the object store refuses, which leaves that object and its row as they were.
pub async fn garbage_sweep(deps: &Deps) -> Result<usize, ActorError> {
    let (mut gone, mut refused) = (0, None);
    for sha256 in content::content_due_list(&deps.store, deps.clock.now(), BATCH).await? {
        let mut tx = deps.store.begin().await?;
        if content::content_due_take(&mut tx, &sha256, deps.clock.now()).await? {
            kill_point!("garbage.dropped");
            if let Err(e) = deps.blobs.delete(&blobs::cas_key(&sha256)).await {
                refused = Some(e);
                continue;
            }
            kill_point!("garbage.deleted");
            gone += 1;
        }
        tx.commit().await?;
        kill_point!("garbage.committed");
    }
    match refused {
        None => Ok(gone),
        Some(e) => Err(ActorError::Outside {
            what: "delete garbage",
            code: types::Code::StorageUnavailable,
            source: Box::new(e),
        }),
    }
}
