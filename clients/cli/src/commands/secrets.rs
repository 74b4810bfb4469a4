//! `run402 secrets`.

use std::path::PathBuf;

use client::Call;
use serde_json::json;

use super::{Outcome, ok};
use crate::context::{Context, read_text};
use crate::output::bad_usage;

#[derive(Debug, clap::Subcommand)]
pub enum Secrets {
    /// Set a secret of a project's functions.
    Set {
        id: String,
        key: String,
        /// The value, unless it is in a file.
        #[arg(allow_hyphen_values = true)]
        value: Option<String>,
        /// The file's text is the value.
        #[arg(long, conflicts_with = "value")]
        file: Option<PathBuf>,
    },
    /// List the keys of a project's secrets.
    List {
        /// The active project unless given.
        id: Option<String>,
    },
    /// Delete a secret.
    Delete { id: String, key: String },
}

pub async fn run(command: Secrets, context: &Context) -> Outcome {
    let client = context.public()?;
    match command {
        Secrets::Set { id, key, value, file } => {
            let value = match (value, file) {
                (Some(value), _) => value,
                (None, Some(file)) => read_text(&file)?,
                (None, None) => return Err(bad_usage("give the value as a word or with --file").into()),
            };
            let (projects, id) = context.project(Some(&id))?;
            let call = Call::new("secrets.set").path("id", &id).path("key", key);
            let call = call.service_key(projects.keys(&id)?.service_key);
            client.call(call.json(json!({ "value": value }))).await.map(ok)
        }
        Secrets::List { id } => {
            let (projects, id) = context.project(id.as_deref())?;
            let call = Call::new("secrets.list").path("id", &id);
            client.call(call.service_key(projects.keys(&id)?.service_key)).await
        }
        Secrets::Delete { id, key } => {
            let (projects, id) = context.project(Some(&id))?;
            let call = Call::new("secrets.delete").path("id", &id).path("key", key);
            client.call(call.service_key(projects.keys(&id)?.service_key)).await.map(ok)
        }
    }
}
