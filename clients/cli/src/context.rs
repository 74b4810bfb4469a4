//! What every command needs: the settings, the files, a client.

use std::collections::BTreeMap;
use std::path::Path;

use client::ci::IdentitySource;
use client::local::{Allowance, AllowanceFile, Projects, ProjectsFile, UploadsFolder};
use client::{Client, ClientError, LocalError, WalletKey};
use serde_json::Value;
use types::delegation::CI_AUDIENCE;
use types::{Clock, Network, SystemClock, rfc3339};

use crate::settings::Settings;

/// Nodes that anyone may ask for a balance. A lab has its own.
const BASE_RPC: &str = "https://mainnet.base.org";
const BASE_SEPOLIA_RPC: &str = "https://sepolia.base.org";

pub struct Context {
    api_base: String,
    identity: Option<IdentitySource>,
    pub allowance: AllowanceFile,
    pub projects: ProjectsFile,
    /// Uploads that were cut off.
    pub uploads: UploadsFolder,
}

impl Context {
    pub fn new(settings: Settings) -> Self {
        Self {
            api_base: settings.api_base,
            identity: settings.identity,
            allowance: AllowanceFile::at(settings.allowance_path),
            projects: ProjectsFile::at(settings.projects_path),
            uploads: UploadsFolder::at(settings.uploads_path),
        }
    }

    /// A client for calls that nobody signs.
    pub fn public(&self) -> Result<Client, LocalError> {
        Client::new(&self.api_base, None)
    }

    /// A client that signs with that wallet.
    pub fn signing(&self, key: &WalletKey) -> Result<Client, LocalError> {
        Client::new(&self.api_base, Some(key.clone()))
    }

    /// A client that signs with this machine's wallet. Without a wallet, calls that need one say so.
    pub fn client(&self) -> Result<Client, LocalError> {
        let allowance = self.allowance.load()?;
        Client::new(&self.api_base, allowance.map(|allowance| allowance.key().clone()))
    }

    /// A client that may pay: it knows where to read the balances that decide between offers.
    pub async fn paying(&self) -> Result<Client, ClientError> {
        let client = self.client()?;
        client.wallet()?;
        let rpcs = match client.lab_chain_rpc().await? {
            Some(lab) => BTreeMap::from([(Network::BaseSepolia, lab)]),
            None => BTreeMap::from([
                (Network::Base, BASE_RPC.to_owned()),
                (Network::BaseSepolia, BASE_SEPOLIA_RPC.to_owned()),
            ]),
        };
        Ok(client.with_chain_rpcs(rpcs))
    }

    /// In a workflow, a client that speaks as its session for that project.
    ///
    /// # Errors
    /// As the runner or the server says.
    pub async fn workflow(&self, project: &str) -> Result<Option<Client>, ClientError> {
        let Some(identity) = &self.identity else { return Ok(None) };
        let client = self.public()?;
        let token = client.ci_identity(identity, CI_AUDIENCE).await?;
        client.ci_session(&token, project).await.map(Some)
    }

    /// Whether this is a workflow with an identity of its own.
    pub fn in_workflow(&self) -> bool {
        self.identity.is_some()
    }

    /// This machine's wallet.
    pub fn wallet(&self) -> Result<Allowance, LocalError> {
        self.allowance.load()?.ok_or_else(|| {
            LocalError::new(
                "NO_ALLOWANCE",
                format!("there is no wallet at {}", self.allowance.path().display()),
            )
            .hint("Make one: run402 init")
        })
    }

    /// The projects of this machine and the one that is meant.
    pub fn project(&self, given: Option<&str>) -> Result<(Projects, String), LocalError> {
        let projects = self.projects.load()?;
        let id = projects.choose(given)?.to_owned();
        Ok((projects, id))
    }

    /// The time, as the files and the wire write it.
    pub fn now(&self) -> String {
        rfc3339(SystemClock.now())
    }
}

/// Reads a file that the user named.
///
/// # Errors
/// `BAD_FILE`.
pub fn read_text(path: &Path) -> Result<String, LocalError> {
    std::fs::read_to_string(path)
        .map_err(|error| LocalError::new("BAD_FILE", format!("cannot read {}: {error}", path.display())))
}

/// Reads a JSON file that the user named.
///
/// # Errors
/// `BAD_FILE`, `BAD_MANIFEST`.
pub fn read_json(path: &Path) -> Result<Value, LocalError> {
    serde_json::from_str(&read_text(path)?)
        .map_err(|error| LocalError::new("BAD_MANIFEST", format!("{} is not JSON: {error}", path.display())))
}
