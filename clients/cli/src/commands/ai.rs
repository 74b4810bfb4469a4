//! `run402 ai`.

use client::Call;
use serde_json::{Value, json};

use super::{Outcome, ok};
use crate::context::Context;

#[derive(Debug, clap::Subcommand)]
pub enum Ai {
    /// Translate a text; needs the translation add-on.
    Translate {
        /// The project, unless it is the active one; then the text.
        #[arg(required = true, num_args = 1..=2, value_name = "TEXT")]
        words: Vec<String>,
        /// An ISO 639-1 code such as es.
        #[arg(long)]
        to: String,
        #[arg(long)]
        from: Option<String>,
        /// Tone or register.
        #[arg(long)]
        context: Option<String>,
        #[arg(long)]
        project: Option<String>,
    },
    /// Judge a text.
    Moderate {
        /// The project, unless it is the active one; then the text.
        #[arg(required = true, num_args = 1..=2, value_name = "TEXT")]
        words: Vec<String>,
        #[arg(long)]
        project: Option<String>,
    },
    /// Show the words used this month.
    Usage {
        /// The active project unless given.
        id: Option<String>,
    },
    /// Switch an add-on on or off.
    #[command(subcommand)]
    Addon(Addon),
}

#[derive(Debug, clap::Subcommand)]
pub enum Addon {
    /// Switch an add-on on.
    Enable {
        /// translation
        addon: String,
        #[arg(long)]
        project: Option<String>,
    },
    /// Switch an add-on off.
    Disable {
        /// translation
        addon: String,
        #[arg(long)]
        project: Option<String>,
    },
}

pub async fn run(command: Ai, context: &Context) -> Outcome {
    match command {
        Ai::Translate { words, to, from, context: tone, project } => {
            let (project, text) = split(words, project);
            let mut body = json!({ "text": text, "to": to });
            for (name, value) in [("from", from), ("context", tone)] {
                if let Some(value) = value {
                    body[name] = value.into();
                }
            }
            ask(context, "ai.translate", project, Some(body)).await
        }
        Ai::Moderate { words, project } => {
            let (project, text) = split(words, project);
            ask(context, "ai.moderate", project, Some(json!({ "text": text }))).await
        }
        Ai::Usage { id } => ask(context, "ai.usage", id, None).await,
        Ai::Addon(Addon::Enable { addon, project }) => {
            ask(context, "ai.addon_enable", project, Some(json!({ "addon": addon }))).await
        }
        Ai::Addon(Addon::Disable { addon, project }) => {
            ask(context, "ai.addon_disable", project, Some(json!({ "addon": addon }))).await
        }
    }
}

/// `[prj_..] TEXT`
fn split(mut words: Vec<String>, project: Option<String>) -> (Option<String>, String) {
    let text = words.pop().unwrap_or_default();
    (words.pop().or(project), text)
}

async fn ask(context: &Context, operation: &str, project: Option<String>, body: Option<Value>) -> Outcome {
    let (projects, id) = context.project(project.as_deref())?;
    let call = Call::new(operation).service_key(projects.keys(&id)?.service_key);
    let call = match body {
        Some(body) => call.json(body),
        None => call,
    };
    context.public()?.call(call).await.map(ok)
}
