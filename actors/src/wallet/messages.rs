//! What a lane is asked and answers.

use types::PaymentId;
use uuid::Uuid;

/// Every request may be repeated: one intent has one live transaction, whatever is asked how often.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub enum Request {
    /// Submits a payment's authorisation. Answers `Sent` or `Refused`.
    Settle { payment: PaymentId },
    /// Sends a faucet drip. Answers `Sent` or `Refused`.
    Faucet { drip: Uuid },
    /// Looks after what was signed: sends again, bids more, notes what was mined, fills gaps. Answers `Done`.
    Step,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Reply {
    /// The bytes are durable and were offered to the chain at least once, or mined. Not evidence of anything
    /// else.
    Sent { tx_hash: String },
    /// The transaction would revert now, so nothing was signed; the text is the token's.
    Refused { reason: String },
    /// There was nothing to do.
    Done,
}
