//! Clears away what uploads left behind.

use chrono::TimeDelta;
use store::content;

use crate::Deps;
use crate::kit::ActorError;

const BATCH: i64 = 200;
/// Content that nobody holds is kept for a while: it may belong to an upload that is just being taken over.
const ORPHAN_HOURS: i64 = 24;

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
            blobs::discard(&*deps.blobs, &upload.staging_key).await;
        }
    }
    Ok(expired.len())
}

/// Deletes content that no project holds. Says how many objects went.
///
/// # Errors
/// `Store`; `Outside` when the object store refuses, which leaves that object as it was.
pub async fn orphans_sweep(deps: &Deps) -> Result<usize, ActorError> {
    let before = deps.clock.now() - TimeDelta::hours(ORPHAN_HOURS);
    let mut gone = 0;
    for sha256 in content::content_orphans(&deps.store, before, BATCH).await? {
        let mut tx = deps.store.begin().await?;
        if !content::content_orphan_drop(&mut tx, &sha256).await? {
            continue;
        }
        // Under the row's lock: an upload of the same bytes waits for it and then sees that they are gone.
        deps.blobs.delete(&blobs::cas_key(&sha256)).await.map_err(|e| ActorError::Outside {
            what: "delete orphaned content",
            code: types::Code::StorageUnavailable,
            source: Box::new(e),
        })?;
        tx.commit().await?;
        gone += 1;
    }
    Ok(gone)
}
