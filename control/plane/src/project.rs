//! Projects: made, listed, measured, erased.

pub(crate) mod provision;

use std::time::Duration;

use actors::kit::ActorError;
use actors::project::{Reply, Request};
use chrono::{DateTime, TimeDelta, Utc};
use store::accounts::Standing;
use store::projects::Phase;
use types::{AccountId, Code, Lifecycle, Problem, ProjectId, Tier, Wallet};

use crate::Plane;
use crate::caller::Caller;
use crate::keys::store_problem;

pub use provision::{Provision, Provisioned};

const LIST_MAX: u64 = 1_000;
const ERASE_WITHIN: Duration = Duration::from_secs(20);
/// Measuring reads the size of every file of the database.
const MEASURED_FOR: TimeDelta = TimeDelta::seconds(30);

/// The lease as project answers show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseFacts {
    pub tier: Tier,
    pub ends_at: DateTime<Utc>,
}

/// One row of a list.
#[derive(Debug, Clone)]
pub struct ListedProject {
    pub id: ProjectId,
    pub name: String,
    pub public_id: String,
    pub status: Lifecycle,
    pub api_calls: i64,
    pub storage_bytes: i64,
    pub lease: Option<LeaseFacts>,
    pub created_at: DateTime<Utc>,
}

/// Use of one project beside the limits of its account's tier.
#[derive(Debug, Clone)]
pub struct ProjectUsage {
    pub project: ProjectId,
    pub tier: Tier,
    pub status: Lifecycle,
    pub lease: Option<LeaseFacts>,
    pub api_calls: i64,
    pub api_calls_max: i64,
    pub storage_bytes: i64,
    pub storage_bytes_max: i64,
}

impl Plane {
    /// The projects of a wallet, oldest first. Open to everyone, and without keys.
    ///
    /// # Errors
    /// `UNAVAILABLE` only.
    ///
    /// # Source
    /// Wire contract 01 section 6.3.
    pub async fn project_list_by_wallet(&self, wallet: Wallet) -> Result<Vec<ListedProject>, Problem> {
        let store = &self.deps().store;
        let Some(account) =
            store::accounts::account_of_wallet_find(store, wallet).await.map_err(store_problem)?
        else {
            return Ok(Vec::new());
        };
        self.project_list(account).await
    }

    /// The signed-in wallet's projects.
    ///
    /// # Errors
    /// As [`Plane::account`].
    pub async fn project_list_own(&self, caller: &Caller) -> Result<Vec<ListedProject>, Problem> {
        let (_, account) = self.account(caller).await?;
        self.project_list(account).await
    }

    /// One project, for its owner or any of its keys.
    ///
    /// # Errors
    /// As [`Plane::project_reader`].
    pub async fn project_info(&self, caller: &Caller, project: ProjectId) -> Result<ListedProject, Problem> {
        self.project_reader(caller, project).await?;
        let account = self.project_live(project).await?.account;
        let mut all = self.project_list(account).await?;
        let at = all.iter().position(|listed| listed.id == project);
        at.map(|at| all.swap_remove(at))
            .ok_or_else(|| Problem::new(Code::ProjectNotFound, format!("no project {project}")))
    }

    /// Calls and bytes of a project.
    ///
    /// # Errors
    /// As [`Plane::service_key`].
    ///
    /// # Source
    /// Wire contract 01 section 6.4.
    pub async fn project_usage(&self, caller: &Caller, project: ProjectId) -> Result<ProjectUsage, Problem> {
        self.service_key(caller, project).await?;
        let deps = self.deps();
        let database_bytes = self.database_measured(project).await?;
        let usage = store::projects::usage_fetch(&deps.store, project).await.map_err(store_problem)?;
        let content =
            store::content::project_content_bytes(&deps.store, project).await.map_err(store_problem)?;
        let account = self.project_live(project).await?.account;
        let standing = self.standing(account).await?;
        let lease = lease_facts(&standing);
        // Limits are never shown as zero: clients divide by them.
        let tier = lease.map_or(Tier::Prototype, |lease| lease.tier);
        let limits = deps.prices.offer(tier).limits;
        Ok(ProjectUsage {
            project,
            tier,
            status: self.lifecycle_of(&standing),
            lease,
            api_calls: usage.api_calls,
            api_calls_max: limits.api_calls,
            storage_bytes: database_bytes.saturating_add(i64::try_from(content).unwrap_or(i64::MAX)),
            storage_bytes_max: limits.storage_bytes,
        })
    }

    /// Erases a project with everything it holds. Its keys are dead when this answers; what cannot be dropped
    /// at once is dropped later.
    ///
    /// # Errors
    /// As [`Plane::service_key`], so a repeat is refused: the key died with the project.
    ///
    /// # Source
    /// Wire contract 01 section 6.2.
    pub async fn project_delete(&self, caller: &Caller, project: ProjectId) -> Result<(), Problem> {
        self.service_key(caller, project).await?;
        let reply = self.actors().project.call(project, Request::Erase, ERASE_WITHIN).await;
        match reply.map_err(ActorError::into_problem)? {
            Reply::Phase(Phase::Erasing | Phase::Erased) => Ok(()),
            _ => Err(Problem::new(Code::ProjectNotReady, "the project was not erased")),
        }
    }

    /// Exempts the project's account from the lease's lifecycle, for operators. Pinning it again changes nothing.
    ///
    /// # Errors
    /// `ADMIN_REQUIRED`; `PROJECT_NOT_FOUND`.
    ///
    /// # Source
    /// Wire contract 01 section 6.7. A pin is the account's, because its lease is: every project follows.
    pub async fn project_pin(&self, caller: &Caller, project: ProjectId) -> Result<(), Problem> {
        let admin = self.admin(caller).await?;
        let account = self.project_live(project).await?.account;
        let mut tx = self.deps().store.begin().await.map_err(store_problem)?;
        store::accounts::account_pin(&mut tx, account, store::accounts::Pin::Set)
            .await
            .map_err(store_problem)?;
        tx.commit().await.map_err(store_problem)?;
        tracing::info!(project.id = %project, account.id = %account, %admin, "pinned");
        Ok(())
    }

    async fn project_list(&self, account: AccountId) -> Result<Vec<ListedProject>, Problem> {
        let store = &self.deps().store;
        let rows = store::projects::project_list_by_account(store, account, LIST_MAX)
            .await
            .map_err(store_problem)?;
        let standing = self.standing(account).await?;
        let (status, lease) = (self.lifecycle_of(&standing), lease_facts(&standing));
        let listed = |row: store::projects::Listed| ListedProject {
            id: row.id,
            name: row.name,
            public_id: row.public_id,
            status,
            api_calls: row.api_calls,
            storage_bytes: row.database_bytes.saturating_add(row.content_bytes),
            lease,
            created_at: row.created_at,
        };
        Ok(rows.into_iter().map(listed).collect())
    }

    /// The size of the project's database, measured again when the last time is long ago.
    pub(crate) async fn database_measured(&self, project: ProjectId) -> Result<i64, Problem> {
        let deps = self.deps();
        let usage = store::projects::usage_fetch(&deps.store, project).await.map_err(store_problem)?;
        if usage.measured_at.is_some_and(|at| self.now() - at < MEASURED_FOR) {
            return Ok(usage.database_bytes);
        }
        let slot = self.project_slot(project).await?;
        let bytes = deps.cells.slot_bytes(&slot).await.map_err(store_problem)?;
        let recorded = store::projects::usage_measured(&deps.store, project, bytes, self.now()).await;
        recorded.map_err(store_problem)?;
        Ok(bytes)
    }

    async fn standing(&self, account: AccountId) -> Result<Standing, Problem> {
        store::accounts::standing_find(&self.deps().store, account).await.map_err(store_problem)
    }

    fn lifecycle_of(&self, standing: &Standing) -> Lifecycle {
        billing::lapse::lifecycle_of(standing, self.now()).unwrap_or(Lifecycle::Purged)
    }
}

fn lease_facts(standing: &Standing) -> Option<LeaseFacts> {
    standing.lease.as_ref().map(|lease| LeaseFacts { tier: lease.tier, ends_at: lease.ends_at })
}
