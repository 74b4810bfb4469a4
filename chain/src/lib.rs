//! alloy and KMS: SIWX, x402 verify and settle, block scanning; knows no price and no SQL.
//!
//! - [`siwx`] says who signed a request; [`x402`] reads, checks and simulates a payment. Both are pure but
//!   for [`x402::verify::simulate`].
//! - [`rpc::ChainRpc`] is all that watcher and lanes see of a chain: [`alloy_rpc::AlloyRpc`] over HTTP,
//!   [`quorum::QuorumRpc`] over several nodes, [`fake::FakeChain`] in memory. [`scan`] turns logs into
//!   [`scan::Sighting`]s, the only evidence of a payment.
//! - [`lane`] builds and signs transactions with a [`signer::Signer`]; nonces come from the caller's
//!   durable rows.
//!
//! Public items speak in plain bytes, `types::Wallet` and `types::UsdMicros`: callers need no alloy.

pub mod alloy_rpc;
pub mod asset;
mod evm;
pub mod fake;
mod json;
pub mod keystore;
pub mod kms;
pub mod lane;
pub mod quorum;
pub mod rpc;
pub mod scan;
pub mod signer;
pub mod siwx;
pub mod x402;

pub use json::{HeaderError, decode_object};

/// A block hash, transaction hash or authorisation nonce.
pub type Bytes32 = [u8; 32];
