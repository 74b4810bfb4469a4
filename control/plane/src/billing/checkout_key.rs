//! `Idempotency-Key` on checkouts. The key names the quote, and the quote names the session at Stripe: whether
//! the first request is done, runs or died, its repeat ends at the same page.

use billing::stripe::quote::Quote;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use store::cards::{CardProduct, Checkout, NewCheckout};
use store::requests::{Begun, IdempotencyKey};
use types::{CheckoutId, Code, Problem};

use super::checkouts::{CheckoutView, Found};
use crate::Plane;
use crate::caller::Caller;
use crate::project::provision::{IDEMPOTENCY_KEY_BYTES_MAX, derived_id};
use crate::tiers::down;

/// Stripe forgets keys after a day, and its pages end then: later, a repeat would be a second session for one
/// quote.
const REPEAT_HOURS: i64 = 23;

/// What a request's key stands for.
pub(super) enum CheckoutKey {
    /// This was answered before.
    Done(CheckoutView),
    /// The quote to make, or to go on with.
    Named(Named),
}

pub(super) struct Named {
    pub id: CheckoutId,
    scope: String,
    key: String,
}

impl Plane {
    /// Looks a key up in the scope of its buyer; none without one.
    pub(super) async fn checkout_key(
        &self,
        caller: &Caller,
        buyer: &Found,
    ) -> Result<Option<CheckoutKey>, Problem> {
        let Some(key) = caller.idempotency_key.clone() else { return Ok(None) };
        if key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
            return Err(Problem::new(Code::BadRequest, "the Idempotency-Key is longer than 255 bytes"));
        }
        let who = buyer.wallet.map(|wallet| wallet.to_string()).or_else(|| buyer.email.clone());
        let scope = format!("checkout/{}", who.unwrap_or_default());
        let named = IdempotencyKey { scope: &scope, key: &key };
        let (now, hash) = (self.deps().wall.now(), caller.request_hash());
        let until = now + TimeDelta::hours(REPEAT_HOURS);
        let begun = self.deps().store.idempotency_begin(named, &hash, now, until).await.map_err(down)?;
        let id = CheckoutId(derived_id(&[scope.as_bytes(), key.as_bytes()]));
        Ok(Some(match begun {
            Begun::Other => return Err(reused("this Idempotency-Key was used for another request")),
            Begun::Done(answer) => {
                let url = answer.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
                CheckoutKey::Done(CheckoutView { id, url })
            }
            Begun::New | Begun::Running => CheckoutKey::Named(Named { id, scope, key }),
        }))
    }

    pub(super) async fn checkout_remember(&self, key: &Named, view: &CheckoutView) -> Result<(), Problem> {
        let named = IdempotencyKey { scope: &key.scope, key: &key.key };
        let answer = json!({ "url": view.url });
        self.deps().store.idempotency_finish(named, &answer).await.map_err(down)
    }
}

/// The quote that was made before, if its session may still be asked for.
pub(super) fn repeatable(before: &Checkout, new: &NewCheckout, now: DateTime<Utc>) -> Result<Quote, Problem> {
    let same = (before.product, &before.product_key) == (new.product, &new.product_key)
        // A top-up is its amount; a price may have changed since, and what was quoted is asked for.
        && (new.product != CardProduct::TopUp || before.amount == new.amount);
    if !same {
        return Err(reused("this Idempotency-Key was used for another checkout"));
    }
    if now - before.created_at < TimeDelta::hours(REPEAT_HOURS) {
        return Ok(Quote::of_stored(before));
    }
    Err(reused("the checkout that this Idempotency-Key made is a day old, and its page has ended"))
}

fn reused(why: &str) -> Problem {
    Problem::new(Code::IdempotencyKeyReused, why)
}
