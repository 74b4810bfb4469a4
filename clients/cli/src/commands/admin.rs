//! `run402 admin`: for operators. This machine's wallet signs, and must be one that the server lists.

use client::{Call, LocalError};
use serde_json::{Value, json};

use super::Outcome;
use crate::context::Context;

/// How far back reports look unless told.
pub(super) const WINDOW: &str = "30d";

#[derive(Debug, clap::Subcommand)]
pub enum Admin {
    /// Money that no payment explains.
    #[command(subcommand)]
    Suspense(Suspense),
    /// What the ledger says about the platform.
    #[command(subcommand)]
    Finance(Finance),
}

#[derive(Debug, clap::Subcommand)]
pub enum Finance {
    /// Profit and loss, and where all accounts stand.
    Platform {
        /// 24h, 7d, 30d or 90d.
        #[arg(long, default_value = WINDOW)]
        window: String,
    },
    /// What is credited and not final, by level.
    Exposure,
}

#[derive(Debug, clap::Subcommand)]
pub enum Suspense {
    /// List it.
    List {
        /// The next_cursor of the page before.
        #[arg(long)]
        after: Option<String>,
        /// How many.
        #[arg(long)]
        limit: Option<u32>,
    },
    /// Give it to an account, or note that it was sent back.
    Resolve {
        /// As the list names it.
        sighting: String,
        /// The account (org_..) or wallet (0x..) whose money it is.
        #[arg(long, conflicts_with = "returned_tx")]
        to: Option<String>,
        /// The transaction that sent it back.
        #[arg(long)]
        returned_tx: Option<String>,
        /// Why.
        #[arg(long, default_value = "")]
        note: String,
    },
}

pub async fn run(command: Admin, context: &Context) -> Outcome {
    match command {
        Admin::Suspense(Suspense::List { after, limit }) => {
            let call = Call::new("admin.suspense.list").query_some("after", after);
            context.client()?.call(meant(call.query_some("limit", limit))).await
        }
        Admin::Finance(Finance::Platform { window }) => {
            let call = Call::new("admin.finance.platform").query("window", window);
            context.client()?.call(meant(call)).await
        }
        Admin::Finance(Finance::Exposure) => {
            context.client()?.call(meant(Call::new("admin.finance.exposure"))).await
        }
        Admin::Suspense(Suspense::Resolve { sighting, to, returned_tx, note }) => {
            let mut body = json!({ "sighting": sighting, "note": note });
            let (name, value) = destination(to, returned_tx)?;
            body[name] = Value::String(value);
            context.client()?.call(meant(Call::new("admin.suspense.resolve").json(body))).await
        }
    }
}

/// An operator who means it.
pub(super) fn meant(call: Call<'_>) -> Call<'_> {
    call.header("X-Admin-Mode", 1).wallet()
}

fn destination(
    to: Option<String>,
    returned_tx: Option<String>,
) -> Result<(&'static str, String), LocalError> {
    match (to, returned_tx) {
        (Some(to), None) if to.starts_with("org_") => Ok(("account", to)),
        (Some(to), None) => Ok(("wallet", to)),
        (None, Some(tx)) => Ok(("returned_tx", tx)),
        _ => Err(LocalError::new("BAD_USAGE", "say whose it is, or how it went back")
            .hint("Add --to org_.. or 0x.., or --returned-tx 0x..")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_goes_to_one_place() {
        let to = |to: Option<&str>, tx: Option<&str>| destination(to.map(Into::into), tx.map(Into::into));
        assert_eq!(to(Some("org_1"), None), Ok(("account", "org_1".to_owned())));
        assert_eq!(to(Some("0x1"), None), Ok(("wallet", "0x1".to_owned())));
        assert_eq!(to(None, Some("0x2")), Ok(("returned_tx", "0x2".to_owned())));
        assert_eq!(to(None, None).unwrap_err().code, "BAD_USAGE");
    }
}
