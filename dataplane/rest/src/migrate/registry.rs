//! The rows that say what has run. The tenant can write there too, which harms nobody else.

use sqlx::Row;
use sqlx::postgres::PgConnection;

/// How far a migration is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs outside of a transaction and has not ended.
    Started,
    Applied,
}

/// A migration that the registry knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub id: String,
    pub checksum: String,
    pub state: State,
    /// The work that ran it.
    pub operation: String,
}

/// Keeps every other deploy of the project out until the transaction ends.
pub(super) async fn lock(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let lock = "lock table internal.deploy_migrations in share row exclusive mode";
    sqlx::raw_sql(lock).execute(conn).await.map(drop)
}

/// Rows that cannot be read count as not there.
pub(super) async fn list(conn: &mut PgConnection) -> Result<Vec<Known>, sqlx::Error> {
    let text =
        "select id, checksum, state, operation from internal.deploy_migrations order by applied_at, id";
    let rows = sqlx::raw_sql(text).fetch_all(conn).await?;
    let known = rows.iter().filter_map(|row| {
        let state: String = row.try_get(2).ok()?;
        let state = if state == "applied" { State::Applied } else { State::Started };
        Some(Known {
            id: row.try_get(0).ok()?,
            checksum: row.try_get(1).ok()?,
            state,
            operation: row.try_get(3).ok()?,
        })
    });
    Ok(known.collect())
}

pub(super) async fn put(
    conn: &mut PgConnection,
    (id, checksum, operation): (&str, &str, &str),
    state: State,
) -> Result<(), sqlx::Error> {
    let state = match state {
        State::Started => "started",
        State::Applied => "applied",
    };
    sqlx::query(
        "insert into internal.deploy_migrations (id, checksum, state, operation) values ($1, $2, $3, $4)
         on conflict (id) do update set checksum = $2, state = $3, operation = $4,
           applied_at = pg_catalog.now()",
    )
    .bind(id)
    .bind(checksum)
    .bind(state)
    .bind(operation)
    .persistent(false)
    .execute(conn)
    .await
    .map(drop)
}
