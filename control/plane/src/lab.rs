//! A lab's clock, and the mail it kept.

use chrono::{DateTime, TimeDelta, Utc};
use types::{Code, Problem};

use crate::Plane;
use crate::keys::store_problem;

pub use store::mail::LabMail;

/// One move, in seconds: ten years.
const ADVANCE_SECS_MAX: i64 = 10 * 365 * 86_400;

/// Where a lab's clock stands.
#[derive(Debug, Clone, Copy)]
pub struct LabClock {
    pub now: DateTime<Utc>,
    /// How far it is ahead of the world outside.
    pub shift: TimeDelta,
}

/// Mails of one answer.
const MAILS_MAX: i64 = 1_000;

impl Plane {
    /// The mail that a lab kept, oldest first, after the number given.
    ///
    /// # Errors
    /// `NOT_FOUND` where mail is not kept.
    pub async fn lab_mail_list(&self, to: Option<&str>, after: i64) -> Result<Vec<LabMail>, Problem> {
        if !self.deps().captures_mail {
            return Err(Problem::new(Code::NotFound, "only a lab keeps mail, and this is none"));
        }
        // As addresses are written to.
        let to = to.map(str::to_lowercase);
        store::mail::lab_mail_list(&self.deps().store, to.as_deref(), after, MAILS_MAX)
            .await
            .map_err(store_problem)
    }

    /// Moves the platform's time forwards, for all nodes and for good: leases age, and what falls due is done
    /// within seconds. The chain's time and the times in signatures are not moved. Zero only reads it.
    ///
    /// # Errors
    /// `NOT_FOUND` where the clock cannot be moved; `BAD_REQUEST` for a move backwards or a far one.
    pub async fn lab_clock_advance(&self, secs: i64) -> Result<LabClock, Problem> {
        let deps = self.deps();
        let movable = deps.movable.as_ref();
        let movable = movable.ok_or_else(|| {
            Problem::new(Code::NotFound, "only a lab's clock can be moved, and this is none")
        })?;
        if !(0..=ADVANCE_SECS_MAX).contains(&secs) {
            let message = format!("advance_secs is 0 to {ADVANCE_SECS_MAX}: time does not go backwards");
            return Err(Problem::new(Code::BadRequest, message));
        }
        let moved = store::lab_clock::lab_clock_advance(&deps.store, TimeDelta::seconds(secs)).await;
        let shift = moved.map_err(|e| match e.constraint() {
            Some(_) => Problem::new(Code::BadRequest, "a lab's clock goes a century ahead at most"),
            None => store_problem(e),
        })?;
        movable.raise(shift);
        if secs > 0 {
            tracing::info!(secs, shift_secs = shift.num_seconds(), "the lab's clock was moved");
        }
        Ok(LabClock { now: self.now(), shift })
    }
}
