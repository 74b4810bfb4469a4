//! The marketplace: versions of projects are published, looked at, changed, taken back, and forked.
//!
//! A version is a snapshot of structure: the schema without rows, the expose manifest, functions, site and routes of
//! the live release. It never has keys, values of secrets, users, rows, mail, blobs, or what the functions of its
//! project are told by their environment.

mod fork;
mod publish;
mod words;

use store::apps::{Version, Visibility};
use types::{AppVersionId, Code, Problem, ProjectId};

use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

pub use fork::{ForkRequest, Forked};
pub use publish::PublishRequest;
pub use store::apps::{Version as AppVersion, VersionChange, Visibility as AppVisibility};

/// Versions that one project may have.
const VERSIONS_MAX: i64 = 100;
/// Versions that one answer lists.
const BROWSE_MAX: i64 = 200;

/// A page of the list.
#[derive(Debug, Clone)]
pub struct Browsed {
    pub versions: Vec<Version>,
    pub total: i64,
}

/// What `GET /fork/v1` says.
#[derive(Debug, Clone)]
pub struct ForkTerms {
    pub tier: types::Tier,
    pub price: types::UsdMicros,
    pub lease_days: i64,
}

impl Plane {
    /// Public versions, the newest first: those with any of the tags, or all without tags.
    ///
    /// # Errors
    /// `BAD_VERSION` for what can be no tag.
    ///
    /// # Source
    /// Wire contract 02 section 9.
    pub async fn apps_browse(&self, tags: Vec<String>) -> Result<Browsed, Problem> {
        let tags = words::tags(tags)?;
        let store = &self.deps().store;
        let versions = store::apps::versions_browse(store, &tags, BROWSE_MAX).await.map_err(store_problem)?;
        let total = store::apps::versions_count(store, &tags).await.map_err(store_problem)?;
        Ok(Browsed { versions, total })
    }

    /// A public or unlisted version, for anyone who has its id.
    ///
    /// # Errors
    /// `VERSION_NOT_FOUND`, also for a private one.
    pub async fn app_get(&self, id: AppVersionId) -> Result<Version, Problem> {
        let found = store::apps::version_find(&self.deps().store, id).await.map_err(store_problem)?;
        found.filter(|version| version.visibility != Visibility::Private).ok_or_else(|| no_version(id))
    }

    /// All versions of a project, for its owner.
    ///
    /// # Errors
    /// As [`Plane::service_key`].
    pub async fn versions_list(&self, caller: &Caller, project: ProjectId) -> Result<Vec<Version>, Problem> {
        self.service_key(caller, project).await?;
        let found = store::apps::versions_of_project(&self.deps().store, project, VERSIONS_MAX).await;
        found.map_err(store_problem)
    }

    /// Changes what is said of a version, and who may see and fork it. Its parts never change.
    ///
    /// # Errors
    /// As [`Plane::service_key`]; `VERSION_NOT_FOUND`; `BAD_VERSION`; the lifecycle's refusals.
    pub async fn version_update(
        &self,
        caller: &Caller,
        (project, id): (ProjectId, AppVersionId),
        change: VersionChange,
    ) -> Result<Version, Problem> {
        self.version_changer(caller, project).await?;
        let change = words::checked(change)?;
        let (store, now) = (&self.deps().store, self.now());
        let changed = store::apps::version_update(store, (project, id), &change, now).await;
        if !changed.map_err(store_problem)? {
            return Err(no_version(id));
        }
        let found = store::apps::version_find(store, id).await.map_err(store_problem)?;
        found.ok_or_else(|| no_version(id))
    }

    /// Takes a version back. Forks that were made of it stay as they are.
    ///
    /// # Errors
    /// As [`Plane::service_key`]; `VERSION_NOT_FOUND`.
    pub async fn version_delete(
        &self,
        caller: &Caller,
        project: ProjectId,
        id: AppVersionId,
    ) -> Result<(), Problem> {
        self.service_key(caller, project).await?;
        let gone = store::apps::version_delete(&self.deps().store, project, id).await;
        if gone.map_err(store_problem)? { Ok(()) } else { Err(no_version(id)) }
    }

    /// What a fork costs: nothing but a tier.
    pub fn fork_terms(&self) -> Vec<ForkTerms> {
        let offer = |tier| {
            let offer = self.deps().prices.offer(tier);
            ForkTerms { tier, price: offer.price, lease_days: offer.lease_days }
        };
        types::Tier::ALL.into_iter().map(offer).collect()
    }

    /// Where a version's own project can be seen; none before it went live.
    pub fn version_url(&self, version: &Version) -> Option<String> {
        let hosts = &self.deps().hosts;
        version.is_live.then(|| match &version.subdomain {
            Some(name) => hosts.subdomain_url(name),
            None => hosts.project_url(&version.public_id),
        })
    }

    async fn version_changer(&self, caller: &Caller, project: ProjectId) -> Result<(), Problem> {
        self.service_key(caller, project).await?;
        let account = self.project_live(project).await?.account;
        self.account_gate(account).await.map(drop)
    }
}

fn no_version(id: AppVersionId) -> Problem {
    Problem::new(Code::VersionNotFound, format!("no version {id}"))
}

fn bad(field: &str, why: &str) -> Problem {
    Problem::new(Code::BadVersion, format!("{field}: {why}")).detail("field", field)
}
