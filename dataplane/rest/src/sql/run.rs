//! One request on one connection, watched from outside.

use std::time::Duration;

use futures::TryStreamExt;
use sqlx::postgres::{PgConnection, PgDatabaseError, PgErrorPosition, PgRow};
use sqlx::{AssertSqlSafe, Either, Executor, Row, SqlSafeStr};
use store::cells::{Cells, Login, MESSAGE_TOO_LARGE, Session, Slot};

use super::lex::{Statement, statements};
use super::result::{Collected, RawField, may_return_rows, named, raw_fields, reads_only};
use super::{Limits, SqlError, SqlOutcome, SqlRequest, guard, quote};

const QUERY_CANCELED: &str = "57014";
const NOT_SUPPORTED: &str = "0A000";
/// Looking up names of types after the commit must not hold up the answer.
const AFTERTHOUGHT_MAX: Duration = Duration::from_secs(2);
/// Time for the server to keep its own deadline before we keep it for it.
const GRACE: Duration = Duration::from_millis(250);

/// Start-up options of every session that runs a tenant's SQL: they outrank the defaults of its role.
pub(crate) fn settings(slot: &Slot, deadline: Duration) -> Vec<(&'static str, String)> {
    vec![
        ("search_path", format!("{},extensions", slot.schema())),
        ("statement_timeout", deadline.as_millis().to_string()),
        ("idle_in_transaction_session_timeout", "60000".to_owned()),
        // A server whose client is gone stops working for it.
        ("client_connection_check_interval", "5000".to_owned()),
        ("standard_conforming_strings", "on".to_owned()),
        ("TimeZone", "UTC".to_owned()),
        ("DateStyle", "ISO".to_owned()),
        ("IntervalStyle", "postgres".to_owned()),
        ("bytea_output", "hex".to_owned()),
        ("client_min_messages", "error".to_owned()),
    ]
}

pub(super) async fn request(
    cells: &Cells,
    slot: &Slot,
    request: SqlRequest,
    limits: Limits,
) -> Result<SqlOutcome, SqlError> {
    let statements = statements(&request.text);
    guard::check(&statements)?;
    let plan = plan(&request, &statements)?;

    let mut session = cells.session(slot, Login::Admin, &settings(slot, limits.deadline)).await?;
    let pid = session.pid;
    let work = transaction(&mut session.conn, &plan, &statements, limits);
    let Ok(done) = tokio::time::timeout(limits.deadline + GRACE, work).await else {
        drop(session);
        cells.session_end(slot, Login::Admin, pid).await?;
        return Err(SqlError::Timeout { reads_only: reads_only(&statements) });
    };
    let mut collected = match done {
        Ok(collected) => collected,
        Err(e) => {
            // Closing rolls back, but a server that is still sending a large result notices late.
            drop(session);
            if matches!(e, SqlError::TooLarge { .. } | SqlError::Unavailable) {
                cells.session_end(slot, Login::Admin, pid).await?;
            }
            return Err(e);
        }
    };
    let last = statements.last().map(|statement| &request.text[statement.range.clone()]);
    let wanted = statements.last().is_some_and(may_return_rows) && collected.fields.is_empty();
    let after = afterthought(&mut session, &mut collected.fields, last.filter(|_| wanted));
    let known = tokio::time::timeout(AFTERTHOUGHT_MAX, after).await.unwrap_or_default();
    session.close().await;
    Ok(SqlOutcome {
        schema: slot.schema(),
        fields: named(&collected.fields, &known),
        rows: collected.rows,
        count: collected.count,
    })
}

/// What is sent, in order.
struct Plan {
    /// Text before the user's own in the first message: positions are counted from after it.
    prefix: &'static str,
    text: String,
    /// Runs the statement that `text` prepared.
    execute: Option<String>,
}

fn plan(request: &SqlRequest, statements: &[Statement]) -> Result<Plan, SqlError> {
    if request.text.contains('\0') {
        return Err(SqlError::BadParameters("the text holds a NUL character"));
    }
    if request.params.is_empty() {
        return Ok(Plan { prefix: "", text: request.text.clone(), execute: None });
    }
    if statements.len() != 1 {
        return Err(SqlError::BadParameters("parameters need exactly one statement"));
    }
    let literals: Option<Vec<String>> = request.params.iter().map(quote::literal).collect();
    let literals = literals.ok_or(SqlError::BadParameters("a parameter holds a NUL character"))?;
    Ok(Plan {
        prefix: "prepare r402 as ",
        text: format!("prepare r402 as {}", request.text),
        execute: Some(format!("execute r402({})", literals.join(", "))),
    })
}

/// Everything up to and including the commit. On an error the caller drops the connection, which rolls back.
async fn transaction(
    conn: &mut PgConnection,
    plan: &Plan,
    statements: &[Statement],
    limits: Limits,
) -> Result<Collected, SqlError> {
    let told = |e: sqlx::Error, index: usize, prefix: Option<&str>| refusal(&e, index, prefix, statements);
    let begun = sqlx::raw_sql(BEGIN).fetch_one(&mut *conn).await.map_err(|e| told(e, 0, None))?;
    let mut collected = Collected::new(limits);
    let mut index = 0;
    let sent = match &plan.execute {
        Some(execute) => {
            let prepare = sqlx::raw_sql(AssertSqlSafe(plan.text.clone()));
            prepare.execute(&mut *conn).await.map_err(|e| told(e, 0, Some(plan.prefix)))?;
            send(conn, execute, statements, &mut collected).await?.map_err(|e| (e, None))
        }
        None => {
            let sent = send(conn, &plan.text, statements, &mut collected).await?;
            index = collected.completed;
            sent.map_err(|e| (e, Some("")))
        }
    };
    if let Err((e, prefix)) = sent {
        if let Some(held_back) = held_back(&e, &collected) {
            return Err(held_back);
        }
        return match was_ended(conn, &e).await {
            true => Err(SqlError::OutcomeUnknown),
            false => Err(told(e, index, prefix)),
        };
    }
    match sqlx::raw_sql(COMMIT).fetch_all(&mut *conn).await {
        // Not the transaction that we began: part of the text ended it.
        Ok(rows) if rows.first().and_then(instant) != instant(&begun) => Err(SqlError::OutcomeUnknown),
        Ok(_) => Ok(collected),
        // A deferred constraint: the server spoke, so it did not commit.
        Err(e @ sqlx::Error::Database(_)) => Err(told(e, collected.completed.saturating_sub(1), None)),
        Err(_) => Err(SqlError::OutcomeUnknown),
    }
}

/// The start of a transaction is its name here: nothing within it can change that, nor a time zone its text.
pub(crate) const BEGIN: &str = "begin; select pg_catalog.extract('epoch', pg_catalog.now())::pg_catalog.text";
pub(crate) const COMMIT: &str =
    "select pg_catalog.extract('epoch', pg_catalog.now())::pg_catalog.text; commit";
const IN_FAILED_TRANSACTION: &str = "25P02";

pub(crate) fn instant(row: &PgRow) -> Option<String> {
    row.try_get(0).ok()
}

/// Whether the text ended our transaction before its statement failed: in ours, nothing more would run.
pub(crate) async fn was_ended(conn: &mut PgConnection, error: &sqlx::Error) -> bool {
    // A server that says goodbye with its refusal takes the transaction with it.
    let Some(refused) = error.as_database_error() else { return false };
    let is_fatal = refused.code().is_some_and(|code| code.starts_with("57P"));
    if is_fatal {
        return false;
    }
    match sqlx::raw_sql("select 1").execute(conn).await {
        Ok(_) => true,
        Err(e) => e.as_database_error().and_then(|e| e.code()).is_some_and(|c| c != IN_FAILED_TRANSACTION),
    }
}

/// Outer error: a cap. Inner error: the server or the connection.
async fn send(
    conn: &mut PgConnection,
    text: &str,
    statements: &[Statement],
    collected: &mut Collected,
) -> Result<Result<(), sqlx::Error>, SqlError> {
    let mut stream = sqlx::raw_sql(AssertSqlSafe(text.to_owned())).fetch_many(conn);
    loop {
        match stream.try_next().await {
            Ok(Some(Either::Right(row))) => collected.row(&row)?,
            Ok(Some(Either::Left(done))) => {
                let statement = statements.get(collected.completed);
                collected.complete(statement, done.rows_affected());
            }
            Ok(None) => return Ok(Ok(())),
            Err(e) => return Ok(Err(e)),
        }
    }
}

/// One row larger than a whole answer may be: it never came.
fn held_back(error: &sqlx::Error, collected: &Collected) -> Option<SqlError> {
    let code = error.as_database_error()?.code()?;
    (code == MESSAGE_TOO_LARGE).then(|| collected.too_large())
}

/// `prefix` is what stood before the user's text; `None` when a position would mean nothing to the user.
pub(crate) fn refusal(
    error: &sqlx::Error,
    index: usize,
    prefix: Option<&str>,
    statements: &[Statement],
) -> SqlError {
    let refused = match error {
        sqlx::Error::Database(e) => e.try_downcast_ref::<PgDatabaseError>(),
        // The driver does not speak COPY: it meets a message it does not expect.
        sqlx::Error::Protocol(_) if statements.get(index).is_some_and(|s| s.word(0) == "COPY") => {
            return SqlError::Refused {
                message: "COPY to or from the client is not available here".to_owned(),
                sqlstate: NOT_SUPPORTED.to_owned(),
                position: None,
                index,
                detail: None,
                hint: Some("Use INSERT with several rows, or SELECT.".to_owned()),
            };
        }
        _ => None,
    };
    let Some(refused) = refused else { return SqlError::Unavailable };
    if refused.code() == QUERY_CANCELED && refused.message().contains("statement timeout") {
        return SqlError::Timeout { reads_only: reads_only(statements) };
    }
    let position = match (refused.position(), prefix) {
        (Some(PgErrorPosition::Original(at)), Some(prefix)) => at.checked_sub(prefix.chars().count()),
        _ => None,
    };
    SqlError::Refused {
        message: refused.message().to_owned(),
        sqlstate: refused.code().to_owned(),
        position,
        index,
        detail: refused.detail().map(str::to_owned),
        hint: refused.hint().map(str::to_owned),
    }
}

/// After the commit: the columns of an empty result, which only a description of its statement can tell, and
/// names of types that are not built in. Best effort; the answer stands without.
async fn afterthought(
    session: &mut Session,
    fields: &mut Vec<RawField>,
    undescribed: Option<&str>,
) -> Vec<(u32, String)> {
    if let Some(text) = undescribed
        && let Ok(described) = session.conn.prepare(AssertSqlSafe(text.to_owned()).into_sql_str()).await
    {
        *fields = raw_fields(sqlx::Statement::columns(&described));
    }
    let unknown: Vec<String> = fields
        .iter()
        .filter(|field| super::decode::type_name(field.oid).is_none())
        .map(|field| field.oid.to_string())
        .collect();
    if unknown.is_empty() {
        return Vec::new();
    }
    let sql = format!(
        "select oid::pg_catalog.text, typname::pg_catalog.text from pg_catalog.pg_type where oid in ({})",
        unknown.join(",")
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut session.conn).await.unwrap_or_default();
    rows.iter()
        .filter_map(|row| {
            let oid: String = row.try_get(0).ok()?;
            Some((oid.parse().ok()?, row.try_get(1).ok()?))
        })
        .collect()
}
