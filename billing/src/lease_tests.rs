use super::*;
use crate::PriceTable;

fn at(secs: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::seconds(secs)
}

fn order(tier: Tier, currency: Currency, secs: i64) -> Order {
    let table = PriceTable::default();
    let offer = table.offer(tier);
    Order { tier, price: offer.price, currency, term: offer.term(), at: at(secs) }
}

fn purchase(id: i64, order: &Order, decision: &Decision) -> Purchase {
    Purchase {
        id,
        action: decision.action,
        tier: order.tier,
        previous_tier: decision.previous_tier,
        price: order.price,
        currency: order.currency,
        link: uuid::Uuid::from_u128(id.unsigned_abs().into()),
        payment: None,
        revokes: None,
        starts_at: decision.span.starts_at,
        ends_at: decision.span.ends_at,
        created_at: order.at,
    }
}

const DAY: i64 = 86_400;

#[test]
fn every_pair_of_tiers_has_one_action_before_and_after_the_lease_ends() {
    use PurchaseAction::{Downgrade, Renew, Subscribe, Upgrade};
    for held in Tier::ALL {
        let first = decide(None, &order(held, Currency::Usd, 0));
        assert_eq!((first.action, first.previous_tier), (Subscribe, None));
        for wanted in Tier::ALL {
            let length = first.holding.ends_at - first.holding.started_at;
            let expected = match wanted.cmp(&held) {
                std::cmp::Ordering::Less => Downgrade,
                std::cmp::Ordering::Equal => Renew,
                std::cmp::Ordering::Greater => Upgrade,
            };
            for (offset, expected) in [(-1, expected), (0, Subscribe), (1, Subscribe), (DAY * 200, Subscribe)]
            {
                let next = order(wanted, Currency::Usd, length.num_seconds() + offset);
                let then = decide(Some(&first.holding), &next);
                assert_eq!(then.action, expected, "{held} -> {wanted} at {offset}");
                assert_eq!(then.previous_tier, Some(held));
                let (start, ends) = match expected {
                    Renew => (first.holding.started_at, first.holding.ends_at + next.term),
                    _ => (next.at, next.at + next.term),
                };
                assert_eq!((then.holding.started_at, then.holding.ends_at), (start, ends));
                let refunds = matches!(expected, Upgrade | Downgrade);
                assert_eq!(!then.refunds.is_empty(), refunds && then.refunds.values().any(|r| r.0 > 0));
            }
        }
    }
}

#[test]
fn the_refund_is_the_floor_of_the_price_for_the_seconds_that_are_left() {
    let first = decide(None, &order(Tier::Prototype, Currency::Usd, 0));
    for used in [0, 1, 59, 3_600, 3 * DAY + 1, 7 * DAY - 1] {
        let then = decide(Some(&first.holding), &order(Tier::Hobby, Currency::Usd, used));
        let expected = 100_000_i128 * i128::from(7 * DAY - used) / i128::from(7 * DAY);
        let refund = then.refunds.get(&Currency::Usd).copied().unwrap_or_default();
        assert_eq!(i128::from(refund.0), expected, "after {used} s");
    }
}

// Renewing a paid lease with free test money must not turn into cash.
#[test]
fn each_span_is_refunded_in_the_money_that_paid_for_it() {
    let cash = decide(None, &order(Tier::Prototype, Currency::Usd, 0)).holding;
    let mixed = (1..=100)
        .fold(cash, |held, n| decide(Some(&held), &order(Tier::Prototype, Currency::TestUsd, n)).holding);
    let then = decide(Some(&mixed), &order(Tier::Hobby, Currency::Usd, 7 * DAY / 2));
    assert_eq!(then.refunds[&Currency::Usd], UsdMicros(50_000));
    assert_eq!(then.refunds[&Currency::TestUsd], UsdMicros(100 * 100_000));
}

#[test]
fn a_price_of_64_bits_does_not_overflow() {
    let huge = Order { price: UsdMicros(i64::MAX), ..order(Tier::Prototype, Currency::Usd, 0) };
    let held = decide(None, &huge).holding;
    assert_eq!(held.unused(at(0))[&Currency::Usd], UsdMicros(i64::MAX));
    assert_eq!(held.unused(at(-5 * DAY))[&Currency::Usd], UsdMicros(i64::MAX));
    assert!(held.unused(at(7 * DAY)).is_empty() && held.unused(at(900 * DAY)).is_empty());
}

/// A small generator, so that a failure names its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

// Properties over random histories: refunds never exceed payments in any money; folding gives what deciding
// one by one gave; taking a purchase away and giving it back changes nothing; taking one away never lengthens
// the lease of a single-tier history.
#[test]
fn random_histories_keep_their_invariants() {
    for seed in 0..2_000 {
        let mut dice = Dice(seed);
        let (mut purchases, mut held): (Vec<Purchase>, Option<Holding>) = (Vec::new(), None);
        let (mut secs, mut refunds) = (0, Refunds::new());
        let one_tier = dice.roll(2) == 0;
        for id in 1..=dice.roll(12).cast_signed() {
            secs += 1 + dice.roll(20 * DAY.unsigned_abs()).cast_signed();
            let tier = if one_tier { Tier::Hobby } else { Tier::ALL[dice.roll(3) as usize] };
            let currency = if dice.roll(2) == 0 { Currency::Usd } else { Currency::TestUsd };
            let order = order(tier, currency, secs);
            let decision = decide(held.as_ref(), &order);
            for (currency, refund) in &decision.refunds {
                refunds.entry(*currency).or_default().0 += refund.0;
            }
            purchases.push(purchase(id, &order, &decision));
            held = Some(decision.holding);
        }
        let all = fold(&purchases);
        assert_eq!((&all.holding, &all.refunds), (&held, &refunds), "seed {seed}");
        for currency in [Currency::Usd, Currency::TestUsd] {
            let paid: i64 = purchases.iter().filter(|p| p.currency == currency).map(|p| p.price.0).sum();
            assert!(all.refunds.get(&currency).map_or(0, |r| r.0) <= paid, "seed {seed}");
        }
        if one_tier && !purchases.is_empty() {
            let gone = dice.roll(purchases.len() as u64) as usize;
            let without = fold(purchases.iter().enumerate().filter(|(n, _)| *n != gone).map(|(_, p)| p));
            let end = |outcome: &Outcome| outcome.holding.as_ref().map(|h| h.ends_at);
            assert!(end(&without) <= end(&all), "seed {seed}");
        }
    }
}
