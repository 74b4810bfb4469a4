//! Compares Stripe's own books of our payments with ours. Events may be lost for good; its balance is not.

use std::sync::Arc;

use billing::stripe::{Cards, balance};
use chrono::{DateTime, TimeDelta, Utc};
use store::stripe_balance::{balance_compare, balance_read_from, balance_store};

use crate::Deps;
use crate::kit::ActorError;

/// Read again each time: a transaction may show up later than the time it carries.
const OVERLAP_MINUTES: i64 = 60;
/// Where a server that never read begins.
const FIRST_DAYS: i64 = 30;
/// By then events have come or were asked for.
const SETTLED_MINUTES: i64 = 30;

/// Reads what is new in Stripe's balance and names each payment of ours that differs, once, for a person.
///
/// # Errors
/// `Unavailable` when Stripe does not answer; the next look begins where this one did.
pub async fn compare(deps: &Arc<Deps>, cards: &Cards, now: DateTime<Utc>) -> Result<(), ActorError> {
    let from = balance_read_from(&deps.store, now - TimeDelta::days(FIRST_DAYS)).await?;
    let since = from - TimeDelta::minutes(OVERLAP_MINUTES);
    let transactions = cards.balance_since(since.timestamp()).await.map_err(|e| {
        tracing::warn!(error = %e, "the reconciler cannot read the balance");
        ActorError::Unavailable("stripe")
    })?;
    let lines: Vec<_> = transactions.iter().filter_map(|line| balance::line(line, &cards.platform)).collect();
    balance_store(&deps.store, &lines, now).await?;
    let settled = now - TimeDelta::minutes(SETTLED_MINUTES);
    for differs in balance_compare(&deps.store, settled, now).await? {
        tracing::error!(payment_intent = differs.payment_intent, checkout.id = %differs.checkout,
            stripe_micros = differs.at_stripe.0, books_micros = differs.in_books.0,
            "Stripe's balance and the books differ about a payment");
    }
    Ok(())
}
