//! Triggers of functions that are live: when each is due, and what became of it.
//!
//! They are planned like schedules ([`super::runs`]), but each due time becomes a run that was asked for
//! ([`super::queue`]): with a payload, retries and an expiry.

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::{AccountId, ProjectId, ReleaseId};

use super::Scheduled;
use super::queue::OPEN_MAX;
use super::runs::{Advance, DueFunction, moves};
use crate::releases::Trigger;
use crate::{During, Store, StoreError, Tx};

/// A trigger of a function that is live.
#[derive(Debug, Clone)]
pub struct LiveTrigger {
    /// The function's name.
    pub function: String,
    pub trigger: Trigger,
    pub scheduled: Scheduled,
}

/// The live triggers of a project, or of one of its functions, by function and id.
///
/// # Errors
/// `Db`, `Corrupt`.
pub async fn triggers_live(
    store: &Store,
    project: ProjectId,
    function: Option<&str>,
) -> Result<Vec<LiveTrigger>, StoreError> {
    let rows = sqlx::query(
        "select f.name, t.spec, t.next_due_at, t.is_planned, c.run_count, r.started_at, r.status, r.error
         from functions f join function_triggers t on t.function_id = f.id
         cross join lateral (select count(*) as run_count from function_runs o
           where o.function_id = f.id and o.trigger_name = t.name and o.attempts_total > 0) c
         left join lateral (select o.started_at, o.status, o.error from function_runs o
           where o.function_id = f.id and o.trigger_name = t.name and o.attempts_total > 0
           order by o.created_at desc, o.id desc limit 1) r on true
         where f.project_id = $1 and ($2::text is null or f.name = $2)
         order by f.name collate \"C\", t.name collate \"C\"",
    )
    .bind(project.0)
    .bind(function)
    .fetch_all(store.pool())
    .await
    .during("list triggers")?;
    rows.iter().map(live).collect()
}

fn live(row: &PgRow) -> Result<LiveTrigger, StoreError> {
    let spec: serde_json::Value = row.try_get("spec").during("read a trigger")?;
    let trigger = serde_json::from_value(spec).map_err(|e| StoreError::Corrupt(format!("a trigger: {e}")))?;
    let read = || {
        let is_planned: bool = row.try_get("is_planned")?;
        let next: Option<DateTime<Utc>> = row.try_get("next_due_at")?;
        Ok::<_, sqlx::Error>(LiveTrigger {
            function: row.try_get("name")?,
            trigger,
            scheduled: Scheduled {
                next_run_at: next.filter(|_| is_planned),
                run_count: row.try_get("run_count")?,
                last_run_at: row.try_get("started_at")?,
                last_status: row.try_get("status")?,
                last_error: row.try_get("error")?,
                missed: "skip".to_owned(),
                overlap: "allow".to_owned(),
            },
        })
    };
    read().during("read a trigger")
}

/// Waits for whoever plans the project's triggers: what it wrote is then seen, and what is changed it sees.
///
/// # Errors
/// `Db` only.
pub(super) async fn triggers_hold(tx: &mut Tx, project: ProjectId) -> Result<(), StoreError> {
    sqlx::query(
        "select 1 from function_triggers t join functions f on f.id = t.function_id
         where f.project_id = $1 order by t.id for update of t",
    )
    .bind(project.0)
    .execute(tx.conn())
    .await
    .during("wait for triggers")?;
    Ok(())
}

/// Makes the triggers of a project those of a release. One that is changed starts afresh; what was due of it and had
/// not begun does not begin.
///
/// # Errors
/// `Db` only.
pub(super) async fn triggers_follow(
    tx: &mut Tx,
    project: ProjectId,
    release: ReleaseId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    const STAYS: &str = "from release_functions n, jsonb_array_elements(n.triggers) e
       where n.release_id = $2 and n.name = f.name";
    let ends = format!(
        "update function_runs r set state = 'skipped', ended_at = $3, updated_at = $3,
           error = 'the trigger was changed'
         from functions f where f.id = r.function_id and r.project_id = $1 and r.state = 'due'
           and r.source = 'schedule' and r.trigger_name is not null and r.attempts_total = 0
           and not exists (select {STAYS} and e = (select t.spec from function_triggers t
             where t.function_id = f.id and t.name = r.trigger_name))"
    );
    let drops = format!(
        "delete from function_triggers t using functions f where f.id = t.function_id and f.project_id = $1
           and $3::timestamptz is not null and not exists (select {STAYS} and e->>'id' = t.name)"
    );
    let makes = "insert into function_triggers as t (function_id, name, spec, next_due_at)
         select f.id, e->>'id', e, $3 from release_functions n
         join functions f on f.project_id = $1 and f.name = n.name
         cross join lateral jsonb_array_elements(n.triggers) e where n.release_id = $2
         on conflict (function_id, name) do update set spec = excluded.spec, next_due_at = excluded.next_due_at,
           is_planned = false where t.spec is distinct from excluded.spec";
    for sql in [ends, drops, makes.to_owned()] {
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(project.0)
            .bind(release.0)
            .bind(now)
            .execute(tx.conn())
            .await
            .during("follow the release's triggers")?;
    }
    Ok(())
}

/// Triggers whose time has come, in the order of their times.
///
/// # Errors
/// `Db` only.
pub(super) async fn triggers_due(
    store: &Store,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<DueFunction>, StoreError> {
    let rows = sqlx::query(
        "select t.id, p.account_id, t.spec->>'cron' as cron, t.spec->>'timezone' as timezone, t.next_due_at,
           t.is_planned
         from function_triggers t join functions f on f.id = t.function_id join projects p on p.id = f.project_id
         where t.next_due_at <= $1 order by t.next_due_at limit $2",
    )
    .bind(now)
    .bind(limit)
    .fetch_all(store.pool())
    .await
    .during("find due triggers")?;
    let read = |row: &PgRow| {
        Ok(DueFunction {
            id: row.try_get("id")?,
            is_trigger: true,
            account: AccountId(row.try_get("account_id")?),
            schedule: row.try_get::<Option<String>, _>("cron")?.unwrap_or_default(),
            timezone: row.try_get::<Option<String>, _>("timezone")?.unwrap_or_default(),
            missed: "skip".to_owned(),
            next_due_at: row.try_get("next_due_at")?,
            is_planned: row.try_get("is_planned")?,
        })
    };
    rows.iter().map(read).collect::<Result<_, sqlx::Error>>().during("read due triggers")
}

/// Moves triggers to their next times and writes their runs, each only if nobody else did. Says how many moved.
///
/// # Errors
/// `Db` only: nothing moved.
pub(super) async fn triggers_advance(
    store: &Store,
    advances: &[&Advance],
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let mut tx = store.begin().await?;
    let moved = moves(ADVANCE, advances, now).bind(OPEN_MAX).fetch_one(tx.conn()).await;
    let moved: i64 = moved.and_then(|row| row.try_get(0)).during("move triggers to their next times")?;
    tx.commit().await?;
    Ok(moved.unsigned_abs())
}

/// The key names trigger and time, so that a time is one run whoever writes it.
const ADVANCE: &str = "with wanted as (
       select * from unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) as w (id, was, next)),
     held as (select t.id from function_triggers t join wanted w on w.id = t.id and w.was = t.next_due_at
       order by t.id for update of t),
     moved as (update function_triggers t set next_due_at = w.next, is_planned = true
       from wanted w, held h where h.id = t.id and w.id = t.id and t.next_due_at = w.was
       returning t.id, t.function_id, t.name, t.spec->'run' as run),
     made as (insert into function_runs (function_id, project_id, source, state, created_at, run_at, next_at,
         expires_at, event_type, idempotency_key, intent_hash, payload, attempts_max, retry_min_secs, retry_max_secs,
         trigger_name, ended_at, error)
       select m.function_id, f.project_id, 'schedule', case when e.why is null then 'due' else 'skipped' end,
         $7, r.due_at, r.due_at,
         r.due_at + make_interval(secs => (m.run->>'expires_after_seconds')::double precision),
         m.run->>'event_type', concat('schedule:', m.name, ':', extract(epoch from r.due_at)::bigint),
         concat('schedule:', m.name), (m.run->'payload')::text, (m.run->'retry'->>'max_attempts')::integer,
         (m.run->'retry'->>'min_delay_seconds')::integer, (m.run->'retry'->>'max_delay_seconds')::integer,
         m.name, case when e.why is null then null else $7::timestamptz end, e.why
       from unnest($4::uuid[], $5::timestamptz[], $6::text[]) as r (id, due_at, why)
       join moved m on m.id = r.id join functions f on f.id = m.function_id
       cross join lateral (select coalesce(r.why, case when (select count(*) from (
           select 1 from function_runs o where o.project_id = f.project_id and o.state in ('due', 'running')
           limit $8) open) >= $8 then 'too many of the project''s runs are waiting' end) as why) e
       on conflict (function_id, idempotency_key) where idempotency_key is not null do nothing)
     select count(*) from moved";
