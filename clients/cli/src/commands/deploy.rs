//! `run402 deploy`: release specs, operations, releases.

use std::path::PathBuf;

use client::deploy::{self, Options, Warnings};
use client::{Call, Client, ClientError, LocalError};
use serde_json::Value;

use super::sites::{finish, home_of, off_thread, project_of, signing_client};
use super::{Outcome, ok};
use crate::context::{Context, read_json};
use crate::output::{self, bad_usage};

/// `run402 deploy --manifest FILE` is `run402 deploy apply --manifest FILE`, as earlier clients wrote it.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct DeployArgs {
    #[command(subcommand)]
    command: Option<Deploy>,
    /// A release spec, or a bundle of earlier clients.
    #[arg(long, required = true)]
    manifest: Option<PathBuf>,
    #[arg(long)]
    project: Option<String>,
}

#[derive(Debug, clap::Subcommand)]
pub enum Deploy {
    /// Plan, upload and commit a release spec.
    Apply {
        #[arg(long)]
        manifest: PathBuf,
        /// The manifest's project, or the active one, unless given.
        #[arg(long)]
        project: Option<String>,
        /// The same key and spec get the same plan.
        #[arg(long)]
        idempotency_key: Option<String>,
        /// Go on when the plan has warnings that ask for confirmation.
        #[arg(long)]
        allow_warnings: bool,
    },
    /// List a project's deploys.
    List {
        #[arg(long)]
        project: Option<String>,
        #[arg(long)]
        limit: Option<u32>,
    },
    /// Show what a deploy did.
    Events {
        /// The op_ id.
        operation_id: String,
        #[arg(long)]
        project: Option<String>,
    },
    /// Run a stopped deploy on.
    Resume {
        /// The op_ id.
        operation_id: String,
    },
    /// Go back to an earlier release: its site, functions and routes.
    Promote {
        /// The rel_ id of a release that is or was live.
        release_id: String,
        #[arg(long)]
        project: Option<String>,
    },
    /// Say what a visitor's request would come to.
    Resolve {
        /// The whole address, instead of host and path.
        #[arg(long, conflicts_with_all = ["host", "path"])]
        url: Option<String>,
        /// The project's own host unless given.
        #[arg(long)]
        host: Option<String>,
        #[arg(long)]
        path: Option<String>,
        #[arg(long, default_value = "GET")]
        method: String,
        #[arg(long)]
        project: Option<String>,
    },
    /// Releases.
    #[command(subcommand)]
    Release(Release),
}

#[derive(Debug, clap::Subcommand)]
pub enum Release {
    /// Show the live release.
    Active {
        #[arg(long)]
        project: Option<String>,
        #[arg(long)]
        site_limit: Option<u32>,
    },
    /// Show a release.
    Get {
        /// The rel_ id.
        release_id: String,
        #[arg(long)]
        project: Option<String>,
        #[arg(long)]
        site_limit: Option<u32>,
    },
    /// Compare two releases.
    Diff {
        /// empty, active or a rel_ id.
        #[arg(long)]
        from: String,
        /// active or a rel_ id.
        #[arg(long)]
        to: String,
        #[arg(long)]
        project: Option<String>,
        #[arg(long)]
        limit: Option<u32>,
    },
}

pub async fn run(args: DeployArgs, context: &Context) -> Outcome {
    let DeployArgs { command, manifest, project } = args;
    let command = match (command, manifest) {
        (Some(command), _) => command,
        (None, Some(manifest)) => {
            Deploy::Apply { manifest, project, idempotency_key: None, allow_warnings: false }
        }
        (None, None) => return Err(bad_usage("name a manifest: run402 deploy --manifest FILE").into()),
    };
    match command {
        Deploy::Apply { manifest, project, idempotency_key, allow_warnings } => {
            let manifest_json = read_json(&manifest)?;
            let warnings = if allow_warnings { Warnings::Accept } else { Warnings::Stop };
            let named = project.or_else(|| project_of(&manifest_json));
            let apply = Apply { manifest, manifest_json, named, idempotency_key, warnings };
            apply.run(context).await
        }
        Deploy::List { project, limit } => {
            let call = Call::new("deploy.operations.list").query_some("limit", limit);
            with_project(call, project, context).await.map(ok)
        }
        Deploy::Events { operation_id, project } => {
            operation(&operation_id)?;
            let call = Call::new("deploy.operations.events").path("id", &operation_id);
            with_project(call, project, context).await.map(ok)
        }
        Deploy::Resume { operation_id } => {
            operation(&operation_id)?;
            let deployed = signing_client(context)?.deploy_resume(&operation_id, &output::event).await?;
            Ok(serde_json::json!({
                "status": "ok", "operation_id": deployed.operation_id,
                "release_id": deployed.release_id, "urls": deployed.urls,
            }))
        }
        Deploy::Promote { release_id, project } => {
            let (_, id) = context.project(project.as_deref())?;
            let call = Call::new("deploy.releases.promote").path("id", release_id);
            let call = call.wallet().json(serde_json::json!({ "project": id }));
            signing_client(context)?.call(call).await.map(ok)
        }
        Deploy::Resolve { url, host, path, method, project } => {
            let (host, path) = match url {
                Some(url) => address(&url)?,
                None => (host, path),
            };
            let call = Call::new("deploy.resolve").query_some("host", host).query_some("path", path);
            with_project(call.query("method", method), project, context).await
        }
        Deploy::Release(release) => self::release(release, context).await,
    }
}

/// Host and path of an address.
fn address(url: &str) -> Result<(Option<String>, Option<String>), LocalError> {
    let rest = url.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"));
    let (_, rest) = rest.ok_or_else(|| bad_usage("--url: name an http or https address"))?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    Ok((Some(host.to_owned()), Some(path.to_owned())))
}

struct Apply {
    manifest: PathBuf,
    manifest_json: Value,
    named: Option<String>,
    idempotency_key: Option<String>,
    warnings: Warnings,
}

impl Apply {
    /// The project, its public key and who deploys: this machine's wallet, or the workflow that this is.
    async fn place(&self, context: &Context) -> Result<(String, Option<String>, Client), ClientError> {
        if context.in_workflow() {
            let id = self.named.clone().ok_or_else(|| {
                LocalError::new("PROJECT_NOT_FOUND", "a workflow has no active project")
                    .hint("Name it in the manifest, or with --project.")
            })?;
            let client = context.workflow(&id).await?;
            // The session is the credential; the flow only wants to know that there is one.
            return Ok((id, Some(String::new()), client.map_or_else(|| signing_client(context), Ok)?));
        }
        let (projects, id) = context.project(self.named.as_deref())?;
        let anon_key = projects.keys(&id).ok().map(|keys| keys.anon_key.to_owned());
        Ok((id, anon_key, signing_client(context)?))
    }

    async fn run(self, context: &Context) -> Outcome {
        let (id, anon_key, client) = self.place(context).await?;
        let key_in_manifest = self.manifest_json["idempotency_key"].as_str().map(str::to_owned);
        let idempotency_key = self.idempotency_key.or(key_in_manifest);
        let bundle = off_thread({
            let (id, home, manifest) = (id.clone(), home_of(&self.manifest), self.manifest_json);
            move || deploy::bundle_from_release(&id, &manifest, &home)
        })
        .await?;
        let options = Options {
            anon_key: anon_key.as_deref(),
            idempotency_key: idempotency_key.as_deref(),
            warnings: self.warnings,
        };
        let plan = client.deploy_plan(&bundle, &options, &output::event).await?;
        let deployed = client.deploy_commit(&bundle, &plan, &options, &output::event).await?;
        Ok(finish(context, &id, &deployed))
    }
}

async fn release(command: Release, context: &Context) -> Outcome {
    match command {
        Release::Active { project, site_limit } => {
            let call = Call::new("deploy.releases.active").query_some("site_limit", site_limit);
            with_project(call, project, context).await
        }
        Release::Get { release_id, project, site_limit } => {
            let call = Call::new("deploy.releases.get").path("id", release_id);
            with_project(call.query_some("site_limit", site_limit), project, context).await
        }
        Release::Diff { from, to, project, limit } => {
            let call = Call::new("deploy.releases.diff").query("from", from).query("to", to);
            with_project(call.query_some("limit", limit), project, context).await
        }
    }
}

/// Makes the call with the project's public key.
async fn with_project(call: Call<'_>, project: Option<String>, context: &Context) -> Outcome {
    let (projects, id) = context.project(project.as_deref())?;
    let anon_key = projects.keys(&id)?.anon_key.to_owned();
    context.public()?.call(call.anon_key(&anon_key)).await
}

fn operation(id: &str) -> Result<(), LocalError> {
    match id.starts_with("op_") {
        true => Ok(()),
        false => Err(bad_usage("an operation id starts with op_; run402 deploy list shows them")),
    }
}
