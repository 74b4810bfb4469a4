//! Reads of releases.

use std::collections::BTreeSet;

use actors::deploy::{
    FunctionDiff, Parts, RouteDiff, SiteDiff, function_diff, parts_of, route_diff, site_diff,
};
use actors::kit::ActorError;
use chrono::{DateTime, Utc};
use store::deploys::AppliedMigration;
use store::releases::{self, Release};
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
    /// Answers show a part of the files.
    pub parts: Parts,
    pub names: Vec<String>,
    /// Keys of secrets, never values.
    pub secret_keys: Vec<String>,
    pub migrations: Vec<AppliedMigration>,
}

/// What is between two releases.
#[derive(Debug, Clone)]
pub struct ReleaseDiff {
    pub from: Option<ReleaseId>,
    pub to: Option<ReleaseId>,
    pub site: SiteDiff,
    pub functions: FunctionDiff,
    pub routes: RouteDiff,
    /// Digests of both tables of routes are made from these.
    pub route_tables: (Vec<releases::Route>, Vec<releases::Route>),
    pub secrets: Membership,
    pub names: Membership,
    /// Ids of migrations that ran after the first release and by the second.
    pub migrations: Vec<String>,
}

impl ReleaseDiff {
    pub fn is_noop(&self) -> bool {
        self.site.is_empty()
            && self.functions.is_empty()
            && self.routes.is_empty()
            && self.secrets == Membership::default()
            && self.names == Membership::default()
            && self.migrations.is_empty()
    }
}

/// What came and what went of a set. Sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    pub added: Vec<String>,
    pub removed: Vec<String>,
}

impl Membership {
    fn between(from: &[String], to: &[String]) -> Self {
        let (from, to): (BTreeSet<_>, BTreeSet<_>) = (from.iter().collect(), to.iter().collect());
        Self {
            added: to.difference(&from).map(|text| (*text).clone()).collect(),
            removed: from.difference(&to).map(|text| (*text).clone()).collect(),
        }
    }
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
        let (from_held, to_held) = (self.held(project, from).await?, self.held(project, to).await?);
        let ran =
            |held: &Inventory| -> Vec<String> { held.migrations.iter().map(|m| m.id.clone()).collect() };
        Ok(ReleaseDiff {
            from,
            to,
            site: site_diff(&from_held.parts.files, &to_held.parts.files),
            functions: function_diff(&from_held.parts.functions, &to_held.parts.functions),
            routes: route_diff(&from_held.parts.routes, &to_held.parts.routes),
            secrets: Membership::between(&from_held.secret_keys, &to_held.secret_keys),
            names: Membership::between(&from_held.names, &to_held.names),
            // In the order in which they ran.
            migrations: {
                let before = ran(&from_held);
                ran(&to_held).into_iter().filter(|id| !before.contains(id)).collect()
            },
            route_tables: (from_held.parts.routes, to_held.parts.routes),
        })
    }

    /// What one end of a comparison holds; nothing for no release.
    async fn held(&self, project: ProjectId, id: Option<ReleaseId>) -> Result<Inventory, Problem> {
        let Some(id) = id else {
            return Ok(Inventory {
                project,
                release: None,
                state_kind: "effective",
                parts: Parts::default(),
                names: Vec::new(),
                secret_keys: Vec::new(),
                migrations: Vec::new(),
            });
        };
        let release = releases::release_find(&self.deps().store, id).await.map_err(store_problem)?;
        self.inventory(project, release, "effective").await
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
        let parts = parts_of(store, id).await.map_err(ActorError::into_problem)?;
        // What is live is read as it is now: names and keys change between deploys.
        let is_live = release.as_ref().is_none_or(|release| release.status == "active");
        let (names, secret_keys) = match &release {
            Some(release) if !is_live => {
                (release.names.clone().unwrap_or_default(), release.secret_keys.clone().unwrap_or_default())
            }
            Some(_) | None => self.present(project).await?,
        };
        let until = release.as_ref().filter(|_| !is_live).map(ended);
        let migrations =
            store::deploys::migrations_list(store, project, until).await.map_err(store_problem)?;
        Ok(Inventory { project, release, state_kind, parts, names, secret_keys, migrations })
    }

    /// Names and keys of secrets that the project has now.
    async fn present(&self, project: ProjectId) -> Result<(Vec<String>, Vec<String>), Problem> {
        let store = &self.deps().store;
        let names = store::subdomains::subdomain_list(store, project).await.map_err(store_problem)?;
        let keys = store::function_secrets::function_secrets_list(store, project).await;
        let keys = keys.map_err(store_problem)?.into_iter().map(|one| one.key).collect();
        Ok((names.into_iter().map(|one| one.name).collect(), keys))
    }
}

/// Until when migrations belong to a release that is not live: its own ran before it went live, and for one
/// that never did nothing newer than itself counts.
fn ended(release: &Release) -> DateTime<Utc> {
    release.activated_at.unwrap_or(release.created_at)
}

fn no_release(id: ReleaseId) -> Problem {
    Problem::new(Code::ResourceNotFound, format!("no release {id}"))
}
