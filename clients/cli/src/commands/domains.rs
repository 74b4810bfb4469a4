//! `run402 domains`.

use client::Call;
use serde_json::json;

use super::{Outcome, confirmed, ok};
use crate::context::Context;

#[derive(Debug, clap::Subcommand)]
pub enum Domains {
    /// Bring a domain of your own; the answer says what to put into its DNS.
    Add {
        domain: String,
        /// The claimed name whose site it shows.
        subdomain_name: String,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
    /// List a project's domains.
    List {
        /// The active project unless given.
        id: Option<String>,
        #[arg(long, conflicts_with = "id")]
        project: Option<String>,
    },
    /// Look at a domain's DNS again.
    Status {
        domain: String,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
    /// Give a domain up.
    Delete {
        domain: String,
        /// Yes, give it up.
        #[arg(long)]
        confirm: bool,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
}

pub async fn run(command: Domains, context: &Context) -> Outcome {
    let client = context.public()?;
    match command {
        Domains::Add { domain, subdomain_name, project } => {
            let (projects, id) = context.project(project.as_deref())?;
            let body = json!({ "domain": domain, "subdomain_name": subdomain_name });
            let call = Call::new("domains.add").service_key(projects.keys(&id)?.service_key);
            client.call(call.json(body)).await
        }
        Domains::List { id, project } => {
            let (projects, id) = context.project(id.or(project).as_deref())?;
            client.call(Call::new("domains.list").service_key(projects.keys(&id)?.service_key)).await
        }
        Domains::Status { domain, project } => {
            let (projects, id) = context.project(project.as_deref())?;
            let call = Call::new("domains.status").path("domain", domain);
            client.call(call.service_key(projects.keys(&id)?.service_key)).await
        }
        Domains::Delete { domain, confirm, project } => {
            confirmed(confirm, "giving a domain up")?;
            let (projects, id) = context.project(project.as_deref())?;
            let call = Call::new("domains.delete").path("domain", domain);
            client.call(call.service_key(projects.keys(&id)?.service_key)).await.map(ok)
        }
    }
}
