//! `run402 subdomains`.

use client::local::Projects;
use client::{Call, LocalError};
use serde_json::{Value, json};

use super::{Outcome, confirmed, ok};
use crate::context::Context;

#[derive(Debug, clap::Subcommand)]
pub enum Subdomains {
    /// Claim a name; it follows every later deploy of the project.
    Claim {
        name: String,
        /// What it shows at first; the project's last deploy unless given.
        #[arg(long)]
        deployment: Option<String>,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
    /// List a project's names.
    List {
        /// The active project unless given.
        id: Option<String>,
        #[arg(long, conflicts_with = "id")]
        project: Option<String>,
    },
    /// Release a name; anyone may claim it at once.
    Delete {
        name: String,
        /// Yes, release it.
        #[arg(long)]
        confirm: bool,
        /// The active project unless given.
        #[arg(long)]
        project: Option<String>,
    },
}

pub async fn run(command: Subdomains, context: &Context) -> Outcome {
    let client = context.public()?;
    match command {
        Subdomains::Claim { name, deployment, project } => {
            let (projects, id) = context.project(project.as_deref())?;
            let deployment = deployment_of(&projects, &id, deployment)?;
            let body = json!({ "name": name, "deployment_id": deployment });
            let call = Call::new("subdomains.claim").service_key(projects.keys(&id)?.service_key);
            client.call(call.json(body)).await.map(ok)
        }
        Subdomains::List { id, project } => {
            let (projects, id) = context.project(id.or(project).as_deref())?;
            client.call(Call::new("subdomains.list").service_key(projects.keys(&id)?.service_key)).await
        }
        Subdomains::Delete { name, confirm, project } => {
            confirmed(confirm, "releasing a name")?;
            let (projects, id) = context.project(project.as_deref())?;
            let call = Call::new("subdomains.delete").path("name", name);
            client.call(call.service_key(projects.keys(&id)?.service_key)).await.map(ok)
        }
    }
}

/// What was given, or the last deploy that this machine made.
fn deployment_of(projects: &Projects, id: &str, given: Option<String>) -> Result<String, LocalError> {
    let last = projects.get(id)?.get("last_deployment_id").and_then(Value::as_str);
    given.or_else(|| last.map(str::to_owned)).ok_or_else(|| {
        LocalError::new("DEPLOYMENT_NOT_FOUND", format!("this machine has not deployed {id} yet"))
            .hint("Deploy first: run402 sites deploy-dir ./dist. Or name a deployment with --deployment.")
    })
}

#[cfg(test)]
mod tests {
    use client::local::{ProjectKeys, ProjectsFile};

    use super::*;

    #[test]
    fn a_name_shows_the_last_deploy_unless_told_otherwise() {
        let mut projects = ProjectsFile::at("/nonexistent/projects.json".into()).load().unwrap();
        projects.add("prj_1", ProjectKeys { anon_key: "a", service_key: "s" });
        assert_eq!(deployment_of(&projects, "prj_1", None).unwrap_err().code, "DEPLOYMENT_NOT_FOUND");
        assert_eq!(deployment_of(&projects, "prj_2", None).unwrap_err().code, "PROJECT_NOT_FOUND");
        projects.update("prj_1", [("last_deployment_id", json!("dpl_1"))]);
        assert_eq!(deployment_of(&projects, "prj_1", None).unwrap(), "dpl_1");
        assert_eq!(deployment_of(&projects, "prj_1", Some("rel_2".to_owned())).unwrap(), "rel_2");
    }
}
