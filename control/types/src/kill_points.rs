//! Places where a test ends the process, to prove that whatever comes after them is made good by a restart.
//!
//! `kill_point!("payment.intent.committed")` is nothing in a release build. In others it costs one load, until
//! a test arms that name: then the n-th pass calls the hook that was given with it. What the hook does is the
//! server's choice, because ending a process the hard way is not a matter of vocabulary.
//!
//! The simulator asks for more: it is told of every kill point and of every answer of the control database
//! ([`awaited`]) that its own thread passes, and may unwind from there, which ends a node instead of a process.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every kill point, in the order in which a flow passes them. The first word is the flow that does.
pub const KILL_POINTS: &[&str] = &[
    "payment.verified",
    "payment.inserted",
    "payment.accepted",
    "payment.asked",
    "payment.lane.asking",
    "payment.intent.signed",
    "payment.intent.written",
    "payment.intent.committed",
    "payment.broadcast.sending",
    "payment.broadcast.sent",
    "payment.broadcast.marked",
    "payment.lane.answered",
    "payment.sighting.scanned",
    "payment.sighting.written",
    "payment.sighting.committed",
    "payment.credit.asking",
    "payment.credit.written",
    "payment.credit.committed",
    "payment.credit.answered",
    "payment.settled",
    "payment.answering",
    "facilitate.inserted",
    "facilitate.written",
    "facilitate.committed",
    "provision.entered",
    "provision.slot.taken",
    "provision.secrets.written",
    "provision.committed",
    "provision.ready",
    "provision.remembered",
    "fork.entered",
    "fork.held",
    "fork.deployed",
    "fork.live",
    "fork.calling",
    "fork.called",
    "fork.done",
    "erase.asked",
    "erase.begun",
    "erase.database.dropped",
    "erase.written",
    "erase.committed",
    "deploy.plan.written",
    "deploy.plan.inserted",
    "deploy.content.checked",
    "deploy.content.promoted",
    "deploy.content.taken",
    "deploy.content.committed",
    "deploy.content.discarded",
    "deploy.asked",
    "deploy.committing",
    "deploy.validated",
    "deploy.stage.written",
    "deploy.staged",
    "deploy.gate.written",
    "deploy.gated",
    "deploy.migrate.asking",
    "deploy.migrate.answered",
    "deploy.migrated",
    "deploy.settled",
    "deploy.activation.asking",
    "deploy.activation.written",
    "deploy.activation.committed",
    "deploy.activation.answered",
    "deploy.ready",
    "deploy.answering",
    "card.quoted",
    "card.session.made",
    "card.event.stored",
    "card.event.recorded",
    "card.post.written",
    "card.post.committed",
    "image.reserved",
    "image.attempted",
    "image.capture.written",
    "image.captured",
    "notice.written",
    "notice.committed",
    "notice.kept",
    "garbage.dropped",
    "garbage.deleted",
    "garbage.committed",
    "blob.joined",
];

/// What an armed kill point does.
pub type Hook = Box<dyn Fn() + Send + Sync>;

struct Armed {
    name: String,
    passes_left: AtomicU64,
    hook: Hook,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

/// Is told the name of every place that its thread passes.
pub type Watch = Rc<dyn Fn(&'static str)>;

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Why a kill point was not armed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArmError {
    #[error("there is no kill point {0:?}")]
    Unknown(String),
    #[error("this build has no kill points")]
    Release,
    #[error("a kill point is armed already")]
    Before,
}

/// Marks a kill point. A name that is not in [`KILL_POINTS`] does not compile.
#[macro_export]
macro_rules! kill_point {
    ($name:literal) => {{
        const _: () =
            assert!($crate::kill_points::is_listed($name), "not in types::kill_points::KILL_POINTS");
        #[cfg(debug_assertions)]
        $crate::kill_points::pass($name);
    }};
}

/// Arms one point of this process: its `nth` pass (from 1) calls the hook.
///
/// # Errors
/// `Unknown`, `Release` and `Before`: nothing was armed.
pub fn arm(name: &str, nth: u64, hook: Hook) -> Result<(), ArmError> {
    if !cfg!(debug_assertions) {
        return Err(ArmError::Release);
    }
    if !is_listed(name) {
        return Err(ArmError::Unknown(name.to_owned()));
    }
    let armed = Armed { name: name.to_owned(), passes_left: AtomicU64::new(nth), hook };
    ARMED.set(armed).map_err(|_| ArmError::Before)
}

/// Has every place that this thread passes from now on told to `watch`: each kill point, and each answer that
/// was [`awaited`]. None ends it. The watch may unwind; whatever was under way there is then cut off.
///
/// # Errors
/// `Release`: nobody is told of anything.
pub fn watch(watch: Option<Watch>) -> Result<(), ArmError> {
    if !cfg!(debug_assertions) {
        return Err(ArmError::Release);
    }
    WATCH.set(watch);
    Ok(())
}

/// Marks the moment after an answer of the outside world has come, named by what was asked. Nothing in a
/// release build.
#[inline]
pub fn awaited(name: &'static str) {
    #[cfg(debug_assertions)]
    tell(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

#[cfg(debug_assertions)]
fn tell(name: &'static str) {
    // Taken out first: the watch may unwind, and may pass other places.
    if let Some(watch) = WATCH.with_borrow(Clone::clone) {
        watch(name);
    }
}

/// What [`kill_point!`](crate::kill_point) expands to.
#[doc(hidden)]
pub fn pass(name: &'static str) {
    awaited(name);
    let Some(armed) = ARMED.get().filter(|armed| armed.name == name) else { return };
    if armed.passes_left.fetch_sub(1, Ordering::SeqCst) == 1 {
        (armed.hook)();
    }
}

/// Whether a name is in [`KILL_POINTS`].
#[doc(hidden)]
pub const fn is_listed(name: &str) -> bool {
    let mut at = 0;
    while at < KILL_POINTS.len() {
        if same(KILL_POINTS[at].as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

/// `==` cannot be used in a constant.
const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    a.len() == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_nth_pass_of_the_armed_point_calls_the_hook_once() {
        let calls = Arc::new(AtomicU64::new(0));
        let hook = || {
            let calls = calls.clone();
            Box::new(move || {
                calls.fetch_add(1, Ordering::SeqCst);
            })
        };
        assert_eq!(arm("payment.nowhere", 1, hook()), Err(ArmError::Unknown("payment.nowhere".into())));
        kill_point!("payment.verified");
        arm("payment.verified", 2, hook()).unwrap();
        assert_eq!(arm("payment.verified", 1, hook()), Err(ArmError::Before));
        for expected in [0, 1, 1] {
            kill_point!("payment.verified");
            kill_point!("payment.asked");
            assert_eq!(calls.load(Ordering::SeqCst), expected);
        }
    }

    #[test]
    fn a_watch_is_told_of_all_that_its_own_thread_passes_until_it_ends() {
        let told = Rc::new(RefCell::new(Vec::new()));
        let copy = told.clone();
        watch(Some(Rc::new(move |name| copy.borrow_mut().push(name)))).unwrap();
        kill_point!("payment.settled");
        awaited("commit");
        std::thread::spawn(|| kill_point!("payment.settled")).join().unwrap();
        watch(None).unwrap();
        awaited("commit");
        assert_eq!(*told.borrow(), ["payment.settled", "commit"]);
    }

    #[test]
    fn names_are_listed_once() {
        let mut names = KILL_POINTS.to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KILL_POINTS.len());
        assert!(!is_listed("payment.verifie") && !is_listed("payment.verified."));
    }
}
