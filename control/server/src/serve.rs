//! One node on the services that a configuration names.

use serde_json::json;
use types::{NodeId, OsEntropy};

use crate::config::Config;
use crate::drain::StopSignals;
use crate::node::{Bound, Names, Node};
use crate::{ready, wire};

/// Serves until told to stop.
///
/// # Errors
/// When something that the configuration names does not answer, or is not what it should be.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut signals = StopSignals::listen()?;
    let names = Names { api: "server.listen", internal: "server.internal_listen", tls: "tls.listen" };
    let bound = Bound::bind(config.server.listen, config.tls.as_ref().map(|tls| tls.listen), names).await?;
    let api = config.server.public_url.clone().unwrap_or_else(|| bound.api_url());
    let starting = async {
        let store = wire::migrated_store(&config).await?;
        let deps = wire::deps(&config, store, NodeId::new(&OsEntropy), bound.ports()).await?;
        Node::start(&config, deps, bound, None).await
    };
    let node = tokio::select! {
        started = starting => started?,
        () = signals.next() => return Ok(()),
    };
    ready::print(&json!({
        "ready": true,
        "api": api,
        "listen": node.listen(),
        "tls": node.tls_listen(),
        "internal": node.internal_url(),
    }));
    signals.next().await;
    signals.second_ends_at_once();
    tracing::info!("draining");
    node.stop().await;
    Ok(())
}
