//! The whole platform on this machine: the lab's servers, and one node on them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use lab::{Lab, LabConfig, LabEndpoints};
use serde_json::{Value, json};
use stripe_fake::{FakeConfig, StripeFake};
use types::{Entropy, OsEntropy};

use crate::cli::{AiArgs, CardArgs, GoogleArgs, NamesArgs, UpArgs};
use crate::config::{
    AiConfig, CiConfig, Config, DomainsConfig, FunctionsConfig, GoogleConfig, Listen, StripeConfig,
    TlsConfig, defaults, is_issuer,
};
use crate::drain::StopSignals;
use crate::lab_config::{self, Choices};
use crate::node::{Bound, Names, Node};
use crate::{ready, wire};

const BLOCK_TIME_SECS: u64 = 1;
/// How long everything may take to answer once it is started.
const READY_SECS_MAX: u64 = 60;
const READY_POLL: Duration = Duration::from_millis(100);

/// Runs until told to stop, or until one of the lab's servers dies for good.
///
/// # Errors
/// In one line, when something cannot be started.
pub async fn run(arguments: UpArgs) -> anyhow::Result<()> {
    let mut signals = StopSignals::listen()?;
    // First of all: a busy port should not cost the start of two databases.
    let listen = Listen { api: arguments.listen, internal: SocketAddr::from(([127, 0, 0, 1], 0)) };
    let names = Names { api: "--listen", internal: "--listen", tls: "--tls-listen" };
    let bound = Bound::bind(listen, arguments.names.tls_listen, names).await?;
    let data = std::path::absolute(&arguments.data).context("the data directory")?;
    let starting = Lab::start(lab_settings(&data, &arguments), &progress);
    let mut lab = tokio::select! {
        lab = starting => lab.map_err(|e| flagged(e, &arguments))?,
        () = signals.next() => return Ok(()),
    };
    let outcome = run_node(&arguments, &data, &mut lab, bound, signals).await;
    progress("stopping the lab");
    let stopped = lab.stop().await.context("stopping the lab");
    outcome.and(stopped)
}

async fn run_node(
    arguments: &UpArgs,
    data: &Path,
    lab: &mut Lab,
    bound: Bound,
    mut signals: StopSignals,
) -> anyhow::Result<()> {
    let api = bound.api_url();
    let (stripe, _fake) = cards(&arguments.cards, &api).await?;
    let config = configure(arguments, data, &bound, lab.endpoints(), stripe)?;
    if let Some(path) = &arguments.write_serve_config {
        lab_config::write_serve_config(&config, path)?;
    }
    let mut facts = facts(&api, data, &config, lab.endpoints());
    facts["tls"] = bound.tls_address().map(|address| address.to_string()).into();
    let starting = async {
        let store = wire::migrated_store(&config).await?;
        let deps = wire::deps(&config, store, lab_config::node(data)?, bound.ports()).await?;
        let node = Node::start(&config, deps, bound, Some(facts.clone())).await?;
        healthy(&node).await?;
        anyhow::Ok(node)
    };
    let node = tokio::select! {
        node = starting => node?,
        failure = lab.failed() => return Err(failure.into()),
        () = signals.next() => return Ok(()),
    };
    ready::print(&ready_line(&facts, lab.endpoints(), &node));
    welcome(&api, &config);
    let failure = tokio::select! {
        () = signals.next() => None,
        failure = lab.keep_running(&progress) => Some(failure),
    };
    signals.second_ends_at_once();
    progress("finishing what is under way; Ctrl-C again ends at once");
    node.stop().await;
    match failure {
        Some(failure) => Err(failure.into()),
        None => Ok(()),
    }
}

/// The lab that `up` and `books verify` mean by a data directory.
pub fn lab_settings(data: &Path, arguments: &UpArgs) -> LabConfig {
    LabConfig {
        data: data.to_path_buf(),
        tools: arguments.tools.clone(),
        chain_listen: arguments.chain_listen,
        block_time_secs: BLOCK_TIME_SECS,
    }
}

/// Adds the flag that would help, where there is one.
fn flagged(error: lab::LabError, arguments: &UpArgs) -> anyhow::Error {
    let port = arguments.chain_listen.port();
    match &error {
        lab::LabError::PortInUse { port: busy, .. } if *busy == port => {
            anyhow::anyhow!("{error} with --chain-listen")
        }
        _ => error.into(),
    }
}

/// The card side of the lab: a stand-in of its own, one that runs elsewhere, or none. It ends with the value.
async fn cards(
    arguments: &CardArgs,
    api: &str,
) -> anyhow::Result<(Option<StripeConfig>, Option<StripeFake>)> {
    if arguments.no_cards {
        return Ok((None, None));
    }
    if let (Some(url), Some(secret)) = (&arguments.stripe_url, &arguments.stripe_webhook_secret) {
        return Ok((Some(lab_config::stripe_choice(url, secret)), None));
    }
    let secret = format!("whsec_{}", hex::encode(OsEntropy.secret()));
    let fake = StripeFake::start(FakeConfig {
        listen: arguments.stripe_listen,
        webhook_secret: secret.clone(),
        webhook_url: Some(format!("{api}/webhooks/v1/stripe")),
    });
    let fake = fake.await.context("starting the stand-in for Stripe (--stripe-listen)")?;
    Ok((Some(lab_config::stripe_choice(&fake.url(), &secret)), Some(fake)))
}

/// What runs functions, when `cargo xtask tools` brought it.
fn functions(arguments: &UpArgs, data: &Path) -> Option<FunctionsConfig> {
    let tools = lab::function_tools(arguments.tools.as_deref());
    if tools.is_none() {
        progress("no Node, esbuild and npm among the tools: functions are stored and not run");
    }
    let lab::FunctionTools { node, esbuild, npm } = tools?;
    Some(FunctionsConfig {
        node,
        esbuild,
        folder: data.join("functions"),
        isolation: functions::Isolation::Namespaces,
        workers_max: defaults::WORKERS_MAX,
        packages: Some(functions::PackagesConfig {
            npm,
            registry: arguments.npm.npm_registry.clone(),
            ca_file: arguments.npm.npm_ca_file.clone().filter(|file| file.is_file()),
        }),
        optional: true,
    })
}

/// The client for sign-ins with Google, if there is one.
fn google(arguments: &GoogleArgs) -> anyhow::Result<Option<GoogleConfig>> {
    let (Some(id), Some(secret)) = (&arguments.google_client_id, &arguments.google_client_secret) else {
        return Ok(None);
    };
    let issuer = arguments.google_issuer.as_deref().unwrap_or(users::oidc::GOOGLE_ISSUER);
    if !is_issuer(issuer) {
        bail!("--google-issuer is https://, or http:// on this machine");
    }
    Ok(Some(GoogleConfig {
        client_id: id.clone(),
        client_secret: secret.clone().into(),
        issuer: issuer.to_owned(),
    }))
}

/// The AI provider, if there is one.
fn ai(arguments: &AiArgs) -> anyhow::Result<Option<AiConfig>> {
    let Some(url) = &arguments.ai_url else { return Ok(None) };
    if !is_issuer(url) {
        bail!("--ai-url is https://, or http:// on this machine");
    }
    let mut config = AiConfig::at(url, arguments.ai_key.clone().map(Into::into));
    if let Some(secs) = arguments.ai_timeout {
        config.provider.timeout = std::time::Duration::from_secs(secs);
    }
    Ok(Some(config))
}

/// Whose workflows may deploy.
fn ci(arguments: &UpArgs) -> anyhow::Result<CiConfig> {
    let Some(issuer) = arguments.ci_issuer.clone() else { return Ok(CiConfig::default()) };
    if !is_issuer(&issuer) {
        bail!("--ci-issuer is https://, or http:// on this machine");
    }
    Ok(CiConfig { issuer, ..CiConfig::default() })
}

/// Where names are looked up and certificates come from.
fn names(arguments: &NamesArgs) -> (DomainsConfig, Option<TlsConfig>) {
    let domains = DomainsConfig { resolver: arguments.dns_resolver, ..DomainsConfig::default() };
    let tls =
        arguments.tls_listen.zip(arguments.acme_directory.clone()).map(|(listen, directory)| TlsConfig {
            listen,
            port: None,
            redirects: arguments.tls_redirect,
            acme: sites::AcmeConfig {
                directory,
                root: arguments.acme_root.clone(),
                contact: None,
                orders_per_hour_max: defaults::ORDERS_PER_HOUR_MAX as i64,
            },
        });
    (domains, tls)
}

fn configure(
    arguments: &UpArgs,
    data: &Path,
    bound: &Bound,
    lab: &LabEndpoints,
    stripe: Option<StripeConfig>,
) -> anyhow::Result<Config> {
    let api = bound.api_address();
    let host = match api.ip() {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let mut domains: Vec<String> = ["localhost", "127.0.0.1", "::1", "[::1]"].map(str::to_owned).into();
    domains.push(host);
    domains.extend(arguments.siwx_domains.iter().map(|name| name.to_ascii_lowercase()));
    domains.sort();
    domains.dedup();
    let (names, tls) = names(&arguments.names);
    let choices = Choices {
        data,
        listen: Listen { api, internal: SocketAddr::from(([127, 0, 0, 1], 0)) },
        public_url: bound.api_url(),
        apex: arguments.apex.to_ascii_lowercase(),
        port: api.port(),
        siwx_domains: domains,
        admin_wallets: arguments.admin_wallets.clone(),
        single_put_bytes_max: arguments.single_put_bytes_max,
        chain: lab_config::ChainChoices {
            rpc_urls: arguments.chain.chain_rpc.clone(),
            payees: arguments.chain.retired_payees.clone(),
            facilitate: arguments.chain.facilitate.clone(),
            instant_max: arguments.chain.instant_micros_max.map(types::UsdMicros),
            retained_blocks: arguments.chain.retained_blocks,
        },
        stripe,
        google: google(&arguments.google)?,
        ai: ai(&arguments.ai)?,
        ci: ci(arguments)?,
        domains: names,
        tls,
        functions: functions(arguments, data),
    };
    lab_config::make(choices, lab)
}

/// What anyone may know about the lab; shown in `GET /status`, so no secrets.
fn facts(api: &str, data: &Path, config: &Config, lab: &LabEndpoints) -> Value {
    json!({
        "api": api,
        "chain_rpc": lab.chain_rpc,
        "chain_id": lab::CHAIN_ID,
        "s3": lab.s3_endpoint,
        "data": data,
        "sites": sites_pattern(config),
        "stripe": config.stripe.as_ref().and_then(|stripe| stripe.api_base.as_deref()),
        "token": lab.token_address,
        "payee": lab.payee_address,
        "faucet": lab.faucet_address,
        "fee_payer": lab.fee_payer_address,
    })
}

fn sites_pattern(config: &Config) -> String {
    let port = config.sites.port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://<name>.{}{port}", config.sites.scheme, config.sites.apex)
}

fn ready_line(facts: &Value, lab: &LabEndpoints, node: &Node) -> Value {
    let mut line = json!({ "ready": true });
    for (name, value) in facts.as_object().into_iter().flatten() {
        line[name.as_str()] = value.clone();
    }
    line["postgres"] = lab.control_url.as_str().into();
    line["cell_postgres"] = lab.cell_url.as_str().into();
    line["postgres_socket_dir"] = lab.postgres_socket_dir.display().to_string().into();
    line["internal"] = node.internal_url().into();
    line["pid"] = std::process::id().into();
    line
}

/// Waits until every check of `GET /health` passes.
async fn healthy(node: &Node) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(READY_SECS_MAX);
    loop {
        let health = node.plane().health().await;
        // A halted watcher waits for a person, who needs a server that runs.
        if health.is_healthy() || health.failing().all(|name| name.starts_with(plane::status::WATCHER)) {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            let failing: Vec<_> = health.failing().collect();
            bail!("not ready after {READY_SECS_MAX} seconds: {} fail", failing.join(", "));
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

fn progress(text: &str) {
    eprintln!("run402d: {text}");
}

/// The next commands, for whoever reads the terminal.
fn welcome(api: &str, config: &Config) {
    let sites = &config.sites;
    let port = sites.port.map(|port| format!(":{port}")).unwrap_or_default();
    let base = if api == "http://127.0.0.1:4020" {
        String::new()
    } else {
        format!("  export RUN402_API_BASE={api}\n")
    };
    let folder = std::env::current_exe().ok().and_then(|path| path.parent().map(PathBuf::from));
    let path =
        folder.map(|folder| format!("  export PATH=\"{}:$PATH\"\n", folder.display())).unwrap_or_default();
    eprintln!(
        "\nrun402d is ready at {api} (health: {api}/health, status: {api}/status)\n\n\
         In another terminal:\n{path}{base}\
         \x20 run402 init\n\
         \x20 run402 tier set prototype\n\
         \x20 run402 projects provision --name my-app\n\
         \x20 run402 projects sql <id> \"create table items (id serial primary key, title text not null)\"\n\
         \x20 run402 sites deploy-dir ./dist\n\
         \x20 run402 subdomains claim my-app      # {scheme}://my-app.{apex}{port}\n\n\
         Ctrl-C stops everything; the data stays.\n",
        scheme = sites.scheme,
        apex = sites.apex,
    );
}
