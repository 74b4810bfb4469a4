//! The Rust client: calls from the catalogue, and the flows that have steps of their own.
//!
//! [`Client::call`] makes any operation of the catalogue. A request that is answered with an x402 offer is
//! paid and sent again, once; while the outcome of that payment is open, the same proof is sent again and
//! never a second one. [`deploy`] puts a directory or a manifest live, [`local`] keeps the files shared with
//! the published CLI, [`chain`] reads balances and waits for the faucet. Nothing here reads the environment:
//! callers pass values.

pub mod blobs;
pub mod chain;
pub mod ci;
pub mod deploy;
pub mod local;

mod answer;
mod call;
mod error;
mod fund;
mod http;
mod pay;
mod siwx;
mod wallet;
mod x402;

#[cfg(test)]
mod stub;

pub use answer::Answer;
pub use call::{Call, Credential, encode};
pub use error::{ClientError, LocalError, Refusal};
pub use http::{Client, Timing};
pub use wallet::WalletKey;
pub use x402::{Balances, Challenge, Offer};
