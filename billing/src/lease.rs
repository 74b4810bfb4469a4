//! What a purchase does to a lease. Pure: the lease is what an account's purchases amount to, so that taking
//! one away (its money left the chain) and giving it back are the same computation.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use store::accounts::{Lease, Purchase, PurchaseAction};
use store::ledger::Currency;
use types::{Tier, UsdMicros};

/// Refunds by the money that was paid: test money comes back as test money.
pub type Refunds = BTreeMap<Currency, UsdMicros>;

/// A span of time that was bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub price: UsdMicros,
    pub currency: Currency,
    pub starts_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
}

/// A lease with the spans that it is made of, in order and without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    pub tier: Tier,
    pub started_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    spans: Vec<Span>,
}

/// What is asked for, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    pub tier: Tier,
    pub price: UsdMicros,
    pub currency: Currency,
    pub term: TimeDelta,
    pub at: DateTime<Utc>,
}

/// What an order does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    pub action: PurchaseAction,
    pub previous_tier: Option<Tier>,
    /// The span that is bought.
    pub span: Span,
    pub holding: Holding,
    /// The unused value of what it replaces.
    pub refunds: Refunds,
}

/// What purchases amount to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outcome {
    pub holding: Option<Holding>,
    /// All refunds ever due.
    pub refunds: Refunds,
}

impl Holding {
    pub fn lease(&self) -> Lease {
        Lease { tier: self.tier, started_at: self.started_at, ends_at: self.ends_at }
    }

    /// The value of what is left at `at`, span by span: floor(price * remaining / length), in 128 bits.
    ///
    /// # Source
    /// Wire contract 01, open question 7. Micros, not seconds, are counted: the result differs by less than
    /// one.
    pub fn unused(&self, at: DateTime<Utc>) -> Refunds {
        let mut refunds = Refunds::new();
        for span in &self.spans {
            let value = prorate(span, at);
            if value > 0 {
                refunds.entry(span.currency).or_default().0 += value;
            }
        }
        refunds
    }
}

fn prorate(span: &Span, at: DateTime<Utc>) -> i64 {
    let micros = |span: TimeDelta| i128::from(span.num_microseconds().unwrap_or(i64::MAX));
    let length = micros(span.ends_at - span.starts_at);
    let left = micros(span.ends_at - at.max(span.starts_at)).clamp(0, length.max(0));
    if length <= 0 {
        return 0;
    }
    let value = i128::from(span.price.0) * left / length;
    i64::try_from(value).expect("at most the price, which has 64 bits")
}

/// Which action an order is, and what comes of it.
///
/// # Source
/// Wire contract 01 section 5.4 and its open question 6.
pub fn decide(held: Option<&Holding>, order: &Order) -> Decision {
    let previous_tier = held.map(|h| h.tier);
    let running = held.filter(|h| order.at < h.ends_at);
    let action = match running {
        None => PurchaseAction::Subscribe,
        Some(h) if order.tier == h.tier => PurchaseAction::Renew,
        Some(h) if order.tier > h.tier => PurchaseAction::Upgrade,
        Some(_) => PurchaseAction::Downgrade,
    };
    let renewed = running.filter(|_| action == PurchaseAction::Renew);
    let starts_at = renewed.map_or(order.at, |h| h.ends_at);
    let ends_at = starts_at.checked_add_signed(order.term).unwrap_or(DateTime::<Utc>::MAX_UTC);
    let span = Span { price: order.price, currency: order.currency, starts_at, ends_at };
    let mut spans = renewed.map(|h| h.spans.clone()).unwrap_or_default();
    spans.push(span);
    let holding =
        Holding { tier: order.tier, started_at: renewed.map_or(order.at, |h| h.started_at), ends_at, spans };
    let refunds = match (running, renewed) {
        (Some(replaced), None) => replaced.unused(order.at),
        _ => Refunds::new(),
    };
    Decision { action, previous_tier, span, holding, refunds }
}

/// What live purchases amount to, in the order in which they took effect.
pub fn fold<'a>(purchases: impl IntoIterator<Item = &'a Purchase>) -> Outcome {
    let mut outcome = Outcome::default();
    for purchase in purchases {
        let decision = decide(outcome.holding.as_ref(), &order_of(purchase));
        for (currency, refund) in decision.refunds {
            outcome.refunds.entry(currency).or_default().0 += refund.0;
        }
        outcome.holding = Some(decision.holding);
    }
    outcome
}

fn order_of(purchase: &Purchase) -> Order {
    Order {
        tier: purchase.tier,
        price: purchase.price,
        currency: purchase.currency,
        term: purchase.ends_at - purchase.starts_at,
        at: purchase.created_at,
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
