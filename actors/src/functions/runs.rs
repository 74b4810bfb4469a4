//! Runs, by schedule or asked for: planned, claimed, carried out.
//!
//! A tick reads what is due, writes each due time as a run, and takes runs. A due time becomes a row before
//! anything starts, so what a dying node leaves behind is found, and another attempt is the same run. A run that
//! was asked for is a row from the start, and is tried again as its asker wished.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use functions::Cron;
use store::accounts::standing_find;
use store::functions::{
    Advance, ClaimedRun, DueFunction, functions_advance, functions_due, run_block, run_start, runs_claim,
    runs_drop_before, runs_expire, runs_overlapped, runs_reclaim,
};
use types::{AccountId, Lifecycle, ProjectId, Tier, kill_point};

use super::FunctionHost;
use super::attempt::{RunAnswer, attempt};
use crate::Deps;
use crate::kit::ActorError;

/// Functions that are planned in one transaction.
const PLANNED_MAX: i64 = 500;
/// Such transactions of one tick.
const ROUNDS_MAX: usize = 40;
/// Runs of this node at once.
pub(super) const RUNS_MAX: usize = 64;
/// A time that was seen no later than this was not missed.
const ON_TIME: TimeDelta = TimeDelta::seconds(60);
/// Times of one function that are written at most, whatever was missed.
const MISSED_MAX: usize = 1_000;
const MISSED: &str = "missed: the server was not running";
const PAUSED: &str = "paused: the lease has ended";
const EXHAUSTED: &str = "paused: the API calls of the lease are used up";
/// A run of an account that is paused is looked at again after this.
const BLOCKED_FOR: TimeDelta = TimeDelta::minutes(5);
/// History that is kept.
const KEPT: TimeDelta = TimeDelta::days(30);

/// One tick.
///
/// # Errors
/// `Store`; the next tick goes on.
pub async fn sweep(deps: &Arc<Deps>) -> Result<(), ActorError> {
    let Some(host) = deps.functions.clone().filter(|host| host.refused().is_none()) else { return Ok(()) };
    runs_reclaim(&deps.store, deps.clock.now()).await?;
    for _ in 0..ROUNDS_MAX {
        if plan(deps).await? == 0 {
            break;
        }
    }
    runs_overlapped(&deps.store, deps.clock.now()).await?;
    runs_expire(&deps.store, deps.clock.now()).await?;
    take(deps, &host).await
}

/// Looks at once for what is due, so that a run that was just asked for need not wait for the next tick.
pub fn wake(deps: &Arc<Deps>) {
    let Some(host) = deps.functions.clone().filter(|host| host.refused().is_none()) else { return };
    let deps = deps.clone();
    tokio::spawn(async move {
        // The next tick is its second chance.
        if let Err(e) = take(&deps, &host).await {
            tracing::debug!(error = &e as &dyn std::error::Error, "no runs were taken");
        }
    });
}

/// Takes runs while there are places for them. Of many at once one looks, again for as long as others came meanwhile.
async fn take(deps: &Arc<Deps>, host: &Arc<FunctionHost>) -> Result<(), ActorError> {
    host.wanted.store(true, Ordering::SeqCst);
    while host.wanted.load(Ordering::SeqCst) {
        let Ok(_turn) = host.taking.try_lock() else { return Ok(()) };
        host.wanted.store(false, Ordering::SeqCst);
        take_all(deps, host).await?;
    }
    Ok(())
}

async fn take_all(deps: &Arc<Deps>, host: &Arc<FunctionHost>) -> Result<(), ActorError> {
    loop {
        let places = host.runs.available_permits();
        if places == 0 || host.runs.is_closed() {
            return Ok(());
        }
        let limit = i64::try_from(places).unwrap_or(i64::MAX);
        let taken = runs_claim(&deps.store, deps.node, deps.clock.now(), limit).await?;
        if taken.is_empty() {
            return Ok(());
        }
        for run in taken {
            let (deps, host) = (deps.clone(), host.clone());
            let place = host.runs.clone().try_acquire_owned();
            tokio::spawn(async move {
                carry_out(&deps, &host, run).await;
                drop(place);
                // Not left to the next tick: a second is long when many are due.
                wake(&deps);
            });
        }
    }
}

/// Forgets old runs.
///
/// # Errors
/// `Store`.
pub async fn forget(deps: &Deps, rows_max: i64) -> Result<(), ActorError> {
    runs_drop_before(&deps.store, deps.clock.now() - KEPT, rows_max).await?;
    Ok(())
}

/// Writes what is due as runs. Says how many functions it looked at.
pub(super) async fn plan(deps: &Deps) -> Result<usize, ActorError> {
    let now = deps.clock.now();
    let due = functions_due(&deps.store, now, PLANNED_MAX).await?;
    let mut paused: HashMap<AccountId, Option<&'static str>> = HashMap::new();
    let mut advances = Vec::with_capacity(due.len());
    for function in &due {
        let paused = match paused.get(&function.account) {
            Some(paused) => *paused,
            None => {
                let why = paused_for(deps, function.account, now).await?;
                paused.insert(function.account, why);
                why
            }
        };
        advances.push(advance(function, paused, now));
    }
    if !advances.is_empty() {
        functions_advance(&deps.store, &advances, now).await?;
    }
    Ok(due.len())
}

/// What becomes of a due function: pure.
fn advance(function: &DueFunction, paused: Option<&'static str>, now: DateTime<Utc>) -> Advance {
    let from = function.next_due_at;
    let moved = |to, runs| Advance { id: function.id, is_trigger: function.is_trigger, from, to, runs };
    let cron = Cron::parse_in(&function.schedule, &function.timezone);
    let Some(cron) = cron else { return moved(None, Vec::new()) };
    let next = cron.next_after(now);
    // Times before a change were the old schedule's; those after it count, also when nobody has planned it yet.
    let first = if function.is_planned { Some(from) } else { cron.next_after(from) };
    let Some(first) = first else { return moved(None, Vec::new()) };
    // What is older is beyond what a history is for.
    let times = cron.newest_between(first, now, MISSED_MAX);
    let newest = times.last().copied();
    let why = |time: DateTime<Utc>| match function.missed.as_str() {
        _ if paused.is_some() => paused,
        "run_all" => None,
        "run_once" if Some(time) == newest => None,
        _ if now - time <= ON_TIME => None,
        _ => Some(MISSED),
    };
    moved(next, times.into_iter().map(|time| (time, why(time))).collect())
}

/// Runs a function now, for somebody who waits; it ends as it should when nobody waits any more. None: there is no
/// such function.
///
/// # Errors
/// `Store`.
pub async fn run_now(
    deps: &Arc<Deps>,
    (project, name): (ProjectId, &str),
) -> Result<Option<RunAnswer>, ActorError> {
    let Some(host) = deps.functions.clone() else { return Err(ActorError::Unavailable("functions")) };
    let (deps, name) = (deps.clone(), name.to_owned());
    let run = tokio::spawn(async move { begin_now(&deps, &host, (project, &name)).await });
    run.await.unwrap_or(Err(ActorError::Unavailable("a run")))
}

async fn begin_now(
    deps: &Arc<Deps>,
    host: &FunctionHost,
    (project, name): (ProjectId, &str),
) -> Result<Option<RunAnswer>, ActorError> {
    let started = run_start(&deps.store, (project, name), deps.node, deps.clock.now()).await?;
    let Some(run) = started else { return Ok(None) };
    let (end, answer) = attempt(deps, host, &run).await;
    let answer = answer.unwrap_or_else(|| RunAnswer {
        request_id: run.id.to_string(),
        status: UNANSWERED,
        body: Bytes::from(end.error.as_ref().map(|error| error.message.clone()).unwrap_or_default()),
    });
    host.ends.write((&deps.store, deps.clock.as_ref()), run, end).await?;
    Ok(Some(answer))
}

/// The status of a run that the function did not answer.
const UNANSWERED: u16 = 500;

/// Calls the function and writes how it ended.
async fn carry_out(deps: &Arc<Deps>, host: &FunctionHost, run: ClaimedRun) {
    kill_point!("run.claimed");
    match held_back(deps, &run).await {
        Ok(false) => {}
        Ok(true) => return,
        Err(e) => {
            // Whoever finds it left behind tries it again.
            tracing::warn!(run.id = %run.id, error = &e as &dyn std::error::Error, "a run was not begun");
            return;
        }
    }
    // A run by hand is its asker's call, and was counted as that.
    deps.meter.count(run.account, run.project);
    let (end, _) = attempt(deps, host, &run).await;
    kill_point!("run.answered");
    let id = run.id;
    match host.ends.write((&deps.store, deps.clock.as_ref()), run, end).await {
        Ok(true) => kill_point!("run.ended"),
        Ok(false) => tracing::warn!(run.id = %id, "a run ended after it was given up"),
        Err(e) => {
            tracing::warn!(run.id = %id, error = &e as &dyn std::error::Error, "a run's end is not written")
        }
    }
}

/// Puts a run that was asked for back while its account is paused: it goes on after a renewal, as long as it has not
/// expired. A schedule's times are judged when they are planned.
async fn held_back(deps: &Deps, run: &ClaimedRun) -> Result<bool, ActorError> {
    if run.asked.is_none() {
        return Ok(false);
    }
    let now = deps.clock.now();
    if paused_for(deps, run.account, now).await?.is_none() {
        return Ok(false);
    }
    run_block(&deps.store, run, now + BLOCKED_FOR, now).await?;
    Ok(true)
}

/// Why an account's runs do not begin; none when they do.
async fn paused_for(
    deps: &Deps,
    account: AccountId,
    now: DateTime<Utc>,
) -> Result<Option<&'static str>, ActorError> {
    let standing = standing_find(&deps.store, account).await?;
    let state = billing::lapse::lifecycle_of(&standing, now);
    if state.is_none_or(|state| matches!(state, Lifecycle::Dormant | Lifecycle::Purged)) {
        return Ok(Some(PAUSED));
    }
    let limits = deps.prices.limits(standing.lease.map_or(Tier::Prototype, |lease| lease.tier));
    let calls = standing.calls.saturating_add(deps.meter.unflushed(account).0);
    Ok((calls >= limits.api_calls).then_some(EXHAUSTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn due(schedule: &str, missed: &str, next: &str) -> DueFunction {
        DueFunction {
            id: uuid::Uuid::nil(),
            is_trigger: false,
            timezone: "UTC".to_owned(),
            account: AccountId(uuid::Uuid::nil()),
            schedule: schedule.to_owned(),
            missed: missed.to_owned(),
            next_due_at: at(next),
            is_planned: true,
        }
    }

    // F02. Goal: an hour of downtime ends as the function's rule says, and every time is written down.
    #[test]
    fn times_that_passed_unseen_follow_the_rule_and_are_all_written() {
        let now = at("2026-11-26T11:00:02Z");
        for (missed, ran) in [("skip", 1), ("run_once", 1), ("run_all", 5)] {
            let moved = advance(&due("*/15 * * * *", missed, "2026-11-26T10:00:00Z"), None, now);
            assert_eq!((moved.runs.len(), moved.to), (5, Some(at("2026-11-26T11:15:00Z"))), "{missed}");
            assert_eq!(moved.runs.iter().filter(|(_, why)| why.is_none()).count(), ran, "{missed}");
            assert_eq!(moved.runs.last().unwrap(), &(at("2026-11-26T11:00:00Z"), None), "{missed}");
        }
        let late = at("2026-11-26T11:05:00Z");
        for (missed, ran) in [("skip", 0), ("run_once", 1), ("run_all", 5)] {
            let moved = advance(&due("*/15 * * * *", missed, "2026-11-26T10:00:00Z"), None, late);
            assert_eq!(moved.runs.iter().filter(|(_, why)| why.is_none()).count(), ran, "{missed}");
        }
        let paused = advance(&due("*/15 * * * *", "run_all", "2026-11-26T10:00:00Z"), Some(PAUSED), late);
        assert!(paused.runs.iter().all(|(_, why)| *why == Some(PAUSED)));
        let years = advance(&due("* * * * *", "run_all", "2020-01-01T00:00:00Z"), None, late);
        assert_eq!((years.runs.len(), years.runs.last().unwrap().0), (MISSED_MAX, late));
        assert_eq!(years.runs[0].0, late - chrono::TimeDelta::minutes(999));
    }

    // F05. Goal: a change of the schedule starts afresh, and a schedule that never comes leaves nothing due.
    #[test]
    fn a_changed_schedule_starts_after_its_change() {
        let now = at("2026-11-26T11:00:02Z");
        let changed =
            DueFunction { is_planned: false, ..due("0 12 * * *", "run_all", "2026-11-26T11:00:01Z") };
        let moved = advance(&changed, None, now);
        assert_eq!((moved.to, moved.runs.len()), (Some(at("2026-11-26T12:00:00Z")), 0));
        for (seen, ran) in [("2026-11-26T12:00:02Z", 1), ("2026-11-26T12:05:00Z", 0)] {
            let due = DueFunction { missed: "skip".to_owned(), ..changed.clone() };
            let moved = advance(&due, None, at(seen));
            assert_eq!((moved.to, moved.runs.len()), (Some(at("2026-11-27T12:00:00Z")), 1), "{seen}");
            assert_eq!(moved.runs[0].0, at("2026-11-26T12:00:00Z"), "due before it was planned");
            assert_eq!(moved.runs.iter().filter(|(_, why)| why.is_none()).count(), ran, "{seen}");
        }
        let never = advance(&due("0 0 31 2 *", "skip", "2026-11-26T11:00:00Z"), None, now);
        assert_eq!(never.to, None);
        assert_eq!(advance(&due("nonsense", "skip", "2026-11-26T11:00:00Z"), None, now).to, None);
    }
}
