//! What a caller decides about a lab.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Where a lab lives and what it listens on.
#[derive(Debug, Clone)]
pub struct LabConfig {
    /// The data directory; made when it is missing. Relative paths start at the current directory.
    pub data: PathBuf,
    /// What `cargo xtask tools` filled; `.tools` in the current directory when none.
    pub tools: Option<PathBuf>,
    /// The chain's RPC; loopback only. Port 0 takes a free one.
    pub chain_listen: SocketAddr,
    /// Seconds between blocks, at least 1.
    pub block_time_secs: u64,
}

/// Told, in one short sentence each, what the lab is doing.
pub type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);
