//! When a lease lapses, and what is to be done once it has. Pure.
//!
//! A lease lapses when it ends, unless a chain stood still just then: whoever wanted to renew could not pay,
//! so the lapse waits until the chain has been back for a while. The purchases that make a lease know nothing
//! of this; only what an account may do, and what is done to it, follows the lapse.

use chrono::{DateTime, TimeDelta, Utc};
use store::accounts::Standing;
use store::lifecycle::DueStep;
use store::stalls::Stall;
use types::{Lifecycle, lifecycle};

/// A chain without a block for this long stands still. Blocks come every two seconds; halts that mattered
/// lasted 33 minutes and more (B08).
pub const STALLED_AFTER: TimeDelta = TimeDelta::minutes(10);
/// How long a chain must have been back before leases lapse again.
pub const STALL_GRACE: TimeDelta = TimeDelta::hours(1);
/// How long a step of an account that is not to age is left alone.
const LOOK_AGAIN: TimeDelta = TimeDelta::hours(1);
/// The same while a chain stands still.
const LOOK_AGAIN_STALLED: TimeDelta = TimeDelta::minutes(5);

/// When a lease that ends at `ends_at` lapses; none while a chain stands still. `stalls` are in the order of
/// their beginnings, of any chain: a wallet is not asked which one it would have paid on.
pub fn lapses_at(ends_at: DateTime<Utc>, stalls: &[Stall]) -> Option<DateTime<Utc>> {
    let mut lapse = ends_at;
    for stall in stalls.iter().filter(|stall| stall.ended_at.is_none_or(|ended| ended > stall.started_at)) {
        let Some(ended_at) = stall.ended_at else {
            if stall.started_at <= lapse {
                return None;
            }
            continue;
        };
        let over_at = ended_at.checked_add_signed(STALL_GRACE).unwrap_or(DateTime::<Utc>::MAX_UTC);
        if stall.started_at <= lapse && lapse < over_at {
            lapse = over_at;
        }
    }
    Some(lapse)
}

/// The state of an account; none when it has neither a lease nor a pin.
pub fn lifecycle_of(standing: &Standing, now: DateTime<Utc>) -> Option<Lifecycle> {
    match &standing.lease {
        _ if standing.pinned => Some(Lifecycle::Active),
        None => None,
        Some(lease) => Some(match lapses_at(lease.ends_at, &standing.stalls) {
            Some(lapse) => lifecycle(lapse, standing.pinned, now),
            None => Lifecycle::Active,
        }),
    }
}

/// What to do with a step that fell due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Work,
    /// The lease is another one by now.
    Cancel,
    PutOff(DateTime<Utc>),
}

/// Judges a due step by the lease as it is now.
pub fn judge(due: &DueStep, stalls: &[Stall], now: DateTime<Utc>) -> Verdict {
    if due.now_ends_at != due.lease_ends_at {
        return Verdict::Cancel;
    }
    if due.pinned {
        return Verdict::PutOff(now + LOOK_AGAIN);
    }
    match lapses_at(due.now_ends_at, stalls).map(|lapse| due.step.due_at(lapse)) {
        None => Verdict::PutOff(now + LOOK_AGAIN_STALLED),
        Some(due_at) if due_at > now => Verdict::PutOff(due_at),
        Some(_) => Verdict::Work,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{AccountId, LifecycleStep};

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::minutes(minutes)
    }

    fn stall(from: i64, to: Option<i64>) -> Stall {
        Stall { started_at: at(from), ended_at: to.map(at) }
    }

    // B08. Goal: nobody lapses because he could not pay. Method: every place of a lease's end around a halt of
    // 108 minutes, as on 2026-06-25, and around the one of the day after.
    #[test]
    fn a_lease_that_ends_in_a_halt_lapses_an_hour_after_it() {
        let halt = [stall(100, Some(208))];
        for (ends, lapses) in
            [(0, 0), (99, 99), (100, 268), (150, 268), (208, 268), (267, 268), (268, 268), (400, 400)]
        {
            assert_eq!(lapses_at(at(ends), &halt), Some(at(lapses)), "ends at {ends}");
        }
        let day = 24 * 60;
        let again = [stall(100, Some(208)), stall(100 + day, Some(133 + day))];
        assert_eq!(lapses_at(at(150), &again), Some(at(268)));
        assert_eq!(lapses_at(at(100 + day), &again), Some(at(193 + day)));
        // A chain that halts again before it was back for long.
        let twice = [stall(100, Some(208)), stall(230, Some(300))];
        assert_eq!(lapses_at(at(150), &twice), Some(at(360)));
        // As long as it stands, nobody lapses who had not before.
        let standing = [stall(100, None)];
        assert_eq!(lapses_at(at(99), &standing), Some(at(99)));
        assert_eq!(lapses_at(at(100), &standing), None);
        assert_eq!(lapses_at(at(5_000), &standing), None);
        assert_eq!(lapses_at(at(150), &[]), Some(at(150)));
    }

    #[test]
    fn a_step_is_worked_only_for_the_lease_it_was_planned_for() {
        let due = DueStep {
            account: AccountId(uuid::Uuid::nil()),
            lease_ends_at: at(150),
            step: LifecycleStep::PastDue,
            now_ends_at: at(150),
            tier: types::Tier::Hobby,
            pinned: false,
        };
        assert_eq!(judge(&due, &[], at(150)), Verdict::Work);
        assert_eq!(judge(&due, &[], at(149)), Verdict::PutOff(at(150)));
        assert_eq!(judge(&due, &[stall(100, Some(208))], at(150)), Verdict::PutOff(at(268)));
        assert!(matches!(judge(&due, &[stall(100, None)], at(150)), Verdict::PutOff(_)));
        let renewed = DueStep { now_ends_at: at(151), ..due.clone() };
        assert_eq!(judge(&renewed, &[], at(9_000)), Verdict::Cancel);
        assert!(matches!(judge(&DueStep { pinned: true, ..due }, &[], at(9_000)), Verdict::PutOff(_)));
    }
}
