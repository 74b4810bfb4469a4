//! Buying by card. The quote is ours and durable before Stripe hears of it; whatever Stripe says later is
//! compared with it.

use actors::lease;
use billing::card_legs::EMAIL_PACK_PRICE;
use billing::stripe::event::CENT;
use billing::stripe::quote::Quote;
use billing::stripe::{CardError, Cards, SessionAsked};
use store::accounts::{account_of_wallet_find, standing_find};
use store::cards::{CardBuyer, CardProduct, NewCheckout, card_session_bind, checkout_find, checkout_insert};
use types::{CheckoutId, Code, Problem, Tier, UsdMicros, Wallet, kill_point};

use super::checkout_key::{CheckoutKey, repeatable};
use crate::Plane;
use crate::caller::Caller;
use crate::tiers::down;

/// What cards can be charged at all: Stripe's own floor for dollars.
const CHARGE_MIN: UsdMicros = UsdMicros(500_000);
const TOP_UP_MAX: UsdMicros = UsdMicros(10_000_000_000);

/// Who wants to pay, as told. A wallet goes before an e-mail address.
#[derive(Debug, Clone, Default)]
pub struct Buyer {
    pub wallet: Option<String>,
    pub email: Option<String>,
}

/// Where to pay.
#[derive(Debug, Clone)]
pub struct CheckoutView {
    pub id: CheckoutId,
    pub url: String,
}

/// What is bought.
struct Sale {
    product: CardProduct,
    product_key: String,
    price: UsdMicros,
    name: String,
}

/// A buyer that was found.
pub(super) struct Found {
    buyer: CardBuyer,
    pub wallet: Option<Wallet>,
    pub email: Option<String>,
}

impl Plane {
    /// Starts a top-up. Under an `Idempotency-Key` the same request is the same checkout.
    ///
    /// # Errors
    /// `INVALID_AMOUNT`, `BAD_REQUEST`, `STRIPE_NOT_CONFIGURED`, `CARD_UNAVAILABLE`, `IDEMPOTENCY_KEY_REUSED`.
    ///
    /// # Source
    /// Wire contract 01 section 9.5.
    pub async fn checkout_top_up(
        &self,
        caller: &Caller,
        buyer: &Buyer,
        amount: i64,
    ) -> Result<CheckoutView, Problem> {
        let fits = (CHARGE_MIN.0..=TOP_UP_MAX.0).contains(&amount) && amount % CENT == 0;
        if !fits {
            return Err(Problem::new(
                Code::InvalidAmount,
                "this is not an amount that a card can be charged",
            )
            .detail("min_usd_micros", CHARGE_MIN.0)
            .detail("max_usd_micros", TOP_UP_MAX.0)
            .detail("step_usd_micros", CENT));
        }
        let price = UsdMicros(amount);
        let name = format!("Run402 credit, {}", price.dollars());
        let sale = Sale { product: CardProduct::TopUp, product_key: String::new(), price, name };
        self.checkout(caller, buyer, sale).await
    }

    /// Starts the purchase of a tier: what it does to the lease is decided when the money arrives.
    ///
    /// # Errors
    /// `UNKNOWN_TIER`, `TIER_DOWNGRADE_NOT_ALLOWED`, `CARD_TEST_MODE`, `ACCOUNT_SUSPENDED`, and as a top-up.
    ///
    /// # Source
    /// Wire contract 01 section 9.6.
    pub async fn checkout_tier(
        &self,
        caller: &Caller,
        buyer: &Buyer,
        tier: &str,
    ) -> Result<CheckoutView, Problem> {
        let tier: Tier = tier.parse().map_err(|_| {
            Problem::new(Code::UnknownTier, format!("Unknown tier: {tier}")).detail("tier", tier)
        })?;
        let offer = self.deps().prices.offer(tier);
        let sale = Sale {
            product: CardProduct::Tier,
            product_key: tier.as_str().to_owned(),
            price: offer.price,
            name: format!("Run402 {}", offer.description()),
        };
        if !self.cards()?.livemode && !offer.takes_test_money() {
            return Err(Problem::new(Code::CardTestMode, "test cards do not buy what costs cash"));
        }
        self.checkout(caller, buyer, sale).await
    }

    /// Starts the purchase of an e-mail pack.
    ///
    /// # Errors
    /// As [`Plane::checkout_tier`].
    ///
    /// # Source
    /// Wire contract 01 section 9.7.
    pub async fn checkout_email_pack(&self, caller: &Caller, buyer: &Buyer) -> Result<CheckoutView, Problem> {
        if !self.cards()?.livemode && !self.deps().prices.test_money_only() {
            return Err(Problem::new(Code::CardTestMode, "test cards do not buy what costs cash"));
        }
        let sale = Sale {
            product: CardProduct::EmailPack,
            product_key: String::new(),
            price: EMAIL_PACK_PRICE,
            name: "Run402 e-mail pack, 10,000 credits".to_owned(),
        };
        self.checkout(caller, buyer, sale).await
    }

    pub(super) fn cards(&self) -> Result<&Cards, Problem> {
        self.deps().cards.as_deref().ok_or_else(|| {
            Problem::new(Code::StripeNotConfigured, "this server has no Stripe key, so it takes no cards")
                .detail("config", "[stripe] secret_key, webhook_secrets")
        })
    }

    async fn checkout(&self, caller: &Caller, buyer: &Buyer, sale: Sale) -> Result<CheckoutView, Problem> {
        let cards = self.cards()?;
        let found = self.buyer(caller, buyer).await?;
        let key = match self.checkout_key(caller, &found).await? {
            None => None,
            Some(CheckoutKey::Done(view)) => return Ok(view),
            Some(CheckoutKey::Named(key)) => Some(key),
        };
        self.may_buy(&found, &sale).await?;
        let deps = self.deps();
        let new = NewCheckout {
            id: key.as_ref().map_or_else(|| CheckoutId::new(&*deps.entropy), |key| key.id),
            product: sale.product,
            product_key: sale.product_key,
            amount: chargeable(sale.price),
            price: sale.price,
            livemode: cards.livemode,
            buyer: found.buyer,
            wallet: found.wallet,
            off_session: false,
        };
        let quote = self.quoted(&new).await?;
        kill_point!("card.quoted");
        let (success_url, cancel_url) = (
            format!("{}/?checkout=paid", self.public_url()),
            format!("{}/?checkout=cancelled", self.public_url()),
        );
        let asked = SessionAsked {
            id: new.id,
            quote: quote.seal(&deps.master_key),
            amount: quote.amount,
            name: &sale.name,
            email: found.email.as_deref(),
            success_url: &success_url,
            cancel_url: &cancel_url,
            save_card: sale.product == CardProduct::EmailPack,
        };
        let session = cards.session_create(&asked).await.map_err(card_problem)?;
        kill_point!("card.session.made");
        let intent = session.payment_intent.as_deref();
        card_session_bind(&deps.store, new.id, &session.id, intent).await.map_err(down)?;
        let view = CheckoutView { id: new.id, url: session.url };
        if let Some(key) = key {
            self.checkout_remember(&key, &view).await?;
        }
        Ok(view)
    }

    /// Stores a quote, or finds the one that the same request stored before.
    async fn quoted(&self, new: &NewCheckout) -> Result<Quote, Problem> {
        let deps = self.deps();
        // Stripe's time, which a lab's moved clock is not: sessions and keys end by it.
        let now = deps.wall.now();
        let mut tx = deps.store.begin().await.map_err(down)?;
        match checkout_insert(&mut tx, new, now).await {
            Ok(()) => tx.commit().await.map_err(down)?,
            Err(e) if e.constraint() == Some("card_checkouts_pkey") => {
                drop(tx);
                let before = checkout_find(&deps.store, new.id).await.map_err(down)?;
                return before.map_or_else(|| Ok(Quote::of_new(new)), |before| repeatable(&before, new, now));
            }
            Err(e) => return Err(down(e)),
        }
        Ok(Quote::of_new(new))
    }

    async fn buyer(&self, caller: &Caller, buyer: &Buyer) -> Result<Found, Problem> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        match (given(&buyer.wallet), given(&buyer.email)) {
            (Some(text), _) => {
                let wallet: Wallet = text.parse().map_err(|_| {
                    Problem::new(Code::BadRequest, "wallet is not an address: 0x and 40 hex digits")
                })?;
                let account = account_of_wallet_find(&self.deps().store, wallet).await.map_err(down)?;
                let buyer = account.map_or(CardBuyer::Wallet(wallet), CardBuyer::Account);
                Ok(Found { buyer, wallet: Some(wallet), email: None })
            }
            (None, Some(email)) => {
                let known = self.email_account(caller, &email).await?;
                let buyer = CardBuyer::Account(known.account);
                Ok(Found { buyer, wallet: None, email: Some(known.email) })
            }
            (None, None) => Err(Problem::new(Code::BadRequest, "name a wallet or an email")),
        }
    }

    /// Before anything is paid: once money has arrived, what was offered is honoured.
    async fn may_buy(&self, found: &Found, sale: &Sale) -> Result<(), Problem> {
        let CardBuyer::Account(account) = found.buyer else { return Ok(()) };
        if sale.product == CardProduct::TopUp {
            return Ok(());
        }
        let deps = self.deps();
        let standing = standing_find(&deps.store, account).await.map_err(down)?;
        suspended(standing.card_debt)?;
        if let Ok(tier) = sale.product_key.parse::<Tier>() {
            lease::downgrade_check(&deps.store, &deps.prices, (account, tier), self.now())
                .await
                .map_err(actors::kit::ActorError::into_problem)?;
        }
        Ok(())
    }
}

/// Refuses an account that owes us.
///
/// # Errors
/// `ACCOUNT_SUSPENDED`.
pub(crate) fn suspended(debt: UsdMicros) -> Result<(), Problem> {
    if debt == UsdMicros::ZERO {
        return Ok(());
    }
    Err(Problem::new(Code::AccountSuspended, format!("the account owes {}", debt.dollars()))
        .detail("owed_usd_micros", debt.0))
}

/// What a card is charged for a price: whole cents, and no less than cards can be charged. The rest is credit.
fn chargeable(price: UsdMicros) -> UsdMicros {
    let cents = price.0.saturating_add(CENT - 1) / CENT;
    UsdMicros(cents.saturating_mul(CENT)).max(CHARGE_MIN)
}

pub(super) fn card_problem(error: CardError) -> Problem {
    tracing::warn!(error = %error, "stripe did not do what was asked");
    match error {
        CardError::Unknown(_) => Problem::new(Code::CardUnavailable, "Stripe did not answer in time"),
        CardError::Declined(_) => Problem::new(Code::CardUnavailable, "the card was declined"),
        CardError::Refused(_) | CardError::Config(_) => Problem::new(
            Code::CardUnavailable,
            "Stripe refused what this server asked; its operator must look",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_charged_whole_cents_and_never_less_than_the_floor() {
        assert_eq!(chargeable(UsdMicros(100_000)), CHARGE_MIN);
        assert_eq!(chargeable(UsdMicros(5_000_000)), UsdMicros(5_000_000));
        assert_eq!(chargeable(UsdMicros(5_000_001)), UsdMicros(5_010_000));
    }
}
