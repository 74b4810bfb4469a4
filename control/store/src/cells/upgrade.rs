//! Bringing older slots to the newest version of what a slot starts with.
//!
//! Each version after the first is a file of its own: older slots run what they lack before their next use,
//! new ones what `template.sql` and `slot.sql` do not make yet while they are made. The texts are fixed and
//! run as superuser, so they make, change and grant objects of the platform's schemas only and never read,
//! call or alter anything of the tenant's.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Row};

use super::template::TEMPLATE_VERSION;
use super::{Cells, Slot, SlotName};
use crate::{During, Store, StoreError};

/// In order; `p0000` stands for the slot's name. Each may run again after it has run.
const UPGRADES: [(i32, &str); 3] = [
    (2, include_str!("../../../../migrations/tenant/0002_schema_version.sql")),
    (3, include_str!("../../../../migrations/tenant/0003_expose.sql")),
    (4, include_str!("../../../../migrations/tenant/0004_deploy_migrations.sql")),
];

/// What `template.sql` and `slot.sql` make.
pub(super) const MADE_VERSION: i32 = 2;

/// Slots that one process remembers to be current; more are asked for again.
const CURRENT_MAX: usize = 100_000;

impl Cells {
    /// Brings a slot to the newest version, once; afterwards nothing is asked. Several nodes may do it at
    /// once.
    ///
    /// # Errors
    /// `Db` when either database refuses; the slot stays what it was.
    pub async fn slot_upgrade(&self, store: &Store, slot: &Slot) -> Result<(), StoreError> {
        if self.lock_current().contains(&slot.number) {
            return Ok(());
        }
        let version = sqlx::query("select template_version from slots where number = $1")
            .bind(slot.number)
            .fetch_one(store.pool())
            .await
            .and_then(|row| row.try_get::<i32, _>(0))
            .during("find a slot's version")?;
        if version < TEMPLATE_VERSION {
            self.upgrade(slot, version).await?;
            sqlx::query("update slots set template_version = $2 where number = $1 and template_version < $2")
                .bind(slot.number)
                .bind(TEMPLATE_VERSION)
                .execute(store.pool())
                .await
                .during("keep a slot's version")?;
            tracing::info!(slot = %slot.name(), from = version, to = TEMPLATE_VERSION, "slot upgraded");
        }
        let mut current = self.lock_current();
        if current.len() >= CURRENT_MAX {
            current.clear();
        }
        current.insert(slot.number);
        Ok(())
    }

    async fn upgrade(&self, slot: &Slot, version: i32) -> Result<(), StoreError> {
        let cell = self.cell(&slot.cell)?;
        let _permit = cell.work.acquire().await.map_err(|_| StoreError::NotFound("cell"))?;
        // No name that a tenant could give an object is ever looked up.
        let options = cell.options.clone().database(&slot.schema()).options([("search_path", "pg_catalog")]);
        let mut inside = PgConnection::connect_with(&options).await.during("upgrade a slot")?;
        run_since(&mut inside, slot.name(), version).await?;
        inside.close().await.during("leave a slot")
    }

    fn lock_current(&self) -> std::sync::MutexGuard<'_, std::collections::HashSet<i32>> {
        self.inner.current.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Runs what came after `version`, each file as one transaction.
pub(super) async fn run_since(
    conn: &mut PgConnection,
    name: SlotName,
    version: i32,
) -> Result<(), StoreError> {
    for (_, text) in UPGRADES.iter().filter(|(to, _)| *to > version) {
        let text = text.replace("p0000", &name.to_string());
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *conn).await.during("upgrade a slot")?;
    }
    Ok(())
}
