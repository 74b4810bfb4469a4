//! Platform loops. tokio-cron-scheduler only sends ticks; what a tick does is in [`ticks`], and a tick that
//! is still running when the next falls due makes that one skip.
//!
//! The actor here also supervises the node's outbox relay and starts it again when it dies.

mod ticks;

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::Semaphore;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::Deps;
use crate::kit::ActorError;
use crate::outbox_relay::OutboxRelay;

const RELAY_BACK_OFF: Duration = Duration::from_secs(1);
const STOP_SECS_MAX: u64 = 5;
/// More than there are loops, so that a tick is refused only once the schedule stops.
const TICKS_MAX: u32 = 1_000;
/// Loops that are rarer than this tidy up, and need not do so at the start.
const FIRST_LATER: Duration = Duration::from_secs(60);

/// The running loops of one node.
pub struct Schedule {
    actor: ActorRef<Msg>,
    scheduler: JobScheduler,
    /// One permit per running tick; the scheduler does not wait for what it started.
    running: Arc<Semaphore>,
}

impl Schedule {
    /// Starts the relay and every loop. Call it after `Actors::start`.
    ///
    /// # Errors
    /// `Unavailable` when the runtime is shutting down.
    pub async fn start(deps: &Arc<Deps>) -> Result<Self, ActorError> {
        let (actor, _) = Actor::spawn(None, Supervisor, deps.clone())
            .await
            .map_err(|_| ActorError::Unavailable("schedule"))?;
        let running = Arc::new(Semaphore::new(TICKS_MAX as usize));
        let scheduler = schedule(deps, &running).await.map_err(|e| {
            tracing::error!(error = %e, "the scheduler does not start");
            ActorError::Unavailable("schedule")
        })?;
        Ok(Self { actor, scheduler, running })
    }

    /// Starts nothing new, lets running ticks end, and ends the relay after its batch.
    pub async fn stop(mut self) {
        let patience = Some(Duration::from_secs(STOP_SECS_MAX));
        let all_ended = self.running.acquire_many(TICKS_MAX);
        if tokio::time::timeout(Duration::from_secs(STOP_SECS_MAX), all_ended).await.is_err() {
            tracing::warn!("a tick did not end in time");
        }
        self.running.close();
        if let Err(e) = self.scheduler.shutdown().await {
            tracing::debug!(error = %e, "the scheduler was gone already");
        }
        let _ = self.actor.stop_children_and_wait(Some("draining".to_owned()), patience).await;
        let _ = self.actor.stop_and_wait(Some("draining".to_owned()), patience).await;
    }
}

async fn schedule(deps: &Arc<Deps>, running: &Arc<Semaphore>) -> Result<JobScheduler, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    for tick in ticks::all(deps) {
        let every = tick.every;
        let (tick, running) = (Arc::new(tick), running.clone());
        let run = move || {
            let (tick, running) = (tick.clone(), running.clone());
            async move {
                if let Ok(_permit) = running.try_acquire() {
                    tick.run().await;
                }
            }
        };
        if every < FIRST_LATER {
            // A node that comes back after a crash looks at once after what it left unfinished.
            tokio::spawn(run());
        }
        let job = Job::new_repeated_async(every, move |_, _| Box::pin(run()))?;
        scheduler.add(job).await?;
    }
    scheduler.start().await?;
    Ok(scheduler)
}

struct Supervisor;

enum Msg {
    StartRelay,
}

impl Actor for Supervisor {
    type Msg = Msg;
    type State = Arc<Deps>;
    type Arguments = Arc<Deps>;

    async fn pre_start(
        &self,
        myself: ActorRef<Msg>,
        deps: Arc<Deps>,
    ) -> Result<Arc<Deps>, ActorProcessingErr> {
        myself.cast(Msg::StartRelay)?;
        Ok(deps)
    }

    async fn handle(
        &self,
        myself: ActorRef<Msg>,
        Msg::StartRelay: Msg,
        deps: &mut Arc<Deps>,
    ) -> Result<(), ActorProcessingErr> {
        if let Err(e) = Actor::spawn_linked(None, OutboxRelay, deps.clone(), myself.get_cell()).await {
            tracing::error!(error = %e, "the outbox relay does not start");
            myself.send_after(RELAY_BACK_OFF, || Msg::StartRelay);
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Msg>,
        event: SupervisionEvent,
        _: &mut Arc<Deps>,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorFailed(_, why) = event {
            tracing::error!(error = %why, "the outbox relay died");
            myself.send_after(RELAY_BACK_OFF, || Msg::StartRelay);
        }
        Ok(())
    }
}
