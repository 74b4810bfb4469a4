//! Following a deploy to its end.

use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep};

use super::Progress;
use crate::answer::text_of;
use crate::{Call, Client, ClientError, Credential, LocalError};

const POLL_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Looks at an operation that may fail in a row before the watch gives up.
const POLL_FAILURES_MAX: u32 = 5;

/// A release that is live.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployed {
    pub operation_id: String,
    pub release_id: String,
    pub urls: Map<String, Value>,
}

impl Deployed {
    /// What `subdomains claim` points a name at.
    pub fn deployment_id(&self) -> &str {
        self.urls.get("deployment_id").and_then(Value::as_str).unwrap_or(&self.release_id)
    }

    /// Where the site is; empty when the server does not say.
    pub fn url(&self) -> &str {
        let url = |name: &str| self.urls.get(name).and_then(Value::as_str);
        url("project").or(url("site")).unwrap_or_default()
    }
}

impl Client {
    /// Runs a stopped deploy on and follows it to its end.
    ///
    /// # Errors
    /// `Refused` as the server says, and those of [`Client::deploy_commit`].
    pub async fn deploy_resume(
        &self,
        operation_id: &str,
        progress: Progress<'_>,
    ) -> Result<Deployed, ClientError> {
        let resume = Call::new("deploy.operations.resume").path("id", operation_id).wallet();
        let first = self.call(resume).await?;
        self.deploy_follow(first, None, progress).await
    }

    pub(super) async fn deploy_follow(
        &self,
        mut state: Value,
        anon_key: Option<&str>,
        progress: Progress<'_>,
    ) -> Result<Deployed, ClientError> {
        let operation_id = text_of(&state, "operation_id")?.to_owned();
        let credential = anon_key.map_or(Credential::Wallet, Credential::AnonKey);
        let (started, mut pause, mut failures) = (Instant::now(), self.timing.deploy_pause, 0);
        let mut phases = Phases::default();
        loop {
            phases.report(&state, progress);
            if let Some(outcome) = outcome(&operation_id, &state) {
                return outcome;
            }
            if started.elapsed() + pause > self.timing.deploy_wait_max {
                let message = format!("{operation_id} is still running");
                return Err(LocalError::new("DEPLOY_TIMEOUT", message)
                    .hint(format!("It goes on by itself: run402 deploy events {operation_id}"))
                    .detail("operation_id", operation_id)
                    .into());
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(POLL_PAUSE_MAX);
            let look = Call::new("deploy.operations.get").path("id", &operation_id).credential(credential);
            match self.call(look).await {
                Ok(next) => (state, failures) = (next, 0),
                Err(error) if failures < POLL_FAILURES_MAX && is_passing(&error) => failures += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

/// The end of the operation, if it has one.
fn outcome(operation_id: &str, state: &Value) -> Option<Result<Deployed, ClientError>> {
    match state["status"].as_str().unwrap_or_default() {
        "ready" => {
            let release_id = text_of(state, "release_id").map(str::to_owned);
            let urls = state["urls"].as_object().cloned().unwrap_or_default();
            let operation_id = operation_id.to_owned();
            Some(release_id.map(|release_id| Deployed { operation_id, release_id, urls }).map_err(Into::into))
        }
        status @ ("failed" | "rolled_back" | "needs_repair") => {
            let mut error = state["error"].as_object().cloned().unwrap_or_default();
            error.entry("operation_id").or_insert_with(|| json!(operation_id));
            error.insert("operation_status".to_owned(), json!(status));
            Some(Err(ClientError::DeployFailed(error)))
        }
        _ => None,
    }
}

/// A look that failed for a reason that may pass.
fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Network { .. } => true,
        ClientError::Refused(refusal) => refusal.status >= 500 || matches!(refusal.status, 408 | 429),
        _ => false,
    }
}

/// Turns the statuses that are seen into phase events.
#[derive(Default)]
struct Phases {
    open: Option<&'static str>,
}

impl Phases {
    fn report(&mut self, state: &Value, progress: Progress<'_>) {
        let event = |phase: &str, status: &str| {
            progress(json!({ "type": "commit.phase", "phase": phase, "status": status }));
        };
        let status = state["status"].as_str().unwrap_or_default();
        let phase = match status {
            "staging" => Some("stage"),
            "gating" => Some("migrate-gate"),
            "migrating" => Some("migrate"),
            "schema_settling" => Some("schema-settle"),
            "activating" | "activation_pending" => Some("activate"),
            _ => None,
        };
        let failed = matches!(status, "failed" | "rolled_back" | "needs_repair");
        if let Some(open) = self.open.filter(|open| phase != Some(*open)) {
            event(open, if failed { "failed" } else { "done" });
        }
        if let Some(phase) = phase.filter(|phase| self.open != Some(*phase)) {
            event(phase, "started");
        }
        self.open = phase;
        if status == "ready" {
            progress(json!({ "type": "ready", "releaseId": state["release_id"], "urls": state["urls"] }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn an_operation_ends_with_a_release_or_an_error() {
        let ready = json!({ "status": "ready", "release_id": "rel_1", "urls": { "site": "http://s" } });
        let deployed = outcome("op_1", &ready).unwrap().unwrap();
        assert_eq!((deployed.deployment_id(), deployed.url()), ("rel_1", "http://s"));
        let failed = json!({ "status": "failed", "error": { "code": "SITE_STAGE_FAILED", "message": "m" } });
        let shown = outcome("op_1", &failed).unwrap().unwrap_err().to_json();
        assert_eq!((&shown["code"], &shown["status"]), (&json!("SITE_STAGE_FAILED"), &json!("error")));
        assert_eq!(shown["operation_id"], "op_1");
        let bare = outcome("op_1", &json!({ "status": "failed", "error": null })).unwrap().unwrap_err();
        assert_eq!(bare.code(), "INTERNAL_ERROR");
        assert!(outcome("op_1", &json!({ "status": "activation_pending" })).is_none());
        assert!(outcome("op_1", &json!({ "status": "ready" })).unwrap().is_err());
    }

    #[test]
    fn phases_open_and_close_once_however_often_they_are_seen() {
        let seen = Mutex::new(Vec::new());
        let progress = |event: Value| {
            let words = ["type", "phase", "status"].map(|name| event[name].as_str().unwrap_or("").to_owned());
            seen.lock().unwrap().push(words.join(" "));
        };
        let mut phases = Phases::default();
        for status in ["running", "staging", "staging", "activating", "ready"] {
            phases.report(&json!({ "status": status, "release_id": "rel_1" }), &progress);
        }
        assert_eq!(
            *seen.lock().unwrap(),
            [
                "commit.phase stage started",
                "commit.phase stage done",
                "commit.phase activate started",
                "commit.phase activate done",
                "ready  ",
            ]
        );
    }
}
