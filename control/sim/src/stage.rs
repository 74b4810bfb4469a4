//! Which node acts, and where it dies.
//!
//! A crash ends a node, not the process: the place unwinds, the node's pool of connections is shut in the same
//! moment, and its view of the chain goes dark. So nothing that its other actors may still do reaches the world, which
//! is all that a killed process amounts to. Postgres rolls back what was open once the connection closes.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use store::Store;
use tokio::sync::oneshot;

const NOBODY: usize = usize::MAX;
/// Runs when a keeper ends, beside whatever goes on: counting it would make a run depend on who is quicker.
const ASIDE: &str = "release claim";

/// A node as far as it can die.
#[derive(Clone)]
pub(crate) struct Vital {
    pub alive: Arc<AtomicBool>,
    pub store: Store,
}

struct Armed {
    passes_left: u64,
}

/// Where a request waits in the middle of what it does.
pub(crate) struct Gate {
    pub reached: oneshot::Sender<()>,
    pub open: oneshot::Receiver<()>,
}

/// What unwinds.
struct Crash;

#[derive(Default)]
struct State {
    vitals: Vec<Vital>,
    armed: Option<Armed>,
    gate: Option<Gate>,
    /// The node that died last, and where.
    fell: Option<(usize, &'static str)>,
    /// Something waited in vain for a connection.
    starved: bool,
}

pub(crate) struct Stage {
    acting: AtomicUsize,
    state: Mutex<State>,
}

/// Gives the stage back to whoever had it.
pub(crate) struct Acting<'a> {
    stage: &'a Stage,
    before: usize,
}

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        self.stage.acting.store(self.before, Ordering::SeqCst);
    }
}

impl Stage {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { acting: AtomicUsize::new(NOBODY), state: Mutex::default() })
    }

    /// What happens until the answer is dropped is done by this node.
    pub fn enter(&self, node: usize) -> Acting<'_> {
        Acting { stage: self, before: self.acting.swap(node, Ordering::SeqCst) }
    }

    /// Puts a living node in a place.
    pub fn put(&self, node: usize, vital: Vital) {
        let mut state = self.lock();
        match state.vitals.get_mut(node) {
            Some(place) => *place = vital,
            None => state.vitals.push(vital),
        }
    }

    /// The node that acts dies at the nth place from here.
    pub fn arm(&self, nth: u64) {
        self.lock().armed = Some(Armed { passes_left: nth });
    }

    /// Nobody is to die any more. Answers who did, and where.
    pub fn disarm(&self) -> Option<(usize, &'static str)> {
        let mut state = self.lock();
        state.armed = None;
        state.fell.take()
    }

    /// Whether something waited in vain for a connection since this was asked last.
    pub fn starved(&self) -> bool {
        std::mem::take(&mut self.lock().starved)
    }

    /// The next question to the chain waits at this gate.
    pub fn shut_gate(&self, gate: Option<Gate>) {
        self.lock().gate = gate;
    }

    pub fn take_gate(&self) -> Option<Gate> {
        self.lock().gate.take()
    }

    pub fn is_alive(&self, node: usize) -> bool {
        self.lock().vitals.get(node).is_some_and(|vital| vital.alive.load(Ordering::SeqCst))
    }

    /// A place that code of ours passes, told by `types::kill_points`.
    pub fn pass(&self, name: &'static str) {
        let acting = self.acting.load(Ordering::SeqCst);
        if acting == NOBODY || name == ASIDE {
            return;
        }
        if name == store::STARVED {
            self.lock().starved = true;
            return;
        }
        {
            let mut state = self.lock();
            let Some(vital) = state.vitals.get(acting).cloned() else { return };
            let Some(armed) = state.armed.as_mut() else { return };
            armed.passes_left -= 1;
            if armed.passes_left > 0 || !vital.alive.load(Ordering::SeqCst) {
                return;
            }
            state.armed = None;
            state.fell = Some((acting, name));
            vital.alive.store(false, Ordering::SeqCst);
            vital.store.shut();
        }
        // Not a panic: nothing is printed.
        resume_unwind(Box::new(Crash));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
