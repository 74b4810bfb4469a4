//! Committing plans, and watching what becomes of them.

use std::time::Duration;

use actors::deploy::{Request, Spec, Verdict, check, deploy_problem, effective};
use actors::kit::ActorError;
use serde_json::{Value, json};
use store::deploys::{self, Operation, OperationPage, Plan, Status};
use types::{Code, Mutation, OperationId, PlanId, Problem, ProjectId, ReleaseId, TraceId, kill_point};

use super::plan::PlanRequest;
use crate::Plane;
use crate::caller::Caller;
use crate::ci::{CiSession, for_workflow};
use crate::keys::store_problem;

/// How long a commit waits for its operation; after that the client polls.
const WAIT_SECS_MAX: u64 = 10;
const LOOK_EVERY: Duration = Duration::from_millis(200);
const PAGE_DEFAULT: u64 = 20;
const PAGE_MAX: u64 = 100;

/// What a commit tells.
#[derive(Debug, Clone)]
pub struct Committed {
    pub operation: Operation,
    pub status: CommitStatus,
}

/// The few states that a commit's answer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitStatus {
    Running,
    SchemaSettling,
    ActivationPending,
    Ready,
    Failed,
}

impl CommitStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::SchemaSettling => "schema_settling",
            Self::ActivationPending => "activation_pending",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }

    fn of(status: Status) -> Self {
        match status {
            Status::Planning
            | Status::Uploading
            | Status::Committing
            | Status::Staging
            | Status::Gating
            | Status::Migrating
            | Status::Activating => Self::Running,
            Status::SchemaSettling => Self::SchemaSettling,
            Status::ActivationPending => Self::ActivationPending,
            Status::Ready => Self::Ready,
            Status::Failed | Status::RolledBack | Status::NeedsRepair => Self::Failed,
        }
    }
}

impl Plane {
    /// Puts a plan live, or says where it stands when it was committed before. Waits a little for the end.
    ///
    /// # Errors
    /// `PLAN_NOT_FOUND`; the lifecycle's refusals; what must hold before it starts: `BASE_RELEASE_CONFLICT`,
    /// `CONTENT_UPLOAD_FAILED` (upload it and commit again).
    ///
    /// # Source
    /// Wire contract 02 section 4.3.
    pub async fn deploy_commit(&self, caller: &Caller, id: PlanId) -> Result<Committed, Problem> {
        let plan = self.plan_of(caller, id).await?;
        self.plan_commit(&plan, caller.trace).await
    }

    /// Commits a plan that was made here, and waits until it is live: as long as a commit does, and `patience` more.
    ///
    /// # Errors
    /// As [`Plane::deploy_commit`]; what the operation failed with, or that it has not ended.
    pub(super) async fn plan_carry_out(
        &self,
        id: PlanId,
        trace: TraceId,
        patience: Duration,
    ) -> Result<(), Problem> {
        let plan = self.plan_fetch(id).await?;
        let first = self.plan_commit(&plan, trace).await?;
        let Committed { operation, status } = match first.status {
            CommitStatus::Ready | CommitStatus::Failed => first,
            _ => tokio::time::timeout(patience, self.plan_ended(&plan)).await.unwrap_or(Ok(first))?,
        };
        match status {
            CommitStatus::Ready => Ok(()),
            _ => Err(crate::functions::failure(operation.status, operation.error.as_ref())),
        }
    }

    /// Looks again and again until the operation ends.
    async fn plan_ended(&self, plan: &Plan) -> Result<Committed, Problem> {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let operation = self.operation_fetch(plan.operation).await?;
            if operation.status.is_terminal() {
                return Ok(answer(operation));
            }
        }
    }

    async fn plan_commit(&self, plan: &Plan, trace: TraceId) -> Result<Committed, Problem> {
        let operation = self.operation_fetch(plan.operation).await?;
        if operation.status.is_terminal() {
            return Ok(answer(operation));
        }
        if matches!(operation.status, Status::Planning | Status::Uploading) {
            let told = |e| if plan.ci_binding.is_some() { for_workflow(e) } else { e };
            self.commit_allowed(plan).await.map_err(told)?;
        }
        kill_point!("deploy.asked");
        let asked = self.drive(plan, Request::Commit { trace }).await;
        let operation = self.operation_fetch(plan.operation).await?;
        kill_point!("deploy.answering");
        match asked {
            // It never started, so the caller must be told why; once it has, its row says everything.
            Err(e) if matches!(operation.status, Status::Planning | Status::Uploading) => {
                Err(e.into_problem())
            }
            _ => Ok(answer(operation)),
        }
    }

    /// Makes an earlier release's site, functions and routes live again: a deploy like another, on that base.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND` when the project has no such release that is or was live; as
    /// [`Plane::deploy_plan`] and [`Plane::deploy_commit`].
    ///
    /// # Source
    /// Wire contract 02 section 4.9, "Later clients".
    pub async fn release_promote(
        &self,
        caller: &Caller,
        project: ProjectId,
        release: ReleaseId,
    ) -> Result<Committed, Problem> {
        self.project_owner(caller, project).await?;
        let absent = || Problem::new(Code::ResourceNotFound, format!("no release {release}"));
        let found =
            store::releases::release_find(&self.deps().store, release).await.map_err(store_problem)?;
        let was_live = |status: &str| matches!(status, "active" | "superseded");
        found.filter(|r| r.project == project && was_live(&r.status)).ok_or_else(absent)?;
        let spec = json!({ "project": project, "base": { "release_id": release } });
        let request = PlanRequest { spec, manifest_ref: None, idempotency_key: None, dry_run: false };
        let planned = self.deploy_plan(caller, request).await?;
        let (plan, _) = planned.ids.ok_or_else(absent)?;
        self.deploy_commit(caller, plan).await
    }

    /// Tries again what an operation could not do before.
    ///
    /// # Errors
    /// `OPERATION_NOT_FOUND`; `NOT_RESUMABLE` when it has ended or was never committed.
    pub async fn deploy_resume(&self, caller: &Caller, id: OperationId) -> Result<Operation, Problem> {
        let operation = match self.ci_session(caller).await? {
            Some(session) => {
                let operation = self.workflows_operation(&session, id).await?;
                let account = self.project_live(operation.project).await?.account;
                self.account_gate(account).await.map_err(for_workflow)?;
                operation
            }
            None => {
                let operation = self.operation_fetch(id).await?;
                let owner = self.project_owner(caller, operation.project).await;
                let account = owner.map_err(|e| foreign(e, no_operation(id)))?;
                self.account_gate(account).await?;
                operation
            }
        };
        if operation.status.is_terminal() || matches!(operation.status, Status::Planning | Status::Uploading)
        {
            let message = format!("the operation is {}", operation.status.as_str());
            return Err(deploy_problem(Code::NotResumable, "resume", message)
                .extra("operation_id", id.to_string())
                .extra("plan_id", operation.plan.to_string()));
        }
        let plan = self.plan_fetch(operation.plan).await?;
        if let Err(e) = self.drive(&plan, Request::Resume { trace: caller.trace }).await {
            tracing::warn!(operation.id = %id, error = &e as &dyn std::error::Error, "resume did not end");
        }
        self.operation_fetch(id).await
    }

    /// # Errors
    /// `OPERATION_NOT_FOUND`, also for another project's.
    pub async fn operation_get(&self, caller: &Caller, id: OperationId) -> Result<Operation, Problem> {
        if let Some(session) = self.ci_session(caller).await? {
            return self.workflows_operation(&session, id).await;
        }
        let operation = self.operation_fetch(id).await?;
        self.project_reader(caller, operation.project).await.map_err(|e| foreign(e, no_operation(id)))?;
        Ok(operation)
    }

    /// The key's project's operations, the newest first.
    ///
    /// # Errors
    /// `UNAUTHORIZED`.
    pub async fn operation_list(
        &self,
        caller: &Caller,
        limit: Option<u64>,
        after: Option<OperationId>,
    ) -> Result<OperationPage, Problem> {
        let (project, binding) = match self.ci_session(caller).await? {
            Some(session) => (session.project, Some(session.binding)),
            None => (self.project_key(caller).await?.project, None),
        };
        let limit = limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
        deploys::operation_list(&self.deps().store, project, binding, after, limit)
            .await
            .map_err(store_problem)
    }

    /// What an operation did, in order.
    ///
    /// # Errors
    /// `OPERATION_NOT_FOUND`, also for another project's.
    pub async fn operation_events(&self, caller: &Caller, id: OperationId) -> Result<Vec<Value>, Problem> {
        let operation = self.operation_get(caller, id).await?;
        deploys::events_list(&self.deps().store, operation.id).await.map_err(store_problem)
    }

    async fn plan_of(&self, caller: &Caller, id: PlanId) -> Result<Plan, Problem> {
        let session = self.ci_session(caller).await?;
        let plan = self.plan_fetch(id).await?;
        match session {
            Some(session) => workflows_own(&session, &plan)?,
            None => {
                self.project_owner(caller, plan.project).await.map_err(|e| foreign(e, no_plan(id)))?;
            }
        }
        Ok(plan)
    }

    /// An operation that the session's own binding planned.
    async fn workflows_operation(&self, session: &CiSession, id: OperationId) -> Result<Operation, Problem> {
        let operation = self.operation_fetch(id).await?;
        workflows_own(session, &self.plan_fetch(operation.plan).await?)?;
        Ok(operation)
    }

    async fn plan_fetch(&self, id: PlanId) -> Result<Plan, Problem> {
        let found = deploys::plan_find(&self.deps().store, id).await.map_err(store_problem)?;
        found.ok_or_else(|| no_plan(id))
    }

    async fn operation_fetch(&self, id: OperationId) -> Result<Operation, Problem> {
        let found = deploys::operation_find(&self.deps().store, id).await.map_err(store_problem)?;
        found.ok_or_else(|| no_operation(id))
    }

    /// What must hold before anything starts; a plan that fails here may be committed again.
    async fn commit_allowed(&self, plan: &Plan) -> Result<(), Problem> {
        // First: who is frozen is told so, whatever else is wrong by then.
        let account = self.project_live(plan.project).await?.account;
        self.account_gate(account).await?;
        if plan.expires_at <= self.now() {
            return Err(no_plan(plan.id));
        }
        let spec = spec(plan)?;
        match check(self.deps(), plan, &spec).await.map_err(ActorError::into_problem)? {
            Verdict::Go => self.manifest_allowed(spec).await,
            Verdict::Noop(_) => Ok(()),
            Verdict::Refused(problem) => Err(*problem),
        }
    }

    /// By now all content is there, so a manifest that does not fit is told before anything starts.
    async fn manifest_allowed(&self, spec: Spec) -> Result<(), Problem> {
        let contents = self.contents(&spec).await?;
        let carried = effective(self.deps(), spec).await.map_err(ActorError::into_problem)?.spec;
        let migrations = self.migrations(&carried).await?;
        self.exposes(&carried, &migrations, &contents).await.map(drop)
    }

    /// Asks the operation's actor and waits for it, but not for long.
    async fn drive(&self, plan: &Plan, request: Request) -> Result<(), ActorError> {
        let wait = Duration::from_secs(self.config().wait_secs_max.clamp(1, WAIT_SECS_MAX));
        let done = self.actors().deploy.call(plan.operation, request, wait).await;
        self.forget(plan.project, plan);
        done
    }

    /// Whoever deployed looks at the site next, maybe before the database's hint has come.
    fn forget(&self, project: ProjectId, plan: &Plan) {
        self.sites().forget_project(project);
        let change = spec(plan).ok().and_then(|spec| spec.subdomains).unwrap_or_default();
        for name in change.set.iter().flatten().chain(&change.add).chain(&change.remove) {
            self.sites().forget_name(name);
        }
    }
}

fn spec(plan: &Plan) -> Result<Spec, Problem> {
    serde_json::from_value(plan.spec.clone())
        .map_err(|_| Problem::new(Code::Internal, "the stored spec cannot be read"))
}

fn answer(operation: Operation) -> Committed {
    Committed { status: CommitStatus::of(operation.status), operation }
}

/// A workflow sees what its own binding planned.
///
/// # Source
/// Wire contract 02 section 8.4.
fn workflows_own(session: &CiSession, plan: &Plan) -> Result<(), Problem> {
    if plan.ci_binding == Some(session.binding) && plan.project == session.project {
        return Ok(());
    }
    Err(Problem::new(Code::CiForbiddenPlan, "this was planned by somebody else"))
}

/// What belongs to somebody else does not exist.
fn foreign(problem: Problem, absent: Problem) -> Problem {
    match problem.code {
        Code::Forbidden | Code::ProjectNotFound => absent,
        _ => problem,
    }
}

fn no_plan(id: PlanId) -> Problem {
    deploy_problem(Code::PlanNotFound, "plan", format!("no plan {id}")).mutation(Mutation::NotStarted)
}

fn no_operation(id: OperationId) -> Problem {
    deploy_problem(Code::OperationNotFound, "commit", format!("no operation {id}"))
}
