//! A project's signing secrets: versioned, and sealed for their one place.

use std::collections::HashMap;
use std::sync::Arc;

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

/// What requests of a project are judged by.
#[derive(Debug, Clone)]
pub struct Access {
    pub phase: Phase,
    /// Secrets in force that sign the project's own keys, newest first.
    pub keys: Vec<Secret>,
    /// Those of its users' tokens.
    pub users: Vec<Secret>,
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

/// What requests of these projects are judged by. Those that do not exist are left out.
///
/// # Errors
/// `Corrupt` when a secret does not open.
pub async fn projects_access(
    store: &Store,
    key: &MasterKey,
    ids: &[ProjectId],
) -> Result<HashMap<ProjectId, Arc<Access>>, StoreError> {
    let rows = sqlx::query(ACCESS).bind(uuids(ids)).fetch_all(store.pool()).await;
    let mut found: HashMap<ProjectId, Access> = HashMap::with_capacity(ids.len());
    for row in &rows.during(READ)? {
        collect(&mut found, row, key)?;
    }
    Ok(found.into_iter().map(|(id, access)| (id, Arc::new(access))).collect())
}

/// The same, and where the projects' functions are read if a release is live: all that the call of a function asks
/// the database.
///
/// # Errors
/// As [`projects_access`].
pub async fn projects_callable(
    store: &Store,
    key: &MasterKey,
    ids: &[ProjectId],
) -> Result<HashMap<ProjectId, (Arc<Access>, Option<LiveAt>)>, StoreError> {
    let rows = sqlx::query(CALLABLE).bind(uuids(ids)).fetch_all(store.pool()).await;
    let mut found: HashMap<ProjectId, Access> = HashMap::with_capacity(ids.len());
    let mut live = HashMap::with_capacity(ids.len());
    for row in &rows.during(READ)? {
        let id = collect(&mut found, row, key)?;
        let release: Option<Uuid> = row.try_get("active_release").during(READ)?;
        let version = row.try_get("environment").during(READ)?;
        live.insert(id, release.map(|id| LiveAt { release: ReleaseId(id), version }));
    }
    let with_live = |(id, access)| (id, (Arc::new(access), live.remove(&id).flatten()));
    Ok(found.into_iter().map(with_live).collect())
}

const READ: &str = "read project secrets";

/// A row for each secret in force, or one for a project that has none. Here and below the list hides in a select:
/// seen by the planner, it would be planned for anew with each request, which takes four times as long as the read.
const ACCESS: &str =
    "select p.id, p.phase, coalesce(g.blocks_data, false) as blocks_data, s.purpose, s.version,
       s.sealed, s.created_at
     from projects p
     left join deploy_gates g on g.project_id = p.id
     left join project_secrets s on s.project_id = p.id and s.retired_at is null
     where p.id = any((select $1)::uuid[]) order by s.version desc";

/// The environment is worked out once for each project, not for each secret.
const CALLABLE: &str = concat!(
    "with p as materialized (select p.id, p.phase, p.active_release, ",
    environment!("p.id"),
    " as environment from projects p where p.id = any((select $1)::uuid[]))
     select p.*, false as blocks_data, s.purpose, s.version, s.sealed, s.created_at
     from p left join project_secrets s on s.project_id = p.id and s.retired_at is null
     order by s.version desc"
);

fn uuids(ids: &[ProjectId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}

fn collect(
    found: &mut HashMap<ProjectId, Access>,
    row: &PgRow,
    key: &MasterKey,
) -> Result<ProjectId, StoreError> {
    let id = ProjectId(row.try_get("id").during(READ)?);
    let phase: String = row.try_get("phase").during(READ)?;
    let blocks_data = row.try_get("blocks_data").during(READ)?;
    let (phase, keys, users) = (phase.parse()?, Vec::new(), Vec::new());
    let access = found.entry(id).or_insert(Access { phase, keys, users, blocks_data });
    let Some(version) = row.try_get::<Option<i32>, _>("version").during(READ)? else { return Ok(id) };
    let purpose: String = row.try_get("purpose").during(READ)?;
    let purpose = Purpose::ALL.into_iter().find(|one| one.as_str() == purpose);
    let purpose = purpose.ok_or_else(|| StoreError::Corrupt("project_secrets.purpose".to_owned()))?;
    let sealed = Sealed(row.try_get("sealed").during(READ)?);
    let bytes = key.open(&label(id, purpose, version), &sealed)?;
    let created_at = row.try_get("created_at").during(READ)?;
    match purpose {
        Purpose::Keys => access.keys.push(Secret { version, bytes, created_at }),
        // Functions get this one in a variable, so it has to be text.
        Purpose::Users => {
            access.users.push(Secret { version, bytes: hex::encode(bytes).into_bytes(), created_at });
        }
    }
    Ok(id)
}

/// What requests of one project are judged by.
///
/// # Errors
/// `NotFound` when there is no such project; as [`projects_access`].
pub async fn project_access_fetch(
    store: &Store,
    key: &MasterKey,
    id: ProjectId,
) -> Result<Arc<Access>, StoreError> {
    projects_access(store, key, &[id]).await?.remove(&id).ok_or(StoreError::NotFound("project"))
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
