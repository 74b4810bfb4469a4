//! What falls due as leases age: one row per lease period and step, notices, and purges that were decided.
//!
//! A worker locks leases before their steps, as whoever writes a lease does: a renewal under way is either
//! seen or waited for, never overtaken.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, LifecycleStep, ProjectId, Tier};
use uuid::Uuid;

use crate::outbox::outbox_append;
use crate::{During, FencedTx, Store, StoreError, Tx};

/// A step that is due, with the lease as it is now. Both are locked until the transaction ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueStep {
    pub account: AccountId,
    /// The period that the step belongs to.
    pub lease_ends_at: DateTime<Utc>,
    pub step: LifecycleStep,
    /// When the account's lease ends now.
    pub now_ends_at: DateTime<Utc>,
    pub tier: Tier,
    pub pinned: bool,
}

/// Something to tell an owner.
#[derive(Debug, Clone)]
pub struct NewNotice {
    pub account: AccountId,
    pub lease_ends_at: DateTime<Utc>,
    pub step: LifecycleStep,
    pub facts: Value,
}

/// An account whose projects are to be erased.
#[derive(Debug, Clone, Copy)]
pub struct Purge {
    pub account: AccountId,
    pub names_kept_until: DateTime<Utc>,
}

/// Plans every step of a lease period, and drops what was planned for another one and is not worked yet.
/// Steps of this period that were worked before stay so: an owner is not told twice.
///
/// # Errors
/// `Db` only.
pub async fn steps_plan(
    tx: &mut FencedTx,
    account: AccountId,
    lease_ends_at: Option<DateTime<Utc>>,
) -> Result<(), StoreError> {
    sqlx::query(
        "delete from lifecycle_steps
         where account_id = $1 and worked_at is null and lease_ends_at is distinct from $2",
    )
    .bind(account.0)
    .bind(lease_ends_at)
    .execute(tx.conn())
    .await
    .during("drop lifecycle steps")?;
    let Some(ends_at) = lease_ends_at else { return Ok(()) };
    sqlx::query(
        "insert into lifecycle_steps (account_id, lease_ends_at, step, due_at)
         select $1, $2, step, due_at from unnest($3::text[], $4::timestamptz[]) as s (step, due_at)
         on conflict do nothing",
    )
    .bind(account.0)
    .bind(ends_at)
    .bind(LifecycleStep::ALL.map(LifecycleStep::as_str).to_vec())
    .bind(LifecycleStep::ALL.map(|step| step.due_at(ends_at)).to_vec())
    .execute(tx.conn())
    .await
    .during("plan lifecycle steps")?;
    Ok(())
}

/// Locks up to `limit` due steps, oldest first, with their leases. What others hold is skipped.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn steps_take(tx: &mut Tx, now: DateTime<Utc>, limit: i64) -> Result<Vec<DueStep>, StoreError> {
    const DURING: &str = "take lifecycle steps";
    let due = sqlx::query(
        "select account_id from lifecycle_steps where worked_at is null and due_at <= $1
         order by due_at limit $2",
    )
    .bind(now)
    .bind(limit)
    .fetch_all(tx.conn())
    .await
    .during(DURING)?;
    let accounts: Vec<Uuid> =
        due.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().during(DURING)?;
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    // Each statement sees what was committed until it began, so the steps are those of the locked leases.
    let leases = sqlx::query(
        "select account_id, ends_at, tier from leases where account_id = any($1)
         order by account_id for share skip locked",
    )
    .bind(&accounts)
    .fetch_all(tx.conn())
    .await
    .during(DURING)?;
    let (mut locked, mut ends, mut tiers) = (Vec::<Uuid>::new(), Vec::<DateTime<Utc>>::new(), Vec::new());
    for row in &leases {
        locked.push(row.try_get(0).during(DURING)?);
        ends.push(row.try_get(1).during(DURING)?);
        tiers.push(row.try_get::<String, _>(2).during(DURING)?);
    }
    let rows = sqlx::query(
        "select s.account_id, s.lease_ends_at, s.step, l.ends_at, l.tier, a.pinned
         from unnest($2::uuid[], $3::timestamptz[], $4::text[]) as l (account_id, ends_at, tier)
         join lifecycle_steps s on s.account_id = l.account_id
         join accounts a on a.id = l.account_id
         where s.worked_at is null and s.due_at <= $1
         order by s.account_id, s.due_at for update of s skip locked",
    )
    .bind(now)
    .bind(&locked)
    .bind(&ends)
    .bind(&tiers)
    .fetch_all(tx.conn())
    .await
    .during(DURING)?;
    rows.iter().map(due_step).collect()
}

/// Marks steps as worked.
///
/// # Errors
/// `Db` only.
pub async fn steps_worked(tx: &mut Tx, steps: &[DueStep], now: DateTime<Utc>) -> Result<(), StoreError> {
    let (accounts, ends, words) = columns(steps);
    sqlx::query(
        "update lifecycle_steps s set worked_at = $1
         from unnest($2::uuid[], $3::timestamptz[], $4::text[]) as d (account_id, ends_at, step)
         where s.account_id = d.account_id and s.lease_ends_at = d.ends_at and s.step = d.step",
    )
    .bind(now)
    .bind(accounts)
    .bind(ends)
    .bind(words)
    .execute(tx.conn())
    .await
    .during("mark lifecycle steps")?;
    Ok(())
}

/// Drops steps of periods that are over.
///
/// # Errors
/// `Db` only.
pub async fn steps_cancel(tx: &mut Tx, steps: &[DueStep]) -> Result<(), StoreError> {
    let (accounts, ends, words) = columns(steps);
    sqlx::query(
        "delete from lifecycle_steps s
         using unnest($1::uuid[], $2::timestamptz[], $3::text[]) as d (account_id, ends_at, step)
         where s.account_id = d.account_id and s.lease_ends_at = d.ends_at and s.step = d.step",
    )
    .bind(accounts)
    .bind(ends)
    .bind(words)
    .execute(tx.conn())
    .await
    .during("cancel lifecycle steps")?;
    Ok(())
}

/// Puts steps off, each until its time.
///
/// # Errors
/// `Db` only.
pub async fn steps_put_off(tx: &mut Tx, steps: &[(DueStep, DateTime<Utc>)]) -> Result<(), StoreError> {
    let due: Vec<DueStep> = steps.iter().map(|(step, _)| step.clone()).collect();
    let (accounts, ends, words) = columns(&due);
    sqlx::query(
        "update lifecycle_steps s set due_at = d.due_at
         from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::timestamptz[])
           as d (account_id, ends_at, step, due_at)
         where s.account_id = d.account_id and s.lease_ends_at = d.ends_at and s.step = d.step",
    )
    .bind(accounts)
    .bind(ends)
    .bind(words)
    .bind(steps.iter().map(|(_, until)| *until).collect::<Vec<_>>())
    .execute(tx.conn())
    .await
    .during("put lifecycle steps off")?;
    Ok(())
}

/// Writes notices for delivery, and announces that there are some. One that exists stays as it is.
///
/// # Errors
/// `Db` only.
pub async fn notices_append(
    tx: &mut Tx,
    notices: &[NewNotice],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    if notices.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into notices (account_id, lease_ends_at, step, facts, created_at)
         select account_id, ends_at, step, facts, $1
         from unnest($2::uuid[], $3::timestamptz[], $4::text[], $5::jsonb[])
           as n (account_id, ends_at, step, facts)
         on conflict do nothing",
    )
    .bind(now)
    .bind(notices.iter().map(|n| n.account.0).collect::<Vec<_>>())
    .bind(notices.iter().map(|n| n.lease_ends_at).collect::<Vec<_>>())
    .bind(notices.iter().map(|n| n.step.as_str()).collect::<Vec<_>>())
    .bind(notices.iter().map(|n| n.facts.clone()).collect::<Vec<_>>())
    .execute(tx.conn())
    .await
    .during("write notices")?;
    outbox_append(tx, "notices.written", json!({ "count": notices.len() })).await
}

/// Decides that every project of these accounts is erased, and announces each. What comes of a renewal after
/// this commit has no say: the decision was made while the lease was locked.
///
/// # Errors
/// `Db` only.
pub async fn purges_decide(tx: &mut Tx, purges: &[Purge], now: DateTime<Utc>) -> Result<u64, StoreError> {
    const DURING: &str = "decide purges";
    if purges.is_empty() {
        return Ok(0);
    }
    let rows = sqlx::query(
        "insert into project_purges (project_id, account_id, names_kept_until, decided_at)
         select p.id, p.account_id, d.kept_until, $1
         from unnest($2::uuid[], $3::timestamptz[]) as d (account_id, kept_until)
         join projects p on p.account_id = d.account_id
         where p.phase in ('provisioning', 'ready')
         on conflict do nothing returning project_id",
    )
    .bind(now)
    .bind(purges.iter().map(|purge| purge.account.0).collect::<Vec<_>>())
    .bind(purges.iter().map(|purge| purge.names_kept_until).collect::<Vec<_>>())
    .fetch_all(tx.conn())
    .await
    .during(DURING)?;
    for row in &rows {
        let id = ProjectId(row.try_get(0).during(DURING)?);
        outbox_append(tx, "project.purge", json!({ "id": id })).await?;
    }
    Ok(rows.len() as u64)
}

/// Projects whose erasure was decided and has not begun, the oldest decision first.
///
/// # Errors
/// `Db` only.
pub async fn purges_unbegun(store: &Store, limit: i64) -> Result<Vec<ProjectId>, StoreError> {
    let rows = sqlx::query(
        "select u.project_id from project_purges u join projects p on p.id = u.project_id
         where p.phase in ('provisioning', 'ready') order by u.decided_at limit $1",
    )
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .during("list purges")?;
    rows.iter().map(|row| row.try_get(0).map(ProjectId)).collect::<Result<_, _>>().during("list purges")
}

/// Forgets a decision that was carried out. Call `subdomains::project_subdomains_drop` before it. Idempotent.
///
/// # Errors
/// `Db` only.
pub async fn purge_done(tx: &mut FencedTx, project: ProjectId) -> Result<(), StoreError> {
    sqlx::query("delete from project_purges where project_id = $1")
        .bind(project.0)
        .execute(tx.conn())
        .await
        .during("forget a purge")?;
    Ok(())
}

fn columns(steps: &[DueStep]) -> (Vec<Uuid>, Vec<DateTime<Utc>>, Vec<&'static str>) {
    let accounts = steps.iter().map(|step| step.account.0).collect();
    let ends = steps.iter().map(|step| step.lease_ends_at).collect();
    (accounts, ends, steps.iter().map(|step| step.step.as_str()).collect())
}

pub(crate) fn step_of_word(word: &str) -> Result<LifecycleStep, StoreError> {
    let step = LifecycleStep::ALL.into_iter().find(|step| step.as_str() == word);
    step.ok_or_else(|| StoreError::Corrupt(format!("lifecycle step {word}")))
}

fn due_step(row: &PgRow) -> Result<DueStep, StoreError> {
    const DURING: &str = "read a lifecycle step";
    let word: String = row.try_get("step").during(DURING)?;
    Ok(DueStep {
        account: AccountId(row.try_get("account_id").during(DURING)?),
        lease_ends_at: row.try_get("lease_ends_at").during(DURING)?,
        step: step_of_word(&word)?,
        now_ends_at: row.try_get("ends_at").during(DURING)?,
        tier: crate::accounts::tier(row, "tier")?,
        pinned: row.try_get("pinned").during(DURING)?,
    })
}
