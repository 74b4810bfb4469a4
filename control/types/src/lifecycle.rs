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
/// A purged project's names are kept back for their owner until then.
const NAMES_KEPT_DAYS: i64 = 118;

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

    /// In the order in which a lease passes through them.
    pub const ALL: [Self; 5] = [Self::Active, Self::PastDue, Self::Frozen, Self::Dormant, Self::Purged];

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
    /// From then on anyone may claim the names.
    pub names_free_at: DateTime<Utc>,
}

/// What is done once as a lease ages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LifecycleStep {
    /// Tells the owner that the lease has ended.
    PastDue,
    /// Tells the owner that changes are refused from now on.
    Frozen,
    /// Tells the owner that schedules pause, and when everything will be erased.
    Dormant,
    /// Erases every project of the account.
    Purge,
}

impl LifecycleStep {
    pub const ALL: [Self; 4] = [Self::PastDue, Self::Frozen, Self::Dormant, Self::Purge];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::PastDue => "past_due",
            Self::Frozen => "frozen",
            Self::Dormant => "dormant",
            Self::Purge => "purge",
        }
    }

    /// When it falls due for a lease that lapses then.
    pub fn due_at(self, lapses_at: DateTime<Utc>) -> DateTime<Utc> {
        let dates = lifecycle_dates(lapses_at);
        match self {
            Self::PastDue => dates.past_due_at,
            Self::Frozen => dates.frozen_at,
            Self::Dormant => dates.dormant_at,
            Self::Purge => dates.purged_at,
        }
    }
}

pub fn lifecycle_dates(lease_ends_at: DateTime<Utc>) -> LifecycleDates {
    // Days of 24 hours, whatever a calendar says; a lease that ends with time itself ages no more.
    let after =
        |days| lease_ends_at.checked_add_signed(TimeDelta::days(days)).unwrap_or(DateTime::<Utc>::MAX_UTC);
    LifecycleDates {
        past_due_at: lease_ends_at,
        frozen_at: after(FROZEN_AFTER_DAYS),
        dormant_at: after(DORMANT_AFTER_DAYS),
        purged_at: after(PURGED_AFTER_DAYS),
        names_free_at: after(NAMES_KEPT_DAYS),
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
