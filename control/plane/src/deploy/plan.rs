//! Planning: what a spec would change, and which content it lacks.

use actors::deploy::{
    Anchor, Base, Files, SiteDiff, Spec, base_files, deploy_problem, digest, materialise, site_diff,
};
use chrono::TimeDelta;
use serde_json::{Value, json};
use store::deploys::{self, Plan, Replay};
use store::releases::{self, LiveProject};
use types::{Code, OperationId, PlanId, Problem, ProjectId, ReleaseId, Sha256Hex, Wallet, kill_point};

use super::spec::{invalid, normalise, project, too_many_names};
use crate::Plane;
use crate::caller::Caller;
use crate::content::storage_problem;
use crate::keys::store_problem;

/// How long a plan may be committed.
const PLAN_HOURS: i64 = 24;
/// A spec that was uploaded because it is too large for a body.
const MANIFEST_BYTES_MAX: usize = 32 * 1024 * 1024;
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

/// What to plan.
#[derive(Debug, Clone)]
pub struct PlanRequest {
    pub spec: Value,
    /// Where the real spec is, in the project's content.
    pub manifest_ref: Option<Value>,
    pub idempotency_key: Option<String>,
    /// Validate and compare only.
    pub dry_run: bool,
}

/// Content that the spec refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingContent {
    pub sha256: Sha256Hex,
    pub size_bytes: u64,
    pub present: bool,
}

/// Something the author should know. None of ours blocks a deploy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub code: &'static str,
    pub severity: &'static str,
    pub message: String,
    pub affected: Vec<String>,
}

/// A plan, or what a dry run found out.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Absent for a dry run.
    pub ids: Option<(PlanId, OperationId)>,
    pub base_release: Option<ReleaseId>,
    pub digest: Sha256Hex,
    pub is_noop: bool,
    pub contents: Vec<MissingContent>,
    pub warnings: Vec<Warning>,
    pub site: SiteDiff,
    pub names_added: Vec<String>,
    pub names_removed: Vec<String>,
}

/// Everything that a plan is computed from.
struct Ground {
    live: LiveProject,
    base_release: Option<ReleaseId>,
    base: Files,
    shown: Files,
    names: Vec<String>,
}

impl Plane {
    /// Compares a spec with what is live, and remembers the plan unless it is a dry run. The same question
    /// gets the same plan, so that a repeat after a lost answer cannot deploy twice.
    ///
    /// # Errors
    /// As [`Plane::wallet`]; the lifecycle's refusals; `INVALID_SPEC` and its kin; `BASE_RELEASE_CONFLICT`;
    /// `SUBDOMAIN_TAKEN`.
    ///
    /// # Source
    /// Wire contract 02 section 4.2.
    pub async fn deploy_plan(&self, caller: &Caller, request: PlanRequest) -> Result<Planned, Problem> {
        let (wallet, id) = self.planner(caller, &request).await?;
        let spec = match &request.manifest_ref {
            Some(reference) => normalise(&self.manifest(id, reference).await?)?,
            None => normalise(&request.spec)?,
        };
        if spec.project != id {
            return Err(invalid("project", "the uploaded spec names another project"));
        }
        let ground = self.ground(&spec).await?;
        let mut planned = self.compare(&spec, &ground).await?;
        if !request.dry_run {
            let key = request.idempotency_key.or_else(|| caller.idempotency_key.clone());
            planned.ids = Some(self.plan_remember(&spec, &planned, &ground, key, wallet).await?);
        }
        Ok(planned)
    }

    /// Who plans, and for which project.
    async fn planner(&self, caller: &Caller, request: &PlanRequest) -> Result<(Wallet, ProjectId), Problem> {
        let project = project(&request.spec)?;
        let account = self.project_owner(caller, project).await?;
        let wallet = self.wallet(caller).await?;
        if !request.dry_run {
            self.account_gate(account).await?;
        }
        if request.idempotency_key.as_ref().is_some_and(|key| key.len() > IDEMPOTENCY_KEY_BYTES_MAX) {
            return Err(invalid("idempotency_key", "it is longer than 256 bytes"));
        }
        if request.manifest_ref.is_some() && request.dry_run {
            return Err(invalid("manifest_ref", "a dry run takes its spec inline"));
        }
        Ok((wallet, project))
    }

    /// The spec that was uploaded beforehand.
    async fn manifest(&self, project: ProjectId, reference: &Value) -> Result<Value, Problem> {
        let sha256: Sha256Hex = reference
            .get("sha256")
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| invalid("manifest_ref.sha256", "64 lower-case hex digits are needed"))?;
        let wanted = std::slice::from_ref(&sha256);
        let held = store::content::content_held(&self.deps().store, project, wanted).await;
        let size = held.map_err(store_problem)?.get(&sha256).copied().ok_or_else(|| {
            deploy_problem(Code::ContentUploadFailed, "validate", "the spec was not uploaded")
                .extra("resource", "manifest_ref")
        })?;
        if reference.get("size").and_then(Value::as_u64).is_some_and(|told| told != size) {
            return Err(invalid("manifest_ref.size", "the uploaded spec has another size"));
        }
        if size > MANIFEST_BYTES_MAX as u64 {
            return Err(invalid("manifest_ref", "the spec is larger than 32 MiB"));
        }
        let key = blobs::cas_key(&sha256);
        let bytes = blobs::read_all(&*self.deps().blobs, &key, MANIFEST_BYTES_MAX).await;
        serde_json::from_slice(&bytes.map_err(storage_problem)?)
            .map_err(|e| invalid("manifest_ref", &format!("the uploaded spec is not JSON: {e}")))
    }

    async fn ground(&self, spec: &Spec) -> Result<Ground, Problem> {
        let store = &self.deps().store;
        let live = releases::live_project_find(store, spec.project).await.map_err(store_problem)?;
        let live = live.filter(|live| live.is_ready).ok_or_else(|| {
            deploy_problem(Code::ProjectNotReady, "plan", "the project is being made or erased")
        })?;
        let base_release = match spec.base {
            Base::Release(Anchor::Current) => live.active_release,
            Base::Release(Anchor::Empty) if live.active_release.is_some() => {
                let message = "base is empty, but the project has a release";
                return Err(deploy_problem(Code::BaseReleaseConflict, "validate", message)
                    .extra("resource", "base.release"));
            }
            Base::Release(Anchor::Empty) => None,
            Base::ReleaseId(id) => Some(self.base_release(spec.project, id).await?),
        };
        let files = |release| base_files(store, release);
        let base = files(base_release).await.map_err(actors::kit::ActorError::into_problem)?;
        let shown = match live.active_release {
            same if same == base_release => base.clone(),
            other => files(other).await.map_err(actors::kit::ActorError::into_problem)?,
        };
        let names = store::subdomains::subdomain_list(store, spec.project).await.map_err(store_problem)?;
        let names = names.into_iter().map(|one| one.name).collect();
        Ok(Ground { live, base_release, base, shown, names })
    }

    /// A release to build on: one that is or was live.
    async fn base_release(&self, project: ProjectId, id: ReleaseId) -> Result<ReleaseId, Problem> {
        let found = releases::release_find(&self.deps().store, id).await.map_err(store_problem)?;
        found
            .filter(|release| release.project == project)
            .filter(|release| matches!(release.status.as_str(), "active" | "superseded"))
            .map(|release| release.id)
            .ok_or_else(|| invalid("base.release_id", "the project has no such release"))
    }

    async fn compare(&self, spec: &Spec, ground: &Ground) -> Result<Planned, Problem> {
        let (names_added, names_removed) = self.names(spec, ground).await?;
        let contents = self.contents(spec).await?;
        let files = materialise(&ground.base, spec.site.as_ref(), &ground.shown);
        let site = site_diff(&ground.shown, &files);
        let same = site.is_empty() && names_added.is_empty() && names_removed.is_empty();
        Ok(Planned {
            ids: None,
            base_release: ground.base_release,
            digest: digest(spec),
            // Without a release there is always one to make.
            is_noop: same && ground.live.active_release.is_some(),
            contents,
            warnings: warnings(ground, &site),
            site,
            names_added,
            names_removed,
        })
    }

    /// Names that come and go.
    async fn names(&self, spec: &Spec, ground: &Ground) -> Result<(Vec<String>, Vec<String>), Problem> {
        let Some(change) = &spec.subdomains else { return Ok((Vec::new(), Vec::new())) };
        let after = change.apply(&ground.names);
        let added: Vec<String> = after.iter().filter(|name| !ground.names.contains(name)).cloned().collect();
        let removed = ground.names.iter().filter(|name| !after.contains(name)).cloned().collect();
        if !added.is_empty() && after.len() > 1 {
            return Err(too_many_names());
        }
        for name in &added {
            let held =
                store::subdomains::subdomain_find(&self.deps().store, name).await.map_err(store_problem)?;
            if held.is_some() {
                let message = format!("{name} belongs to another project");
                return Err(deploy_problem(Code::DeploySubdomainTaken, "validate", message)
                    .extra("resource", format!("subdomains.{name}")));
            }
        }
        Ok((added, removed))
    }

    /// Every distinct reference of the spec, once.
    async fn contents(&self, spec: &Spec) -> Result<Vec<MissingContent>, Problem> {
        let mut wanted: Vec<(Sha256Hex, u64)> =
            spec.contents().map(|(_, content)| (content.sha256.clone(), content.size)).collect();
        wanted.sort();
        wanted.dedup();
        let names: Vec<Sha256Hex> = wanted.iter().map(|(sha256, _)| sha256.clone()).collect();
        let held = store::content::content_held(&self.deps().store, spec.project, &names).await;
        let held = held.map_err(store_problem)?;
        for (path, content) in spec.contents() {
            if held.get(&content.sha256).is_some_and(|size| *size != content.size) {
                let place = format!("{}.size", spec.resource(path));
                return Err(invalid(&place, "this content has another size"));
            }
        }
        let missing = |(sha256, size_bytes): (Sha256Hex, u64)| {
            let present = held.contains_key(&sha256);
            MissingContent { sha256, size_bytes, present }
        };
        Ok(wanted.into_iter().map(missing).collect())
    }

    async fn plan_remember(
        &self,
        spec: &Spec,
        planned: &Planned,
        ground: &Ground,
        idempotency_key: Option<String>,
        wallet: Wallet,
    ) -> Result<(PlanId, OperationId), Problem> {
        let (deps, now) = (self.deps(), self.now());
        let mut tx = deps.store.begin().await.map_err(store_problem)?;
        deploys::plan_lock(&mut tx, spec.project, &planned.digest).await.map_err(store_problem)?;
        let replay = Replay {
            project: spec.project,
            base_release: planned.base_release,
            active_release: ground.live.active_release,
            digest: &planned.digest,
            idempotency_key: idempotency_key.as_deref(),
            now,
        };
        if let Some(plan) = deploys::plan_replay_find(&mut tx, &replay).await.map_err(store_problem)? {
            return Ok((plan.id, plan.operation));
        }
        let plan = Plan {
            id: PlanId::new(&*deps.entropy),
            project: spec.project,
            operation: OperationId::new(&*deps.entropy),
            base_release: planned.base_release,
            active_release: ground.live.active_release,
            spec: serde_json::to_value(spec)
                .map_err(|_| Problem::new(Code::Internal, "the spec could not be stored"))?,
            digest: planned.digest.clone(),
            idempotency_key,
            is_noop: planned.is_noop,
            created_by: wallet.to_string(),
            created_at: now,
            expires_at: now + TimeDelta::hours(PLAN_HOURS),
        };
        let event = json!({ "type": "plan.created", "plan_id": plan.id, "is_noop": plan.is_noop });
        deploys::plan_create(&mut tx, &plan, &[event]).await.map_err(store_problem)?;
        kill_point!("deploy.plan.written");
        tx.commit().await.map_err(store_problem)?;
        kill_point!("deploy.plan.inserted");
        let is_noop = plan.is_noop;
        tracing::info!(plan.id = %plan.id, operation.id = %plan.operation, is_noop, "deploy planned");
        Ok((plan.id, plan.operation))
    }
}

fn warnings(ground: &Ground, site: &SiteDiff) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if ground.live.active_release.is_none() {
        warnings.push(Warning {
            code: "FIRST_DEPLOY",
            severity: "info",
            message: "This is the project's first deploy.".to_owned(),
            affected: Vec::new(),
        });
    }
    let changed = |change: &&actors::deploy::FileChange| {
        change.old.sha256 != change.new.sha256 && sites::is_fingerprinted(&change.new.path)
    };
    let affected: Vec<String> =
        site.changed.iter().filter(changed).map(|change| change.new.path.clone()).collect();
    if !affected.is_empty() {
        warnings.push(Warning {
            code: "STATIC_IMMUTABLE_PATH_CHANGED",
            severity: "info",
            message: "Names that look like digests get new bytes; browsers may keep the old ones.".to_owned(),
            affected,
        });
    }
    warnings
}
