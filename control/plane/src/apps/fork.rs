//! Forking: a new project of the caller's, made as any other, that a deploy fills with what a version is made of.
//!
//! The project's row and the fork's are one commit, and the fork's row says what is done: whoever repeats the request
//! goes on from there. What can never be finished, or nobody can ask for any more, is erased
//! (`actors/src/schedule/ticks.rs`), because the keys of a fork are shown only when it is done.

mod steps;

use actors::deploy::Spec;
use chrono::TimeDelta;
use serde_json::{Value, json};
use store::apps::{Fork, ForkState, NewFork, Version, VersionContent};
use store::projects::Project;
use store::requests::IdempotencyKey;
use types::{
    AccountId, AppVersionId, Code, Lifecycle, Problem, ProjectId, Tier, TraceId, Wallet, kill_point,
};

use super::publish::stored;
use super::{bad, no_version};
use crate::Plane;
use crate::caller::Caller;
use crate::keys::{ProjectKeys, forbidden, store_problem};
use crate::project::provision::{REPEAT_WITHIN, RepeatKey, checked_name, derived_id, has_payment};
use crate::subdomain::check_name;

/// A request without a key can be repeated only as the same signed request, for minutes.
const UNNAMED_REPEAT_WITHIN: TimeDelta = TimeDelta::hours(1);
const VARIABLES_BYTES_MAX: usize = 64 << 10;

/// What a forker asks for.
#[derive(Debug, Clone)]
pub struct ForkRequest {
    pub version: AppVersionId,
    pub name: String,
    pub subdomain: Option<String>,
    /// Handed to the function `bootstrap`.
    pub variables: Option<Value>,
}

/// A finished fork with its keys.
#[derive(Debug, Clone)]
pub struct Forked {
    pub project: ProjectId,
    pub keys: ProjectKeys,
    pub schema_slot: String,
    pub site_url: String,
    pub subdomain_url: Option<String>,
    /// Names with addresses.
    pub functions: Vec<(String, String)>,
    pub result: Option<Value>,
    pub error: Option<String>,
    /// Base64 for `PAYMENT-RESPONSE`, when a payment came with the request.
    pub settle_response: Option<String>,
}

/// Who forks, and by which way.
pub(super) struct Forker {
    pub wallet: Wallet,
    pub account: AccountId,
    pub trace: TraceId,
    /// A repeat of the request ends at the same project.
    pub repeatable: bool,
}

impl Plane {
    /// Makes a project of the caller's from a version: schema, manifest, functions and site, live as after a deploy.
    /// The same key, payment or signature never makes a second one, and goes on where the first attempt stopped.
    ///
    /// # Errors
    /// `VERSION_NOT_FOUND`, also for a private version; `FORK_NOT_ALLOWED`; `TIER_TOO_LOW`; as
    /// [`Plane::project_provision`]; `SUBDOMAIN_TAKEN`; what a deploy can be refused for, and then nothing is left;
    /// `FORK_PENDING` when it takes longer; `FORK_FAILED` for the repeat of one that failed.
    ///
    /// # Source
    /// Wire contract 02 section 9.
    pub async fn app_fork(&self, caller: &Caller, asked: ForkRequest) -> Result<Forked, Problem> {
        let (wallet, account) = self.account(caller).await?;
        let name = checked_name(asked.name.clone())?;
        check_request(&asked)?;
        let key = self.repeat_key(caller, account).await?;
        let signed = caller.siwx.as_deref().unwrap_or_default();
        let id = match &key {
            Some(key) => key.project,
            None => ProjectId(derived_id(&[b"fork", signed.as_bytes()])),
        };
        let mut forker = Forker { wallet, account, trace: caller.trace, repeatable: key.is_some() };
        if let Some(fork) = self.fork_before(id, account, asked.version).await? {
            return self.fork_finished(fork.project, forker, key).await;
        }
        let tier = self.tier_held(account).await?;
        let version = self.forkable(asked.version).await?;
        tier_allows(tier, version.min_tier)?;
        // A payment may be the repeat of one whose fork has the name by now.
        if !has_payment(caller) {
            self.name_free(asked.subdomain.as_deref()).await?;
        }
        let paid = self.tier_ensured(caller, (wallet, account), version.min_tier, "/fork/v1").await?;
        // Once it is paid, a repeat is known by the payment.
        let id = match &paid {
            Some(paid) if has_payment(caller) => ProjectId(paid.payment.0),
            _ => id,
        };
        forker.repeatable |= paid.is_some();
        if self.fork_before(id, account, asked.version).await?.is_none() {
            self.fork_entered(id, (&version, asked), name, &forker).await?;
        }
        let forked = self.fork_finished(id, forker, key).await?;
        Ok(Forked { settle_response: paid.map(|paid| paid.settle_response), ..forked })
    }

    /// What the same request began before.
    async fn fork_before(
        &self,
        id: ProjectId,
        account: AccountId,
        version: AppVersionId,
    ) -> Result<Option<Fork>, Problem> {
        let store = &self.deps().store;
        let Some(fork) = store::apps::fork_find(store, id).await.map_err(store_problem)? else {
            return Ok(None);
        };
        let project = store::projects::project_fetch(store, id).await.map_err(store_problem)?;
        if project.account != account {
            return Err(forbidden("the project belongs to another account"));
        }
        if fork.version != version {
            let text = "this request forked another version before";
            return Err(Problem::new(Code::IdempotencyKeyReused, text));
        }
        Ok(Some(fork))
    }

    async fn forkable(&self, id: AppVersionId) -> Result<Version, Problem> {
        let version = self.app_get(id).await?;
        if !version.fork_allowed {
            return Err(Problem::new(Code::ForkNotAllowed, "this version may be looked at, not forked"));
        }
        Ok(version)
    }

    /// The account's tier; none when it has to be bought on the way. Who is frozen is told so first.
    async fn tier_held(&self, account: AccountId) -> Result<Option<Tier>, Problem> {
        let Some(view) = self.lease_view(account).await? else { return Ok(None) };
        match view.lifecycle {
            Lifecycle::Active | Lifecycle::PastDue => Ok(Some(view.tier)),
            Lifecycle::Frozen | Lifecycle::Dormant => {
                self.account_gate(account).await.map(|_| Some(view.tier))
            }
            Lifecycle::Purged => Ok(None),
        }
    }

    /// Asked before anything is made; whoever is quicker by then is noticed when it goes live.
    async fn name_free(&self, name: Option<&str>) -> Result<(), Problem> {
        let Some(name) = name else { return Ok(()) };
        check_name(name).map_err(|bad| Problem::new(Code::BadSubdomain, bad.to_string()))?;
        let held =
            store::subdomains::subdomain_find(&self.deps().store, name).await.map_err(store_problem)?;
        if held.is_some() {
            let text = format!("{name} belongs to another project");
            return Err(Problem::new(Code::DeploySubdomainTaken, text));
        }
        Ok(())
    }

    /// Enters project and fork in one commit.
    async fn fork_entered(
        &self,
        id: ProjectId,
        (version, asked): (&Version, ForkRequest),
        name: String,
        forker: &Forker,
    ) -> Result<Project, Problem> {
        let content = store::apps::version_content_find(&self.deps().store, version.id).await;
        let content = content.map_err(store_problem)?.ok_or_else(|| no_version(version.id))?;
        let within = if forker.repeatable { REPEAT_WITHIN } else { UNNAMED_REPEAT_WITHIN };
        let VersionContent { spec, structure, structure_schema } = content;
        let fork = NewFork {
            project: id,
            version: version.id,
            spec: stored(&own_spec(spec, id, asked.subdomain)?)?,
            structure: structure.map(|text| json!([structure_schema, text]).to_string()),
            variables: asked.variables,
            repeat_until: self.now() + within,
        };
        let project = self.project_made(forker.account, id, Some(name), Some(&fork)).await?;
        kill_point!("fork.entered");
        tracing::info!(project.id = %id, version.id = %version.id, source.id = %version.project, "fork entered");
        Ok(project)
    }

    /// Takes a fork to its end, whoever is still listening, and shows its keys.
    async fn fork_finished(
        &self,
        id: ProjectId,
        forker: Forker,
        key: Option<RepeatKey>,
    ) -> Result<Forked, Problem> {
        let plane = self.clone();
        let work = tokio::spawn(async move { plane.fork_drive(id, &forker).await });
        let fork = work.await.map_err(|_| Problem::new(Code::Internal, "the fork was cut off"))??;
        if let Some(key) = key {
            let named = IdempotencyKey { scope: &key.scope, key: &key.key };
            let answer = json!({ "project_id": id });
            self.deps().store.idempotency_finish(named, &answer).await.map_err(store_problem)?;
        }
        self.fork_shown(fork).await
    }

    async fn fork_shown(&self, fork: Fork) -> Result<Forked, Problem> {
        let (deps, id) = (self.deps(), fork.project);
        let project = self.project_live(id).await?;
        let functions = store::functions::live_functions(&deps.store, id).await.map_err(store_problem)?;
        let names = store::subdomains::subdomain_list(&deps.store, id).await.map_err(store_problem)?;
        let url = |name: &str| format!("{}/functions/v1/{name}", self.public_url());
        Ok(Forked {
            project: id,
            keys: self.project_keys(id).await?,
            schema_slot: project.schema().unwrap_or_default(),
            site_url: deps.hosts.project_url(&project.public_id),
            subdomain_url: names.first().map(|name| deps.hosts.subdomain_url(&name.name)),
            functions: functions
                .into_iter()
                .map(|live| (live.function.name.clone(), url(&live.function.name)))
                .collect(),
            result: fork.result,
            error: fork.error,
            settle_response: None,
        })
    }
}

fn tier_allows(has: Option<Tier>, needed: Tier) -> Result<(), Problem> {
    match has {
        Some(has) if has < needed => {
            let text = format!("this app needs the {needed} tier, and the account has {has}");
            Err(Problem::new(Code::TierTooLow, text)
                .detail("tier", has.as_str())
                .detail("min_tier", needed.as_str()))
        }
        _ => Ok(()),
    }
}

fn check_request(asked: &ForkRequest) -> Result<(), Problem> {
    let Some(variables) = &asked.variables else { return Ok(()) };
    let text = variables.to_string();
    if !variables.is_object() {
        return Err(bad("bootstrap", "an object of variables is needed"));
    }
    // A NUL cannot be stored on the way to the function.
    if text.len() > VARIABLES_BYTES_MAX || text.contains("\\u0000") {
        return Err(bad("bootstrap", "at most 64 KiB without NUL characters are allowed"));
    }
    Ok(())
}

/// The version's spec for the fork's own project: never anything of the publisher's but parts.
fn own_spec(spec: Value, project: ProjectId, subdomain: Option<String>) -> Result<Spec, Problem> {
    let unread = |_| Problem::new(Code::Internal, "the stored version cannot be read");
    let spec: Spec = serde_json::from_value(spec).map_err(unread)?;
    let subdomains = subdomain.map(|name| store::releases::NameChange {
        add: vec![name],
        ..store::releases::NameChange::default()
    });
    Ok(Spec { project, subdomains, secrets: None, assets: None, ..spec })
}

/// Whether a fork with this state still has a way to go.
pub(super) fn is_open(state: ForkState) -> bool {
    !matches!(state, ForkState::Done | ForkState::Failed)
}
