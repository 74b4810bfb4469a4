//! What must hold before an operation starts, and again when it does.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use store::Store;
use store::deploys::Plan;
use store::releases::{LiveProject, Release};
use types::{Code, Mutation, Problem, ReleaseId, Sha256Hex};

use super::{Files, Spec, deploy_problem};
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

/// Judges a plan against what is there now: the project lives, the base did not move, the content is in.
///
/// # Errors
/// `Store` when that cannot be looked up.
pub async fn check(deps: &Deps, plan: &Plan, spec: &Spec) -> Result<Verdict, ActorError> {
    let refused = |code, message: &str| {
        let problem = deploy_problem(code, "validate", message)
            .mutation(Mutation::NotStarted)
            .extra("operation_id", plan.operation.to_string())
            .extra("plan_id", plan.id.to_string());
        Verdict::Refused(Box::new(problem))
    };
    let live = store::releases::live_project_find(&deps.store, plan.project).await?;
    let Some(live) = live.filter(|live| live.is_ready) else {
        return Ok(refused(Code::ProjectNotFound, "the project is gone"));
    };
    if live.active_release != plan.active_release {
        return Ok(refused(Code::BaseReleaseConflict, "another release went live since the plan"));
    }
    if let (true, Some(active)) = (plan.is_noop, plan.active_release) {
        return Ok(Verdict::Noop(active));
    }
    let missing = missing(deps, spec, plan).await?;
    let Some((path, _)) = missing.first_key_value() else { return Ok(Verdict::Go) };
    let message = format!("{} of the plan's objects were not uploaded", missing.len());
    let Verdict::Refused(problem) = refused(Code::ContentUploadFailed, &message) else {
        return Ok(Verdict::Go);
    };
    let named: Vec<&str> = missing.values().take(NAMED_MAX).map(|sha256| sha256.as_str()).collect();
    Ok(Verdict::Refused(Box::new(problem.extra("resource", spec.resource(path)).detail("missing", named))))
}

/// One path for each object that the project does not hold in that size.
async fn missing<'a>(
    deps: &Deps,
    spec: &'a Spec,
    plan: &Plan,
) -> Result<BTreeMap<&'a str, &'a Sha256Hex>, ActorError> {
    let mut wanted: Vec<Sha256Hex> = spec.contents().map(|(_, content)| content.sha256.clone()).collect();
    wanted.sort();
    wanted.dedup();
    let held = store::content::content_held(&deps.store, plan.project, &wanted).await?;
    Ok(spec
        .contents()
        .filter(|(_, content)| held.get(&content.sha256) != Some(&content.size))
        .map(|(path, content)| (path.as_str(), &content.sha256))
        .collect())
}

/// The files of a release, none for no release.
///
/// # Errors
/// `Store`.
pub async fn base_files(store: &Store, release: Option<ReleaseId>) -> Result<Files, ActorError> {
    let Some(release) = release else { return Ok(Files::new()) };
    let files = store::releases::release_files(store, release).await?;
    Ok(files.into_iter().map(|file| (file.path.clone(), file)).collect())
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
    let names = store::subdomains::subdomain_list(&deps.store, live.id).await?;
    if let Some(name) = names.first() {
        urls["subdomain"] = deps.hosts.subdomain_url(&name.name).into();
    }
    Ok(urls)
}
