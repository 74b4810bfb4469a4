//! The steps of an operation that change the project's database: gate, migrate, settle.

use std::sync::Arc;

use chrono::TimeDelta;
use rest::migrate::{self, MigrateError, Work};
use serde_json::{Value, json};
use store::cells::Slot;
use store::deploys::{self, Event, GateAsk, GateTaken, Status, Step};
use types::{Code, Mutation, Problem, kill_point};

use super::check::gated;
use super::error::error_object;
use super::handlers::{Go, fail, phase, spec, write};
use super::manifest_json::read;
use super::{Spec, State, Transaction, deploy_problem};
use crate::Deps;
use crate::kit::ActorError;

/// A deploy whose project's database does not answer is given up before it has begun to change it.
const GATE_WAIT: TimeDelta = TimeDelta::minutes(10);
/// The text of one migration.
pub const SQL_BYTES_MAX: u64 = 4 << 20;

/// Takes the project's gate. Until here nothing of the database has changed, so what does not fit is given up.
pub(super) async fn gate(deps: &Arc<Deps>, state: &mut State) -> Result<Go, ActorError> {
    let spec = spec(deps, state).await?;
    let now = deps.clock.now();
    let known = match slot(deps, state).await? {
        Some(slot) => migrate::known(&deps.cells, &slot).await,
        None => return gone(deps, state).await,
    };
    let known = match known {
        Ok(known) => known,
        Err(e) if now - state.operation.updated_at > GATE_WAIT => {
            let message = format!("the project's database did not answer: {e}");
            let problem = deploy_problem(Code::Unavailable, "migrate-gate", message);
            return fail(deps, state, "migrate-gate", &problem.mutation(Mutation::NotStarted)).await;
        }
        Err(e) => return Ok(wait(state, "gate", &e)),
    };
    let mut news = false;
    for migration in spec.migrations() {
        let before = known.iter().find(|k| k.id == migration.id && k.state == migrate::State::Applied);
        if before.is_some_and(|before| before.checksum != migration.checksum) {
            return fail(deps, state, "migrate-gate", &changed(&migration.id)).await;
        }
        news |= before.is_none();
    }
    if let Some(problem) = name_taken(deps, state, &spec).await? {
        return fail(deps, state, "migrate-gate", &problem).await;
    }
    let ask = GateAsk {
        project: state.plan.project,
        operation: state.operation.id,
        active_release: state.plan.active_release,
        blocks_data: news && !spec.database.as_ref().is_some_and(|database| database.zero_downtime),
        now,
    };
    take(deps, state, &ask).await
}

async fn take(deps: &Arc<Deps>, state: &mut State, ask: &GateAsk) -> Result<Go, ActorError> {
    let mut step = Step::new(Status::Gating, Event::Gated, ask.now);
    step.events = vec![phase("migrate-gate", "done"), phase("migrate", "started")];
    let mut tx = deps.store.fenced(&state.fence).await?;
    let problem = match deploys::gate_take(&mut tx, ask).await? {
        GateTaken::Ours => None,
        GateTaken::Held(holder) => Some(gated(holder)),
        GateTaken::BaseMoved => {
            let message = "another release went live since the plan";
            Some(deploy_problem(Code::BaseReleaseConflict, "migrate-gate", message))
        }
        GateTaken::Gone => Some(deploy_problem(Code::ProjectNotFound, "migrate-gate", "the project is gone")),
    };
    if let Some(problem) = problem {
        tx.rollback().await?;
        return fail(deps, state, "migrate-gate", &problem.mutation(Mutation::NotStarted)).await;
    }
    let status = deploys::operation_step(&mut tx, state.operation.id, &step).await?;
    kill_point!("deploy.gate.written");
    tx.commit().await?;
    kill_point!("deploy.gated");
    state.moved(status, ask.now);
    tracing::info!(operation.id = %state.operation.id, blocks_data = ask.blocks_data, "gate taken");
    Ok(Go::On)
}

/// Does the work in the project's database. Doing it again after a crash finds there what was committed.
pub(super) async fn migrate(deps: &Arc<Deps>, state: &mut State) -> Result<Go, ActorError> {
    let spec = spec(deps, state).await?;
    let Some(slot) = slot(deps, state).await? else { return gone(deps, state).await };
    let work = match work(deps, state, &spec).await? {
        Ok(work) => work,
        Err(e) => return refused(deps, state, e).await,
    };
    kill_point!("deploy.migrate.asking");
    let done = migrate::migrate(&deps.cells, &slot, work).await;
    kill_point!("deploy.migrate.answered");
    let now = deps.clock.now();
    let done = match done {
        Ok(done) => done,
        Err(MigrateError::Away(e)) => return Ok(wait(state, "migrate", &e)),
        Err(e) => return refused(deps, state, e).await,
    };
    let line = |id: &String| {
        let line = format!("applied {id}");
        json!({ "type": "log", "resource": format!("database.migrations.{id}"), "stream": "stdout", "line": line })
    };
    let mut step = Step::new(Status::Migrating, Event::Migrated, now);
    step.events = done.ran.iter().map(line).collect();
    step.events.push(phase("migrate", "done"));
    step.events.push(phase("schema-settle", "started"));
    let ran: Vec<(String, String)> =
        spec.migrations().iter().map(|m| (m.id.clone(), m.checksum.clone())).collect();

    let mut tx = deps.store.fenced(&state.fence).await?;
    deploys::migrations_note(&mut tx, (state.plan.project, state.operation.id), &ran, now).await?;
    let status = deploys::operation_step(&mut tx, state.operation.id, &step).await?;
    tx.commit().await?;
    kill_point!("deploy.migrated");
    state.moved(status, now);
    let (ran, exposed) = (done.ran.len(), done.exposed);
    tracing::info!(operation.id = %state.operation.id, ran, exposed, "database changed");
    Ok(Go::On)
}

/// Inner error: a text that is none.
async fn work(
    deps: &Arc<Deps>,
    state: &State,
    spec: &Spec,
) -> Result<Result<Work, MigrateError>, ActorError> {
    let mut migrations = Vec::with_capacity(spec.migrations().len());
    for migration in spec.migrations() {
        let Ok(sql) = String::from_utf8(read(deps, &migration.sql_ref).await?) else {
            let error = rest::sql::SqlError::BadParameters("the text is not UTF-8");
            return Ok(Err(MigrateError::Refused { id: migration.id.clone(), error, is_clean: true }));
        };
        migrations.push(migrate::Migration {
            id: migration.id.clone(),
            checksum: migration.checksum.clone(),
            sql,
            in_transaction: migration.transaction == Transaction::Required,
        });
    }
    let manifest = spec.database.as_ref().and_then(|database| database.expose.clone());
    Ok(Ok(Work { operation: state.operation.id.to_string(), migrations, manifest }))
}

/// Waits until visitors can be answered on the new schema, then lets them.
pub(super) async fn settle(deps: &Arc<Deps>, state: &mut State) -> Result<Go, ActorError> {
    let Some(slot) = slot(deps, state).await? else { return gone(deps, state).await };
    let now = deps.clock.now();
    if let Err(e) = migrate::settled(&deps.cells, &slot).await {
        if state.operation.error.is_none() {
            let message = "the project's database does not answer after its migrations";
            let problem = deploy_problem(Code::SchemaSettleTimeout, "schema-settle", message);
            let error = error_object(&problem.mutation(Mutation::Committed), &state.operation);
            let mut step = Step::new(Status::SchemaSettling, Event::SettleDeferred, now);
            step.error = Some(error.clone());
            step.events = vec![phase("schema-settle", "failed")];
            write(deps, state, step, None).await?;
            state.operation.error = Some(error);
        }
        return Ok(wait(state, "settle", &e));
    }
    let mut step = Step::new(Status::SchemaSettling, Event::Settled, now);
    step.events = vec![phase("schema-settle", "done"), phase("activate", "started")];
    let mut tx = deps.store.fenced(&state.fence).await?;
    deploys::gate_open(&mut tx, state.operation.id).await?;
    let status = deploys::operation_step(&mut tx, state.operation.id, &step).await?;
    tx.commit().await?;
    kill_point!("deploy.settled");
    state.operation.error = None;
    state.moved(status, now);
    Ok(Go::On)
}

/// The database said no for good. What it rolled back is given up; what stayed asks for a person.
async fn refused(deps: &Arc<Deps>, state: &mut State, error: MigrateError) -> Result<Go, ActorError> {
    let (problem, is_clean) = refusal(error);
    let mutation = if is_clean { Mutation::RolledBack } else { Mutation::Partial };
    let problem = problem.mutation(mutation).extra("rolled_back", is_clean);
    let event = if is_clean { Event::MigrationRolledBack } else { Event::MigrationBroke };
    let mut step = Step::new(Status::Migrating, event, deps.clock.now());
    step.error = Some(error_object(&problem, &state.operation));
    let logs = problem.extra.get("logs").and_then(Value::as_array).cloned().unwrap_or_default();
    let resource = problem.extra.get("resource").cloned().unwrap_or_default();
    let line = |line| json!({ "type": "log", "resource": resource, "stream": "stderr", "line": line });
    step.events = logs.into_iter().map(line).collect();
    step.events.push(phase("migrate", "failed"));
    write(deps, state, step, state.operation.target_release).await?;
    Ok(Go::On)
}

fn refusal(error: MigrateError) -> (Problem, bool) {
    match error {
        MigrateError::Checksum { id } => (changed(&id), true),
        MigrateError::Refused { id, error, is_clean } => {
            let told = error.into_problem();
            let message = format!("migration {id}: {}", told.message);
            let mut logs = vec![told.message.clone()];
            logs.extend(told.details.get("detail").and_then(Value::as_str).map(str::to_owned));
            logs.extend(told.hint.clone());
            let mut problem = deploy_problem(Code::MigrationFailed, "migrate", message)
                .extra("resource", format!("database.migrations.{id}"))
                .extra("logs", logs);
            problem.details = told.details;
            (problem, is_clean)
        }
        MigrateError::CutOff { id } => {
            let message = format!(
                "migration {id} runs outside of a transaction and was cut off: look at what it did, then deploy \
                 it again"
            );
            let problem = deploy_problem(Code::MigrationFailed, "migrate", message);
            (problem.extra("resource", format!("database.migrations.{id}")), false)
        }
        MigrateError::Manifest { issues, is_clean } => {
            let told = rest::expose::ExposeError::Invalid(issues).into_problem();
            let mut problem = deploy_problem(Code::InvalidManifest, "migrate", told.message);
            problem.extra.extend(told.extra);
            (problem.extra("resource", "database.expose"), is_clean)
        }
        MigrateError::Away(e) => (deploy_problem(Code::Unavailable, "migrate", e.to_string()), true),
    }
}

/// A migration that has run has another text now.
pub fn changed(id: &str) -> Problem {
    let message = format!("Migration {id} was already applied with different SQL.");
    deploy_problem(Code::MigrationChecksumMismatch, "validate", message)
        .extra("resource", format!("database.migrations.{id}"))
}

/// A name that the release wants and another project has by now. Found before the database changes, because the
/// release would not go live afterwards.
async fn name_taken(deps: &Arc<Deps>, state: &State, spec: &Spec) -> Result<Option<Problem>, ActorError> {
    let Some(change) = &spec.subdomains else { return Ok(None) };
    for name in change.set.iter().flatten().chain(&change.add) {
        let held = store::subdomains::subdomain_find(&deps.store, name).await?;
        if held.is_some_and(|held| held.project != state.plan.project) {
            let problem = deploy_problem(
                Code::DeploySubdomainTaken,
                "migrate-gate",
                format!("{name} belongs to another project"),
            );
            let problem = problem.mutation(Mutation::NotStarted);
            return Ok(Some(problem.extra("resource", format!("subdomains.{name}"))));
        }
    }
    Ok(None)
}

/// Where the project's database is; brought up to our version first.
async fn slot(deps: &Arc<Deps>, state: &State) -> Result<Option<Slot>, ActorError> {
    let slot = store::cells::slot_of(&deps.store, state.plan.project).await?;
    if let Some(slot) = &slot {
        deps.cells.slot_upgrade(&deps.store, slot).await?;
    }
    Ok(slot)
}

/// The project's database is being dropped: its operations go with it, whatever state they are in.
async fn gone(deps: &Arc<Deps>, state: &mut State) -> Result<Go, ActorError> {
    let problem = deploy_problem(Code::ProjectNotFound, "migrate", "the project is being erased");
    match state.operation.status {
        Status::Gating => fail(deps, state, "migrate-gate", &problem).await,
        _ => Ok(Go::Wait),
    }
}

fn wait(state: &State, step: &str, error: &rest::sql::SqlError) -> Go {
    tracing::info!(operation.id = %state.operation.id, step, error = %error, "deploy waits for its database");
    Go::Wait
}
