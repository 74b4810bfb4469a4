//! The configuration of a lab, made from what it runs.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use chain::keystore::Keystore;
use chain::signer::KeySecret;
use lab::LabEndpoints;
use types::{Entropy, Network, NodeId, OsEntropy, UsdMicros};

use crate::config::{
    AiConfig, CellConfig, ChainConfig, CiConfig, Config, ControlDbConfig, DomainsConfig, FunctionsConfig,
    GoogleConfig, IdentityConfig, KeystoreConfig, Listen, PricesConfig, S3Config, ServerConfig, SignerConfig,
    SitesConfig, StripeConfig, TlsConfig, defaults,
};

const FEE_PAYER: &str = "lab-fee-payer";
const FAUCET: &str = "lab-faucet";
const CELL: &str = "cell-1";
const NETWORK: Network = Network::BaseSepolia;

/// What `up` decides beside the lab itself.
pub struct Choices<'a> {
    pub data: &'a Path,
    pub listen: Listen,
    pub public_url: String,
    pub apex: String,
    /// In the URLs of sites.
    pub port: u16,
    pub siwx_domains: Vec<String>,
    pub admin_wallets: Vec<types::Wallet>,
    /// Of one project; the built-in number unless chosen.
    pub project_requests_per_sec: Option<u32>,
    pub store: StoreChoices,
    pub chain: ChainChoices,
    /// Where cards are paid; none in a lab without cards.
    pub stripe: Option<StripeConfig>,
    /// Where Google sign-ins go; none unless chosen.
    pub google: Option<GoogleConfig>,
    /// Who makes images and reads texts; none unless chosen.
    pub ai: Option<AiConfig>,
    /// Whose workflows may deploy.
    pub ci: CiConfig,
    pub domains: DomainsConfig,
    pub tls: Option<TlsConfig>,
    /// Where functions run; none without the tools for it.
    pub functions: Option<FunctionsConfig>,
}

/// What may be chosen about objects and their uploads.
#[derive(Debug, Clone, Default)]
pub struct StoreChoices {
    /// Where objects are; in the lab's own store unless chosen.
    pub endpoint: Option<String>,
    /// Larger blobs come in parts; as with S3 unless chosen.
    pub single_put_bytes_max: Option<u64>,
    pub completion_wait_secs: Option<u64>,
}

/// What else may be chosen about the lab's chain.
#[derive(Debug, Clone, Default)]
pub struct ChainChoices {
    /// Where the node reads the chain; the lab's own when empty.
    pub rpc_urls: Vec<String>,
    pub payees: Vec<types::Wallet>,
    /// Whom the facilitator settles for, beside the lab's own payee.
    pub facilitate: Vec<types::Wallet>,
    pub instant_max: Option<UsdMicros>,
    pub retained_blocks: Option<u64>,
}

/// Makes the files that a configuration names, and the configuration.
///
/// # Errors
/// When the data directory cannot be written.
pub fn make(choices: Choices<'_>, lab: &LabEndpoints) -> anyhow::Result<Config> {
    let master_key_file = choices.data.join("master.key");
    ensure_master_key(&master_key_file)?;
    let keystore = store_keys(choices.data, lab)?;
    let chain = lab_chain(choices.chain, lab)?;
    // A lab that only serves the books has no cell.
    let cells = (!lab.cell_url.is_empty())
        .then(|| CellConfig { name: CELL.to_owned(), url: lab.cell_url.clone().into() })
        .into_iter()
        .collect();
    Ok(Config {
        server: server(
            choices.listen,
            choices.public_url,
            master_key_file,
            choices.store.completion_wait_secs,
        ),
        sites: SitesConfig { scheme: "http".to_owned(), apex: choices.apex, port: Some(choices.port) },
        control_db: ControlDbConfig {
            url: lab.control_url.clone().into(),
            connections_max: defaults::CONTROL_CONNECTIONS_MAX as u32,
        },
        cells,
        s3: S3Config {
            endpoint: choices.store.endpoint.unwrap_or_else(|| lab.s3_endpoint.clone()),
            region: defaults::S3_REGION.to_owned(),
            bucket: lab.s3_bucket.clone(),
            access_key: lab.s3_access_key.clone().into(),
            secret_key: lab.s3_secret_key.clone().into(),
            single_put_bytes_max: choices
                .store
                .single_put_bytes_max
                .unwrap_or(defaults::SINGLE_PUT_BYTES_MAX),
        },
        keystore: Some(keystore),
        chains: vec![chain],
        prices: PricesConfig {
            every_tier_on: Some(vec![NETWORK]),
            project_requests_per_sec: choices.project_requests_per_sec,
            ..PricesConfig::default()
        },
        identity: IdentityConfig {
            siwx_domains: choices.siwx_domains,
            siwx_origins: Vec::new(),
            siwx_path_bound: true,
            admin_wallets: choices.admin_wallets,
        },
        stripe: choices.stripe,
        google: choices.google,
        ai: choices.ai,
        ci: choices.ci,
        functions: choices.functions,
        domains: choices.domains,
        tls: choices.tls,
    })
}

fn lab_chain(chain: ChainChoices, lab: &LabEndpoints) -> anyhow::Result<ChainConfig> {
    let payee = lab.payee_address.parse().context("the lab's payee")?;
    let own_rpc = vec![lab.chain_rpc.clone()];
    let rpc_urls = if chain.rpc_urls.is_empty() { own_rpc } else { chain.rpc_urls };
    Ok(ChainConfig {
        network: NETWORK,
        rpc_urls: rpc_urls.into_iter().map(Into::into).collect(),
        payee,
        payees: chain.payees,
        facilitate: std::iter::once(payee).chain(chain.facilitate).collect(),
        facilitated_before: Vec::new(),
        fee_payer: SignerConfig::Keystore(FEE_PAYER.to_owned()),
        faucet: Some(SignerConfig::Keystore(FAUCET.to_owned())),
        instant_max: chain.instant_max.unwrap_or(UsdMicros(defaults::INSTANT_MICROS_MAX as i64)),
        retained_blocks: chain.retained_blocks.unwrap_or(defaults::RETAINED_BLOCKS),
    })
}

fn server(
    listen: Listen,
    public_url: String,
    master_key_file: PathBuf,
    completion_wait_secs: Option<u64>,
) -> ServerConfig {
    ServerConfig {
        listen,
        public_url: Some(public_url),
        internal_url: None,
        master_key_file,
        claim_ttl_secs: defaults::CLAIM_TTL_SECS,
        body_bytes_max: defaults::BODY_BYTES_MAX,
        timeout_secs: defaults::TIMEOUT_SECS,
        concurrent_requests_max: defaults::CONCURRENT_REQUESTS_MAX,
        wait_secs_max: defaults::WAIT_SECS_MAX,
        completion_wait_secs: completion_wait_secs.unwrap_or(defaults::COMPLETION_WAIT_SECS),
        trust_forwarded_for: false,
        movable_clock: true,
        capture_mail: true,
        operator_name: "Run402 lab".to_owned(),
        operator_contact: "whoever started it".to_owned(),
    }
}

/// The node that this data directory's `up` is, made once.
///
/// It holds the directory's lock, so an earlier run of it is over: as the same node it takes that one's claims
/// back at once, under higher epochs, instead of waiting until they lapse.
///
/// # Errors
/// When the data directory cannot be written.
pub fn node(data: &Path) -> anyhow::Result<NodeId> {
    let path = data.join("node.id");
    if let Some(node) = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok()) {
        return Ok(node);
    }
    // Torn or new: a node without claims only has to wait for those of the earlier run.
    let fresh = NodeId::new(&OsEntropy);
    let _ = std::fs::remove_file(&path);
    write_new(&path, &fresh.to_string()).with_context(|| format!("writing {}", path.display()))?;
    Ok(fresh)
}

/// Makes it once. Without it nothing that was sealed opens again.
fn ensure_master_key(path: &Path) -> anyhow::Result<()> {
    let text = hex::encode(OsEntropy.secret());
    match write_new(path, &text) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        outcome => outcome.with_context(|| format!("writing {}", path.display())),
    }
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Puts the lab's signing keys where production has them, so that there is one code path.
fn store_keys(data: &Path, lab: &LabEndpoints) -> anyhow::Result<KeystoreConfig> {
    let place = KeystoreConfig { path: data.join("keystore.json"), key_file: data.join("keystore.key") };
    let mut keystore =
        Keystore::open(&place.path, &place.key_file, &OsEntropy).context("opening the lab's keystore")?;
    for (name, key) in [(FEE_PAYER, &lab.fee_payer_private_key), (FAUCET, &lab.faucet_private_key)] {
        let mut bytes = Box::new([0; 32]);
        hex::decode_to_slice(key.trim_start_matches("0x"), &mut *bytes).context("a key of the lab")?;
        keystore.put(name, &KeySecret::new(bytes), &OsEntropy).context("writing the lab's keystore")?;
    }
    Ok(place)
}

/// The stand-in for Stripe as a lab's node sees it.
pub fn stripe_choice(url: &str, webhook_secret: &str) -> StripeConfig {
    StripeConfig {
        secret_key: "sk_test_lab".into(),
        webhook_secrets: vec![webhook_secret.into()],
        account: None,
        api_base: Some(url.to_owned()),
        reconcile_secs: defaults::LAB_RECONCILE_SECS,
    }
}

/// Writes a configuration with which `run402d serve` joins the lab, on ports of its own. Readable by its
/// owner only.
///
/// # Errors
/// When the file cannot be written.
pub fn write_serve_config(config: &Config, path: &Path) -> anyhow::Result<()> {
    let text = serve_config(config)?;
    let fresh = PathBuf::from(format!("{}.new", path.display()));
    let _ = std::fs::remove_file(&fresh);
    write_new(&fresh, &text)
        .and_then(|()| std::fs::rename(&fresh, path))
        .with_context(|| format!("writing {}", path.display()))
}

fn serve_config(config: &Config) -> anyhow::Result<String> {
    use secrecy::ExposeSecret;
    let chain = config.chains.first().context("a lab has a chain")?;
    let cell = config.cells.first().context("a lab has a cell")?;
    let keystore = config.keystore.as_ref().context("a lab has a keystore")?;
    let urls: Vec<&str> = chain.rpc_urls.iter().map(ExposeSecret::expose_secret).collect();
    let (key_of_urls, urls) = match urls.as_slice() {
        [one] => ("rpc_url", serde_json::json!(one)),
        several => ("rpc_urls", serde_json::json!(several)),
    };
    let mut value = serde_json::json!({
        "server": {
            "listen": "127.0.0.1:0",
            "internal_listen": "127.0.0.1:0",
            // Nodes of one installation share its public address: offers of one are honoured by all.
            "public_url": config.server.public_url,
            "master_key_file": absolute(&config.server.master_key_file)?,
            "movable_clock": config.server.movable_clock,
            "capture_mail": config.server.capture_mail,
            "operator_name": config.server.operator_name,
            "operator_contact": config.server.operator_contact,
        },
        "sites": { "scheme": config.sites.scheme, "apex": config.sites.apex, "port": config.sites.port },
        "control_db": { "url": config.control_db.url.expose_secret() },
        "cells": [{ "name": cell.name, "url": cell.url.expose_secret() }],
        "s3": {
            "endpoint": config.s3.endpoint,
            "region": config.s3.region, "bucket": config.s3.bucket,
            "access_key": config.s3.access_key.expose_secret(),
            "secret_key": config.s3.secret_key.expose_secret(),
            "single_put_bytes_max": config.s3.single_put_bytes_max,
        },
        "keystore": { "path": absolute(&keystore.path)?, "key_file": absolute(&keystore.key_file)? },
        "chains": [{
            "network": chain.network.as_str(),
            key_of_urls: urls,
            "payee": chain.payee,
            "payees": chain.payees,
            "facilitate": chain.facilitate,
            "instant_micros_max": chain.instant_max.0,
            "retained_blocks": chain.retained_blocks,
            "fee_payer": { "keystore": FEE_PAYER },
            "faucet": { "keystore": FAUCET },
        }],
        "prices": { "every_tier_on": [NETWORK.as_str()] },
        "identity": {
            "siwx_domains": config.identity.siwx_domains,
            "admin_wallets": config.identity.admin_wallets,
        },
    });
    if let Some(rate) = config.prices.project_requests_per_sec {
        value["prices"]["project_requests_per_sec"] = rate.into();
    }
    add_optional_sections(&mut value, config)?;
    let table = toml::Table::try_from(value).context("writing the configuration as TOML")?;
    Ok(format!("# Made by `run402d up --write-serve-config`: a second node of the same lab.\n{table}"))
}

fn absolute(path: &Path) -> std::io::Result<String> {
    std::path::absolute(path).map(|path| path.display().to_string())
}

/// What only some installations have, and what has defaults.
fn add_optional_sections(value: &mut serde_json::Value, config: &Config) -> anyhow::Result<()> {
    use secrecy::ExposeSecret;
    if let Some(stripe) = &config.stripe {
        let secrets: Vec<&str> = stripe.webhook_secrets.iter().map(ExposeSecret::expose_secret).collect();
        value["stripe"] = serde_json::json!({
            "secret_key": stripe.secret_key.expose_secret(),
            "webhook_secrets": secrets,
            "api_base": stripe.api_base,
            "reconcile_secs": stripe.reconcile_secs,
        });
    }
    if let Some(google) = &config.google {
        value["google"] = serde_json::json!({
            "client_id": google.client_id,
            "client_secret": google.client_secret.expose_secret(),
            "issuer": google.issuer,
        });
    }
    if let Some(ai) = &config.ai {
        value["ai"] = serde_json::json!({
            "base_url": ai.provider.base_url,
            "image_model": ai.provider.image_model,
            "text_model": ai.provider.text_model,
            "moderation_model": ai.provider.moderation_model,
            "image_sizes": ai.provider.image_sizes,
            "timeout_secs": ai.provider.timeout.as_secs(),
            "translated_words": ai.translated_words,
        });
        if let Some(key) = &ai.provider.api_key {
            value["ai"]["api_key"] = key.expose_secret().into();
        }
    }
    value["ci"] = serde_json::json!({ "issuer": config.ci.issuer, "audiences": config.ci.audiences });
    // A second node shares the names; it has no TLS of its own unless it is given a port.
    value["domains"] = serde_json::json!({ "addresses": config.domains.addresses });
    if let Some(resolver) = config.domains.resolver {
        value["domains"]["resolver"] = resolver.to_string().into();
    }
    if let Some(functions) = &config.functions {
        value["functions"] = serde_json::json!({
            "node": absolute(&functions.node)?,
            "esbuild": absolute(&functions.esbuild)?,
            "folder": absolute(&functions.folder)?,
            "workers_max": functions.workers_max,
        });
        if let Some(packages) = &functions.packages {
            value["functions"]["npm"] = absolute(&packages.npm)?.into();
            value["functions"]["npm_registry"] = packages.registry.as_str().into();
            if let Some(file) = &packages.ca_file {
                value["functions"]["npm_ca_file"] = absolute(file)?.into();
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
