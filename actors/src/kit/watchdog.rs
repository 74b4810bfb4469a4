//! A thread outside of the runtime that keeps it awake and notices when it is not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// How often an idle worker is woken.
const EVERY: Duration = Duration::from_millis(200);
/// A runtime that does not run a task for this long is told to the log.
const STARVED: Duration = Duration::from_secs(5);

/// Stops its thread when it is dropped.
#[derive(Debug)]
pub struct Watchdog(#[expect(dead_code, reason = "the thread sees when it is gone")] Arc<()>);

/// Starts watching the runtime that this is called on.
///
/// A worker that has taken an event off the IO driver and then runs a task that blocks leaves the driver to
/// nobody: other workers sleep until they are woken, and timers and sockets of the whole process stand still.
/// A task from outside wakes one of them, and that one looks after the driver on its way back to sleep.
///
/// # Errors
/// When the thread does not start.
pub fn start() -> std::io::Result<Watchdog> {
    let alive = Arc::new(());
    let (runtime, watched) = (Handle::current(), Arc::downgrade(&alive));
    std::thread::Builder::new().name("watchdog".to_owned()).spawn(move || watch(&runtime, &watched))?;
    Ok(Watchdog(alive))
}

fn watch(runtime: &Handle, watched: &Weak<()>) {
    let seen = Arc::new(AtomicU64::new(0));
    let (mut sent, mut told) = (0, false);
    let mut last = monotonic();
    while watched.strong_count() > 0 {
        if seen.load(Ordering::Relaxed) == sent {
            (last, told) = (monotonic(), false);
        } else if last.elapsed() > STARVED && !told {
            told = true;
            tracing::error!(starved_ms = last.elapsed().as_millis() as u64, "no worker runs tasks");
        }
        sent += 1;
        let (seen, number) = (seen.clone(), sent);
        runtime.spawn(async move { seen.fetch_max(number, Ordering::Relaxed) });
        std::thread::sleep(EVERY);
    }
}

/// Intervals, not dates.
fn monotonic() -> Instant {
    Instant::now()
}
