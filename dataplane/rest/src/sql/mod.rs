//! `POST /projects/v1/admin/:id/sql`: one text, one transaction, one result.
//!
//! The text goes to the server as it is, in one simple query inside a transaction that we end: Postgres
//! parses it, not we. The connection is fresh, belongs to the login that owns the schema, and is thrown away
//! afterwards, so nothing a statement does to its session outlives the request. The deadline is kept from
//! outside, because SQL can lift any timeout of its own session.

mod decode;
mod error;
pub(crate) mod guard;
pub(crate) mod lex;
mod quote;
mod result;
mod run;

pub(crate) use run::{BEGIN, COMMIT, instant, refusal, settings, was_ended};

use std::time::Duration;

use serde_json::Value;
use store::cells::{Cells, Slot};

pub use error::SqlError;
pub use result::{Field, SqlOutcome, SqlRow};

/// # Source
/// Wire contract 01, open question 19.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the first statement to the last.
    pub deadline: Duration,
    /// Of each statement.
    pub rows_max: usize,
    /// Of each statement's values and names as text.
    pub bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deadline: Duration::from_secs(30), rows_max: 10_000, bytes_max: 10_000_000 }
    }
}

/// What a client sends.
#[derive(Debug, Clone)]
pub struct SqlRequest {
    /// Any number of statements; exactly one when there are parameters.
    pub text: String,
    /// Values of `$1`, `$2`, ...
    pub params: Vec<Value>,
}

/// Whether a text, as far as its words tell, only reads or frees space: what still runs on a full account. A
/// function that is called may do more; it is found by the next measurement, and the server bounds a request.
pub fn only_frees(text: &str) -> bool {
    const FREES: [&str; 3] = ["DELETE", "TRUNCATE", "DROP"];
    lex::statements(text).iter().all(|statement| {
        FREES.contains(&statement.word(0)) || result::reads_only(std::slice::from_ref(statement))
    })
}

/// Runs a request on a project's database and answers the last statement's rows. All of it happens, or
/// nothing.
///
/// Runs to its end even when the caller goes away: the deadline must be kept by someone.
///
/// # Errors
/// See [`SqlError`]; after all but `OutcomeUnknown` nothing has changed.
pub async fn run(
    cells: &Cells,
    slot: &Slot,
    request: SqlRequest,
    limits: Limits,
) -> Result<SqlOutcome, SqlError> {
    let (cells, slot) = (cells.clone(), slot.clone());
    let work = async move { run::request(&cells, &slot, request, limits).await };
    tokio::spawn(work).await.unwrap_or(Err(SqlError::Unavailable))
}

#[cfg(test)]
mod tests {
    use super::only_frees;

    #[test]
    fn a_full_account_reads_and_frees_and_does_nothing_else() {
        for text in [
            "select 1",
            "delete from t where id < 5; drop table t",
            "truncate a, b",
            "with old as (select id from t) select * from old",
            "",
        ] {
            assert!(only_frees(text), "{text}");
        }
        for text in [
            "insert into t values (1)",
            "delete from t; insert into t values (1)",
            "with x as (insert into t values (1) returning 1) select * from x",
            "with gone as (delete from t returning *) insert into u select * from gone",
            "create table t as select 1",
            "select 1 into t",
            "alter table t add c int",
            "do $$ begin null; end $$",
            "call f()",
        ] {
            assert!(!only_frees(text), "{text}");
        }
    }
}
