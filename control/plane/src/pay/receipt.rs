//! What `PAYMENT-RESPONSE` says: about a payment that was credited, and about one that was refused.

use chain::x402::wire::{Presented, SettleResponse, Version};
use serde_json::Value;
use store::StoreError;
use store::payments::PaymentRow;
use types::{Code, Problem};

use super::{Paid, unavailable};

/// The answer of a payment that was credited.
pub(super) fn paid(row: &PaymentRow, version: Version) -> Result<Paid, Problem> {
    let corrupt = || unavailable(StoreError::Corrupt("a credited payment without its answer".to_owned()));
    let answer = row.response.clone().ok_or_else(corrupt)?;
    let tx_hash = row.tx_hash.ok_or_else(corrupt)?;
    let settled = SettleResponse::paid(version, row.key.network, tx_hash, row.key.payer);
    Ok(Paid { payment: row.id, answer, settle_response: settled.to_header() })
}

/// A refused payment has a receipt too: `success` false, and the reason.
///
/// # Source
/// x402 specification version 2, `PAYMENT-RESPONSE`.
pub(super) fn with_receipt(mut problem: Problem, presented: &Presented) -> Problem {
    let refused = matches!(problem.code, Code::PaymentInvalid | Code::InsufficientFunds);
    if let Some(reason) = problem.details.get("reason").and_then(Value::as_str).filter(|_| refused) {
        let payer = presented.authorization.from;
        let receipt = SettleResponse::refused(presented.version, presented.network, payer, reason);
        problem.payment_response = Some(receipt.to_header());
    }
    problem
}
