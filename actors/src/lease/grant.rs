//! What crediting a payment and buying from the balance have in common: the legs, the lease, the purchase,
//! the answer.

use std::collections::HashMap;

use billing::PriceTable;
use billing::lease::{Holding, Order, Outcome, Refunds, decide, fold};
use billing::legs::{self, Charge};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use store::FencedTx;
use store::accounts::{NewPurchase, Purchase, PurchaseAction, lease_write, purchase_append};
use store::calls::account_calls_reset;
use store::ledger::{Balance, Currency, LedgerError, NewTransfer, balances_within, post};
use store::outbox::outbox_append;
use types::{Tier, UsdMicros, Wallet, rfc3339};
use uuid::Uuid;

use super::state::LeaseState;

/// Stands for the id of a purchase that has none yet.
const UNWRITTEN: i64 = i64::MAX;

/// A purchase that is decided and not written yet.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub purchase: NewPurchase,
    /// When it takes effect.
    pub at: DateTime<Utc>,
    /// Names its charge and its refunds in the ledger.
    pub key: String,
    /// What was refunded in all, before and after.
    refunds: (Refunds, Refunds),
    pub holding: Option<Holding>,
    /// The purchases once it is written.
    after: Vec<Purchase>,
}

impl Grant {
    /// Decides what an order does to the account as it stands.
    pub fn decide(state: &LeaseState, order: &Order, key: String, link: Uuid) -> Self {
        let decision = decide(state.outcome().holding.as_ref(), order);
        let purchase = NewPurchase {
            account: state.account,
            action: decision.action,
            tier: order.tier,
            previous_tier: decision.previous_tier,
            price: order.price,
            currency: order.currency,
            link,
            payment: None,
            request_key: None,
            revokes: None,
            starts_at: decision.span.starts_at,
            ends_at: decision.span.ends_at,
            response: Value::Null,
        };
        Self::place(state, purchase, order.at, key)
    }

    /// Puts a purchase among the others at the time at which it takes effect.
    pub fn place(state: &LeaseState, purchase: NewPurchase, at: DateTime<Utc>, key: String) -> Self {
        let after = state.with(purchase.clone().stored(UNWRITTEN, at));
        let outcome: Outcome = fold(&after);
        let refunds = (state.outcome().refunds, outcome.refunds);
        Self { purchase, at, key, refunds, holding: outcome.holding, after }
    }

    /// The charge, then what unused time is worth: the balance must cover the price without it.
    pub fn legs(&self) -> Vec<NewTransfer> {
        let charge = Charge {
            account: self.purchase.account,
            currency: self.purchase.currency,
            key: self.key.clone(),
            action: self.purchase.action,
            tier: self.purchase.tier,
            price: self.purchase.price,
        };
        let mut all = vec![legs::charge(&charge)];
        all.extend(legs::refund(self.purchase.account, &self.key, &self.refunds.0, &self.refunds.1));
        all
    }

    /// Writes the lease, the legs and the purchase, and answers what the buyer is told.
    ///
    /// # Errors
    /// `Overdraft` when the balance does not cover the price: the transaction is to be rolled back.
    pub async fn write(
        &mut self,
        tx: &mut FencedTx,
        legs: &[NewTransfer],
        told: &Told<'_>,
        now: DateTime<Utc>,
    ) -> Result<Value, LedgerError> {
        let account = self.purchase.account;
        lease_write(tx, account, self.holding.as_ref().map(Holding::lease)).await?;
        if matches!(self.purchase.action, PurchaseAction::Subscribe | PurchaseAction::Renew) {
            account_calls_reset(tx, account).await?;
        }
        post(tx.tx(), self.purchase.link, legs, now).await?;
        let balances = balances_within(tx.tx(), account).await?;
        self.purchase.response = match told {
            Told::Before(response) => (*response).clone(),
            Told::Now(wallet, prices) => self.answer(*wallet, spendable(prices, &balances)),
        };
        let id = purchase_append(tx, &self.purchase, self.at).await?;
        for placed in self.after.iter_mut().filter(|p| p.id == UNWRITTEN) {
            // Whole, because the caller may have named its payment since it was placed.
            *placed = self.purchase.clone().stored(id, self.at);
        }
        outbox_append(tx.tx(), "lease.changed", json!({ "id": account })).await?;
        Ok(self.purchase.response.clone())
    }

    /// Remembers what was committed.
    pub fn remember(self, state: &mut LeaseState) {
        let NewPurchase { action, tier, .. } = &self.purchase;
        tracing::info!(account.id = %state.account, action = action.as_str(), %tier, "lease changed");
        state.purchases = self.after;
    }

    /// # Source
    /// Wire contract 01 section 5.4.
    fn answer(&self, wallet: Option<Wallet>, remaining: UsdMicros) -> Value {
        let lease = self.holding.as_ref().map(Holding::lease);
        json!({
            "wallet": wallet,
            "action": self.purchase.action.as_str(),
            "tier": self.purchase.tier,
            "previous_tier": self.purchase.previous_tier,
            "lease_started_at": lease.map(|l| rfc3339(l.started_at)),
            "lease_expires_at": lease.map(|l| rfc3339(l.ends_at)),
            "allowance_remaining_usd_micros": remaining,
        })
    }
}

/// What the buyer is told.
pub(super) enum Told<'a> {
    /// The receipt of the first time, given again.
    Before(&'a Value),
    /// The wallet that bought, if one did.
    Now(Option<Wallet>, &'a PriceTable),
}

/// The balance as the buyer sees it: cash, and test credit only where nothing is sold for cash.
pub(super) fn spendable(prices: &PriceTable, balances: &HashMap<Currency, Balance>) -> UsdMicros {
    let of = |currency| balances.get(&currency).copied().unwrap_or_default().available().0;
    let test = if prices.test_money_only() { of(Currency::TestUsd) } else { 0 };
    UsdMicros(of(Currency::Usd).saturating_add(test))
}

/// What a tier costs and lasts, in the given money, from `at` on.
pub(super) fn order(prices: &PriceTable, tier: Tier, currency: Currency, at: DateTime<Utc>) -> Order {
    let offer = prices.offer(tier);
    Order { tier, price: offer.price, currency, term: offer.term(), at }
}
