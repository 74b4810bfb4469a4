//! The copy of a project's registry of migrations.

use chrono::{DateTime, Utc};
use sqlx::Row;
use types::{OperationId, ProjectId};

use crate::{During, FencedTx, Store, StoreError};

/// A migration that has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppliedMigration {
    pub id: String,
    pub checksum: String,
    pub applied_at: DateTime<Utc>,
}

/// Notes that these ran, in order. Those that are noted already stay as they are.
///
/// # Errors
/// `Db` only.
pub async fn migrations_note(
    tx: &mut FencedTx,
    (project, operation): (ProjectId, OperationId),
    ran: &[(String, String)],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into project_migrations (project_id, migration_id, checksum, operation_id, applied_at)
         select $1, m.id, m.checksum, $2, $5
         from unnest($3::text[], $4::text[]) with ordinality as m (id, checksum, ord) order by m.ord
         on conflict (project_id, migration_id) do nothing",
    )
    .bind(project.0)
    .bind(operation.0)
    .bind(ran.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>())
    .bind(ran.iter().map(|(_, checksum)| checksum.as_str()).collect::<Vec<_>>())
    .bind(now)
    .execute(tx.conn())
    .await
    .during("note migrations")?;
    Ok(())
}

/// What had run by `until`, in order; everything without it.
///
/// # Errors
/// `Db` only.
pub async fn migrations_list(
    store: &Store,
    project: ProjectId,
    until: Option<DateTime<Utc>>,
) -> Result<Vec<AppliedMigration>, StoreError> {
    let rows = sqlx::query(
        "select migration_id, checksum, applied_at from project_migrations
         where project_id = $1 and ($2::timestamptz is null or applied_at <= $2) order by seq",
    )
    .bind(project.0)
    .bind(until)
    .fetch_all(store.pool())
    .await
    .during("list migrations")?;
    rows.iter()
        .map(|row| {
            Ok(AppliedMigration {
                id: row.try_get(0)?,
                checksum: row.try_get(1)?,
                applied_at: row.try_get(2)?,
            })
        })
        .collect::<Result<_, sqlx::Error>>()
        .during("read a migration")
}
