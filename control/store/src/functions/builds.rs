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

/// What was made of a source.
#[derive(Debug, Clone, Copy)]
pub struct NewBuild<'a> {
    pub bundle: &'a [u8],
    pub warnings: &'a [String],
    pub library_version: &'a str,
}

/// Keeps a bundle. The same source always makes the same one, so a second writer changes nothing; nor does one
/// whose project was erased meanwhile.
///
/// # Errors
/// `Db` only.
pub async fn build_put(
    store: &Store,
    (project, code_hash, toolchain): (ProjectId, &Sha256Hex, &str),
    build: NewBuild<'_>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into function_builds (project_id, code_hash, toolchain, bundle, warnings, library_version, built_at)
         select id, $2, $3, $4, $5, $6, $7 from projects where id = $1 and phase = 'ready'
         on conflict do nothing",
    )
    .bind(project.0)
    .bind(code_hash.as_str())
    .bind(toolchain)
    .bind(build.bundle)
    .bind(serde_json::json!(build.warnings))
    .bind(build.library_version)
    .bind(now)
    .execute(store.pool())
    .await
    .during("keep a bundle")?;
    Ok(())
}

/// A bundle by its SHA-256, and the library in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildMark {
    pub fingerprint: String,
    /// None: before it was written down.
    pub library_version: Option<String>,
}

/// The bundle that a source has, whatever made it.
///
/// # Errors
/// `Db` only.
pub async fn build_newest(
    store: &Store,
    (project, code_hash): (ProjectId, &Sha256Hex),
) -> Result<Option<BuildMark>, StoreError> {
    let row = sqlx::query(
        "select encode(sha256(bundle), 'hex') as fingerprint, library_version from function_builds
         where project_id = $1 and code_hash = $2 order by built_at desc limit 1",
    )
    .bind(project.0)
    .bind(code_hash.as_str())
    .fetch_optional(store.pool())
    .await
    .during("find a bundle")?;
    let read = |row: sqlx::postgres::PgRow| {
        Ok::<_, sqlx::Error>(BuildMark {
            fingerprint: row.try_get("fingerprint")?,
            library_version: row.try_get("library_version")?,
        })
    };
    row.map(read).transpose().during("read a bundle")
}

/// Puts a bundle in the place of the one before, and has the project's next calls served by it.
///
/// # Errors
/// `Db` only: the one before stays.
pub async fn build_replace(
    store: &Store,
    (project, code_hash, toolchain): (ProjectId, &Sha256Hex, &str),
    build: NewBuild<'_>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "with kept as (
           insert into function_builds as b
             (project_id, code_hash, toolchain, bundle, warnings, library_version, built_at)
           select id, $2, $3, $4, $5, $6, $7 from projects where id = $1 and phase = 'ready'
           on conflict (project_id, code_hash, toolchain) do update set bundle = excluded.bundle,
             warnings = excluded.warnings, library_version = excluded.library_version,
             built_at = excluded.built_at
           returning project_id)
         update functions f set rebuilt_at = $7 from kept where f.project_id = kept.project_id
           and f.name in (select r.name from projects p
             join release_functions r on r.release_id = p.active_release and r.code_hash = $2 where p.id = $1)",
    )
    .bind(project.0)
    .bind(code_hash.as_str())
    .bind(toolchain)
    .bind(build.bundle)
    .bind(serde_json::json!(build.warnings))
    .bind(build.library_version)
    .bind(now)
    .execute(store.pool())
    .await
    .during("replace a bundle")?;
    Ok(())
}
