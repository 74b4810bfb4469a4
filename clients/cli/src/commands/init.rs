//! `run402 init`: from nothing to a wallet with test money.

use client::local::Created;
use client::{Call, Client, ClientError, WalletKey};
use serde_json::{Value, json};
use types::{Network, OsEntropy, UsdMicros};

use super::Outcome;
use crate::context::Context;

/// Makes the wallet unless there is one, asks the faucet when the wallet is empty, and shows the tier. A
/// faucet that refuses and a tier that cannot be read are shown, not failed on; a server that cannot be
/// reached is a failure.
pub async fn run(context: &Context) -> Outcome {
    // Files that cannot be used are found out before the faucet pays.
    let projects = context.projects.load()?;
    let fresh = WalletKey::generate(&OsEntropy);
    let (allowance, created) = context.allowance.create(&fresh, &context.now())?;
    let client = context.signing(allowance.key())?;
    let rpc = client.lab_chain_rpc().await?;

    let before = balance(&client, rpc.as_deref()).await;
    let is_empty = before.map_or(!allowance.is_funded(), |held| held == UsdMicros::ZERO);
    let faucet = if is_empty { fund(context, &client, rpc.as_deref()).await? } else { Value::Null };
    let after = if is_empty { balance(&client, rpc.as_deref()).await } else { before };
    let tier = client.call(Call::new("tiers.status").wallet()).await.ok();

    let active = tier.as_ref().is_some_and(|tier| tier["active"] == true && tier["tier"].is_string());
    let next = match (active, projects.is_empty()) {
        (false, _) => "run402 tier set prototype",
        (true, true) => "run402 projects provision --name my-app",
        (true, false) => "run402 sites deploy-dir ./dist",
    };
    Ok(json!({
        "status": "ok",
        "api_base": client.base(),
        "allowance": {
            "address": allowance.key().address_text(),
            "created": created == Created::Now,
            "path": context.allowance.path().display().to_string(),
        },
        "rail": "x402",
        "network": "base-sepolia",
        "balance_usd_micros": after.map(|held| held.0),
        "faucet": faucet,
        "tier": tier,
        "projects_saved": projects.len(),
        "next": next,
    }))
}

/// Asks the faucet and notes that it paid. Its refusal is the answer to show.
pub(super) async fn fund(context: &Context, client: &Client, rpc: Option<&str>) -> Outcome {
    match client.request_faucet(rpc).await {
        Ok(answer) => {
            context.allowance.note_faucet(&context.now())?;
            Ok(answer)
        }
        Err(error @ ClientError::Refused(_)) => Ok(error.to_json()),
        Err(error) => Err(error),
    }
}

async fn balance(client: &Client, rpc: Option<&str>) -> Option<UsdMicros> {
    client.usdc_balance(rpc?, Network::BaseSepolia).await.ok()
}
