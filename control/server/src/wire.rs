//! Makes the adapters that a configuration names: the only place that knows concrete ones.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use actors::{AiDeps, ChainDeps, Chains, Deps};
use anyhow::{Context, bail};
use chain::alloy_rpc::AlloyRpc;
use chain::keystore::Keystore;
use chain::kms::{KmsPlace, KmsSigner};
use chain::quorum::QuorumRpc;
use chain::rpc::ChainRpc;
use chain::signer::Signer;
use secrecy::{ExposeSecret, SecretString};
use store::cells::{CellConfig, Cells};
use store::{MasterKey, Store};
use types::{Clock, Entropy, NodeId, OsEntropy, ShiftedClock, SystemClock};

use crate::config::{ChainConfig, Config, SignerConfig};
use crate::{functions_wiring, ready};

/// The ports that URLs may have to name.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ports {
    pub api: u16,
    pub tls: Option<u16>,
}

/// Connects to everything else, given the control database at its newest version.
///
/// # Errors
/// Says which service failed and which key of the configuration names it.
pub async fn deps(config: &Config, store: Store, node: NodeId, ports: Ports) -> anyhow::Result<Arc<Deps>> {
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let master_key = master_key(&config.server.master_key_file)?;
    let cells =
        config.cells.iter().map(|cell| CellConfig::new(&cell.name, cell.url.expose_secret())).collect();
    let cells = Cells::connect(cells, &master_key, &store)
        .await
        .context("connecting to the tenant database servers (cells)")?;
    let chains = chains(config, &*entropy).await?;
    let mut prices = billing::PriceTable::default();
    if let Some(networks) = &config.prices.every_tier_on {
        prices = prices.on_networks(networks);
    }
    for (tier, price) in &config.prices.tiers {
        prices = prices.at_price(*tier, *price);
    }
    if let Some(price) = config.prices.image {
        prices = prices.images_at(price);
    }
    if let Some(rate) = config.prices.project_requests_per_sec {
        prices.project_requests_per_sec = rate;
    }
    let prices = prices.only_networks(|network| chains.get(network).is_some());
    let s3 = &config.s3;
    let (access, secret) = (s3.access_key.expose_secret(), s3.secret_key.expose_secret());
    let blobs = blobs::S3Blobs::new(&s3.endpoint, &s3.region, &s3.bucket, access, secret);
    // A proxy in front has the scheme's own port; without one, sites are where the API is.
    let own_port = config.server.public_url.is_none().then_some(ports.api);
    let port = config.sites.port.or(own_port);
    let movable = match config.server.movable_clock {
        true => Some(Arc::new(moved_clock(&store).await?)),
        false => None,
    };
    let clock: Arc<dyn Clock> = match &movable {
        Some(movable) => movable.clone(),
        None => Arc::new(SystemClock),
    };
    let functions = functions_wiring::host(config, &store, &clock, ports.api).await?;
    let meter = actors::meter::Meter::new(&*entropy);
    let cards = cards(config, &master_key)?;
    let google = config.google.clone().map(|google| users::oidc::Provider::new(google.provider()));
    let google = google.transpose().context("google")?;
    Ok(Arc::new(Deps {
        store,
        node,
        clock,
        wall: Arc::new(SystemClock),
        movable,
        meter,
        entropy,
        master_key,
        chains,
        users: users::Users::new(cells.clone()).with_google(google),
        captures_mail: config.server.capture_mail,
        cells,
        blobs: Arc::new(blobs),
        functions,
        cards,
        ai: ai(config)?,
        prices,
        hosts: hosts(config, port, ports.tls),
        dns: dns(config),
        acme: config.tls.as_ref().map(|tls| sites::Acme::new(tls.acme.clone())),
        actors: OnceLock::new(),
    }))
}

/// How names are read and written.
fn hosts(config: &Config, port: Option<u16>, tls_port: Option<u16>) -> sites::Hosts {
    let public = config.server.public_url.as_deref().and_then(crate::node::host_of);
    let api = config.identity.siwx_domains.iter().cloned().chain(public).collect();
    let hosts = sites::Hosts::new(&config.sites.scheme, &config.sites.apex, port).with_api(api);
    match config.tls.as_ref().and_then(|tls| tls.port).or(tls_port) {
        Some(port) => hosts.with_tls(port),
        None => hosts,
    }
}

/// What asks about tenants' own domains. A server without DNS works, but for those.
fn dns(config: &Config) -> Option<sites::Dns> {
    let dns = sites::Dns::new(config.domains.dns(&config.sites.apex));
    dns.inspect_err(|e| tracing::warn!(error = e as &dyn std::error::Error, "no domains of tenants' own"))
        .ok()
}

/// The Stripe account of the configuration, if it has one. Asks nothing of it yet.
fn cards(config: &Config, master_key: &MasterKey) -> anyhow::Result<Option<Arc<billing::stripe::Cards>>> {
    let Some(stripe) = config.stripe.clone() else { return Ok(None) };
    let cards = billing::stripe::Cards::new(billing::stripe::CardsConfig {
        secret_key: stripe.secret_key,
        webhook_secrets: stripe.webhook_secrets,
        account: stripe.account,
        api_base: stripe.api_base,
        reconcile_secs: stripe.reconcile_secs,
        platform: master_key.derive("stripe/platform").chars().take(16).collect(),
    });
    cards.map(|cards| Some(Arc::new(cards))).context("stripe")
}

/// The AI provider of the configuration, if it has one. Asks nothing of it.
fn ai(config: &Config) -> anyhow::Result<Option<AiDeps>> {
    let Some(ai) = &config.ai else { return Ok(None) };
    let provider = ai::OpenAi::new(ai.provider.clone()).context("ai")?;
    Ok(Some(AiDeps {
        provider: Arc::new(provider),
        timeout: ai.provider.timeout,
        translated_words: ai.translated_words,
    }))
}

/// A lab's clock, as far forward as it was moved before.
async fn moved_clock(store: &Store) -> anyhow::Result<ShiftedClock> {
    let clock = ShiftedClock::default();
    clock.raise(store::lab_clock::lab_clock_shift(store).await.context("reading the lab's clock")?);
    Ok(clock)
}

/// Brings the control database to this version.
///
/// # Errors
/// When it does not answer, or belongs to a newer version.
pub async fn migrate(config: &Config, grants: &[String]) -> anyhow::Result<()> {
    let store = migrated_store(config).await?;
    for role in grants {
        store.grant_serving(role).await.with_context(|| format!("granting to {role}"))?;
    }
    ready::print(&serde_json::json!({ "migrated": true }));
    Ok(())
}

/// Looks at what can be looked at without a service: the files that the configuration names.
///
/// # Errors
/// With every file that cannot be used.
pub fn check(config: &Config) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    if let Err(e) = master_key(&config.server.master_key_file) {
        wrong.push(format!("server.master_key_file: {e:#}"));
    }
    for (key, path) in config.keystore.iter().flat_map(|k| [("path", &k.path), ("key_file", &k.key_file)]) {
        if let Err(e) = std::fs::File::open(path) {
            wrong.push(format!("keystore.{key}: cannot read {}: {e}", path.display()));
        }
    }
    if !wrong.is_empty() {
        bail!("files that the configuration names cannot be used:\n  {}", wrong.join("\n  "));
    }
    ready::print(&serde_json::json!({ "ok": true }));
    Ok(())
}

/// Connects to the control database and brings it to this version.
///
/// # Errors
/// When it does not answer, or belongs to a newer version.
pub async fn migrated_store(config: &Config) -> anyhow::Result<Store> {
    let store = store(config).await?;
    store.migrate().await.context("migrating the control database")?;
    Ok(store)
}

/// Connects to the control database as it is.
///
/// # Errors
/// When it does not answer.
pub async fn store(config: &Config) -> anyhow::Result<Store> {
    let db = &config.control_db;
    Store::connect(db.url.expose_secret(), db.connections_max)
        .await
        .context("connecting to the control database (control_db.url)")
}

/// Reads 64 hex digits.
fn master_key(path: &Path) -> anyhow::Result<MasterKey> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = SecretString::from(text);
    let mut key = [0; 32];
    hex::decode_to_slice(text.expose_secret().trim(), &mut key)
        .map_err(|_| anyhow::anyhow!("{} does not hold 64 hex digits", path.display()))?;
    Ok(MasterKey::new(key))
}

async fn chains(config: &Config, entropy: &dyn Entropy) -> anyhow::Result<Chains> {
    let mut keystore = match &config.keystore {
        // It would make both files when neither is there, and a key made silently is one that nobody funded.
        Some(place) if place.path.exists() => {
            Some(Keystore::open(&place.path, &place.key_file, entropy).context("opening the keystore")?)
        }
        Some(place) => bail!("keystore.path: there is no {}", place.path.display()),
        None => None,
    };
    let mut chains = Chains::default();
    for chain in &config.chains {
        let deps = chain_deps(chain, keystore.as_mut(), entropy)
            .await
            .with_context(|| format!("the chain {}", chain.network))?;
        chains.0.insert(chain.network, deps);
    }
    Ok(chains)
}

async fn chain_deps(
    config: &ChainConfig,
    mut keystore: Option<&mut Keystore>,
    entropy: &dyn Entropy,
) -> anyhow::Result<ChainDeps> {
    let rpc = chain_rpc(config).await?;
    let fee_payer = signer(&config.fee_payer, keystore.as_deref_mut(), entropy).await.context("fee_payer")?;
    let faucet = match &config.faucet {
        Some(faucet) => Some(signer(faucet, keystore, entropy).await.context("faucet")?),
        None => None,
    };
    let mut payees = config.payees.clone();
    if !payees.contains(&config.payee) {
        payees.push(config.payee);
    }
    Ok(ChainDeps {
        network: config.network,
        rpc,
        fee_payer,
        faucet,
        payee: config.payee,
        payees,
        facilitated: config.facilitate.clone(),
        facilitated_before: config.facilitated_before.clone(),
        instant_max: config.instant_max,
        retained_blocks: config.retained_blocks,
    })
}

/// Every node is asked who it is before any is believed.
async fn chain_rpc(config: &ChainConfig) -> anyhow::Result<Arc<dyn ChainRpc>> {
    let mut nodes: Vec<Arc<dyn ChainRpc>> = Vec::new();
    for url in &config.rpc_urls {
        let rpc = AlloyRpc::new(config.network, url.expose_secret()).context("rpc_url")?;
        chain::rpc::self_check(&rpc).await.context("rpc_url")?;
        nodes.push(Arc::new(rpc));
    }
    match nodes.as_slice() {
        [one] => Ok(one.clone()),
        _ => Ok(Arc::new(QuorumRpc::new(config.network, nodes))),
    }
}

async fn signer(
    config: &SignerConfig,
    keystore: Option<&mut Keystore>,
    entropy: &dyn Entropy,
) -> anyhow::Result<Arc<dyn Signer>> {
    match (config, keystore) {
        (SignerConfig::Keystore(name), Some(keystore)) => Ok(Arc::new(keystore.signer(name, entropy)?)),
        (SignerConfig::Keystore(name), None) => {
            bail!("the key {name} is in a keystore, and none is configured")
        }
        (SignerConfig::Kms { key_id, region, endpoint }, _) => {
            let place = KmsPlace { region: region.clone(), endpoint: endpoint.clone() };
            Ok(Arc::new(KmsSigner::connect(place.client().await, key_id.clone()).await?))
        }
    }
}
