//! Looks at tenants' domains when they are due, and judges what DNS says.
//!
//! A domain becomes a project's when its TXT record has the project's token and it leads here. It stays the
//! project's while either still holds, so that an owner may tidy the record away; when neither does for
//! [`GRACE_HOURS`], it is nobody's. What DNS does not answer changes nothing.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sites::{Dns, Seen};
use store::domains::{self, Domain, DomainStatus, Judged};

use crate::Deps;
use crate::kit::ActorError;

/// Domains that one sweep looks at, at once.
const AT_ONCE: i64 = 20;
/// How long a domain that moved away stays its project's.
pub const GRACE_HOURS: i64 = 24;
/// How long a claim that is never proved is asked about.
const PENDING_DAYS: i64 = 14;
const ACTIVE_MINUTES: i64 = 6 * 60;
const FAILING_MINUTES: i64 = 10;
const PENDING_MINUTES_MAX: i64 = 60;

/// Looks at what is due.
///
/// # Errors
/// What the store says; the next tick goes on.
pub async fn sweep(deps: &Arc<Deps>) -> Result<(), ActorError> {
    if deps.dns.is_none() {
        return Ok(());
    }
    let due = domains::domains_due(&deps.store, deps.clock.now(), AT_ONCE).await?;
    // One slow name server does not hold the others.
    for done in futures::future::join_all(due.iter().map(|domain| check(deps, domain))).await {
        done?;
    }
    Ok(())
}

/// Looks at one domain now and remembers what it says. None when the claim is gone meanwhile.
///
/// # Errors
/// What the store says.
pub async fn check(deps: &Deps, domain: &Domain) -> Result<Option<Domain>, ActorError> {
    let Some(dns) = &deps.dns else { return Ok(Some(domain.clone())) };
    let seen = dns.look(&domain.domain, &domain.token).await;
    let now = deps.clock.now();
    let mut judged = judge(domain, seen, now);
    if judged.status == DomainStatus::Active && domain.status != DomainStatus::Active {
        let holder = domains::domain_holder(&deps.store, &domain.domain).await?;
        if let Some(holder) = holder.filter(|holder| holder.project != domain.project)
            && !has_moved_on(dns, &holder).await
        {
            judged = not_yet(domain, "another project holds it", now);
        }
    }
    let mut tx = deps.store.begin().await?;
    let moved = domains::domain_judge(&mut tx, domain, &judged).await;
    let moved = match moved {
        // Somebody else became its holder at this moment: the next look decides.
        Err(e) if e.constraint() == Some("custom_domains_one_owner") => return Ok(None),
        moved => moved?,
    };
    tx.commit().await?;
    if let Some(moved) = moved.as_ref().filter(|moved| moved.status != domain.status) {
        let status = moved.status.as_str();
        tracing::info!(project.id = %moved.project, domain = moved.domain, status, "domain judged");
    }
    Ok(moved)
}

/// Whether a holder's own proof is no longer there. Silence is not a no.
async fn has_moved_on(dns: &Dns, holder: &Domain) -> bool {
    dns.look(&holder.domain, &holder.token).await.owned == Some(false)
}

/// Pure.
fn judge(domain: &Domain, seen: Seen, now: DateTime<Utc>) -> Judged {
    let proved = seen.owned == Some(true) && seen.leads_here == Some(true);
    match domain.status {
        DomainStatus::Pending | DomainStatus::Failed if proved => active(now),
        DomainStatus::Pending | DomainStatus::Failed => not_yet(domain, missing(seen), now),
        DomainStatus::Active if seen.owned == Some(true) || seen.leads_here == Some(true) => active(now),
        DomainStatus::Active if seen.owned.is_none() || seen.leads_here.is_none() => {
            Judged { failing_since: domain.failing_since, ..active(now) }
        }
        DomainStatus::Active => failing(domain, now),
    }
}

fn active(now: DateTime<Utc>) -> Judged {
    Judged {
        status: DomainStatus::Active,
        reason: None,
        failing_since: None,
        misses: 0,
        next_check_at: now + TimeDelta::minutes(ACTIVE_MINUTES),
        now,
    }
}

/// Later and later, hourly in the end.
fn not_yet(domain: &Domain, reason: &str, now: DateTime<Utc>) -> Judged {
    let misses = domain.misses.saturating_add(1);
    let minutes = 1_i64.checked_shl(misses.clamp(0, 30).unsigned_abs()).unwrap_or(i64::MAX);
    let old = now - domain.created_at > TimeDelta::days(PENDING_DAYS);
    let given_up = old || domain.status == DomainStatus::Failed;
    Judged {
        status: if given_up { DomainStatus::Failed } else { DomainStatus::Pending },
        reason: Some(reason.to_owned()),
        failing_since: None,
        misses,
        next_check_at: now + TimeDelta::minutes(minutes.min(PENDING_MINUTES_MAX)),
        now,
    }
}

fn failing(domain: &Domain, now: DateTime<Utc>) -> Judged {
    let since = domain.failing_since.unwrap_or(now);
    let over = now - since >= TimeDelta::hours(GRACE_HOURS);
    Judged {
        status: if over { DomainStatus::Failed } else { DomainStatus::Active },
        reason: Some("its DNS does not lead here any more".to_owned()),
        failing_since: Some(since),
        misses: domain.misses.saturating_add(1),
        next_check_at: now + TimeDelta::minutes(FAILING_MINUTES),
        now,
    }
}

fn missing(seen: Seen) -> &'static str {
    match (seen.owned, seen.leads_here) {
        (None, _) | (_, None) => "DNS did not answer",
        (Some(false), Some(false)) => "neither the TXT record nor the CNAME record is there yet",
        (Some(false), Some(true)) => "the TXT record is not there yet, or has another value",
        (Some(true), _) => "it does not lead here yet: no CNAME record to us, and no address of ours",
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;
    use types::{OsEntropy, ProjectId};

    use super::*;

    fn now() -> DateTime<Utc> {
        Utc.timestamp_opt(1_900_000_000, 0).unwrap()
    }

    fn domain(status: DomainStatus) -> Domain {
        Domain {
            domain: "www.acme.test".to_owned(),
            project: ProjectId::new(&OsEntropy),
            subdomain_name: "shop".to_owned(),
            token: "t".to_owned(),
            status,
            reason: None,
            created_at: now(),
            failing_since: None,
            checked_at: None,
            misses: 0,
        }
    }

    fn status(domain: &Domain, owned: Option<bool>, leads_here: Option<bool>) -> DomainStatus {
        judge(domain, Seen { owned, leads_here }, now()).status
    }

    #[test]
    fn both_proofs_make_a_domain_active_and_either_keeps_it() {
        use DomainStatus::{Active, Failed, Pending};
        let (yes, no) = (Some(true), Some(false));
        for from in [Pending, Failed] {
            assert_eq!(status(&domain(from), yes, yes), Active);
            for (owned, leads_here) in
                [(yes, no), (no, yes), (no, no), (None, yes), (yes, None), (None, None)]
            {
                assert_eq!(status(&domain(from), owned, leads_here), from, "{owned:?} {leads_here:?}");
            }
        }
        for (owned, leads_here) in [(yes, yes), (yes, no), (no, yes), (None, None), (no, None), (None, no)] {
            assert_eq!(status(&domain(Active), owned, leads_here), Active, "{owned:?} {leads_here:?}");
        }
    }

    // I, names: DNS that moves after verification, and name servers that are down.
    #[test]
    fn a_domain_that_moved_away_is_kept_for_a_day_and_silence_does_not_count() {
        let away = Seen { owned: Some(false), leads_here: Some(false) };
        let first = judge(&domain(DomainStatus::Active), away, now());
        assert_eq!((first.status, first.failing_since), (DomainStatus::Active, Some(now())));
        let failing = Domain { failing_since: Some(now()), ..domain(DomainStatus::Active) };
        let later = now() + TimeDelta::hours(GRACE_HOURS);
        assert_eq!(judge(&failing, away, later - TimeDelta::seconds(1)).status, DomainStatus::Active);
        assert_eq!(judge(&failing, away, later).status, DomainStatus::Failed);
        let silent = judge(&failing, Seen { owned: None, leads_here: None }, later);
        assert_eq!((silent.status, silent.failing_since), (DomainStatus::Active, Some(now())));
        let back = judge(&failing, Seen { owned: Some(false), leads_here: Some(true) }, later);
        assert_eq!(back.failing_since, None);
    }

    #[test]
    fn looks_get_rarer_and_end() {
        let away = Seen { owned: Some(false), leads_here: Some(false) };
        let after = |misses| {
            let domain = Domain { misses, ..domain(DomainStatus::Pending) };
            (judge(&domain, away, now()).next_check_at - now()).num_minutes()
        };
        assert_eq!([0, 1, 2, 5, 100, i32::MAX].map(after), [2, 4, 8, 60, 60, 60]);
        let old =
            Domain { created_at: now() - TimeDelta::days(PENDING_DAYS + 1), ..domain(DomainStatus::Pending) };
        assert_eq!(judge(&old, away, now()).status, DomainStatus::Failed);
    }
}
