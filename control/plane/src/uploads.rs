//! Uploads: where they stand, their end, and the taking over of what was put.
//!
//! Order of an upload's end: join the parts, if it came in some; hash the staged bytes as a stream; copy them to
//! their final place; see them there while the object's row is locked; commit the row. A crash before the commit
//! leaves bytes that nobody refers to, which the sweep finds: what may be garbage is remembered before it is put.

use blobs::{BlobError, Checked, Part};
use chrono::{DateTime, Utc};
use serde_json::json;
use store::content::{self, Multipart, Room, Taken, Upload, UploadState};
use types::{Code, Mutation, Problem, ProjectId, Sha256Hex, UploadId, kill_point};

mod ending;
mod parts;

use crate::Plane;
use crate::caller::Caller;
use crate::content::{not_found, room, storage_problem, url_expiry};
use crate::keys::store_problem;

pub(crate) use ending::Endings;
use ending::QUICK_BYTES_MAX;
use parts::{complete_parts, layout};

/// How often the final place is filled again after a sweep emptied it in between.
const PROMOTE_ATTEMPTS_MAX: usize = 3;

/// An upload as its owner sees it.
#[derive(Debug, Clone)]
pub struct UploadStatus {
    pub upload: Upload,
    pub url_expires_at: DateTime<Utc>,
    /// `active` only while the URLs take bytes.
    pub status: &'static str,
    /// Parts that have arrived; only of an active upload in parts.
    pub parts: Vec<Part>,
}

/// A part as the client saw it arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentPart {
    pub number: i32,
    /// With or without quotes, or empty: not every client can read it.
    pub etag: String,
}

impl Plane {
    /// Where an upload stands.
    ///
    /// # Errors
    /// `UPLOAD_NOT_FOUND`, also for another project's.
    pub async fn upload_get(&self, caller: &Caller, id: UploadId) -> Result<UploadStatus, Problem> {
        let upload = self.upload_of(caller, id).await?;
        let url_expires_at = url_expiry(upload.created_at);
        let status = match upload.state {
            UploadState::Completed => "completed",
            UploadState::Aborted => "aborted",
            UploadState::Open if url_expires_at <= self.now() => "expired",
            UploadState::Open => "active",
        };
        let parts = match &upload.multipart {
            Some(multipart) if status == "active" => self.parts_arrived(&upload, multipart).await?,
            _ => Vec::new(),
        };
        Ok(UploadStatus { upload, url_expires_at, status, parts })
    }

    /// Verifies an upload's bytes and gives them to the project. Repeating it gives the same answer.
    ///
    /// # Errors
    /// `UPLOAD_COMPLETING` when that takes longer than clients wait: it goes on, and a repeat waits for it.
    /// `UPLOAD_NOT_FOUND`, `UPLOAD_EXPIRED`, `UPLOAD_INCOMPLETE`, `SIZE_MISMATCH`, `SHA256_MISMATCH`,
    /// `STORAGE_LIMIT_EXCEEDED`, `STORAGE_UNAVAILABLE`: nothing was kept, and the right
    /// bytes may be put again.
    pub async fn upload_complete(
        &self,
        caller: &Caller,
        id: UploadId,
        sent: &[SentPart],
    ) -> Result<Upload, Problem> {
        let key = self.project_key(caller).await?;
        let upload = match self.upload_find(key.project, id).await? {
            Some(upload) if upload.state == UploadState::Open => {
                self.announced_call(key.project).await?;
                upload
            }
            other => {
                self.data_call(key.project).await?;
                return match other.ok_or_else(|| not_found(id))? {
                    upload if upload.state == UploadState::Completed => Ok(upload),
                    _ => Err(not_found(id)),
                };
            }
        };
        let lease = self.content_gate(upload.project).await?;
        let sha256 = self.in_completion_time(self.upload_take(&upload, sent, room(&lease))).await?;
        Ok(Upload { state: UploadState::Completed, sha256: Some(sha256), ..upload })
    }

    /// The parts that need not be put again. Once they are joined the store lists none of them.
    async fn parts_arrived(&self, upload: &Upload, multipart: &Multipart) -> Result<Vec<Part>, Problem> {
        let (blobs, key) = (&*self.deps().blobs, &upload.staging_key);
        let listed = match blobs.parts_list(key, &multipart.id).await {
            Err(BlobError::NotFound) => Vec::new(),
            listed => listed.map_err(storage_problem)?,
        };
        if !listed.is_empty() || blobs.head(key).await.map_err(storage_problem)?.is_none() {
            return Ok(listed);
        }
        let layout = layout(upload, multipart);
        let size = |number| layout.size_of(number).unwrap_or_default();
        let joined = layout.spans().map(|span| span.number);
        Ok(joined.map(|number| Part { number, size_bytes: size(number), etag: None }).collect())
    }

    /// Gives an upload up and discards what was staged. Repeating it changes nothing.
    ///
    /// # Errors
    /// `UPLOAD_NOT_FOUND`.
    pub async fn upload_abort(&self, caller: &Caller, id: UploadId) -> Result<(), Problem> {
        let upload = self.upload_of(caller, id).await?;
        let mut tx = self.deps().store.begin().await.map_err(store_problem)?;
        let aborted = content::upload_abort(&mut tx, id).await.map_err(store_problem)?;
        tx.commit().await.map_err(store_problem)?;
        if aborted || upload.state == UploadState::Aborted {
            actors::deploy::staged_discard(&*self.deps().blobs, &upload).await;
        }
        Ok(())
    }

    async fn upload_of(&self, caller: &Caller, id: UploadId) -> Result<Upload, Problem> {
        let key = self.project_key(caller).await?;
        self.data_call(key.project).await?;
        self.upload_find(key.project, id).await?.ok_or_else(|| not_found(id))
    }

    async fn upload_find(&self, project: ProjectId, id: UploadId) -> Result<Option<Upload>, Problem> {
        let found = content::upload_find(&self.deps().store, id).await.map_err(store_problem)?;
        Ok(found.filter(|upload| upload.project == project))
    }

    /// Joins, verifies, promotes, commits: see the module's order. Answers the digest of what was taken.
    async fn upload_take_now(
        &self,
        upload: &Upload,
        sent: &[SentPart],
        room: Room,
    ) -> Result<Sha256Hex, Problem> {
        match (upload.state, &upload.sha256) {
            (UploadState::Completed, Some(sha256)) => return Ok(sha256.clone()),
            (UploadState::Open, _) => {}
            (UploadState::Aborted | UploadState::Completed, _) => return Err(not_found(upload.id)),
        }
        if upload.expires_at <= self.now() {
            return Err(Problem::new(Code::UploadExpired, "the upload's time is over"));
        }
        self.upload_join(upload, sent).await?;
        let blobs = &*self.deps().blobs;
        let content = match staged(blobs, upload).await {
            Ok(content) => content,
            Err(e) => return self.upload_lost(upload, e).await,
        };
        if let Err(problem) = compare(upload, &content) {
            if upload.multipart.is_some() {
                self.upload_spoilt(upload).await?;
            }
            return Err(problem);
        }
        kill_point!("deploy.content.checked");
        if upload.blob.is_some() {
            self.content_announce(&content).await?;
        }
        self.upload_place(upload, &content, room).await
    }

    /// Puts verified bytes in their place and gives them to the project.
    async fn upload_place(
        &self,
        upload: &Upload,
        content: &Checked,
        room: Room,
    ) -> Result<Sha256Hex, Problem> {
        let blobs = &*self.deps().blobs;
        for _ in 0..PROMOTE_ATTEMPTS_MAX {
            if let Err(e) = blobs::promote(blobs, &upload.staging_key, content).await {
                return self.upload_lost(upload, e).await;
            }
            kill_point!("deploy.content.promoted");
            if self.content_commit(upload, content, room).await? {
                blobs::discard(blobs, &upload.staging_key).await;
                kill_point!("deploy.content.discarded");
                return Ok(content.sha256.clone());
            }
        }
        Err(Problem::new(Code::StorageUnavailable, "the object does not stay in its place"))
    }

    /// Makes the parts one object under the staging key. What was joined before stays so.
    async fn upload_join(&self, upload: &Upload, sent: &[SentPart]) -> Result<(), Problem> {
        let Some(multipart) = &upload.multipart else { return Ok(()) };
        let blobs = &*self.deps().blobs;
        // One at a time: not every store can join the same parts twice at once.
        let mut tx = self.deps().store.begin().await.map_err(store_problem)?;
        let open = content::upload_lock(&mut tx, upload.id).await.map_err(store_problem)?;
        if !open || blobs.head(&upload.staging_key).await.map_err(storage_problem)?.is_some() {
            return Ok(());
        }
        let joined = self.parts_join(upload, multipart, sent).await;
        kill_point!("blob.joined");
        match joined {
            Ok(()) => Ok(()),
            // A repeat of this request was faster.
            Err(_) if blobs.head(&upload.staging_key).await.map_err(storage_problem)?.is_some() => Ok(()),
            Err(problem) => Err(problem),
        }
    }

    async fn parts_join(
        &self,
        upload: &Upload,
        multipart: &Multipart,
        sent: &[SentPart],
    ) -> Result<(), Problem> {
        let (blobs, key) = (&*self.deps().blobs, &upload.staging_key);
        let layout = layout(upload, multipart);
        let arrived = match blobs.parts_list(key, &multipart.id).await {
            Ok(arrived) => arrived,
            Err(BlobError::NotFound) => return Err(not_found(upload.id)),
            Err(e) => return Err(storage_problem(e)),
        };
        let parts = complete_parts(layout, &arrived, sent)?;
        match blobs.parts_join(key, &multipart.id, &parts).await {
            Ok(()) => Ok(()),
            Err(BlobError::NotFound) => Err(not_found(upload.id)),
            Err(e) => Err(storage_problem(e)),
        }
    }

    /// Parts that were joined cannot be put again: an upload that joined to something wrong has ended.
    async fn upload_spoilt(&self, upload: &Upload) -> Result<(), Problem> {
        let mut tx = self.deps().store.begin().await.map_err(store_problem)?;
        content::upload_abort(&mut tx, upload.id).await.map_err(store_problem)?;
        tx.commit().await.map_err(store_problem)?;
        blobs::discard(&*self.deps().blobs, &upload.staging_key).await;
        Ok(())
    }

    /// Remembers bytes that are about to be put in their place before their row is there.
    async fn content_announce(&self, content: &Checked) -> Result<(), Problem> {
        let mut tx = self.deps().store.begin().await.map_err(store_problem)?;
        let due_at = content::due_at(self.now());
        content::content_due_put(&mut tx, std::slice::from_ref(&content.sha256), due_at)
            .await
            .map_err(store_problem)?;
        tx.commit().await.map_err(store_problem)
    }

    /// False when the bytes are not in their final place any more: a sweep was faster.
    async fn content_commit(&self, upload: &Upload, content: &Checked, room: Room) -> Result<bool, Problem> {
        let (deps, now) = (self.deps(), self.now());
        let mut tx = deps.store.begin().await.map_err(store_problem)?;
        content::content_lock(&mut tx, &content.sha256, content.size_bytes, now)
            .await
            .map_err(store_problem)?;
        if !blobs::fits(&*deps.blobs, content).await.map_err(storage_problem)? {
            return Ok(false);
        }
        let taken = match upload.blob {
            Some(_) => content::blob_take(&mut tx, upload, &content.sha256, room, now).await,
            None => content::content_take(&mut tx, upload, &content.sha256, room, now).await,
        };
        match taken.map_err(store_problem)? {
            Taken::New | Taken::Before => {}
            Taken::Gone => return Err(not_found(upload.id)),
            Taken::NoRoom { used_bytes } => {
                drop(tx);
                return Err(self.no_room(upload.project, room, used_bytes).await);
            }
            Taken::AddressTaken => return Err(address_taken()),
        }
        kill_point!("deploy.content.taken");
        tx.commit().await.map_err(store_problem)?;
        kill_point!("deploy.content.committed");
        Ok(true)
    }

    /// What is staged cannot be read, or not to its end: it never came, or a repeat of this request or an
    /// abort took it away in the meantime.
    async fn upload_lost(&self, upload: &Upload, error: BlobError) -> Result<Sha256Hex, Problem> {
        let now = content::upload_find(&self.deps().store, upload.id).await.map_err(store_problem)?;
        match now.map(|now| (now.state, now.sha256)) {
            Some((UploadState::Completed, Some(sha256))) => Ok(sha256),
            Some((UploadState::Open, _)) if !matches!(error, BlobError::NotFound) => {
                Err(storage_problem(error))
            }
            Some((UploadState::Open, announced)) => {
                Err(Problem::new(Code::UploadIncomplete, "no bytes were uploaded yet")
                    .detail("sha256", announced.map(|sha256| sha256.to_string()))
                    .mutation(Mutation::NotStarted))
            }
            Some((UploadState::Aborted | UploadState::Completed, _)) | None => Err(not_found(upload.id)),
        }
    }

    /// The account's storage is used up.
    pub(crate) async fn no_room(&self, project: ProjectId, room: Room, used_bytes: u64) -> Problem {
        let calls = match self.project_live(project).await {
            Ok(found) => store::projects::usage_fetch(&self.deps().store, found.id).await.ok(),
            Err(_) => None,
        };
        Problem::new(Code::StorageLimitExceeded, "it would not fit into the account's storage")
            .extra(
                "usage",
                json!({
                    "api_calls": calls.map(|usage| usage.api_calls),
                    "storage_bytes": used_bytes,
                    "storage_limit": room.bytes_max,
                }),
            )
            .detail("scope", "organization")
    }
}

/// What is staged. Read twice when once would decide too much: a read that went wrong must not condemn bytes that are
/// right, nor give small ones a name that nobody announced.
async fn staged(blobs: &dyn blobs::Blobs, upload: &Upload) -> Result<Checked, BlobError> {
    let first = blobs::verify(blobs, &upload.staging_key).await?;
    let named = upload.sha256.is_some() || upload.size_bytes > QUICK_BYTES_MAX;
    if named && compare(upload, &first).is_ok() {
        return Ok(first);
    }
    let second = blobs::verify(blobs, &upload.staging_key).await?;
    if second == first || (named && compare(upload, &second).is_ok()) {
        return Ok(second);
    }
    Err(BlobError::Unavailable {
        during: "hash an upload",
        source: "the store gave other bytes each time".into(),
    })
}

fn compare(upload: &Upload, found: &Checked) -> Result<(), Problem> {
    if found.size_bytes != upload.size_bytes {
        return Err(Problem::new(Code::SizeMismatch, "the bytes have another size than announced")
            .detail("expected_bytes", upload.size_bytes)
            .detail("observed_bytes", found.size_bytes));
    }
    if let Some(announced) = upload.sha256.as_ref().filter(|announced| **announced != found.sha256) {
        return Err(Problem::new(Code::Sha256Mismatch, "the bytes have another SHA-256 than announced")
            .detail("expected_sha256", announced.as_str())
            .detail("observed_sha256", found.sha256.as_str()));
    }
    Ok(())
}

/// Two contents of one key whose digests start alike.
pub(crate) fn address_taken() -> Problem {
    let message = "another content of this key has the immutable address that these bytes would get";
    Problem::new(Code::BlobAddressTaken, message)
}
