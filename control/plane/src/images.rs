//! Images: one priced request, paid from a balance or by x402, charged when the image is there.

use std::sync::Arc;
use std::time::Duration;

use actors::images::{self, Asked as Order};
use actors::kit::ActorError;
use ai::Aspect;
pub use billing::ImageOffer;
use billing::image_legs::IMAGE;
use sha2::{Digest, Sha256};
use store::accounts::standing_find;
use store::image_orders::{Asker, ImageOrder, OrderState, image_order_find, image_order_open_for};
use store::payments::Failure;
use types::{AccountId, Code, ImageOrderId, Mutation, Problem, ProjectId, Wallet};

use crate::Plane;
use crate::billing::checkouts::suspended;
use crate::caller::Caller;
use crate::keys::{KeyRole, forbidden};
use crate::pay::{PayFor, Priced};
use crate::tiers::{down, request_key};

/// Absolute path of the one route.
pub const IMAGE_PATH: &str = "/generate-image/v1";
/// # Source
/// Wire contract 03 section 7.4.
const PROMPT_CHARS_MAX: usize = 1_000;
/// How often a waiting request looks at its order.
const POLL: Duration = Duration::from_millis(250);
const POLLS_PER_SEC: u64 = 4;

/// An image that was made and paid for.
#[derive(Debug, Clone)]
pub struct ImageMade {
    pub png: Vec<u8>,
    pub aspect: Aspect,
    /// The `PAYMENT-RESPONSE` header, when x402 paid for it.
    pub settle_response: Option<String>,
}

/// What is asked for, in bounds.
struct Asked {
    prompt: Arc<str>,
    aspect: Aspect,
}

impl Asked {
    fn new(prompt: &str, aspect: &str) -> Result<Self, Problem> {
        let bad = |field: &str, why: String| Problem::new(Code::BadRequest, why).detail("field", field);
        if prompt.trim().is_empty() || prompt.chars().count() > PROMPT_CHARS_MAX {
            return Err(bad("prompt", format!("a prompt has 1 to {PROMPT_CHARS_MAX} characters")));
        }
        let aspect = aspect.parse().map_err(|e: ai::BadAspect| bad("aspect", e.to_string()))?;
        Ok(Self { prompt: prompt.into(), aspect })
    }

    /// Names what is asked for: a payment for one prompt buys no other.
    fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.aspect.as_str());
        hash.update([0]);
        hash.update(self.prompt.as_bytes());
        hash.finalize().into()
    }
}

impl Plane {
    /// What an image costs and where that can be paid. Open to all.
    pub fn image_quote(&self) -> ImageOffer {
        self.deps().prices.image.clone()
    }

    /// Makes an image: for a wallet, whose balance pays if it covers the price and x402 otherwise; or for a project by
    /// its service key, whose account's balance pays. The same request again, by payment, idempotency key or
    /// signature, gets the same image for nothing, for a day.
    ///
    /// # Errors
    /// `AI_PROVIDER_NOT_CONFIGURED`, `BAD_REQUEST`, `IMAGE_PENDING`, `IMAGE_EXPIRED`; `AI_PROVIDER_FAILED` and
    /// `AI_REQUEST_REFUSED`, which charge nothing and name the credit that stays; for a wallet what paying may answer;
    /// for a project `QUOTA_EXCEEDED` and `BUDGET_EXCEEDED`, never a challenge.
    ///
    /// # Source
    /// Wire contract 03 section 7.4 and open question 17.
    pub async fn image_generate(
        &self,
        caller: &Caller,
        prompt: &str,
        aspect: &str,
    ) -> Result<ImageMade, Problem> {
        let asked = Asked::new(prompt, aspect)?;
        self.ai()?;
        if caller.bearer.is_some() || caller.apikey.is_some() {
            let order = self.image_of_project(caller, &asked).await?;
            return self.image_made(order, &asked, None).await;
        }
        if caller.siwx.is_none() && caller.payment_signature.is_none() && caller.x_payment.is_none() {
            return Err(self.pay_challenge(&self.image_priced()));
        }
        let (wallet, account) = self.account(caller).await?;
        suspended(standing_find(&self.deps().store, account).await.map_err(down)?.card_debt)?;
        if let Some(order) = self.image_of_balance(caller, (wallet, account), &asked).await? {
            return self.image_made(order, &asked, None).await;
        }
        let what = PayFor {
            account,
            wallet,
            product: IMAGE,
            product_key: hex::encode(asked.hash()),
            priced: self.image_priced(),
        };
        let paid = self.pay(caller, what).await?;
        let id = paid.answer.get("order").and_then(|id| id.as_str()).and_then(|id| id.parse().ok());
        let id: ImageOrderId =
            id.ok_or_else(|| Problem::new(Code::Internal, "the payment names no order"))?;
        let order = self.image_find(id).await.map_err(|mut problem| {
            problem.payment_response = Some(paid.settle_response.clone());
            problem
        })?;
        self.image_made(order, &asked, Some(paid.settle_response)).await
    }

    fn image_priced(&self) -> Priced {
        let ImageOffer { price, networks } = self.image_quote();
        let resource_path = IMAGE_PATH.to_owned();
        Priced { price, networks, resource_path, description: "One image".to_owned() }
    }

    /// Ordered by a service key.
    async fn image_of_project(&self, caller: &Caller, asked: &Asked) -> Result<ImageOrder, Problem> {
        let key = self.project_key(caller).await?;
        if key.role != KeyRole::Service {
            return Err(forbidden("this needs the service key"));
        }
        self.data_call(key.project).await?;
        let account = self.project_live(key.project).await?.account;
        suspended(standing_find(&self.deps().store, account).await.map_err(down)?.card_debt)?;
        let name = match &caller.idempotency_key {
            Some(name) => format!("project:{}/key:{name}", key.project),
            // Unnamed requests are new ones.
            None => format!("project:{}/once:{}", key.project, self.deps().entropy.uuid()),
        };
        let order = self.image_order(account, Asker::Project(key.project), name, asked).await?;
        order.ok_or_else(|| self.uncovered(key.project))
    }

    fn uncovered(&self, project: ProjectId) -> Problem {
        let price = self.deps().prices.image.price;
        Problem::new(Code::QuotaExceeded, "the balance of the project's account does not cover an image")
            .hint("Top the account up: run402 allowance checkout, or pay for an image with its wallet.")
            .detail("project_id", project.to_string())
            .detail("price_usd_micros", price.0)
    }

    /// Ordered by a wallet out of its balance; `None` when the caller pays, has a payment under way, or the balance
    /// is too small.
    async fn image_of_balance(
        &self,
        caller: &Caller,
        (wallet, account): (Wallet, AccountId),
        asked: &Asked,
    ) -> Result<Option<ImageOrder>, Problem> {
        if caller.payment_signature.is_some() || caller.x_payment.is_some() {
            return Ok(None);
        }
        let (store, hash) = (&self.deps().store, asked.hash());
        let paying = store.payment_unfinished_for(account, IMAGE, &hex::encode(hash)).await;
        if paying.map_err(down)?.is_some() {
            return Ok(None);
        }
        // A client that simply runs again while its image is being made does not order a second one (A09).
        if caller.idempotency_key.is_none() {
            let open = image_order_open_for(store, (account, Asker::Wallet(wallet)), hash).await;
            if let Some(open) = open.map_err(down)? {
                return Ok(Some(open));
            }
        }
        self.image_order(account, Asker::Wallet(wallet), request_key(caller), asked).await
    }

    async fn image_order(
        &self,
        account: AccountId,
        asker: Asker,
        request_key: String,
        asked: &Asked,
    ) -> Result<Option<ImageOrder>, Problem> {
        let order = Order { account, asker, request_key, request_hash: asked.hash() };
        images::order(&self.inner.deps, &order).await.map_err(|e| {
            // A refusal is an answer; anything else is worth a line.
            if !matches!(e, ActorError::Refused(_)) {
                tracing::warn!(error = &e as &dyn std::error::Error, "image order");
            }
            e.into_problem()
        })
    }

    async fn image_find(&self, id: ImageOrderId) -> Result<ImageOrder, Problem> {
        // The price is held, and somebody may be making it: what became of that is not known.
        let unknown = |e| down(e).mutation(Mutation::Unknown);
        let found = image_order_find(&self.deps().store, id).await.map_err(unknown)?;
        found.ok_or_else(|| Problem::new(Code::Internal, "the order is gone"))
    }

    /// Waits until an order has ended, and sees to it that somebody makes the image meanwhile.
    async fn image_made(
        &self,
        mut order: ImageOrder,
        asked: &Asked,
        settle_response: Option<String>,
    ) -> Result<ImageMade, Problem> {
        let receipt = settle_response.clone();
        let told = |mut problem: Problem| {
            problem.payment_response.clone_from(&receipt);
            problem
        };
        for _ in 0..self.config().wait_secs_max * POLLS_PER_SEC {
            match order.state {
                OrderState::Made(Some(png)) => {
                    return Ok(ImageMade { png, aspect: asked.aspect, settle_response });
                }
                OrderState::Made(None) => {
                    let why = "the image was made and is not kept any more";
                    return Err(told(Problem::new(Code::ImageExpired, why)));
                }
                OrderState::Failed(failure) => return Err(told(failed(failure, &order.of))),
                OrderState::Reserved => self.image_attempt(order.of.id, asked).await,
            }
            tokio::time::sleep(POLL).await;
            order = self.image_find(order.of.id).await.map_err(&told)?;
        }
        Err(told(
            Problem::new(Code::ImagePending, "the image is still being made")
                .mutation(Mutation::Unknown)
                .extra("retry_after", 2)
                .detail("order_id", order.of.id.to_string()),
        ))
    }

    /// An attempt outlives its request: the client may hang up, and the image is paid for all the same.
    async fn image_attempt(&self, id: ImageOrderId, asked: &Asked) {
        let Ok(ai) = self.ai() else { return };
        let (deps, ai, prompt) = (self.inner.deps.clone(), ai.clone(), asked.prompt.clone());
        let aspect = asked.aspect;
        let attempt = tokio::spawn(async move { images::make(&deps, &ai, id, (&prompt, aspect)).await });
        match attempt.await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::warn!(order.id = %id, error = &e as &dyn std::error::Error, "image order"),
            Err(e) => tracing::error!(order.id = %id, error = %e, "an attempt at an image panicked"),
        }
    }
}

/// Nothing was charged; the money that was held is on the balance again.
fn failed(failure: Failure, order: &store::image_orders::NewImageOrder) -> Problem {
    let code = Code::ALL.iter().copied().find(|code| code.as_str() == failure.code);
    Problem::new(code.unwrap_or(Code::AiProviderFailed), failure.message)
        .mutation(Mutation::RolledBack)
        .detail("order_id", order.id.to_string())
        .detail("credit_usd_micros", order.price.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_has_bounds_and_one_name() {
        let good = Asked::new("a cat", "square").unwrap();
        assert_eq!(good.hash(), Asked::new("a cat", "square").unwrap().hash());
        for (prompt, aspect) in [("a cat", "landscape"), ("a dog", "square")] {
            assert_ne!(good.hash(), Asked::new(prompt, aspect).unwrap().hash());
        }
        assert!(Asked::new(&"ü".repeat(1_000), "portrait").is_ok());
        for (prompt, aspect) in
            [("", "square"), (" \n", "square"), ("a", "wide"), (&"ü".repeat(1_001), "square")]
        {
            let refused = Asked::new(prompt, aspect).err().unwrap();
            assert_eq!(refused.code, Code::BadRequest);
        }
    }
}
