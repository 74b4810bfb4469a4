//! The steps of a fork, each a row's move: content held, release live, `bootstrap` called.

use std::time::Duration;

use actors::deploy::{Content, Database, Migration, Spec, Transaction};
use actors::project as actor;
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};
use store::apps::{Fork, ForkDone, ForkState, Held};
use types::{Code, Problem, ProjectId, Sha256Hex, kill_point};

use super::Forker;
use crate::Plane;
use crate::apps::publish::BOOTSTRAP;
use crate::content::room;
use crate::functions::FunctionAnswer;
use crate::keys::store_problem;

/// A deploy that takes longer goes on by itself, and the request is answered that it is pending.
const DEPLOY_PATIENCE: Duration = Duration::from_secs(20);
/// Another release of the same project cannot go live meanwhile, but the same request at the same time can.
const ATTEMPTS_MAX: u32 = 5;
/// Somebody else calls the function: until it must have answered.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const ANSWER_GRACE_SECS: i64 = 5;
const RESULT_BYTES_MAX: usize = 64 << 10;
const ERROR_CHARS_MAX: usize = 2_000;

impl Plane {
    /// Takes a fork as far as it gets; answers it when it is done.
    pub(super) async fn fork_drive(&self, id: ProjectId, forker: &Forker) -> Result<Fork, Problem> {
        let project = store::projects::project_fetch(&self.deps().store, id).await.map_err(store_problem)?;
        let fork = self.fork_fetch(id).await?;
        if super::is_open(fork.state) {
            self.project_ready(project, forker.repeatable).await?;
        }
        loop {
            let fork = self.fork_fetch(id).await?;
            let step = match fork.state {
                ForkState::Entered => self.fork_held(&fork).await,
                ForkState::Held => self.fork_deployed(&fork, forker).await,
                ForkState::Live => self.fork_bootstrapped(&fork).await,
                ForkState::Bootstrapping => self.fork_awaited(&fork).await,
                ForkState::Done => return Ok(fork),
                ForkState::Failed => {
                    let why = fork.error.unwrap_or_default();
                    return Err(Problem::new(Code::ForkFailed, format!("the fork failed: {why}")));
                }
            };
            if let Err(problem) = step {
                return Err(self.fork_refused(id, problem).await);
            }
        }
    }

    async fn fork_fetch(&self, id: ProjectId) -> Result<Fork, Problem> {
        let found = store::apps::fork_find(&self.deps().store, id).await.map_err(store_problem)?;
        found.ok_or_else(|| Problem::new(Code::Internal, format!("project {id} is no fork")))
    }

    /// What will be refused again leaves nothing behind; anything else can be tried again.
    async fn fork_refused(&self, id: ProjectId, problem: Problem) -> Problem {
        let lasting = problem.code.status() < 500 && !problem.code.retryable();
        if lasting {
            let noted = store::apps::fork_fail(&self.deps().store, id, &problem.message, self.now()).await;
            if let Err(e) = noted {
                return store_problem(e);
            }
            self.actors().project.hint(id, actor::Request::Erase);
            tracing::info!(project.id = %id, %problem, "fork given up");
        }
        let problem = problem.detail("project_id", id.to_string());
        match problem.code {
            // The words are the same, the status is another.
            Code::SubdomainTaken => Problem { code: Code::DeploySubdomainTaken, ..problem },
            Code::ActivationFailed => Problem { code: Code::ForkPending, ..problem },
            _ => problem,
        }
    }

    /// The version's bytes become the project's too, as far as the account has room.
    async fn fork_held(&self, fork: &Fork) -> Result<(), Problem> {
        let (id, store) = (fork.project, &self.deps().store);
        let gone = || super::no_version(fork.version);
        let version = store::apps::version_find(store, fork.version).await.map_err(store_problem)?;
        let version = version.ok_or_else(gone)?;
        let spec = own(fork)?;
        let mut contents: Vec<Sha256Hex> =
            spec.needs().into_iter().map(|(sha256, ..)| sha256.clone()).collect();
        contents.sort();
        contents.dedup();
        let room = room(&self.content_gate(id).await?);
        let mut tx = store.begin().await.map_err(store_problem)?;
        let pair = (version.project, id);
        let held = store::apps::fork_hold(&mut tx, pair, &contents, room, self.now()).await;
        match held {
            Ok(Held::Yes) => tx.commit().await.map_err(store_problem)?,
            Ok(Held::Gone) => return Err(gone()),
            Ok(Held::NoRoom { used_bytes }) => {
                drop(tx);
                return Err(self.no_room(id, room, used_bytes).await);
            }
            // The same request at the same time was quicker.
            Err(store::StoreError::Stale(_)) => return Ok(()),
            Err(e) => return Err(store_problem(e)),
        }
        kill_point!("fork.held");
        Ok(())
    }

    /// Puts the parts live, by a deploy like any other of the project.
    async fn fork_deployed(&self, fork: &Fork, forker: &Forker) -> Result<(), Problem> {
        let (id, store) = (fork.project, &self.deps().store);
        let mut spec = own(fork)?;
        if let Some(migration) = self.structure(fork).await? {
            let database = spec.database.get_or_insert_with(Database::default);
            database.migrations.push(migration);
        }
        for attempt in 1.. {
            let by = forker.wallet.to_string();
            match self.spec_deploy(&spec, by, (forker.trace, DEPLOY_PATIENCE)).await {
                Err(problem) if problem.code == Code::BaseReleaseConflict && attempt < ATTEMPTS_MAX => {}
                outcome => {
                    outcome?;
                    break;
                }
            }
        }
        kill_point!("fork.deployed");
        store::apps::fork_live(store, id, self.now()).await.map_err(store_problem)?;
        kill_point!("fork.live");
        Ok(())
    }

    /// The schema as a migration, with its text among the project's content.
    async fn structure(&self, fork: &Fork) -> Result<Option<Migration>, Problem> {
        let Some(stored) = &fork.structure else { return Ok(None) };
        let unread = |_| Problem::new(Code::Internal, "the stored schema cannot be read");
        let (schema, text): (String, String) = serde_json::from_str(stored).map_err(unread)?;
        let slot = self.project_slot(fork.project).await?;
        let text = rest::structure::renamed(&text, &schema, &slot.schema());
        let sha256 = Sha256Hex::from_bytes(Sha256::digest(text.as_bytes()).into());
        let sql_ref = Content {
            sha256: sha256.clone(),
            size: text.len() as u64,
            content_type: "application/sql".to_owned(),
        };
        self.content_keep(fork.project, &sha256, Bytes::from(text)).await?;
        Ok(Some(Migration {
            id: format!("fork_{}", fork.version),
            checksum: sha256.as_str().to_owned(),
            sql_ref,
            transaction: Transaction::Required,
        }))
    }

    /// Calls the function `bootstrap`, if there is one: once, whatever becomes of it.
    async fn fork_bootstrapped(&self, fork: &Fork) -> Result<(), Problem> {
        let (id, store) = (fork.project, &self.deps().store);
        let function = store::functions::live_function_find(store, id, BOOTSTRAP).await;
        if function.map_err(store_problem)?.is_none() {
            let done = ForkDone::default();
            return store::apps::fork_done(store, id, &done, self.now()).await.map_err(store_problem);
        }
        if !store::apps::fork_bootstrap(store, id, self.now()).await.map_err(store_problem)? {
            return Ok(());
        }
        kill_point!("fork.calling");
        let variables = fork.variables.clone().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let done = match self.function_call_own(id, BOOTSTRAP, &variables).await {
            Ok(answer) => outcome(&answer),
            Err(problem) => failed(&problem.message),
        };
        kill_point!("fork.called");
        store::apps::fork_done(store, id, &done, self.now()).await.map_err(store_problem)?;
        kill_point!("fork.done");
        Ok(())
    }

    /// Somebody else calls it, or did so and died: then nobody knows whether it ran, and it is not called again.
    async fn fork_awaited(&self, fork: &Fork) -> Result<(), Problem> {
        let (id, store) = (fork.project, &self.deps().store);
        let function = store::functions::live_function_find(store, id, BOOTSTRAP).await;
        let seconds =
            function.map_err(store_problem)?.map_or(0, |live| i64::from(live.function.timeout_seconds));
        let until = fork.updated_at + chrono::TimeDelta::seconds(seconds + ANSWER_GRACE_SECS);
        if self.now() > until {
            let done = failed("the call of bootstrap was cut off, and it is not known whether it ran");
            return store::apps::fork_done(store, id, &done, self.now()).await.map_err(store_problem);
        }
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }
}

fn own(fork: &Fork) -> Result<Spec, Problem> {
    let spec = fork.spec.clone().unwrap_or_default();
    serde_json::from_value(spec).map_err(|_| Problem::new(Code::Internal, "the stored fork cannot be read"))
}

fn failed(why: &str) -> ForkDone {
    let plain = why.chars().filter(|c| *c != '\0').take(ERROR_CHARS_MAX).collect();
    ForkDone { result: None, error: Some(plain) }
}

/// What the function answered: JSON as it is, anything else as text.
fn outcome(answer: &FunctionAnswer) -> ForkDone {
    let text = String::from_utf8_lossy(&answer.body);
    let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
    if !(200..300).contains(&answer.status) {
        let named = |name: &str| json.as_ref()?.get(name)?.as_str().map(str::to_owned);
        let why = named("message").or_else(|| named("error")).unwrap_or_else(|| text.trim().to_owned());
        return failed(&format!("bootstrap answered {}: {why}", answer.status));
    }
    if answer.body.len() > RESULT_BYTES_MAX {
        return failed("bootstrap ran, and its answer is larger than 64 KiB");
    }
    let result = match json {
        Some(value) => value,
        None if text.trim().is_empty() => return ForkDone::default(),
        None => text.into_owned().into(),
    };
    // Postgres has no place for a NUL.
    if result.to_string().contains("\\u0000") {
        return failed("bootstrap ran, and its answer holds a NUL character");
    }
    ForkDone { result: Some(result), error: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> FunctionAnswer {
        FunctionAnswer { status, headers: Vec::new(), body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    #[test]
    fn what_bootstrap_says_is_its_result_and_a_failure_its_words() {
        let read = |status, body: &str| {
            let done = outcome(&answer(status, body));
            (done.result, done.error)
        };
        assert_eq!(read(200, r#"{"a": 1}"#), (Some(serde_json::json!({"a": 1})), None));
        assert_eq!(read(201, "made"), (Some("made".into()), None));
        assert_eq!(read(204, ""), (None, None));
        assert_eq!(read(500, r#"{"message": "no"}"#).1.unwrap(), "bootstrap answered 500: no");
        assert_eq!(read(404, "plain\0text").1.unwrap(), "bootstrap answered 404: plaintext");
        assert!(read(200, "\"\\u0000\"").1.is_some());
        assert!(read(200, &"x".repeat(RESULT_BYTES_MAX + 1)).1.is_some());
    }
}
