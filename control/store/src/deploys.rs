//! Deploy plans, operations and their events.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{CiBindingId, OperationId, PlanId, ProjectId, ReleaseId, Sha256Hex, TraceId};
use uuid::Uuid;

use crate::{During, FencedTx, Store, StoreError, Tx};

mod entity;
mod gate;
mod list;
mod migrations;
mod status;

pub use gate::{Gate, GateAsk, GateTaken, gate_find, gate_open, gate_release, gate_take};
pub use list::{OperationPage, events_list, operation_list};
pub use migrations::{AppliedMigration, migrations_list, migrations_note};
pub use status::{Event, IllegalMove, Status};

/// A release that was planned: what to do, and on top of what.
#[derive(Debug, Clone)]
pub struct Plan {
    pub id: PlanId,
    pub project: ProjectId,
    pub operation: OperationId,
    /// What absent sections are carried forward from.
    pub base_release: Option<ReleaseId>,
    /// What was live when it was planned.
    pub active_release: Option<ReleaseId>,
    /// The normalised spec.
    pub spec: Value,
    /// SHA-256 of the spec's canonical JSON.
    pub digest: Sha256Hex,
    pub idempotency_key: Option<String>,
    pub is_noop: bool,
    /// The wallet that asked, or the binding that let a workflow ask.
    pub created_by: String,
    /// The workflow's, when one asked.
    pub ci_binding: Option<CiBindingId>,
    pub created_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
}

/// One run of a plan.
#[derive(Debug, Clone)]
pub struct Operation {
    pub id: OperationId,
    pub project: ProjectId,
    pub plan: PlanId,
    pub status: Status,
    pub base_release: Option<ReleaseId>,
    /// The release that is being made.
    pub target_release: Option<ReleaseId>,
    /// The release that is live because of it.
    pub release: Option<ReleaseId>,
    pub urls: Option<Value>,
    pub error: Option<Value>,
    pub activate_attempts: i32,
    pub last_activate_attempt_at: Option<DateTime<Utc>>,
    pub trace: Option<TraceId>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// What to look for before a plan is made: the same question gets the same plan.
#[derive(Debug, Clone)]
pub struct Replay<'a> {
    pub project: ProjectId,
    pub base_release: Option<ReleaseId>,
    pub active_release: Option<ReleaseId>,
    pub digest: &'a Sha256Hex,
    pub idempotency_key: Option<&'a str>,
    /// A workflow never gets a plan of somebody else, nor anybody a workflow's.
    pub ci_binding: Option<CiBindingId>,
    /// Nothing would change, as things are now.
    pub is_noop: bool,
    pub now: DateTime<Utc>,
}

/// A step of an operation: where it goes and what it leaves behind.
#[derive(Debug, Clone)]
pub struct Step {
    pub from: Status,
    pub event: Event,
    pub target_release: Option<ReleaseId>,
    pub release: Option<ReleaseId>,
    pub urls: Option<Value>,
    pub error: Option<Value>,
    pub trace: Option<TraceId>,
    /// Wire events to append, in order.
    pub events: Vec<Value>,
    pub now: DateTime<Utc>,
}

impl Step {
    pub fn new(from: Status, event: Event, now: DateTime<Utc>) -> Self {
        Self {
            from,
            event,
            target_release: None,
            release: None,
            urls: None,
            error: None,
            trace: None,
            events: Vec::new(),
            now,
        }
    }
}

/// Makes everybody else who plans the same thing wait for this transaction, so that a repeat finds the first.
///
/// # Errors
/// `Db` only.
pub async fn plan_lock(tx: &mut Tx, project: ProjectId, digest: &Sha256Hex) -> Result<(), StoreError> {
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("deploy plan {project} {digest}"))
        .execute(tx.conn())
        .await
        .during("lock a plan")?;
    Ok(())
}

/// The live plan that answers the same question, unless it failed, or had nothing to do and now has: rights and
/// migrations may change without a release. With a client's key, also one that
/// finished under it although the base has moved since: that is the question being asked again after a lost
/// answer. And one whose own release is what is live by now, although the operation has not noticed: a crash
/// may come between the two.
///
/// # Errors
/// `Db`, `Corrupt`.
///
/// # Source
/// Wire contract 02 section 4.2, "Idempotency".
pub async fn plan_replay_find(tx: &mut Tx, replay: &Replay<'_>) -> Result<Option<Plan>, StoreError> {
    let row = sqlx::query(
        "select p.* from deploy_plans p join deploy_operations o on o.id = p.operation_id
         where p.project_id = $1 and p.digest = $2 and p.idempotency_key is not distinct from $3
           and p.expires_at > $4 and o.status not in ('failed', 'rolled_back', 'needs_repair')
           and ((p.base_release_id is not distinct from $5 and p.active_release_id is not distinct from $6
               and ($7 or not p.is_noop))
             or ($3 is not null and o.status = 'ready')
             or (o.status in ('activating', 'activation_pending') and o.target_release_id = $6))
           and p.ci_binding_id is not distinct from $8
         order by p.created_at desc limit 1",
    )
    .bind(replay.project.0)
    .bind(replay.digest.as_str())
    .bind(replay.idempotency_key)
    .bind(replay.now)
    .bind(replay.base_release.map(|r| r.0))
    .bind(replay.active_release.map(|r| r.0))
    .bind(replay.is_noop)
    .bind(replay.ci_binding.map(|b| b.0))
    .fetch_optional(tx.conn())
    .await
    .during("find an earlier plan")?;
    row.as_ref().map(plan).transpose()
}

/// Writes a plan with its operation, which waits in `planning`.
///
/// # Errors
/// `Constraint` when an id is used twice.
pub async fn plan_create(tx: &mut Tx, plan: &Plan, events: &[Value]) -> Result<(), StoreError> {
    sqlx::query(
        "insert into deploy_plans (id, project_id, operation_id, base_release_id, active_release_id, spec,
           digest, idempotency_key, is_noop, created_by, created_at, expires_at, ci_binding_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(plan.id.0)
    .bind(plan.project.0)
    .bind(plan.operation.0)
    .bind(plan.base_release.map(|r| r.0))
    .bind(plan.active_release.map(|r| r.0))
    .bind(&plan.spec)
    .bind(plan.digest.as_str())
    .bind(&plan.idempotency_key)
    .bind(plan.is_noop)
    .bind(&plan.created_by)
    .bind(plan.created_at)
    .bind(plan.expires_at)
    .bind(plan.ci_binding.map(|b| b.0))
    .execute(tx.conn())
    .await
    .during("create a plan")?;
    sqlx::query(
        "insert into deploy_operations (id, project_id, plan_id, status, base_release_id,
           created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $6)",
    )
    .bind(plan.operation.0)
    .bind(plan.project.0)
    .bind(plan.id.0)
    .bind(Status::Planning.as_str())
    .bind(plan.base_release.map(|r| r.0))
    .bind(plan.created_at)
    .execute(tx.conn())
    .await
    .during("create an operation")?;
    events_append(tx, plan.operation, events, plan.created_at).await
}

/// # Errors
/// `Db`, `Corrupt`.
pub async fn plan_find(store: &Store, id: PlanId) -> Result<Option<Plan>, StoreError> {
    let row = sqlx::query("select * from deploy_plans where id = $1")
        .bind(id.0)
        .fetch_optional(store.pool())
        .await
        .during("find a plan")?;
    row.as_ref().map(plan).transpose()
}

/// # Errors
/// `Db`, `Corrupt`.
pub async fn operation_find(store: &Store, id: OperationId) -> Result<Option<Operation>, StoreError> {
    let row = sqlx::query("select * from deploy_operations where id = $1")
        .bind(id.0)
        .fetch_optional(store.pool())
        .await
        .during("find an operation")?;
    row.as_ref().map(operation).transpose()
}

/// Moves an operation and appends its events, in one commit. Fields that the step does not set stay. The last
/// step gives the project's gate back.
///
/// # Errors
/// `Stale` when the row no longer holds `from` or the move is not a legal one: nothing was written.
pub async fn operation_step(tx: &mut FencedTx, id: OperationId, step: &Step) -> Result<Status, StoreError> {
    let to = step.from.apply(step.event).map_err(|_| StoreError::Stale("deploy operation"))?;
    let attempted = matches!(step.event, Event::Activated | Event::ActivationDeferred);
    let done = sqlx::query(
        "update deploy_operations set status = $3, target_release_id = coalesce($4, target_release_id),
           release_id = coalesce($5, release_id), urls = coalesce($6, urls), error = $7,
           trace_id = coalesce($8, trace_id), activate_attempts = activate_attempts + $9,
           last_activate_attempt_at = case when $9 > 0 then $10 else last_activate_attempt_at end,
           updated_at = $10
         where id = $1 and status = $2",
    )
    .bind(id.0)
    .bind(step.from.as_str())
    .bind(to.as_str())
    .bind(step.target_release.map(|r| r.0))
    .bind(step.release.map(|r| r.0))
    .bind(&step.urls)
    .bind(&step.error)
    .bind(step.trace.map(|trace| trace.to_string()))
    .bind(i32::from(attempted))
    .bind(step.now)
    .execute(tx.conn())
    .await
    .during("move an operation")?;
    if done.rows_affected() != 1 {
        return Err(StoreError::Stale("deploy operation"));
    }
    if to.is_terminal() {
        gate_release(tx.tx(), id).await?;
    }
    events_append(tx.tx(), id, &step.events, step.now).await?;
    Ok(to)
}

/// Appends events in order. The caller's transaction holds the operation's row or made it, so numbers do not
/// race.
async fn events_append(
    tx: &mut Tx,
    id: OperationId,
    events: &[Value],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into deploy_events (operation_id, seq, event, created_at)
         select $1, base.last + e.ord::integer, e.event, $3
         from (select coalesce(max(seq), 0) as last from deploy_events where operation_id = $1) base,
           unnest($2::jsonb[]) with ordinality as e (event, ord)",
    )
    .bind(id.0)
    .bind(events)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("append deploy events")?;
    Ok(())
}

/// Operations that somebody should go on with, the longest untouched first. An activation that keeps failing
/// is tried again later and later, hourly in the end.
///
/// # Errors
/// `Db` only.
pub async fn unfinished(
    store: &Store,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<OperationId>, StoreError> {
    let quiet = now - TimeDelta::seconds(5);
    let rows = sqlx::query(
        "select id from deploy_operations
         where status in ('committing', 'staging', 'gating', 'migrating', 'schema_settling', 'activating',
           'activation_pending') and updated_at <= $1
           and (status <> 'activation_pending' or last_activate_attempt_at is null or last_activate_attempt_at
             + least(interval '1 hour', interval '5 seconds' * power(2, least(activate_attempts, 12))) <= $2)
         order by updated_at limit $3",
    )
    .bind(quiet)
    .bind(now)
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .during("find unfinished deploys")?;
    rows.iter().map(|row| row.try_get(0).map(OperationId)).collect::<Result<_, _>>().during("read an id")
}

fn plan(row: &PgRow) -> Result<Plan, StoreError> {
    let read = || -> Result<Plan, sqlx::Error> {
        Ok(Plan {
            id: PlanId(row.try_get("id")?),
            project: ProjectId(row.try_get("project_id")?),
            operation: OperationId(row.try_get("operation_id")?),
            base_release: release_id(row, "base_release_id")?,
            active_release: release_id(row, "active_release_id")?,
            spec: row.try_get("spec")?,
            digest: row
                .try_get::<String, _>("digest")?
                .parse()
                .map_err(|e: types::BadDigest| sqlx::Error::Decode(e.into()))?,
            idempotency_key: row.try_get("idempotency_key")?,
            is_noop: row.try_get("is_noop")?,
            created_by: row.try_get("created_by")?,
            ci_binding: row.try_get::<Option<Uuid>, _>("ci_binding_id")?.map(CiBindingId),
            created_at: row.try_get("created_at")?,
            expires_at: row.try_get("expires_at")?,
        })
    };
    read().during("read a plan")
}

fn operation(row: &PgRow) -> Result<Operation, StoreError> {
    let status: String = row.try_get("status").during("read an operation")?;
    let trace: Option<String> = row.try_get("trace_id").during("read an operation")?;
    let status = Status::named(&status).ok_or_else(|| StoreError::Corrupt(format!("status {status}")))?;
    let read = || -> Result<Operation, sqlx::Error> {
        Ok(Operation {
            id: OperationId(row.try_get("id")?),
            project: ProjectId(row.try_get("project_id")?),
            plan: PlanId(row.try_get("plan_id")?),
            status,
            base_release: release_id(row, "base_release_id")?,
            target_release: release_id(row, "target_release_id")?,
            release: release_id(row, "release_id")?,
            urls: row.try_get("urls")?,
            error: row.try_get("error")?,
            activate_attempts: row.try_get("activate_attempts")?,
            last_activate_attempt_at: row.try_get("last_activate_attempt_at")?,
            trace: trace.and_then(|text| text.parse().ok()),
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
        })
    };
    read().during("read an operation")
}

pub(crate) fn release_id(row: &PgRow, column: &str) -> Result<Option<ReleaseId>, sqlx::Error> {
    Ok(row.try_get::<Option<Uuid>, _>(column)?.map(ReleaseId))
}
