//! A project's signing secrets: versioned, and sealed for their one place.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{Entropy, ProjectId, ReleaseId};
use uuid::Uuid;

use super::Phase;
use crate::functions::{LiveAt, environment};
use crate::{During, FencedTx, MasterKey, Sealed, Store, StoreError};

/// What a secret signs. The two never mix: tenant code holds the one for users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The project's own keys, anon and service.
    Keys,
    /// Tokens of the project's end users.
    Users,
}

impl Purpose {
    pub const ALL: [Self; 2] = [Self::Keys, Self::Users];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Users => "users",
        }
    }
}

/// An opened secret.
#[derive(Clone)]
pub struct Secret {
    pub version: i32,
    pub bytes: Vec<u8>,
    pub created_at: DateTime<Utc>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret(version {})", self.version)
    }
}

/// A project's phase and its secrets that are in force, newest first.
#[derive(Debug, Clone)]
pub struct SecretRows {
    pub phase: Phase,
    pub revision: i64,
    pub secrets: Vec<Secret>,
    /// A deploy runs migrations: requests of the project's data are put off.
    pub blocks_data: bool,
}

fn label(id: ProjectId, purpose: Purpose, version: i32) -> String {
    format!("project/{id}/{}/{version}", purpose.as_str())
}

/// Makes a secret of `version` and stores it sealed. A second call for the same version changes nothing.
///
/// # Errors
/// `Db` only.
pub async fn project_secret_add(
    tx: &mut FencedTx,
    key: &MasterKey,
    entropy: &dyn Entropy,
    (id, purpose, version): (ProjectId, Purpose, i32),
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let sealed = key.seal(&label(id, purpose, version), entropy.secret(), &entropy.secret())?;
    sqlx::query(
        "insert into project_secrets (project_id, purpose, version, sealed, created_at)
         values ($1, $2, $3, $4, $5) on conflict do nothing",
    )
    .bind(id.0)
    .bind(purpose.as_str())
    .bind(version)
    .bind(sealed.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("store project secret")?;
    Ok(())
}

/// The secrets in force, newest first. `None`: no such project.
///
/// # Errors
/// `Corrupt` when a secret does not open.
pub async fn project_secrets_find(
    store: &Store,
    key: &MasterKey,
    id: ProjectId,
    purpose: Purpose,
) -> Result<Option<SecretRows>, StoreError> {
    let query = sqlx::query(
        "select p.phase, p.revision, s.version, s.sealed, s.created_at, coalesce(g.blocks_data, false)
         from projects p
         left join deploy_gates g on g.project_id = p.id
         left join project_secrets s on s.project_id = p.id and s.purpose = $2 and s.retired_at is null
         where p.id = $1 order by s.version desc",
    );
    let rows = query.bind(id.0).bind(purpose.as_str()).fetch_all(store.pool()).await;
    opened(&rows.during("read project secrets")?, key, (id, purpose))
}

/// The secrets of the project's keys, and where its functions are read if a release is live: all that the call of a
/// function asks the database.
///
/// # Errors
/// As [`project_secrets_find`].
pub async fn project_call_find(
    store: &Store,
    key: &MasterKey,
    id: ProjectId,
) -> Result<Option<(SecretRows, Option<LiveAt>)>, StoreError> {
    let query = sqlx::query(concat!(
        "select p.phase, p.revision, s.version, s.sealed, s.created_at, false, p.active_release, ",
        environment!("$1"),
        " from projects p
         left join project_secrets s on s.project_id = p.id and s.purpose = $2 and s.retired_at is null
         where p.id = $1 order by s.version desc",
    ));
    let rows = query.bind(id.0).bind(Purpose::Keys.as_str()).fetch_all(store.pool()).await;
    let rows = rows.during("read project secrets")?;
    let Some(secrets) = opened(&rows, key, (id, Purpose::Keys))? else { return Ok(None) };
    let Some(first) = rows.first() else { return Ok(None) };
    let release: Option<Uuid> = first.try_get(6).during("read project secrets")?;
    let version = first.try_get(7).during("read project secrets")?;
    Ok(Some((secrets, release.map(|id| LiveAt { release: ReleaseId(id), version }))))
}

fn opened(
    rows: &[PgRow],
    key: &MasterKey,
    (id, purpose): (ProjectId, Purpose),
) -> Result<Option<SecretRows>, StoreError> {
    let Some(first) = rows.first() else { return Ok(None) };
    let phase: String = first.try_get(0).during("read project secrets")?;
    let mut found = SecretRows {
        phase: phase.parse()?,
        revision: first.try_get(1).during("read project secrets")?,
        secrets: Vec::new(),
        blocks_data: first.try_get(5).during("read project secrets")?,
    };
    for row in rows {
        let Some(version) = row.try_get::<Option<i32>, _>(2).during("read project secrets")? else {
            continue;
        };
        let sealed = Sealed(row.try_get(3).during("read project secrets")?);
        let bytes = key.open(&label(id, purpose, version), &sealed)?;
        // Functions get this one in a variable, so it has to be text.
        let bytes = if purpose == Purpose::Users { hex::encode(bytes).into_bytes() } else { bytes };
        let created_at = row.try_get(4).during("read project secrets")?;
        found.secrets.push(Secret { version, bytes, created_at });
    }
    Ok(Some(found))
}

/// # Errors
/// `NotFound` when there is no such project.
pub async fn project_secrets_fetch(
    store: &Store,
    key: &MasterKey,
    id: ProjectId,
    purpose: Purpose,
) -> Result<SecretRows, StoreError> {
    project_secrets_find(store, key, id, purpose).await?.ok_or(StoreError::NotFound("project"))
}

/// Destroys all secrets of a project: its keys can never verify again.
///
/// # Errors
/// `Db` only.
pub async fn project_secrets_destroy(tx: &mut FencedTx, id: ProjectId) -> Result<(), StoreError> {
    sqlx::query("delete from project_secrets where project_id = $1")
        .bind(id.0)
        .execute(tx.conn())
        .await
        .during("destroy project secrets")?;
    Ok(())
}
