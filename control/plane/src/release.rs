//! Reads of releases.

use actors::deploy::{Files, SiteDiff, base_files, site_diff};
use actors::kit::ActorError;
use store::releases::{self, Release, ReleaseFile};
use types::{Code, Problem, ProjectId, ReleaseId};

use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

/// What a release holds.
#[derive(Debug, Clone)]
pub struct Inventory {
    pub project: ProjectId,
    /// Absent when the project never deployed.
    pub release: Option<Release>,
    /// `current_live`, `effective` or `desired_manifest`.
    pub state_kind: &'static str,
    /// Every file, by path; answers show a part.
    pub files: Vec<ReleaseFile>,
    pub names: Vec<String>,
}

/// What is between two releases.
#[derive(Debug, Clone)]
pub struct ReleaseDiff {
    pub from: Option<ReleaseId>,
    pub to: Option<ReleaseId>,
    pub site: SiteDiff,
}

impl Plane {
    /// What is live now. A project that never deployed has nothing, which is not a failure.
    ///
    /// # Errors
    /// `UNAUTHORIZED`.
    ///
    /// # Source
    /// Wire contract 02 section 4.8.
    pub async fn release_active(&self, caller: &Caller) -> Result<Inventory, Problem> {
        let project = self.project_key(caller).await?.project;
        let release = match self.active(project).await? {
            Some(id) => releases::release_find(&self.deps().store, id).await.map_err(store_problem)?,
            None => None,
        };
        self.inventory(project, release, "current_live").await
    }

    /// What one release holds, whether it is live, was live, or never became it.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND`, also for another project's.
    pub async fn release_get(&self, caller: &Caller, id: ReleaseId) -> Result<Inventory, Problem> {
        let found = releases::release_find(&self.deps().store, id).await.map_err(store_problem)?;
        let Some(release) = found else {
            // Whether a stranger may know is not asked before there is something to know.
            self.project_key(caller).await?;
            return Err(no_release(id));
        };
        self.project_reader(caller, release.project).await.map_err(|e| match e.code {
            Code::Forbidden => no_release(id),
            _ => e,
        })?;
        let state_kind = if matches!(release.status.as_str(), "active" | "superseded") {
            "effective"
        } else {
            "desired_manifest"
        };
        self.inventory(release.project, Some(release), state_kind).await
    }

    /// What the second of two releases has that the first has not, and the reverse. `from` may be `empty` or
    /// `active`, `to` may be `active`.
    ///
    /// # Errors
    /// `INVALID_DIFF_TARGET`, `DIFF_SAME_RELEASE`, `NO_ACTIVE_RELEASE`, `RESOURCE_NOT_FOUND`.
    ///
    /// # Source
    /// Wire contract 02 section 4.9.
    pub async fn release_diff(&self, caller: &Caller, from: &str, to: &str) -> Result<ReleaseDiff, Problem> {
        let project = self.project_key(caller).await?.project;
        if to == "empty" {
            return Err(Problem::new(Code::InvalidDiffTarget, "to must be active or a release id"));
        }
        let from = self.diff_end(project, from).await?;
        let to = self.diff_end(project, to).await?;
        if from == to {
            return Err(Problem::new(Code::DiffSameRelease, "both ends are the same release"));
        }
        let site = site_diff(&self.files(from).await?, &self.files(to).await?);
        Ok(ReleaseDiff { from, to, site })
    }

    async fn diff_end(&self, project: ProjectId, name: &str) -> Result<Option<ReleaseId>, Problem> {
        match name {
            "empty" => Ok(None),
            "active" => match self.active(project).await? {
                Some(id) => Ok(Some(id)),
                None => Err(Problem::new(Code::NoActiveRelease, "the project has no live release")),
            },
            id => {
                let id: ReleaseId = id.parse().map_err(|_| {
                    Problem::new(
                        Code::InvalidDiffTarget,
                        format!("{id} is not empty, active or a release id"),
                    )
                })?;
                let found = releases::release_find(&self.deps().store, id).await.map_err(store_problem)?;
                found
                    .filter(|release| release.project == project)
                    .map(|release| Some(release.id))
                    .ok_or_else(|| no_release(id))
            }
        }
    }

    async fn active(&self, project: ProjectId) -> Result<Option<ReleaseId>, Problem> {
        let live = releases::live_project_find(&self.deps().store, project).await.map_err(store_problem)?;
        Ok(live.and_then(|live| live.active_release))
    }

    async fn inventory(
        &self,
        project: ProjectId,
        release: Option<Release>,
        state_kind: &'static str,
    ) -> Result<Inventory, Problem> {
        let store = &self.deps().store;
        let id = release.as_ref().map(|release| release.id);
        let files = self.files(id).await?.into_values().collect();
        // Names are the project's, not a release's: only what is live has them.
        let is_live = release.as_ref().is_none_or(|release| release.status == "active");
        let names = if is_live {
            let held = store::subdomains::subdomain_list(store, project).await.map_err(store_problem)?;
            held.into_iter().map(|one| one.name).collect()
        } else {
            Vec::new()
        };
        Ok(Inventory { project, release, state_kind, files, names })
    }

    async fn files(&self, release: Option<ReleaseId>) -> Result<Files, Problem> {
        base_files(&self.deps().store, release).await.map_err(ActorError::into_problem)
    }
}

fn no_release(id: ReleaseId) -> Problem {
    Problem::new(Code::ResourceNotFound, format!("no release {id}"))
}
