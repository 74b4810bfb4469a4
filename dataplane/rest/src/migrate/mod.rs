//! Migrations of a deploy, and the manifest after them, on the project's own database.
//!
//! A registry there (`internal.deploy_migrations`) says what has run. A migration and its row are one commit,
//! so a crash at any moment leaves either both or none, and running the same work again runs nothing twice.
//! New migrations run in order; those that stand beside each other and want a transaction share one, and the
//! manifest joins the last of these. A migration that must run outside of a transaction is marked `started`
//! before its first statement: when the mark is found again by the same operation, how far it came is not
//! known, and it is never run again by itself.

mod registry;
mod run;

use serde_json::Value;
use store::cells::{Cells, Slot};

use crate::expose::{self, ExposeError, Issues};
use crate::sql::SqlError;

pub use registry::{Known, State};

/// A migration with its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    pub id: String,
    /// The author's word for this very text; compared as it is.
    pub checksum: String,
    pub sql: String,
    /// False: its statements run one by one, outside of a transaction.
    pub in_transaction: bool,
}

/// What one deploy does to a database.
#[derive(Debug, Clone)]
pub struct Work {
    /// Names the run: a mark of the same name is our own, left by a crash.
    pub operation: String,
    pub migrations: Vec<Migration>,
    /// Applied after them.
    pub manifest: Option<Value>,
}

/// What was done.
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// Ids that ran now or, when the work was cut off after its commit, by an earlier attempt of it.
    pub ran: Vec<String>,
    /// Statements of the manifest.
    pub exposed: usize,
}

/// Why the work was not done.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The id has run before, with another text.
    #[error("migration {id} was already applied with different SQL")]
    Checksum { id: String },
    /// The database refused a migration.
    #[error("migration {id}: {error}")]
    Refused {
        id: String,
        #[source]
        error: SqlError,
        /// False when something of this work stayed.
        is_clean: bool,
    },
    /// The manifest does not fit the schema as the migrations left it.
    #[error("the manifest is not valid")]
    Manifest { issues: Issues, is_clean: bool },
    /// A migration without a transaction was cut off: how far it came is not known.
    #[error("migration {id} was cut off")]
    CutOff { id: String },
    /// The database cannot be asked now. Doing the same work again settles it.
    #[error("the project's database cannot be asked now")]
    Away(#[source] SqlError),
}

/// Does the work, as far as it is not done yet. Runs to its end even when the caller goes away.
///
/// # Errors
/// See [`MigrateError`].
pub async fn migrate(cells: &Cells, slot: &Slot, work: Work) -> Result<Done, MigrateError> {
    let manifest = match work.manifest.as_ref().map(expose::parse).transpose() {
        Ok(manifest) => manifest,
        Err(issues) => return Err(MigrateError::Manifest { issues, is_clean: true }),
    };
    let (cells, slot) = (cells.clone(), slot.clone());
    let work = async move { run::work(&cells, &slot, &work, manifest.as_ref()).await };
    tokio::spawn(work).await.unwrap_or(Err(MigrateError::Away(SqlError::Unavailable)))
}

/// What the registry knows, by id.
///
/// # Errors
/// What a session can fail with.
pub async fn known(cells: &Cells, slot: &Slot) -> Result<Vec<Known>, SqlError> {
    run::known(cells, slot).await
}

/// Whether visitors' requests can be answered on the schema as it is now: REST reads the schema's version with
/// each statement, so that is all there is to wait for.
///
/// # Errors
/// What a session can fail with.
pub async fn settled(cells: &Cells, slot: &Slot) -> Result<i64, SqlError> {
    run::schema_version(cells, slot).await
}

impl From<ExposeError> for MigrateError {
    fn from(error: ExposeError) -> Self {
        match error {
            ExposeError::Invalid(issues) => Self::Manifest { issues, is_clean: true },
            ExposeError::Raced => Self::Away(SqlError::Busy),
            ExposeError::Sql(error) => Self::Away(error),
        }
    }
}
