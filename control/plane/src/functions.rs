//! Functions: deployed one by one, looked at, called, and what they wrote.
//!
//! A function that is deployed alone goes live as a release that changes nothing else, so that every gate, limit
//! and fence of a deploy holds for it.

mod answer;
mod asked;
mod deploy;
mod invoke;
mod packages;
mod rebuild;
mod runs;
mod triggers;

use actors::functions::FunctionHost;
pub use actors::functions::RunAnswer;
use chrono::{DateTime, Utc};
use store::functions::{LiveFunction, logs_read};
use store::releases::ReleaseFunction;
use types::{Code, Problem, ProjectId};

use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

pub use ::functions::LIBRARY_VERSION;
pub use answer::FunctionAnswer;
pub use store::functions::{FunctionRun, LiveTrigger, LogEntry, Policy, Run, Scheduled};
pub use store::releases::Trigger;

pub use asked::LogsAsked;
pub(crate) use asked::{EVENT_TYPE_CHARS_MAX, PAYLOAD_BYTES_MAX, retry};
pub(crate) use deploy::failure;
pub use deploy::{FunctionChange, FunctionDeploy};
pub use invoke::{Incoming, RoutedCall};
pub use rebuild::RebuiltFunction;
pub use runs::{RetryAsked, RunAsked, RunsAsked};

/// Runs of a history that are shown at most.
const RUNS_MAX: i64 = 500;

/// A function as its owner sees it.
#[derive(Debug, Clone)]
pub struct FunctionView {
    pub name: String,
    pub url: String,
    pub runtime: String,
    pub timeout_seconds: i32,
    pub memory_mb: i32,
    pub schedule: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    /// None without a schedule.
    pub scheduled: Option<Scheduled>,
    /// In place of a schedule.
    pub triggers: Vec<LiveTrigger>,
    /// npm packages by name, with the version of each.
    pub packages: std::collections::BTreeMap<String, String>,
    /// Of the bundler, when it was deployed.
    pub warnings: Vec<String>,
}

/// Of `GET /status`.
#[derive(Debug, Clone)]
pub struct FunctionStatus {
    /// Why this machine runs no functions.
    pub refused: Option<String>,
    /// Why sandboxes have no control groups.
    pub ungrouped: Option<String>,
    pub workers: functions::Counts,
}

impl Plane {
    /// The functions of the live release by name.
    ///
    /// # Errors
    /// As [`Plane::service_key`].
    pub async fn function_list(
        &self,
        caller: &Caller,
        project: ProjectId,
    ) -> Result<Vec<FunctionView>, Problem> {
        self.service_key(caller, project).await?;
        let live = store::functions::live_functions(&self.deps().store, project).await;
        let triggers = store::functions::triggers_live(&self.deps().store, project, None).await;
        let triggers = triggers.map_err(store_problem)?;
        let view = |one| {
            let view = self.function_view(one);
            let own = triggers.iter().filter(|trigger| trigger.function == view.name).cloned().collect();
            FunctionView { triggers: own, ..view }
        };
        Ok(live.map_err(store_problem)?.into_iter().map(view).collect())
    }

    /// What a function wrote, the oldest entry first.
    ///
    /// # Errors
    /// As [`Plane::service_key`]; `BAD_REQUEST`; `FUNCTION_NOT_FOUND`.
    ///
    /// # Source
    /// Wire contract 03 section 2.5.
    pub async fn function_logs(
        &self,
        caller: &Caller,
        (project, name): (ProjectId, &str),
        asked: LogsAsked,
    ) -> Result<Vec<LogEntry>, Problem> {
        self.service_key(caller, project).await?;
        let query = asked.query()?;
        if !is_word(name) {
            return Err(no_function(name));
        }
        let found = logs_read(&self.deps().store, (project, name), &query).await.map_err(store_problem)?;
        found.ok_or_else(|| no_function(name))
    }

    /// The newest runs of a function, by schedule or by hand.
    ///
    /// # Errors
    /// As [`Plane::service_key`]; `FUNCTION_NOT_FOUND`.
    pub async fn function_runs(
        &self,
        caller: &Caller,
        (project, name): (ProjectId, &str),
        limit: i64,
    ) -> Result<Vec<Run>, Problem> {
        self.service_key(caller, project).await?;
        self.function_live(project, name).await?;
        let limit = limit.clamp(1, RUNS_MAX);
        let runs = store::functions::runs_list(&self.deps().store, (project, name), limit).await;
        runs.map_err(store_problem)
    }

    /// Runs a function as its schedule would, and waits for it.
    ///
    /// # Errors
    /// As [`Plane::service_key`]; `FUNCTION_NOT_FOUND`; `RATE_LIMITED`, `QUOTA_EXCEEDED`.
    ///
    /// # Source
    /// Wire contract 03 section 2.9.
    pub async fn function_trigger(
        &self,
        caller: &Caller,
        (project, name): (ProjectId, &str),
    ) -> Result<(RunAnswer, FunctionView), Problem> {
        self.service_key(caller, project).await?;
        self.data_call(project).await?;
        let ran = actors::functions::run_now(&self.inner.deps, (project, name)).await;
        let ran = ran.map_err(actors::kit::ActorError::into_problem)?.ok_or_else(|| no_function(name))?;
        Ok((ran, self.function_view(self.function_live(project, name).await?)))
    }

    /// Right after a change the next time is not written yet.
    fn with_next(&self, scheduled: Scheduled, schedule: Option<&str>) -> Scheduled {
        let cron = || ::functions::Cron::parse(schedule?)?.next_after(self.now());
        Scheduled { next_run_at: scheduled.next_run_at.or_else(cron), ..scheduled }
    }

    /// Whether and how this server runs functions; none when it is not meant to.
    pub fn function_status(&self) -> Option<FunctionStatus> {
        let host = self.function_host()?;
        Some(FunctionStatus {
            refused: host.refused().map(str::to_owned),
            ungrouped: host.workers().ungrouped().map(str::to_owned),
            workers: host.workers().counts(),
        })
    }

    pub(crate) fn function_host(&self) -> Option<&FunctionHost> {
        self.deps().functions.as_deref()
    }

    pub(crate) async fn function_live(
        &self,
        project: ProjectId,
        name: &str,
    ) -> Result<LiveFunction, Problem> {
        if !is_word(name) {
            return Err(no_function(name));
        }
        let live = store::functions::live_function_find(&self.deps().store, project, name).await;
        live.map_err(store_problem)?.ok_or_else(|| no_function(name))
    }

    fn function_view(&self, live: LiveFunction) -> FunctionView {
        let LiveFunction { function, created_at, updated_at, scheduled, .. } = live;
        let packages = actors::deploy::packages_of(&function);
        let ReleaseFunction { name, runtime, timeout_seconds, memory_mb, schedule, .. } = function;
        FunctionView {
            url: format!("{}/functions/v1/{name}", self.public_url()),
            name,
            runtime,
            timeout_seconds,
            memory_mb,
            created_at,
            updated_at,
            scheduled: scheduled.map(|scheduled| self.with_next(scheduled, schedule.as_deref())),
            schedule,
            packages,
            triggers: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// Whether this can be a name or an id of ours.
fn is_word(text: &str) -> bool {
    text.len() <= 128 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn no_function(name: &str) -> Problem {
    Problem::new(Code::FunctionNotFound, format!("no function {name}"))
}
