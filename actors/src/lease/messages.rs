//! What a lease actor is asked and answers.

use serde_json::Value;
use types::{CheckoutId, PaymentId, Tier, Wallet};

/// Every request may be repeated: the same one is never applied twice.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub enum Request {
    /// The payment's money is on the canonical chain, deep enough for its amount: books the deposit, charges
    /// the product and grants it, in one commit. Answers `Answer` with the body that the buyer gets.
    Credit { payment: PaymentId },
    /// Stripe said something about this checkout: makes the books say it too. Answers `Done`.
    Card { checkout: CheckoutId },
    /// The money left the canonical chain again after it was credited: undoes all of it. Answers `Done`.
    Reverse { payment: PaymentId },
    /// The payment's block is final: its exposure ends. Answers `Done`.
    Finalized { payment: PaymentId },
    /// Buys a tier out of the balance. Answers `Answer`, or `Uncovered` when the balance does not cover the
    /// price. `request_key` names the request: the same one buys once.
    Purchase { tier: Tier, wallet: Wallet, request_key: String },
    /// Makes the lease row what the purchases amount to. Answers `Done`.
    Step,
}

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub enum Reply {
    /// The body of `POST /tiers/v1/:tier`.
    Answer(Value),
    /// Nothing was bought: the balance is too small.
    Uncovered,
    Done,
}

impl Reply {
    /// The buyer's body, when there is one.
    pub fn answer(self) -> Option<Value> {
        match self {
            Self::Answer(body) => Some(body),
            Self::Uncovered | Self::Done => None,
        }
    }
}
