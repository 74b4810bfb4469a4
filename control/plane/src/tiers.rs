//! Tiers: what they cost, what an account has, and changing it.

use actors::lease::{self, Reply, Request};
use billing::lapse::{lapses_at, lifecycle_of};
pub use billing::{Limits, Offer};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::time::Duration;
use store::accounts::{Lease, PooledUsage, account_of_wallet_find, account_usage, standing_find};
use store::requests::{Begun, IdempotencyKey};
use types::{AccountId, Code, Lifecycle, Problem, Tier, UsdMicros, Wallet, lifecycle_dates, rfc3339};

use crate::Plane;
use crate::billing::checkouts::suspended;
use crate::caller::Caller;
use crate::pay::{PayFor, Priced};

/// How long a purchase from the balance may take.
const PURCHASE_WAIT: Duration = Duration::from_secs(15);
/// How long an `Idempotency-Key` is remembered.
const IDEMPOTENCY_HOURS: i64 = 24;

/// What a wallet has.
#[derive(Debug, Clone)]
pub struct TierStatus {
    pub wallet: Wallet,
    pub lease: Option<Lease>,
    pub pinned: bool,
    /// The lease has not ended.
    pub active: bool,
    /// None without a tier.
    pub lifecycle: Option<Lifecycle>,
    pub usage: PooledUsage,
    /// None without a tier.
    pub limits: Option<Limits>,
}

/// A tier that was set.
#[derive(Debug, Clone)]
pub struct TierSet {
    /// The body, as it was given the first time.
    pub body: Value,
    /// The `PAYMENT-RESPONSE` header, when x402 paid for it.
    pub settle_response: Option<String>,
}

/// What an account may do now.
#[derive(Debug, Clone, Copy)]
pub struct LeaseView {
    pub tier: Tier,
    /// None for a pinned account that never subscribed.
    pub lease: Option<Lease>,
    pub pinned: bool,
    /// When its ageing begins: the lease's end, or later when a chain stood still then. None without a lease,
    /// and while a chain stands still.
    pub lapses_at: Option<DateTime<Utc>>,
    pub lifecycle: Lifecycle,
    pub limits: Limits,
    /// Above zero while the account is suspended.
    pub card_debt: UsdMicros,
}

impl Plane {
    /// Everything that is for sale, from least to most. Open to all.
    pub fn tier_quote(&self) -> Vec<Offer> {
        self.deps().prices.offers().to_vec()
    }

    /// What the calling wallet has. A wallet never seen has nothing, and is not remembered.
    ///
    /// # Errors
    /// `AUTHENTICATION_REQUIRED`.
    pub async fn tier_status(&self, caller: &Caller) -> Result<TierStatus, Problem> {
        let wallet = self.wallet(caller).await?;
        let store = &self.deps().store;
        let Some(account) = account_of_wallet_find(store, wallet).await.map_err(down)? else {
            return Ok(TierStatus {
                wallet,
                lease: None,
                pinned: false,
                active: false,
                lifecycle: None,
                usage: PooledUsage::default(),
                limits: None,
            });
        };
        let standing = standing_find(store, account).await.map_err(down)?;
        let now = self.now();
        Ok(TierStatus {
            wallet,
            lease: standing.lease,
            pinned: standing.pinned,
            active: standing.lease.is_some() && lifecycle_of(&standing, now) == Some(Lifecycle::Active),
            lifecycle: standing.lease.and_then(|_| lifecycle_of(&standing, now)),
            usage: account_usage(store, account).await.map_err(down)?,
            limits: standing.lease.map(|l| self.deps().prices.limits(l.tier)),
        })
    }

    /// Subscribes, renews, upgrades or downgrades the calling wallet: from its balance when that covers the
    /// price, otherwise against an x402 payment. The same request again, by payment, idempotency key or
    /// signature, gets the same answer and buys nothing more.
    ///
    /// # Errors
    /// `AUTHENTICATION_REQUIRED`, `UNKNOWN_TIER`, `TIER_DOWNGRADE_NOT_ALLOWED`, `IDEMPOTENCY_KEY_REUSED`, and
    /// what paying may answer: `PAYMENT_REQUIRED` with the challenge, `PAYMENT_PENDING`, `PAYMENT_REUSED`,
    /// `PAYMENT_INVALID`.
    ///
    /// # Source
    /// Wire contract 01 section 5.4; open questions 6, 8 and 24.
    pub async fn tier_set(&self, caller: &Caller, tier: &str) -> Result<TierSet, Problem> {
        let (wallet, account) = self.account(caller).await?;
        let standing = standing_find(&self.deps().store, account).await.map_err(down)?;
        suspended(standing.card_debt)?;
        let tier: Tier = tier.parse().map_err(|_| unknown(tier))?;
        let scope = format!("tier_set/{account}");
        let key = caller.idempotency_key.as_deref().map(|key| IdempotencyKey { scope: &scope, key });
        if let Some(done) = self.tier_set_before(caller, key).await? {
            return Ok(done);
        }
        let done = match self.tier_buy(caller, (wallet, account), tier).await? {
            Some(body) => TierSet { body, settle_response: None },
            None => {
                let paid = self.pay(caller, self.tier_price((wallet, account), tier)).await?;
                TierSet { body: paid.answer, settle_response: Some(paid.settle_response) }
            }
        };
        if let Some(key) = key {
            let answer = json!({ "body": done.body, "settle_response": done.settle_response });
            self.deps().store.idempotency_finish(key, &answer).await.map_err(down)?;
        }
        types::kill_point!("payment.answering");
        Ok(done)
    }

    /// The answer that this idempotency key was given. A request under way is not waited for: what it does is
    /// itself the same however often it is asked.
    async fn tier_set_before(
        &self,
        caller: &Caller,
        key: Option<IdempotencyKey<'_>>,
    ) -> Result<Option<TierSet>, Problem> {
        let Some(key) = key else { return Ok(None) };
        let now = self.now();
        let until = now + chrono::TimeDelta::hours(IDEMPOTENCY_HOURS);
        let begun = self.deps().store.idempotency_begin(key, &caller.request_hash(), now, until).await;
        match begun.map_err(down)? {
            Begun::New | Begun::Running => Ok(None),
            Begun::Other => Err(Problem::new(
                Code::IdempotencyKeyReused,
                "this Idempotency-Key was used for another request",
            )),
            Begun::Done(answer) => Ok(Some(TierSet {
                body: answer.get("body").cloned().unwrap_or(Value::Null),
                settle_response: answer.get("settle_response").and_then(Value::as_str).map(str::to_owned),
            })),
        }
    }

    /// Buys from the balance; `None` when the caller pays, has a payment under way, or the balance is too
    /// small.
    async fn tier_buy(
        &self,
        caller: &Caller,
        (wallet, account): (Wallet, AccountId),
        tier: Tier,
    ) -> Result<Option<Value>, Problem> {
        // A proof is answered by what it bought, whatever the balance is now.
        if caller.payment_signature.is_some() || caller.x_payment.is_some() {
            return Ok(None);
        }
        let deps = self.deps();
        let unfinished = deps.store.payment_unfinished_for(account, billing::legs::TIER, tier.as_str()).await;
        if unfinished.map_err(down)?.is_some() {
            return Ok(None);
        }
        self.usage_measured(account, tier).await?;
        lease::downgrade_check(&deps.store, &deps.prices, (account, tier), self.now())
            .await
            .map_err(actors::kit::ActorError::into_problem)?;
        let request = Request::Purchase { tier, wallet, request_key: request_key(caller) };
        let reply = self.actors().lease.call(account, request, PURCHASE_WAIT).await;
        reply.map(Reply::answer).map_err(actors::kit::ActorError::into_problem)
    }

    /// A downgrade is judged by what the account uses now, not by what was measured some time ago.
    async fn usage_measured(&self, account: AccountId, tier: Tier) -> Result<(), Problem> {
        let store = &self.deps().store;
        let standing = standing_find(store, account).await.map_err(down)?;
        if standing.lease.is_none_or(|lease| lease.tier <= tier || lease.ends_at <= self.now()) {
            return Ok(());
        }
        for project in store::projects::ready_of_account(store, account).await.map_err(down)? {
            self.database_measured(project).await?;
        }
        Ok(())
    }

    fn tier_price(&self, (wallet, account): (Wallet, AccountId), tier: Tier) -> PayFor {
        let offer = self.deps().prices.offer(tier);
        PayFor {
            account,
            wallet,
            product: billing::legs::TIER,
            product_key: tier.as_str().to_owned(),
            priced: priced(offer),
        }
    }

    /// What a tier costs, as the challenge that a buyer is given. Open to all, so that programs can see the
    /// offer before they sign in; paying it is a POST.
    ///
    /// # Errors
    /// Always: `PAYMENT_REQUIRED` with the challenge, `METHOD_NOT_ALLOWED` for a payment that is presented
    /// here (nothing is charged), `UNKNOWN_TIER`, `CHAIN_UNAVAILABLE`.
    pub fn tier_challenge(&self, caller: &Caller, tier: &str) -> Problem {
        let Ok(tier) = tier.parse::<Tier>() else { return unknown(tier) };
        if caller.payment_signature.is_some() || caller.x_payment.is_some() {
            let message = "a tier is bought by POST; the payment was not looked at";
            return Problem::new(Code::MethodNotAllowed, message);
        }
        self.pay_challenge(&priced(self.deps().prices.offer(tier)))
    }

    /// Whether an account may change its control plane: deploy, provision, claim names.
    ///
    /// # Errors
    /// `TIER_REQUIRED` without a tier; `PROJECT_FROZEN` or `PROJECT_DORMANT`, with the lifecycle's dates,
    /// once the grace is over.
    ///
    /// # Source
    /// Wire contract 01 sections 5.5 and 5.6.
    pub async fn account_gate(&self, account: AccountId) -> Result<LeaseView, Problem> {
        let view = self.lease_view(account).await?;
        let view = view.ok_or_else(|| Problem::new(Code::TierRequired, "this account has no tier"))?;
        suspended(view.card_debt)?;
        match view.lease.zip(view.lapses_at) {
            Some((lease, lapse)) if !view.lifecycle.allows_control_changes() => {
                Err(lifecycle_problem(&lease, lapse, view.lifecycle))
            }
            _ => Ok(view),
        }
    }

    /// What an account has, whatever its state; none without a tier.
    ///
    /// # Errors
    /// `UNAVAILABLE`.
    pub async fn lease_view(&self, account: AccountId) -> Result<Option<LeaseView>, Problem> {
        let standing = standing_find(&self.deps().store, account).await.map_err(down)?;
        let tier = match standing.lease {
            Some(lease) => lease.tier,
            // An operator's pin stands for a lease; its limits are the smallest.
            None if standing.pinned => Tier::Prototype,
            None => return Ok(None),
        };
        Ok(Some(LeaseView {
            tier,
            lease: standing.lease,
            pinned: standing.pinned,
            lapses_at: standing.lease.and_then(|lease| lapses_at(lease.ends_at, &standing.stalls)),
            lifecycle: lifecycle_of(&standing, self.now()).unwrap_or(Lifecycle::Active),
            limits: self.deps().prices.limits(tier),
            card_debt: standing.card_debt,
        }))
    }
}

fn priced(offer: &Offer) -> Priced {
    Priced {
        price: offer.price,
        networks: offer.networks.clone(),
        resource_path: format!("/tiers/v1/{}", offer.tier),
        description: offer.description(),
    }
}

fn unknown(tier: &str) -> Problem {
    Problem::new(Code::UnknownTier, format!("Unknown tier: {tier}")).detail("tier", tier)
}

/// Names a purchase from the balance: the client's key, or the signature that asked for it, which is good for
/// one request only.
pub(crate) fn request_key(caller: &Caller) -> String {
    match &caller.idempotency_key {
        Some(key) => format!("key:{key}"),
        None => {
            let signed = caller.siwx.as_deref().unwrap_or_default();
            format!("siwx:{}", hex::encode(Sha256::digest(signed.as_bytes())))
        }
    }
}

/// Why a lapsed lease refuses, with the dates that clients show.
///
/// # Source
/// Wire contract 01 section 5.6.
pub(crate) fn lifecycle_problem(lease: &Lease, lapse: DateTime<Utc>, state: Lifecycle) -> Problem {
    let dates = lifecycle_dates(lapse);
    let (code, entered, next) = match state {
        Lifecycle::Active => (Code::ProjectPastDue, lease.started_at, Some(dates.past_due_at)),
        Lifecycle::PastDue => (Code::ProjectPastDue, dates.past_due_at, Some(dates.frozen_at)),
        Lifecycle::Frozen => (Code::ProjectFrozen, dates.frozen_at, Some(dates.dormant_at)),
        Lifecycle::Dormant => (Code::ProjectDormant, dates.dormant_at, Some(dates.purged_at)),
        Lifecycle::Purged => (Code::ProjectDormant, dates.purged_at, None),
    };
    Problem::new(
        code,
        format!("the lease ended on {}; the account is {}", rfc3339(lease.ends_at), state.as_str()),
    )
    .extra("lifecycle_state", state.as_str())
    .extra("entered_state_at", rfc3339(entered))
    .extra("next_transition_at", next.map(rfc3339))
    .extra("scheduled_purge_at", rfc3339(dates.purged_at))
    .extra("renew_url", format!("/tiers/v1/{}", lease.tier))
}

/// The control database did not answer, so nothing was done.
pub(crate) fn down(error: store::StoreError) -> Problem {
    actors::kit::ActorError::from(error).into_problem()
}
