//! Names of sites: claim, list, look up, give back.

use chrono::{DateTime, Utc};
use store::releases::{self, Release};
use store::subdomains::{self, Claim, NewClaim, Released, Subdomain};
use types::{Code, Problem, ProjectId, ReleaseId};

use crate::Plane;
use crate::caller::Caller;
use crate::keys::{KeyRole, store_problem};

mod name;

pub use name::{BadName, check_name};

/// Names that one project may hold.
const NAMES_MAX: usize = 100;

/// A name with its addresses.
#[derive(Debug, Clone)]
pub struct NamedSite {
    pub subdomain: Subdomain,
    pub url: String,
    pub deployment_url: String,
}

/// A name that was given back.
#[derive(Debug, Clone)]
pub struct GivenBack {
    pub site: NamedSite,
    pub deleted_at: DateTime<Utc>,
}

/// A claim's outcome.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub site: NamedSite,
    pub is_new: bool,
}

impl Plane {
    /// Claims a name for the key's project, or points one that it has at another deployment.
    ///
    /// # Errors
    /// `BAD_SUBDOMAIN`, `DEPLOYMENT_NOT_FOUND`, `SUBDOMAIN_TAKEN`, `SUBDOMAIN_RESERVED`, `QUOTA_EXCEEDED`;
    /// the lifecycle's refusals.
    ///
    /// # Source
    /// Wire contract 02 section 6.1.
    pub async fn subdomain_claim(
        &self,
        caller: &Caller,
        name: &str,
        deployment_id: &str,
    ) -> Result<Claimed, Problem> {
        let project = self.service_project(caller).await?;
        let account = self.project_live(project).await?.account;
        self.account_gate(account).await?;
        check_name(name).map_err(|bad| Problem::new(Code::BadSubdomain, bad.to_string()))?;
        let release = self.deployment(project, deployment_id).await?;
        let store = &self.deps().store;
        let held = subdomains::subdomain_list(store, project).await.map_err(store_problem)?;
        if held.len() >= NAMES_MAX && held.iter().all(|one| one.name != name) {
            return Err(Problem::new(Code::QuotaExceeded, format!("a project may hold {NAMES_MAX} names")));
        }
        let claim = NewClaim {
            name: name.to_owned(),
            project,
            account,
            deployment_id: release.deployment_id,
            now: self.now(),
        };
        let mut tx = store.begin().await.map_err(store_problem)?;
        if !releases::project_ready_locked(&mut tx, project).await.map_err(store_problem)? {
            return Err(Problem::new(Code::ProjectNotReady, "the project is being made or erased"));
        }
        let (subdomain, is_new) = match subdomains::subdomain_claim(&mut tx, &claim)
            .await
            .map_err(store_problem)?
        {
            Claim::New(subdomain) => (subdomain, true),
            Claim::Before(subdomain) => (subdomain, false),
            Claim::Taken => {
                return Err(Problem::new(Code::SubdomainTaken, format!("{name} belongs to another project")));
            }
            Claim::Reserved => {
                return Err(Problem::new(
                    Code::SubdomainReserved,
                    format!("{name} is kept for its previous owner"),
                ));
            }
        };
        tx.commit().await.map_err(store_problem)?;
        self.sites().forget_name(name);
        tracing::info!(project.id = %project, subdomain = name, is_new, "name claimed");
        Ok(Claimed { site: self.named(subdomain), is_new })
    }

    /// The names of the key's project.
    ///
    /// # Errors
    /// `UNAUTHORIZED`, `FORBIDDEN`.
    pub async fn subdomain_list(&self, caller: &Caller) -> Result<Vec<NamedSite>, Problem> {
        let project = self.service_project(caller).await?;
        let found = subdomains::subdomain_list(&self.deps().store, project).await.map_err(store_problem)?;
        Ok(found.into_iter().map(|subdomain| self.named(subdomain)).collect())
    }

    /// A name, for anyone.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND`.
    pub async fn subdomain_get(&self, name: &str) -> Result<NamedSite, Problem> {
        let found = subdomains::subdomain_find(&self.deps().store, name).await.map_err(store_problem)?;
        found.map(|subdomain| self.named(subdomain)).ok_or_else(|| unknown(name))
    }

    /// Gives a name back; anyone may claim it at once.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND`; `FORBIDDEN` when another project holds it; the lifecycle's refusals.
    pub async fn subdomain_delete(&self, caller: &Caller, name: &str) -> Result<GivenBack, Problem> {
        let project = self.service_project(caller).await?;
        let account = self.project_live(project).await?.account;
        self.account_gate(account).await?;
        let mut tx = self.deps().store.begin().await.map_err(store_problem)?;
        let released = subdomains::subdomain_release(&mut tx, name, project).await.map_err(store_problem)?;
        let subdomain = match released {
            Released::Done(subdomain) => subdomain,
            Released::Absent => return Err(unknown(name)),
            Released::NotYours => {
                return Err(Problem::new(Code::Forbidden, format!("{name} belongs to another project")));
            }
        };
        tx.commit().await.map_err(store_problem)?;
        self.sites().forget_name(name);
        tracing::info!(project.id = %project, subdomain = name, "name given back");
        Ok(GivenBack { site: self.named(subdomain), deleted_at: self.now() })
    }

    /// The project of a service key.
    pub(crate) async fn service_project(&self, caller: &Caller) -> Result<ProjectId, Problem> {
        let key = self.project_key(caller).await?;
        match key.role {
            KeyRole::Service => Ok(key.project),
            KeyRole::Anon => Err(Problem::new(Code::Forbidden, "this needs the service key")),
        }
    }

    /// A deployment of the project that is or was live, by its `dpl_` id or its release's id.
    async fn deployment(&self, project: ProjectId, id: &str) -> Result<Release, Problem> {
        let store = &self.deps().store;
        let found = match id.parse::<ReleaseId>() {
            Ok(release) => releases::release_find(store, release).await,
            Err(_) => releases::release_of_deployment_find(store, project, id).await,
        };
        found
            .map_err(store_problem)?
            .filter(|release| release.project == project)
            .filter(|release| matches!(release.status.as_str(), "active" | "superseded"))
            .ok_or_else(|| Problem::new(Code::DeploymentNotFound, "the project has no such deployment"))
    }

    fn named(&self, subdomain: Subdomain) -> NamedSite {
        let hosts = &self.deps().hosts;
        NamedSite {
            url: hosts.subdomain_url(&subdomain.name),
            deployment_url: hosts.deployment_url(&subdomain.deployment_id),
            subdomain,
        }
    }
}

fn unknown(name: &str) -> Problem {
    Problem::new(Code::ResourceNotFound, format!("nobody has claimed {name}"))
}
