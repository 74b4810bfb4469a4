//! `run402 billing`.

use client::{Call, LocalError};

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
}

pub async fn run(command: Billing, context: &Context) -> Outcome {
    let client = context.public()?;
    match command {
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
