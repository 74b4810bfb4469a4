//! `run402 projects apply-expose | get-expose | validate-expose`.

use std::path::PathBuf;

use client::{Call, LocalError};
use serde_json::{Value, json};

use super::Outcome;
use crate::context::{Context, read_json, read_text};
use crate::output::bad_usage;

/// A manifest and the project it is for.
#[derive(Debug, clap::Args)]
pub struct ManifestArgs {
    /// The manifest is in this file.
    #[arg(long)]
    file: Option<PathBuf>,
    /// The project, unless it is the active one; or the manifest as JSON.
    #[arg(value_name = "ID")]
    first: Option<String>,
    /// The manifest as JSON, unless it is in a file.
    #[arg(value_name = "JSON")]
    second: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct ValidateArgs {
    #[command(flatten)]
    manifest: ManifestArgs,
    /// SQL that will run before the manifest is applied; it is read and never run.
    #[arg(long, value_name = "FILE")]
    migration_file: Option<PathBuf>,
    /// The same as a word.
    #[arg(long, value_name = "SQL", conflicts_with = "migration_file")]
    migration_sql: Option<String>,
}

pub async fn apply(args: ManifestArgs, context: &Context) -> Outcome {
    let (project, manifest) = manifest(args)?;
    let (projects, id) = context.project(project.as_deref())?;
    let key = projects.keys(&id)?.service_key;
    let call = Call::new("projects.apply_expose").path("id", &id).service_key(key).json(manifest);
    context.public()?.call(call).await
}

pub async fn validate(args: ValidateArgs, context: &Context) -> Outcome {
    let ValidateArgs { manifest: given, migration_file, migration_sql } = args;
    let (project, manifest) = manifest(given)?;
    let migration = migration_file.as_deref().map(read_text).transpose()?.or(migration_sql);
    let mut body = json!({ "manifest": manifest });
    if let Some(sql) = migration {
        body["migration_sql"] = json!(sql);
    }
    // Without any project here, the wallet asks and nothing but the migration is compared.
    let has_project = project.is_some() || context.projects.load()?.active().is_some();
    if !has_project {
        return context.client()?.call(Call::new("expose.validate").wallet().json(body)).await;
    }
    let (projects, id) = context.project(project.as_deref())?;
    let key = projects.keys(&id)?.service_key;
    let call = Call::new("projects.validate_expose").path("id", &id).service_key(key).json(body);
    context.public()?.call(call).await
}

/// A first word that starts with `prj_` is the project; the other word is the manifest.
fn manifest(args: ManifestArgs) -> Result<(Option<String>, Value), LocalError> {
    let mut words = args.first.into_iter().chain(args.second).peekable();
    let project = words.next_if(|word| word.starts_with("prj_"));
    let manifest = match (words.next(), words.next(), args.file) {
        (Some(text), None, None) => serde_json::from_str(&text)
            .map_err(|error| bad_usage(&format!("the manifest is not JSON: {error}")))?,
        (None, None, Some(file)) => read_json(&file)?,
        (None, None, None) => {
            return Err(bad_usage("the manifest is missing; give it as JSON or with --file"));
        }
        (Some(_), None, Some(_)) => {
            return Err(bad_usage("give the manifest as JSON or with --file, not both"));
        }
        (_, Some(_), _) => {
            return Err(bad_usage("give one project id, which starts with prj_, and one manifest"));
        }
    };
    Ok((project, manifest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: [Option<&str>; 2]) -> Result<(Option<String>, Value), LocalError> {
        let [first, second] = words.map(|word| word.map(str::to_owned));
        manifest(ManifestArgs { file: None, first, second })
    }

    #[test]
    fn the_project_is_optional_and_known_by_its_prefix() {
        assert_eq!(read([Some("{}"), None]).unwrap(), (None, json!({})));
        assert_eq!(read([Some("prj_1"), Some("{}")]).unwrap(), (Some("prj_1".into()), json!({})));
        for words in [[None, None], [Some("prj_1"), None], [Some("{"), None], [Some("{}"), Some("{}")]] {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
