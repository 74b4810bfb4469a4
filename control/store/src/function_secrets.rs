//! Secrets of a project's functions: set and listed by their owner, opened for their functions only.

use chrono::{DateTime, Utc};
use sqlx::Row;
use types::{Entropy, ProjectId};

use crate::{During, MasterKey, Store, StoreError, Tx};

/// A secret as its owner may see it: never the value, nor anything made from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretKey {
    pub key: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

fn label(project: ProjectId, key: &str) -> String {
    format!("project/{project}/function/{key}")
}

/// Sets a secret, unless the project has `count_max` others already (false). One at a time for a project, so that
/// two cannot pass the limit together.
///
/// # Errors
/// `Constraint` when the key is malformed.
pub async fn function_secret_set(
    tx: &mut Tx,
    (master, entropy): (&MasterKey, &dyn Entropy),
    (project, key, value): (ProjectId, &str, &str),
    count_max: i64,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("function secrets {project}"))
        .execute(tx.conn())
        .await
        .during("lock secrets")?;
    let others = sqlx::query("select count(*) from function_secrets where project_id = $1 and key <> $2")
        .bind(project.0)
        .bind(key)
        .fetch_one(tx.conn())
        .await
        .during("count secrets")?;
    if others.try_get::<i64, _>(0).during("count secrets")? >= count_max {
        return Ok(false);
    }
    let sealed = master.seal(&label(project, key), entropy.secret(), value.as_bytes())?;
    sqlx::query(
        "insert into function_secrets (project_id, key, sealed, created_at, updated_at)
         values ($1, $2, $3, $4, $4)
         on conflict (project_id, key) do update set sealed = excluded.sealed, updated_at = excluded.updated_at",
    )
    .bind(project.0)
    .bind(key)
    .bind(sealed.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("set a secret")?;
    Ok(true)
}

/// Sorted by key.
///
/// # Errors
/// `Db` only.
pub async fn function_secrets_list(store: &Store, project: ProjectId) -> Result<Vec<SecretKey>, StoreError> {
    let rows = sqlx::query(
        "select key, created_at, updated_at from function_secrets
         where project_id = $1 order by key collate \"C\"",
    )
    .bind(project.0)
    .fetch_all(store.pool())
    .await
    .during("list secrets")?;
    rows.iter()
        .map(|row| {
            Ok(SecretKey { key: row.try_get(0)?, created_at: row.try_get(1)?, updated_at: row.try_get(2)? })
        })
        .collect::<Result<_, sqlx::Error>>()
        .during("read a secret")
}

/// The values, for the project's own functions alone. Sorted by key.
///
/// # Errors
/// `Corrupt` when a value does not open.
pub async fn function_secrets_open(
    store: &Store,
    master: &MasterKey,
    project: ProjectId,
) -> Result<Vec<(String, String)>, StoreError> {
    let rows = sqlx::query(
        "select key, sealed from function_secrets where project_id = $1 order by key collate \"C\"",
    )
    .bind(project.0)
    .fetch_all(store.pool())
    .await
    .during("open secrets")?;
    rows.iter()
        .map(|row| {
            let key: String = row.try_get(0).during("open secrets")?;
            let sealed = crate::Sealed(row.try_get(1).during("open secrets")?);
            let value = master.open(&label(project, &key), &sealed)?;
            let value = String::from_utf8(value)
                .map_err(|_| StoreError::Corrupt(format!("the secret {key} is no text")))?;
            Ok((key, value))
        })
        .collect()
}

/// Deletes secrets; says how many there were.
///
/// # Errors
/// `Db` only.
pub async fn function_secrets_delete(
    tx: &mut Tx,
    project: ProjectId,
    keys: &[String],
) -> Result<u64, StoreError> {
    let done = sqlx::query("delete from function_secrets where project_id = $1 and key = any($2)")
        .bind(project.0)
        .bind(keys)
        .execute(tx.conn())
        .await
        .during("delete secrets")?;
    Ok(done.rows_affected())
}
