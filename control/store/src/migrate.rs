//! Brings the control database to this version of the code. Forward only.

use std::borrow::Cow;

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use crate::{Store, StoreError};

macro_rules! migrations {
    ($($version:literal $name:literal),* $(,)?) => {
        [$(($version, $name, include_str!(concat!("../../../migrations/", $name, ".sql")))),*]
    };
}

const MIGRATIONS: [(i64, &str, &str); 12] = migrations![
    1 "0001_ownership",
    2 "0002_accounts",
    3 "0003_ledger",
    4 "0004_payments",
    5 "0005_projects",
    6 "0006_content",
    7 "0007_deploys",
    8 "0008_requests",
    9 "0009_first_block",
    10 "0010_claim_epochs",
    20 "0020_email_accounts",
    21 "0021_cards",
];

impl Store {
    /// Applies what is missing, under an advisory lock, so that two nodes may start at once. Idempotent.
    ///
    /// # Errors
    /// `Migrate` when the database holds a version this binary does not know, or a statement fails.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let migrations = MIGRATIONS.map(|(version, name, sql)| {
            Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
        });
        Migrator::with_migrations(migrations.to_vec()).run(self.pool()).await.map_err(StoreError::Migrate)
    }
}
