//! The rules.

use std::collections::{BTreeMap, BTreeSet};

use billing::lease::{Holding, fold};
use chain::scan::Sighting as Shown;
use types::UsdMicros;
use uuid::Uuid;

use super::books::Books;
use super::cards;
use super::rows::{Bought, Payment, Sighting};
use crate::Fault;
use crate::memory::Memory;
use crate::node::INSTANT_MAX;

/// What a broken rule says.
macro_rules! rule {
    ($holds:expr, $($words:tt)*) => {
        if !$holds {
            return Err(Fault(format!($($words)*)));
        }
    };
}
pub(super) use rule;

/// Everything that must hold after every step.
pub(super) fn check(books: &Books, credited: &[Uuid], memory: &Memory) -> Result<(), Fault> {
    conservation(books)?;
    for id in credited {
        credit_was_due(books, &books.payments[id])?;
    }
    one_credit_per_sighting(books, memory)?;
    for seen in books.sightings.values().filter(|seen| seen.canonical && seen.ours) {
        money_is_booked_once(books, seen)?;
    }
    one_charge_per_request(books, memory)?;
    leases(books)?;
    suspense(books)?;
    exposure(books)?;
    for cursor in books.cursors.values() {
        if let Some(reason) = &cursor.halted_reason {
            return Err(Fault(format!("the watcher has halted: {reason}")));
        }
    }
    Ok(())
}

/// Columns are what the transfers say, nothing comes from nowhere, and nobody has less than nothing.
fn conservation(books: &Books) -> Result<(), Fault> {
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for account in books.accounts.values() {
        let moved = books.balances.get(&account.id).copied().unwrap_or_default();
        let (kind, columns) = (&account.kind, (account.posted, account.held));
        rule!(moved == columns, "{kind}: the columns say {columns:?} and the transfers {moved:?}");
        let free = account.posted - account.held;
        rule!(account.may_be_negative || free >= 0, "{kind} is overdrawn: {free}");
        *sums.entry(account.currency.as_str()).or_default() += account.posted;
    }
    for (currency, sum) in sums {
        rule!(sum == 0, "{currency} sums to {sum}");
    }
    Ok(())
}

/// A payment that was credited just now is on the chain as far as we saw, and deep enough for its amount.
fn credit_was_due(books: &Books, payment: &Payment) -> Result<(), Fault> {
    let seen = books.sightings.values().find(|seen| seen.canonical && payment.is_paid_by(seen));
    let Some(seen) = seen else {
        return Err(Fault(format!("a payment of {} was credited unseen", payment.amount_micros)));
    };
    let safe = books.cursors.get(&payment.network).map_or(-1, |cursor| cursor.safe_block);
    let instant = UsdMicros(payment.amount_micros) <= INSTANT_MAX;
    let (amount, block) = (payment.amount_micros, seen.block_number);
    rule!(instant || block <= safe, "{amount} was credited in block {block}, and only {safe} is safe");
    Ok(())
}

fn one_credit_per_sighting(books: &Books, memory: &Memory) -> Result<(), Fault> {
    let mut names = BTreeSet::new();
    for payment in books.payments.values() {
        rule!(names.insert(&payment.name), "two payments have one authorisation");
        let nonce = hex::decode(&payment.nonce).unwrap_or_default();
        let payer = payment.payer.parse().map_err(|e| Fault::of("a payer", &e))?;
        rule!(memory.signed(payer, &nonce), "a payment that nobody signed");
        let due = usize::from(payment.credited() && payment.product == "tier");
        let deposits = books.deposits(payment);
        let (state, found) = (&payment.state, deposits.len());
        rule!(found == due, "a payment is {state} and has {found} deposits");
        let right = deposits.iter().all(|deposit| deposit.amount == payment.amount_micros);
        rule!(right, "a deposit is not what was paid");
        let bought = books.all_live().filter(|b| b.payment_id == Some(payment.id)).count();
        rule!(bought == due, "a payment is {state} and bought {bought} things");
    }
    Ok(())
}

/// Once, where it lies or where it went; not yet, only while its payment waits.
fn money_is_booked_once(books: &Books, seen: &Sighting) -> Result<(), Fault> {
    let name = seen.name();
    let payment = books.payments.values().find(|payment| payment.is_paid_by(seen));
    let suspended = usize::from(books.standing("sighting", &name).is_some());
    let credited = payment.filter(|payment| payment.credited());
    let deposits = credited.map(|payment| books.deposits(payment)).unwrap_or_default();
    let elsewhere = deposits.iter().filter(|deposit| deposit.drawn.as_deref() != Some(&name)).count();
    let booked = suspended + elsewhere;
    let must = payment.is_none() || credited.is_some();
    rule!(
        booked <= 1 && (booked == 1 || !must),
        "{} seen on the chain are booked {booked} times",
        seen.amount_micros
    );
    Ok(())
}

/// What was bought was paid for, once, by somebody who asked.
fn one_charge_per_request(books: &Books, memory: &Memory) -> Result<(), Fault> {
    let mut keys = BTreeSet::new();
    for bought in books.purchases.values().filter(|bought| bought.action != "revoke") {
        let charges: Vec<i64> = books.of_link(bought.link, "purchase").map(|charge| charge.amount).collect();
        let due: Vec<i64> = match books.revoked.contains(&bought.id) {
            true => Vec::new(),
            false => vec![bought.price_micros],
        };
        rule!(charges == due, "{} of {} was charged {charges:?}", bought.action, bought.price_micros);
        match (&bought.request_key, bought.payment_id) {
            (Some(key), None) => {
                let asked = memory.asked(key) || cards::bought_under(books, key);
                rule!(asked, "something was bought under a key that nobody gave: {key}");
                rule!(keys.insert((bought.account_id, key)), "one request bought twice");
            }
            // It came back when its dispute was won.
            (None, None) if cards::came_back(books, bought.link) => {}
            (None, Some(id)) => rule!(books.payments.contains_key(&id), "bought by a payment that is none"),
            _ => return Err(Fault("a purchase was not asked for, or twice".to_owned())),
        }
    }
    let links: BTreeSet<Uuid> = books.purchases.values().map(|bought| bought.link).collect();
    let strange = books.transfers.values().find(|t| t.source == "purchase" && !links.contains(&t.link));
    rule!(strange.is_none(), "a charge has no purchase");
    Ok(())
}

/// Whoever has a lease has what the purchases amount to, and nobody else has one.
fn leases(books: &Books) -> Result<(), Fault> {
    let buyers: BTreeSet<Uuid> = books.purchases.values().map(|bought| bought.account_id).collect();
    for account in buyers.iter().chain(books.leases.keys()) {
        let live: Vec<&Bought> = books.live(*account);
        let purchases = live.iter().map(|bought| bought.purchase()).collect::<Result<Vec<_>, _>>()?;
        let due = fold(&purchases).holding.as_ref().map(Holding::lease);
        let lease = books.leases.get(account).map(|row| row.lease());
        rule!(lease == due, "a lease is {lease:?}, and the purchases amount to {due:?}");
    }
    Ok(())
}

/// What lies in suspense is the money that nothing explains.
fn suspense(books: &Books) -> Result<(), Fault> {
    let drawn: BTreeSet<&str> = books
        .transfers
        .values()
        .filter(|t| t.source == "x402" && !books.undone.contains(&t.id))
        .filter_map(|t| t.drawn.as_deref())
        .collect();
    let lies = books.sightings.values().filter(|seen| seen.in_suspense);
    let lies = lies.filter(|seen| {
        let name = seen.name();
        !drawn.contains(name.as_str()) && !books.resolutions.contains_key(&name)
    });
    let (due, posted) = (lies.map(|seen| seen.amount_micros).sum::<i64>(), books.balance_of("suspense"));
    rule!(posted == due, "{posted} lie in suspense, and {due} are unexplained");
    Ok(())
}

/// What is exposed is what is credited and not final.
fn exposure(books: &Books) -> Result<(), Fault> {
    let open = books.payments.values().filter(|payment| payment.credited() && !payment.is_final);
    let (due, posted) = (open.map(|p| p.amount_micros).sum::<i64>(), books.balance_of("exposure"));
    rule!(posted == due, "{posted} are exposed, and {due} are credited and not final");
    Ok(())
}

/// At rest, every deposit of the chain is in the books, credited to whoever presented it, and nothing else is.
pub(super) fn against(books: &Books, shown: &[Shown]) -> Result<(), Fault> {
    let total: i64 = shown.iter().map(|seen| seen.amount.0).sum();
    let returned = books.resolutions.values().filter(|r| r.outcome == "returned");
    let returned: i64 = returned.map(|resolution| resolution.amount_micros).sum();
    let booked = -books.balance_of("x402_clearing") + returned;
    for payment in books.payments.values() {
        let shows = shown.iter().any(|seen| {
            seen.nonce().is_some_and(|nonce| hex::encode(nonce) == payment.nonce)
                && seen.payer.to_string() == payment.payer
                && seen.pay_to.to_string() == payment.pay_to
                && seen.amount.0 == payment.amount_micros
        });
        let resolved = books.sightings.values().any(|seen| {
            seen.canonical && payment.is_paid_by(seen) && books.resolutions.contains_key(&seen.name())
        });
        let state = &payment.state;
        rule!(
            payment.credited() == (shows && !resolved),
            "a payment is {state} at the end, and the chain shows its money: {shows}"
        );
    }
    rule!(booked == total, "the chain shows {total}, and {booked} are booked");
    Ok(())
}
