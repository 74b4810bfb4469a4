//! When to stop.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C and SIGTERM.
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// From now on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the system refuses handlers.
    pub fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("listening for Ctrl-C")?,
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
        })
    }

    /// Waits for the first of them.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// From now on the next Ctrl-C ends the process at once: whoever is draining too slowly is in the way.
    /// Nothing is lost by it, as nothing is by a crash. A repeated SIGTERM means what the first one meant.
    pub fn second_ends_at_once(mut self) {
        tokio::spawn(async move {
            self.interrupt.recv().await;
            eprintln!("run402d: ending at once");
            std::process::exit(130);
        });
    }
}
