//! The lab: every outside service of the platform, on one machine, offline.
//!
//! **Cast.** Two child Postgres servers (`control-pg`, and `cell-pg` for the tenants), a child `anvil` as
//! Base Sepolia with our test USDC, and an S3 server inside this process. [`Lab`] owns them.
//!
//! **States.** A data directory belongs to one format number (`VERSION`) and to one process at a time
//! (`lock`). What runs is written to `children.json`, and how to reach it to `endpoints.json`; both are
//! removed by a clean stop.
//!
//! **Invariants.** Nothing listens beyond loopback or a unix socket in a closed folder. Every key is random
//! and made at the first start. Children never outlive us for long: the kernel signals them when we die, and
//! the next start ends whatever is left, by process id *and* start time, so a reused id is never hit.
//!
//! **Failure story.** A half-made Postgres directory has another name until it is whole. `anvil` writes its
//! state every few seconds and when it is told to end; should that file be broken, the copy from the last
//! start is used. A Postgres server that dies is started again; a chain that dies has lost blocks, so it ends the lab.

mod account;
mod chain;
mod children;
mod config;
mod endpoints;
mod error;
mod keys;
mod layout;
mod objects;
mod postgres;
mod process_table;
mod scratch;
mod start;
mod supervise;
mod tools;

pub use config::{LabConfig, Progress};
pub use endpoints::{LabEndpoints, running};
pub use error::LabError;
pub use scratch::Scratch;
pub use start::Lab;
pub use tools::{FunctionTools, function_tools};

/// Where Circle's USDC lives on Base Sepolia, and ours in the lab.
pub const TOKEN_ADDRESS: &str = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
/// The lab's chain is Base Sepolia to everyone who asks.
pub const CHAIN_ID: u64 = 84532;
