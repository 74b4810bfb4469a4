//! What a cell itself remembers of its slots: whose each one is, and that it was dropped.
//!
//! The control database may come back from a backup that is older than the cell. It would then hand a database that a
//! project lives in to another as a warm one, give its number to a new one, and know erased projects as ready. The
//! marks are in the maintenance database, which no tenant may enter.

use sqlx::Row;
use types::ProjectId;
use uuid::Uuid;

use super::rows::{self, Slot};
use super::{Cell, Cells};
use crate::{During, Store, StoreError};

/// Idempotent. The schema is the superuser's own.
pub(super) const TABLE: &str = "
    create schema if not exists r402_cell;
    create table if not exists r402_cell.slots (
      number integer primary key, project uuid not null, dropped_at timestamptz)";

impl Cells {
    /// Makes a slot this project's for good, as its cell sees it. `false`: it is another's, and must not be used.
    /// Idempotent.
    ///
    /// # Errors
    /// `Db` when the cell refuses; `NotFound` for a cell this node does not know.
    pub async fn slot_claim(&self, slot: &Slot, project: ProjectId) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "insert into r402_cell.slots (number, project) values ($1, $2)
             on conflict (number) do update set project = r402_cell.slots.project
             returning project = $2 and dropped_at is null",
        )
        .bind(slot.number)
        .bind(project.0)
        .fetch_one(&self.cell(&slot.cell)?.superuser)
        .await
        .during("claim a slot")?;
        row.try_get(0).during("claim a slot")
    }

    /// Projects that the control database knows as living on slots of this cell which were dropped with them: they
    /// were erased after the backup that it came from.
    ///
    /// # Errors
    /// `Db` only.
    pub async fn projects_lost(&self, store: &Store, cell: &str) -> Result<Vec<ProjectId>, StoreError> {
        let dropped = sqlx::query("select number, project from r402_cell.slots where dropped_at is not null")
            .fetch_all(&self.cell(cell)?.superuser)
            .await
            .during("read what was dropped")?;
        let (mut numbers, mut projects) = (Vec::new(), Vec::new());
        for row in &dropped {
            numbers.push(row.try_get::<i32, _>(0).during("read what was dropped")?);
            projects.push(ProjectId(row.try_get(1).during("read what was dropped")?));
        }
        rows::projects_on(store, cell, &numbers, &projects).await
    }

    /// The highest number that any cell of this node holds or has held.
    pub(super) async fn highest_number(&self) -> Result<i32, StoreError> {
        let mut highest = 0;
        for cell in self.inner.cells.values() {
            let row = sqlx::query(
                r"select greatest(
                    (select max(number) from r402_cell.slots),
                    (select max(substr(datname, 2)::integer) from pg_database where datname ~ '^p\d{4,9}$'),
                    0)",
            )
            .fetch_one(&cell.superuser)
            .await
            .during("find the highest slot")?;
            highest = highest.max(row.try_get(0).during("find the highest slot")?);
        }
        Ok(highest)
    }
}

impl Cell {
    /// Enters the slots that projects have, and takes those out of the pool that are somebody's.
    pub(super) async fn reconcile(&self, store: &Store) -> Result<(), StoreError> {
        let (numbers, projects) = rows::slots_bound(store, &self.name).await?;
        sqlx::query(
            "insert into r402_cell.slots (number, project) select * from unnest($1::integer[], $2::uuid[])
             on conflict do nothing",
        )
        .bind(numbers)
        .bind(projects)
        .execute(&self.superuser)
        .await
        .during("mark slots")?;
        let marked = sqlx::query("select number, project from r402_cell.slots")
            .fetch_all(&self.superuser)
            .await
            .during("read the marks of slots")?;
        let (mut numbers, mut projects) = (Vec::new(), Vec::new());
        for row in &marked {
            numbers.push(row.try_get::<i32, _>(0).during("read the marks of slots")?);
            projects.push(row.try_get::<Uuid, _>(1).during("read the marks of slots")?);
        }
        for slot in rows::slots_set_aside(store, &self.name, (&numbers, &projects)).await? {
            tracing::error!(
                slot = %slot.name(), cell = self.name,
                "a warm slot is another project's: the control database is older than the cell; set aside"
            );
        }
        Ok(())
    }

    /// Its project is gone with it.
    pub(super) async fn mark_dropped(&self, slot: &Slot) -> Result<(), StoreError> {
        sqlx::query("update r402_cell.slots set dropped_at = now() where number = $1 and dropped_at is null")
            .bind(slot.number)
            .execute(&self.superuser)
            .await
            .during("mark a dropped slot")?;
        Ok(())
    }
}
