//! Domains of tenants' own. Several projects may claim one; only the one whose proof is in DNS holds it.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, ProjectId};

use crate::{During, FencedTx, Store, StoreError, Tx};

/// While one node looks at a domain, the others leave it alone for as long.
const CLAIMED_SECS: i64 = 120;

/// A project's claim to a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    pub domain: String,
    pub project: ProjectId,
    pub subdomain_name: String,
    pub token: String,
    pub status: DomainStatus,
    pub reason: Option<String>,
    pub created_at: DateTime<Utc>,
    pub failing_since: Option<DateTime<Utc>>,
    pub checked_at: Option<DateTime<Utc>>,
    /// Checks in a row that did not find it in order.
    pub misses: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainStatus {
    /// Its DNS has not said yet that it is the project's.
    Pending,
    Active,
    /// Given up; a look on demand may still find it in order.
    Failed,
}

impl DomainStatus {
    const ALL: [Self; 3] = [Self::Pending, Self::Active, Self::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Failed => "failed",
        }
    }
}

/// A claim to write, or one to point at another name.
#[derive(Debug, Clone)]
pub struct NewDomain {
    pub domain: String,
    pub project: ProjectId,
    pub subdomain_name: String,
    pub token: String,
    pub now: DateTime<Utc>,
}

/// What a check found, to be remembered.
#[derive(Debug, Clone)]
pub struct Judged {
    pub status: DomainStatus,
    pub reason: Option<String>,
    pub failing_since: Option<DateTime<Utc>>,
    pub misses: i32,
    pub next_check_at: DateTime<Utc>,
    pub now: DateTime<Utc>,
}

/// How many other domains a project has claimed: none when it is not there for that. Until the transaction ends
/// no other claim of the project is counted.
///
/// # Errors
/// `Db` only.
pub async fn domains_beside(tx: &mut Tx, name: &str, project: ProjectId) -> Result<Option<i64>, StoreError> {
    const DURING: &str = "count a project's domains";
    let alive = sqlx::query("select 1 from projects where id = $1 and phase = 'ready' for no key update")
        .bind(project.0)
        .fetch_optional(tx.conn())
        .await
        .during(DURING)?;
    if alive.is_none() {
        return Ok(None);
    }
    let counted =
        sqlx::query_scalar("select count(*) from custom_domains where project_id = $1 and domain <> $2")
            .bind(project.0)
            .bind(name)
            .fetch_one(tx.conn())
            .await
            .during(DURING)?;
    Ok(Some(counted))
}

/// Writes a claim, or points the project's own at another name. Answers whether it is new.
///
/// # Errors
/// `Constraint` when the domain is malformed.
pub async fn domain_claim(tx: &mut Tx, new: &NewDomain) -> Result<(Domain, bool), StoreError> {
    let row = sqlx::query(
        "insert into custom_domains (domain, project_id, subdomain_name, token, status, created_at, updated_at,
           next_check_at)
         values ($1, $2, $3, $4, 'pending', $5, $5, $5)
         on conflict (domain, project_id) do update set subdomain_name = excluded.subdomain_name,
           updated_at = excluded.updated_at
         returning *, (xmax = 0) as is_new",
    )
    .bind(&new.domain)
    .bind(new.project.0)
    .bind(&new.subdomain_name)
    .bind(&new.token)
    .bind(new.now)
    .fetch_one(tx.conn())
    .await
    .during("claim a domain")?;
    let is_new = row.try_get("is_new").during("read a domain")?;
    Ok((domain(&row)?, is_new))
}

/// # Errors
/// `Db` only.
pub async fn domain_find(
    store: &Store,
    name: &str,
    project: ProjectId,
) -> Result<Option<Domain>, StoreError> {
    let row = sqlx::query("select * from custom_domains where domain = $1 and project_id = $2")
        .bind(name)
        .bind(project.0)
        .fetch_optional(store.pool())
        .await
        .during("find a domain")?;
    row.as_ref().map(domain).transpose()
}

/// The claim of the project that holds it.
///
/// # Errors
/// `Db` only.
pub async fn domain_holder(store: &Store, name: &str) -> Result<Option<Domain>, StoreError> {
    let row = sqlx::query("select * from custom_domains where domain = $1 and status = 'active'")
        .bind(name)
        .fetch_optional(store.pool())
        .await
        .during("find a domain's holder")?;
    row.as_ref().map(domain).transpose()
}

/// The claims of an account's projects to a domain.
///
/// # Errors
/// `Db` only.
pub async fn domain_of_account(
    store: &Store,
    name: &str,
    account: AccountId,
) -> Result<Vec<Domain>, StoreError> {
    let rows = sqlx::query(
        "select d.* from custom_domains d join projects p on p.id = d.project_id
         where d.domain = $1 and p.account_id = $2 and p.phase = 'ready' order by d.created_at",
    )
    .bind(name)
    .bind(account.0)
    .fetch_all(store.pool())
    .await
    .during("find an account's domain")?;
    rows.iter().map(domain).collect()
}

/// A project's claims, the oldest first.
///
/// # Errors
/// `Db` only.
pub async fn domain_list(store: &Store, project: ProjectId) -> Result<Vec<Domain>, StoreError> {
    let rows = sqlx::query("select * from custom_domains where project_id = $1 order by created_at, domain")
        .bind(project.0)
        .fetch_all(store.pool())
        .await
        .during("list domains")?;
    rows.iter().map(domain).collect()
}

/// The oldest of a project's domains that shows something.
///
/// # Errors
/// `Db` only.
pub async fn domain_shown(store: &Store, project: ProjectId) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar(
        "select d.domain from custom_domains d
         join subdomains s on s.name = d.subdomain_name and s.project_id = d.project_id
         where d.project_id = $1 and d.status = 'active' order by d.created_at, d.domain limit 1",
    )
    .bind(project.0)
    .fetch_optional(store.pool())
    .await
    .during("find a project's domain")
}

/// Takes domains to look at: whoever takes one has it for a while, and nobody else.
///
/// # Errors
/// `Db` only.
pub async fn domains_due(store: &Store, now: DateTime<Utc>, limit: i64) -> Result<Vec<Domain>, StoreError> {
    let rows = sqlx::query(
        "update custom_domains set next_check_at = $2
         where (domain, project_id) in (
           select d.domain, d.project_id from custom_domains d join projects p on p.id = d.project_id
           where d.next_check_at <= $1 and d.status <> 'failed' and p.phase = 'ready'
           order by d.next_check_at limit $3 for update of d skip locked)
         returning *",
    )
    .bind(now)
    .bind(now + TimeDelta::seconds(CLAIMED_SECS))
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .during("take due domains")?;
    rows.iter().map(domain).collect()
}

/// Remembers what a check found. One that became active ends the claim of whoever held it: the caller has seen
/// in DNS that it is theirs no more. Answers none when the claim is gone or moved meanwhile.
///
/// # Errors
/// `Db` only.
pub async fn domain_judge(tx: &mut Tx, seen: &Domain, judged: &Judged) -> Result<Option<Domain>, StoreError> {
    if judged.status == DomainStatus::Active {
        sqlx::query(
            "update custom_domains set status = 'failed', reason = 'another project proved that it is theirs',
               updated_at = $3
             where domain = $1 and project_id <> $2 and status = 'active'",
        )
        .bind(&seen.domain)
        .bind(seen.project.0)
        .bind(judged.now)
        .execute(tx.conn())
        .await
        .during("end a domain's holder")?;
    }
    let row = sqlx::query(
        "update custom_domains set status = $4, reason = $5, failing_since = $6, misses = $7, next_check_at = $8,
           checked_at = $9, updated_at = case when status = $4 then updated_at else $9 end,
           verified_at = case when $4 = 'active' and verified_at is null then $9 else verified_at end
         where domain = $1 and project_id = $2 and token = $3 and status = $10 returning *",
    )
    .bind(&seen.domain)
    .bind(seen.project.0)
    .bind(&seen.token)
    .bind(judged.status.as_str())
    .bind(&judged.reason)
    .bind(judged.failing_since)
    .bind(judged.misses)
    .bind(judged.next_check_at)
    .bind(judged.now)
    .bind(seen.status.as_str())
    .fetch_optional(tx.conn())
    .await
    .during("judge a domain")?;
    row.as_ref().map(domain).transpose()
}

/// Gives a claim up. Answers whether there was one.
///
/// # Errors
/// `Db` only.
pub async fn domain_drop(tx: &mut Tx, name: &str, project: ProjectId) -> Result<bool, StoreError> {
    let gone = sqlx::query("delete from custom_domains where domain = $1 and project_id = $2")
        .bind(name)
        .bind(project.0)
        .execute(tx.conn())
        .await
        .during("drop a domain")?;
    Ok(gone.rows_affected() > 0)
}

/// Gives every claim of a project up that is being erased. Idempotent.
///
/// # Errors
/// `Db` only.
pub async fn project_domains_drop(tx: &mut FencedTx, project: ProjectId) -> Result<(), StoreError> {
    sqlx::query("delete from custom_domains where project_id = $1")
        .bind(project.0)
        .execute(tx.conn())
        .await
        .during("drop a project's domains")?;
    Ok(())
}

fn domain(row: &PgRow) -> Result<Domain, StoreError> {
    let status: String = row.try_get("status").during("read a domain")?;
    let status = DomainStatus::ALL.into_iter().find(|one| one.as_str() == status);
    let status = status.ok_or_else(|| StoreError::Corrupt("status of a domain".to_owned()))?;
    let read = || -> Result<Domain, sqlx::Error> {
        Ok(Domain {
            domain: row.try_get("domain")?,
            project: ProjectId(row.try_get("project_id")?),
            subdomain_name: row.try_get("subdomain_name")?,
            token: row.try_get("token")?,
            status,
            reason: row.try_get("reason")?,
            created_at: row.try_get("created_at")?,
            failing_since: row.try_get("failing_since")?,
            checked_at: row.try_get("checked_at")?,
            misses: row.try_get("misses")?,
        })
    };
    read().during("read a domain")
}
