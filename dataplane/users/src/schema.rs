//! The schema `auth` of one project, brought up to date on first use.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use store::{During, StoreError};

const SESSIONS: &str = include_str!("../../../migrations/tenant/auth/0001_sessions.sql");

/// Runs what this project's schema lacks. Two nodes may do it at once: the second waits and finds it done.
pub(crate) async fn ensure(conn: &mut PgConnection) -> Result<(), StoreError> {
    if is_current(conn).await? {
        return Ok(());
    }
    let mut tx = conn.begin().await.during("begin")?;
    sqlx::raw_sql("lock table auth.users in access exclusive mode")
        .execute(&mut *tx)
        .await
        .during("lock the auth schema")?;
    if !is_current(&mut tx).await? {
        sqlx::raw_sql(SESSIONS).execute(&mut *tx).await.during("migrate the auth schema")?;
    }
    tx.commit().await.during("migrate the auth schema")
}

async fn is_current(conn: &mut PgConnection) -> Result<bool, StoreError> {
    sqlx::query("select to_regclass('auth.version') is not null")
        .fetch_one(conn)
        .await
        .and_then(|row| row.try_get(0))
        .during("read the auth schema's version")
}
