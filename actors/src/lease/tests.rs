use std::time::Duration;

use chain::fake::Dropped;
use chrono::TimeDelta;
use serde_json::Value;
use store::accounts::{Lease as LeaseRow, lease_find, purchases_live};
use store::ledger::{AccountRef, Currency, LedgerKind, NewTransfer, post};
use store::payments::PaymentState;
use types::{AccountId, Code, Entropy, OsEntropy, Tier, UsdMicros, Wallet};

use super::{Reply, Request};
use crate::kit::ActorError;
use crate::testing::{Node, PRICE, World, key};

const CALL: Duration = Duration::from_secs(20);
const HOBBY: i64 = 5_000_000;

async fn ask(node: &Node, account: AccountId, request: Request) -> Result<Reply, ActorError> {
    node.actors().lease.call(account, request, CALL).await
}

fn buy(tier: Tier, name: &str) -> Request {
    Request::Purchase { tier, wallet: Wallet([1; 20]), request_key: name.to_owned() }
}

async fn bought(node: &Node, account: AccountId, tier: Tier, name: &str) -> Value {
    ask(node, account, buy(tier, name)).await.unwrap().answer().expect("the balance covers it")
}

async fn transfer(world: &World, name: &'static str, sides: (AccountRef, AccountRef), micros: i64) {
    let mut tx = world.store.begin().await.unwrap();
    let leg = NewTransfer::post(("test", name.to_owned()), sides, UsdMicros(micros), "test");
    post(&mut tx, OsEntropy.uuid(), &[leg], world.now()).await.unwrap();
    tx.commit().await.unwrap();
}

fn test_credit(account: AccountId) -> AccountRef {
    AccountRef::customer(account, Currency::TestUsd)
}

/// Money from nowhere: what is held at Stripe or on a chain would be looked up there.
fn outside(currency: Currency) -> AccountRef {
    AccountRef::revenue("test", currency)
}

async fn lease(world: &World, account: AccountId) -> LeaseRow {
    lease_find(&world.store, account).await.unwrap().expect("a lease")
}

async fn account(world: &World, byte: u8) -> AccountId {
    let fresh = AccountId::new(&OsEntropy);
    let wallet = Wallet([byte; 20]);
    store::accounts::account_of_wallet_ensure(&world.store, wallet, fresh, world.now()).await.unwrap()
}

// Goal: one request buys once, out of the right money, all or nothing. Method: too little, then enough, many
// at once, in each of the two monies; the same name for another tier.
#[tokio::test]
async fn a_purchase_from_the_balance_happens_once_and_never_in_part() {
    let world = World::start().await;
    let node = world.node().await;
    let who = account(&world, 1).await;
    assert!(matches!(ask(&node, who, buy(Tier::Prototype, "a")).await, Ok(Reply::Uncovered)));
    // Half in each money is not the price in either.
    transfer(&world, "half test", (outside(Currency::TestUsd), test_credit(who)), PRICE.0 / 2).await;
    let cash = AccountRef::customer(who, Currency::Usd);
    transfer(&world, "half cash", (outside(Currency::Usd), cash.clone()), PRICE.0 / 2).await;
    assert!(matches!(ask(&node, who, buy(Tier::Prototype, "a")).await, Ok(Reply::Uncovered)));
    assert_eq!(lease_find(&world.store, who).await.unwrap(), None);

    transfer(&world, "more test", (outside(Currency::TestUsd), test_credit(who)), PRICE.0).await;
    let asks = (0..10).map(|_| bought(&node, who, Tier::Prototype, "a"));
    let answers = futures::future::join_all(asks).await;
    assert!(answers.iter().all(|answer| answer == &answers[0]));
    assert_eq!(answers[0]["action"], "subscribe");
    assert_eq!(answers[0]["previous_tier"], Value::Null);
    assert_eq!(world.balance(test_credit(who)).await, UsdMicros(PRICE.0 / 2));
    assert_eq!(world.balance(cash.clone()).await, UsdMicros(PRICE.0 / 2));
    let refused = ask(&node, who, buy(Tier::Hobby, "a")).await.unwrap_err().into_problem();
    assert_eq!(refused.code, Code::IdempotencyKeyReused);

    // The clock is set back: the renewal still comes after.
    world.advance_secs(-3_600);
    let first = lease(&world, who).await;
    transfer(&world, "more cash", (outside(Currency::Usd), cash.clone()), PRICE.0).await;
    let renewed = bought(&node, who, Tier::Prototype, "b").await;
    assert_eq!(
        (renewed["action"].as_str(), renewed["previous_tier"].as_str()),
        (Some("renew"), Some("prototype"))
    );
    let second = lease(&world, who).await;
    assert_eq!(second.started_at, first.started_at);
    assert_eq!(second.ends_at, first.ends_at + TimeDelta::days(7));
    assert_eq!(world.balance(cash).await, UsdMicros(PRICE.0 / 2));
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

// Goal: a reorganisation undoes exactly what the lost money bought, even what later purchases made of it, and
// its return restores that to the micro. Method: pay, upgrade from the balance, spend the refund, lose the
// payment, find it again.
#[tokio::test]
async fn a_lost_payment_takes_its_refund_along_and_brings_it_back() {
    let world = World::start().await;
    let node = world.node().await;
    node.tick().await;
    let payment = world.present(&key(1), PRICE).await;
    let who = payment.account;
    node.step(payment.id).await;
    world.chain.mine();
    node.drive(&world, payment.id, PaymentState::Credited).await;
    let receipt = world.payment(payment.id).await.response.unwrap();
    assert_eq!(
        (receipt["action"].as_str(), receipt["tier"].as_str()),
        (Some("subscribe"), Some("prototype"))
    );

    world.advance_secs(86_400);
    transfer(&world, "fund", (outside(Currency::TestUsd), test_credit(who)), HOBBY).await;
    let upgrade = bought(&node, who, Tier::Hobby, "up").await;
    let refund = world.balance(test_credit(who)).await;
    // Six of seven days, less the moment between payment and upgrade.
    assert!((85_700..=85_714).contains(&refund.0), "{refund}");
    assert_eq!(upgrade["action"], "upgrade");
    assert_eq!(upgrade["allowance_remaining_usd_micros"], refund.0);
    let held = lease(&world, who).await;
    transfer(&world, "spend", (test_credit(who), outside(Currency::TestUsd)), refund.0).await;

    world.chain.reorg(1, Dropped::Gone);
    world.chain.mine();
    world.chain.mine();
    node.drive(&world, payment.id, PaymentState::Settling).await;
    let bad_debt = AccountRef::platform(LedgerKind::BadDebt, Currency::TestUsd, "");
    assert_eq!(world.balance(test_credit(who)).await, UsdMicros::ZERO);
    assert_eq!(world.balance(bad_debt.clone()).await, UsdMicros(-refund.0));
    assert_eq!(lease(&world, who).await, held, "the upgrade was paid for itself");
    world.check_books().await;

    world.advance_secs(6);
    node.lane_step().await;
    world.chain.mine();
    node.drive(&world, payment.id, PaymentState::Credited).await;
    let again = world.payment(payment.id).await;
    assert_eq!((again.credits, again.response), (2, Some(receipt)));
    assert_eq!(world.balance(bad_debt).await, UsdMicros::ZERO, "what was written off came back");
    assert_eq!(world.balance(test_credit(who)).await, UsdMicros::ZERO);
    assert_eq!(lease(&world, who).await, held, "its return does not undo what came after");
    let actions: Vec<_> =
        purchases_live(&world.store, who).await.unwrap().iter().map(|p| p.action.as_str()).collect();
    assert_eq!(actions, ["subscribe", "upgrade"]);
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

// Goal: no write after being superseded. Method: let a second node take the account over while the first
// still believes it owns it, then ask the first.
#[tokio::test]
async fn a_superseded_lease_actor_cannot_sell() {
    let world = World::start().await;
    let (old, new) = (world.node().await, world.node().await);
    let who = account(&world, 1).await;
    transfer(&world, "fund", (outside(Currency::TestUsd), test_credit(who)), 2 * PRICE.0).await;
    bought(&old, who, Tier::Prototype, "first").await;

    world.store.node_leave(old.deps.node).await.unwrap();
    ask(&new, who, Request::Step).await.unwrap();
    // It is cut off by its fence and asks the new holder, whom it does not reach here.
    let refused = ask(&old, who, buy(Tier::Prototype, "second")).await.unwrap_err();
    assert!(matches!(refused, ActorError::PeerSilent), "{refused:?}");
    assert_eq!(world.balance(test_credit(who)).await, PRICE);
    assert_eq!(bought(&new, who, Tier::Prototype, "second").await["action"], "renew");
    assert_eq!(world.balance(test_credit(who)).await, UsdMicros::ZERO);
    world.check_books().await;
    new.stop().await;
    old.stop().await;
    world.stop().await;
}

// D05, open questions 6 and 7. Goal: going down gives back what is left of the dearer lease, unless the usage
// does not fit. Method: down after a third of the lease, with and without room; the books name the refund.
#[tokio::test]
async fn a_downgrade_refunds_the_unused_time_and_needs_room() {
    let world = World::start().await;
    let node = world.node().await;
    let who = account(&world, 1).await;
    transfer(&world, "fund", (outside(Currency::TestUsd), test_credit(who)), HOBBY + PRICE.0).await;
    bought(&node, who, Tier::Hobby, "hobby").await;
    world.advance_secs(10 * 86_400);
    let project = types::ProjectId::new(&OsEntropy);
    let new = store::projects::NewProject {
        id: project,
        account: who,
        name: "app".to_owned(),
        public_id: project.0.simple().to_string()[..20].to_owned(),
    };
    let mut tx = world.store.begin().await.unwrap();
    store::projects::project_insert(&mut tx, &new, world.now()).await.unwrap();
    tx.commit().await.unwrap();
    let measure = async |bytes, secs| {
        world.advance_secs(secs);
        store::projects::usage_measured(&world.store, project, bytes, world.now()).await.unwrap();
    };
    measure(262_144_001, 1).await;
    let refused = ask(&node, who, buy(Tier::Prototype, "down")).await.unwrap_err().into_problem();
    assert_eq!(refused.code, Code::TierDowngradeNotAllowed);
    assert_eq!(refused.extra["usage"]["storage_bytes"], 262_144_001);
    assert_eq!(refused.extra["usage"]["storage_limit"], 262_144_000);
    assert_eq!(lease(&world, who).await.tier, Tier::Hobby, "nothing was done");

    measure(262_144_000, 1).await;
    let down = bought(&node, who, Tier::Prototype, "down").await;
    assert_eq!((down["action"].as_str(), down["previous_tier"].as_str()), (Some("downgrade"), Some("hobby")));
    // floor(5,000,000 * remaining / 30 days), two seconds after a third of it.
    let left = HOBBY * (20 * 86_400 - 2) / (30 * 86_400);
    assert_eq!(world.balance(test_credit(who)).await, UsdMicros(left));
    assert_eq!(down["allowance_remaining_usd_micros"], left);
    let entries = store::ledger::statement(&world.store, who, None, 10).await.unwrap();
    assert!(entries.iter().any(|entry| entry.reason == "tier_refund" && entry.amount.0 == left));
    assert_eq!(bought(&node, who, Tier::Prototype, "down").await, down, "the same request, the same answer");
    assert_eq!(world.balance(test_credit(who)).await, UsdMicros(left), "and no second refund");
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

// Goal: renewals, upgrades and downgrades at one instant end in one order. Method: 24 of them at once on two
// nodes; the lease is what the purchases amount to, the balance what they cost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_changes_of_tier_end_in_one_order() {
    const FUND: i64 = 400_000_000;
    let world = World::start().await;
    let node = world.node().await;
    let who = account(&world, 1).await;
    transfer(&world, "fund", (outside(Currency::TestUsd), test_credit(who)), FUND).await;
    let asks = (0..24_usize).map(|n| {
        let node = &node;
        async move { bought(node, who, Tier::ALL[n % 3], &format!("n{n}")).await }
    });
    let answers = futures::future::join_all(asks).await;
    let purchases = purchases_live(&world.store, who).await.unwrap();
    assert_eq!(purchases.len(), 24);
    assert!(purchases.windows(2).all(|pair| pair[0].created_at < pair[1].created_at));
    assert!(purchases.windows(2).all(|pair| pair[1].previous_tier == Some(pair[0].tier)));
    let outcome = billing::lease::fold(&purchases);
    assert_eq!(lease(&world, who).await, outcome.holding.unwrap().lease());
    let paid: i64 = purchases.iter().map(|p| p.price.0).sum();
    let refunded = outcome.refunds[&Currency::TestUsd].0;
    assert_eq!(world.balance(test_credit(who)).await, UsdMicros(FUND - paid + refunded));
    let last = purchases.last().unwrap();
    assert!(answers.iter().any(|a| a["action"] == last.action.as_str() && a["tier"] == last.tier.as_str()));
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}
