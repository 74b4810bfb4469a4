//! Making projects: the tier they need, the repeat that must not make a second one, the slot.

use std::time::Duration;

use actors::kit::ActorError;
use actors::{lease, project as actor};
use chrono::TimeDelta;
use sha2::{Digest, Sha256};
use store::apps::NewFork;
use store::projects::{NewProject, Phase, Project};
use store::requests::{Begun, IdempotencyKey};
use types::{AccountId, Code, Lifecycle, Mutation, Problem, ProjectId, Tier, Wallet, kill_point};

use super::{LeaseFacts, lease_facts};
use crate::Plane;
use crate::billing::checkouts::suspended;
use crate::caller::Caller;
use crate::keys::{ProjectKeys, store_problem};
use crate::pay::{Paid, PayFor, Priced};

/// # Source
/// Wire contract 01 section 6.1.
const NAME_CHARS_MAX: usize = 128;
pub(crate) const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// How long a repeated request finds its first answer.
pub(crate) const REPEAT_WITHIN: TimeDelta = TimeDelta::hours(24);
/// A slot is made on the spot when none is warm.
const PROVISION_WITHIN: Duration = Duration::from_secs(20);
const PURCHASE_WITHIN: Duration = Duration::from_secs(10);

/// What a client asks for.
#[derive(Debug, Clone, Default)]
pub struct Provision {
    /// Bought when the account has no tier, ignored otherwise.
    pub tier: Option<String>,
    pub name: Option<String>,
}

/// A ready project with its keys, which are shown here and nowhere else.
#[derive(Debug, Clone)]
pub struct Provisioned {
    pub project: ProjectId,
    pub name: String,
    pub keys: ProjectKeys,
    pub schema_slot: String,
    pub public_id: String,
    pub lease: Option<LeaseFacts>,
    /// Base64 for `PAYMENT-RESPONSE`, when a payment came with the request.
    pub settle_response: Option<String>,
}

impl Plane {
    /// Makes a project, buying the asked tier first when the account has none. The same payment or the same
    /// idempotency key never makes a second one.
    ///
    /// # Errors
    /// `BAD_PROJECT_NAME`, `UNKNOWN_TIER`; as [`Plane::account`]; the 402 of `pay`; `PROJECT_FROZEN` and
    /// later states; `IDEMPOTENCY_KEY_REUSED`; `NO_SCHEMA_SLOTS`.
    ///
    /// # Source
    /// Wire contract 01 section 6.1 and its open questions 9 and 10.
    pub async fn project_provision(&self, caller: &Caller, asked: Provision) -> Result<Provisioned, Problem> {
        let (wallet, account) = self.account(caller).await?;
        let tier = asked.tier.as_deref().unwrap_or("prototype");
        let tier: Tier =
            tier.parse().map_err(|_| Problem::new(Code::UnknownTier, format!("Unknown tier: {tier}")))?;
        let name = asked.name.map(checked_name).transpose()?;
        let key = self.repeat_key(caller, account).await?;

        let paid = self.tier_ensured(caller, (wallet, account), tier, "/projects/v1").await?;
        let fresh = ProjectId::new(&*self.deps().entropy);
        // Repeats name the project they are about: a payment's has the payment's own UUID.
        let (id, repeatable) = match (&paid, &key) {
            (Some(paid), _) if has_payment(caller) => (ProjectId(paid.payment.0), true),
            (_, Some(key)) => (key.project, true),
            _ => (fresh, false),
        };
        let project = self.project_made(account, id, name, None).await?;
        kill_point!("provision.entered");
        let project = self.project_ready(project, repeatable).await?;
        kill_point!("provision.ready");
        if let Some(key) = key {
            let answer = serde_json::json!({ "project_id": id });
            let named = IdempotencyKey { scope: &key.scope, key: &key.key };
            self.deps().store.idempotency_finish(named, &answer).await.map_err(store_problem)?;
        }
        kill_point!("provision.remembered");
        let standing = self.standing(account).await?;
        Ok(Provisioned {
            project: id,
            keys: self.project_keys(id).await?,
            schema_slot: project.schema().unwrap_or_default(),
            name: project.name,
            public_id: project.public_id,
            lease: lease_facts(&standing),
            settle_response: paid.map(|paid| paid.settle_response),
        })
    }

    /// Buys the tier unless the account has one that allows making projects.
    pub(crate) async fn tier_ensured(
        &self,
        caller: &Caller,
        (wallet, account): (Wallet, AccountId),
        tier: Tier,
        resource_path: &str,
    ) -> Result<Option<Paid>, Problem> {
        let standing = self.standing(account).await?;
        suspended(standing.card_debt)?;
        let has_tier = match self.lifecycle_of(&standing) {
            Lifecycle::Active | Lifecycle::PastDue => standing.lease.is_some() || standing.pinned,
            Lifecycle::Frozen | Lifecycle::Dormant => {
                self.account_gate(account).await?;
                true
            }
            Lifecycle::Purged => false,
        };
        // A payment that comes along is looked up even so: it may be the repeat of the one that bought the
        // tier.
        if has_tier && !has_payment(caller) {
            return Ok(None);
        }
        if !has_payment(caller) && self.tier_from_balance(caller, (wallet, account), tier).await? {
            return Ok(None);
        }
        let offer = self.deps().prices.offer(tier);
        let what = PayFor {
            account,
            wallet,
            product: billing::legs::TIER,
            product_key: tier.as_str().to_owned(),
            priced: Priced {
                price: offer.price,
                networks: offer.networks.clone(),
                resource_path: resource_path.to_owned(),
                description: offer.description(),
            },
        };
        self.pay(caller, what).await.map(Some)
    }

    /// Buys the tier from the account's balance, if that covers it and no payment for it is under way.
    async fn tier_from_balance(
        &self,
        caller: &Caller,
        (wallet, account): (Wallet, AccountId),
        tier: Tier,
    ) -> Result<bool, Problem> {
        let store = &self.deps().store;
        let open = store.payment_unfinished_for(account, billing::legs::TIER, tier.as_str()).await;
        if open.map_err(store_problem)?.is_some() {
            return Ok(false);
        }
        // A signature is good for one request, so it names this one.
        let signed = Sha256::digest(caller.siwx.as_deref().unwrap_or_default());
        let request_key = format!("provision:{}", hex::encode(signed));
        let request = lease::Request::Purchase { tier, wallet, request_key };
        let reply = self.actors().lease.call(account, request, PURCHASE_WITHIN).await;
        Ok(reply.map_err(ActorError::into_problem)?.answer().is_some())
    }

    /// Enters the project, as a fork if it is one, or finds the one that the same request entered before.
    pub(crate) async fn project_made(
        &self,
        account: AccountId,
        id: ProjectId,
        name: Option<String>,
        fork: Option<&NewFork>,
    ) -> Result<Project, Problem> {
        let store = &self.deps().store;
        if let Some(before) = store::projects::project_find(store, id).await.map_err(store_problem)? {
            return same_project(before, account, name.as_deref());
        }
        let public_id = public_id(self.deps().entropy.secret());
        let given = name.clone().unwrap_or_else(|| format!("project-{}", &public_id[..6]));
        let new = NewProject { id, account, name: given, public_id };
        let mut tx = store.begin().await.map_err(store_problem)?;
        match store::projects::project_insert(&mut tx, &new, self.now()).await {
            Ok(()) => {
                if let Some(fork) = fork {
                    store::apps::fork_enter(&mut tx, fork, self.now()).await.map_err(store_problem)?;
                }
                tx.commit().await.map_err(store_problem)?;
            }
            // The same request at the same time.
            Err(e) if e.constraint() == Some("projects_pkey") => drop(tx),
            Err(e) => return Err(store_problem(e)),
        }
        let made = store::projects::project_fetch(store, id).await.map_err(store_problem)?;
        same_project(made, account, name.as_deref())
    }

    /// Has the project's actor finish it. A project that nobody could name again is not left behind.
    pub(crate) async fn project_ready(&self, project: Project, repeatable: bool) -> Result<Project, Problem> {
        let id = project.id;
        if project.phase != Phase::Ready {
            let made = self.actors().project.call(id, actor::Request::Provision, PROVISION_WITHIN).await;
            if let Err(e) = made {
                let known = e.mutation() != Mutation::Unknown;
                if known && !repeatable {
                    self.actors().project.hint(id, actor::Request::Erase);
                }
                return Err(e.into_problem());
            }
        }
        store::projects::project_fetch(&self.deps().store, id).await.map_err(store_problem)
    }

    /// What the request's `Idempotency-Key` stands for.
    pub(crate) async fn repeat_key(
        &self,
        caller: &Caller,
        account: AccountId,
    ) -> Result<Option<RepeatKey>, Problem> {
        let Some(key) = caller.idempotency_key.clone() else { return Ok(None) };
        if key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
            return Err(Problem::new(Code::BadRequest, "the Idempotency-Key is longer than 255 bytes"));
        }
        let scope = format!("provision/{account}");
        let named = IdempotencyKey { scope: &scope, key: &key };
        let (now, hash) = (self.now(), caller.request_hash());
        let begun = self.deps().store.idempotency_begin(named, &hash, now, now + REPEAT_WITHIN).await;
        match begun.map_err(store_problem)? {
            Begun::Other => Err(Problem::new(
                Code::IdempotencyKeyReused,
                "this Idempotency-Key was used for another request",
            )),
            // Whether the first request is done, runs or died: the key names the project, so both end at the
            // same one.
            Begun::New | Begun::Running | Begun::Done(_) => {
                let project = ProjectId(derived_id(&[scope.as_bytes(), key.as_bytes()]));
                Ok(Some(RepeatKey { scope, key, project }))
            }
        }
    }
}

pub(crate) struct RepeatKey {
    pub scope: String,
    pub key: String,
    pub project: ProjectId,
}

pub(crate) fn has_payment(caller: &Caller) -> bool {
    caller.payment_signature.is_some() || caller.x_payment.is_some()
}

/// A repeat asks for the same project, and does not bring an erased one back.
fn same_project(project: Project, account: AccountId, name: Option<&str>) -> Result<Project, Problem> {
    if project.account != account {
        return Err(Problem::new(Code::Forbidden, "the project belongs to another account"));
    }
    match project.phase {
        Phase::Erasing | Phase::Erased => {
            Err(Problem::new(Code::ProjectNotFound, "the project that this request made was deleted since"))
        }
        Phase::Provisioning | Phase::Ready if name.is_some_and(|name| name != project.name) => Err(
            Problem::new(Code::IdempotencyKeyReused, "this request made a project of another name before")
                .detail("project_id", project.id.to_string()),
        ),
        Phase::Provisioning | Phase::Ready => Ok(project),
    }
}

pub(crate) fn checked_name(name: String) -> Result<String, Problem> {
    let chars = name.chars().count();
    // Postgres has no place for more than what a control character check lets through.
    if (1..=NAME_CHARS_MAX).contains(&chars) && !name.chars().any(char::is_control) {
        return Ok(name);
    }
    Err(Problem::new(
        Code::BadProjectName,
        "a project's name has 1 to 128 characters, none of them a control character",
    ))
}

/// 12 characters of `a-z0-9`: a host name that cannot be guessed from the project's id.
fn public_id(secret: [u8; 32]) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    // 252 is the largest multiple of 36 in a byte; the rest would favour the first letters.
    let fair = secret.into_iter().filter(|byte| *byte < 252).take(12);
    let mut text: String = fair.map(|byte| char::from(ALPHABET[usize::from(byte) % 36])).collect();
    while text.len() < 12 {
        text.push('x');
    }
    text
}

/// The same UUID (version 8, made from a digest) for the same parts.
pub(crate) fn derived_id(parts: &[&[u8]]) -> uuid::Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_length_and_no_control_characters() {
        for good in ["a", "my app", "プロジェクト", "it's \"quoted\"; drop"] {
            assert_eq!(checked_name(good.to_owned()).unwrap(), good);
        }
        assert!(checked_name("é".repeat(128)).is_ok());
        for bad in [String::new(), "é".repeat(129), "a\nb".to_owned(), "a\u{7f}".to_owned(), "\0".to_owned()]
        {
            assert_eq!(checked_name(bad).unwrap_err().code, Code::BadProjectName);
        }
    }

    #[test]
    fn public_ids_fit_their_check_constraint() {
        for byte in [0_u8, 35, 36, 251, 252, 255] {
            let id = public_id([byte; 32]);
            assert_eq!(id.len(), 12);
            assert!(id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{id}");
        }
    }

    #[test]
    fn a_key_names_one_project_of_one_account() {
        let id = |scope: &str, key: &str| derived_id(&[scope.as_bytes(), key.as_bytes()]);
        assert_eq!(id("provision/org_1", "k"), id("provision/org_1", "k"));
        assert_ne!(id("provision/org_1", "k"), id("provision/org_2", "k"));
        assert_ne!(id("ab", "c"), id("a", "bc"));
    }
}
