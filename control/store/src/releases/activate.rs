//! The one pointer move.

use chrono::{DateTime, Utc};
use sqlx::Row;
use types::{AccountId, OperationId, ProjectId, ReleaseId};
use uuid::Uuid;

use crate::content::{self, Unput};
use crate::deploys::gate_release;
use crate::function_secrets::function_secrets_delete;
use crate::subdomains::{self, Claim, NewClaim};
use crate::{During, FencedTx, StoreError, Tx};

/// Why a release did not go live. Roll back: names may have moved already.
#[derive(Debug, thiserror::Error)]
pub enum ActivateRefused {
    /// It went live before, however long ago.
    #[error("the release went live before")]
    Before,
    #[error("another release went live since the plan")]
    BaseMoved,
    #[error("another project holds the name {0}")]
    NameTaken(String),
    #[error("the name {0} is kept for its previous owner")]
    NameReserved(String),
    /// Another deploy is changing the project's database.
    #[error("another deploy is changing the project's database")]
    Gated,
    /// The content of a blob of the release was given up since it was uploaded.
    #[error("the content of the asset {0} is gone: plan again")]
    AssetGone(String),
    /// Another content has the immutable address that a blob of the release would get.
    #[error("another content of {0} has the immutable address that these bytes would get")]
    AddressTaken(String),
    /// The project is not ready, or the release failed.
    #[error("the project or the release is gone")]
    Gone,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a release does to its project's names, as its normalised spec says.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NameChange {
    /// Exactly these names from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl NameChange {
    /// The names after the change, sorted.
    pub fn apply(&self, held: &[String]) -> Vec<String> {
        let mut names: Vec<String> = match &self.set {
            Some(set) => set.clone(),
            None => held.to_vec(),
        };
        names.extend(self.add.iter().cloned());
        names.retain(|name| !self.remove.contains(name));
        names.sort();
        names.dedup();
        names
    }
}

/// Makes a staged release the live one, as far as releases and names go; `projects::project_activate` moves
/// the project's pointer in the same transaction. Takes the PROJECT's fence.
///
/// # Errors
/// [`ActivateRefused`]: drop the transaction.
pub async fn release_activate(
    tx: &mut FencedTx,
    project: ProjectId,
    release: ReleaseId,
    now: DateTime<Utc>,
) -> Result<(), ActivateRefused> {
    let staged = sqlx::query(
        "select r.deployment_id, r.operation_id, p.active_release_id, p.spec -> 'subdomains' as names,
           p.spec -> 'secrets' -> 'delete' as secrets, p.spec -> 'assets' as assets
         from releases r join deploy_plans p on p.id = r.plan_id where r.id = $1 and r.project_id = $2",
    )
    .bind(release.0)
    .bind(project.0)
    .fetch_optional(tx.conn())
    .await
    .during("find the release to activate")?
    .ok_or(StoreError::NotFound("release"))?;
    let live = sqlx::query("select account_id, phase, active_release from projects where id = $1 for update")
        .bind(project.0)
        .fetch_optional(tx.conn())
        .await
        .during("lock the project")?
        .ok_or(StoreError::NotFound("project"))?;
    // Read again under the lock: somebody may have activated it in between.
    let status: String = sqlx::query("select status from releases where id = $1")
        .bind(release.0)
        .fetch_one(tx.conn())
        .await
        .and_then(|row| row.try_get(0))
        .during("read the release's state")?;
    if matches!(status.as_str(), "active" | "superseded") {
        return Err(ActivateRefused::Before);
    }
    let phase: String = live.try_get("phase").during("read a project")?;
    if phase != "ready" || status != "staged" {
        return Err(ActivateRefused::Gone);
    }
    let active: Option<Uuid> = live.try_get("active_release").during("read a project")?;
    let planned: Option<Uuid> = staged.try_get("active_release_id").during("read a release")?;
    if active != planned {
        return Err(ActivateRefused::BaseMoved);
    }
    let operation = OperationId(staged.try_get("operation_id").during("read a release")?);
    through_gate(tx.tx(), project, operation).await?;
    let deployment_id: String = staged.try_get("deployment_id").during("read a release")?;
    let drops: Option<serde_json::Value> = staged.try_get("secrets").during("read a release")?;
    let drops: Vec<String> = drops.and_then(|list| serde_json::from_value(list).ok()).unwrap_or_default();
    function_secrets_delete(tx.tx(), project, &drops).await?;
    assets(tx.tx(), project, staged.try_get("assets").during("read a release")?, now).await?;
    point(tx.tx(), project, release, now).await?;
    crate::functions::functions_follow(tx.tx(), project, release, now).await?;
    let names: Option<serde_json::Value> = staged.try_get("names").during("read a release")?;
    let change = match names.filter(|names| !names.is_null()) {
        Some(names) => serde_json::from_value(names).map_err(|e| StoreError::Corrupt(e.to_string()))?,
        None => NameChange::default(),
    };
    let account = AccountId(live.try_get("account_id").during("read a project")?);
    let owner = Owner { project, account, deployment_id };
    rename(tx.tx(), &owner, &change, now).await?;
    snapshot(tx.tx(), project, release).await?;
    Ok(())
}

/// Passes the project's gate when it is this operation's or nobody's, and gives it back.
async fn through_gate(
    tx: &mut Tx,
    project: ProjectId,
    operation: OperationId,
) -> Result<(), ActivateRefused> {
    let holder = sqlx::query("select operation_id from deploy_gates where project_id = $1")
        .bind(project.0)
        .fetch_optional(tx.conn())
        .await
        .during("look at the gate")?;
    let holder: Option<Uuid> = holder.map(|row| row.try_get(0)).transpose().during("read the gate")?;
    if holder.is_some_and(|holder| holder != operation.0) {
        return Err(ActivateRefused::Gated);
    }
    gate_release(tx, operation).await?;
    Ok(())
}

/// Writes and deletes the blobs that the release's plan names.
async fn assets(
    tx: &mut Tx,
    project: ProjectId,
    planned: Option<serde_json::Value>,
    now: DateTime<Utc>,
) -> Result<(), ActivateRefused> {
    let Some(planned) = planned.filter(|planned| !planned.is_null()) else { return Ok(()) };
    let change = serde_json::from_value(planned).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    match content::assets_apply(tx, project, &change, now).await? {
        None => Ok(()),
        Some(Unput::ContentGone(key)) => Err(ActivateRefused::AssetGone(key)),
        Some(Unput::AddressTaken(key)) => Err(ActivateRefused::AddressTaken(key)),
    }
}

/// Keeps with the release what the project has besides: names and keys of secrets.
async fn snapshot(tx: &mut Tx, project: ProjectId, release: ReleaseId) -> Result<(), StoreError> {
    sqlx::query(
        "update releases set
           names = array(select name from subdomains where project_id = $2 order by name collate \"C\"),
           secret_keys = array(select key from function_secrets where project_id = $2 order by key collate \"C\")
         where id = $1",
    )
    .bind(release.0)
    .bind(project.0)
    .execute(tx.conn())
    .await
    .during("keep names and keys")?;
    Ok(())
}

async fn point(
    tx: &mut Tx,
    project: ProjectId,
    release: ReleaseId,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query(
        "update releases set status = 'superseded', superseded_at = $2
         where project_id = $1 and status = 'active'",
    )
    .bind(project.0)
    .bind(now)
    .execute(tx.conn())
    .await
    .during("supersede the live release")?;
    sqlx::query("update releases set status = 'active', activated_at = $2 where id = $1")
        .bind(release.0)
        .bind(now)
        .execute(tx.conn())
        .await
        .during("activate a release")?;
    Ok(())
}

struct Owner {
    project: ProjectId,
    account: AccountId,
    deployment_id: String,
}

/// Brings the project's names to what the release wants and points all of them at it.
async fn rename(
    tx: &mut Tx,
    owner: &Owner,
    change: &NameChange,
    now: DateTime<Utc>,
) -> Result<(), ActivateRefused> {
    let held = subdomains::held_locked(tx, owner.project).await?;
    let wanted = change.apply(&held);
    for name in held.iter().filter(|name| !wanted.contains(name)) {
        subdomains::subdomain_release(tx, name, owner.project).await?;
    }
    for name in wanted.iter().filter(|name| !held.contains(name)) {
        let claim = NewClaim {
            name: name.clone(),
            project: owner.project,
            account: owner.account,
            deployment_id: owner.deployment_id.clone(),
            now,
        };
        match subdomains::subdomain_claim(tx, &claim).await? {
            Claim::New(_) | Claim::Before(_) => {}
            Claim::Taken => return Err(ActivateRefused::NameTaken(name.clone())),
            Claim::Reserved => return Err(ActivateRefused::NameReserved(name.clone())),
        }
    }
    subdomains::repoint(tx, owner.project, &owner.deployment_id, now).await?;
    Ok(())
}

/// Marks a staged release as one that never went live.
///
/// # Errors
/// `Db` only.
pub async fn release_fail(tx: &mut FencedTx, release: ReleaseId) -> Result<(), StoreError> {
    sqlx::query("update releases set status = 'failed' where id = $1 and status = 'staged'")
        .bind(release.0)
        .execute(tx.conn())
        .await
        .during("fail a release")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn set_replaces_add_adds_and_remove_removes() {
        let held = names(&["shop"]);
        assert_eq!(NameChange::default().apply(&held), held);
        let set = NameChange { set: Some(names(&["new"])), ..Default::default() };
        assert_eq!(set.apply(&held), names(&["new"]));
        let none = NameChange { set: Some(vec![]), ..Default::default() };
        assert_eq!(none.apply(&held), names(&[]));
        let swap = NameChange { set: None, add: names(&["blog", "shop"]), remove: names(&["shop", "zoo"]) };
        assert_eq!(swap.apply(&held), names(&["blog"]));
    }
}
