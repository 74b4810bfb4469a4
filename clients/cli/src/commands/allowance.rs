//! `run402 allowance`: the wallet's file, and money for it.

use client::local::Created;
use client::{Call, LocalError, WalletKey};
use serde_json::{Map, Value, json};
use types::{Network, OsEntropy};

use super::{Outcome, ok};
use crate::context::Context;

const HISTORY_LIMIT: u32 = 20;

#[derive(Debug, clap::Subcommand)]
pub enum Allowance {
    /// Make a wallet.
    Create,
    /// Show the wallet's file, without its key.
    Status,
    /// Print the wallet's address.
    Export,
    /// Ask the faucet for test USDC.
    Fund,
    /// Show what the wallet holds on the chain and in credit.
    Balance,
    /// Show the latest movements of the wallet's account.
    History {
        /// How many.
        #[arg(long, default_value_t = HISTORY_LIMIT)]
        limit: u32,
    },
    /// Pay credit in by card: prints where to pay.
    Checkout {
        /// Millionths of a dollar, whole cents: $5 is 5000000.
        #[arg(long)]
        amount: i64,
    },
}

pub async fn run(command: Allowance, context: &Context) -> Outcome {
    match command {
        Allowance::Create => Ok(create(context)?),
        Allowance::Status => Ok(status(context)?),
        Allowance::Export => Ok(json!({ "status": "ok", "address": context.wallet()?.key().address_text() })),
        Allowance::Fund => fund(context).await,
        Allowance::Balance => balance(context).await,
        Allowance::History { limit } => {
            let wallet = context.wallet()?.key().wallet();
            let call = Call::new("billing.history").path("identifier", wallet).query("limit", limit);
            context.public()?.call(call).await
        }
        Allowance::Checkout { amount } => {
            let body = json!({ "wallet": context.wallet()?.key().wallet(), "amount_usd_micros": amount });
            context.public()?.call(Call::new("billing.checkout").json(body)).await
        }
    }
}

fn create(context: &Context) -> Result<Value, LocalError> {
    let (allowance, created) = context.allowance.create(&WalletKey::generate(&OsEntropy), &context.now())?;
    let path = context.allowance.path().display().to_string();
    match created {
        Created::Now => {
            Ok(json!({ "status": "ok", "address": allowance.key().address_text(), "path": path }))
        }
        Created::Already => Err(LocalError::new("ALLOWANCE_EXISTS", format!("there is a wallet at {path}"))
            .hint("It was kept. run402 allowance status shows it.")
            .detail("address", allowance.key().address_text())),
    }
}

fn status(context: &Context) -> Result<Value, LocalError> {
    let path = json!(context.allowance.path().display().to_string());
    let Some(allowance) = context.allowance.load()? else {
        return Ok(json!({ "status": "no_wallet", "path": path, "next": "run402 init" }));
    };
    let mut out: Map<String, Value> = allowance.public_fields();
    out.insert("path".to_owned(), path);
    Ok(ok(out.into()))
}

async fn fund(context: &Context) -> Outcome {
    let client = context.signing(context.wallet()?.key())?;
    let rpc = client.lab_chain_rpc().await?;
    let answer = client.request_faucet(rpc.as_deref()).await?;
    context.allowance.note_faucet(&context.now())?;
    Ok(ok(answer))
}

async fn balance(context: &Context) -> Outcome {
    let allowance = context.wallet()?;
    let client = context.signing(allowance.key())?;
    let wallet = allowance.key().wallet();
    let billing = client.call(Call::new("billing.balance").path("identifier", wallet)).await?;
    let on_chain = match client.lab_chain_rpc().await? {
        Some(rpc) => client.usdc_balance(&rpc, Network::BaseSepolia).await.ok(),
        None => None,
    };
    Ok(json!({
        "status": "ok",
        "address": allowance.key().address_text(),
        "on_chain": { "base_sepolia_usd_micros": on_chain.map(|held| held.0) },
        "billing": billing,
    }))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    use types::Entropy;

    use super::*;
    use crate::settings::Settings;

    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn context() -> (Scratch, Context) {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp");
        let home = home.join(format!("cli-{}", OsEntropy.uuid()));
        let context = Context::new(Settings {
            api_base: "http://127.0.0.1:9".to_owned(),
            allowance_path: home.join("allowance.json"),
            projects_path: home.join("projects.json"),
            identity: None,
            uploads_path: home.join("uploads"),
        });
        (Scratch(home), context)
    }

    #[tokio::test]
    async fn a_wallet_is_made_once_and_its_key_is_never_printed() {
        let (home, context) = context();
        assert_eq!(run(Allowance::Status, &context).await.unwrap()["status"], "no_wallet");
        assert_eq!(run(Allowance::Export, &context).await.unwrap_err().code(), "NO_ALLOWANCE");
        let made = run(Allowance::Create, &context).await.unwrap();
        let mode = fs::metadata(home.0.join("allowance.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = run(Allowance::Create, &context).await.unwrap_err();
        assert_eq!(
            (again.code(), &again.to_json()["details"]["address"]),
            ("ALLOWANCE_EXISTS", &made["address"])
        );
        let shown = run(Allowance::Status, &context).await.unwrap();
        assert_eq!((&shown["status"], &shown["address"]), (&json!("ok"), &made["address"]));
        assert!(shown.get("privateKey").is_none());
        assert_eq!(run(Allowance::Export, &context).await.unwrap()["address"], made["address"]);
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_a_network_error() {
        let (_home, context) = context();
        run(Allowance::Create, &context).await.unwrap();
        let shown = run(Allowance::Fund, &context).await.unwrap_err().to_json();
        assert_eq!((&shown["code"], &shown["retryable"]), (&json!("NETWORK_ERROR"), &json!(true)));
    }
}
