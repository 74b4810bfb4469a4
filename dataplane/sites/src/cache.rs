//! What is remembered between requests: which release a host shows, what is in a release, bytes of small
//! files.
//!
//! Releases and bytes never change, so they are kept until room is needed. Which release a host shows does
//! change: the database says so, and an answer is believed while the connection that says it was seen to work
//! within [`FRESH`]; without one, for that long. When the database is away the last answer goes on being given.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lru::LruCache;
use store::releases::{self, Route, SiteTarget};
use store::{Store, StoreError};
use types::{ProjectId, ReleaseId, Sha256Hex};

use crate::SiteHost;
use crate::resolve::Lookup;
use crate::respond::FileRef;

/// How long a host's release is believed without asking again, or without knowing that hints arrive. A hint from the
/// database ends it earlier.
const FRESH: Duration = Duration::from_secs(3);
/// How often the connection of the hints is tried.
const TRIED_EVERY: Duration = Duration::from_secs(1);
const HOSTS_MAX: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");
const RELEASES_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("not zero");
const OBJECTS_MAX: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");
/// Files of all remembered releases together.
const FILES_MAX: usize = 1_000_000;
/// Bytes of all remembered objects together.
const OBJECT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Larger files are streamed.
pub const SMALL_BYTES_MAX: u64 = 512 * 1024;

/// The files of a release by path, and its routes.
#[derive(Debug, Default)]
pub struct ReleaseMap {
    files: HashMap<String, FileRef>,
    routes: Vec<Route>,
}

impl ReleaseMap {
    /// Sorted.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }
}

impl Lookup for ReleaseMap {
    type File = FileRef;
    fn find(&self, path: &str) -> Option<(&str, &FileRef)> {
        self.files.get_key_value(path).map(|(path, file)| (path.as_str(), file))
    }
}

/// The memory of one node. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

struct Inner {
    /// How many hints came, to notice one that came while a question was under way.
    hints: AtomicU64,
    heard: Mutex<Option<Heard>>,
    hosts: Mutex<LruCache<SiteHost, Known>>,
    releases: Mutex<Weighed<ReleaseId, Arc<ReleaseMap>>>,
    objects: Mutex<Weighed<Sha256Hex, Bytes>>,
}

/// Every hint arrived between these two.
#[derive(Clone, Copy)]
struct Heard {
    since: Instant,
    tried_at: Instant,
}

#[derive(Clone, Copy)]
struct Known {
    target: Option<SiteTarget>,
    /// None once it was said to have moved.
    asked_at: Option<Instant>,
}

/// Least recently used entries under a bound of their weights.
struct Weighed<K: std::hash::Hash + Eq, V> {
    entries: LruCache<K, (V, usize)>,
    weight: usize,
    weight_max: usize,
}

impl<K: std::hash::Hash + Eq, V: Clone> Weighed<K, V> {
    fn new(entries_max: NonZeroUsize, weight_max: usize) -> Self {
        Self { entries: LruCache::new(entries_max), weight: 0, weight_max }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        self.entries.get(key).map(|(value, _)| value.clone())
    }

    /// Something heavier than everything may weigh is not kept at all.
    fn put(&mut self, key: K, value: V, weight: usize) {
        if weight > self.weight_max {
            return;
        }
        if let Some((_, (_, old))) = self.entries.push(key, (value, weight)) {
            self.weight -= old;
        }
        self.weight += weight;
        while self.weight > self.weight_max {
            let Some((_, (_, old))) = self.entries.pop_lru() else { return };
            self.weight -= old;
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                hints: AtomicU64::new(0),
                heard: Mutex::new(None),
                hosts: Mutex::new(LruCache::new(HOSTS_MAX)),
                releases: Mutex::new(Weighed::new(RELEASES_MAX, FILES_MAX)),
                objects: Mutex::new(Weighed::new(OBJECTS_MAX, OBJECT_BYTES_MAX)),
            }),
        }
    }
}

impl Cache {
    /// What a host shows: from memory while that is fresh, else from the database, else (it is away) from
    /// memory however old.
    ///
    /// # Errors
    /// `Db` when the database is away and nothing is known.
    pub async fn target(&self, store: &Store, host: &SiteHost) -> Result<Option<SiteTarget>, StoreError> {
        let known = lock(&self.inner.hosts).get(host).copied();
        if let Some(known) = known
            && known.asked_at.is_some_and(|at| self.inner.is_fresh(at, known.target.is_some(), monotonic()))
        {
            return Ok(known.target);
        }
        let asked_at = monotonic();
        let hints = self.inner.hints.load(Ordering::SeqCst);
        if let Some(known) = known
            && known.asked_at.is_some()
        {
            // Merely old: one request asks, the others go on with what is known.
            lock(&self.inner.hosts).put(host.clone(), Known { asked_at: Some(asked_at), ..known });
        }
        let found = match host {
            SiteHost::Project(public_id) => releases::site_of_project(store, public_id).await,
            SiteHost::Subdomain(name) => releases::site_of_subdomain(store, name).await,
            SiteHost::Deployment(id) => releases::site_of_deployment(store, id).await,
            SiteHost::Custom(domain) => releases::site_of_domain(store, domain).await,
            SiteHost::Unknown | SiteHost::NotOurs => return Ok(None),
        };
        match (found, known) {
            (Ok(target), _) => {
                // A hint that came in between may have been about this very host.
                let quiet = self.inner.hints.load(Ordering::SeqCst) == hints;
                let known = Known { target, asked_at: quiet.then_some(asked_at) };
                lock(&self.inner.hosts).put(host.clone(), known);
                Ok(target)
            }
            (Err(e), Some(known)) => {
                tracing::warn!(error = &e as &dyn std::error::Error, "site served from memory");
                // Not asked again by every request while the database is away.
                let still = Known { asked_at: Some(asked_at), ..known };
                lock(&self.inner.hosts).put(host.clone(), still);
                Ok(known.target)
            }
            (Err(e), None) => Err(e),
        }
    }

    /// What is in a release.
    ///
    /// # Errors
    /// `Db` when they are not in memory and the database is away.
    pub async fn release(&self, store: &Store, id: ReleaseId) -> Result<Arc<ReleaseMap>, StoreError> {
        if let Some(map) = lock(&self.inner.releases).get(&id) {
            return Ok(map);
        }
        let files = releases::release_files(store, id).await?;
        let files: HashMap<String, FileRef> = files
            .into_iter()
            .map(|file| {
                let known = FileRef {
                    sha256: file.sha256,
                    size_bytes: file.size_bytes,
                    content_type: file.content_type,
                    revalidate: file.revalidate,
                };
                (file.path, known)
            })
            .collect();
        let routes = releases::release_routes(store, id).await?;
        let weight = files.len() + routes.len() + 1;
        let map = Arc::new(ReleaseMap { files, routes });
        lock(&self.inner.releases).put(id, map.clone(), weight);
        Ok(map)
    }

    /// The bytes of a small file, if they are in memory.
    pub fn object(&self, sha256: &Sha256Hex) -> Option<Bytes> {
        lock(&self.inner.objects).get(sha256)
    }

    /// Remembers the bytes of a file, unless they are too many.
    pub fn object_put(&self, sha256: Sha256Hex, bytes: Bytes) {
        if bytes.len() as u64 <= SMALL_BYTES_MAX {
            let weight = bytes.len();
            lock(&self.inner.objects).put(sha256, bytes, weight);
        }
    }

    /// A project moved: its hosts are asked about again.
    pub fn forget_project(&self, project: ProjectId) {
        self.inner.hints.fetch_add(1, Ordering::SeqCst);
        for (_, known) in lock(&self.inner.hosts).iter_mut() {
            if known.target.is_some_and(|target| target.project == project) {
                known.asked_at = None;
            }
        }
    }

    /// A name moved, and with it the domains that show it, whichever they are.
    pub fn forget_name(&self, name: &str) {
        self.inner.hints.fetch_add(1, Ordering::SeqCst);
        for (host, known) in lock(&self.inner.hosts).iter_mut() {
            let moved = match host {
                SiteHost::Subdomain(known) => known == name,
                SiteHost::Custom(_) => true,
                _ => false,
            };
            if moved {
                known.asked_at = None;
            }
        }
    }

    /// A tenant's own domain moved.
    pub fn forget_domain(&self, domain: &str) {
        self.inner.hints.fetch_add(1, Ordering::SeqCst);
        if let Some(known) = lock(&self.inner.hosts).peek_mut(&SiteHost::Custom(domain.to_owned())) {
            known.asked_at = None;
        }
    }

    /// Hints may have been lost: everything is asked about again.
    pub fn forget_all(&self) {
        *lock(&self.inner.heard) = None;
        self.inner.hints.fetch_add(1, Ordering::SeqCst);
        for (_, known) in lock(&self.inner.hosts).iter_mut() {
            known.asked_at = None;
        }
    }

    /// Follows the database's hints until the last other handle of this cache is gone.
    pub fn follow(&self, store: &Store) -> tokio::task::JoinHandle<()> {
        let inner = Arc::downgrade(&self.inner);
        let store = store.clone();
        tokio::spawn(async move {
            while inner.strong_count() > 0 {
                if let Err(e) = follow_once(&store, &inner).await {
                    tracing::debug!(error = &e as &dyn std::error::Error, "no hints about sites");
                }
                tokio::time::sleep(FRESH).await;
            }
        })
    }
}

impl Inner {
    /// Whether nothing can have moved unnoticed since it was asked. No hint names a host that showed nothing.
    fn is_fresh(&self, asked_at: Instant, is_shown: bool, now: Instant) -> bool {
        let young = |at: Instant| now.saturating_duration_since(at) < FRESH;
        young(asked_at)
            || is_shown
                && lock(&self.heard).is_some_and(|heard| heard.since <= asked_at && young(heard.tried_at))
    }
}

async fn follow_once(store: &Store, inner: &std::sync::Weak<Inner>) -> Result<(), StoreError> {
    let mut hints = store.listen(&["project", "subdomain", "domain"]).await?;
    let (mut since, mut tried_at) = (None, None::<Instant>);
    loop {
        if tried_at.is_none_or(|at| at.elapsed() >= TRIED_EVERY) {
            let now = monotonic();
            let unbroken = hints.is_unbroken().await?;
            // Nobody needs them any more.
            let Some(inner) = inner.upgrade() else { return Ok(()) };
            if !unbroken {
                Cache { inner: inner.clone() }.forget_all();
                since = None;
            }
            tried_at = Some(now);
            // What was asked before this connection listened may have moved unheard.
            let since = *since.get_or_insert_with(monotonic);
            *lock(&inner.heard) = Some(Heard { since, tried_at: now });
        }
        let Ok(hint) = tokio::time::timeout(TRIED_EVERY, hints.next()).await else { continue };
        let hint = hint?;
        let Some(inner) = inner.upgrade() else { return Ok(()) };
        let cache = Cache { inner };
        match hint {
            None => {
                cache.forget_all();
                (since, tried_at) = (None, None);
            }
            Some((channel, payload)) if channel == "subdomain" => cache.forget_name(&payload),
            Some((channel, payload)) if channel == "domain" => cache.forget_domain(&payload),
            Some((_, payload)) => {
                if let Ok(id) = payload.parse() {
                    cache.forget_project(ProjectId(id));
                }
            }
        }
    }
}

/// A panic while it was held leaves at worst a missing entry.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ages, not dates.
fn monotonic() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_bound_drops_the_least_recently_used() {
        let mut cache: Weighed<u8, u8> = Weighed::new(NonZeroUsize::new(100).unwrap(), 10);
        cache.put(1, 1, 4);
        cache.put(2, 2, 4);
        assert_eq!(cache.get(&1), Some(1));
        cache.put(3, 3, 4);
        assert_eq!((cache.get(&1), cache.get(&2), cache.get(&3)), (Some(1), None, Some(3)));
        cache.put(1, 9, 1);
        assert_eq!((cache.get(&1), cache.weight), (Some(9), 5));
        cache.put(4, 4, 11);
        assert_eq!((cache.get(&4), cache.weight), (None, 5));
    }

    #[test]
    fn the_entry_bound_counts_what_it_drops() {
        let mut cache: Weighed<u8, u8> = Weighed::new(NonZeroUsize::new(2).unwrap(), 100);
        for key in 0..10 {
            cache.put(key, key, 3);
        }
        assert_eq!((cache.entries.len(), cache.weight), (2, 6));
    }

    #[test]
    fn large_objects_are_not_kept() {
        let cache = Cache::default();
        let (small, large) =
            ("0".repeat(64).parse::<Sha256Hex>().unwrap(), "1".repeat(64).parse::<Sha256Hex>().unwrap());
        cache.object_put(small.clone(), Bytes::from_static(b"hello"));
        cache.object_put(large.clone(), Bytes::from(vec![0; 600 * 1024]));
        assert_eq!(cache.object(&small).as_deref(), Some(&b"hello"[..]));
        assert!(cache.object(&large).is_none());
    }
}
