//! The gate of a project: at most one deploy at a time changes its database, and while one does, no other
//! release goes live.

use chrono::{DateTime, Utc};
use sqlx::Row;
use types::{OperationId, ProjectId, ReleaseId};
use uuid::Uuid;

use crate::{During, FencedTx, Store, StoreError, Tx};

/// Who changes a project's database now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    pub operation: OperationId,
    /// Requests of the project's data are put off as well.
    pub blocks_data: bool,
}

/// Whether the gate is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateTaken {
    Ours,
    /// Another operation has it.
    Held(OperationId),
    /// Another release went live since the plan.
    BaseMoved,
    /// The project is being erased.
    Gone,
}

/// What to take a gate for.
#[derive(Debug, Clone, Copy)]
pub struct GateAsk {
    pub project: ProjectId,
    pub operation: OperationId,
    /// What was live when it was planned: with the gate, that stays live until this operation moves it.
    pub active_release: Option<ReleaseId>,
    pub blocks_data: bool,
    pub now: DateTime<Utc>,
}

/// Takes a project's gate. Taking it again changes at most what it blocks.
///
/// # Errors
/// `Db` only.
pub async fn gate_take(tx: &mut FencedTx, ask: &GateAsk) -> Result<GateTaken, StoreError> {
    let project = sqlx::query("select phase, active_release from projects where id = $1 for update")
        .bind(ask.project.0)
        .fetch_optional(tx.conn())
        .await
        .during("lock the project")?;
    let Some(project) = project else { return Ok(GateTaken::Gone) };
    let phase: String = project.try_get("phase").during("read a project")?;
    if phase != "ready" {
        return Ok(GateTaken::Gone);
    }
    let active: Option<Uuid> = project.try_get("active_release").during("read a project")?;
    if active.map(ReleaseId) != ask.active_release {
        return Ok(GateTaken::BaseMoved);
    }
    let holder = sqlx::query(
        "insert into deploy_gates (project_id, operation_id, blocks_data, taken_at) values ($1, $2, $3, $4)
         on conflict (project_id) do update set blocks_data = case
           when deploy_gates.operation_id = $2 then $3 else deploy_gates.blocks_data end
         returning operation_id",
    )
    .bind(ask.project.0)
    .bind(ask.operation.0)
    .bind(ask.blocks_data)
    .bind(ask.now)
    .fetch_one(tx.conn())
    .await
    .during("take a gate")?;
    let holder = OperationId(holder.try_get(0).during("read a gate")?);
    Ok(if holder == ask.operation { GateTaken::Ours } else { GateTaken::Held(holder) })
}

/// Lets requests of the project's data through again; other deploys still wait.
///
/// # Errors
/// `Db` only.
pub async fn gate_open(tx: &mut FencedTx, operation: OperationId) -> Result<(), StoreError> {
    sqlx::query("update deploy_gates set blocks_data = false where operation_id = $1")
        .bind(operation.0)
        .execute(tx.conn())
        .await
        .during("open a gate")?;
    Ok(())
}

/// Gives the gate back, if this operation has it.
///
/// # Errors
/// `Db` only.
pub async fn gate_release(tx: &mut Tx, operation: OperationId) -> Result<(), StoreError> {
    sqlx::query("delete from deploy_gates where operation_id = $1")
        .bind(operation.0)
        .execute(tx.conn())
        .await
        .during("give a gate back")?;
    Ok(())
}

/// # Errors
/// `Db` only.
pub async fn gate_find(store: &Store, project: ProjectId) -> Result<Option<Gate>, StoreError> {
    let row = sqlx::query("select operation_id, blocks_data from deploy_gates where project_id = $1")
        .bind(project.0)
        .fetch_optional(store.pool())
        .await
        .during("find a gate")?;
    row.map(|row| Ok(Gate { operation: OperationId(row.try_get(0)?), blocks_data: row.try_get(1)? }))
        .transpose()
        .during("read a gate")
}
