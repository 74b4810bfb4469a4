//! The wish to buy an e-mail pack whenever few credits are left.

use store::StoreError;
use store::recharges::{Recharge, recharge_card_save, recharge_card_wanted, recharge_set};
use types::{Code, Problem};

use super::accounts::unknown_account;
use super::checkouts::card_problem;
use crate::Plane;
use crate::caller::Caller;
use crate::tiers::down;

/// Above this a threshold is more likely a slip than a wish.
const THRESHOLD_MAX: i64 = 1_000_000;

impl Plane {
    /// Stores the wish. Switching it on again after it was switched off by failures starts anew. It spends what
    /// is another's unless the account itself asks, so a wallet of the account signs.
    ///
    /// # Errors
    /// `AUTHENTICATION_REQUIRED` unsigned, `FORBIDDEN` for another's wallet, `RESOURCE_NOT_FOUND`,
    /// `BAD_REQUEST` for a threshold out of 0 to 1,000,000, `STRIPE_NOT_CONFIGURED`;
    /// `NO_SAVED_CARD` when it is switched on and no card of the account was kept.
    ///
    /// # Source
    /// Wire contract 01 section 9.8.
    pub async fn recharge_set(
        &self,
        caller: &Caller,
        id: &str,
        (enabled, threshold): (bool, Option<i64>),
    ) -> Result<Recharge, Problem> {
        let account = self.account_of_member(caller, id).await?;
        if threshold.is_some_and(|t| !(0..=THRESHOLD_MAX).contains(&t)) {
            return Err(Problem::new(Code::BadRequest, "threshold is not a number of credits, 0 to 1000000"));
        }
        let (cards, store) = (self.cards()?, &self.deps().store);
        // A card that the account paid with in person was kept at Stripe; here its name is looked up once.
        if enabled && let Some(intent) = recharge_card_wanted(store, account).await.map_err(down)? {
            let card = cards.saved_card(&intent).await.map_err(card_problem)?;
            if let Some(card) = card {
                let names = (card.customer.as_str(), card.payment_method.as_str());
                recharge_card_save(store, account, names, self.now()).await.map_err(down)?;
            }
        }
        let set = recharge_set(store, account, (enabled, threshold), self.now()).await;
        match set {
            Ok(Some(set)) => Ok(set),
            Ok(None) => Err(Problem::new(Code::NoSavedCard, "no card of this account was kept")),
            Err(StoreError::NotFound(_)) => Err(unknown_account()),
            Err(e) => Err(down(e)),
        }
    }
}
