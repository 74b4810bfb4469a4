//! Bundles: one for each source of a project and toolchain, made once.

use chrono::{DateTime, Utc};
use sqlx::Row;
use types::{ProjectId, Sha256Hex};

use crate::{During, Store, StoreError};

/// # Errors
/// `Db` only.
pub async fn build_exists(
    store: &Store,
    (project, code_hash, toolchain): (ProjectId, &Sha256Hex, &str),
) -> Result<bool, StoreError> {
    let row = sqlx::query(
        "select 1 from function_builds where project_id = $1 and code_hash = $2 and toolchain = $3",
    )
    .bind(project.0)
    .bind(code_hash.as_str())
    .bind(toolchain)
    .fetch_optional(store.pool())
    .await
    .during("find a bundle")?;
    Ok(row.is_some())
}

/// # Errors
/// `Db` only.
pub async fn build_find(
    store: &Store,
    (project, code_hash, toolchain): (ProjectId, &Sha256Hex, &str),
) -> Result<Option<Vec<u8>>, StoreError> {
    let row = sqlx::query(
        "select bundle from function_builds where project_id = $1 and code_hash = $2 and toolchain = $3",
    )
    .bind(project.0)
    .bind(code_hash.as_str())
    .bind(toolchain)
    .fetch_optional(store.pool())
    .await
    .during("find a bundle")?;
    row.map(|row| row.try_get(0)).transpose().during("read a bundle")
}

/// What the author was told when the bundle was made.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn build_warnings(
    store: &Store,
    (project, code_hash, toolchain): (ProjectId, &Sha256Hex, &str),
) -> Result<Vec<String>, StoreError> {
    let row = sqlx::query(
        "select warnings from function_builds where project_id = $1 and code_hash = $2 and toolchain = $3",
    )
    .bind(project.0)
    .bind(code_hash.as_str())
    .bind(toolchain)
    .fetch_optional(store.pool())
    .await
    .during("find a bundle")?;
    let warnings: Option<serde_json::Value> =
        row.map(|row| row.try_get(0)).transpose().during("read a bundle")?;
    serde_json::from_value(warnings.unwrap_or_else(|| serde_json::json!([])))
        .map_err(|e| StoreError::Corrupt(format!("warnings of a bundle: {e}")))
}

/// Keeps a bundle. The same source always makes the same one, so a second writer changes nothing; nor does one
/// whose project was erased meanwhile.
///
/// # Errors
/// `Db` only.
pub async fn build_put(
    store: &Store,
    (project, code_hash, toolchain): (ProjectId, &Sha256Hex, &str),
    (bundle, warnings): (&[u8], &[String]),
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into function_builds (project_id, code_hash, toolchain, bundle, warnings, built_at)
         select id, $2, $3, $4, $5, $6 from projects where id = $1 and phase = 'ready'
         on conflict do nothing",
    )
    .bind(project.0)
    .bind(code_hash.as_str())
    .bind(toolchain)
    .bind(bundle)
    .bind(serde_json::json!(warnings))
    .bind(now)
    .execute(store.pool())
    .await
    .during("keep a bundle")?;
    Ok(())
}
