//! Content plans: what is missing of a deploy's content, and where to put it.

use std::collections::BTreeMap;
use std::time::Duration;

use blobs::{BlobError, PutGrant};
use chrono::{DateTime, TimeDelta, Utc};
use futures::TryStreamExt;
use store::content::{self, ContentPlan, Room, Upload, UploadState};
use types::{CiBindingId, Code, ContentPlanId, Mutation, Problem, ProjectId, Sha256Hex, UploadId};

use crate::Plane;
use crate::caller::Caller;
use crate::ci::{for_workflow, out_of_scope};
use crate::keys::store_problem;
use crate::tiers::LeaseView;

/// Objects that one plan may ask for.
///
/// As many as a site may have files: a client sends one plan for all that is missing.
pub const WANTED_MAX: usize = 50_000;
/// What S3 takes in one PUT.
pub const OBJECT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
/// How long a presigned URL is good for.
pub(crate) const URL_MINUTES: i64 = 60;
/// How long an upload may be completed: a slow one outlives its URL.
pub(crate) const UPLOAD_HOURS: i64 = 24;
/// Uploads of a plan that are hashed and copied at once.
const TAKEN_AT_ONCE: usize = 8;

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

/// Who brings content, and to which project.
struct Asker {
    project: ProjectId,
    /// The workflow's.
    ci_binding: Option<CiBindingId>,
}

impl Asker {
    fn told(&self, problem: Problem) -> Problem {
        if self.ci_binding.is_some() { for_workflow(problem) } else { problem }
    }
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
        let asker = self.content_asker(caller, project).await?;
        let project = asker.project;
        self.data_call(project).await?;
        let lease = self.content_gate(project).await.map_err(|e| asker.told(e))?;
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
        let (plan, sessions) = self.uploads_open(&asker, &missing).await?;
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
        let asker = self.content_asker(caller, None).await?;
        self.data_call(asker.project).await?;
        let store = &self.deps().store;
        let plan = content::content_plan_find(store, id).await.map_err(store_problem)?;
        let plan = plan
            .filter(|plan| plan.project == asker.project)
            .ok_or_else(|| Problem::new(Code::PlanNotFound, format!("no content plan {id}")))?;
        if asker.ci_binding.is_some() && plan.ci_binding != asker.ci_binding {
            return Err(Problem::new(Code::CiForbiddenPlan, "this content was planned by somebody else"));
        }
        let lease = self.content_gate(plan.project).await.map_err(|e| asker.told(e))?;
        let uploads = content::content_plan_uploads(store, id).await.map_err(store_problem)?;
        let taking = futures::stream::iter(uploads.into_iter().map(Ok))
            .try_for_each_concurrent(TAKEN_AT_ONCE, |upload| async move {
                self.upload_take(&upload, &[], room(&lease)).await.map(drop)
            });
        self.in_completion_time(taking).await?;
        let mut tx = store.begin().await.map_err(store_problem)?;
        content::content_plan_commit(&mut tx, id).await.map_err(store_problem)?;
        tx.commit().await.map_err(store_problem)
    }

    /// A workflow's project or the key's; without either, the one named in the body, for its owner.
    async fn content_asker(&self, caller: &Caller, named: Option<ProjectId>) -> Result<Asker, Problem> {
        if let Some(session) = self.ci_session(caller).await? {
            let (project, ci_binding) = (session.project, Some(session.binding));
            return match named {
                Some(named) if named != project => Err(out_of_scope()),
                _ => Ok(Asker { project, ci_binding }),
            };
        }
        let project = match named {
            Some(project) => self.project_reader(caller, project).await.map(|()| project)?,
            None => self.project_key(caller).await?.project,
        };
        Ok(Asker { project, ci_binding: None })
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
        let asker = Asker { project, ci_binding: None };
        let (_, sessions) = self.uploads_open(&asker, &[&missing]).await?;
        for session in sessions {
            let put = self.deps().blobs.put(&session.upload.staging_key, bytes.clone()).await;
            put.map_err(storage_problem)?;
            self.upload_take(&session.upload, &[], room(&lease)).await?;
        }
        Ok(())
    }

    pub(crate) async fn content_gate(&self, project: ProjectId) -> Result<LeaseView, Problem> {
        let account = self.project_live(project).await?.account;
        self.account_gate(account).await
    }

    async fn uploads_open(
        &self,
        asker: &Asker,
        missing: &[&Wanted],
    ) -> Result<(ContentPlan, Vec<Session>), Problem> {
        let (deps, now) = (self.deps(), self.now());
        let project = asker.project;
        let url_expires_at = url_expiry(now);
        let plan = ContentPlan {
            id: ContentPlanId::new(&*deps.entropy),
            project,
            ci_binding: asker.ci_binding,
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
                sha256: Some(wanted.sha256.clone()),
                size_bytes: wanted.size_bytes,
                content_type: wanted.content_type.clone(),
                blob: None,
                multipart: None,
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

pub(crate) fn room(lease: &LeaseView) -> Room {
    Room { bytes_max: u64::try_from(lease.limits.storage_bytes).unwrap_or_default() }
}

pub(crate) fn url_expiry(created_at: DateTime<Utc>) -> DateTime<Utc> {
    created_at + TimeDelta::minutes(URL_MINUTES)
}

pub(crate) fn not_found(id: UploadId) -> Problem {
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
