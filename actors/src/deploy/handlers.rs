//! Decides, writes under the fence, remembers: in that order.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use store::Fence;
use store::deploys::{self, Event, Status, Step};
use store::outbox::outbox_append;
use store::releases::{self, NewRelease, Release};
use types::{Code, Entropy, Mutation, OperationId, Problem, ReleaseId, Sha256Hex, TraceId, kill_point};

use super::error::{error_object, is_final};
use super::{
    Parts, Spec, State, Unmade, Verdict, check, checks, database, deploy_problem, effective, parts_after,
    parts_of, urls,
};
use crate::kit::ActorError;
use crate::{Deps, project};

const ACTIVATE_SECS_MAX: u64 = 20;

/// Whether a step led to another that can be taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Go {
    On,
    /// Something has to come first: a commit, a database, the sweep.
    Wait,
}

impl State {
    pub(super) fn moved(&mut self, to: Status, now: DateTime<Utc>) {
        self.operation.status = to;
        self.operation.updated_at = now;
    }
}

pub(super) async fn load(deps: &Arc<Deps>, id: OperationId, fence: Fence) -> Result<State, ActorError> {
    let absent = || Problem::new(Code::OperationNotFound, format!("no operation {id}"));
    let operation = deploys::operation_find(&deps.store, id).await?.ok_or_else(absent)?;
    let plan = deploys::plan_find(&deps.store, operation.plan).await?.ok_or_else(absent)?;
    Ok(State { operation, plan, fence, spec: None })
}

/// Starts the operation, once, and takes it as far as it gets.
pub(super) async fn commit(deps: &Arc<Deps>, state: &mut State, trace: TraceId) -> Result<(), ActorError> {
    if matches!(state.operation.status, Status::Planning | Status::Uploading) {
        let now = deps.clock.now();
        if state.plan.expires_at <= now {
            let problem = deploy_problem(Code::PlanNotFound, "plan", "the plan has expired");
            return Err(problem.mutation(Mutation::NotStarted).into());
        }
        let mut step = Step::new(state.operation.status, Event::Committed, now);
        step.trace = Some(trace);
        step.events = vec![phase("validate", "started")];
        state.operation.trace = Some(trace);
        write(deps, state, step, None).await?;
        kill_point!("deploy.committing");
    }
    advance(deps, state).await
}

/// Goes on until the operation ends or something has to wait.
pub(super) async fn advance(deps: &Arc<Deps>, state: &mut State) -> Result<(), ActorError> {
    loop {
        let go = match state.operation.status {
            Status::Committing => validate(deps, state).await?,
            Status::Staging => stage(deps, state).await?,
            Status::Gating => database::gate(deps, state).await?,
            Status::Migrating => database::migrate(deps, state).await?,
            Status::SchemaSettling => database::settle(deps, state).await?,
            Status::Activating | Status::ActivationPending => activate(deps, state).await?,
            // Waits for a commit, or has ended.
            Status::Planning
            | Status::Uploading
            | Status::Ready
            | Status::Failed
            | Status::RolledBack
            | Status::NeedsRepair => Go::Wait,
        };
        if go == Go::Wait {
            return Ok(());
        }
    }
}

async fn validate(deps: &Arc<Deps>, state: &mut State) -> Result<Go, ActorError> {
    let spec = planned(state)?;
    let now = deps.clock.now();
    match check(deps, &state.plan, &spec).await? {
        Verdict::Refused(problem) => fail(deps, state, "validate", &problem).await,
        Verdict::Go => {
            let mut step = Step::new(Status::Committing, Event::Validated, now);
            step.events = vec![phase("validate", "done"), phase("stage", "started")];
            write(deps, state, step, None).await?;
            kill_point!("deploy.validated");
            Ok(Go::On)
        }
        Verdict::Noop(active) => {
            let live = release(deps, active).await?;
            let mut step = Step::new(Status::Committing, Event::FoundNoop, now);
            step.events = vec![phase("validate", "done")];
            finish(deps, state, step, &live).await
        }
    }
}

/// Writes the release with its parts. Invisible, so a crash right after it costs nothing.
async fn stage(deps: &Arc<Deps>, state: &mut State) -> Result<Go, ActorError> {
    let spec = spec(deps, state).await?;
    let base = parts_of(&deps.store, state.plan.base_release).await?;
    let shown = match state.plan.active_release {
        same if same == state.plan.base_release => base.files.clone(),
        other => parts_of(&deps.store, other).await?.files,
    };
    let Parts { files, functions, routes } = match parts_after(&base, &spec, &shown) {
        Ok(parts) => parts,
        Err(unmade) => return fail(deps, state, "stage", &misfit(&unmade)).await,
    };
    match crate::functions::build_all(deps, state.plan.project, functions.values()).await {
        Err(ActorError::Refused(problem)) => return fail(deps, state, "stage", &problem).await,
        built => built?,
    }
    let now = deps.clock.now();
    let release = NewRelease {
        id: ReleaseId::new(&*deps.entropy),
        project: state.plan.project,
        parent: state.plan.base_release,
        operation: state.operation.id,
        plan: state.plan.id,
        digest: state.plan.digest.clone(),
        deployment_id: deployment_id(now, &*deps.entropy),
        created_by: state.plan.created_by.clone(),
        created_at: now,
        files: files.into_values().collect(),
        functions: functions.into_values().collect(),
        routes,
    };
    let (event, next) = match spec.touches_database() {
        true => (Event::StagedToMigrate, "migrate-gate"),
        false => (Event::Staged, "activate"),
    };
    let mut step = Step::new(Status::Staging, event, now);
    step.target_release = Some(release.id);
    step.events = vec![phase("stage", "done"), phase(next, "started")];

    let mut tx = deps.store.fenced(&state.fence).await?;
    let mut contents: Vec<Sha256Hex> = release.files.iter().map(|file| file.sha256.clone()).collect();
    contents.extend(spec.contents().into_iter().map(|placed| placed.content.sha256.clone()));
    contents.sort();
    contents.dedup();
    if store::content::content_pin(tx.tx(), state.plan.project, &contents).await? < contents.len() {
        drop(tx);
        let message = "content of the plan was given up in the meantime: plan again";
        return fail(deps, state, "stage", &deploy_problem(Code::ContentUploadFailed, "stage", message))
            .await;
    }
    releases::release_stage(&mut tx, &release).await?;
    let status = deploys::operation_step(&mut tx, state.operation.id, &step).await?;
    kill_point!("deploy.stage.written");
    tx.commit().await?;
    kill_point!("deploy.staged");

    state.moved(status, now);
    state.operation.target_release = Some(release.id);
    let files = release.files.len();
    tracing::info!(operation.id = %state.operation.id, release.id = %release.id, files, "release staged");
    Ok(Go::On)
}

/// What does not fit together, as the author reads it.
pub fn misfit(unmade: &Unmade) -> Problem {
    let (place, message) = match unmade {
        Unmade::NoSource(name) => {
            let place = format!("functions.patch.set.{name}");
            let message = format!("{place}: a function that is not there yet needs a source");
            (place, message)
        }
        Unmade::NoTarget(route) => {
            let message = format!(
                "routes: {} leads to {}, which is no function of this release",
                route.pattern, route.target
            );
            ("routes".to_owned(), message)
        }
    };
    deploy_problem(Code::InvalidSpec, "validate", message)
        .extra("resource", place.as_str())
        .extra("fix", json!({ "action": "set_field", "path": place }))
}

/// Asks the project's actor to move its pointer. The rows, not the answer, say whether it did.
async fn activate(deps: &Arc<Deps>, state: &mut State) -> Result<Go, ActorError> {
    let operation = state.operation.id;
    let target = state
        .operation
        .target_release
        .ok_or_else(|| store::StoreError::Corrupt(format!("operation {operation} activates nothing")))?;
    let request = project::Request::Activate { release: target, operation };
    kill_point!("deploy.activation.asking");
    let asked = deps
        .actors()
        .project
        .call(state.plan.project, request, Duration::from_secs(ACTIVATE_SECS_MAX))
        .await
        .err();
    kill_point!("deploy.activation.answered");
    let staged = release(deps, target).await?;
    let from = state.operation.status;
    if matches!(staged.status.as_str(), "active" | "superseded") {
        let mut step = Step::new(from, Event::Activated, deps.clock.now());
        step.events = vec![phase("activate", "done")];
        return finish(deps, state, step, &staged).await;
    }
    let problem = match asked {
        Some(ActorError::Refused(problem)) if is_final(problem.code) => {
            let migrated = spec(deps, state).await?.touches_database();
            let mutation = if migrated { Mutation::Partial } else { problem.mutation };
            return fail(deps, state, "activate", &problem.mutation(mutation)).await;
        }
        Some(e) => {
            let error = &e as &dyn std::error::Error;
            tracing::warn!(operation.id = %operation, error, "activation put off");
            deploy_problem(Code::ActivationFailed, "activate", "the release could not be made live yet")
        }
        None => deploy_problem(Code::ActivationFailed, "activate", "the release is not live yet"),
    };
    let problem = problem.mutation(Mutation::Committed);
    let mut step = Step::new(from, Event::ActivationDeferred, deps.clock.now());
    step.error = Some(error_object(&problem, &state.operation));
    step.events = vec![phase("activate", "failed")];
    write(deps, state, step, None).await?;
    Ok(Go::Wait)
}

/// The step into `ready`.
async fn finish(
    deps: &Arc<Deps>,
    state: &mut State,
    mut step: Step,
    release: &Release,
) -> Result<Go, ActorError> {
    let live = releases::live_project_find(&deps.store, state.plan.project).await?;
    let live = live.ok_or(store::StoreError::NotFound("project"))?;
    let urls = urls(deps, &live, release).await?;
    let planned = planned(state)?.checks;
    if !planned.is_empty() {
        let parts = parts_of(&deps.store, Some(release.id)).await?;
        let url = deps.hosts.project_url(&live.public_id).trim_end_matches('/').to_owned();
        let at = checks::Looked { deps, project: state.plan.project, url, parts: &parts };
        step.events.extend(checks::looked(&planned, &at).await);
    }
    step.release = Some(release.id);
    step.events.push(phase("ready", "done"));
    step.events.push(json!({ "type": "ready", "releaseId": release.id, "urls": urls }));
    step.urls = Some(urls);
    write(deps, state, step, None).await?;
    kill_point!("deploy.ready");
    Ok(Go::Wait)
}

/// The step into `failed`. A release that was staged never goes live.
pub(super) async fn fail(
    deps: &Arc<Deps>,
    state: &mut State,
    during: &str,
    problem: &Problem,
) -> Result<Go, ActorError> {
    let mut step = Step::new(state.operation.status, Event::Failed, deps.clock.now());
    step.error = Some(error_object(problem, &state.operation));
    step.events = vec![phase(during, "failed")];
    write(deps, state, step, state.operation.target_release).await?;
    Ok(Go::Wait)
}

/// Writes a step, then remembers it. `failed` is a staged release that must not go live any more.
pub(super) async fn write(
    deps: &Arc<Deps>,
    state: &mut State,
    step: Step,
    failed: Option<ReleaseId>,
) -> Result<(), ActorError> {
    let id = state.operation.id;
    let mut tx = deps.store.fenced(&state.fence).await?;
    if let Some(release) = failed {
        releases::release_fail(&mut tx, release).await?;
    }
    let status = deploys::operation_step(&mut tx, id, &step).await?;
    if step.event == Event::Committed {
        // Whoever waits may give up and this node may die: the relay starts it again.
        outbox_append(tx.tx(), "deploy.step", json!({ "id": id })).await?;
    }
    tx.commit().await?;

    state.moved(status, step.now);
    tracing::info!(operation.id = %id, from = step.from.as_str(), to = status.as_str(), "operation moved");
    Ok(())
}

async fn release(deps: &Arc<Deps>, id: ReleaseId) -> Result<Release, ActorError> {
    let found = releases::release_find(&deps.store, id).await?;
    Ok(found.ok_or(store::StoreError::NotFound("release"))?)
}

/// The spec as it is carried out. Read once: content never changes under its name.
pub(super) async fn spec(deps: &Arc<Deps>, state: &mut State) -> Result<Arc<Spec>, ActorError> {
    if let Some(spec) = &state.spec {
        return Ok(spec.clone());
    }
    let spec = Arc::new(effective(deps, planned(state)?).await?.spec);
    state.spec = Some(spec.clone());
    Ok(spec)
}

/// The spec as it was planned.
fn planned(state: &State) -> Result<Spec, ActorError> {
    serde_json::from_value(state.plan.spec.clone())
        .map_err(|e| store::StoreError::Corrupt(format!("spec of plan {}: {e}", state.plan.id)).into())
}

pub(super) fn phase(phase: &str, status: &str) -> Value {
    json!({ "type": "commit.phase", "phase": phase, "status": status })
}

/// `dpl_<base 36 milliseconds>_<6 hex digits>`.
fn deployment_id(now: DateTime<Utc>, entropy: &dyn Entropy) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut rest = now.timestamp_millis().unsigned_abs();
    let mut time = Vec::new();
    while rest > 0 {
        time.push(char::from(DIGITS[(rest % 36) as usize]));
        rest /= 36;
    }
    let random = hex::encode(&entropy.secret()[..3]);
    format!("dpl_{}_{random}", time.iter().rev().collect::<String>())
}

#[cfg(test)]
mod tests {
    use types::OsEntropy;

    use super::*;

    #[test]
    fn a_deployment_id_is_one_that_hosts_can_carry() {
        let now = DateTime::from_timestamp_millis(1_764_000_000_000).unwrap();
        let id = deployment_id(now, &OsEntropy);
        let hosts = sites::Hosts::new("http", "localhost", Some(4020));
        let host = hosts.deployment_url(&id).replace("http://", "");
        assert_eq!(hosts.parse(&host), sites::SiteHost::Deployment(id));
    }
}
