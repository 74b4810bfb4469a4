//! Every secret of a lab, made once at its first start and kept in `keys.json` (mode 0600).

use std::io::ErrorKind;

use alloy::signers::local::PrivateKeySigner;
use serde::{Deserialize, Serialize};
use types::{Entropy, OsEntropy};

use crate::error::{During, LabError};
use crate::layout::{Layout, write_private};

/// No `Debug`: it would print them.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    /// Private keys of the lab's three accounts on the chain: 32 bytes as hex.
    pub(crate) faucet: String,
    pub(crate) payee: String,
    pub(crate) fee_payer: String,
    /// Of the cell's superuser.
    pub(crate) cell_password: String,
    pub(crate) s3_access_key: String,
    pub(crate) s3_secret_key: String,
}

impl Keys {
    /// Reads them, or makes them when there are none.
    pub(crate) fn load(layout: &Layout) -> Result<Self, LabError> {
        let path = layout.keys_file();
        match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| LabError::Corrupt { path, why: format!("not the keys of a lab: {error}") }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let keys = Self::make(&OsEntropy);
                let text = serde_json::to_vec_pretty(&keys).expect("strings are JSON");
                write_private(&path, &text)?;
                Ok(keys)
            }
            Err(error) => Err(error).at("reading", &path),
        }
    }

    fn make(entropy: &impl Entropy) -> Self {
        let secret = || alloy::hex::encode(entropy.secret());
        Self {
            faucet: secret(),
            payee: secret(),
            fee_payer: secret(),
            cell_password: secret(),
            s3_access_key: format!("LAB{}", &secret()[..17].to_uppercase()),
            s3_secret_key: secret(),
        }
    }
}

/// The signer of a key in `keys.json`.
pub(crate) fn signer(key: &str) -> Result<PrivateKeySigner, LabError> {
    key.parse().map_err(|error| LabError::Chain(format!("a key in keys.json is no private key: {error}")))
}
