//! `run402d books explain`: a balance, transfer by transfer, for somebody who reads it.

use std::io::{BufWriter, Write};

use anyhow::Context;
use chrono::{DateTime, Utc};
use store::ledger::{ExplainedAccount, Line, Origin, Sum, Told, Which, explain};
use types::{UsdMicros, rfc3339};

use crate::books::with_config;
use crate::cli::VerifyArgs;
use crate::config::Config;
use crate::wire;

/// Prints the walk and says whether it adds up.
///
/// # Errors
/// When the books cannot be read, or there is no such account.
pub async fn run(place: VerifyArgs, account: &str, at: Option<&str>) -> anyhow::Result<bool> {
    let which: Which = account.parse()?;
    let at = at.map(time).transpose()?;
    with_config(place, async |config: Config| {
        let store = wire::store(&config).await?;
        let mut out = BufWriter::new(std::io::stdout());
        let mut broken = None;
        let mut tell = |told: Told<'_>| {
            // A reader that went away ends the printing, not the counting.
            if broken.is_none() {
                broken = print(&mut out, &told).err();
            }
        };
        let good = explain(&store, &which, at, &mut tell).await.context("reading the books");
        store.close().await;
        out.flush().context("writing to stdout")?;
        good?.with_context(|| format!("the books have no account {account}"))
    })
    .await
}

fn time(text: &str) -> anyhow::Result<DateTime<Utc>> {
    let at = DateTime::parse_from_rfc3339(text).context("a time is such as 2030-01-31T12:00:00Z")?;
    Ok(at.with_timezone(&Utc))
}

fn print(out: &mut impl Write, told: &Told<'_>) -> std::io::Result<()> {
    match told {
        Told::Account(account) => writeln!(out, "{}", title(account)),
        Told::Line(account, line) => {
            writeln!(out, "{}", movement(account, line))?;
            writeln!(out, "             {}", origin(line))
        }
        Told::Sum(account, sum) => writeln!(out, "{}\n", verdict(account, sum)),
    }
}

fn title(account: &ExplainedAccount) -> String {
    let whose = account.owner.map_or_else(|| account.name.clone(), |owner| format!("of {owner}"));
    format!("{} {whose}", account.kind).trim_end().to_owned() + &format!(", {}", account.currency)
}

fn movement(account: &ExplainedAccount, line: &Line) -> String {
    let way = if line.posted < UsdMicros::ZERO || line.held != UsdMicros::ZERO { "to" } else { "from" };
    let held = match line.held.0 {
        0 => String::new(),
        held => format!(", held {}", signed(account, held)),
    };
    let doubt = if line.agrees { "" } else { "  ! its row says another balance" };
    format!(
        "{:>10}  {}  {:>16}{held}  {} {way} {}{doubt}",
        line.id,
        rfc3339(line.at),
        signed(account, line.posted.0),
        line.reason,
        line.other
    )
}

fn origin(line: &Line) -> String {
    let from = match &line.origin {
        Origin::Log { network, block, block_hash, tx, log_index, canonical } => {
            let gone = if *canonical { "" } else { ", which left the chain" };
            format!("chain {network} block {block} {block_hash}{gone} tx {tx} log {log_index}")
        }
        Origin::Card { session, payment_intent, events } => {
            let intent =
                payment_intent.as_ref().map(|id| format!(" payment intent {id}")).unwrap_or_default();
            let events = match events.as_slice() {
                [] => String::new(),
                events => format!(" events {}", events.join(" ")),
            };
            format!("card session {session}{intent}{events}")
        }
        Origin::Request(key) => format!("request {key}"),
        Origin::Fact(fact) => format!("fact {fact}"),
    };
    let payment = line.payment.map(|id| format!(", payment {id}")).unwrap_or_default();
    match line.undoes {
        Some(id) => format!("undoes transfer {id}, which came from {from}{payment}"),
        None => format!("{from}{payment}"),
    }
}

fn verdict(account: &ExplainedAccount, sum: &Sum) -> String {
    let held = |micros: UsdMicros| match micros.0 {
        0 => String::new(),
        held => format!(" ({} held)", plain(account, held)),
    };
    format!(
        "sum of {} transfers: {}{} {}; the books say {}{}: {}",
        sum.transfers,
        plain(account, sum.posted.0),
        held(sum.held),
        account.currency,
        plain(account, sum.said_posted.0),
        held(sum.said_held),
        if sum.adds_up { "it adds up" } else { "IT DOES NOT ADD UP" }
    )
}

fn signed(account: &ExplainedAccount, micros: i64) -> String {
    let text = plain(account, micros);
    if micros < 0 { text } else { format!("+{text}") }
}

/// All six digits, so that columns stand under one another; e-mails are counted whole.
fn plain(account: &ExplainedAccount, micros: i64) -> String {
    if account.currency == "email" {
        return micros.to_string();
    }
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_six_digits_and_a_sign() {
        let mut account = ExplainedAccount {
            id: 1,
            kind: "suspense".to_owned(),
            currency: "usd".to_owned(),
            name: String::new(),
            owner: None,
        };
        assert_eq!(
            (signed(&account, 1), signed(&account, -1_500_000)),
            ("+0.000001".into(), "-1.500000".into())
        );
        assert_eq!(plain(&account, i64::MIN), "-9223372036854.775808");
        account.currency = "email".to_owned();
        assert_eq!(signed(&account, 10_000), "+10000");
    }

    #[test]
    fn a_time_has_a_zone() {
        assert!(time("2030-01-31T12:00:00Z").is_ok() && time("2030-01-31T12:00:00+02:00").is_ok());
        assert!(["2030-01-31", "now", ""].iter().all(|text| time(text).is_err()));
    }
}
