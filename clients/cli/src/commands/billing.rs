//! `run402 billing`.

use client::{Call, LocalError};
use serde_json::{Value, json};

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
    /// Make the account of an e-mail address.
    CreateEmail { email: String },
    /// Confirm what a mail to the account's address asks for.
    ConfirmEmail {
        /// The token in the mailed link.
        token: String,
    },
    /// Let a wallet and an e-mail address share one account. This machine's wallet signs.
    LinkWallet {
        /// The account's id, as create-email told it.
        account_id: String,
        wallet: String,
    },
    /// Buy a tier by card: prints where to pay.
    TierCheckout {
        tier: String,
        #[command(flatten)]
        buyer: Buyer,
    },
    /// Buy 10,000 e-mail credits by card: prints where to pay.
    BuyEmailPack {
        #[command(flatten)]
        buyer: Buyer,
    },
    /// Buy e-mail packs whenever few credits are left.
    AutoRecharge {
        account_id: String,
        state: Switch,
        /// Fewer credits than this are recharged.
        #[arg(long)]
        threshold: Option<i64>,
    },
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

/// Who pays: this machine's wallet unless told.
#[derive(Debug, clap::Args)]
pub struct Buyer {
    #[arg(long)]
    wallet: Option<String>,
    #[arg(long, conflicts_with = "wallet")]
    email: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    On,
    Off,
}

impl Buyer {
    fn body(self, context: &Context) -> Result<Value, LocalError> {
        match self.email {
            Some(email) => Ok(json!({ "email": email })),
            None => Ok(json!({ "wallet": account_or_wallet(self.wallet, context)? })),
        }
    }
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
        Billing::CreateEmail { email } => {
            client.call(Call::new("billing.create_email").json(json!({ "email": email }))).await
        }
        Billing::ConfirmEmail { token } => {
            client.call(Call::new("billing.confirm_email").json(json!({ "token": token }))).await
        }
        Billing::LinkWallet { account_id, wallet } => link_wallet(&account_id, &wallet, context).await,
        Billing::TierCheckout { tier, buyer } => {
            let call = Call::new("billing.tier_checkout").path("tier", tier).json(buyer.body(context)?);
            client.call(call).await
        }
        Billing::BuyEmailPack { buyer } => {
            client.call(Call::new("billing.email_pack").json(buyer.body(context)?)).await
        }
        Billing::AutoRecharge { account_id, state, threshold } => {
            let mut body = json!({ "billing_account_id": account_id, "enabled": state == Switch::On });
            if let Some(threshold) = threshold {
                body["threshold"] = threshold.into();
            }
            context.client()?.call(Call::new("billing.auto_recharge").json(body).wallet()).await
        }
    }
}

/// Signed when this machine has a wallet: it is the one that joins, or one that the account has already.
async fn link_wallet(account_id: &str, wallet: &str, context: &Context) -> Outcome {
    let call = Call::new("billing.link_wallet").path("id", account_id).json(json!({ "wallet": wallet }));
    match context.allowance.load()? {
        Some(allowance) => context.signing(allowance.key())?.call(call.wallet()).await,
        None => context.public()?.call(call).await,
    }
}

fn account_or_wallet(account: Option<String>, context: &Context) -> Result<String, LocalError> {
    match account {
        Some(account) => Ok(account),
        None => Ok(context.wallet()?.key().wallet().to_string()),
    }
}
