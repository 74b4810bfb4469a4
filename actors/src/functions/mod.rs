//! Functions of projects: built when a release is staged, run when somebody calls them.
//!
//! [`FunctionHost`] is what a node needs for it; a server without one stores functions and runs none. What a
//! function finds in its environment is read when a worker is bound and named by a version, so that the call
//! after a change of a secret gets a worker of its own.

mod attempt;
mod build;
mod ends;
mod environment;
mod log_keeper;
mod runs;
#[cfg(test)]
mod runs_tests;
mod user_token;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use functions::{
    BundleError, Bundler, Call, Egress, Function, LogLine, LogStream, NodeRunner, Packages, Reply, RunError,
    Workers,
};
use futures::FutureExt;
use store::StoreError;
use store::projects::Secret;
use store::releases::ReleaseFunction;
use tokio::sync::Semaphore;
use types::{ProjectId, ReleaseId};

use crate::Deps;
use crate::kit::ActorError;
use environment::Environment;

pub use attempt::RunAnswer;
pub use build::{Rebuilt, build_all, packaged, rebuild, warnings};
pub use log_keeper::keep_logs;
pub use runs::{forget, run_now, sweep, wake};

/// Environments that are remembered.
const ENVIRONMENTS_MAX: usize = 10_000;
/// Functions of releases that are remembered.
const RELEASED_MAX: usize = 10_000;
/// Calls of functions by functions in a row.
pub const DEPTH_MAX: u32 = 5;

/// Makes the anon and the service key of a project.
pub type MakeKeys = fn(ProjectId, &Secret) -> Option<(String, String)>;

/// What is given to [`FunctionHost::new`].
pub struct HostParts {
    pub workers: Workers,
    pub bundler: Bundler,
    pub egress: Arc<Egress>,
    pub logs: tokio::sync::mpsc::Sender<LogLine>,
    /// `scheme://host[:port]` of the API, for functions.
    pub api_base: String,
    pub keys: MakeKeys,
}

/// Everything that building and running takes.
pub struct FunctionHost {
    parts: HostParts,
    refused: OnceLock<String>,
    environments: Mutex<HashMap<ProjectId, Arc<Environment>>>,
    released: Mutex<HashMap<(ReleaseId, String), Arc<ReleaseFunction>>>,
    /// Places of runs.
    runs: Arc<Semaphore>,
    /// Held by whoever looks for due ones.
    taking: tokio::sync::Mutex<()>,
    /// Somebody wishes that it is looked again.
    wanted: AtomicBool,
    ends: ends::Ends,
}

impl FunctionHost {
    pub fn new(parts: HostParts) -> Self {
        let runs = Arc::new(Semaphore::new(runs::RUNS_MAX));
        Self {
            parts,
            refused: OnceLock::new(),
            environments: Mutex::default(),
            released: Mutex::default(),
            runs,
            taking: tokio::sync::Mutex::default(),
            wanted: AtomicBool::new(false),
            ends: ends::Ends::default(),
        }
    }

    /// Asks the machine for a sandbox, once. Without one nothing of a tenant is started here.
    ///
    /// # Errors
    /// What the machine refused.
    pub async fn probe(&self) -> Result<(), String> {
        let Err(e) = self.parts.workers.probe().await else { return Ok(()) };
        let why = e.to_string();
        let _ = self.refused.set(why.clone());
        Err(why)
    }

    /// Why this machine runs no functions; none when it does.
    pub fn refused(&self) -> Option<&str> {
        self.refused.get().map(String::as_str)
    }

    /// Takes no more scheduled runs: this node is about to end.
    pub fn stop_runs(&self) {
        self.runs.close();
    }

    pub fn workers(&self) -> &Workers {
        &self.parts.workers
    }

    pub fn egress(&self) -> &Egress {
        &self.parts.egress
    }

    /// `{api}/functions/v1/{name}`
    pub fn url(&self, name: &str) -> String {
        format!("{}/functions/v1/{name}", self.parts.api_base)
    }

    /// The version that the registry has of each of these packages.
    ///
    /// # Errors
    /// `BundleError`.
    pub async fn resolve(&self, wanted: &Packages) -> Result<Packages, BundleError> {
        match self.refused() {
            Some(why) => Err(BundleError::Unavailable(why.to_owned())),
            None => self.parts.bundler.resolve(wanted).await,
        }
    }

    /// Calls a function of a release, and tells its log when that fails.
    ///
    /// # Errors
    /// `RunError`.
    pub async fn call(
        &self,
        deps: &Arc<Deps>,
        project: ProjectId,
        function: &ReleaseFunction,
        call: Call,
    ) -> Result<Reply, RunError> {
        let version = store::functions::environment_version(&deps.store, project).await.map_err(|e| {
            tracing::error!(project.id = %project, error = &e as &dyn std::error::Error, "no environment");
            RunError::Unavailable
        })?;
        self.call_in(deps, project, (function, version), call).await
    }

    /// The same, where the version of the environment was read already.
    ///
    /// # Errors
    /// `RunError`.
    pub async fn call_in(
        &self,
        deps: &Arc<Deps>,
        project: ProjectId,
        (function, version): (&ReleaseFunction, String),
        mut call: Call,
    ) -> Result<Reply, RunError> {
        if self.refused().is_some() {
            return Err(RunError::Unavailable);
        }
        let environment = self.environment(deps, project, version).await.map_err(|e| {
            tracing::error!(project.id = %project, error = &e as &dyn std::error::Error, "no environment");
            RunError::Unavailable
        })?;
        let now = deps.wall.now().timestamp();
        user_token::exchange(&mut call, function, (project, &environment.users), now);
        let runnable = runnable(deps, project, function, &environment);
        let (workers, logs) = (self.parts.workers.clone(), self.parts.logs.clone());
        // A client that hangs up leaves neither a call that nobody ends nor an end that nobody is told.
        let running = tokio::spawn(async move {
            let (request_id, attempt_id) = (call.request_id.clone(), call.attempt_id.clone());
            let outcome = workers.call(&runnable, call).await;
            if let Err(error) = outcome {
                tell(&logs, &runnable, (request_id, attempt_id), error);
            }
            outcome
        });
        running.await.unwrap_or(Err(RunError::Ended))
    }

    /// A function of a release, which never changes: from memory.
    ///
    /// # Errors
    /// `Db`, `Corrupt`.
    pub async fn function(
        &self,
        deps: &Deps,
        release: ReleaseId,
        name: &str,
    ) -> Result<Option<Arc<ReleaseFunction>>, StoreError> {
        let key = (release, name.to_owned());
        if let Some(known) = lock(&self.released).get(&key).cloned() {
            return Ok(Some(known));
        }
        let found = store::functions::release_function_find(&deps.store, release, name).await?.map(Arc::new);
        if let Some(found) = &found {
            let mut all = lock(&self.released);
            if all.len() >= RELEASED_MAX {
                all.clear();
            }
            all.insert(key, found.clone());
        }
        Ok(found)
    }

    /// What the project's functions find, as of a version.
    async fn environment(
        &self,
        deps: &Deps,
        project: ProjectId,
        version: String,
    ) -> Result<Arc<Environment>, ActorError> {
        let known = lock(&self.environments).get(&project).cloned();
        if let Some(known) = known.filter(|known| known.version == version) {
            return Ok(known);
        }
        let fresh = Arc::new(Environment::read(deps, &self.parts, project, version).await?);
        let mut all = lock(&self.environments);
        if all.len() >= ENVIRONMENTS_MAX {
            all.clear();
        }
        all.insert(project, fresh.clone());
        Ok(fresh)
    }
}

/// Tells a function's log what only we know of its failure.
fn tell(
    logs: &tokio::sync::mpsc::Sender<LogLine>,
    function: &Function,
    (request_id, attempt_id): (String, Option<String>),
    error: RunError,
) {
    let message = match error {
        // Its own words are there already.
        RunError::Threw => return,
        RunError::Timeout => format!("no answer within {} s", function.timeout.as_secs()),
        other => other.to_string(),
    };
    let line = LogLine {
        project: function.project.clone(),
        function: function.name.clone(),
        request_id: Some(request_id),
        attempt_id,
        stream: LogStream::Platform,
        message,
    };
    let _ = logs.try_send(line);
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The function as a worker is bound to it.
fn runnable(
    deps: &Arc<Deps>,
    project: ProjectId,
    function: &ReleaseFunction,
    environment: &Arc<Environment>,
) -> Function {
    let version = format!(
        "{project} {} {} {} {} {}",
        function.name, function.code_hash, function.timeout_seconds, function.memory_mb, environment.version
    );
    let (deps, owned) = (deps.clone(), function.clone());
    Function {
        version,
        project: project.to_string(),
        name: function.name.clone(),
        memory_mb: function.memory_mb.unsigned_abs(),
        timeout: Duration::from_secs(function.timeout_seconds.unsigned_abs().into()),
        env: environment.of(&function.name),
        redactor: environment.redactor.clone(),
        load: Arc::new(move || {
            let (deps, owned) = (deps.clone(), owned.clone());
            async move { build::bundle(&deps, project, &owned).await }.boxed()
        }),
    }
}

/// Forgets logs that are older than a week.
///
/// # Errors
/// `Store`.
pub async fn logs_sweep(deps: &Deps, rows_max: i64) -> Result<(), ActorError> {
    const KEPT: chrono::TimeDelta = chrono::TimeDelta::days(7);
    store::functions::logs_drop_before(&deps.store, deps.clock.now() - KEPT, rows_max).await?;
    Ok(())
}
