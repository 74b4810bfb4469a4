//! What to do next: a pure function of where the payment stands and what the chain has shown.

use store::payments::PaymentState;
use store::sightings::{Cursor, SightingRow};
use types::UsdMicros;

/// How sure the sighting of a payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    No,
    /// On the canonical chain, too shallow for its amount.
    Shallow,
    /// Deep enough for its amount.
    Enough,
    Final,
}

/// The next move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing was sent yet: have it signed and sent.
    Submit,
    /// Sent and not seen: find out whether it still can be.
    Chase,
    /// Seen: wait for depth.
    Wait,
    Credit,
    /// Credited, and its money is not to be seen any more.
    Doubt,
    /// Credited and seen: note where, nothing else.
    Keep,
    /// Credited and final: its exposure ends.
    Finalize,
    /// It had ended without money, and here is the money.
    Revive,
    Rest,
}

/// Confidence by amount: up to `instant_max` a block that was seen is enough; above it must be safe (B05).
///
/// # Source
/// STYLE 4, finality.
pub(super) fn seen(
    sighting: Option<&SightingRow>,
    cursor: &Cursor,
    amount: UsdMicros,
    instant_max: UsdMicros,
) -> Seen {
    match sighting {
        None => Seen::No,
        Some(s) if s.block_number <= cursor.finalized_block => Seen::Final,
        Some(s) if amount <= instant_max || s.block_number <= cursor.safe_block => Seen::Enough,
        Some(_) => Seen::Shallow,
    }
}

pub(super) fn next(state: PaymentState, seen: Seen) -> Next {
    use PaymentState::{Credited, Expired, Failed, Settled, Settling, Verified};
    match (state, seen) {
        (Verified, Seen::No) => Next::Submit,
        (Settling, Seen::No) => Next::Chase,
        (Verified | Settling, Seen::Shallow) => Next::Wait,
        (Verified | Settling, Seen::Enough | Seen::Final) => Next::Credit,
        (Credited | Settled, Seen::No) => Next::Doubt,
        (Credited | Settled, Seen::Shallow | Seen::Enough) | (Settled, Seen::Final) => Next::Keep,
        (Credited, Seen::Final) => Next::Finalize,
        (Failed | Expired, Seen::No) => Next::Rest,
        (Failed | Expired, Seen::Shallow | Seen::Enough | Seen::Final) => Next::Revive,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use types::{Network, Wallet};

    fn sighting(block_number: i64) -> SightingRow {
        SightingRow {
            network: Network::BaseSepolia,
            block_hash: [1; 32],
            tx_hash: [2; 32],
            log_index: 0,
            block_number,
            asset: Wallet([3; 20]),
            payer: Wallet([4; 20]),
            nonce: Some([5; 32]),
            pay_to: Wallet([6; 20]),
            amount: UsdMicros(1),
            block_time: DateTime::UNIX_EPOCH,
            canonical: true,
            turn: 1,
            in_suspense: false,
            ours: true,
        }
    }

    // B05: an amount above the limit is never credited before its level.
    #[test]
    fn depth_is_asked_for_by_amount() {
        let cursor = Cursor {
            network: Network::BaseSepolia,
            first_block: 0,
            next_block: 101,
            halted_reason: None,
            safe_block: 50,
            finalized_block: 20,
        };
        let max = UsdMicros(25_000_000);
        let at = |block, amount| seen(Some(&sighting(block)), &cursor, UsdMicros(amount), max);
        assert_eq!(at(100, 25_000_000), Seen::Enough);
        assert_eq!(at(100, 25_000_001), Seen::Shallow);
        assert_eq!(at(51, 25_000_001), Seen::Shallow);
        assert_eq!(at(50, 25_000_001), Seen::Enough);
        assert_eq!(at(20, 25_000_001), Seen::Final);
        assert_eq!(seen(None, &cursor, UsdMicros(1), max), Seen::No);
    }

    // A10, A11, A14: whatever the state, nothing but a deep enough sighting leads to a credit.
    #[test]
    fn only_a_deep_enough_sighting_credits() {
        for state in PaymentState::ALL {
            for level in [Seen::No, Seen::Shallow, Seen::Enough, Seen::Final] {
                let credits = next(state, level) == Next::Credit;
                assert_eq!(credits, state.unfinished() && matches!(level, Seen::Enough | Seen::Final));
            }
        }
        assert_eq!(next(PaymentState::Credited, Seen::No), Next::Doubt);
        assert_eq!(next(PaymentState::Expired, Seen::Shallow), Next::Revive);
        assert_eq!(next(PaymentState::Failed, Seen::No), Next::Rest);
    }
}
