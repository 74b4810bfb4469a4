//! How to reach what a lab runs.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{During, LabError};
use crate::layout::{self, Layout, write_private};

/// Addresses, ports and secrets of a running lab. Written to `endpoints.json` (mode 0600) while it runs.
///
/// Addresses on the chain are in EIP-55 spelling, private keys are `0x` and 64 hex digits. `Debug` hides
/// secrets. A lab started by [`crate::Lab::start_books_only`] has neither cell nor objects: their URLs are
/// empty.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabEndpoints {
    /// The control database `run402`, by peer authentication on a unix socket, as superuser.
    pub control_url: String,
    /// Database `postgres` of the cell, as superuser, with a password.
    pub cell_url: String,
    pub postgres_socket_dir: PathBuf,
    pub chain_rpc: String,
    pub s3_endpoint: String,
    pub s3_bucket: String,
    pub s3_access_key: String,
    pub s3_secret_key: String,
    pub token_address: String,
    pub faucet_address: String,
    pub faucet_private_key: String,
    pub payee_address: String,
    pub payee_private_key: String,
    pub fee_payer_address: String,
    pub fee_payer_private_key: String,
}

impl fmt::Debug for LabEndpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LabEndpoints")
            .field("postgres_socket_dir", &self.postgres_socket_dir)
            .field("chain_rpc", &self.chain_rpc)
            .field("s3_endpoint", &self.s3_endpoint)
            .field("token_address", &self.token_address)
            .field("faucet_address", &self.faucet_address)
            .field("payee_address", &self.payee_address)
            .field("fee_payer_address", &self.fee_payer_address)
            .finish_non_exhaustive()
    }
}

impl LabEndpoints {
    pub(crate) fn write(&self, layout: &Layout) -> Result<(), LabError> {
        let text = serde_json::to_vec_pretty(self).expect("strings are JSON");
        write_private(&layout.endpoints_file(), &text)
    }
}

/// The endpoints of the lab that runs in this data directory; none when none runs.
///
/// # Errors
/// `Io` or `Corrupt` when it runs and its file cannot be read; that includes the seconds before it is ready.
pub fn running(data: &Path) -> Result<Option<LabEndpoints>, LabError> {
    let data = layout::absolute(data)?;
    if !layout::is_locked(&data) {
        return Ok(None);
    }
    let path = data.join("endpoints.json");
    let bytes = std::fs::read(&path).at("reading", &path)?;
    let read = serde_json::from_slice(&bytes);
    read.map(Some).map_err(|error| LabError::Corrupt { path, why: error.to_string() })
}
