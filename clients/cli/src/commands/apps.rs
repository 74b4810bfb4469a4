//! `run402 apps`.

use client::{Call, LocalError};
use serde_json::{Map, Value, json};

use super::projects::keep_keys;
use super::{Outcome, confirmed, ok};
use crate::context::Context;

const PROJECT: &str = "prj_";

#[derive(Debug, clap::Subcommand)]
pub enum Apps {
    /// List published apps.
    Browse {
        /// Only those with this tag; repeated, with any of them.
        #[arg(long = "tag")]
        tags: Vec<String>,
    },
    /// Look at a published app.
    Inspect { version_id: String },
    /// Publish a project's live release and schema as its next version.
    Publish {
        /// The active project unless given.
        id: Option<String>,
        #[command(flatten)]
        said: Said,
    },
    /// List a project's versions.
    Versions {
        /// The active project unless given.
        id: Option<String>,
    },
    /// Change what is said of a version.
    Update {
        /// The version, after its project unless that is the active one.
        #[arg(required = true, num_args = 1..=2)]
        ids: Vec<String>,
        #[command(flatten)]
        said: Said,
    },
    /// Take a version back.
    Delete {
        /// The version, after its project unless that is the active one.
        #[arg(required = true, num_args = 1..=2)]
        ids: Vec<String>,
        /// Yes, take it back.
        #[arg(long)]
        confirm: bool,
    },
    /// Make a project of your own from an app, keep its keys, and make it the active one.
    Fork {
        version_id: String,
        /// The new project's name.
        name: String,
        /// A name to claim for it.
        #[arg(long)]
        subdomain: Option<String>,
        /// A variable for the app's function `bootstrap`, as name=value; may be repeated.
        #[arg(long = "var")]
        variables: Vec<String>,
    },
}

/// What a publisher says of a version.
#[derive(Debug, clap::Args)]
pub struct Said {
    #[arg(long)]
    description: Option<String>,
    /// Separated by commas.
    #[arg(long, value_delimiter = ',')]
    tags: Option<Vec<String>>,
    #[arg(long, value_parser = ["public", "unlisted", "private"])]
    visibility: Option<String>,
    /// Let others fork it.
    #[arg(long, conflicts_with = "no_fork")]
    fork_allowed: bool,
    /// Do not let others fork it.
    #[arg(long)]
    no_fork: bool,
}

impl Said {
    /// Only what was given.
    fn body(self) -> Value {
        let mut body = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        put("description", self.description.map(Value::from));
        put("tags", self.tags.map(Value::from));
        put("visibility", self.visibility.map(Value::from));
        put("fork_allowed", (self.fork_allowed || self.no_fork).then_some(self.fork_allowed.into()));
        body.into()
    }
}

pub async fn run(command: Apps, context: &Context) -> Outcome {
    match command {
        Apps::Browse { tags } => {
            let call = tags.iter().fold(Call::new("apps.browse"), |call, tag| call.query("tag", tag));
            context.public()?.call(call).await
        }
        Apps::Inspect { version_id } => {
            context.public()?.call(Call::new("apps.get").path("version_id", version_id)).await
        }
        Apps::Publish { id, said } => owned("apps.publish", id, None, Some(said.body()), context).await,
        Apps::Versions { id } => owned("apps.versions", id, None, None, context).await,
        Apps::Update { ids, said } => {
            let (id, version) = named(ids)?;
            owned("apps.update", id, Some(version), Some(said.body()), context).await
        }
        Apps::Delete { ids, confirm } => {
            confirmed(confirm, "taking a version back")?;
            let (id, version) = named(ids)?;
            owned("apps.delete", id, Some(version), None, context).await.map(ok)
        }
        Apps::Fork { version_id, name, subdomain, variables } => {
            let mut body = json!({ "version_id": version_id, "name": name });
            if let Some(subdomain) = subdomain {
                body["subdomain"] = subdomain.into();
            }
            if !variables.is_empty() {
                body["bootstrap"] = read(&variables)?;
            }
            fork(body, context).await
        }
    }
}

/// A project, if one is named, and a version.
fn named(mut ids: Vec<String>) -> Result<(Option<String>, String), LocalError> {
    let wrong = || LocalError::new("BAD_ARGUMENTS", "name one version, after its project if you like");
    let project = (ids.len() == 2).then(|| ids.remove(0));
    let version = ids.pop().ok_or_else(wrong)?;
    let fits = project.as_ref().is_none_or(|id| id.starts_with(PROJECT)) && !version.starts_with(PROJECT);
    if fits { Ok((project, version)) } else { Err(wrong()) }
}

fn read(variables: &[String]) -> Result<Value, LocalError> {
    let pair = |text: &String| {
        let wrong = || LocalError::new("BAD_ARGUMENTS", format!("--var {text}: name=value is needed"));
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        Ok((name.to_owned(), Value::from(value)))
    };
    variables.iter().map(pair).collect::<Result<Map<_, _>, LocalError>>().map(Value::from)
}

async fn owned(
    operation: &str,
    id: Option<String>,
    version: Option<String>,
    body: Option<Value>,
    context: &Context,
) -> Outcome {
    let (projects, id) = context.project(id.as_deref())?;
    let key = projects.keys(&id)?.service_key;
    let mut call = Call::new(operation).path("id", &id).service_key(key);
    if let Some(version) = version {
        call = call.path("version_id", version);
    }
    if let Some(body) = body {
        call = call.json(body);
    }
    context.public()?.call(call).await
}

async fn fork(body: Value, context: &Context) -> Outcome {
    // A file that cannot take the keys is found out before anything is made.
    context.projects.load()?;
    let client = context.paying().await?;
    let answer = client.send(Call::new("apps.fork").wallet().json(body)).await?;
    keep_keys(answer, context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_comes_alone_or_after_its_project() {
        let read = |ids: &[&str]| named(ids.iter().map(|id| (*id).to_owned()).collect());
        assert_eq!(read(&["ver_1"]).unwrap(), (None, "ver_1".to_owned()));
        assert_eq!(read(&["prj_1", "ver_1"]).unwrap(), (Some("prj_1".to_owned()), "ver_1".to_owned()));
        assert!(read(&["ver_1", "prj_1"]).is_err() && read(&["prj_1"]).is_err());
    }

    #[test]
    fn variables_are_texts_by_name() {
        assert_eq!(read(&["a=1=2".into(), "b=".into()]).unwrap(), json!({ "a": "1=2", "b": "" }));
        assert!(read(&["a".into()]).is_err());
    }
}
