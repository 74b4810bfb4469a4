//! Decides, writes under the fence, remembers: in that order.

use std::sync::Arc;

use store::cells::{slot_forgo, slot_take};
use store::projects::{self, Phase, Purpose};
use store::releases::ActivateRefused;
use store::{Fence, StoreError};
use types::{Code, Mutation, OperationId, Problem, ProjectId, ReleaseId, kill_point};

use super::{Reply, State};
use crate::Deps;
use crate::kit::ActorError;

/// Every project starts with version 1 of each secret.
const FIRST_SECRET: i32 = 1;
/// A slot that was made on the spot may be taken by another project before this one gets to it.
const TAKE_ATTEMPTS_MAX: usize = 3;

pub(super) async fn load(deps: &Arc<Deps>, id: ProjectId, fence: Fence) -> Result<State, ActorError> {
    let found = projects::project_find(&deps.store, id).await?;
    let project = found.ok_or_else(|| Problem::new(Code::ProjectNotFound, format!("no project {id}")))?;
    Ok(State { project, fence })
}

/// Binds a warm slot, makes the secrets and becomes ready, in one commit.
pub(super) async fn provision(deps: &Arc<Deps>, state: &mut State) -> Result<Reply, ActorError> {
    let id = state.project.id;
    match state.project.phase {
        Phase::Provisioning => {}
        Phase::Ready => return Ok(Reply::Phase(Phase::Ready)),
        Phase::Erasing | Phase::Erased => return Err(gone(id).into()),
    }
    for _ in 0..TAKE_ATTEMPTS_MAX {
        let now = deps.clock.now();
        let mut tx = deps.store.fenced(&state.fence).await?;
        let Some(slot) = slot_take(&mut tx, &deps.cells, id, now).await? else {
            drop(tx);
            slot_make_anywhere(deps).await?;
            continue;
        };
        if !deps.cells.slot_claim(&slot, id).await? {
            slot_forgo(&mut tx, id).await?;
            tx.commit().await?;
            // Of one whose making was cut off, or of one that an older control database does not know.
            tracing::info!(slot = %slot.name(), "a warm slot was promised to another project; set aside");
            continue;
        }
        kill_point!("provision.slot.taken");
        for purpose in Purpose::ALL {
            let secret = (id, purpose, FIRST_SECRET);
            projects::project_secret_add(&mut tx, &deps.master_key, &*deps.entropy, secret, now).await?;
        }
        kill_point!("provision.secrets.written");
        projects::project_move(&mut tx, id, (Phase::Provisioning, Phase::Ready), now).await?;
        tx.commit().await?;
        kill_point!("provision.committed");

        state.project.phase = Phase::Ready;
        state.project.slot = Some(slot.number);
        tracing::info!(project.id = %id, slot = %slot.name(), cell = slot.cell, "project ready");
        return Ok(Reply::Phase(Phase::Ready));
    }
    Err(no_slots().into())
}

/// Kills the keys at once, then goes on as far as it gets. What fails later is retried by `step`.
pub(super) async fn erase(deps: &Arc<Deps>, state: &mut State) -> Result<Reply, ActorError> {
    let (id, from) = (state.project.id, state.project.phase);
    match from {
        Phase::Provisioning | Phase::Ready => {
            let mut tx = deps.store.fenced(&state.fence).await?;
            projects::project_move(&mut tx, id, (from, Phase::Erasing), deps.clock.now()).await?;
            kill_point!("erase.asked");
            tx.commit().await?;
            kill_point!("erase.begun");

            state.project.phase = Phase::Erasing;
            state.project.active_release = None;
            tracing::info!(project.id = %id, "project erasing");
        }
        Phase::Erasing => {}
        Phase::Erased => return Ok(Reply::Phase(Phase::Erased)),
    }
    match erase_rest(deps, state).await {
        Err(e) if !e.doubts_memory() => {
            tracing::info!(project.id = %id, error = %e, "erasure goes on later");
            Ok(Reply::Phase(Phase::Erasing))
        }
        other => other,
    }
}

/// Makes a staged release the live one: the project's pointer and the releases' statuses move in one commit.
pub(super) async fn activate(
    deps: &Arc<Deps>,
    state: &mut State,
    release: ReleaseId,
    operation: OperationId,
) -> Result<Reply, ActorError> {
    let id = state.project.id;
    match state.project.phase {
        Phase::Ready => {}
        Phase::Provisioning => {
            return Err(Problem::new(Code::ProjectNotReady, format!("project {id} is being made")).into());
        }
        Phase::Erasing | Phase::Erased => return Err(gone(id).into()),
    }
    if state.project.active_release == Some(release) {
        return Ok(Reply::Activated);
    }
    let now = deps.clock.now();
    let mut tx = deps.store.fenced(&state.fence).await?;
    match store::releases::release_activate(&mut tx, id, release, now).await {
        Ok(()) => {}
        // This message was answered before, and the answer was lost.
        Err(ActivateRefused::Before) => return Ok(Reply::Activated),
        Err(refused) => return Err(refused.into()),
    }
    projects::project_activate(&mut tx, id, release, now).await?;
    kill_point!("deploy.activation.written");
    tx.commit().await?;
    kill_point!("deploy.activation.committed");

    state.project.active_release = Some(release);
    state.project.revision += 1;
    tracing::info!(project.id = %id, release.id = %release, operation.id = %operation, "release live");
    Ok(Reply::Activated)
}

pub(super) async fn step(deps: &Arc<Deps>, state: &mut State) -> Result<Reply, ActorError> {
    match state.project.phase {
        Phase::Provisioning => provision(deps, state).await,
        Phase::Erasing => erase_rest(deps, state).await,
        phase @ (Phase::Ready | Phase::Erased) => Ok(Reply::Phase(phase)),
    }
}

/// Drops the database, then everything that other tables hold. Each part may run twice.
async fn erase_rest(deps: &Arc<Deps>, state: &mut State) -> Result<Reply, ActorError> {
    let id = state.project.id;
    if let Some(slot) = store::cells::slot_of(&deps.store, id).await? {
        deps.cells.slot_drop(&deps.store, &slot, deps.clock.now()).await?;
    }
    kill_point!("erase.database.dropped");
    let now = deps.clock.now();
    let mut tx = deps.store.fenced(&state.fence).await?;
    store::domains::project_domains_drop(&mut tx, id).await?;
    store::subdomains::project_subdomains_drop(&mut tx, id, now).await?;
    store::releases::project_releases_drop(&mut tx, id, now).await?;
    store::content::project_content_drop(&mut tx, id, now).await?;
    projects::project_secrets_destroy(&mut tx, id).await?;
    store::lifecycle::purge_done(&mut tx, id).await?;
    projects::project_move(&mut tx, id, (Phase::Erasing, Phase::Erased), now).await?;
    kill_point!("erase.written");
    tx.commit().await?;
    kill_point!("erase.committed");

    state.project.phase = Phase::Erased;
    tracing::info!(project.id = %id, "project erased");
    Ok(Reply::Phase(Phase::Erased))
}

/// No slot is warm: makes one on the first cell that can.
async fn slot_make_anywhere(deps: &Arc<Deps>) -> Result<(), ActorError> {
    for cell in deps.cells.names() {
        match deps.cells.slot_make(&deps.store, &cell, &*deps.clock).await {
            Ok(_) => return Ok(()),
            Err(e @ StoreError::CommitUnknown(_)) => return Err(e.into()),
            Err(e) => {
                tracing::warn!(cell, error = &e as &dyn std::error::Error, "no slot on the spot");
            }
        }
    }
    Err(no_slots().into())
}

fn no_slots() -> Problem {
    Problem::new(Code::NoSchemaSlots, "No schema slots available").mutation(Mutation::NotStarted)
}

fn gone(id: ProjectId) -> Problem {
    Problem::new(Code::ProjectNotFound, format!("project {id} was deleted"))
}
