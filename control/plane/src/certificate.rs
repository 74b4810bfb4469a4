//! Certificates for handshakes: from memory, from the database, or ordered on demand for names that are ours.

use std::num::NonZeroUsize;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use store::certificates::{self, Certificate};

use crate::Plane;

const HOSTS_MAX: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");
/// How long an answer is believed. A hint from the database ends a good one earlier.
const FRESH: Duration = Duration::from_secs(600);
/// How long a no is believed: strangers' names cost a look each this often and no more.
const NO_FRESH: Duration = Duration::from_secs(3);
/// A first visitor waits this long for the certificate that the visit orders.
const WAIT_MAX: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// First visitors that wait at once; more are turned away until the certificate is there.
const WAITING_MAX: usize = 64;

/// What this node remembers of certificates.
pub(crate) struct CertificateMemory {
    known: Mutex<LruCache<String, Known>>,
    following: OnceLock<()>,
    waiting: tokio::sync::Semaphore,
}

#[derive(Clone)]
struct Known {
    certificate: Option<Certificate>,
    at: Instant,
}

impl Default for CertificateMemory {
    fn default() -> Self {
        Self {
            known: Mutex::new(LruCache::new(HOSTS_MAX)),
            following: OnceLock::new(),
            waiting: tokio::sync::Semaphore::new(WAITING_MAX),
        }
    }
}

impl CertificateMemory {
    fn get(&self, host: &str) -> Option<Known> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(host)?;
        let fresh = if found.certificate.is_some() { FRESH } else { NO_FRESH };
        (monotonic().duration_since(found.at) < fresh).then(|| found.clone())
    }

    fn put(&self, host: &str, certificate: Option<Certificate>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.put(host.to_owned(), Known { certificate, at: monotonic() });
    }

    fn forget(&self, host: Option<&str>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match host {
            Some(host) => drop(known.pop(host)),
            None => known.clear(),
        }
    }
}

impl Plane {
    /// The certificate to shake hands for `host` with. The first visitor of a name of ours orders it, and waits
    /// a little for it; nobody else's name is ever ordered.
    pub async fn certificate(&self, host: &str) -> Option<Certificate> {
        let memory = self.certificates();
        if let Some(known) = memory.get(host) {
            return known.certificate;
        }
        match self.certificate_kept(host).await {
            Ok(None) => {}
            Ok(found) => {
                memory.put(host, found.clone());
                return found;
            }
            Err(()) => return None,
        }
        let served = actors::certificates::is_served(self.deps(), host).await;
        let served = served.inspect_err(unreadable).unwrap_or(false);
        if !served || self.deps().acme.is_none() {
            memory.put(host, None);
            return None;
        }
        self.certificate_ordered(host).await
    }

    /// Where the same host is reached over TLS, once there is a certificate to shake hands with. A name of ours
    /// that has none yet gets one ordered, and is not waited for.
    pub async fn tls_origin(&self, host: &str) -> Option<String> {
        let origin = self.deps().hosts.tls_origin(host)?;
        let memory = self.certificates();
        if let Some(known) = memory.get(host) {
            return known.certificate.map(|_| origin);
        }
        let found = self.certificate_kept(host).await.ok()?;
        memory.put(host, found.clone());
        if found.is_some() {
            return Some(origin);
        }
        let served = actors::certificates::is_served(self.deps(), host).await;
        if self.deps().acme.is_some() && served.inspect_err(unreadable).unwrap_or(false) {
            // The next tick orders it.
            let wanted = certificates::certificate_want(&self.deps().store, host, self.now()).await;
            let _ = wanted.inspect_err(unreadable);
        }
        None
    }

    /// What a host answers an ACME authority with.
    ///
    /// # Source
    /// RFC 8555 section 8.3.
    pub async fn acme_challenge(&self, host: &str, token: &str) -> Option<String> {
        self.deps().acme.as_ref()?;
        let found = certificates::challenge_find(&self.deps().store, host, token).await;
        found.inspect_err(unreadable).ok().flatten()
    }

    async fn certificate_kept(&self, host: &str) -> Result<Option<Certificate>, ()> {
        let deps = self.deps();
        let found = certificates::certificate_find(&deps.store, &deps.master_key, host).await;
        found.map_err(|e| unreadable(&e))
    }

    async fn certificate_ordered(&self, host: &str) -> Option<Certificate> {
        let memory = self.certificates();
        let _place = memory.waiting.try_acquire().ok()?;
        let deps = self.inner.deps.clone();
        let wanted = certificates::certificate_want(&deps.store, host, self.now()).await;
        if wanted.inspect_err(unreadable).ok()? {
            // The next tick would do it as well, a few seconds later.
            tokio::spawn(async move {
                if let Err(e) = actors::certificates::sweep(&deps).await {
                    tracing::debug!(error = &e as &dyn std::error::Error, "certificates are ordered later");
                }
            });
        }
        let until = monotonic() + WAIT_MAX;
        while monotonic() < until {
            tokio::time::sleep(LOOK_EVERY).await;
            if let Ok(Some(found)) = self.certificate_kept(host).await {
                memory.put(host, Some(found.clone()));
                return Some(found);
            }
        }
        memory.put(host, None);
        None
    }

    fn certificates(&self) -> &CertificateMemory {
        let memory = &self.inner.certificates;
        memory.following.get_or_init(|| {
            let inner = std::sync::Arc::downgrade(&self.inner);
            let store = self.deps().store.clone();
            drop(tokio::spawn(follow(store, inner)));
        });
        memory
    }
}

/// Follows the database's hints about certificates until the plane is gone.
async fn follow(store: store::Store, inner: std::sync::Weak<crate::Inner>) {
    while inner.strong_count() > 0 {
        if let Ok(mut hints) = store.listen(&["certificate"]).await {
            while let Ok(hint) = hints.next().await {
                let Some(inner) = inner.upgrade() else { return };
                inner.certificates.forget(hint.as_ref().map(|(_, host)| host.as_str()));
            }
        }
        tokio::time::sleep(NO_FRESH).await;
    }
}

fn unreadable(error: &store::StoreError) {
    tracing::warn!(error = error as &dyn std::error::Error, "certificates cannot be read");
}

/// Ages, not dates.
fn monotonic() -> Instant {
    Instant::now()
}
