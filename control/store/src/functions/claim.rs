//! Which runs a node takes next.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::Row;
use sqlx::postgres::PgRow;
use types::NodeId;
use uuid::Uuid;

use super::runs::{ClaimedRun, GRACE_SECS, claimed};
use crate::{During, Store, StoreError};

/// Runs of one project at once, on all nodes: half of what one node has places for.
const PROJECT_RUNS_MAX: i64 = 32;
/// So many times as many runs are looked at as are taken.
const WINDOW: i64 = 4;

/// Takes due runs for a node: the oldest, but no project more than its share.
///
/// # Errors
/// `Db` only.
pub async fn runs_claim(
    store: &Store,
    node: NodeId,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<ClaimedRun>, StoreError> {
    let window = limit.saturating_mul(WINDOW);
    let looked = sqlx::query(OLDEST).bind(now).bind(window).fetch_all(store.pool()).await;
    let oldest = looked.during("look for due runs")?.iter().map(candidate).collect::<Result<Vec<_>, _>>();
    let oldest = oldest.during("read due runs")?;
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut chosen = within_shares(&oldest);
    chosen.truncate(most);
    // What was looked at is all of a few projects that have their share: others stand behind them.
    if chosen.len() < most && i64::try_from(oldest.len()).unwrap_or(i64::MAX) >= window {
        let looked =
            sqlx::query(EACH).bind(now).bind(limit).bind(PROJECT_RUNS_MAX).fetch_all(store.pool()).await;
        let each = looked.during("look for due runs")?;
        chosen =
            each.iter().map(|row| row.try_get("id")).collect::<Result<_, _>>().during("read due runs")?;
    }
    if chosen.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(TAKE)
        .bind(now)
        .bind(&chosen)
        .bind(node.0)
        .bind(GRACE_SECS)
        .fetch_all(store.pool())
        .await
        .during("take due runs")?;
    rows.iter().map(claimed).collect::<Result<_, sqlx::Error>>().during("read due runs")
}

/// A due run, its project, and how many of that run.
struct Candidate {
    id: Uuid,
    project: Uuid,
    busy: i64,
}

fn candidate(row: &PgRow) -> Result<Candidate, sqlx::Error> {
    Ok(Candidate { id: row.try_get("id")?, project: row.try_get("project_id")?, busy: row.try_get("busy")? })
}

/// Of runs in their order, those that leave no project with more than its share.
fn within_shares(candidates: &[Candidate]) -> Vec<Uuid> {
    let mut busy: HashMap<Uuid, i64> = HashMap::new();
    let may = |one: &&Candidate| {
        let busy = busy.entry(one.project).or_insert(one.busy);
        *busy += 1;
        *busy <= PROJECT_RUNS_MAX
    };
    candidates.iter().filter(may).map(|one| one.id).collect()
}

/// Whether `r`, of the function `f`, may begin at `$1`. Runs of one schedule follow one another, unless it allows
/// them side by side. Those of triggers have no `due_at`, and always may.
macro_rules! may_begin {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " r.state = 'due' and r.next_at <= $1 and (r.expires_at is null or r.expires_at > $1)
               and (r.source <> 'schedule' or r.due_at is null or f.overlap = 'allow' or not exists (
                 select from function_runs o where o.function_id = r.function_id and o.due_at is not null
                   and (o.state = 'running' or (o.state = 'due' and o.due_at < r.due_at)))) ",
            $after
        )
    };
}

const OLDEST: &str = may_begin!(
    "with busy as materialized (
       select project_id, count(*) as runs from function_runs where state = 'running' group by project_id)
     select r.id, r.project_id, coalesce(b.runs, 0) as busy
     from function_runs r join functions f on f.id = r.function_id left join busy b on b.project_id = r.project_id
     where",
    "order by r.next_at limit $2"
);

/// Jumps through the index from project to project, however many runs one of them has.
const EACH: &str = may_begin!(
    "with recursive waiting as (
       (select project_id from function_runs where state = 'due' order by project_id limit 1)
       union all
       select (select r.project_id from function_runs r where r.state = 'due' and r.project_id > w.project_id
         order by r.project_id limit 1)
       from waiting w where w.project_id is not null)
     select one.id from waiting w cross join lateral (
       select r.id, r.next_at from function_runs r join functions f on f.id = r.function_id
       where r.project_id = w.project_id and",
    "order by r.next_at
       limit greatest(0, $3 - (select count(*) from function_runs o
         where o.state = 'running' and o.project_id = w.project_id))) one
     where w.project_id is not null order by one.next_at limit $2"
);

const TAKE: &str = concat!(
    may_begin!(
        "with free as (
       select r.id from function_runs r join functions f on f.id = r.function_id
       where r.id = any((select $2)::uuid[]) and",
        "for update of r skip locked)"
    ),
    " update function_runs r set state = 'running', attempt = r.attempt + 1, attempt_id = gen_random_uuid(),
       attempts_total = r.attempts_total + 1, node_id = $3, started_at = $1, attempt_ended_at = null,
       is_blocked = false, updated_at = $1,
       believed_until = clock_timestamp() + make_interval(secs => n.timeout_seconds + $4)
     from free, functions f, projects p, release_functions n
     where r.id = free.id and f.id = r.function_id and p.id = f.project_id
       and n.release_id = p.active_release and n.name = f.name and p.phase = 'ready'
     returning r.*, p.account_id, f.name, n.release_id, ",
    environment!("p.id"),
    " as environment"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_gets_its_share_and_no_more() {
        let run = |id: u128, project: u128, busy: i64| Candidate {
            id: Uuid::from_u128(id),
            project: Uuid::from_u128(project),
            busy,
        };
        let most = PROJECT_RUNS_MAX;
        let mut all: Vec<Candidate> = (0..50).map(|n| run(n, 1, most - 2)).collect();
        all.push(run(100, 2, 0));
        all.push(run(101, 3, most));
        let ids: Vec<u128> = within_shares(&all).iter().map(Uuid::as_u128).collect();
        assert_eq!(ids, [0, 1, 100]);
    }
}
