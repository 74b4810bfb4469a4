//! Starting a dead Postgres server again, so that an outage of the database is an outage and not the end.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::children::{self, Role};
use crate::error::LabError;
use crate::postgres::{Postgres, Worth};
use crate::{Lab, Progress};

/// More deaths than this within [`DEATHS_WITHIN`] are no accident.
const DEATHS_MAX: usize = 5;
const DEATHS_WITHIN: Duration = Duration::from_secs(120);
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);

impl Lab {
    /// Starts Postgres servers again that end by themselves, on the same data and the same socket. Returns, with
    /// the reason, when the chain ends (it has lost blocks, and its books need them) or a server dies too often;
    /// never while all is well.
    pub async fn keep_running(&mut self, progress: Progress<'_>) -> LabError {
        let mut deaths: VecDeque<Instant> = VecDeque::new();
        loop {
            let (at, mut death) = self.first_death().await;
            loop {
                deaths.push_back(Instant::now());
                while deaths.front().is_some_and(|first| first.elapsed() > DEATHS_WITHIN) {
                    deaths.pop_front();
                }
                if self.children[at].role == Role::Chain || deaths.len() > DEATHS_MAX {
                    return death;
                }
                progress(&format!("{death}; starting it again"));
                tokio::time::sleep(pause(deaths.len())).await;
                match self.start_again(at).await {
                    Ok(()) => break,
                    Err(failed) => death = failed,
                }
            }
            progress(&format!("{} runs again", self.children[at].role.as_str()));
        }
    }

    async fn start_again(&mut self, at: usize) -> Result<(), LabError> {
        let means = &self.means;
        let server = Postgres {
            role: self.children[at].role,
            layout: &self.layout,
            account: &means.account,
            programs: &means.programs,
            keys: &means.keys,
            worth: Worth::Kept,
        };
        self.children[at] = server.start(&self.keeper).await?;
        children::remember(&self.layout, self.children.iter())
    }
}

/// Doubles with each death of late.
fn pause(deaths: usize) -> Duration {
    let doublings = u32::try_from(deaths.saturating_sub(1)).unwrap_or(u32::MAX).min(8);
    (PAUSE_FIRST * 2_u32.pow(doublings)).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_a_limit() {
        let pauses: Vec<_> = (0..20).map(pause).collect();
        assert_eq!((pauses[0], pauses[1], pauses[2]), (PAUSE_FIRST, PAUSE_FIRST, PAUSE_FIRST * 2));
        assert!(pauses.is_sorted() && pauses[19] == PAUSE_MAX);
    }
}
