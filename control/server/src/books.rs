//! `run402d books`: anyone may check the books, and an account may be shown that it is in them.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use lab::{Lab, LabConfig, LabEndpoints};
use plane::Plane;
use types::{NodeId, OsEntropy};

use crate::cli::VerifyArgs;
use crate::config::{Config, Listen};
use crate::lab_config::{self, Choices};
use crate::{node, ready, wire};

/// Prints one JSON object and says whether the books are clean.
///
/// # Errors
/// When they cannot be read: that is not the same as a difference.
pub async fn verify(arguments: VerifyArgs) -> anyhow::Result<bool> {
    with_config(arguments, report).await
}

/// Prints the proof of an account's transfers.
///
/// # Errors
/// When the books cannot be read, or the account has no transfers.
pub async fn prove(arguments: VerifyArgs, account: types::AccountId) -> anyhow::Result<()> {
    let proof = with_config(arguments, async |config: Config| {
        let store = wire::store(&config).await?;
        let proof = store::ledger::prove(&store, account).await.context("reading the books");
        store.close().await;
        proof
    })
    .await?;
    ready::print(&serde_json::to_value(&proof).context("writing the proof")?);
    Ok(())
}

/// Checks a proof with roots alone, and prints what it proves.
///
/// # Errors
/// When it does not hold.
pub fn check_proof(file: &Path, roots: &[String]) -> anyhow::Result<()> {
    let text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let proof: store::ledger::Proof = serde_json::from_slice(&text).context("not a proof")?;
    let roots = roots.iter().map(|word| root(word)).collect::<anyhow::Result<_>>()?;
    let proven = store::ledger::proof_check(&proof, &roots).context("the proof does not hold")?;
    let account = &proof.account;
    ready::print(&serde_json::json!({ "valid": true, "account": account, "transfers": proven }));
    Ok(())
}

fn root(word: &str) -> anyhow::Result<(String, [u8; 32])> {
    let (day, hex) = word.split_once('=').context("a root is DAY=HEX")?;
    let bytes = hex::decode(hex).ok().and_then(|bytes| bytes.try_into().ok());
    Ok((day.to_owned(), bytes.context("a root is 64 hex digits")?))
}

/// Runs something on the books of a served installation, of a running lab, or of one that stands still.
pub(crate) async fn with_config<T>(
    arguments: VerifyArgs,
    work: impl AsyncFnOnce(Config) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    if let Some(path) = &arguments.config {
        return work(Config::load(path)?).await;
    }
    let data = std::path::absolute(&arguments.data).context("the data directory")?;
    if let Some(endpoints) = lab::running(&data).context("reading the running lab")? {
        return work(lab_books(&data, &endpoints)?).await;
    }
    // Nobody needs to find these servers, so they take free ports.
    let settings = LabConfig {
        data: data.clone(),
        tools: arguments.tools,
        chain_listen: any_port(),
        block_time_secs: 1,
    };
    let quiet = |_: &str| {};
    let lab = Lab::start_books_only(settings, &quiet).await?;
    let outcome = match lab_books(&data, lab.endpoints()) {
        Ok(config) => work(config).await,
        Err(e) => Err(e),
    };
    lab.stop().await.context("stopping the lab")?;
    outcome
}

/// Reads through the same adapters as a node, without joining the others: no heartbeat, no loops, no
/// listener.
async fn report(mut config: Config) -> anyhow::Result<bool> {
    // Books are in the control database and on the chain; connecting to a cell would prepare it.
    config.cells.clear();
    let store = wire::store(&config).await?;
    let deps = wire::deps(&config, store, NodeId::new(&OsEntropy), wire::Ports::default()).await?;
    let started = node::start_actors(&deps).await?;
    let public_url = config.server.public_url.clone().unwrap_or_default();
    let plane =
        Plane::new(deps.clone(), started.actors.clone(), node::plane_config(&config, public_url, None)?);
    let report = plane.books_verify().await;
    started.drain().await;
    deps.store.close().await;
    let report = report.map_err(|problem| anyhow::anyhow!("{problem}")).context("reading the books")?;
    ready::print(&serde_json::to_value(&report).context("writing the report")?);
    Ok(report.differences == 0)
}

fn lab_books(data: &Path, endpoints: &LabEndpoints) -> anyhow::Result<Config> {
    let choices = Choices {
        data,
        listen: Listen { api: any_port(), internal: any_port() },
        public_url: "http://127.0.0.1".to_owned(),
        apex: "localhost".to_owned(),
        port: 80,
        siwx_domains: Vec::new(),
        admin_wallets: Vec::new(),
        project_requests_per_sec: None,
        store: lab_config::StoreChoices::default(),
        chain: lab_config::ChainChoices::default(),
        stripe: None,
        google: None,
        ai: None,
        ci: crate::config::CiConfig::default(),
        domains: crate::config::DomainsConfig::default(),
        tls: None,
        functions: None,
    };
    lab_config::make(choices, endpoints)
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}
