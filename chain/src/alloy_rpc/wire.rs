//! What nodes answer, and what their errors mean.

use alloy::{
    primitives::{Address, B256, Bytes, U64, U128},
    sol_types::decode_revert_reason,
    transports::{RpcError as AlloyError, TransportError, TransportErrorKind},
};
use serde::Deserialize;

use crate::{
    evm,
    rpc::{Broadcast, Head, Receipt, RpcError},
    scan::RawLog,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireBlock {
    number: U64,
    hash: B256,
    parent_hash: B256,
    timestamp: U64,
    base_fee_per_gas: Option<U128>,
}

impl WireBlock {
    pub fn number(&self) -> u64 {
        self.number.to()
    }
    pub fn base_fee(&self) -> u128 {
        self.base_fee_per_gas.unwrap_or_default().to()
    }
    pub fn head(&self) -> Head {
        Head {
            number: self.number.to(),
            hash: self.hash.0,
            parent_hash: self.parent_hash.0,
            timestamp: self.timestamp.to(),
        }
    }
}

/// A pending log has no block; those fields are required, so it does not parse.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireLog {
    address: Address,
    topics: Vec<B256>,
    data: Bytes,
    block_number: U64,
    block_hash: B256,
    transaction_hash: B256,
    log_index: U64,
    #[serde(default)]
    removed: bool,
}

impl WireLog {
    pub fn checked(self) -> Result<RawLog, RpcError> {
        if self.removed {
            return Err(RpcError::Forged("a removed log in a query's answer"));
        }
        Ok(RawLog {
            address: evm::wallet(self.address),
            topics: self.topics.into_iter().map(|topic| topic.0).collect(),
            data: self.data.to_vec(),
            block_number: self.block_number.to(),
            block_hash: self.block_hash.0,
            tx_hash: self.transaction_hash.0,
            log_index: self.log_index.to(),
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireReceipt {
    transaction_hash: B256,
    block_number: U64,
    block_hash: B256,
    status: U64,
    gas_used: U64,
    effective_gas_price: U128,
}

impl WireReceipt {
    pub fn into_receipt(self) -> Receipt {
        Receipt {
            tx_hash: self.transaction_hash.0,
            block_number: self.block_number.to(),
            block_hash: self.block_hash.0,
            succeeded: self.status == U64::from(1),
            gas_used: self.gas_used.to(),
            effective_gas_price: self.effective_gas_price.to(),
        }
    }
}

/// Why a question got no answer.
#[derive(Debug)]
pub enum Failure {
    Timeout,
    Transient(String),
    /// More blocks or logs than the node gives at once.
    TooLarge(String),
    Final(RpcError),
}

impl Failure {
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Timeout | Self::Transient(_))
    }
}

impl From<Failure> for RpcError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Timeout => Self::Unavailable("it timed out".to_owned()),
            Failure::Transient(why) => Self::Unavailable(why),
            Failure::TooLarge(message) => Self::Refused { code: 0, message },
            Failure::Final(error) => error,
        }
    }
}

pub fn classify(error: TransportError) -> Failure {
    let AlloyError::ErrorResp(payload) = error else {
        return match error {
            // A proxy's page where JSON should be, or JSON of another shape.
            AlloyError::NullResp => Failure::Final(RpcError::Forged("null where a value must be")),
            other => Failure::Transient(transport_text(&other)),
        };
    };
    let message = payload.message.to_string();
    let lower = message.to_ascii_lowercase();
    // First, because a contract chooses the words of its own refusal.
    if payload.code == 3 || lower.contains("revert") {
        let reason = payload.as_revert_data().and_then(|data| decode_revert_reason(&data));
        Failure::Final(RpcError::Reverted(reason.unwrap_or(message)))
    } else if is_too_large(&lower) {
        Failure::TooLarge(message)
    } else if is_rate_limit(payload.code, &message) {
        Failure::Transient(message)
    } else {
        Failure::Final(RpcError::Refused { code: payload.code, message })
    }
}

/// The words of an error that never show the endpoint's url, which may carry a key.
pub fn transport_text(error: &TransportError) -> String {
    match error {
        AlloyError::Transport(TransportErrorKind::HttpError(http)) => format!("HTTP status {}", http.status),
        AlloyError::Transport(TransportErrorKind::HttpErrorWithRetryAfter { error, .. }) => {
            format!("HTTP status {}", error.status)
        }
        AlloyError::Transport(_) => "the connection failed".to_owned(),
        AlloyError::ErrorResp(payload) => payload.message.to_string(),
        _ => "the answer is not JSON-RPC".to_owned(),
    }
}

/// The spellings of geth, op-geth, reth, Infura, Alchemy, QuickNode and Coinbase.
fn is_too_large(lower: &str) -> bool {
    const SIGNS: [&str; 9] = [
        "block range",
        "range too large",
        "range is too large",
        "range exceed",
        "10000 results",
        "10,000 results",
        "more than",
        "response size",
        "too many results",
    ];
    SIGNS.iter().any(|sign| lower.contains(sign))
}

pub fn is_rate_limit(code: i64, message: &str) -> bool {
    let lower = message.to_ascii_lowercase();
    code == 429
        || code == -32005
        || ["rate limit", "too many requests", "limit exceeded", "timeout", "timed out"]
            .iter()
            .any(|sign| lower.contains(sign))
}

pub fn broadcast_answer(message: &str) -> Broadcast {
    let lower = message.to_ascii_lowercase();
    let says = |signs: &[&str]| signs.iter().any(|sign| lower.contains(sign));
    if says(&[
        "already known",
        "already imported",
        "known transaction",
        "already exists",
        "already in mempool",
    ]) {
        Broadcast::AlreadyKnown
    } else if says(&["nonce too low", "nonce is too low", "old nonce"]) {
        Broadcast::NonceTooLow
    } else if says(&["underpriced", "less than block base fee", "fee too low"]) {
        Broadcast::Underpriced
    } else if says(&["insufficient funds"]) {
        Broadcast::OutOfGasMoney
    } else {
        Broadcast::Refused(message.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_every_make_are_understood() {
        for (said, meant) in [
            ("already known", Broadcast::AlreadyKnown),
            ("transaction already imported", Broadcast::AlreadyKnown),
            ("nonce too low: next nonce 7, tx nonce 3", Broadcast::NonceTooLow),
            ("replacement transaction underpriced", Broadcast::Underpriced),
            ("max fee per gas less than block base fee: address 0x..", Broadcast::Underpriced),
            ("Insufficient funds for gas * price + value", Broadcast::OutOfGasMoney),
        ] {
            assert_eq!(broadcast_answer(said), meant, "{said}");
        }
        assert!(matches!(broadcast_answer("intrinsic gas too low"), Broadcast::Refused(_)));
    }

    // B12.
    #[test]
    fn a_range_that_is_too_large_is_told_from_a_rate_limit() {
        for said in [
            "query returned more than 10000 results. try with this block range [0x1, 0x2].",
            "log response size exceeded.",
            "eth_getlogs is limited to a 10,000 block range",
            "exceed maximum block range: 5000",
        ] {
            assert!(is_too_large(said), "{said}");
        }
        assert!(!is_too_large("daily request count exceeded, request rate limited"));
        assert!(is_rate_limit(-32005, "x") && is_rate_limit(0, "429 Too Many Requests"));
    }
}
