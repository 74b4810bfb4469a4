//! Connections by project and level of trust, few of each, opened on demand, the least recently used given
//! up when all together are too many.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use store::cells::{Cells, Login, Slot};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::conn::{Conn, WireError};
use crate::rest::error::Failure;

/// Connections of this process over all cells, idle ones included.
pub(in crate::rest) const CONNECTIONS_MAX: usize = 120;
const WAIT: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(10);
/// A connection that nobody used for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_secs(5);
/// A login may not open more.
const TOO_MANY: &str = "53300";
/// How long, and how often, ends of backends are waited for.
const ENDING: Duration = Duration::from_millis(50);
const ENDING_TRIES: usize = 40;

/// Settings of every session; those of a request come on top.
const OPTIONS: [(&str, &str); 4] = [
    ("application_name", "run402-rest"),
    ("search_path", "pg_catalog"),
    ("idle_in_transaction_session_timeout", "15000"),
    ("DateStyle", "ISO"),
];

/// Below what the role itself may open, so that a second node gets in too.
fn per_login(login: Login) -> usize {
    match login {
        Login::Api => 6,
        Login::Staff | Login::Admin => 2,
        Login::Auth => 1,
    }
}

type Key = (i32, Login);

/// All connections of this process.
#[derive(Clone)]
pub(in crate::rest) struct Pools {
    inner: Arc<Inner>,
}

struct Inner {
    cells: Cells,
    all: Arc<Semaphore>,
    /// Requests that wait for a place. As long as there are any, no connection is kept idle.
    waiting: AtomicUsize,
    state: Mutex<State>,
}

struct State {
    gates: HashMap<Key, Arc<Semaphore>>,
    idle: HashMap<Key, Vec<Idle>>,
    swept: Instant,
}

struct Idle {
    conn: Conn,
    since: Instant,
    /// Its place among all connections.
    _place: OwnedSemaphorePermit,
}

/// A connection in use. Dropping it closes it; [`Lease::give_back`] keeps it.
pub(in crate::rest) struct Lease {
    pub conn: Conn,
    key: Key,
    place: OwnedSemaphorePermit,
    pools: Pools,
    _turn: OwnedSemaphorePermit,
}

impl Pools {
    pub fn new(cells: Cells, connections_max: usize) -> Self {
        let state = State { gates: HashMap::new(), idle: HashMap::new(), swept: Instant::now() };
        let (all, waiting) = (Arc::new(Semaphore::new(connections_max)), AtomicUsize::new(0));
        Self { inner: Arc::new(Inner { cells, all, waiting, state: Mutex::new(state) }) }
    }

    pub fn cells(&self) -> &Cells {
        &self.inner.cells
    }

    /// A connection of that login: an idle one, else a new one.
    ///
    /// # Errors
    /// Busy when none comes free in time; unavailable when the database does not let us in.
    pub async fn lease(&self, slot: &Slot, login: Login) -> Result<Lease, Failure> {
        let key = (slot.number, login);
        let gate = self.gate(key);
        let turn = tokio::time::timeout(WAIT, gate.acquire_owned()).await;
        let Ok(Ok(turn)) = turn else { return Err(Failure::busy()) };
        while let Some(mut idle) = self.take_idle(key) {
            if idle.conn.is_alive() {
                return Ok(Lease {
                    conn: idle.conn,
                    key,
                    place: idle._place,
                    pools: self.clone(),
                    _turn: turn,
                });
            }
        }
        let place = self.place().await?;
        let conn = self.open(slot, login).await?;
        Ok(Lease { conn, key, place, pools: self.clone(), _turn: turn })
    }

    fn gate(&self, key: Key) -> Arc<Semaphore> {
        let mut state = self.state();
        if state.gates.len() > CONNECTIONS_MAX * 4 {
            state.gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        state.gates.entry(key).or_insert_with(|| Arc::new(Semaphore::new(per_login(key.1)))).clone()
    }

    fn take_idle(&self, key: Key) -> Option<Idle> {
        self.state().idle.get_mut(&key)?.pop()
    }

    /// A place among all connections, if need be that of the connection which was idle the longest.
    async fn place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(place) = self.inner.all.clone().try_acquire_owned() {
            return Ok(place);
        }
        let _waiting = Waiting::start(&self.inner.waiting);
        drop(self.oldest());
        let place = tokio::time::timeout(WAIT, self.inner.all.clone().acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or_else(Failure::busy)
    }

    fn oldest(&self) -> Option<Idle> {
        let mut state = self.state();
        let key = state
            .idle
            .iter()
            .filter_map(|(key, list)| Some((list.first()?.since, *key)))
            .min_by_key(|(since, _)| *since)?
            .1;
        // Each list is in the order of last use.
        state.idle.get_mut(&key).map(|list| list.remove(0))
    }

    async fn open(&self, slot: &Slot, login: Login) -> Result<Conn, Failure> {
        let mut opened = self.try_open(slot, login).await;
        for _ in 0..ENDING_TRIES {
            // Connections that were given up count until their backends have ended. A server that takes fewer than
            // we may open needs one of the idle ones.
            if !matches!(&opened, Err(WireError::Refused { error, .. }) if error.sqlstate == TOO_MANY) {
                break;
            }
            tokio::time::sleep(ENDING).await;
            drop(self.oldest());
            opened = self.try_open(slot, login).await;
        }
        match opened {
            // A tenant may change the password of the login that its SQL runs as.
            Err(WireError::Refused { error, .. }) if matches!(error.sqlstate.as_str(), "28P01" | "28000") => {
                self.inner.cells.login_reset(slot, login).await.map_err(|e| {
                    tracing::warn!(error = &e as &dyn std::error::Error, "tenant login");
                    Failure::unavailable()
                })?;
                self.try_open(slot, login).await.map_err(told)
            }
            other => other.map_err(told),
        }
    }

    async fn try_open(&self, slot: &Slot, login: Login) -> Result<Conn, WireError> {
        let open = async {
            let door = self.inner.cells.door(slot, login).await.map_err(std::io::Error::other)?;
            Conn::open(door, &OPTIONS).await
        };
        let late = || WireError::Broken(std::io::ErrorKind::TimedOut.into());
        tokio::time::timeout(CONNECT, open).await.unwrap_or_else(|_| Err(late()))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, key: Key, idle: Idle) {
        let now = idle.since;
        let mut old = Vec::new();
        {
            let mut state = self.state();
            state.idle.entry(key).or_default().push(idle);
            if now.duration_since(state.swept) > SWEEP {
                state.swept = now;
                for list in state.idle.values_mut() {
                    let (stale, fresh): (Vec<_>, Vec<_>) =
                        list.drain(..).partition(|idle| now.duration_since(idle.since) > IDLE);
                    *list = fresh;
                    old.extend(stale);
                }
                state.idle.retain(|_, list| !list.is_empty());
            }
        }
        // Closed outside of the lock.
        drop(old);
    }
}

impl Lease {
    /// Keeps the connection for the next request, unless somebody waits for its place.
    pub fn give_back(self) {
        let Self { conn, key, place, pools, _turn } = self;
        if pools.inner.waiting.load(Ordering::SeqCst) > 0 {
            return;
        }
        pools.keep(key, Idle { conn, since: Instant::now(), _place: place });
    }
}

/// Counts itself for as long as it lives, also when its request is given up.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn start(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn told(error: WireError) -> Failure {
    match error {
        WireError::Refused { error, .. } if error.sqlstate == TOO_MANY => Failure::busy(),
        error => {
            tracing::warn!(?error, "connect to a tenant database");
            Failure::unavailable()
        }
    }
}
