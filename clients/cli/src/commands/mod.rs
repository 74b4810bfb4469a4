//! The commands, one file per first word.

mod admin;
mod ai;
mod allowance;
mod apps;
mod auth;
mod billing;
mod blob;
mod ci;
mod deploy;
mod domains;
mod expose;
mod functions;
mod image;
mod init;
mod lab;
mod passkeys;
mod projects;
mod rest;
mod secrets;
mod service;
mod sites;
mod sql;
mod status;
mod subdomains;
mod tier;

use client::{ClientError, LocalError};
use serde_json::{Map, Value, json};

use crate::context::Context;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a wallet, fund it from the faucet, look at the tier.
    Init,
    /// Show the wallet, its tier, its money and its projects.
    Status,
    /// The tier that everything runs on.
    #[command(subcommand)]
    Tier(tier::Tier),
    /// The wallet of this machine.
    #[command(subcommand)]
    Allowance(allowance::Allowance),
    /// Projects: made, looked at, queried, erased.
    #[command(subcommand)]
    Projects(projects::Projects),
    /// Static sites.
    #[command(subcommand)]
    Sites(sites::Sites),
    /// Deploys and releases.
    Deploy(deploy::DeployArgs),
    /// Blobs: named objects of a project.
    #[command(subcommand)]
    Blob(blob::Blob),
    /// The addresses of blobs.
    #[command(subcommand)]
    Cdn(blob::Cdn),
    /// Functions: deployed, called, looked at.
    #[command(subcommand)]
    Functions(functions::Functions),
    /// Secrets of a project's functions.
    #[command(subcommand)]
    Secrets(secrets::Secrets),
    /// Texts translated and judged.
    #[command(subcommand)]
    Ai(ai::Ai),
    /// Images made from words.
    #[command(subcommand)]
    Image(image::Image),
    /// Names under the hosting apex.
    #[command(subcommand)]
    Subdomains(subdomains::Subdomains),
    /// Domains of your own.
    #[command(subcommand)]
    Domains(domains::Domains),
    /// Published apps, and forks of them.
    #[command(subcommand)]
    Apps(apps::Apps),
    /// Deploys by CI workflows.
    #[command(subcommand)]
    Ci(ci::Ci),
    /// A project's end users.
    #[command(subcommand)]
    Auth(auth::Auth),
    /// Credit and movements.
    #[command(subcommand)]
    Billing(billing::Billing),
    /// What only operators do.
    #[command(subcommand)]
    Admin(admin::Admin),
    /// A lab's own switches.
    #[command(subcommand)]
    Lab(lab::Lab),
    /// The service itself.
    #[command(subcommand)]
    Service(service::Service),
}

pub type Outcome = Result<Value, ClientError>;

pub async fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Init => init::run(context).await,
        Command::Status => status::run(context).await,
        Command::Tier(tier) => tier::run(tier, context).await,
        Command::Allowance(allowance) => allowance::run(allowance, context).await,
        Command::Projects(projects) => projects::run(projects, context).await,
        Command::Sites(sites) => sites::run(sites, context).await,
        Command::Deploy(deploy) => deploy::run(deploy, context).await,
        Command::Auth(auth) => auth::run(auth, context).await,
        Command::Blob(blob) => blob::run(blob, context).await,
        Command::Cdn(cdn) => blob::cdn(cdn, context).await,
        Command::Functions(functions) => functions::run(functions, context).await,
        Command::Secrets(secrets) => secrets::run(secrets, context).await,
        Command::Domains(domains) => domains::run(domains, context).await,
        Command::Apps(apps) => apps::run(apps, context).await,
        Command::Ai(ai) => ai::run(ai, context).await,
        Command::Image(image) => image::run(image, context).await,
        Command::Ci(ci) => ci::run(ci, context).await,
        Command::Subdomains(subdomains) => subdomains::run(subdomains, context).await,
        Command::Billing(billing) => billing::run(billing, context).await,
        Command::Admin(admin) => admin::run(admin, context).await,
        Command::Lab(lab) => lab::run(lab, context).await,
        Command::Service(service) => service::run(service, context).await,
    }
}

/// `{"status": "ok"}` and the fields of the answer, which win.
fn ok(body: Value) -> Value {
    let mut out = Map::from_iter([("status".to_owned(), json!("ok"))]);
    match body {
        Value::Object(fields) => out.extend(fields),
        Value::Null => {}
        other => drop(out.insert("result".to_owned(), other)),
    }
    out.into()
}

/// Asks for `--confirm` before something that cannot be undone.
fn confirmed(given: bool, what: &str) -> Result<(), LocalError> {
    if given {
        return Ok(());
    }
    Err(LocalError::new("CONFIRMATION_REQUIRED", format!("{what} cannot be undone")).hint("Add --confirm."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_status_wins_over_ours() {
        assert_eq!(ok(json!({ "a": 1 })), json!({ "status": "ok", "a": 1 }));
        assert_eq!(ok(json!({ "status": "purged" })), json!({ "status": "purged" }));
        assert_eq!(ok(Value::Null), json!({ "status": "ok" }));
        assert_eq!(ok(json!("pong")), json!({ "status": "ok", "result": "pong" }));
    }
}
