//! `run402 billing`.

use client::{Call, LocalError};
use serde_json::json;

use super::Outcome;
use crate::context::Context;

const HISTORY_LIMIT: u32 = 50;

#[derive(Debug, clap::Subcommand)]
pub enum Billing {
    /// Show an account's credit.
    Balance {
        /// A wallet or an e-mail address; this machine's wallet unless given.
        account: Option<String>,
    },
    /// Show an account's movements.
    History {
        /// A wallet or an e-mail address; this machine's wallet unless given.
        account: Option<String>,
        /// How many.
        #[arg(long, default_value_t = HISTORY_LIMIT)]
        limit: u32,
        /// The next_cursor of the page before.
        #[arg(long)]
        after: Option<String>,
    },
    /// What the account's wallets may spend of its credit in a day.
    #[command(subcommand)]
    Budget(Budget),
}

#[derive(Debug, clap::Subcommand)]
pub enum Budget {
    /// List them, with what was spent today.
    List,
    /// Limit what may be spent in a day.
    Set {
        /// Count this wallet's debits only.
        #[arg(long)]
        wallet: Option<String>,
        /// Count debits for this project only.
        #[arg(long)]
        project: Option<String>,
        /// In millionths of a dollar.
        #[arg(long, value_name = "MICROS", required_unless_present = "none")]
        limit_usd_micros: Option<u64>,
        /// Take the budget away.
        #[arg(long, conflicts_with = "limit_usd_micros")]
        none: bool,
    },
}

async fn budget(command: Budget, context: &Context) -> Outcome {
    let call = match command {
        Budget::List => Call::new("billing.budgets.list"),
        Budget::Set { wallet, project, limit_usd_micros, none: _ } => {
            let body = json!({
                "wallet": wallet, "project_id": project, "limit_usd_micros": limit_usd_micros,
            });
            Call::new("billing.budgets.set").json(body)
        }
    };
    context.client()?.call(call.wallet()).await
}

pub async fn run(command: Billing, context: &Context) -> Outcome {
    let client = context.public()?;
    match command {
        Billing::Budget(command) => budget(command, context).await,
        Billing::Balance { account } => {
            let account = account_or_wallet(account, context)?;
            client.call(Call::new("billing.balance").path("identifier", account)).await
        }
        Billing::History { account, limit, after } => {
            let account = account_or_wallet(account, context)?;
            let call = Call::new("billing.history").path("identifier", account).query("limit", limit);
            client.call(call.query_some("after", after)).await
        }
    }
}

fn account_or_wallet(account: Option<String>, context: &Context) -> Result<String, LocalError> {
    match account {
        Some(account) => Ok(account),
        None => Ok(context.wallet()?.key().wallet().to_string()),
    }
}
