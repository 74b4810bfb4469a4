//! Platform loops. tokio-cron-scheduler only sends ticks; what a tick does is in [`ticks`], and a tick that
//! is still running when the next falls due makes that one skip.
//!
//! The actor here also supervises the node's outbox relay and starts it again when it dies.

mod lifecycle;
mod ticks;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::Deps;
use crate::kit::ActorError;
use crate::outbox_relay::OutboxRelay;
use ticks::Tick;

const RELAY_BACK_OFF: Duration = Duration::from_secs(1);
const STOP_SECS_MAX: u64 = 5;
/// More than there are loops, so that a tick is refused only once the schedule stops.
const TICKS_MAX: u32 = 1_000;
/// How often the scheduler itself is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Some loop ticks every second. A scheduler that sent nothing for this long is replaced: it follows the
/// wall clock, and one that was set back would hold every loop until it has caught up (D11).
const QUIET_MAX: Duration = Duration::from_secs(5);

/// The running loops of one node.
pub struct Schedule {
    actor: ActorRef<Msg>,
    loops: Arc<Loops>,
    deps: Arc<Deps>,
}

/// What a tick needs, whichever scheduler sent it.
struct Loops {
    ticks: Vec<Arc<Tick>>,
    /// One permit per running tick; the scheduler does not wait for what it started.
    running: Semaphore,
    /// When a scheduler last sent a tick, by the clock that nobody sets.
    heard: Mutex<Instant>,
}

impl Loops {
    fn new(ticks: Vec<Tick>) -> Arc<Self> {
        Arc::new(Self {
            ticks: ticks.into_iter().map(Arc::new).collect(),
            running: Semaphore::new(TICKS_MAX as usize),
            heard: Mutex::new(Instant::now()),
        })
    }

    async fn run(self: Arc<Self>, tick: Arc<Tick>) {
        if let Ok(_permit) = self.running.try_acquire() {
            tick.run().await;
        }
    }

    fn heard(&self) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn is_quiet(&self) -> bool {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > QUIET_MAX
    }
}

/// Runs the loops of a name once (there is a `watcher` for each network), without a scheduler.
///
/// # Errors
/// The first failure; what comes after it is not run.
pub async fn run_once(deps: &Arc<Deps>, name: &str) -> Result<(), ActorError> {
    for tick in ticks::all(deps).iter().filter(|tick| tick.name == name) {
        tick.work().await?;
    }
    Ok(())
}

impl Schedule {
    /// Starts the relay and every loop. Call it after `Actors::start`.
    ///
    /// # Errors
    /// `Unavailable` when the runtime is shutting down.
    pub async fn start(deps: &Arc<Deps>) -> Result<Self, ActorError> {
        let loops = Loops::new(ticks::all(deps));
        let (actor, _) =
            Actor::spawn(None, Supervisor, (deps.clone(), loops.clone())).await.map_err(|e| {
                tracing::error!(error = %e, "the scheduler does not start");
                ActorError::Unavailable("schedule")
            })?;
        Ok(Self { actor, loops, deps: deps.clone() })
    }

    /// Starts nothing new, lets running ticks end, and ends the relay after its batch.
    pub async fn stop(self) {
        let patience = Some(Duration::from_secs(STOP_SECS_MAX));
        if let Some(functions) = &self.deps.functions {
            functions.stop_runs();
        }
        let all_ended = self.loops.running.acquire_many(TICKS_MAX);
        if tokio::time::timeout(Duration::from_secs(STOP_SECS_MAX), all_ended).await.is_err() {
            tracing::warn!("a tick did not end in time");
        }
        self.loops.running.close();
        // No request comes any more: what was counted last is not to be lost by an orderly end.
        if let Err(e) = ticks::calls(self.deps.clone()).await {
            tracing::warn!(error = &e as &dyn std::error::Error, "the last calls were not counted");
        }
        let _ = self.actor.stop_children_and_wait(Some("draining".to_owned()), patience).await;
        let _ = self.actor.stop_and_wait(Some("draining".to_owned()), patience).await;
    }
}

/// A scheduler that sends every tick. The jobs are cron expressions, never `Job::new_repeated`: that one
/// counts from the tick before, and a process that was paused for longer than its period never ticks again.
async fn scheduler(loops: &Arc<Loops>) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    for tick in &loops.ticks {
        let (tick, loops) = (tick.clone(), loops.clone());
        let job = Job::new_async(tick.cron, move |_, _| {
            loops.heard();
            Box::pin(loops.clone().run(tick.clone()))
        })?;
        scheduler.add(job).await?;
    }
    scheduler.start().await?;
    loops.heard();
    Ok(scheduler)
}

/// Owns the scheduler and the relay, and replaces the one that fails.
struct Supervisor;

struct Supervised {
    deps: Arc<Deps>,
    loops: Arc<Loops>,
    scheduler: JobScheduler,
}

enum Msg {
    StartRelay,
    Look,
}

impl Actor for Supervisor {
    type Msg = Msg;
    type State = Supervised;
    type Arguments = (Arc<Deps>, Arc<Loops>);

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        (deps, loops): (Arc<Deps>, Arc<Loops>),
    ) -> Result<Supervised, ActorProcessingErr> {
        // A node that comes back after a crash looks at once after what it left unfinished.
        for tick in loops.ticks.iter().filter(|tick| tick.runs_at_start()) {
            tokio::spawn(loops.clone().run(tick.clone()));
        }
        let scheduler = scheduler(&loops).await?;
        myself.cast(Msg::StartRelay)?;
        myself.send_interval(LOOK_EVERY, || Msg::Look);
        Ok(Supervised { deps, loops, scheduler })
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        message: Msg,
        state: &mut Supervised,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::StartRelay => start_relay(&myself, &state.deps).await,
            Msg::Look => replace_if_quiet(&state.loops, &mut state.scheduler).await,
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Msg>, state: &mut Supervised) -> Result<(), ActorProcessingErr> {
        Ok(state.scheduler.shutdown().await?)
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Msg>,
        event: SupervisionEvent,
        _: &mut Supervised,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(_, why) = event {
            tracing::error!(error = %why, "the outbox relay died");
            myself.send_after(RELAY_BACK_OFF, || Msg::StartRelay);
        }
        Ok(())
    }
}

async fn start_relay(myself: &ActorRef<Msg>, deps: &Arc<Deps>) {
    if let Err(e) = Actor::spawn_linked(None, OutboxRelay, deps.clone(), myself.get_cell()).await {
        tracing::error!(error = %e, "the outbox relay does not start");
        myself.send_after(RELAY_BACK_OFF, || Msg::StartRelay);
    }
}

async fn replace_if_quiet(loops: &Arc<Loops>, current: &mut JobScheduler) {
    if !loops.is_quiet() {
        return;
    }
    tracing::warn!("the schedule went quiet, or this process was paused: starting it again");
    match scheduler(loops).await {
        Ok(fresh) => {
            let mut old = std::mem::replace(current, fresh);
            if let Err(e) = old.shutdown().await {
                tracing::debug!(error = %e, "the scheduler was gone already");
            }
        }
        Err(e) => tracing::error!(error = %e, "the scheduler does not start"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn counting(ran: &Arc<AtomicU32>) -> Arc<Loops> {
        let ran = ran.clone();
        let tick = Tick::of("counting", ticks::SECOND, move || {
            ran.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });
        Loops::new(vec![tick])
    }

    async fn ticks_again(ran: &AtomicU32) {
        let before = ran.load(Ordering::SeqCst);
        tokio::time::timeout(Duration::from_secs(20), async {
            while ran.load(Ordering::SeqCst) < before + 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("the loop ticks");
    }

    // D11: whatever makes a scheduler go quiet, the loops go on.
    #[tokio::test]
    async fn a_scheduler_that_went_quiet_is_replaced_and_one_that_ticks_is_not() {
        let ran = Arc::new(AtomicU32::new(0));
        let loops = counting(&ran);
        let mut current = scheduler(&loops).await.unwrap();
        ticks_again(&ran).await;
        replace_if_quiet(&loops, &mut current).await;
        current.shutdown().await.unwrap();
        let dead = ran.load(Ordering::SeqCst);
        tokio::time::sleep(QUIET_MAX + Duration::from_secs(1)).await;
        assert!(ran.load(Ordering::SeqCst) <= dead + 1, "nobody else ticks");
        replace_if_quiet(&loops, &mut current).await;
        assert!(!loops.is_quiet(), "a fresh scheduler has its time to start");
        ticks_again(&ran).await;
    }
}
