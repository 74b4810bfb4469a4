//! The 402 that a wallet can pay.

use chain::x402::Offer;
use chain::x402::wire::{PaymentRequired, Resource};
use serde_json::Value;
use store::payments::PaymentRow;
use types::{Code, Mutation, Problem};

/// Later clients refuse offers that run longer.
///
/// # Source
/// Wire contract 01 section 3.2.
pub(super) const TIMEOUT_SECS: u32 = 300;

/// The offers for one resource. Every 402 carries them, so that a client can pay at any point.
pub(super) struct Challenge {
    resource: Resource,
    offers: Vec<Offer>,
}

impl Challenge {
    pub fn new(url: String, description: String, offers: Vec<Offer>) -> Self {
        let mime_type = Some("application/json".to_owned());
        Self { resource: Resource { url, description: Some(description), mime_type }, offers }
    }

    pub fn url(&self) -> &str {
        &self.resource.url
    }

    pub fn offers(&self) -> &[Offer] {
        &self.offers
    }

    /// Nothing was presented.
    pub fn required(&self) -> Problem {
        self.problem(Code::PaymentRequired, "Payment required", "Payment required")
    }

    /// Something was presented and refused; `reason` is a facilitator's word. Clients pay once and then show
    /// this answer, so the reason stands in the body and in the header (contract 01 section 3.4).
    pub fn refused(&self, code: Code, reason: &str, message: &str) -> Problem {
        self.problem(code, reason, message).detail("reason", reason)
    }

    /// A payment that ended without a credit.
    pub fn failed(&self, row: &PaymentRow) -> Problem {
        let (reason, message) = match &row.failure {
            Some(failure) => (failure.code.as_str(), failure.message.as_str()),
            None => ("transaction_failed", "the payment was not settled"),
        };
        let code =
            if reason == "insufficient_funds" { Code::InsufficientFunds } else { Code::PaymentInvalid };
        self.refused(code, reason, message)
            .detail("payment_id", row.id.to_string())
            .detail("payment_state", row.state.as_str())
    }

    /// The version 2 challenge in the header and under `x402`, the version 1 challenge in the body. Published
    /// clients fail on a version 1 body only where the header is missing (contract 01 section 3.6).
    fn problem(&self, code: Code, error: &str, message: &str) -> Problem {
        let v2 = PaymentRequired::new(self.resource.clone(), &self.offers, error);
        let v1 = PaymentRequired::new_v1(&self.resource, &self.offers, error);
        let shown = serde_json::to_value(&v2).unwrap_or(Value::Null);
        let accepts = serde_json::to_value(&v1.accepts).unwrap_or(Value::Null);
        let mut problem = Problem::new(code, message)
            .mutation(Mutation::None)
            .extra("x402", shown)
            .extra("x402Version", v1.x402_version)
            .extra("accepts", accepts);
        problem.payment_required = Some(v2.to_header());
        problem
    }
}
