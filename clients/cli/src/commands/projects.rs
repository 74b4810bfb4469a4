//! `run402 projects`.

use client::local::ProjectKeys;
use client::{Answer, Call, ClientError, LocalError};
use serde_json::{Map, Value, json};

use super::admin::{WINDOW, meant};
use super::tier::with_receipt;
use super::{Outcome, confirmed, expose, ok, rest, sql};
use crate::context::Context;

#[derive(Debug, clap::Subcommand)]
pub enum Projects {
    /// Show the tiers and their prices.
    Quote,
    /// Make a project, keep its keys, and make it the active one.
    Provision {
        /// 1 to 128 characters.
        #[arg(long)]
        name: Option<String>,
        /// The tier to subscribe to when the wallet has none.
        #[arg(long, default_value = "prototype")]
        tier: String,
    },
    /// List the projects whose keys are on this machine.
    List,
    /// Choose the active project.
    Use { id: String },
    /// Show what this machine knows of a project, without its keys.
    Info { id: Option<String> },
    /// Print a project's keys.
    Keys { id: Option<String> },
    /// Show a project's usage.
    Usage { id: Option<String> },
    /// Show a project's tables.
    Schema { id: Option<String> },
    /// Run SQL in a project.
    Sql(sql::SqlArgs),
    /// Say who may reach a project's tables, views and functions.
    ApplyExpose(expose::ManifestArgs),
    /// Show a project's manifest.
    GetExpose { id: Option<String> },
    /// Check a manifest; nothing is changed.
    ValidateExpose(expose::ValidateArgs),
    /// Show what a project brings in and costs, for operators.
    Costs {
        id: Option<String>,
        /// 24h, 7d, 30d or 90d.
        #[arg(long, default_value = WINDOW)]
        window: String,
    },
    /// Read rows of a table as a visitor does.
    Rest(rest::RestArgs),
    /// Exempt a project's account from ageing, for operators.
    Pin { id: String },
    /// Make a user of a project its admin.
    PromoteUser {
        email: String,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
    /// Take a user's admin role away.
    DemoteUser {
        email: String,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
    /// Erase a project and everything in it.
    Delete {
        id: String,
        /// Yes, erase it.
        #[arg(long)]
        confirm: bool,
    },
}

pub async fn run(command: Projects, context: &Context) -> Outcome {
    match command {
        Projects::Quote => context.public()?.call(Call::new("tiers.list")).await,
        Projects::Provision { name, tier } => provision(name, tier, context).await,
        Projects::List => Ok(list(context)?),
        Projects::Use { id } => Ok(activate(&id, context)?),
        Projects::Info { id } => Ok(info(id.as_deref(), context)?),
        Projects::Keys { id } => Ok(keys(id.as_deref(), context)?),
        Projects::Usage { id } => read("projects.usage", id.as_deref(), context).await,
        Projects::Schema { id } => read("projects.schema", id.as_deref(), context).await,
        Projects::Sql(args) => sql::run(args, context).await,
        Projects::ApplyExpose(args) => expose::apply(args, context).await,
        Projects::GetExpose { id } => read("projects.get_expose", id.as_deref(), context).await,
        Projects::ValidateExpose(args) => expose::validate(args, context).await,
        Projects::Costs { id, window } => {
            // An operator need not have the project's keys.
            let id = match id {
                Some(id) => id,
                None => context.project(None)?.1,
            };
            let call = Call::new("admin.finance.project").path("id", id).query("window", window);
            context.client()?.call(meant(call)).await
        }
        Projects::Rest(args) => rest::run(args, context).await,
        Projects::Pin { id } => {
            let call = Call::new("projects.pin").path("id", id).header("X-Admin-Mode", 1).wallet();
            context.client()?.call(call).await
        }
        Projects::PromoteUser { email, project } => {
            role("auth.users.promote", &email, project.as_deref(), context).await
        }
        Projects::DemoteUser { email, project } => {
            role("auth.users.demote", &email, project.as_deref(), context).await
        }
        Projects::Delete { id, confirm } => {
            confirmed(confirm, "erasing a project")?;
            delete(&id, context).await
        }
    }
}

async fn provision(name: Option<String>, tier: String, context: &Context) -> Outcome {
    // A file that cannot take the keys is found out before anything is paid for.
    context.projects.load()?;
    let mut body = json!({ "tier": tier });
    if let Some(name) = name {
        body["name"] = json!(name);
    }
    let client = context.paying().await?;
    let answer = client.send(Call::new("projects.create").wallet().json(body)).await?;
    keep_keys(answer, context)
}

/// Keeps the keys of a project that was just made, and makes it the active one.
pub(super) fn keep_keys(answer: Answer, context: &Context) -> Outcome {
    let keep = || {
        let (id, anon_key) = (answer.text("project_id")?, answer.text("anon_key")?);
        let keys = ProjectKeys { anon_key, service_key: answer.text("service_key")? };
        context.projects.change(|projects| {
            projects.add(id, keys);
            Ok(())
        })
    };
    if let Err(error) = keep() {
        // The keys are handed out once: whoever reads the error still has them.
        return Err(ClientError::Local(error.detail("created", answer.body.clone())));
    }
    Ok(with_receipt(answer.body, answer.receipt))
}

async fn role(operation: &str, email: &str, project: Option<&str>, context: &Context) -> Outcome {
    let (projects, id) = context.project(project)?;
    let key = projects.keys(&id)?.service_key;
    let call = Call::new(operation).path("id", &id).service_key(key).json(json!({ "email": email }));
    context.public()?.call(call).await
}

async fn read(operation: &str, id: Option<&str>, context: &Context) -> Outcome {
    let (projects, id) = context.project(id)?;
    let key = projects.keys(&id)?.service_key;
    context.public()?.call(Call::new(operation).path("id", &id).service_key(key)).await
}

async fn delete(id: &str, context: &Context) -> Outcome {
    let projects = context.projects.load()?;
    let key = projects.keys(id)?.service_key;
    let answer = context.public()?.call(Call::new("projects.delete").path("id", id).service_key(key)).await?;
    context.projects.change(|projects| {
        projects.remove(id);
        Ok(())
    })?;
    Ok(ok(answer))
}

fn list(context: &Context) -> Result<Value, LocalError> {
    let projects = context.projects.load()?;
    let rows: Vec<Value> = projects
        .all()
        .map(|(id, row)| {
            let mut shown = without_keys(row);
            shown.insert("project_id".to_owned(), json!(id));
            shown.insert("active".to_owned(), json!(projects.active() == Some(id)));
            shown.into()
        })
        .collect();
    Ok(json!({ "status": "ok", "active_project_id": projects.active(), "projects": rows }))
}

fn activate(id: &str, context: &Context) -> Result<Value, LocalError> {
    context.projects.change(|projects| {
        projects.get(id)?;
        projects.activate(id);
        Ok(())
    })?;
    Ok(json!({ "status": "ok", "active_project_id": id }))
}

fn info(id: Option<&str>, context: &Context) -> Result<Value, LocalError> {
    let (projects, id) = context.project(id)?;
    let mut shown = without_keys(projects.get(&id)?);
    shown.insert("active".to_owned(), json!(projects.active() == Some(&id)));
    shown.insert("project_id".to_owned(), json!(id));
    Ok(ok(shown.into()))
}

fn keys(id: Option<&str>, context: &Context) -> Result<Value, LocalError> {
    let (projects, id) = context.project(id)?;
    let keys = projects.keys(&id)?;
    Ok(json!({ "project_id": id, "anon_key": keys.anon_key, "service_key": keys.service_key }))
}

fn without_keys(row: &Map<String, Value>) -> Map<String, Value> {
    let hidden = |name: &str| name == "anon_key" || name == "service_key";
    row.iter().filter(|(name, _)| !hidden(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_never_holds_keys() {
        let row = json!({ "anon_key": "a", "service_key": "s", "site_url": "http://s" });
        let shown = without_keys(row.as_object().unwrap());
        assert_eq!(Value::Object(shown), json!({ "site_url": "http://s" }));
    }

    #[test]
    fn erasing_needs_a_yes() {
        assert_eq!(confirmed(false, "erasing").unwrap_err().code, "CONFIRMATION_REQUIRED");
        assert_eq!(confirmed(true, "erasing"), Ok(()));
    }
}
