//! `run402 ci`: workflows that may deploy.

use std::path::{Path, PathBuf};

use client::{Call, LocalError};
use serde_json::{Value, json};
use types::delegation::{CI_AUDIENCE, Delegation, GITHUB_ISSUER};

use super::sites::signing_client;
use super::{Outcome, ok};
use crate::context::Context;
use crate::output::bad_usage;

const WORKFLOW: &str = ".github/workflows/run402-deploy.yml";

#[derive(Debug, clap::Subcommand)]
pub enum Ci {
    /// Let a provider's workflows deploy to a project.
    #[command(subcommand)]
    Link(Link),
    /// List a project's bindings.
    List {
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
    /// End a binding.
    Revoke {
        /// The cib_ id.
        binding_id: String,
    },
}

#[derive(Debug, clap::Subcommand)]
pub enum Link {
    /// GitHub Actions: sign a delegation with this machine's wallet, and write a workflow.
    Github(Box<Github>),
}

#[derive(Debug, clap::Args)]
pub struct Github {
    /// OWNER/REPOSITORY.
    #[arg(long)]
    repo: String,
    /// Workflows of this branch may deploy.
    #[arg(long, conflicts_with = "environment")]
    branch: Option<String>,
    /// Workflows of this deployment environment may deploy.
    #[arg(long)]
    environment: Option<String>,
    /// Events that may deploy.
    #[arg(long, value_delimiter = ',', default_values = ["push", "workflow_dispatch"])]
    events: Vec<String>,
    /// One more route that a deploy may change, such as /api/*.
    #[arg(long = "route-scope", value_name = "PATTERN")]
    route_scopes: Vec<String>,
    /// The repository's number (gh api repos/OWNER/REPOSITORY --jq .id), so that another repository of the same name
    /// is refused.
    #[arg(long, value_name = "NUMBER")]
    repository_id: Option<u64>,
    /// When the binding ends, such as 2030-01-31.
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// Who signs the workflows' identity tokens, where that is not GitHub.
    #[arg(long, default_value = GITHUB_ISSUER, value_name = "URL")]
    issuer: String,
    /// Write the workflow here unless there is one.
    #[arg(long, default_value = WORKFLOW, value_name = "FILE")]
    workflow: PathBuf,
    /// The release spec that the workflow deploys.
    #[arg(long, default_value = "run402.deploy.json", value_name = "FILE")]
    manifest: String,
    /// The active project unless given.
    #[arg(long)]
    project: Option<String>,
}

pub async fn run(command: Ci, context: &Context) -> Outcome {
    match command {
        Ci::Link(Link::Github(github)) => link(*github, context).await,
        Ci::List { project } => {
            let (_, id) = context.project(project.as_deref())?;
            let call = Call::new("ci.bindings.list").query("project", id).wallet();
            signing_client(context)?.call(call).await
        }
        Ci::Revoke { binding_id } => {
            let call = Call::new("ci.bindings.revoke").path("id", binding_id).wallet();
            signing_client(context)?.call(call).await.map(ok)
        }
    }
}

async fn link(github: Github, context: &Context) -> Outcome {
    let subject_match = subject(&github)?;
    let (_, id) = context.project(github.project.as_deref())?;
    let client = signing_client(context)?;
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all.dedup();
        all
    };
    let delegation = Delegation {
        project_id: id.clone(),
        issuer: github.issuer,
        audience: CI_AUDIENCE.to_owned(),
        subject_match,
        allowed_actions: vec!["deploy".to_owned()],
        allowed_events: sorted(github.events),
        route_scopes: sorted(github.route_scopes),
        expires_at: github.expires_at,
        github_repository_id: github.repository_id.map(|id| id.to_string()),
        nonce: client.fresh_nonce(),
    };
    let binding = client.ci_link(&delegation).await?;
    let branch = github.branch.as_deref();
    let text = workflow(&delegation, branch, github.environment.as_deref(), client.base(), &github.manifest);
    // The binding is made whatever happens to the file.
    let written = write_new(&github.workflow, &text);
    Ok(ok(json!({
        "binding": binding,
        "workflow": { "path": github.workflow, "written": written.is_ok(), "reason": written.err() },
    })))
}

fn subject(github: &Github) -> Result<String, LocalError> {
    let part = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    let repo_ok = github.repo.split_once('/').is_some_and(|(owner, repo)| part(owner) && part(repo));
    if !repo_ok {
        return Err(bad_usage("--repo is OWNER/REPOSITORY"));
    }
    match (&github.branch, &github.environment) {
        (Some(branch), None) => Ok(format!("repo:{}:ref:refs/heads/{branch}", github.repo)),
        // Providers encode the character that separates the parts of a subject.
        (None, Some(name)) => Ok(format!("repo:{}:environment:{}", github.repo, name.replace(':', "%3A"))),
        _ => Err(bad_usage("name either --branch or --environment")),
    }
}

fn workflow(
    delegation: &Delegation,
    branch: Option<&str>,
    environment: Option<&str>,
    base: &str,
    manifest: &str,
) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let events: String = delegation
        .allowed_events
        .iter()
        .map(|event| match (event.as_str(), branch) {
            ("push", Some(branch)) => format!("  push:\n    branches: [{}]\n", quoted(branch)),
            (event, _) => format!("  {event}:\n"),
        })
        .collect();
    let environment =
        environment.map(|name| format!("    environment: {}\n", quoted(name))).unwrap_or_default();
    let (base, manifest, project) = (quoted(base), quoted(manifest), &delegation.project_id);
    format!(
        "name: Deploy to Run402\non:\n{events}permissions:\n  contents: read\n  id-token: write\n\
         jobs:\n  deploy:\n    runs-on: ubuntu-latest\n{environment}    env:\n      RUN402_API_BASE: {base}\n    \
         steps:\n      - uses: actions/checkout@v4\n      - uses: actions/setup-node@v4\n        with:\n          \
         node-version: 22\n      - run: npx --yes run402 deploy apply --manifest {manifest} --project {project}\n"
    )
}

/// Never over what is there.
fn write_new(path: &Path, text: &str) -> Result<(), String> {
    let write = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
        std::io::Write::write_all(&mut file, text.as_bytes())
    };
    write().map_err(|e: std::io::Error| e.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        github: Github,
    }

    fn parsed(words: &[&str]) -> Github {
        Line::try_parse_from([&["x"], words].concat()).unwrap().github
    }

    #[test]
    fn a_subject_is_a_branch_or_an_environment_of_a_repository() {
        let of = |words: &[&str]| subject(&parsed(words)).map_err(|e| e.code);
        assert_eq!(
            of(&["--repo", "acme/shop", "--branch", "main"]).unwrap(),
            "repo:acme/shop:ref:refs/heads/main"
        );
        assert_eq!(
            of(&["--repo", "acme/shop", "--environment", "eu:prod"]).unwrap(),
            "repo:acme/shop:environment:eu%3Aprod"
        );
        assert!(of(&["--repo", "acme/shop"]).is_err());
        assert!(of(&["--repo", "acme", "--branch", "main"]).is_err());
        assert!(of(&["--repo", "acme/*", "--branch", "main"]).is_err());
        assert_eq!(parsed(&["--repo", "a/b"]).events, ["push", "workflow_dispatch"]);
    }

    #[test]
    fn the_workflow_asks_for_an_identity_and_nothing_else() {
        let github = parsed(&["--repo", "acme/shop", "--branch", "main"]);
        let delegation = Delegation {
            project_id: "prj_1".to_owned(),
            issuer: github.issuer.clone(),
            audience: CI_AUDIENCE.to_owned(),
            subject_match: subject(&github).unwrap(),
            allowed_actions: vec!["deploy".to_owned()],
            allowed_events: github.events.clone(),
            route_scopes: Vec::new(),
            expires_at: None,
            github_repository_id: None,
            nonce: "0".repeat(32),
        };
        let text = workflow(&delegation, Some("main"), None, "https://api.example", "run402.deploy.json");
        assert!(text.contains("  push:\n    branches: [\"main\"]\n  workflow_dispatch:\n"), "{text}");
        assert!(text.contains("  id-token: write\n") && text.contains("  contents: read\n"), "{text}");
        assert!(text.contains("--project prj_1\n"), "{text}");
    }
}
