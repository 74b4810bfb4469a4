//! Content plans and uploads: what is missing, where to put it, and the taking over of what was put there.
//!
//! Order of an upload's end: hash the staged bytes as a stream; copy them to their final place; see them
//! there while the object's row is locked; commit the row. A crash before the commit leaves bytes that nobody
//! refers to.

use std::collections::BTreeMap;
use std::time::Duration;

use blobs::{BlobError, Checked, PutGrant};
use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use serde_json::json;
use store::content::{self, ContentPlan, Room, Taken, Upload, UploadState};
use types::{Code, ContentPlanId, Mutation, Problem, ProjectId, Sha256Hex, UploadId, kill_point};

use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;
use crate::tiers::LeaseView;

/// Objects that one plan may ask for.
pub const WANTED_MAX: usize = 25_000;
/// What S3 takes in one PUT.
pub const OBJECT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// How long a presigned URL is good for.
const URL_MINUTES: i64 = 60;
/// How long an upload may be completed: a slow one outlives its URL.
const UPLOAD_HOURS: i64 = 24;
/// Uploads of a plan that are hashed and copied at once.
const TAKEN_AT_ONCE: usize = 8;
/// How often the final place is filled again after a sweep emptied it in between.
const PROMOTE_ATTEMPTS_MAX: usize = 3;

/// Content that a deploy needs.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub sha256: Sha256Hex,
    pub size_bytes: u64,
    pub content_type: Option<String>,
}

/// What to upload, and where.
#[derive(Debug, Clone)]
pub struct PlannedContent {
    pub plan: ContentPlanId,
    pub expires_at: DateTime<Utc>,
    /// Every distinct object that was asked for, and whether it is missing.
    pub entries: Vec<(Sha256Hex, bool)>,
    pub sessions: Vec<Session>,
}

/// The right to upload one missing object.
#[derive(Debug, Clone)]
pub struct Session {
    pub upload: Upload,
    pub url: String,
    pub url_expires_at: DateTime<Utc>,
}

/// An upload as its owner sees it.
#[derive(Debug, Clone)]
pub struct UploadStatus {
    pub upload: Upload,
    pub url_expires_at: DateTime<Utc>,
    /// `active` only while the URL takes bytes.
    pub status: &'static str,
}

impl Plane {
    /// Says which objects the project lacks, and opens an upload for each. Whether another project has them
    /// does not matter and does not show.
    ///
    /// # Errors
    /// `UNAUTHORIZED`; the lifecycle's refusals; `BAD_REQUEST`; `STORAGE_LIMIT_EXCEEDED` when it
    /// could never fit.
    pub async fn content_plan(
        &self,
        caller: &Caller,
        project: Option<ProjectId>,
        wanted: Vec<Wanted>,
    ) -> Result<PlannedContent, Problem> {
        let project = self.content_project(caller, project).await?;
        self.data_call(project).await?;
        let lease = self.content_gate(project).await?;
        let wanted = distinct(wanted)?;
        let names: Vec<Sha256Hex> = wanted.keys().cloned().collect();
        let held = content::content_held(&self.deps().store, project, &names).await.map_err(store_problem)?;
        if let Some(other) = wanted.values().find(|w| held.get(&w.sha256).is_some_and(|s| *s != w.size_bytes))
        {
            let message = format!("{} has another size than announced", other.sha256);
            return Err(Problem::new(Code::BadRequest, message));
        }
        let missing: Vec<&Wanted> = wanted.values().filter(|w| !held.contains_key(&w.sha256)).collect();
        let room = room(&lease);
        let total: u64 = missing.iter().map(|w| w.size_bytes).fold(0, u64::saturating_add);
        if total > room.bytes_max {
            return Err(self.no_room(project, room, 0).await);
        }
        let (plan, sessions) = self.uploads_open(project, &missing).await?;
        let entries = names
            .into_iter()
            .map(|sha256| {
                let missing = !held.contains_key(&sha256);
                (sha256, missing)
            })
            .collect();
        Ok(PlannedContent { plan: plan.id, expires_at: plan.expires_at, entries, sessions })
    }

    /// Takes over whatever of the plan is still staged. Repeating it changes nothing.
    ///
    /// # Errors
    /// `PLAN_NOT_FOUND`; as [`Plane::upload_complete`].
    pub async fn content_plan_commit(&self, caller: &Caller, id: ContentPlanId) -> Result<(), Problem> {
        let key = self.project_key(caller).await?;
        self.data_call(key.project).await?;
        let store = &self.deps().store;
        let plan = content::content_plan_find(store, id).await.map_err(store_problem)?;
        let plan = plan
            .filter(|plan| plan.project == key.project)
            .ok_or_else(|| Problem::new(Code::PlanNotFound, format!("no content plan {id}")))?;
        let lease = self.content_gate(plan.project).await?;
        let uploads = content::content_plan_uploads(store, id).await.map_err(store_problem)?;
        futures::stream::iter(uploads.into_iter().map(Ok))
            .try_for_each_concurrent(TAKEN_AT_ONCE, |upload| async move {
                self.upload_take(&upload, room(&lease)).await
            })
            .await?;
        let mut tx = store.begin().await.map_err(store_problem)?;
        content::content_plan_commit(&mut tx, id).await.map_err(store_problem)?;
        tx.commit().await.map_err(store_problem)
    }

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
        Ok(UploadStatus { upload, url_expires_at, status })
    }

    /// Verifies an upload's bytes and gives them to the project. Repeating it gives the same answer.
    ///
    /// # Errors
    /// `UPLOAD_NOT_FOUND`, `UPLOAD_EXPIRED`, `UPLOAD_INCOMPLETE`, `SIZE_MISMATCH`, `SHA256_MISMATCH`,
    /// `STORAGE_LIMIT_EXCEEDED`, `STORAGE_UNAVAILABLE`: nothing was kept, and the right
    /// bytes may be put again.
    pub async fn upload_complete(&self, caller: &Caller, id: UploadId) -> Result<Upload, Problem> {
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
        self.upload_take(&upload, room(&lease)).await?;
        Ok(Upload { state: UploadState::Completed, ..upload })
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
            blobs::discard(&*self.deps().blobs, &upload.staging_key).await;
        }
        Ok(())
    }

    /// Gives a project content of ours, by the way that uploads take.
    pub(crate) async fn content_keep(
        &self,
        project: ProjectId,
        sha256: &Sha256Hex,
        bytes: bytes::Bytes,
    ) -> Result<(), Problem> {
        let wanted = std::slice::from_ref(sha256);
        let held = content::content_held(&self.deps().store, project, wanted).await.map_err(store_problem)?;
        if held.contains_key(sha256) {
            return Ok(());
        }
        let lease = self.content_gate(project).await?;
        let missing = Wanted { sha256: sha256.clone(), size_bytes: bytes.len() as u64, content_type: None };
        let (_, sessions) = self.uploads_open(project, &[&missing]).await?;
        for session in sessions {
            let put = self.deps().blobs.put(&session.upload.staging_key, bytes.clone()).await;
            put.map_err(storage_problem)?;
            self.upload_take(&session.upload, room(&lease)).await?;
        }
        Ok(())
    }

    /// The key's project; without a key, the one named in the body, for its owner.
    async fn content_project(&self, caller: &Caller, named: Option<ProjectId>) -> Result<ProjectId, Problem> {
        match named {
            Some(project) => self.project_reader(caller, project).await.map(|()| project),
            None => Ok(self.project_key(caller).await?.project),
        }
    }

    async fn content_gate(&self, project: ProjectId) -> Result<LeaseView, Problem> {
        let account = self.project_live(project).await?.account;
        self.account_gate(account).await
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

    async fn uploads_open(
        &self,
        project: ProjectId,
        missing: &[&Wanted],
    ) -> Result<(ContentPlan, Vec<Session>), Problem> {
        let (deps, now) = (self.deps(), self.now());
        let url_expires_at = url_expiry(now);
        let plan = ContentPlan {
            id: ContentPlanId::new(&*deps.entropy),
            project,
            created_at: now,
            expires_at: url_expires_at,
        };
        let mut sessions = Vec::with_capacity(missing.len());
        for wanted in missing {
            let id = UploadId::new(&*deps.entropy);
            let staging_key = blobs::staging_key(id, &wanted.sha256);
            let grant = PutGrant {
                key: staging_key.clone(),
                size_bytes: wanted.size_bytes,
                sha256: Some(wanted.sha256.clone()),
                ttl: Duration::from_secs(URL_MINUTES.unsigned_abs() * 60),
            };
            let url = deps.blobs.presign_put(&grant).await.map_err(storage_problem)?;
            let upload = Upload {
                id,
                project,
                content_plan: Some(plan.id),
                sha256: wanted.sha256.clone(),
                size_bytes: wanted.size_bytes,
                content_type: wanted.content_type.clone(),
                staging_key,
                state: UploadState::Open,
                created_at: now,
                expires_at: now + TimeDelta::hours(UPLOAD_HOURS),
            };
            sessions.push(Session { upload, url, url_expires_at });
        }
        let uploads: Vec<Upload> = sessions.iter().map(|session| session.upload.clone()).collect();
        let mut tx = deps.store.begin().await.map_err(store_problem)?;
        content::content_plan_create(&mut tx, &plan, &uploads).await.map_err(store_problem)?;
        tx.commit().await.map_err(store_problem)?;
        Ok((plan, sessions))
    }

    /// Verifies, promotes, commits. See the module's order.
    async fn upload_take(&self, upload: &Upload, room: Room) -> Result<(), Problem> {
        match upload.state {
            UploadState::Completed => return Ok(()),
            UploadState::Aborted => return Err(not_found(upload.id)),
            UploadState::Open => {}
        }
        if upload.expires_at <= self.now() {
            return Err(Problem::new(Code::UploadExpired, "the upload's time is over"));
        }
        let blobs = &*self.deps().blobs;
        let content = match blobs::verify(blobs, &upload.staging_key).await {
            Ok(content) => content,
            Err(e) => return self.upload_lost(upload, e).await,
        };
        compare(upload, &content)?;
        kill_point!("deploy.content.checked");
        for _ in 0..PROMOTE_ATTEMPTS_MAX {
            if let Err(e) = blobs::promote(blobs, &upload.staging_key, &content).await {
                return self.upload_lost(upload, e).await;
            }
            kill_point!("deploy.content.promoted");
            if self.content_commit(upload, &content, room).await? {
                blobs::discard(blobs, &upload.staging_key).await;
                kill_point!("deploy.content.discarded");
                return Ok(());
            }
        }
        Err(Problem::new(Code::StorageUnavailable, "the object does not stay in its place"))
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
        match content::content_take(&mut tx, upload, room, now).await.map_err(store_problem)? {
            Taken::New | Taken::Before => {}
            Taken::Gone => return Err(not_found(upload.id)),
            Taken::NoRoom { used_bytes } => {
                drop(tx);
                return Err(self.no_room(upload.project, room, used_bytes).await);
            }
        }
        kill_point!("deploy.content.taken");
        tx.commit().await.map_err(store_problem)?;
        kill_point!("deploy.content.committed");
        Ok(true)
    }

    /// What is staged cannot be read, or not to its end: it never came, or a repeat of this request or an
    /// abort took it away in the meantime.
    async fn upload_lost(&self, upload: &Upload, error: BlobError) -> Result<(), Problem> {
        let now = content::upload_find(&self.deps().store, upload.id).await.map_err(store_problem)?;
        match now.map(|now| now.state) {
            Some(UploadState::Completed) => Ok(()),
            Some(UploadState::Open) if !matches!(error, BlobError::NotFound) => Err(storage_problem(error)),
            Some(UploadState::Open) => {
                Err(Problem::new(Code::UploadIncomplete, "no bytes were uploaded yet")
                    .detail("sha256", upload.sha256.as_str())
                    .mutation(Mutation::NotStarted))
            }
            Some(UploadState::Aborted) | None => Err(not_found(upload.id)),
        }
    }

    async fn no_room(&self, project: ProjectId, room: Room, used_bytes: u64) -> Problem {
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

/// One entry for each digest.
fn distinct(wanted: Vec<Wanted>) -> Result<BTreeMap<Sha256Hex, Wanted>, Problem> {
    let bad = |message: String| Problem::new(Code::BadRequest, message);
    if wanted.len() > WANTED_MAX {
        return Err(bad(format!("a plan may ask for {WANTED_MAX} objects")));
    }
    let mut by_digest: BTreeMap<Sha256Hex, Wanted> = BTreeMap::new();
    for one in wanted {
        if one.size_bytes > OBJECT_BYTES_MAX {
            return Err(bad(format!("{} is larger than 5 GiB", one.sha256)));
        }
        let size_bytes = one.size_bytes;
        let known = by_digest.entry(one.sha256.clone()).or_insert(one);
        if known.size_bytes != size_bytes {
            return Err(bad(format!("{} has two sizes", known.sha256)));
        }
    }
    Ok(by_digest)
}

fn compare(upload: &Upload, found: &Checked) -> Result<(), Problem> {
    if found.size_bytes != upload.size_bytes {
        return Err(Problem::new(Code::SizeMismatch, "the bytes have another size than announced")
            .detail("expected_bytes", upload.size_bytes)
            .detail("observed_bytes", found.size_bytes));
    }
    if found.sha256 != upload.sha256 {
        return Err(Problem::new(Code::Sha256Mismatch, "the bytes have another SHA-256 than announced")
            .detail("expected_sha256", upload.sha256.as_str())
            .detail("observed_sha256", found.sha256.as_str()));
    }
    Ok(())
}

fn room(lease: &LeaseView) -> Room {
    Room { bytes_max: u64::try_from(lease.limits.storage_bytes).unwrap_or_default() }
}

fn url_expiry(created_at: DateTime<Utc>) -> DateTime<Utc> {
    created_at + TimeDelta::minutes(URL_MINUTES)
}

fn not_found(id: UploadId) -> Problem {
    Problem::new(Code::UploadNotFound, format!("no upload {id}"))
}

/// The object store failed: what the caller is told.
pub(crate) fn storage_problem(error: BlobError) -> Problem {
    tracing::warn!(error = &error as &dyn std::error::Error, "object store");
    Problem::new(Code::StorageUnavailable, "the object store did not answer").mutation(Mutation::NotStarted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(digit: char, size_bytes: u64) -> Wanted {
        Wanted { sha256: digit.to_string().repeat(64).parse().unwrap(), size_bytes, content_type: None }
    }

    #[test]
    fn the_same_object_twice_is_one_and_two_sizes_of_it_are_refused() {
        let both = distinct(vec![wanted('a', 1), wanted('b', 2), wanted('a', 1)]).unwrap();
        assert_eq!(both.len(), 2);
        assert_eq!(distinct(vec![wanted('a', 1), wanted('a', 2)]).unwrap_err().code, Code::BadRequest);
        assert!(distinct(vec![wanted('a', OBJECT_BYTES_MAX)]).is_ok());
        assert!(distinct(vec![wanted('a', OBJECT_BYTES_MAX + 1)]).is_err());
        assert!(distinct(vec![]).unwrap().is_empty());
    }
}
