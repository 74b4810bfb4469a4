//! `run402 status`: everything about the wallet at a glance.

use client::Call;
use serde_json::{Value, json};
use types::Network;

use super::Outcome;
use crate::context::Context;

/// Asks for everything at once; a part that cannot be read is null.
pub async fn run(context: &Context) -> Outcome {
    let allowance = context.wallet()?;
    let client = context.signing(allowance.key())?;
    let wallet = allowance.key().wallet();
    let (tier, billing, projects, balance) = tokio::join!(
        client.call(Call::new("tiers.status").wallet()),
        client.call(Call::new("billing.balance").path("identifier", wallet)),
        client.call(Call::new("wallets.projects").path("wallet", wallet)),
        async {
            let rpc = client.lab_chain_rpc().await.ok()??;
            client.usdc_balance(&rpc, Network::BaseSepolia).await.ok()
        },
    );
    let billing = billing.ok().filter(|billing| billing["exists"] != false);
    let saved = context.projects.load()?;
    let projects = projects.ok().map(|mut answer| answer["projects"].take());
    Ok(json!({
        "status": "ok",
        "api_base": client.base(),
        "allowance": allowance.public_fields(),
        "balances": { "base_sepolia_usd_micros": balance.map(|held| held.0) },
        "tier": tier.ok(),
        "billing": billing,
        "projects": projects.filter(Value::is_array),
        "active_project_id": saved.active(),
    }))
}
