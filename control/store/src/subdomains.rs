//! Names under the hosting apex.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, ProjectId};

use crate::{During, FencedTx, Store, StoreError, Tx};

mod list;

pub use list::subdomain_list;

/// A claimed name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subdomain {
    pub name: String,
    pub project: ProjectId,
    /// What it shows, until the project's next deploy.
    pub deployment_id: String,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A name to claim, or to point elsewhere.
#[derive(Debug, Clone)]
pub struct NewClaim {
    pub name: String,
    pub project: ProjectId,
    pub account: AccountId,
    pub deployment_id: String,
    pub now: DateTime<Utc>,
}

/// The answer to a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    New(Subdomain),
    /// It was the project's already; it points where the claim says now.
    Before(Subdomain),
    /// Another project holds it.
    Taken,
    /// It is kept back for its previous owner.
    Reserved,
}

/// The answer to giving a name back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    Done(Subdomain),
    NotYours,
    Absent,
}

const ROW: &str = "name, project_id, deployment_id, created_at, updated_at";

/// Claims a name for a project. Safe to race: one of many gets it.
///
/// # Errors
/// `Constraint` when the name is malformed.
pub async fn subdomain_claim(tx: &mut Tx, claim: &NewClaim) -> Result<Claim, StoreError> {
    // A free name is inserted; a row that exists is locked by the conflict and then judged.
    let fresh = sqlx::query(sqlx::AssertSqlSafe(format!(
        "insert into subdomains (name, project_id, deployment_id, created_at, updated_at)
         values ($1, $2, $3, $4, $4) on conflict (name) do nothing returning {ROW}"
    )))
    .bind(&claim.name)
    .bind(claim.project.0)
    .bind(&claim.deployment_id)
    .bind(claim.now)
    .fetch_optional(tx.conn())
    .await
    .during("claim a name")?;
    if let Some(row) = fresh {
        return Ok(Claim::New(subdomain(&row)?));
    }
    let held = sqlx::query(
        "select project_id, reserved_for, reserved_until from subdomains where name = $1 for update",
    )
    .bind(&claim.name)
    .fetch_optional(tx.conn())
    .await
    .during("lock a name")?
    .ok_or(StoreError::Stale("subdomain"))?;
    let holder: Option<uuid::Uuid> = held.try_get("project_id").during("read a name")?;
    let reserved_for: Option<uuid::Uuid> = held.try_get("reserved_for").during("read a name")?;
    let reserved_until: Option<DateTime<Utc>> = held.try_get("reserved_until").during("read a name")?;
    match holder {
        Some(holder) if holder != claim.project.0 => return Ok(Claim::Taken),
        None if reserved_for != Some(claim.account.0)
            && reserved_until.is_some_and(|until| until > claim.now) =>
        {
            return Ok(Claim::Reserved);
        }
        _ => {}
    }
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "update subdomains set project_id = $2, deployment_id = $3, reserved_for = null,
           reserved_until = null,
           created_at = case when project_id is null then $4 else created_at end, updated_at = $4
         where name = $1 returning {ROW}"
    )))
    .bind(&claim.name)
    .bind(claim.project.0)
    .bind(&claim.deployment_id)
    .bind(claim.now)
    .fetch_one(tx.conn())
    .await
    .during("point a name")?;
    let now_ours = subdomain(&row)?;
    Ok(if holder.is_some() { Claim::Before(now_ours) } else { Claim::New(now_ours) })
}

/// Gives a name back; anyone may claim it at once.
///
/// # Errors
/// `Db` only.
pub async fn subdomain_release(tx: &mut Tx, name: &str, project: ProjectId) -> Result<Released, StoreError> {
    let gone = sqlx::query(sqlx::AssertSqlSafe(format!(
        "delete from subdomains where name = $1 and project_id = $2 returning {ROW}"
    )))
    .bind(name)
    .bind(project.0)
    .fetch_optional(tx.conn())
    .await
    .during("release a name")?;
    if let Some(row) = gone {
        return Ok(Released::Done(subdomain(&row)?));
    }
    let other = sqlx::query("select 1 from subdomains where name = $1 and project_id is not null")
        .bind(name)
        .fetch_optional(tx.conn())
        .await
        .during("find a name")?;
    Ok(if other.is_some() { Released::NotYours } else { Released::Absent })
}

/// A claimed name; one that is only kept back is not there.
///
/// # Errors
/// `Db` only.
pub async fn subdomain_find(store: &Store, name: &str) -> Result<Option<Subdomain>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!(
        "select {ROW} from subdomains where name = $1 and project_id is not null"
    ));
    let row = sqlx::query(sql).bind(name).fetch_optional(store.pool()).await.during("find a name")?;
    row.as_ref().map(subdomain).transpose()
}

/// Takes the names of a project that is being erased. They are free at once, unless it is erased because its
/// lease ran out: then they are kept back for the owner for a while. Idempotent.
///
/// # Errors
/// `Db` only.
///
/// # Source
/// Wire contract 01 section 5.5.
pub async fn project_subdomains_drop(
    tx: &mut FencedTx,
    project: ProjectId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "update subdomains s set project_id = null, deployment_id = null, reserved_for = u.account_id,
           reserved_until = u.names_kept_until, updated_at = $2
         from project_purges u where s.project_id = $1 and u.project_id = $1 and u.names_kept_until > $2",
    )
    .bind(project.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("keep names back")?;
    sqlx::query("delete from subdomains where project_id = $1")
        .bind(project.0)
        .execute(tx.conn())
        .await
        .during("drop names")?;
    Ok(())
}

/// The names of a project, locked, in order.
pub(crate) async fn held_locked(tx: &mut Tx, project: ProjectId) -> Result<Vec<String>, StoreError> {
    let rows = sqlx::query("select name from subdomains where project_id = $1 order by name for update")
        .bind(project.0)
        .fetch_all(tx.conn())
        .await
        .during("lock names")?;
    rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().during("read a name")
}

/// Points every name of a project at a deployment.
pub(crate) async fn repoint(
    tx: &mut Tx,
    project: ProjectId,
    deployment_id: &str,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "update subdomains set deployment_id = $2, updated_at = $3
         where project_id = $1 and deployment_id is distinct from $2",
    )
    .bind(project.0)
    .bind(deployment_id)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("point names")?;
    Ok(())
}

fn subdomain(row: &PgRow) -> Result<Subdomain, StoreError> {
    let read = || -> Result<Subdomain, sqlx::Error> {
        Ok(Subdomain {
            name: row.try_get("name")?,
            project: ProjectId(row.try_get("project_id")?),
            deployment_id: row.try_get("deployment_id")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
        })
    };
    read().during("read a name")
}
