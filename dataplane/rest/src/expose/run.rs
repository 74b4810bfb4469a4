//! Applying and reading back, on a session of the login that owns the schema.

use std::time::Duration;

use serde_json::Value;
use sqlx::postgres::{PgConnection, PgDatabaseError, PgErrorPosition};
use sqlx::{AssertSqlSafe, Row};
use store::cells::{Cells, Login, Session, Slot};

use super::compile::{self, Applied, Step};
use super::issue::{IssueKind, Issues};
use super::live::{self, Live};
use super::manifest::Manifest;
use super::{ExposeError, Outcome, check};
use crate::sql::{self, SqlError};

/// From the first statement to the commit.
const DEADLINE: Duration = Duration::from_secs(60);
/// A table that is busy for longer makes the whole application wait for another day.
const LOCK_TIMEOUT: &str = "10s";
/// Times that a schema may change under us before we give up.
const ATTEMPTS_MAX: usize = 4;
/// Bytes of our own statements in one message.
const BATCH_BYTES_MAX: usize = 500_000;

/// Lost races with DDL of others: what was read is no longer so. Reading again settles it. `XX000` is what
/// two changes of the same row of the catalogue get ("tuple concurrently updated").
const RACES: [&str; 7] = ["42P01", "42704", "42883", "40P01", "40001", "XX000", "42703"];
const LOCK_NOT_AVAILABLE: &str = "55P03";

async fn session(cells: &Cells, slot: &Slot) -> Result<Session, SqlError> {
    let mut settings = sql::settings(slot, DEADLINE);
    settings.push(("lock_timeout", LOCK_TIMEOUT.to_owned()));
    Ok(cells.session(slot, Login::Admin, &settings).await?)
}

pub(super) async fn apply(cells: &Cells, slot: &Slot, manifest: &Manifest) -> Result<Outcome, ExposeError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut session = session(cells, slot).await?;
        let work = transaction(&mut session.conn, slot, manifest);
        let done = tokio::time::timeout(DEADLINE, work).await;
        // Stopped from outside, perhaps in its commit.
        match finish(cells, slot, session, done, SqlError::OutcomeUnknown).await {
            Err(ExposeError::Raced) if attempts < ATTEMPTS_MAX => {
                tracing::debug!(slot = %slot.name(), attempts, "schema changed while exposing");
            }
            other => return other,
        }
    }
}

/// What was applied last, and what there is.
pub(super) async fn look(cells: &Cells, slot: &Slot) -> Result<(Option<Applied>, Live), ExposeError> {
    let mut session = session(cells, slot).await?;
    let schema = slot.schema();
    let work = async {
        let applied = remembered(&mut session.conn, false).await?;
        Ok((applied, live::read(&mut session.conn, &schema).await?))
    };
    let done = tokio::time::timeout(DEADLINE, work).await;
    finish(cells, slot, session, done, SqlError::Timeout { reads_only: true }).await
}

/// Gives the session back, or ends from outside what is overdue.
async fn finish<T>(
    cells: &Cells,
    slot: &Slot,
    session: Session,
    done: Result<Result<T, ExposeError>, tokio::time::error::Elapsed>,
    overdue: SqlError,
) -> Result<T, ExposeError> {
    match done {
        Ok(Ok(found)) => {
            session.close().await;
            Ok(found)
        }
        // Closing rolls back; politely, so that its locks are gone before anybody tries again.
        Ok(Err(error)) => {
            session.close().await;
            Err(error)
        }
        Err(_) => {
            let pid = session.pid;
            drop(session);
            cells.session_end(slot, Login::Admin, pid).await.map_err(SqlError::from)?;
            Err(overdue.into())
        }
    }
}

async fn transaction(
    conn: &mut PgConnection,
    slot: &Slot,
    manifest: &Manifest,
) -> Result<Outcome, ExposeError> {
    run(conn, "begin").await?;
    let outcome = inside(conn, slot, manifest).await?;
    match sqlx::raw_sql("commit").execute(&mut *conn).await {
        Ok(_) => Ok(outcome),
        Err(e @ sqlx::Error::Database(_)) => Err(refusal(&e, None)),
        Err(_) => Err(ExposeError::Sql(SqlError::OutcomeUnknown)),
    }
}

/// The application itself, in a transaction that the caller began and ends.
pub(super) async fn inside(
    conn: &mut PgConnection,
    slot: &Slot,
    manifest: &Manifest,
) -> Result<Outcome, ExposeError> {
    // The row is the lock: two applications of one project stand in line.
    let applied = remembered(conn, true).await?.unwrap_or_default();
    let live = live::read(conn, &slot.schema()).await?;
    let mut issues = Issues::default();
    check::check(manifest, &live, &|_| false, &mut issues);
    if !issues.errors.is_empty() {
        return Err(ExposeError::Invalid(issues));
    }
    let plan = compile::compile(manifest, &applied, &live);
    send(conn, &plan.steps).await?;
    let now = match plan.steps.is_empty() {
        true => compile::remember(manifest, &live),
        false => compile::remember(manifest, &live::read(conn, &slot.schema()).await?),
    };
    if now != applied {
        keep(conn, &now).await?;
    }
    Ok(Outcome {
        manifest: manifest.clone(),
        statements: plan.steps.len(),
        changed: plan.changed,
        dropped: plan.dropped,
        warnings: issues.warnings,
    })
}

/// Our own statements go in messages of many; each of the tenant's goes alone, where the server accepts no
/// second one.
async fn send(conn: &mut PgConnection, steps: &[Step]) -> Result<(), ExposeError> {
    let mut batch = String::new();
    for step in steps {
        match step {
            Step::Own(sql) => {
                batch.push_str(sql);
                batch.push_str(";\n");
            }
            Step::Theirs { sql, path } => {
                flush(conn, &mut batch).await?;
                let query = sqlx::query(AssertSqlSafe(sql.clone())).persistent(false);
                query.execute(&mut *conn).await.map_err(|e| refusal(&e, Some(path)))?;
            }
        }
        if batch.len() > BATCH_BYTES_MAX {
            flush(conn, &mut batch).await?;
        }
    }
    flush(conn, &mut batch).await
}

async fn flush(conn: &mut PgConnection, batch: &mut String) -> Result<(), ExposeError> {
    if batch.is_empty() {
        return Ok(());
    }
    let text = std::mem::take(batch);
    run(conn, &text).await
}

async fn run(conn: &mut PgConnection, text: &str) -> Result<(), ExposeError> {
    let done = sqlx::raw_sql(AssertSqlSafe(text.to_owned())).execute(conn).await;
    done.map(|_| ()).map_err(|e| refusal(&e, None))
}

/// What the last application left. The tenant can write there: what cannot be read counts as nothing.
async fn remembered(conn: &mut PgConnection, lock: bool) -> Result<Option<Applied>, ExposeError> {
    if lock {
        run(conn, "insert into internal.project_manifest default values on conflict do nothing").await?;
    }
    let query = match lock {
        true => "select applied::text from internal.project_manifest for update",
        false => "select applied::text from internal.project_manifest",
    };
    let row = sqlx::raw_sql(query).fetch_optional(conn).await.map_err(|e| refusal(&e, None))?;
    let text: Option<String> = row.and_then(|row| row.try_get(0).ok().flatten());
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// What the last manifest made that a schema shows.
#[derive(Debug, Default)]
pub(crate) struct Made {
    pub manifest: Option<Manifest>,
    pub views: std::collections::BTreeSet<String>,
    /// As `table`, a tab, `policy`.
    pub policies: std::collections::BTreeSet<String>,
}

/// None when none was ever applied.
pub(crate) async fn made(conn: &mut PgConnection) -> Result<Option<Made>, ExposeError> {
    Ok(remembered(conn, false).await?.map(|applied| Made {
        views: applied.views.into_keys().collect(),
        policies: applied
            .tables
            .iter()
            .flat_map(|(table, made)| made.policies.keys().map(move |policy| format!("{table}\t{policy}")))
            .collect(),
        manifest: Some(applied.manifest),
    }))
}

async fn keep(conn: &mut PgConnection, applied: &Applied) -> Result<(), ExposeError> {
    let value: Value = serde_json::to_value(applied).map_err(|_| SqlError::Unavailable)?;
    let query = sqlx::query(
        "update internal.project_manifest set applied = $1::pg_catalog.jsonb, applied_at = pg_catalog.now()",
    );
    let query = query.bind(value.to_string()).persistent(false);
    query.execute(conn).await.map(|_| ()).map_err(|e| refusal(&e, None))
}

/// `path` is the entry that the statement came from.
pub(super) fn refusal(error: &sqlx::Error, path: Option<&String>) -> ExposeError {
    let sqlx::Error::Database(refused) = error else {
        tracing::info!(error = error as &dyn std::error::Error, "expose");
        return SqlError::Unavailable.into();
    };
    let Some(refused) = refused.try_downcast_ref::<PgDatabaseError>() else {
        return SqlError::Unavailable.into();
    };
    match (refused.code(), path) {
        (LOCK_NOT_AVAILABLE, _) => SqlError::Busy.into(),
        (_, Some(path)) => {
            let mut issues = Issues::default();
            let mut detail = format!("{} (SQLSTATE {})", refused.message(), refused.code());
            if let Some(PgErrorPosition::Original(at)) = refused.position() {
                detail.push_str(&format!(" at character {at}"));
            }
            let fix = refused.hint().unwrap_or("Correct the SQL; nothing was changed.");
            issues.error(IssueKind::SchemaShape, path, detail, fix);
            ExposeError::Invalid(issues)
        }
        (code, None) if RACES.contains(&code) => ExposeError::Raced,
        (code, None) => ExposeError::Sql(SqlError::Refused {
            message: refused.message().to_owned(),
            sqlstate: code.to_owned(),
            position: None,
            index: 0,
            detail: refused.detail().map(str::to_owned),
            hint: refused.hint().map(str::to_owned),
        }),
    }
}
