//! What a lease's age means. A pure function of the lease's end, the pin and the clock; it is never stored.

use chrono::{DateTime, TimeDelta, Utc};

/// # Source
/// Wire contract 01 section 5.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    Active,
    /// The data plane serves, the first notice is out.
    PastDue,
    /// Control-plane mutations are refused; the data plane serves.
    Frozen,
    /// Schedules pause as well.
    Dormant,
    /// Everything is to be erased.
    Purged,
}

const FROZEN_AFTER_DAYS: i64 = 14;
const DORMANT_AFTER_DAYS: i64 = 44;
const PURGED_AFTER_DAYS: i64 = 104;

impl Lifecycle {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Frozen => "frozen",
            Self::Dormant => "dormant",
            Self::Purged => "purged",
        }
    }

    /// Deploys, names, secrets and provisioning are allowed.
    pub fn allows_control_changes(self) -> bool {
        matches!(self, Self::Active | Self::PastDue)
    }
}

/// The state of everything an account owns. An account that never had a lease is `Purged`-proof: it owns
/// nothing, so callers treat `None` as "no tier" before they ask here.
pub fn lifecycle(lease_ends_at: DateTime<Utc>, pinned: bool, now: DateTime<Utc>) -> Lifecycle {
    if pinned || now < lease_ends_at {
        return Lifecycle::Active;
    }
    let dates = lifecycle_dates(lease_ends_at);
    match now {
        n if n < dates.frozen_at => Lifecycle::PastDue,
        n if n < dates.dormant_at => Lifecycle::Frozen,
        n if n < dates.purged_at => Lifecycle::Dormant,
        _ => Lifecycle::Purged,
    }
}

/// When each state begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LifecycleDates {
    pub past_due_at: DateTime<Utc>,
    pub frozen_at: DateTime<Utc>,
    pub dormant_at: DateTime<Utc>,
    pub purged_at: DateTime<Utc>,
}

pub fn lifecycle_dates(lease_ends_at: DateTime<Utc>) -> LifecycleDates {
    let after = |days| lease_ends_at + TimeDelta::days(days);
    LifecycleDates {
        past_due_at: lease_ends_at,
        frozen_at: after(FROZEN_AFTER_DAYS),
        dormant_at: after(DORMANT_AFTER_DAYS),
        purged_at: after(PURGED_AFTER_DAYS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_boundary_belongs_to_the_later_state() {
        let end = DateTime::UNIX_EPOCH + TimeDelta::days(10_000);
        let at = |days: i64, secs: i64| {
            lifecycle(end, false, end + TimeDelta::days(days) + TimeDelta::seconds(secs))
        };
        assert_eq!(at(0, -1), Lifecycle::Active);
        assert_eq!(at(0, 0), Lifecycle::PastDue);
        assert_eq!(at(14, -1), Lifecycle::PastDue);
        assert_eq!(at(14, 0), Lifecycle::Frozen);
        assert_eq!(at(44, -1), Lifecycle::Frozen);
        assert_eq!(at(44, 0), Lifecycle::Dormant);
        assert_eq!(at(104, -1), Lifecycle::Dormant);
        assert_eq!(at(104, 0), Lifecycle::Purged);
        assert_eq!(lifecycle(end, true, end + TimeDelta::days(9_000)), Lifecycle::Active);
    }
}
