//! The harness of the scenarios: a whole lab as a child process, wallets that can sign anything (also wrong
//! things), and plain HTTP.
//!
//! Signing is written here a second time, apart from `chain` and `client`, so that a shared mistake cannot
//! hide.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

pub mod acme;
mod authenticator;
mod browser;
mod chain;
pub mod dns;
mod flows;
mod lab;
mod oracle;
mod ordinary;
mod rpc_proxy;
mod s3_proxy;
mod tools;
mod wallet;

pub use authenticator::{Authenticator, Say};
pub use browser::Browser;
pub use chain::Chain;
pub use flows::{Customer, Site, TIER_PRICE, TIER_ROUTE};
pub use lab::{Answer, Lab, LabOptions, Ports, Server, books, fresh_folder, tools_folder, up_command};
pub use oracle::oracle;
pub use ordinary::again_without_rights;
pub use rpc_proxy::{Act, RpcProxy};
pub use s3_proxy::{S3Fault, S3Proxy, S3Request};
pub use tools::{command, eventually, peers, run, target_binary};
pub use wallet::{Authorization, Wallet, decode_challenge};
