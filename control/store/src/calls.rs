//! API calls, added up window by window, and what an account's pool holds.

use chrono::{DateTime, Utc};
use sqlx::Row;
use types::{AccountId, ProjectId, Tier};
use uuid::Uuid;

use crate::{During, FencedTx, Store, StoreError};

/// What one run of one server counted in one span of time. Its content never changes once it has a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub process: Uuid,
    pub number: i64,
    /// At least one call each; a project once.
    pub calls: Vec<(ProjectId, AccountId, i64)>,
}

/// What gates of the data plane need to know of a project's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    pub account: AccountId,
    pub pinned: bool,
    /// None without a lease.
    pub tier: Option<Tier>,
    /// Of this lease, as far as they were flushed.
    pub calls: i64,
    pub content_bytes: i64,
    /// Databases of all projects, as measured last.
    pub database_bytes: i64,
    /// When this project's database was measured.
    pub measured_at: Option<DateTime<Utc>>,
}

/// How long windows are remembered: a flush is repeated within seconds, or never.
const WINDOW_HOURS: i32 = 24;

/// Adds a window to the counts of its accounts and projects. Repeating it changes nothing.
///
/// # Errors
/// `Db`; `CommitUnknown` when it is to be repeated.
pub async fn calls_flush(store: &Store, window: &Window) -> Result<(), StoreError> {
    const DURING: &str = "flush calls";
    let projects: Vec<Uuid> = window.calls.iter().map(|(project, ..)| project.0).collect();
    let accounts: Vec<Uuid> = window.calls.iter().map(|(_, account, _)| account.0).collect();
    let counts: Vec<i64> = window.calls.iter().map(|(.., calls)| *calls).collect();
    let mut tx = store.begin().await?;
    let fresh = sqlx::query(
        "insert into call_windows (process, number, account_id, calls)
         select $1, $2, account_id, sum(calls)::bigint from unnest($3::uuid[], $4::bigint[]) as c (account_id, calls)
         group by account_id order by account_id
         on conflict do nothing returning account_id",
    )
    .bind(window.process)
    .bind(window.number)
    .bind(&accounts)
    .bind(&counts)
    .fetch_all(tx.conn())
    .await
    .during(DURING)?;
    let fresh: Vec<Uuid> = fresh.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().during(DURING)?;
    // Accounts, then projects, each in id order: whoever resets counts locks them in the same order.
    sqlx::query(
        "insert into account_calls as a (account_id, calls)
         select account_id, sum(calls)::bigint from unnest($1::uuid[], $2::bigint[]) as c (account_id, calls)
         where account_id = any($3) group by account_id order by account_id
         on conflict (account_id) do update set calls = a.calls + excluded.calls",
    )
    .bind(&accounts)
    .bind(&counts)
    .bind(&fresh)
    .execute(tx.conn())
    .await
    .during(DURING)?;
    sqlx::query(
        "insert into project_usage as u (project_id, api_calls)
         select project_id, calls from unnest($1::uuid[], $2::uuid[], $3::bigint[]) as c (project_id, account_id, calls)
         where account_id = any($4) order by project_id
         on conflict (project_id) do update set api_calls = u.api_calls + excluded.api_calls",
    )
    .bind(&projects)
    .bind(&accounts)
    .bind(&counts)
    .bind(&fresh)
    .execute(tx.conn())
    .await
    .during(DURING)?;
    tx.commit().await
}

/// Forgets windows that nobody repeats any more.
///
/// # Errors
/// `Db` only.
pub async fn windows_expire(store: &Store, limit: i64) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "delete from call_windows where ctid = any(array(
           select ctid from call_windows where flushed_at < now() - make_interval(hours => $1) limit $2))",
    )
    .bind(WINDOW_HOURS)
    .bind(limit)
    .execute(store.pool())
    .await
    .during("forget windows")?;
    Ok(done.rows_affected())
}

/// Starts the counts of an account and its projects anew: a lease's calls are counted from its start.
///
/// # Errors
/// `Db` only.
pub async fn account_calls_reset(tx: &mut FencedTx, account: AccountId) -> Result<(), StoreError> {
    const DURING: &str = "reset call counts";
    sqlx::query("update account_calls set calls = 0 where account_id = $1")
        .bind(account.0)
        .execute(tx.conn())
        .await
        .during(DURING)?;
    sqlx::query(
        "with mine as (
           select u.project_id from project_usage u join projects p on p.id = u.project_id
           where p.account_id = $1 order by u.project_id for update of u)
         update project_usage u set api_calls = 0 from mine where u.project_id = mine.project_id",
    )
    .bind(account.0)
    .execute(tx.conn())
    .await
    .during(DURING)?;
    Ok(())
}

/// The pool that a project draws from; none when there is no such project.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn pool_find(store: &Store, project: ProjectId) -> Result<Option<Pool>, StoreError> {
    const DURING: &str = "read a pool";
    let row = sqlx::query(
        "select p.account_id, a.pinned, l.tier, coalesce(c.calls, 0) as calls,
           coalesce(k.bytes, 0) as content_bytes, own.measured_at,
           (select coalesce(sum(u.database_bytes), 0)::bigint from projects o
              join project_usage u on u.project_id = o.id
              where o.account_id = p.account_id and o.phase in ('provisioning', 'ready')) as database_bytes
         from projects p join accounts a on a.id = p.account_id
         left join leases l on l.account_id = a.id
         left join account_calls c on c.account_id = a.id
         left join content_usage k on k.account_id = a.id
         left join project_usage own on own.project_id = p.id
         where p.id = $1",
    )
    .bind(project.0)
    .fetch_optional(store.pool())
    .await
    .during(DURING)?;
    let Some(row) = row else { return Ok(None) };
    let tier: Option<String> = row.try_get("tier").during(DURING)?;
    Ok(Some(Pool {
        account: AccountId(row.try_get("account_id").during(DURING)?),
        pinned: row.try_get("pinned").during(DURING)?,
        tier: tier.map(|_| crate::accounts::tier(&row, "tier")).transpose()?,
        calls: row.try_get("calls").during(DURING)?,
        content_bytes: row.try_get("content_bytes").during(DURING)?,
        database_bytes: row.try_get("database_bytes").during(DURING)?,
        measured_at: row.try_get("measured_at").during(DURING)?,
    }))
}
