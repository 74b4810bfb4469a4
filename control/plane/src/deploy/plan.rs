//! Planning: what a spec would change, and which content it lacks.

use actors::deploy::{FunctionDiff, RouteDiff, SiteDiff, Spec, Transaction, deploy_problem};
use chrono::TimeDelta;
use serde_json::{Value, json};
use store::deploys::{self, Plan, Replay};
use types::{CiBindingId, Code, OperationId, PlanId, Problem, ProjectId, ReleaseId, Sha256Hex, kill_point};

use super::compare::Ground;
use super::spec::{invalid, normalise, project};
use super::warn::Warning;
use crate::Plane;
use crate::blob::AssetRef;
use crate::caller::Caller;
use crate::ci::{CiSession, for_workflow, scope};
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

/// A migration of the spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationPlan {
    pub id: String,
    pub checksum: String,
    pub transaction: Transaction,
    /// It has not run yet.
    pub is_new: bool,
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
    pub migrations: Vec<MigrationPlan>,
    pub site: SiteDiff,
    pub functions: FunctionDiff,
    pub routes: RouteDiff,
    pub secrets_removed: Vec<String>,
    pub names_added: Vec<String>,
    pub names_removed: Vec<String>,
    /// The blobs that the spec puts, as they will be.
    pub assets: Vec<AssetRef>,
    /// How many of its puts and deletions of blobs change something.
    pub assets_changed: usize,
    /// Keys of the blobs that go.
    pub assets_deleted: Vec<String>,
    /// Folders that are made to hold what is put and nothing else.
    pub assets_synced: Vec<String>,
}

/// Who plans what.
struct Planner {
    project: ProjectId,
    /// The wallet, or the binding.
    by: String,
    ci: Option<CiSession>,
}

/// In whose name a plan is remembered.
struct By {
    name: String,
    ci_binding: Option<CiBindingId>,
}

impl Plane {
    /// Compares a spec with what is live, and remembers the plan unless it is a dry run. The same question
    /// gets the same plan, so that a repeat after a lost answer cannot deploy twice.
    ///
    /// # Errors
    /// As [`Plane::wallet`]; the lifecycle's refusals; `INVALID_SPEC` and its kin; `BASE_RELEASE_CONFLICT`;
    /// `SUBDOMAIN_TAKEN`; `MIGRATION_CHECKSUM_MISMATCH`; `INVALID_MANIFEST`; what the tier does not allow.
    ///
    /// # Source
    /// Wire contract 02 section 4.2.
    pub async fn deploy_plan(&self, caller: &Caller, request: PlanRequest) -> Result<Planned, Problem> {
        let Planner { project: id, by, ci } = self.planner(caller, &request).await?;
        let spec = match &request.manifest_ref {
            Some(reference) => normalise(&self.manifest(id, reference).await?)?,
            None => normalise(&request.spec)?,
        };
        if spec.project != id {
            return Err(invalid("project", "the uploaded spec names another project"));
        }
        let ground = self.ground(&spec).await?;
        let mut planned = self.compare(&spec, &ground).await?;
        if let Some(session) = &ci {
            scope::check_routes(&planned.routes, session)?;
        }
        if !request.dry_run {
            let key = request.idempotency_key.or_else(|| caller.idempotency_key.clone());
            let by = By { name: by, ci_binding: ci.map(|session| session.binding) };
            planned.ids = Some(self.plan_remember(&spec, &planned, &ground, key, by).await?);
        }
        Ok(planned)
    }

    /// Who plans, and for which project.
    async fn planner(&self, caller: &Caller, request: &PlanRequest) -> Result<Planner, Problem> {
        let project = project(&request.spec)?;
        let planner = match self.ci_session(caller).await? {
            Some(session) => {
                scope::check_request(request, project, &session)?;
                let account = self.project_live(project).await?.account;
                if !request.dry_run {
                    self.account_gate(account).await.map_err(for_workflow)?;
                }
                Planner { project, by: session.binding.to_string(), ci: Some(session) }
            }
            None => {
                let account = self.project_owner(caller, project).await?;
                let wallet = self.wallet(caller).await?;
                if !request.dry_run {
                    self.account_gate(account).await?;
                }
                Planner { project, by: wallet.to_string(), ci: None }
            }
        };
        if request.idempotency_key.as_ref().is_some_and(|key| key.len() > IDEMPOTENCY_KEY_BYTES_MAX) {
            return Err(invalid("idempotency_key", "it is longer than 256 bytes"));
        }
        if request.manifest_ref.is_some() && request.dry_run {
            return Err(invalid("manifest_ref", "a dry run takes its spec inline"));
        }
        Ok(planner)
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

    /// Puts a spec live that was made here, and waits for it: a commit's time, and `patience` more.
    ///
    /// # Errors
    /// As [`Plane::deploy_plan`] and [`Plane::deploy_commit`]; what the operation failed with.
    pub(crate) async fn spec_deploy(
        &self,
        spec: &Spec,
        created_by: String,
        (trace, patience): (types::TraceId, std::time::Duration),
    ) -> Result<(), Problem> {
        let ground = self.ground(spec).await?;
        let planned = self.compare(spec, &ground).await?;
        if planned.is_noop {
            return Ok(());
        }
        let (plan, _) = self
            .plan_remember(spec, &planned, &ground, None, By { name: created_by, ci_binding: None })
            .await?;
        self.plan_carry_out(plan, trace, patience).await
    }

    async fn plan_remember(
        &self,
        spec: &Spec,
        planned: &Planned,
        ground: &Ground,
        idempotency_key: Option<String>,
        by: By,
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
            ci_binding: by.ci_binding,
            is_noop: planned.is_noop,
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
            created_by: by.name,
            ci_binding: by.ci_binding,
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
