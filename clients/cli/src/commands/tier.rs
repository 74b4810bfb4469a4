//! `run402 tier`.

use client::Call;
use serde_json::Value;

use super::Outcome;
use crate::context::Context;

#[derive(Debug, clap::Subcommand)]
pub enum Tier {
    /// Show the wallet's tier, its lease and its usage.
    Status,
    /// Subscribe to a tier, renew it or move to it. Pays when the server asks.
    Set {
        /// prototype, hobby or team.
        tier: String,
    },
}

pub async fn run(tier: Tier, context: &Context) -> Outcome {
    match tier {
        Tier::Status => context.client()?.call(Call::new("tiers.status").wallet()).await,
        Tier::Set { tier } => {
            let client = context.paying().await?;
            // Any word goes to the server: it knows its tiers.
            let answer = client.send(Call::new("tiers.set").path("tier", tier).wallet()).await?;
            Ok(with_receipt(answer.body, answer.receipt))
        }
    }
}

/// The body, and under `payment` the receipt of what was paid for it.
pub(super) fn with_receipt(mut body: Value, receipt: Option<Value>) -> Value {
    if let (Some(fields), Some(receipt)) = (body.as_object_mut(), receipt) {
        fields.entry("payment").or_insert(receipt);
    }
    body
}
