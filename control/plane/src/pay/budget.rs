//! How much one payer may have open: a payment that passes every check may still fail on the chain, because
//! many that its balance covers one by one are not covered together, and each failure costs us gas (A34).

use chrono::{DateTime, TimeDelta, Utc};
use store::Tx;
use store::payments::{AuthorisationKey, PayerRecord, payer_record_locked};
use types::{Code, Mutation, Problem};

use super::unavailable;

/// Payments of one payer whose outcome is open. Nobody buys more at once.
const UNFINISHED_MAX: i64 = 8;
/// Payments of one payer that may fail within [`FAILED_WITHIN`].
const FAILED_MAX: i64 = 5;
const FAILED_WITHIN: TimeDelta = TimeDelta::hours(1);
const OPEN_RETRY_SECS: i64 = 5;

/// Refuses one more payment of a payer that has too many. One that has a row already is never refused.
///
/// # Errors
/// `RATE_LIMITED` with `retry_after`; nothing was written.
pub(super) async fn check(tx: &mut Tx, key: &AuthorisationKey, now: DateTime<Utc>) -> Result<(), Problem> {
    let record = payer_record_locked(tx, key, now - FAILED_WITHIN).await.map_err(unavailable)?;
    match wait_secs(&record, now) {
        None => Ok(()),
        Some(secs) => {
            tracing::warn!(
                payer = %key.payer, network = %key.network, unfinished = record.unfinished, failed = record.failed,
                "a payer is over its budget"
            );
            let message =
                "this wallet has too many payments that are open or have failed; nothing was charged";
            Err(Problem::new(Code::RateLimited, message)
                .mutation(Mutation::NotStarted)
                .extra("retry_after", secs)
                .detail("unfinished_payments", record.unfinished)
                .detail("failed_payments", record.failed))
        }
    }
}

/// How long the payer has to wait; `None` when it need not.
fn wait_secs(record: &PayerRecord, now: DateTime<Utc>) -> Option<i64> {
    if record.known {
        return None;
    }
    if record.failed >= FAILED_MAX {
        let until = record.failed_first_at.unwrap_or(now) + FAILED_WITHIN;
        return Some((until - now).num_seconds().max(1));
    }
    (record.unfinished >= UNFINISHED_MAX).then_some(OPEN_RETRY_SECS)
}

#[cfg(test)]
mod tests {
    use super::*;

    // A34.
    #[test]
    fn a_payer_waits_for_what_is_open_and_longer_for_what_failed() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
        let record = |unfinished, failed| PayerRecord {
            known: false,
            unfinished,
            failed,
            failed_first_at: (failed > 0).then(|| now - TimeDelta::minutes(50)),
        };
        assert_eq!(wait_secs(&record(7, 4), now), None);
        assert_eq!(wait_secs(&record(8, 0), now), Some(OPEN_RETRY_SECS));
        assert_eq!(wait_secs(&record(0, 5), now), Some(600));
        assert_eq!(wait_secs(&PayerRecord { known: true, ..record(99, 99) }, now), None);
    }
}
