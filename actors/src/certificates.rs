//! Orders certificates that are due: first ones on demand, renewals in time, failed ones later and later.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sites::{Acme, AcmeError, SiteHost};
use store::certificates::{self, Certificate, Due};
use store::{StoreError, releases};

use crate::Deps;
use crate::kit::ActorError;

/// Certificates that one sweep orders, at once.
const AT_ONCE: i64 = 8;
/// After the first failure; doubled with each further one.
const BACK_OFF_MINUTES: i64 = 1;
const BACK_OFF_HOURS_MAX: i64 = 12;
const ERROR_CHARS_MAX: usize = 500;

/// Orders what is due. Rows are taken one by one by whichever node comes first.
///
/// # Errors
/// What the store says; the next tick goes on.
pub async fn sweep(deps: &Arc<Deps>) -> Result<(), ActorError> {
    let Some(acme) = &deps.acme else { return Ok(()) };
    let per_hour_max = acme.config().orders_per_hour_max;
    let due = certificates::certificates_due(&deps.store, deps.clock.now(), AT_ONCE, per_hour_max).await?;
    for done in futures::future::join_all(due.iter().map(|due| order(deps, acme, due))).await {
        done?;
    }
    Ok(())
}

/// Whether a host is one that we serve: a tenant's site or domain, or the API itself. Nothing else gets a
/// certificate.
///
/// # Errors
/// `Db` only.
pub async fn is_served(deps: &Deps, host: &str) -> Result<bool, StoreError> {
    let store = &deps.store;
    let site = match deps.hosts.parse(host) {
        SiteHost::Project(id) => releases::site_of_project(store, &id).await?,
        SiteHost::Subdomain(name) => releases::site_of_subdomain(store, &name).await?,
        SiteHost::Deployment(id) => releases::site_of_deployment(store, &id).await?,
        SiteHost::Custom(domain) => releases::site_of_domain(store, &domain).await?,
        SiteHost::Unknown => None,
        SiteHost::NotOurs => return Ok(deps.hosts.is_api_name(host)),
    };
    Ok(site.is_some())
}

async fn order(deps: &Deps, acme: &Acme, due: &Due) -> Result<(), ActorError> {
    let host = due.host.as_str();
    if !is_served(deps, host).await? {
        certificates::certificate_drop(&deps.store, host).await?;
        tracing::info!(host, "no certificate for a name that is nobody's");
        return Ok(());
    }
    match issue(deps, acme, host).await {
        Ok(certificate) => {
            let next = renewal(&certificate, deps.clock.now());
            let entropy = &*deps.entropy;
            certificates::certificate_keep(&deps.store, &deps.master_key, entropy, &certificate, next)
                .await?;
            tracing::info!(host, not_after = %certificate.not_after, "certificate kept");
        }
        Err(e) => {
            let next = deps.clock.now() + back_off(due.failures);
            let told: String = e.to_string().chars().take(ERROR_CHARS_MAX).collect();
            tracing::warn!(host, error = told, failures = due.failures, "no certificate");
            certificates::certificate_failed(&deps.store, host, &told, next).await?;
        }
    }
    Ok(())
}

async fn issue(deps: &Deps, acme: &Acme, host: &str) -> Result<Certificate, AcmeError> {
    let account = account(deps, acme).await?;
    let ordered = acme.order(&account, host).await?;
    if let Some((token, answer)) = &ordered.challenge {
        let put = certificates::challenge_put(&deps.store, host, token, answer, deps.clock.now()).await;
        put.map_err(|e| AcmeError::Unpublished(e.to_string()))?;
    }
    let issued = acme.finish(ordered).await?;
    Ok(Certificate {
        host: host.to_owned(),
        chain: issued.chain,
        key: issued.key,
        not_before: issued.not_before,
        not_after: issued.not_after,
    })
}

/// One account for all nodes: of two that are made at once the first one kept is used from then on.
async fn account(deps: &Deps, acme: &Acme) -> Result<sites::AcmeAccount, AcmeError> {
    let unkept = |e: StoreError| AcmeError::Unpublished(e.to_string());
    let (store, master, directory) = (&deps.store, &deps.master_key, acme.config().directory.as_str());
    let kept = certificates::acme_account_find(store, master, directory).await.map_err(unkept)?;
    if let Some(kept) = kept {
        return acme.account_of(&kept).await;
    }
    let (account, kept) = acme.account_new().await?;
    let (entropy, now) = (&*deps.entropy, deps.clock.now());
    certificates::acme_account_keep(store, master, entropy, directory, &kept, now).await.map_err(unkept)?;
    Ok(account)
}

/// When two thirds of its time are over. The authority's clock decides how long that is, ours when it begins.
fn renewal(certificate: &Certificate, now: DateTime<Utc>) -> DateTime<Utc> {
    let lifetime = certificate.not_after - certificate.not_before;
    now + TimeDelta::seconds((lifetime.num_seconds() / 3 * 2).max(60))
}

fn back_off(failures: i32) -> TimeDelta {
    let doubled = BACK_OFF_MINUTES.checked_shl(failures.clamp(0, 30).unsigned_abs()).unwrap_or(i64::MAX);
    TimeDelta::minutes(doubled.min(BACK_OFF_HOURS_MAX * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_tried_later_and_later_and_renewals_in_time() {
        let minutes = |failures| back_off(failures).num_minutes();
        assert_eq!([-1, 0, 1, 5, 10, i32::MAX].map(minutes), [1, 1, 2, 32, 720, 720]);
        let begin = DateTime::<Utc>::UNIX_EPOCH;
        let certificate = Certificate {
            host: String::new(),
            chain: String::new(),
            key: String::new(),
            not_before: begin,
            not_after: begin + TimeDelta::days(90),
        };
        assert_eq!(renewal(&certificate, begin), begin + TimeDelta::days(60));
    }
}
