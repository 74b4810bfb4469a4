//! Works off what falls due as leases age: notices are written, purges decided and handed to the projects.
//!
//! Every node runs it. A row is locked with its lease while it is judged, so a renewal either cancels it or
//! comes after it, and it is worked once whatever happens. A batch is one commit; its memory is bounded.

use std::sync::Arc;

use billing::lapse::{Verdict, judge, lapses_at};
use chrono::{DateTime, Utc};
use serde_json::json;
use store::lifecycle::{
    DueStep, NewNotice, Purge, notices_append, purges_decide, purges_unbegun, steps_cancel, steps_put_off,
    steps_take, steps_worked,
};
use store::stalls::{Stall, stalls_since};
use types::{LifecycleStep, lifecycle, lifecycle_dates, rfc3339};

use crate::kit::ActorError;
use crate::{Deps, project};

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;

/// Due rows of one commit.
const BATCH_STEPS: i64 = 1_000;
/// Commits of one tick; the next tick takes the rest.
const BATCHES_MAX: usize = 200;
/// Projects whose erasure is asked for in one tick.
const ERASE_MAX: i64 = 200;

/// Works off every due step, then sees to the purges that were decided and have not begun.
///
/// # Errors
/// What the store says; the batch at hand was rolled back.
pub(super) async fn work(deps: &Arc<Deps>) -> Result<(), ActorError> {
    for _ in 0..BATCHES_MAX {
        if batch(deps).await? == 0 {
            break;
        }
    }
    for id in purges_unbegun(&deps.store, ERASE_MAX).await? {
        deps.actors().project.hint(id, project::Request::Erase);
    }
    Ok(())
}

/// One commit; how many steps it took.
async fn batch(deps: &Arc<Deps>) -> Result<usize, ActorError> {
    let now = deps.clock.now();
    let mut tx = deps.store.begin().await?;
    let due = steps_take(&mut tx, now, BATCH_STEPS).await?;
    let Some(earliest) = due.iter().map(|step| step.lease_ends_at).min() else { return Ok(0) };
    let stalls = stalls_since(&mut tx, earliest).await?;
    let taken = due.len();
    let sorted = Sorted::of(due, &stalls, now);
    notices_append(&mut tx, &sorted.notices, now).await?;
    let purged = purges_decide(&mut tx, &sorted.purges, now).await?;
    steps_cancel(&mut tx, &sorted.cancelled).await?;
    steps_put_off(&mut tx, &sorted.put_off).await?;
    steps_worked(&mut tx, &sorted.worked, now).await?;
    tx.commit().await?;
    if !sorted.worked.is_empty() {
        let (notices, accounts) = (sorted.notices.len(), sorted.purges.len());
        tracing::info!(notices, purged.accounts = accounts, purged.projects = purged, "leases aged");
    }
    Ok(taken)
}

/// What comes of a batch.
#[derive(Debug, Default)]
struct Sorted {
    worked: Vec<DueStep>,
    notices: Vec<NewNotice>,
    purges: Vec<Purge>,
    cancelled: Vec<DueStep>,
    put_off: Vec<(DueStep, DateTime<Utc>)>,
}

impl Sorted {
    fn of(due: Vec<DueStep>, stalls: &[Stall], now: DateTime<Utc>) -> Self {
        let mut sorted = Self::default();
        for step in due {
            match judge(&step, stalls, now) {
                Verdict::Cancel => sorted.cancelled.push(step),
                Verdict::PutOff(until) => sorted.put_off.push((step, until)),
                Verdict::Work => {
                    let lapse = lapses_at(step.now_ends_at, stalls).unwrap_or(step.now_ends_at);
                    match step.step {
                        LifecycleStep::Purge => sorted.purges.push(Purge {
                            account: step.account,
                            names_kept_until: lifecycle_dates(lapse).names_free_at,
                        }),
                        LifecycleStep::PastDue | LifecycleStep::Frozen | LifecycleStep::Dormant => {
                            sorted.notices.push(notice(&step, lapse, now));
                        }
                    }
                    sorted.worked.push(step);
                }
            }
        }
        sorted
    }
}

/// What the owner is told: the state that was entered, the one that the account is in, and the dates ahead.
fn notice(step: &DueStep, lapse: DateTime<Utc>, now: DateTime<Utc>) -> NewNotice {
    let dates = lifecycle_dates(lapse);
    let next = [dates.frozen_at, dates.dormant_at, dates.purged_at].into_iter().find(|at| *at > now);
    NewNotice {
        account: step.account,
        lease_ends_at: step.lease_ends_at,
        step: step.step,
        facts: json!({
            "entered_state": step.step.as_str(),
            "entered_state_at": rfc3339(step.step.due_at(lapse)),
            "lifecycle_state": lifecycle(lapse, false, now).as_str(),
            "next_transition_at": next.map(rfc3339),
            "scheduled_purge_at": rfc3339(dates.purged_at),
            "tier": step.tier,
            "renew_url": format!("/tiers/v1/{}", step.tier),
        }),
    }
}
