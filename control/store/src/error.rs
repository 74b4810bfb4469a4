//! What can go wrong with the control database, told apart only where a program acts differently.

/// A failure of a store function.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The row moved since it was read; nothing was written.
    #[error("{0} is no longer what it was")]
    Stale(&'static str),
    /// A newer claim exists; nothing was written.
    #[error("another node owns this now")]
    Fenced,
    #[error("{0} does not exist")]
    NotFound(&'static str),
    /// A constraint refused the write; its name is the reason. Nothing was written.
    #[error("constraint {0}")]
    Constraint(String),
    /// COMMIT was sent and the answer was lost: it may or may not have happened.
    #[error("the outcome of the commit is unknown")]
    CommitUnknown(#[source] sqlx::Error),
    /// A row that our own writes could not have made.
    #[error("corrupt row: {0}")]
    Corrupt(String),
    #[error("migrate the control database")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    #[error("{during}")]
    Db {
        during: &'static str,
        #[source]
        source: sqlx::Error,
    },
}

impl StoreError {
    /// Memory that was built on this database may be wrong: reread or restart.
    pub fn doubts_memory(&self) -> bool {
        matches!(self, Self::Stale(_) | Self::Fenced | Self::CommitUnknown(_) | Self::Corrupt(_))
    }

    /// A text that Postgres cannot hold, such as one with a NUL: the caller's, not ours.
    pub fn unstorable_text(&self) -> bool {
        const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";
        const UNTRANSLATABLE_CHARACTER: &str = "22P05";
        let Self::Db { source, .. } = self else { return false };
        let code = source.as_database_error().and_then(|e| e.code());
        matches!(code.as_deref(), Some(CHARACTER_NOT_IN_REPERTOIRE | UNTRANSLATABLE_CHARACTER))
    }

    /// The constraint's name when that is what refused.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Constraint(name) => Some(name),
            _ => None,
        }
    }
}

/// What is told to `types::kill_points` when nobody gave a connection back in time. Under a simulator, where nothing
/// else goes on, that is a function that waits for a second connection while it holds the first.
pub const STARVED: &str = "no connection is free";

/// Says what was being done when sqlx failed.
pub trait During<T> {
    /// # Errors
    /// The failure, with constraint violations told apart.
    fn during(self, what: &'static str) -> Result<T, StoreError>;
}

impl<T> During<T> for Result<T, sqlx::Error> {
    fn during(self, what: &'static str) -> Result<T, StoreError> {
        types::kill_points::awaited(what);
        self.map_err(|source| {
            if matches!(source, sqlx::Error::PoolTimedOut) {
                types::kill_points::awaited(STARVED);
            }
            let constraint = source.as_database_error().and_then(|e| e.constraint()).map(str::to_owned);
            match constraint {
                Some(name) => StoreError::Constraint(name),
                None => StoreError::Db { during: what, source },
            }
        })
    }
}

/// The same for sea-orm's list queries. A trait of its own, so that `?` in a closure has one error type to
/// infer.
pub(crate) trait ListDuring<T> {
    fn during_list(self, what: &'static str) -> Result<T, StoreError>;
}

impl<T> ListDuring<T> for Result<T, sea_orm::DbErr> {
    fn during_list(self, what: &'static str) -> Result<T, StoreError> {
        types::kill_points::awaited(what);
        self.map_err(|e| StoreError::Db { during: what, source: sqlx::Error::Protocol(e.to_string()) })
    }
}
