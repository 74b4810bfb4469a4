//! Pages of operations, and the events of one.

use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde_json::Value;
use sqlx::Row;
use types::{CiBindingId, OperationId, PlanId, ProjectId, ReleaseId};

use super::{Operation, Status, entity};
use crate::{During, ListDuring, Store, StoreError};

/// A page, and where the next one starts.
#[derive(Debug, Clone)]
pub struct OperationPage {
    pub operations: Vec<Operation>,
    pub next: Option<OperationId>,
}

/// Operations of a project, or of one binding of it, the newest first, after `after`. Ids sort by the time they were
/// made.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn operation_list(
    store: &Store,
    project: ProjectId,
    binding: Option<CiBindingId>,
    after: Option<OperationId>,
    limit: u64,
) -> Result<OperationPage, StoreError> {
    let mut wanted = Condition::all().add(entity::Column::ProjectId.eq(project.0));
    if let Some(after) = after {
        wanted = wanted.add(entity::Column::Id.lt(after.0));
    }
    if let Some(binding) = binding {
        let own = "plan_id in (select id from deploy_plans where ci_binding_id = $1)";
        wanted = wanted.add(Expr::cust_with_values(own, [binding.0]));
    }
    let mut rows = entity::Entity::find()
        .filter(wanted)
        .order_by_desc(entity::Column::Id)
        // One more, to know whether there is a next page.
        .limit(limit + 1)
        .all(&store.lists())
        .await
        .during_list("list operations")?;
    let more = rows.len() as u64 > limit;
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let next = if more { rows.last().map(|row| OperationId(row.id)) } else { None };
    let operations = rows.into_iter().map(operation).collect::<Result<_, _>>()?;
    Ok(OperationPage { operations, next })
}

fn operation(row: entity::Model) -> Result<Operation, StoreError> {
    let status =
        Status::named(&row.status).ok_or_else(|| StoreError::Corrupt(format!("status {}", row.status)))?;
    Ok(Operation {
        id: OperationId(row.id),
        project: ProjectId(row.project_id),
        plan: PlanId(row.plan_id),
        status,
        base_release: row.base_release_id.map(ReleaseId),
        target_release: row.target_release_id.map(ReleaseId),
        release: row.release_id.map(ReleaseId),
        urls: row.urls,
        error: row.error,
        activate_attempts: row.activate_attempts,
        last_activate_attempt_at: row.last_activate_attempt_at,
        trace: row.trace_id.and_then(|text| text.parse().ok()),
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

/// What an operation did, in order, as shown to clients.
///
/// # Errors
/// `Db` only.
pub async fn events_list(store: &Store, id: OperationId) -> Result<Vec<Value>, StoreError> {
    let rows = sqlx::query("select event from deploy_events where operation_id = $1 order by seq")
        .bind(id.0)
        .fetch_all(store.pool())
        .await
        .during("list deploy events")?;
    rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().during("read an event")
}
