//! Which transfers a payment, a purchase and their undoing make. Pure.

use std::collections::HashMap;

use store::accounts::PurchaseAction;
use store::ledger::{AccountRef, Balance, Currency, Kind, LedgerKind, NewTransfer, Transfer};
use types::{AccountId, Network, PaymentId, Tier, UsdMicros};

use crate::lease::Refunds;

/// Where deposits from the chain come from; `source_id` names the authorisation and how often it was
/// credited.
pub const X402: &str = "x402";
/// Money counted as exposed until its block is final; named like its deposit.
pub const EXPOSURE: &str = "exposure";
/// Charges of purchases.
pub const PURCHASE: &str = "purchase";
/// Changes of what is refunded for unused time.
pub const REFUND: &str = "refund";
/// What a customer could not give back.
pub const WRITE_OFF: &str = "write_off";
/// Money seen on a chain that nobody had claimed: posted by the watcher.
pub const SIGHTING: &str = "sighting";
/// An operator's decision about such money; named like its sighting, so that it is taken once.
pub const RESOLUTION: &str = "suspense_resolution";
/// In a deposit's metadata: the name of the sighting whose money it drew from suspense.
pub const DRAWN: &str = "drawn";
/// The revenue account of tiers.
pub const TIER: &str = "tier";

/// A confirmed deposit.
#[derive(Debug, Clone)]
pub struct Deposit<'a> {
    pub account: AccountId,
    pub payment: PaymentId,
    pub network: Network,
    /// `network/asset/payer/nonce/#n`
    pub source_id: String,
    pub amount: UsdMicros,
    /// Where the watcher put the money when it did not know whose it was.
    pub suspended: Option<&'a Transfer>,
}

/// Books a deposit: from where the money lies to the customer, and on the exposure account.
pub fn deposit(of: &Deposit<'_>) -> Vec<NewTransfer> {
    let currency = Currency::of(of.network);
    // Drawn from suspense when the watcher put it there, so that undoing the credit puts it back there.
    let suspended = of.suspended.filter(|t| t.reversed_by.is_none());
    let from = match suspended {
        Some(suspended) => suspended.credit.clone(),
        None => AccountRef::x402_clearing(of.network),
    };
    let sides = (from, AccountRef::customer(of.account, currency));
    let name = |source| (source, of.source_id.clone());
    let mut arrive = NewTransfer::post(name(X402), sides, of.amount, "x402_payment");
    if let Some(suspended) = suspended {
        // All that a network has in suspense is one balance: only this name says whose money was drawn.
        arrive.metadata = serde_json::json!({ DRAWN: suspended.source_id });
    }
    let expose = NewTransfer::post(name(EXPOSURE), AccountRef::exposure(of.network), of.amount, "exposed");
    vec![arrive.referring_to("payment", of.payment), expose.referring_to("payment", of.payment)]
}

/// Where money in suspense goes when an operator decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolved {
    /// To the account whose it is.
    Credited(AccountId),
    /// Back over the chain to whoever sent it.
    Returned,
}

/// Takes the money of one sighting off suspense.
pub fn resolve(network: Network, sighting: &str, amount: UsdMicros, to: Resolved) -> NewTransfer {
    let (to, reason) = match to {
        Resolved::Credited(account) => {
            (AccountRef::customer(account, Currency::of(network)), "suspense_credited")
        }
        Resolved::Returned => (AccountRef::x402_clearing(network), "suspense_returned"),
    };
    let sides = (AccountRef::suspense(network), to);
    NewTransfer::post((RESOLUTION, sighting.to_owned()), sides, amount, reason)
        .referring_to("sighting", sighting)
}

/// What is charged for a purchase.
#[derive(Debug, Clone)]
pub struct Charge {
    pub account: AccountId,
    pub currency: Currency,
    /// Names the purchase for ever.
    pub key: String,
    pub action: PurchaseAction,
    pub tier: Tier,
    pub price: UsdMicros,
}

/// Charges a tier to the customer's balance.
pub fn charge(of: &Charge) -> NewTransfer {
    let reason = match of.action {
        PurchaseAction::Subscribe => "tier_subscribe",
        PurchaseAction::Renew => "tier_renew",
        PurchaseAction::Upgrade => "tier_upgrade",
        PurchaseAction::Downgrade => "tier_downgrade",
        PurchaseAction::Revoke => "adjustment",
    };
    let customer = AccountRef::customer(of.account, of.currency);
    let revenue = AccountRef::revenue(TIER, of.currency);
    NewTransfer::post((PURCHASE, of.key.clone()), (customer, revenue), of.price, reason)
        .referring_to("tier", of.tier)
}

/// Brings what was refunded from `before` to `after`, in each money on its own.
pub fn refund(account: AccountId, key: &str, before: &Refunds, after: &Refunds) -> Vec<NewTransfer> {
    let total = |refunds: &Refunds, currency| refunds.get(&currency).copied().unwrap_or_default().0;
    let mut legs = Vec::new();
    for currency in [Currency::Usd, Currency::TestUsd] {
        let change = total(after, currency) - total(before, currency);
        let customer = AccountRef::customer(account, currency);
        let revenue = AccountRef::revenue(TIER, currency);
        let (sides, reason) = match change {
            0 => continue,
            1.. => ((revenue, customer), "tier_refund"),
            _ => ((customer, revenue), "tier_refund_reversed"),
        };
        let name = (REFUND, format!("{key}/{}", currency.as_str()));
        legs.push(NewTransfer::post(name, sides, UsdMicros(change.abs()), reason));
    }
    legs
}

/// Undoes what is left of a purchase's journal, last leg first: the customer is given the charge back before
/// the deposit is taken. Refunds are not undone one by one, because other purchases may have changed them
/// since: see [`refund`].
pub fn undo(journal: &[Transfer]) -> Vec<NewTransfer> {
    let undone = |t: &&Transfer| {
        t.reversed_by.is_none()
            && t.kind == Kind::Post
            && [X402, EXPOSURE, PURCHASE].contains(&t.source.as_str())
    };
    journal.iter().rev().filter(undone).map(|t| NewTransfer::reversal(t, "reorganisation")).collect()
}

/// What the customer lacks for these legs, put in front of them as bad debt, so that they can be posted.
pub fn write_offs(
    account: AccountId,
    key: &str,
    balances: &HashMap<Currency, Balance>,
    legs: &[NewTransfer],
) -> Vec<NewTransfer> {
    let mut offs = Vec::new();
    for currency in [Currency::Usd, Currency::TestUsd] {
        let start = balances.get(&currency).copied().unwrap_or_default().available().0;
        let lowest = lowest(&AccountRef::customer(account, currency), i128::from(start), legs);
        let Ok(lack) = i64::try_from(-lowest.min(0)) else { continue };
        if lack == 0 {
            continue;
        }
        let bad_debt = AccountRef::platform(LedgerKind::BadDebt, currency, "");
        let name = (WRITE_OFF, format!("{key}/{}", currency.as_str()));
        let sides = (bad_debt, AccountRef::customer(account, currency));
        offs.push(NewTransfer::post(name, sides, UsdMicros(lack), "write_off"));
    }
    offs
}

/// Takes written-off money back, as far as the customer has it once `legs` are posted.
pub fn recover(
    written_off: &[Transfer],
    balances: &HashMap<Currency, Balance>,
    legs: &[NewTransfer],
) -> Vec<NewTransfer> {
    let open = written_off.iter().filter(|t| t.source == WRITE_OFF && t.reversed_by.is_none());
    open.filter(|off| {
        let start = balances.get(&off.credit.currency).copied().unwrap_or_default().available().0;
        let moved: i128 = legs.iter().map(|leg| effect(&off.credit, leg)).sum();
        i128::from(start) + moved >= i128::from(off.amount.0)
    })
    .map(|off| NewTransfer::reversal(off, "write_off_recovered"))
    .collect()
}

/// The lowest point of an account's balance while the legs are posted in order.
fn lowest(account: &AccountRef, start: i128, legs: &[NewTransfer]) -> i128 {
    let running = legs.iter().scan(start, |balance, leg| {
        *balance += effect(account, leg);
        Some(*balance)
    });
    running.fold(start, i128::min)
}

fn effect(account: &AccountRef, leg: &NewTransfer) -> i128 {
    let amount = i128::from(leg.amount.0);
    match (leg.debit == *account, leg.credit == *account) {
        (true, false) => -amount,
        (false, true) => amount,
        _ => 0,
    }
}

#[cfg(test)]
#[path = "legs_tests.rs"]
mod tests;
