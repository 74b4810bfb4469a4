//! Makes what builds and runs functions.

use std::net::SocketAddr;
use std::sync::Arc;

use actors::functions::{FunctionHost, HostParts, keep_logs};
use anyhow::{Context, bail};
use functions::{Bundler, Cgroups, Egress, Gateway, RunnerConfig, Workers};
use store::Store;
use types::Clock;

use crate::config::{Config, FunctionsConfig};

/// Lines of logs on their way to the database. More are dropped.
const LOG_LINES_MAX: usize = 20_000;

/// The host of functions, if this server is to run them. Its sandbox was asked for: where the machine refuses
/// it, a server that may go without starts and says so.
///
/// # Errors
/// When the folder cannot be made, or the machine refuses a sandbox and that is not optional.
pub async fn host(
    config: &Config,
    store: &Store,
    clock: &Arc<dyn Clock>,
    api_port: u16,
) -> anyhow::Result<Option<Arc<FunctionHost>>> {
    let Some(chosen) = &config.functions else { return Ok(None) };
    let runner = runner(chosen)?;
    let api_base = config.server.public_url.clone();
    let local = SocketAddr::from(([127, 0, 0, 1], api_port));
    let api_base = api_base.unwrap_or_else(|| format!("http://{local}"));
    let egress = Arc::new(Egress::new(gateway(config, &api_base, api_port)?));
    let (logs, lines) = tokio::sync::mpsc::channel(LOG_LINES_MAX);
    tokio::spawn(keep_logs(store.clone(), clock.clone(), lines));
    let workers = Workers::new(runner.clone(), egress.clone(), logs.clone());
    let bundler = Bundler::new(runner);
    let host =
        FunctionHost::new(HostParts { workers, bundler, egress, logs, api_base, keys: plane::keys::keys_of });
    match host.probe().await {
        Ok(()) => match host.workers().ungrouped() {
            None => tracing::info!("functions run in a sandbox, each with a control group of its own"),
            Some(why) => {
                tracing::info!(
                    why,
                    "functions run without control groups: each process has limits of its own"
                );
            }
        },
        Err(why) if chosen.optional => {
            tracing::warn!(why, "this machine gives no sandbox: functions are stored and not run");
        }
        Err(why) => bail!(
            "functions: this machine gives no sandbox ({why}); allow user namespaces, remove [functions], or set \
             functions.isolation to \"none\" where all code is your own"
        ),
    }
    Ok(Some(Arc::new(host)))
}

fn runner(chosen: &FunctionsConfig) -> anyhow::Result<RunnerConfig> {
    // Another node of the same configuration may run beside; what others left there is of no use to anybody.
    for left in std::fs::read_dir(&chosen.folder).into_iter().flatten().flatten() {
        if !std::path::Path::new("/proc").join(left.file_name()).exists() {
            let _ = std::fs::remove_dir_all(left.path());
        }
    }
    let folder = chosen.folder.join(std::process::id().to_string());
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("functions.folder: making {}", folder.display()))?;
    Ok(RunnerConfig {
        node: chosen.node.clone(),
        esbuild: chosen.esbuild.clone(),
        launcher: std::env::current_exe().context("finding this program")?,
        folder,
        isolation: chosen.isolation,
        cgroups: Cgroups::find(),
        workers_max: usize::try_from(chosen.workers_max).unwrap_or(usize::MAX),
        packages: chosen.packages.clone(),
    })
}

/// Functions reach the API by its public name. Without TLS that is this process; with TLS it is what ends it.
fn gateway(config: &Config, api_base: &str, api_port: u16) -> anyhow::Result<Gateway> {
    let uri: http::Uri = api_base.parse().context("server.public_url")?;
    let host = uri.host().context("server.public_url names no host")?.to_ascii_lowercase();
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let plain = uri.scheme_str() == Some("http");
    let port = uri.port_u16().unwrap_or(if plain { 80 } else { 443 });
    let mut own = config.server.listen.api;
    own.set_port(api_port);
    if own.ip().is_unspecified() {
        own.set_ip([127, 0, 0, 1].into());
    }
    Ok(Gateway { host, port, apex: config.sites.apex.clone(), address: plain.then_some(own) })
}
