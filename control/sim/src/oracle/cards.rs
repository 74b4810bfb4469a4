//! The rules about cards: our books beside Stripe's.

use std::collections::{BTreeMap, BTreeSet};

use billing::stripe::event::CENT;
use stripe_fake::{Paid, StripeModel};
use uuid::Uuid;

use super::books::Books;
use super::rows::Checkout;
use super::rules::rule;
use crate::Fault;

/// What holds after every step.
pub(super) fn check(books: &Books, stripe: &StripeModel) -> Result<(), Fault> {
    let paid = by_checkout(stripe)?;
    let moved = moved(books);
    for checkout in books.checkouts.values() {
        deposited_once(books, checkout, paid.get(&checkout.name))?;
        taken_back(checkout, &moved, paid.get(&checkout.name))?;
        bought(books, checkout)?;
    }
    let deposits = books.transfers.values().filter(|t| t.source == "stripe" && !books.undone.contains(&t.id));
    let (found, due) = (deposits.count(), books.checkouts.values().filter(|c| c.deposited).count());
    rule!(found == due, "{found} deposits by card, and {due} checkouts that have one");
    let kept: i64 = books.checkouts.values().map(Checkout::kept_micros).sum();
    let clearing = -books.balance_of("stripe_clearing");
    rule!(clearing == kept, "Stripe is to hold {clearing}, and the checkouts amount to {kept}");
    rule!(books.stripe.refused.is_none(), "genuine events are not believed: {:?}", books.stripe.refused);
    Ok(())
}

/// Every payment that succeeded is for a quote of ours, and no two are for the same.
fn by_checkout(stripe: &StripeModel) -> Result<BTreeMap<String, Paid>, Fault> {
    let mut paid = BTreeMap::new();
    for payment in stripe.paid() {
        if let Some(before) = paid.insert(payment.checkout.clone(), payment) {
            return Err(Fault(format!("Stripe took {} cents twice for one quote", before.cents)));
        }
    }
    Ok(paid)
}

/// What was moved under a checkout's name, by source.
fn moved(books: &Books) -> BTreeMap<(&str, &str), i64> {
    const SOURCES: [&str; 3] = ["stripe_refund", "stripe_dispute", "stripe_returned"];
    let mut moved = BTreeMap::new();
    let standing = books.transfers.values().filter(|t| !books.undone.contains(&t.id));
    for transfer in standing.filter(|t| SOURCES.contains(&t.source.as_str())) {
        let checkout = transfer.source_id.split_once("/#").map_or("", |(name, _)| name);
        *moved.entry((transfer.source.as_str(), checkout)).or_default() += transfer.amount;
    }
    moved
}

/// A session that was paid is one deposit of what was quoted, with whom it was quoted to; no other is one.
fn deposited_once(books: &Books, checkout: &Checkout, paid: Option<&Paid>) -> Result<(), Fault> {
    let (product, amount) = (&checkout.product, checkout.amount_micros);
    rule!(paid.is_some() || !checkout.paid, "a {product} of {amount} is paid, and Stripe has no payment");
    let Some(deposit) = books.standing("stripe", &checkout.name) else {
        rule!(!checkout.deposited, "a {product} of {amount} has lost its deposit");
        return Ok(());
    };
    rule!(checkout.deposited && checkout.paid, "a {product} of {amount} is credited, and not paid");
    rule!(deposit.amount == amount, "{} were credited for a {product} of {amount}", deposit.amount);
    let taken = paid.map(|paid| paid.cents * CENT);
    rule!(taken == Some(amount), "{amount} were credited for {taken:?} that Stripe took");
    let owner = books.accounts.get(&deposit.credit).and_then(|account| account.owner);
    rule!(owner.is_some() && owner == checkout.account_id, "a {product} was credited to somebody else");
    Ok(())
}

/// What the books took back is what the row says, and no more than Stripe did.
fn taken_back(
    checkout: &Checkout,
    moved: &BTreeMap<(&str, &str), i64>,
    paid: Option<&Paid>,
) -> Result<(), Fault> {
    let sum = |source: &str| moved.get(&(source, checkout.name.as_str())).copied().unwrap_or_default();
    let (refunded, disputed) = (sum("stripe_refund"), sum("stripe_dispute") - sum("stripe_returned"));
    let row = (checkout.refunded_micros, checkout.disputed_micros);
    rule!((refunded, disputed) == row, "{refunded} and {disputed} were taken back, and the row says {row:?}");
    let most = paid.map_or(0, |paid| paid.refunded * CENT);
    rule!(refunded <= most, "{refunded} were refunded, and {most} by Stripe");
    rule!(checkout.kept_micros() >= 0, "more was taken back than was paid");
    Ok(())
}

/// Whoever paid has what he paid for, once, until all of the money is taken back.
fn bought(books: &Books, checkout: &Checkout) -> Result<(), Fault> {
    let due = usize::from(checkout.deposited && !checkout.gone());
    let Some(link) = checkout.link else {
        rule!(due == 0, "a {} is credited without a journal", checkout.product);
        return Ok(());
    };
    let found = match checkout.product.as_str() {
        "tier" => books.all_live().filter(|bought| bought.link == link).count(),
        "email_pack" => books.of_link(link, "email_pack").count(),
        _ => due,
    };
    rule!(found == due, "a {} of {} is there {found} times", checkout.product, checkout.amount_micros);
    Ok(())
}

/// Whether a key is that of a tier which was paid by card.
pub(super) fn bought_under(books: &Books, key: &str) -> bool {
    let checkout = key.strip_prefix("card:").and_then(|name| books.checkouts.get(name));
    checkout.is_some_and(|checkout| checkout.product == "tier" && checkout.deposited)
}

/// Whether a journal gave money again that a dispute had taken.
pub(super) fn came_back(books: &Books, link: Uuid) -> bool {
    books.of_link(link, "stripe_returned").count() == 1
}

/// Payments about which a person was called.
pub(super) fn called(books: &Books) -> BTreeSet<String> {
    books.stripe.alarmed.iter().flatten().cloned().collect()
}

/// What has not come to rest.
pub(super) fn open(books: &Books) -> Vec<String> {
    let due = books.checkouts.values().filter(|checkout| checkout.due);
    let mut open: Vec<String> = due
        .map(|c| format!("facts about a {} of {} are not in the books", c.product, c.amount_micros))
        .collect();
    let heard = &books.stripe;
    for (count, what) in [(heard.pending, "events wait"), (heard.charging, "charges have no end")] {
        if count > 0 {
            open.push(format!("{count} {what}"));
        }
    }
    open
}

/// At rest the books say of each payment what Stripe says. `called` are payments about which a person was called
/// while something stood still for half an hour, and rightly so.
pub(super) fn against(books: &Books, stripe: &StripeModel, called: &BTreeSet<String>) -> Result<(), Fault> {
    let (mut overdrawn, mut was_overdrawn) = (BTreeSet::new(), BTreeSet::new());
    for (name, paid) in by_checkout(stripe)? {
        let Some(checkout) = books.checkouts.get(&name) else {
            return Err(Fault(format!("{} cents were paid for a quote that is gone", paid.cents)));
        };
        let amount = paid.cents * CENT;
        let refunded = (paid.refunded * CENT).min(amount);
        let disputed = (paid.disputed * CENT).min(amount - refunded);
        let booked = (checkout.deposited, checkout.refunded_micros, checkout.disputed_micros);
        let due = (true, refunded, disputed);
        rule!(booked == due, "of {amount} by card {booked:?} is booked, and {due:?} is what Stripe has");
        // More than was paid cannot be taken of it: the rest is between the operator and Stripe.
        if paid.refunded + paid.contested > paid.cents {
            was_overdrawn.insert(paid.intent.clone());
        }
        if paid.refunded + paid.disputed > paid.cents {
            overdrawn.insert(paid.intent);
            continue;
        }
        let (kept, balance) = (checkout.kept_micros(), paid.balance * CENT);
        rule!(kept == balance, "{kept} of a payment by card are left, and {balance} in Stripe's balance");
    }
    let none = Vec::new();
    for intent in books.stripe.unmatched.as_ref().unwrap_or(&none) {
        rule!(overdrawn.contains(intent), "Stripe's balance is not found to agree with the books");
    }
    let alarmed = books.stripe.alarmed.as_ref().unwrap_or(&none);
    for intent in alarmed.iter().filter(|intent| !called.contains(*intent)) {
        rule!(was_overdrawn.contains(intent), "a person was called about a payment on which all agree");
    }
    Ok(())
}
