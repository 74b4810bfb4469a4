//! The schema `auth` of one project, brought up to date on first use.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};
use store::{During, StoreError};

/// In their order; each brings the schema to the version after the one before.
const STEPS: &[&str] = &[
    include_str!("../../../migrations/tenant/auth/0001_sessions.sql"),
    include_str!("../../../migrations/tenant/auth/0002_mail.sql"),
    include_str!("../../../migrations/tenant/auth/0003_google.sql"),
    include_str!("../../../migrations/tenant/auth/0004_passkeys.sql"),
];

/// Runs what this project's schema lacks. Two nodes may do it at once: the second waits and finds it done.
pub(crate) async fn ensure(conn: &mut PgConnection) -> Result<(), StoreError> {
    if version(conn).await? >= STEPS.len() {
        return Ok(());
    }
    let mut tx = conn.begin().await.during("begin")?;
    sqlx::raw_sql("lock table auth.users in access exclusive mode")
        .execute(&mut *tx)
        .await
        .during("lock the auth schema")?;
    let from = version(&mut tx).await?;
    for step in STEPS.iter().skip(from) {
        sqlx::raw_sql(*step).execute(&mut *tx).await.during("migrate the auth schema")?;
    }
    // A newer node may have been here first.
    sqlx::query("update auth.version set version = greatest(version, $1)")
        .bind(i32::try_from(STEPS.len()).unwrap_or(i32::MAX))
        .execute(&mut *tx)
        .await
        .during("note the auth schema's version")?;
    tx.commit().await.during("migrate the auth schema")
}

async fn version(conn: &mut PgConnection) -> Result<usize, StoreError> {
    const DURING: &str = "read the auth schema's version";
    let row = sqlx::query("select to_regclass('auth.version') is not null").fetch_one(&mut *conn).await;
    if !row.and_then(|row| row.try_get(0)).during(DURING)? {
        return Ok(0);
    }
    let version: i32 = sqlx::query("select version from auth.version")
        .fetch_one(conn)
        .await
        .and_then(|row| row.try_get(0))
        .during(DURING)?;
    Ok(usize::try_from(version).unwrap_or(0))
}
