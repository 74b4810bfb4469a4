//! `run402 sites`: static sites from a directory or a manifest.

use std::path::{Path, PathBuf};

use client::deploy::{self, Bundle, Deployed, Options, Prune};
use client::{Client, ClientError, LocalError};
use serde_json::{Value, json};

use super::Outcome;
use crate::context::{Context, read_json};
use crate::output;

#[derive(Debug, clap::Subcommand)]
pub enum Sites {
    /// Replace the site by the files of a manifest: {"files": [{"file", "data" | "path", "encoding"?}]}.
    Deploy {
        #[arg(long)]
        manifest: PathBuf,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
    /// Replace the site by the files of a directory.
    DeployDir {
        dir: PathBuf,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
        /// Show what would change, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Let a deploy of fewer than five files remove paths that are live.
        #[arg(long)]
        confirm_prune: bool,
    },
}

pub async fn run(command: Sites, context: &Context) -> Outcome {
    match command {
        Sites::Deploy { manifest, project } => {
            let parsed = read_json(&manifest)?;
            let named = project.or_else(|| project_of(&parsed));
            let (_, id) = context.project(named.as_deref())?;
            let home = home_of(&manifest);
            let bundle = off_thread({
                let id = id.clone();
                move || deploy::bundle_from_site(&id, &parsed, &home)
            })
            .await?;
            // Whoever writes a manifest has listed what the site is to be.
            publish(context, &id, &bundle, Prune::Confirmed).await
        }
        Sites::DeployDir { dir, project, dry_run, confirm_prune } => {
            let (_, id) = context.project(project.as_deref())?;
            let client = signing_client(context)?;
            let bundle = off_thread({
                let id = id.clone();
                move || Bundle::from_files(&id, deploy::walk(&dir)?)
            })
            .await?;
            if dry_run {
                return Ok(client.deploy_dry_run(&bundle).await?.0);
            }
            let prune = if confirm_prune { Prune::Confirmed } else { Prune::Unconfirmed };
            publish(context, &id, &bundle, prune).await
        }
    }
}

async fn publish(context: &Context, id: &str, bundle: &Bundle, prune: Prune) -> Outcome {
    let client = signing_client(context)?;
    let projects = context.projects.load()?;
    let anon_key = projects.keys(id).ok().map(|keys| keys.anon_key);
    let options = Options { anon_key, ..Options::default() };
    let plan = client.deploy_plan(bundle, &options, &output::event).await?;
    deploy::prune_refusal(&plan, bundle.site_files(), prune)?;
    let deployed = client.deploy_commit(bundle, &plan, &options, &output::event).await?;
    Ok(finish(context, id, &deployed))
}

/// Keeps what `subdomains claim` needs, and makes the answer.
pub(super) fn finish(context: &Context, id: &str, deployed: &Deployed) -> Value {
    if let Err(error) = remember(context, id, deployed) {
        // The deploy is live whatever happens to our notes.
        let mut shown = ClientError::from(error).to_json();
        shown["type"] = json!("warning");
        output::event(shown);
    }
    json!({
        "status": "ok",
        "project_id": id,
        "deployment_id": deployed.deployment_id(),
        "url": deployed.url(),
        "release_id": deployed.release_id,
        "operation_id": deployed.operation_id,
        "urls": deployed.urls,
    })
}

fn remember(context: &Context, id: &str, deployed: &Deployed) -> Result<(), LocalError> {
    if context.projects.load()?.get(id).is_err() {
        return Ok(());
    }
    let fields = [
        ("last_deployment_id", json!(deployed.deployment_id())),
        ("site_url", json!(deployed.url())),
        ("deployed_at", json!(context.now())),
    ];
    context.projects.change(|projects| {
        projects.update(id, fields);
        Ok(())
    })
}

/// Reading and hashing files blocks; the deploy's other work goes on elsewhere.
pub(super) async fn off_thread(
    work: impl FnOnce() -> Result<Bundle, LocalError> + Send + 'static,
) -> Result<Bundle, LocalError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(LocalError::new("INTERNAL_ERROR", "reading the files was interrupted")))
}

/// Paths in a manifest are relative to it.
pub(super) fn home_of(manifest: &Path) -> PathBuf {
    manifest.parent().unwrap_or(Path::new("")).to_owned()
}

/// The project that a manifest names.
pub(super) fn project_of(manifest: &Value) -> Option<String> {
    ["project", "project_id"].iter().find_map(|name| manifest[*name].as_str()).map(str::to_owned)
}

/// A client whose wallet is known to be there, before any file is read.
pub(super) fn signing_client(context: &Context) -> Result<Client, LocalError> {
    let client = context.client()?;
    client.wallet()?;
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_names_its_project_and_its_home() {
        assert_eq!(project_of(&json!({ "project_id": "prj_1" })).as_deref(), Some("prj_1"));
        assert_eq!(project_of(&json!({ "project": "prj_2" })).as_deref(), Some("prj_2"));
        assert_eq!(project_of(&json!({ "files": [] })), None);
        assert_eq!(home_of(Path::new("a/b.json")), Path::new("a"));
        assert_eq!(home_of(Path::new("b.json")), Path::new(""));
    }
}
