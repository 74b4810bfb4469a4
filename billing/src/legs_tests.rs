use store::ledger::LedgerKind;
use types::{Entropy, OsEntropy};

use super::*;

fn account() -> AccountId {
    AccountId(uuid::Uuid::from_u128(7))
}

fn deposited(network: Network) -> Vec<NewTransfer> {
    deposit(&Deposit {
        account: account(),
        payment: PaymentId(OsEntropy.uuid()),
        network,
        source_id: "net/asset/payer/0x01/#1".into(),
        amount: UsdMicros(100_000),
        suspended: None,
    })
}

fn charged(network: Network) -> NewTransfer {
    charge(&Charge {
        account: account(),
        currency: Currency::of(network),
        key: "pay/#1".into(),
        action: PurchaseAction::Subscribe,
        tier: Tier::Prototype,
        price: UsdMicros(100_000),
    })
}

fn stored(id: i64, leg: &NewTransfer) -> Transfer {
    Transfer {
        id,
        source: leg.source.into(),
        source_id: leg.source_id.clone(),
        kind: leg.kind,
        debit: leg.debit.clone(),
        credit: leg.credit.clone(),
        amount: leg.amount,
        hold_id: None,
        reverses: leg.reverses,
        link: uuid::Uuid::from_u128(1),
        reason: leg.reason.into(),
        reference: leg.reference.clone(),
        reversed_by: None,
    }
}

/// Balances after posting, by account.
fn play(legs: &[NewTransfer]) -> HashMap<AccountRef, i64> {
    let mut balances = HashMap::new();
    for leg in legs {
        assert_eq!(leg.debit.currency, leg.credit.currency, "{leg:?}");
        *balances.entry(leg.debit.clone()).or_default() -= leg.amount.0;
        *balances.entry(leg.credit.clone()).or_default() += leg.amount.0;
    }
    balances
}

#[test]
fn a_paid_tier_leaves_the_customer_even_and_the_money_in_its_own_currency() {
    for network in Network::ALL {
        let mut legs = deposited(network);
        legs.push(charged(network));
        let balances = play(&legs);
        let currency = Currency::of(network);
        assert_eq!(balances[&AccountRef::customer(account(), currency)], 0);
        assert_eq!(balances[&AccountRef::x402_clearing(network)], -100_000);
        assert_eq!(balances[&AccountRef::revenue(TIER, currency)], 100_000);
        assert!(balances.keys().all(|a| a.currency == currency));
        assert_eq!(balances.values().sum::<i64>(), 0);
    }
}

#[test]
fn undoing_a_purchase_puts_every_account_back() {
    let mut legs = deposited(Network::BaseSepolia);
    legs.push(charged(Network::BaseSepolia));
    let journal: Vec<Transfer> = (1..).zip(&legs).map(|(id, leg)| stored(id, leg)).collect();
    let back = undo(&journal);
    assert_eq!(back[0].reverses, Some(3), "the charge is given back first");
    legs.extend(back);
    assert!(play(&legs).values().all(|balance| *balance == 0));
    let mut once: Vec<Transfer> = journal;
    once[1].reversed_by = Some(9);
    assert_eq!(undo(&once).len(), 2, "what was undone stays undone");
}

#[test]
fn money_in_suspense_is_taken_from_there() {
    let network = Network::Base;
    let sides = (AccountRef::x402_clearing(network), AccountRef::suspense(network));
    let seen = NewTransfer::post((SIGHTING, "x".into()), sides, UsdMicros(100_000), "unclaimed");
    let suspended = stored(4, &seen);
    let mut legs = vec![seen];
    legs.extend(deposit(&Deposit {
        account: account(),
        payment: PaymentId(OsEntropy.uuid()),
        network,
        source_id: "n/#1".into(),
        amount: UsdMicros(100_000),
        suspended: Some(&suspended),
    }));
    let balances = play(&legs);
    assert_eq!(balances[&AccountRef::suspense(network)], 0);
    assert_eq!(balances[&AccountRef::x402_clearing(network)], -100_000);
    assert_eq!(balances[&AccountRef::customer(account(), Currency::Usd)], 100_000);
}

#[test]
fn refunds_move_by_their_difference_only() {
    let of = |usd: i64, test: i64| {
        Refunds::from([(Currency::Usd, UsdMicros(usd)), (Currency::TestUsd, UsdMicros(test))])
    };
    assert!(refund(account(), "k", &of(5, 6), &of(5, 6)).is_empty());
    let legs = refund(account(), "k", &of(5, 6), &of(9, 2));
    let balances = play(&legs);
    assert_eq!(balances[&AccountRef::customer(account(), Currency::Usd)], 4);
    assert_eq!(balances[&AccountRef::customer(account(), Currency::TestUsd)], -4);
    assert_eq!(legs[1].reason, "tier_refund_reversed");
}

#[test]
fn what_a_customer_cannot_give_back_is_bad_debt_until_it_returns() {
    let before = Refunds::from([(Currency::Usd, UsdMicros(90))]);
    let legs = refund(account(), "k", &before, &Refunds::new());
    let has =
        |posted| HashMap::from([(Currency::Usd, Balance { posted: UsdMicros(posted), held: UsdMicros(10) })]);
    assert!(write_offs(account(), "k", &has(100), &legs).is_empty());
    let offs = write_offs(account(), "k", &has(40), &legs);
    assert_eq!((offs.len(), offs[0].amount), (1, UsdMicros(60)));
    assert_eq!(offs[0].debit.kind, LedgerKind::BadDebt);

    let written = [stored(1, &offs[0])];
    let again = refund(account(), "k2", &Refunds::new(), &before);
    assert_eq!(recover(&written, &HashMap::new(), &again).len(), 1);
    assert!(recover(&written, &HashMap::new(), &[]).is_empty());
}
