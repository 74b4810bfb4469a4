//! Triggers of functions, fired by hand.

use store::functions::{AskedRun, FunctionRun, LiveTrigger, Retry, Scheduled, triggers_live};
use types::{Code, FunctionRunId, Problem, ProjectId};

use super::asked::{KEY_CHARS_MAX, plain};
use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

impl Plane {
    /// Asks for the run of a trigger now, and says whether it is a new one. A run of the trigger's next time is
    /// another one.
    ///
    /// # Errors
    /// As [`Plane::service_key`]; `RATE_LIMITED`, `QUOTA_EXCEEDED`; `BAD_FUNCTION_RUN`; `FUNCTION_NOT_FOUND`;
    /// `FUNCTION_TRIGGER_NOT_FOUND`; `function_run_idempotency_conflict`.
    ///
    /// # Source
    /// Wire contract 03 section 8.
    pub async fn trigger_fire(
        &self,
        caller: &Caller,
        (project, name): (ProjectId, &str),
        trigger: &str,
    ) -> Result<((FunctionRun, bool), Scheduled), Problem> {
        self.service_key(caller, project).await?;
        self.data_call(project).await?;
        self.function_live(project, name).await?;
        let found = self.trigger_live((project, name), trigger).await?;
        let (now, id) = (self.now(), FunctionRunId::new(&*self.deps().entropy));
        let own = || format!("fired:{trigger}:{id}");
        let key = caller.idempotency_key.clone().unwrap_or_else(own);
        plain("Idempotency-Key", &key, KEY_CHARS_MAX)?;
        let run = found.trigger.run;
        let asked = AskedRun {
            id,
            project,
            name: name.to_owned(),
            source: "api",
            trigger: Some(trigger.to_owned()),
            event_type: run.event_type,
            idempotency_key: key,
            intent_hash: format!("fired:{trigger}"),
            payload: run.payload.map(|payload| serde_json::Value::Object(payload).to_string()),
            run_at: now,
            expires_at: run
                .expires_after_seconds
                .map(|secs| now + chrono::TimeDelta::seconds(i64::from(secs))),
            retry: Retry {
                attempts_max: run.retry.max_attempts,
                min_secs: run.retry.min_delay_seconds,
                max_secs: run.retry.max_delay_seconds,
            },
        };
        let run = self.run_write(&asked, now).await?;
        let scheduled = self.trigger_live((project, name), trigger).await?.scheduled;
        Ok((run, scheduled))
    }

    async fn trigger_live(
        &self,
        (project, name): (ProjectId, &str),
        trigger: &str,
    ) -> Result<LiveTrigger, Problem> {
        let all = triggers_live(&self.deps().store, project, Some(name)).await.map_err(store_problem)?;
        let found = all.into_iter().find(|one| one.trigger.id == trigger);
        let gone = || Problem::new(Code::FunctionTriggerNotFound, format!("{name} has no trigger {trigger}"));
        found.ok_or_else(gone)
    }
}
