//! Why a request on a tenant database failed, and what its sender is told.

use store::StoreError;
use store::cells::SessionError;
use types::{Code, Mutation, Problem};

/// After all but `OutcomeUnknown` nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// A statement that the platform keeps to itself.
    #[error("Blocked SQL pattern: {pattern}")]
    Blocked { pattern: &'static str, index: usize },
    #[error("{verb} is not available: the whole text already runs as one transaction")]
    TransactionControl { verb: String, index: usize },
    /// Something that makes no sense on a connection that ends with the request.
    #[error("{what} is not available here: the connection ends with the request")]
    Unsupported { what: &'static str, index: usize },
    /// Parameters need exactly one statement, and text that Postgres can hold.
    #[error("{0}")]
    BadParameters(&'static str),
    /// The server's refusal.
    #[error("{message}")]
    Refused {
        message: String,
        sqlstate: String,
        /// Characters from the start of the text, from 1.
        position: Option<usize>,
        /// Of the statement within the text, from 0.
        index: usize,
        detail: Option<String>,
        hint: Option<String>,
    },
    #[error("the statement was stopped at its deadline")]
    Timeout { reads_only: bool },
    #[error("the result is larger than {rows_max} rows or {bytes_max} bytes")]
    TooLarge { rows_max: usize, bytes_max: usize },
    #[error("too many requests on this project's database")]
    Busy,
    /// The database did not answer; it rolls back by itself.
    #[error("the project's database did not answer")]
    Unavailable,
    /// COMMIT was sent and its answer was lost.
    #[error("the outcome of the commit is unknown")]
    OutcomeUnknown,
}

impl From<SessionError> for SqlError {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Busy => Self::Busy,
            SessionError::Store(e) => e.into(),
        }
    }
}

impl From<StoreError> for SqlError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "tenant database");
        Self::Unavailable
    }
}

impl SqlError {
    /// # Source
    /// Wire contract 01 section 6.6.
    pub fn into_problem(self) -> Problem {
        let message = self.to_string();
        match self {
            Self::Blocked { index, .. } => {
                Problem::new(Code::SqlBlocked, message).detail("statement_index", index)
            }
            Self::TransactionControl { index, .. } => Problem::new(Code::SqlError, message)
                .hint("Remove BEGIN, COMMIT and ROLLBACK; savepoints are available.")
                .detail("sqlstate", "0A000")
                .detail("statement_index", index),
            Self::Unsupported { index, .. } => Problem::new(Code::SqlError, message)
                .detail("sqlstate", "0A000")
                .detail("statement_index", index),
            Self::BadParameters(_) => Problem::new(Code::BadRequest, message),
            Self::Refused { sqlstate, position, index, detail, hint, .. } => {
                let mut problem = Problem::new(Code::SqlError, message)
                    .mutation(Mutation::RolledBack)
                    .detail("sqlstate", sqlstate)
                    .detail("position", position)
                    .detail("statement_index", index);
                if let Some(detail) = detail {
                    problem = problem.detail("detail", detail);
                }
                Problem { hint, ..problem }
            }
            Self::Timeout { reads_only } => Problem::new(Code::SqlTimeout, message)
                .mutation(Mutation::RolledBack)
                .extra("safe_to_retry", reads_only),
            Self::TooLarge { rows_max, bytes_max } => Problem::new(Code::ResultTooLarge, message)
                .mutation(Mutation::RolledBack)
                .detail("rows_max", rows_max)
                .detail("bytes_max", bytes_max),
            Self::Busy => Problem::new(Code::Unavailable, message)
                .mutation(Mutation::NotStarted)
                .extra("retry_after", 1),
            Self::Unavailable => Problem::new(Code::Unavailable, message).mutation(Mutation::RolledBack),
            Self::OutcomeUnknown => Problem::new(Code::OutcomeUnknown, message).mutation(Mutation::Unknown),
        }
    }
}
