//! One function deployed, changed or deleted: a release that changes nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use actors::deploy::{Anchor, Base, Content, FunctionChange as SpecChange, FunctionSpec, RUNTIME, Spec};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use store::deploys::Status;
use types::{Code, Mutation, Problem, ProjectId, Sha256Hex};

use super::{FunctionView, Policy};
use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

const NAME_BYTES_MAX: usize = 64;
/// Paths of ours below `/functions/v1/`.
const RESERVED: [&str; 2] = ["runs", "invoke"];
/// A release of somebody else may go live in between.
const ATTEMPTS_MAX: u32 = 5;
const CREATED_BY: &str = "service_key";

/// A function to make or replace.
#[derive(Debug, Clone)]
pub struct FunctionDeploy {
    pub name: String,
    pub code: String,
    pub change: FunctionChange,
    /// npm packages: names, with a version, range or tag after `@`.
    pub deps: Vec<String>,
}

/// What else of a function is to change; none stays as it is.
#[derive(Debug, Clone, Default)]
pub struct FunctionChange {
    pub timeout_seconds: Option<i32>,
    pub memory_mb: Option<i32>,
    /// Some(None) takes it away.
    pub schedule: Option<Option<String>>,
    pub policy: Policy,
}

impl Plane {
    /// Builds a function and puts it live. Repeating it changes nothing.
    ///
    /// # Errors
    /// As [`Plane::service_key`]; the lifecycle's refusals; `BAD_FUNCTION`; `FUNCTION_BUILD_FAILED` with the
    /// quoted line or npm's words, and what was live still is; what the tier does not allow;
    /// `FUNCTION_UNAVAILABLE` for packages where none are installed.
    ///
    /// # Source
    /// Wire contract 03 section 2.1.
    pub async fn function_deploy(
        &self,
        caller: &Caller,
        project: ProjectId,
        asked: FunctionDeploy,
    ) -> Result<FunctionView, Problem> {
        self.function_changer(caller, project).await?;
        let name = checked_name(&asked.name)?.to_owned();
        if asked.code.trim().is_empty() {
            return Err(bad("code", "the module's source is needed"));
        }
        let packages = self.packages_resolved(&asked.deps).await?;
        let mut change = asked.change;
        let live = store::functions::live_function_find(&self.deps().store, project, &name).await;
        if live.map_err(store_problem)?.is_none() {
            let limits = self.deps().prices.limits(self.tier_of(project).await?);
            let number = |limit: i64| i32::try_from(limit).ok();
            change.timeout_seconds = change.timeout_seconds.or_else(|| number(limits.function_timeout_secs));
            change.memory_mb = change.memory_mb.or_else(|| number(limits.function_memory_mb));
        }
        let source = self.function_source(project, asked.code).await?;
        let policy = change.policy.clone();
        let mut spec = function_spec(change)?;
        spec.runtime = Some(RUNTIME.to_owned());
        spec.source = Some(actors::functions::packaged(source, packages));
        let set = BTreeMap::from([(name.clone(), spec)]);
        self.functions_change(caller, project, SpecChange::Patch { set, delete: Vec::new() }).await?;
        self.policy_set((project, &name), &policy).await?;
        let live = self.function_live(project, &name).await?;
        let warnings = actors::functions::warnings(self.deps(), project, &live.function).await;
        let warnings = warnings.map_err(actors::kit::ActorError::into_problem)?;
        Ok(FunctionView { warnings, ..self.function_view(live) })
    }

    /// Changes a function's limits or schedule, and answers what it then is.
    ///
    /// # Errors
    /// As [`Plane::function_deploy`]; `FUNCTION_NOT_FOUND`.
    ///
    /// # Source
    /// Wire contract 03 section 2.3.
    pub async fn function_update(
        &self,
        caller: &Caller,
        (project, name): (ProjectId, &str),
        change: FunctionChange,
    ) -> Result<FunctionView, Problem> {
        self.function_changer(caller, project).await?;
        self.function_live(project, name).await?;
        let policy = change.policy.clone();
        let set = BTreeMap::from([(name.to_owned(), function_spec(change)?)]);
        self.functions_change(caller, project, SpecChange::Patch { set, delete: Vec::new() }).await?;
        self.policy_set((project, name), &policy).await?;
        Ok(self.function_view(self.function_live(project, name).await?))
    }

    async fn policy_set(&self, function: (ProjectId, &str), policy: &Policy) -> Result<(), Problem> {
        if policy.missed.is_none() && policy.overlap.is_none() {
            return Ok(());
        }
        let set = store::functions::function_policy_set(&self.deps().store, function, policy).await;
        set.map_err(store_problem)
    }

    /// # Errors
    /// As [`Plane::service_key`]; the lifecycle's refusals; `FUNCTION_NOT_FOUND`; `INVALID_SPEC` while a route
    /// leads to it.
    ///
    /// # Source
    /// Wire contract 03 section 2.4.
    pub async fn function_delete(
        &self,
        caller: &Caller,
        project: ProjectId,
        name: &str,
    ) -> Result<(), Problem> {
        self.function_changer(caller, project).await?;
        self.function_live(project, name).await?;
        let change = SpecChange::Patch { set: BTreeMap::new(), delete: vec![name.to_owned()] };
        self.functions_change(caller, project, change).await
    }

    async fn function_changer(&self, caller: &Caller, project: ProjectId) -> Result<(), Problem> {
        self.service_key(caller, project).await?;
        let account = self.project_live(project).await?.account;
        self.account_gate(account).await.map(drop)
    }

    /// Keeps the source with the project's content, where releases look for it.
    async fn function_source(&self, project: ProjectId, code: String) -> Result<Content, Problem> {
        let content = Content {
            sha256: Sha256Hex::from_bytes(Sha256::digest(code.as_bytes()).into()),
            size: code.len() as u64,
            content_type: "text/javascript".to_owned(),
        };
        self.content_keep(project, &content.sha256, Bytes::from(code)).await?;
        Ok(content)
    }

    /// Puts a change of functions live, on whatever is live by then.
    async fn functions_change(
        &self,
        caller: &Caller,
        project: ProjectId,
        change: SpecChange,
    ) -> Result<(), Problem> {
        let spec = Spec {
            project,
            base: Base::Release(Anchor::Current),
            database: None,
            secrets: None,
            functions: Some(change),
            site: None,
            subdomains: None,
            routes: None,
            assets: None,
            checks: Vec::new(),
        };
        for attempt in 1.. {
            match self.spec_deploy(&spec, CREATED_BY.to_owned(), (caller.trace, Duration::ZERO)).await {
                Err(problem) if problem.code == Code::BaseReleaseConflict && attempt < ATTEMPTS_MAX => {}
                outcome => return outcome,
            }
        }
        Ok(())
    }
}

/// # Source
/// Wire contract 03 sections 2.1 and 2.6.
fn checked_name(name: &str) -> Result<&str, Problem> {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    if !first || name.len() > NAME_BYTES_MAX || !name.bytes().all(rest) {
        let why = "a function's name has 1 to 64 of a-z, 0-9, - and _, and begins with a letter or digit";
        return Err(bad("name", why));
    }
    if RESERVED.contains(&name) {
        return Err(bad("name", "this name is a path of the platform"));
    }
    Ok(name)
}

fn function_spec(change: FunctionChange) -> Result<FunctionSpec, Problem> {
    let positive = |n: i32| (1..=1_000_000).contains(&n);
    if !change.timeout_seconds.is_none_or(positive) {
        return Err(bad("config.timeout", "a whole number of seconds from 1 is needed"));
    }
    if !change.memory_mb.is_none_or(|n| (16..=1_000_000).contains(&n)) {
        return Err(bad("config.memory", "a whole number of megabytes from 16 is needed"));
    }
    if let Some(Some(schedule)) = &change.schedule
        && crate::deploy::interval_minutes(schedule).is_none()
    {
        return Err(bad("schedule", "five fields of cron are needed, such as */15 * * * *"));
    }
    Ok(FunctionSpec {
        runtime: None,
        source: None,
        timeout_seconds: change.timeout_seconds,
        memory_mb: change.memory_mb,
        schedule: change.schedule.map(|schedule| schedule.map(|text| text.trim().to_owned())),
        triggers: None,
    })
}

pub(super) fn bad(field: &str, why: &str) -> Problem {
    Problem::new(Code::BadFunction, format!("{field}: {why}")).detail("field", field)
}

/// The error of an operation that failed, for somebody who never saw the operation.
pub(crate) fn failure(status: Status, error: Option<&Value>) -> Problem {
    let text = |name: &str| error.and_then(|error| error.get(name)).and_then(Value::as_str);
    let code = text("code").and_then(|word| Code::ALL.iter().copied().find(|code| code.as_str() == word));
    let message = text("message").unwrap_or("the change did not go live");
    let mut problem = Problem::new(code.unwrap_or(Code::ActivationFailed), message);
    for name in ["resource", "logs"] {
        if let Some(value) = error.and_then(|error| error.get(name)) {
            problem = problem.extra(name, value.clone());
        }
    }
    match status {
        Status::Failed | Status::RolledBack => problem.mutation(Mutation::NotStarted),
        _ => problem.mutation(Mutation::Unknown),
    }
}
