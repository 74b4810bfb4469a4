//! What must hold before an operation starts, and again when it does.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use store::deploys::Plan;
use store::releases::{LiveProject, Release};
use types::{Code, Mutation, Problem, ReleaseId, Sha256Hex};

use super::{Spec, deploy_problem, effective};
use crate::Deps;
use crate::kit::ActorError;

/// Missing contents that a failure names at most.
const NAMED_MAX: usize = 20;

/// Whether a plan may go ahead.
#[derive(Debug)]
pub enum Verdict {
    Go,
    /// It would change nothing: this release is its result.
    Noop(ReleaseId),
    Refused(Box<Problem>),
}

/// Judges a plan against what is there now: the project lives, the base did not move, nobody else changes the
/// database, the content and the secrets are in.
///
/// # Errors
/// `Store`, or `Outside` of the object store, when that cannot be looked up.
pub async fn check(deps: &Deps, plan: &Plan, spec: &Spec) -> Result<Verdict, ActorError> {
    let refused = |problem: Problem| {
        let problem = problem
            .mutation(Mutation::NotStarted)
            .extra("operation_id", plan.operation.to_string())
            .extra("plan_id", plan.id.to_string());
        Ok(Verdict::Refused(Box::new(problem)))
    };
    let problem = |code, message: &str| deploy_problem(code, "validate", message);
    let live = store::releases::live_project_find(&deps.store, plan.project).await?;
    let Some(live) = live.filter(|live| live.is_ready) else {
        return refused(problem(Code::ProjectNotFound, "the project is gone"));
    };
    if live.active_release != plan.active_release {
        return refused(problem(Code::BaseReleaseConflict, "another release went live since the plan"));
    }
    if let (true, Some(active)) = (plan.is_noop, plan.active_release) {
        return Ok(Verdict::Noop(active));
    }
    let gate = store::deploys::gate_find(&deps.store, plan.project).await?;
    if let Some(gate) = gate.filter(|gate| gate.operation != plan.operation) {
        return refused(gated(gate.operation));
    }
    if let Some(missing) = missing_content(deps, spec, plan).await? {
        return refused(missing);
    }
    if let Some(missing) = missing_secrets(deps, spec).await? {
        return refused(missing);
    }
    match effective(deps, spec.clone()).await {
        Ok(_) => Ok(Verdict::Go),
        Err(ActorError::Refused(problem)) => refused(*problem),
        Err(e) => Err(e),
    }
}

/// Another deploy is changing the project's database.
pub(super) fn gated(holder: types::OperationId) -> Problem {
    let message = "another deploy is changing the project's database";
    deploy_problem(Code::MigrateGateActive, "migrate-gate", message)
        .mutation(Mutation::NotStarted)
        .extra("retry_after", 2)
        .detail("operation_id", holder.to_string())
}

/// The objects that the project does not hold in the size that the spec says.
async fn missing_content(deps: &Deps, spec: &Spec, plan: &Plan) -> Result<Option<Problem>, ActorError> {
    let contents = spec.needs();
    let mut wanted: Vec<Sha256Hex> = contents.iter().map(|(sha256, ..)| Sha256Hex::clone(sha256)).collect();
    wanted.sort();
    wanted.dedup();
    let held = store::content::content_held(&deps.store, plan.project, &wanted).await?;
    let missing: BTreeMap<&Sha256Hex, &str> = contents
        .iter()
        .filter(|(sha256, size, _)| held.get(*sha256) != Some(size))
        .map(|(sha256, _, place)| (*sha256, place.as_str()))
        .collect();
    let first = contents.iter().find(|(sha256, ..)| missing.contains_key(*sha256));
    let Some((_, _, place)) = first else { return Ok(None) };
    let code = match place.starts_with("database.migrations") {
        true => Code::MigrationSqlNotFound,
        false => Code::ContentUploadFailed,
    };
    let message = format!("{} of the plan's objects were not uploaded", missing.len());
    let named: Vec<&str> = missing.keys().take(NAMED_MAX).map(|sha256| sha256.as_str()).collect();
    let problem = deploy_problem(code, "validate", message);
    Ok(Some(problem.extra("resource", place.as_str()).detail("missing", named)))
}

/// Keys that the spec requires or deletes and the project does not have.
async fn missing_secrets(deps: &Deps, spec: &Spec) -> Result<Option<Problem>, ActorError> {
    let (require, delete) = spec.secret_keys();
    if require.is_empty() && delete.is_empty() {
        return Ok(None);
    }
    let held = store::function_secrets::function_secrets_list(&deps.store, spec.project).await?;
    let absent = |keys: &[String]| -> Vec<String> {
        keys.iter().filter(|key| !held.iter().any(|one| one.key == **key)).cloned().collect()
    };
    let (required, deleted) = (absent(require), absent(delete));
    let (place, keys) = match (required.is_empty(), deleted.is_empty()) {
        (true, true) => return Ok(None),
        (false, _) => ("secrets.require", required),
        (true, false) => ("secrets.delete", deleted),
    };
    let message = format!("the project has no secret {}", keys.join(", "));
    let problem = deploy_problem(Code::MissingRequiredSecret, "validate", message);
    Ok(Some(problem.extra("resource", place).detail("keys", keys)))
}

/// The `urls` of a finished operation: text to text.
///
/// # Errors
/// `Store`.
///
/// # Source
/// Wire contract 02 section 4.3.
pub async fn urls(deps: &Deps, live: &LiveProject, release: &Release) -> Result<Value, ActorError> {
    let site = deps.hosts.project_url(&live.public_id);
    let mut urls = json!({
        "project": site,
        "site": site,
        "release": deps.hosts.deployment_url(&release.deployment_id),
        "deployment_id": release.deployment_id,
    });
    if let Some(host) = &deps.functions {
        let functions = store::releases::release_functions(&deps.store, release.id).await?;
        let listed: Vec<Value> = functions
            .iter()
            .map(|one| json!({ "name": one.name, "url": host.url(&one.name), "schedule": one.schedule }))
            .collect();
        for function in &functions {
            // Our own words come first.
            if urls.get(&function.name).is_none() {
                urls[function.name.as_str()] = host.url(&function.name).into();
            }
        }
        urls["functions"] = Value::from(listed).to_string().into();
    }
    let names = store::subdomains::subdomain_list(&deps.store, live.id).await?;
    if let Some(name) = names.first() {
        urls["subdomain"] = deps.hosts.subdomain_url(&name.name).into();
    }
    Ok(urls)
}
