//! Brings the control database to this version of the code. Forward only.

use std::borrow::Cow;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Row, SqlSafeStr};

use crate::{During, Store, StoreError};

macro_rules! migrations {
    ($($version:literal $name:literal),* $(,)?) => {
        [$(($version, $name, include_str!(concat!("../../../migrations/", $name, ".sql")))),*]
    };
}

const MIGRATIONS: &[(i64, &str, &str)] = &migrations![
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
    22 "0022_stripe_balance",
    30 "0030_lab_clock",
    31 "0031_lifecycle",
    32 "0032_api_calls",
    40 "0040_facilitator",
    41 "0041_payment_identifiers",
    50 "0050_suspense_resolutions",
    51 "0051_transfers_by_time",
    52 "0052_budgets",
    60 "0060_ended_payments",
    70 "0070_mail",
    71 "0071_account_mail",
    72 "0072_event_subjects",
    80 "0080_deploy_parts",
    95 "0095_blobs",
    100 "0100_functions",
    101 "0101_function_schedules",
    110 "0110_ci",
    111 "0111_domains",
    112 "0112_certificates",
    120 "0120_ai",
    130 "0130_apps",
    131 "0131_blob_metadata",
    150 "0150_function_rebuilds",
    151 "0151_function_queue",
    155 "0155_function_log_attempts",
    156 "0156_function_triggers",
];

impl Store {
    /// Applies what is missing, under an advisory lock, so that two nodes may start at once. Idempotent.
    ///
    /// # Errors
    /// `Migrate` when the database holds a version this binary does not know, or a statement fails.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let migrations: Vec<_> = MIGRATIONS
            .iter()
            .map(|&(version, name, sql)| {
                Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql.into_sql_str(), false)
            })
            .collect();
        if self.is_at(&migrations).await? {
            return Ok(());
        }
        Migrator::with_migrations(migrations).run(self.pool()).await.map_err(StoreError::Migrate)
    }

    /// Whether exactly these were applied. The migrator would make its table first, which a login that may
    /// only work with the data cannot.
    async fn is_at(&self, migrations: &[Migration]) -> Result<bool, StoreError> {
        const DURING: &str = "read the applied migrations";
        let there: bool = sqlx::query("select to_regclass('_sqlx_migrations') is not null")
            .fetch_one(self.pool())
            .await
            .and_then(|row| row.try_get(0))
            .during(DURING)?;
        if !there {
            return Ok(false);
        }
        let rows =
            sqlx::query("select version, checksum from _sqlx_migrations where success order by version")
                .fetch_all(self.pool())
                .await
                .during(DURING)?;
        let mut applied: Vec<(i64, Vec<u8>)> = Vec::with_capacity(rows.len());
        for row in &rows {
            applied.push((row.try_get(0).during(DURING)?, row.try_get(1).during(DURING)?));
        }
        let ours = migrations.iter().map(|m| (m.version, m.checksum.to_vec()));
        Ok(applied.into_iter().eq(ours))
    }

    /// Gives a login what serving needs and nothing more: it works with every table, appends to the ledger's,
    /// and changes none of their definitions (D07). Call it as the owner, after each migration. Idempotent.
    ///
    /// # Errors
    /// `Db` when there is no such role, or this login does not own the tables.
    pub async fn grant_serving(&self, role: &str) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        for sql in GRANTS {
            // The name is quoted by the server itself: a role may be called anything.
            let quoted: String = sqlx::query("select format($1, $2)")
                .bind(sql)
                .bind(role)
                .fetch_one(tx.conn())
                .await
                .and_then(|row| row.try_get(0))
                .during("write a grant")?;
            sqlx::query(sqlx::AssertSqlSafe(quoted)).execute(tx.conn()).await.during("grant serving")?;
        }
        tx.commit().await
    }
}

/// Balances move, and nothing else of an account does; transfers, seals and roots are only added.
const GRANTS: [&str; 6] = [
    "grant usage on schema public to %I",
    "grant select, insert, update, delete on all tables in schema public to %I",
    "grant usage, select on all sequences in schema public to %I",
    "revoke insert, update, delete on _sqlx_migrations from %I",
    "revoke update, delete on ledger_transfers, ledger_seals, ledger_roots, ledger_accounts from %I",
    "grant update (posted, held, version) on ledger_accounts to %I",
];
