//! Which transfers a card payment makes, and those by which it is taken back. Pure.
//!
//! **Policy for money that was spent.** A customer's balance is never negative. What a refund or a dispute takes
//! back and the customer does not have any more is written off as bad debt under `card/<checkout>`, and the
//! account is suspended: nothing more is sold to it, until a top-up covers the debt or the dispute is won.
//! Whoever gets all of his money back loses what it bought: the tier is revoked, unspent e-mail credits go.
//! When a dispute is won, everything comes back at its own place.

use store::cards::{CardProduct, Checkout};
use store::ledger::{AccountRef, Balance, Currency, LedgerKind, NewTransfer, Transfer};
use types::{AccountId, UsdMicros};

use crate::legs::PURCHASE;

/// Deposits by card, named by the quote.
pub const STRIPE: &str = "stripe";
/// What refunds and disputes take back, named by the quote and the step.
pub const REFUNDED: &str = "stripe_refund";
pub const DISPUTED: &str = "stripe_dispute";
/// What a won dispute gives again.
pub const RETURNED: &str = "stripe_returned";
/// The charge of an e-mail pack, and the units it buys.
pub const EMAIL_PACK: &str = "email_pack";
pub const EMAIL_UNITS: &str = "email_units";
const EMAIL_UNITS_BACK: &str = "email_units_back";

/// # Source
/// Wire contract 01 section 9.7.
pub const EMAIL_PACK_PRICE: UsdMicros = UsdMicros(5_000_000);
pub const EMAIL_PACK_UNITS: i64 = 10_000;

/// What the books have still to do for a checkout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The money has arrived.
    Deposit,
    /// What was taken back has changed.
    Change(Change),
}

/// From what the books have taken back to what Stripe has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// In all, once this is posted.
    pub refunded: UsdMicros,
    pub disputed: UsdMicros,
    /// More refunded than before.
    pub refund: i64,
    /// More disputed than before; negative when a dispute was won.
    pub dispute: i64,
    /// Everything is gone now, and was not before; or the reverse.
    pub product: ProductChange,
}

/// What becomes of what was bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProductChange {
    Stays,
    Goes,
    ComesBack,
}

/// What is to be posted next, if anything. `withdrawn` is what Stripe says was refunded and disputed in all.
pub fn next(checkout: &Checkout, withdrawn: (UsdMicros, UsdMicros)) -> Option<Step> {
    if !checkout.deposited {
        return checkout.paid_at.map(|_| Step::Deposit);
    }
    // More than was paid cannot be taken back of it.
    let amount = checkout.amount.0;
    let refunded = withdrawn.0.0.clamp(0, amount);
    let disputed = withdrawn.1.0.clamp(0, amount - refunded);
    let (refund, dispute) = (refunded - checkout.refunded.0, disputed - checkout.disputed.0);
    if refund == 0 && dispute == 0 {
        return None;
    }
    let (was, is) = (checkout.refunded.0 + checkout.disputed.0 == amount, refunded + disputed == amount);
    let product = match (was, is) {
        (false, true) => ProductChange::Goes,
        (true, false) => ProductChange::ComesBack,
        _ => ProductChange::Stays,
    };
    Some(Step::Change(Change {
        refunded: UsdMicros(refunded),
        disputed: UsdMicros(disputed),
        refund,
        dispute,
        product,
    }))
}

/// Test cards pay with test money, which never is cash.
pub fn currency(checkout: &Checkout) -> Currency {
    if checkout.livemode { Currency::Usd } else { Currency::TestUsd }
}

/// The deposit.
pub fn deposit(account: AccountId, checkout: &Checkout) -> NewTransfer {
    let reason = match checkout.product {
        CardProduct::TopUp => "stripe_topup",
        CardProduct::Tier | CardProduct::EmailPack => "stripe_payment",
    };
    let (customer, clearing) = sides(account, checkout);
    let name = (STRIPE, checkout.id.to_string());
    refer(NewTransfer::post(name, (clearing, customer), checkout.amount, reason), checkout)
}

/// Charges an e-mail pack and issues its units.
pub fn email_pack(account: AccountId, checkout: &Checkout, step: i32) -> Vec<NewTransfer> {
    let (customer, _) = sides(account, checkout);
    let revenue = AccountRef::revenue(EMAIL_PACK, currency(checkout));
    let charge =
        NewTransfer::post((EMAIL_PACK, at(checkout, step)), (customer, revenue), checkout.price, EMAIL_PACK);
    let (units, issued) = unit_sides(account);
    let amount = UsdMicros(EMAIL_PACK_UNITS);
    let issue = NewTransfer::post((EMAIL_UNITS, at(checkout, step)), (issued, units), amount, EMAIL_PACK);
    vec![refer(charge, checkout), refer(issue, checkout)]
}

/// Undoes an e-mail pack: the charge, and as many units as are left.
pub fn email_pack_back(
    account: AccountId,
    checkout: &Checkout,
    journal: &[Transfer],
    (units_left, step): (Balance, i32),
) -> Vec<NewTransfer> {
    let mut legs: Vec<NewTransfer> = reversals(journal, EMAIL_PACK, "email_pack_refund");
    let back = units_left.available().0.min(EMAIL_PACK_UNITS);
    if back > 0 {
        let (units, issued) = unit_sides(account);
        let name = (EMAIL_UNITS_BACK, at(checkout, step));
        legs.push(refer(
            NewTransfer::post(name, (units, issued), UsdMicros(back), "email_pack_refund"),
            checkout,
        ));
    }
    legs
}

/// Gives the charge of a tier back.
pub fn tier_back(journal: &[Transfer]) -> Vec<NewTransfer> {
    reversals(journal, PURCHASE, "tier_refund")
}

/// Moves what was taken back, or given again.
pub fn moved(account: AccountId, checkout: &Checkout, change: &Change, step: i32) -> Vec<NewTransfer> {
    let (customer, clearing) = sides(account, checkout);
    let (out, back) = ((customer.clone(), clearing.clone()), (clearing, customer));
    let mut legs = Vec::new();
    if change.dispute < 0 {
        let name = (RETURNED, at(checkout, step));
        legs.push(NewTransfer::post(name, back, UsdMicros(-change.dispute), "stripe_dispute_won"));
    }
    for (source, amount) in [(REFUNDED, change.refund), (DISPUTED, change.dispute)] {
        if amount > 0 {
            legs.push(NewTransfer::post(
                (source, at(checkout, step)),
                out.clone(),
                UsdMicros(amount),
                source,
            ));
        }
    }
    legs.into_iter().map(|leg| refer(leg, checkout)).collect()
}

/// Names the write-offs of a checkout's step.
pub fn debt_key(checkout: &Checkout, step: i32) -> String {
    format!("card/{}", at(checkout, step))
}

fn reversals(journal: &[Transfer], source: &str, reason: &'static str) -> Vec<NewTransfer> {
    let live = journal.iter().filter(|t| t.source == source && t.reversed_by.is_none());
    live.map(|t| NewTransfer::reversal(t, reason)).collect()
}

fn at(checkout: &Checkout, step: i32) -> String {
    format!("{}/#{step}", checkout.id)
}

/// The customer, and the money that Stripe holds for us.
fn sides(account: AccountId, checkout: &Checkout) -> (AccountRef, AccountRef) {
    let currency = currency(checkout);
    let clearing = AccountRef::platform(LedgerKind::StripeClearing, currency, "");
    (AccountRef::customer(account, currency), clearing)
}

fn unit_sides(account: AccountId) -> (AccountRef, AccountRef) {
    let issued = AccountRef::platform(LedgerKind::EmailCreditsIssued, Currency::Email, "");
    (AccountRef::customer(account, Currency::Email), issued)
}

fn refer(leg: NewTransfer, checkout: &Checkout) -> NewTransfer {
    match &checkout.session_id {
        Some(session) => leg.referring_to("stripe_session", session),
        None => leg.referring_to("checkout", checkout.id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::{CheckoutId, OsEntropy};

    fn checkout(deposited: bool, refunded: i64, disputed: i64) -> Checkout {
        Checkout {
            id: CheckoutId::new(&OsEntropy),
            product: CardProduct::TopUp,
            product_key: String::new(),
            amount: UsdMicros(100),
            price: UsdMicros(100),
            livemode: true,
            wallet: None,
            account: None,
            session_id: None,
            payment_intent: None,
            paid_at: None,
            facts_revision: 0,
            posted_revision: 0,
            deposited,
            refunded: UsdMicros(refunded),
            disputed: UsdMicros(disputed),
            steps: 0,
            link: None,
            created_at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    fn change(have: (i64, i64), said: (i64, i64)) -> Option<(i64, i64, ProductChange)> {
        match next(&checkout(true, have.0, have.1), (UsdMicros(said.0), UsdMicros(said.1)))? {
            Step::Change(c) => Some((c.refund, c.dispute, c.product)),
            Step::Deposit => None,
        }
    }

    // C09: refunds and disputes of every kind, never more than was paid.
    #[test]
    fn what_is_taken_back_is_bounded_and_comes_back_when_a_dispute_is_won() {
        use ProductChange::{ComesBack, Goes, Stays};
        assert_eq!(change((0, 0), (0, 0)), None);
        assert_eq!(change((0, 0), (30, 0)), Some((30, 0, Stays)));
        assert_eq!(change((30, 0), (100, 0)), Some((70, 0, Goes)));
        assert_eq!(change((0, 0), (900, 0)), Some((100, 0, Goes)), "refund > charge");
        assert_eq!(change((40, 0), (40, 100)), Some((0, 60, Goes)), "a dispute of the rest");
        assert_eq!(change((40, 60), (40, 0)), Some((0, -60, ComesBack)));
        assert_eq!(change((0, 100), (100, 100)), Some((100, -100, Stays)), "refunded while disputed");
        assert_eq!(change((100, 0), (100, 0)), None);
        assert_eq!(next(&checkout(false, 0, 0), (UsdMicros(5), UsdMicros(0))), None, "never paid");
    }
}
