//! Runs of functions that are asked for: written down first, then carried out by whichever node takes them.

use std::net::SocketAddr;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use store::functions::{
    AskedRun, Enqueued, FunctionRun, LogEntry, Refused, logs_read, run_cancel, run_enqueue, run_find,
    run_redrive, runs_page,
};
use types::{Code, FunctionRunId, Mutation, Problem};

use super::asked::{LogsAsked, bad, cursor, query, retry, run_of};
use super::{is_word, no_function};
use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

const PAGE_MAX: i64 = 100;

/// A run as it is asked for.
#[derive(Debug, Clone, Default)]
pub struct RunAsked {
    pub event_type: String,
    pub idempotency_key: String,
    pub payload: Option<Map<String, Value>>,
    /// As it was sent; at most one of the two.
    pub run_at: Option<String>,
    pub delay_seconds: Option<i64>,
    pub expires_at: Option<String>,
    pub retry: Option<RetryAsked>,
}

/// How often and how fast a run is tried again; what is absent is the preset's.
#[derive(Debug, Clone, Default)]
pub struct RetryAsked {
    pub preset: Option<String>,
    pub max_attempts: Option<i64>,
    pub min_delay_seconds: Option<i64>,
    pub max_delay_seconds: Option<i64>,
}

/// Which runs of a function are listed.
#[derive(Debug, Clone, Default)]
pub struct RunsAsked {
    pub status: Option<String>,
    pub event_type: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
    pub limit: i64,
    pub cursor: Option<String>,
}

impl Plane {
    /// Writes a run down, and says whether it is a new one. The same key with the same content is the same run.
    ///
    /// # Errors
    /// As [`Plane::project_key`]; `FORBIDDEN`; `RATE_LIMITED`, `QUOTA_EXCEEDED`; `BAD_FUNCTION_RUN`;
    /// `FUNCTION_NOT_FOUND`; `function_run_idempotency_conflict`.
    ///
    /// # Source
    /// Wire contract 03 section 8.
    pub async fn run_ask(
        &self,
        caller: &Caller,
        name: &str,
        asked: RunAsked,
        peer: Option<SocketAddr>,
    ) -> Result<(FunctionRun, bool), Problem> {
        let project = self.service_project(caller).await?;
        self.data_call(project).await?;
        if !is_word(name) {
            return Err(no_function(name));
        }
        if caller.idempotency_key.as_ref().is_some_and(|key| *key != asked.idempotency_key) {
            return Err(bad("idempotency_key", "the Idempotency-Key header says another one"));
        }
        let source = if peer.is_some_and(|peer| self.is_function(peer)) { "function" } else { "api" };
        let now = self.now();
        let id = FunctionRunId::new(&*self.deps().entropy);
        let run = run_of(id, (project, name), asked, source, now)?;
        self.run_write(&run, now).await
    }

    /// Writes a run down, or finds the one of its key; says whether it is a new one.
    pub(super) async fn run_write(
        &self,
        run: &AskedRun,
        now: DateTime<Utc>,
    ) -> Result<(FunctionRun, bool), Problem> {
        let name = &run.name;
        match run_enqueue(&self.deps().store, run, now).await.map_err(store_problem)? {
            Enqueued::New(run) => {
                actors::functions::wake(&self.inner.deps);
                Ok((run, true))
            }
            Enqueued::Same(run) => Ok((run, false)),
            Enqueued::Other => Err(Problem::new(
                Code::FunctionRunConflict,
                "this idempotency key belongs to a run with another content",
            )
            .mutation(Mutation::NotStarted)),
            Enqueued::Full => {
                Err(Problem::new(Code::QuotaExceeded, "too many of this project's runs are waiting")
                    .mutation(Mutation::NotStarted)
                    .detail("resource", "open_function_runs"))
            }
            Enqueued::NoFunction => Err(no_function(name)),
        }
    }

    /// # Errors
    /// As [`Plane::project_key`]; `FORBIDDEN`; `FUNCTION_RUN_NOT_FOUND`.
    pub async fn run_get(&self, caller: &Caller, id: FunctionRunId) -> Result<FunctionRun, Problem> {
        let project = self.service_project(caller).await?;
        let found = run_find(&self.deps().store, project, id, self.now()).await.map_err(store_problem)?;
        found.ok_or_else(|| no_run(id))
    }

    /// The newest runs of a function, and where the next page begins.
    ///
    /// # Errors
    /// As [`Plane::project_key`]; `FORBIDDEN`; `FUNCTION_NOT_FOUND`; `BAD_FUNCTION_RUN`.
    pub async fn run_list(
        &self,
        caller: &Caller,
        name: &str,
        asked: RunsAsked,
    ) -> Result<(Vec<FunctionRun>, Option<String>), Problem> {
        let project = self.service_project(caller).await?;
        self.function_live(project, name).await?;
        let limit = asked.limit.clamp(1, PAGE_MAX);
        let query = query(asked, limit + 1)?;
        let found = runs_page(&self.deps().store, (project, name), &query, self.now()).await;
        let mut runs = found.map_err(store_problem)?;
        let is_last = i64::try_from(runs.len()).unwrap_or(i64::MAX) <= limit;
        runs.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next = runs.last().filter(|_| !is_last).map(cursor);
        Ok((runs, next))
    }

    /// What a run's attempts wrote, or one of them, the oldest entry first; and the function's name.
    ///
    /// # Errors
    /// As [`Plane::run_get`]; `BAD_REQUEST`.
    pub async fn run_logs(
        &self,
        caller: &Caller,
        id: FunctionRunId,
        asked: LogsAsked,
    ) -> Result<(String, Vec<LogEntry>), Problem> {
        let run = self.run_get(caller, id).await?;
        let mut query = asked.query()?;
        // Another request's entries are none of this run's.
        if query.request_id.replace(id.to_string()).is_some_and(|other| other != id.to_string()) {
            return Ok((run.name, Vec::new()));
        }
        let found = logs_read(&self.deps().store, (run.project, &run.name), &query).await;
        let entries = found.map_err(store_problem)?.ok_or_else(|| no_run(id))?;
        Ok((run.name, entries))
    }

    /// Calls a run off. One that runs already ends with its attempt, and has succeeded if that did.
    ///
    /// # Errors
    /// As [`Plane::run_get`]; `FUNCTION_RUN_ENDED` when it has ended otherwise.
    pub async fn run_cancel(&self, caller: &Caller, id: FunctionRunId) -> Result<FunctionRun, Problem> {
        let project = self.service_project(caller).await?;
        let done = run_cancel(&self.deps().store, project, id, self.now()).await.map_err(store_problem)?;
        done.map_err(|refused| match refused {
            Refused::NotFound => no_run(id),
            Refused::Standing(run) => standing(Code::FunctionRunEnded, &run),
        })
    }

    /// Begins a run anew that ended without success.
    ///
    /// # Errors
    /// As [`Plane::run_get`]; `RATE_LIMITED`, `QUOTA_EXCEEDED`; `BAD_FUNCTION_RUN`;
    /// `FUNCTION_RUN_NOT_REDRIVABLE` when it has not ended, or has succeeded.
    pub async fn run_redrive(
        &self,
        caller: &Caller,
        id: FunctionRunId,
        asked: Option<RetryAsked>,
    ) -> Result<FunctionRun, Problem> {
        let project = self.service_project(caller).await?;
        self.data_call(project).await?;
        let policy = asked.as_ref().map(retry).transpose()?;
        let done = run_redrive(&self.deps().store, project, id, policy, self.now()).await;
        let run = done.map_err(store_problem)?.map_err(|refused| match refused {
            Refused::NotFound => no_run(id),
            Refused::Standing(run) => standing(Code::FunctionRunNotRedrivable, &run),
        })?;
        actors::functions::wake(&self.inner.deps);
        Ok(run)
    }
}

fn no_run(id: FunctionRunId) -> Problem {
    Problem::new(Code::FunctionRunNotFound, format!("no run {id}"))
}

fn standing(code: Code, run: &FunctionRun) -> Problem {
    Problem::new(code, format!("the run is {}", run.status))
        .mutation(Mutation::NotStarted)
        .detail("status", run.status.clone())
}
