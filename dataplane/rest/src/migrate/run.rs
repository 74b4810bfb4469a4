//! Running the work on a session of the login that owns the schema.

use std::time::Duration;

use futures::TryStreamExt;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Either, Row};
use store::cells::{Cells, Login, Session, Slot};

use super::registry::{self, Known, State};
use super::{Done, MigrateError, Migration, Work};
use crate::expose::{self, Manifest};
use crate::sql::{self, SqlError, lex};

/// From the first statement of the work to its last.
const DEADLINE: Duration = Duration::from_secs(300);
/// A table that is busy for longer makes the whole deploy wait for another day.
const LOCK_TIMEOUT: &str = "15s";
const READ_DEADLINE: Duration = Duration::from_secs(10);

/// What one transaction did, or that it has to be done again because others changed the schema meanwhile.
type Part<T> = Result<T, MigrateError>;

async fn session(cells: &Cells, slot: &Slot, deadline: Duration) -> Result<Session, SqlError> {
    let mut settings = sql::settings(slot, deadline);
    settings.push(("lock_timeout", LOCK_TIMEOUT.to_owned()));
    Ok(cells.session(slot, Login::Admin, &settings).await?)
}

pub(super) async fn known(cells: &Cells, slot: &Slot) -> Result<Vec<Known>, SqlError> {
    read(cells, slot, async |conn: &mut PgConnection| registry::list(conn).await).await
}

pub(super) async fn schema_version(cells: &Cells, slot: &Slot) -> Result<i64, SqlError> {
    let look = async |conn: &mut PgConnection| {
        let row =
            sqlx::raw_sql("select version::pg_catalog.text from r402.schema_version").fetch_one(conn).await?;
        let version: String = row.try_get(0)?;
        version.parse().map_err(|_| sqlx::Error::RowNotFound)
    };
    read(cells, slot, look).await
}

async fn read<T>(
    cells: &Cells,
    slot: &Slot,
    look: impl AsyncFnOnce(&mut PgConnection) -> Result<T, sqlx::Error>,
) -> Result<T, SqlError> {
    let mut session = session(cells, slot, READ_DEADLINE).await?;
    let done = tokio::time::timeout(READ_DEADLINE, look(&mut session.conn)).await;
    match done {
        Ok(found) => {
            session.close().await;
            found.map_err(|e| sql::refusal(&e, 0, None, &[]))
        }
        Err(_) => {
            let pid = session.pid;
            drop(session);
            cells.session_end(slot, Login::Admin, pid).await?;
            Err(SqlError::Timeout { reads_only: true })
        }
    }
}

pub(super) async fn work(
    cells: &Cells,
    slot: &Slot,
    work: &Work,
    manifest: Option<&Manifest>,
) -> Result<Done, MigrateError> {
    let mut session = session(cells, slot, DEADLINE).await.map_err(MigrateError::Away)?;
    let pid = session.pid;
    let done = tokio::time::timeout(DEADLINE, all(&mut session.conn, slot, work, manifest)).await;
    match done {
        Ok(done) => {
            // Closing rolls back what is open; politely, so that its locks are gone before anybody tries again.
            session.close().await;
            done
        }
        Err(_) => {
            drop(session);
            let ended = cells.session_end(slot, Login::Admin, pid).await;
            ended.map_err(|e| MigrateError::Away(e.into()))?;
            overdue(cells, slot, work).await
        }
    }
}

/// The deadline passed: the registry tells what stayed.
async fn overdue(cells: &Cells, slot: &Slot, work: &Work) -> Result<Done, MigrateError> {
    let known = known(cells, slot).await.map_err(MigrateError::Away)?;
    let applied = |m: &&Migration| {
        known.iter().any(|k| k.id == m.id && k.checksum == m.checksum && k.state == State::Applied)
    };
    let own = known.iter().any(|k| k.operation == work.operation);
    match work.migrations.iter().find(|m| !applied(m)) {
        Some(m) => Err(MigrateError::Refused {
            id: m.id.clone(),
            error: SqlError::Timeout { reads_only: false },
            is_clean: !own,
        }),
        // Only the manifest was not done: it takes another try.
        None => Err(MigrateError::Away(SqlError::Timeout { reads_only: false })),
    }
}

/// Group by group. What a group committed stays; an error after that is not clean.
async fn all(
    conn: &mut PgConnection,
    slot: &Slot,
    work: &Work,
    manifest: Option<&Manifest>,
) -> Result<Done, MigrateError> {
    let mut done = Done::default();
    let groups: Vec<&[Migration]> =
        work.migrations.chunk_by(|a, b| a.in_transaction && b.in_transaction).collect();
    let joins = groups.last().is_some_and(|last| last[0].in_transaction);
    for (index, group) in groups.iter().enumerate() {
        let last = index + 1 == groups.len();
        let part = if group[0].in_transaction {
            transaction(conn, slot, (work, group), manifest.filter(|_| last)).await
        } else {
            alone(conn, work, &group[0]).await
        };
        let part = part.map_err(|e| unclean(e, &done))?;
        done.ran.extend(part.ran);
        done.exposed += part.exposed;
    }
    if !joins && manifest.is_some() {
        let part = transaction(conn, slot, (work, &[]), manifest).await.map_err(|e| unclean(e, &done))?;
        done.exposed += part.exposed;
    }
    Ok(done)
}

/// The same failure after something was committed.
fn unclean(error: MigrateError, done: &Done) -> MigrateError {
    let nothing = done.ran.is_empty();
    match error {
        MigrateError::Refused { id, error, is_clean } => {
            MigrateError::Refused { id, error, is_clean: is_clean && nothing }
        }
        MigrateError::Manifest { issues, is_clean } => {
            MigrateError::Manifest { issues, is_clean: is_clean && nothing }
        }
        other => other,
    }
}

/// What of a group is yet to run.
fn pending<'a>(
    known: &[Known],
    (work, group): (&Work, &'a [Migration]),
    ran: &mut Vec<String>,
) -> Result<Vec<&'a Migration>, MigrateError> {
    let mut pending = Vec::new();
    for migration in group {
        match known.iter().find(|k| k.id == migration.id) {
            Some(k) if k.state == State::Applied && k.checksum != migration.checksum => {
                return Err(MigrateError::Checksum { id: migration.id.clone() });
            }
            Some(k) if k.state == State::Applied => {
                // Ours, when an earlier attempt was cut off after its commit.
                if k.operation == work.operation {
                    ran.push(migration.id.clone());
                }
            }
            Some(k) if k.operation == work.operation => {
                return Err(MigrateError::CutOff { id: migration.id.clone() });
            }
            // New, or begun by a deploy that failed: whoever deploys it again has looked.
            Some(_) | None => pending.push(migration),
        }
    }
    Ok(pending)
}

/// Several migrations and maybe the manifest, in one transaction: all of it or nothing.
async fn transaction(
    conn: &mut PgConnection,
    slot: &Slot,
    (work, group): (&Work, &[Migration]),
    manifest: Option<&Manifest>,
) -> Part<Done> {
    let mut done = Done::default();
    let begun = sqlx::raw_sql(sql::BEGIN).fetch_one(&mut *conn).await.map_err(|e| away(&e))?;
    registry::lock(conn).await.map_err(|e| away(&e))?;
    let known = registry::list(conn).await.map_err(|e| away(&e))?;
    for migration in pending(&known, (work, group), &mut done.ran)? {
        run_text(conn, migration).await?;
        let row = (migration.id.as_str(), migration.checksum.as_str(), work.operation.as_str());
        // The text may have ended our transaction and begun one of its own, which this would not show; the
        // commit does.
        registry::put(conn, row, State::Applied).await.map_err(|e| away(&e))?;
        done.ran.push(migration.id.clone());
    }
    if let Some(manifest) = manifest {
        done.exposed = expose::apply_inside(conn, slot, manifest).await?.statements;
    }
    match sqlx::raw_sql(sql::COMMIT).fetch_all(&mut *conn).await {
        Ok(rows) if rows.first().and_then(sql::instant) != sql::instant(&begun) => {
            let id = group.last().map_or_else(String::new, |m| m.id.clone());
            Err(MigrateError::Refused { id, error: SqlError::OutcomeUnknown, is_clean: false })
        }
        Ok(_) => Ok(done),
        // A deferred constraint: the server spoke, so it did not commit.
        Err(e @ sqlx::Error::Database(_)) => {
            let id = group.last().map_or_else(String::new, |m| m.id.clone());
            Err(MigrateError::Refused { id, error: sql::refusal(&e, 0, None, &[]), is_clean: true })
        }
        Err(_) => Err(MigrateError::Away(SqlError::OutcomeUnknown)),
    }
}

/// One text in the open transaction.
async fn run_text(conn: &mut PgConnection, migration: &Migration) -> Part<()> {
    let refused = |error, is_clean| MigrateError::Refused { id: migration.id.clone(), error, is_clean };
    let statements = statements(migration)?;
    let mut index = 0;
    let failed = {
        let mut stream = sqlx::raw_sql(AssertSqlSafe(migration.sql.clone())).fetch_many(&mut *conn);
        loop {
            match stream.try_next().await {
                Ok(Some(Either::Left(_))) => index += 1,
                Ok(Some(Either::Right(_))) => {}
                Ok(None) => break None,
                Err(e) => break Some(e),
            }
        }
    };
    let Some(e) = failed else { return Ok(()) };
    match sql::refusal(&e, index, Some(""), &statements) {
        SqlError::Unavailable => Err(MigrateError::Away(SqlError::Unavailable)),
        _ if sql::was_ended(conn, &e).await => Err(refused(SqlError::OutcomeUnknown, false)),
        error => Err(refused(error, true)),
    }
}

/// One migration outside of a transaction, statement by statement.
async fn alone(conn: &mut PgConnection, work: &Work, migration: &Migration) -> Part<Done> {
    let mut done = Done::default();
    sqlx::raw_sql("begin").execute(&mut *conn).await.map_err(|e| away(&e))?;
    registry::lock(conn).await.map_err(|e| away(&e))?;
    let known = registry::list(conn).await.map_err(|e| away(&e))?;
    let pending = pending(&known, (work, std::slice::from_ref(migration)), &mut done.ran)?;
    if pending.is_empty() {
        sqlx::raw_sql("rollback").execute(&mut *conn).await.map_err(|e| away(&e))?;
        return Ok(done);
    }
    // Before the mark: what is refused here has begun nothing.
    let statements = statements(migration)?;
    let row = (migration.id.as_str(), migration.checksum.as_str(), work.operation.as_str());
    registry::put(conn, row, State::Started).await.map_err(|e| away(&e))?;
    sqlx::raw_sql("commit").execute(&mut *conn).await.map_err(|_| cut_off(migration))?;
    for (index, statement) in statements.iter().enumerate() {
        let text = migration.sql[statement.range.clone()].to_owned();
        if let Err(e) = sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut *conn).await {
            return Err(match sql::refusal(&e, index, None, &statements) {
                SqlError::Unavailable => cut_off(migration),
                error => MigrateError::Refused { id: migration.id.clone(), error, is_clean: false },
            });
        }
    }
    registry::put(conn, row, State::Applied).await.map_err(|_| cut_off(migration))?;
    done.ran.push(migration.id.clone());
    Ok(done)
}

fn cut_off(migration: &Migration) -> MigrateError {
    MigrateError::CutOff { id: migration.id.clone() }
}

/// Refuses what belongs to the platform, or would end our transaction, with words that help.
fn statements(migration: &Migration) -> Part<Vec<lex::Statement>> {
    let refused = |error| MigrateError::Refused { id: migration.id.clone(), error, is_clean: true };
    if migration.sql.contains('\0') {
        return Err(refused(SqlError::BadParameters("the text holds a NUL character")));
    }
    let statements = lex::statements(&migration.sql);
    sql::guard::check(&statements).map_err(refused)?;
    Ok(statements)
}

/// Our own statement failed: the database's fault, or a lock that somebody holds. Nothing was committed.
fn away(error: &sqlx::Error) -> MigrateError {
    MigrateError::Away(sql::refusal(error, 0, None, &[]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migration(id: &str, checksum: &str) -> Migration {
        Migration { id: id.into(), checksum: checksum.into(), sql: "select 1".into(), in_transaction: true }
    }

    fn row(id: &str, state: State, operation: &str) -> Known {
        Known { id: id.into(), checksum: "c".into(), state, operation: operation.into() }
    }

    fn judge(known: &[Known], migration: Migration) -> Result<(usize, usize), MigrateError> {
        let work = Work { operation: "op_1".into(), migrations: vec![migration], manifest: None };
        let mut ran = Vec::new();
        let pending = pending(known, (&work, &work.migrations), &mut ran)?;
        Ok((pending.len(), ran.len()))
    }

    #[test]
    fn an_id_runs_once_and_its_text_never_changes() {
        assert_eq!(judge(&[], migration("a", "c")).unwrap(), (1, 0));
        assert_eq!(judge(&[row("a", State::Applied, "op_0")], migration("a", "c")).unwrap(), (0, 0));
        assert_eq!(judge(&[row("a", State::Applied, "op_1")], migration("a", "c")).unwrap(), (0, 1));
        let other = judge(&[row("a", State::Applied, "op_1")], migration("a", "d")).unwrap_err();
        assert!(matches!(other, MigrateError::Checksum { id } if id == "a"));
    }

    #[test]
    fn what_was_cut_off_is_not_run_again_by_the_same_work() {
        let cut = judge(&[row("a", State::Started, "op_1")], migration("a", "c")).unwrap_err();
        assert!(matches!(cut, MigrateError::CutOff { .. }));
        assert_eq!(judge(&[row("a", State::Started, "op_0")], migration("a", "d")).unwrap(), (1, 0));
    }
}
