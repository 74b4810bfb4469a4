use std::time::Duration;

use billing::legs::Resolved;
use chain::fake::Dropped;
use chain::lane::{Slot, erc20_transfer, sign};
use chain::rpc::{ChainRpc, Fees};
use chain::x402::wire::Authorization;
use store::ledger::{AccountRef, Currency, post};
use store::payments::{Failure, Move, PaymentState, payment_moved};
use store::sightings::{CursorMove, blocks_rewound, cursor_moved};
use store::suspense::{Decided, Resolution, resolution_append, suspended_locked};
use store::{Claimed, StoreError};
use types::{Code, Entropy, OsEntropy, UsdMicros, Wallet, WatcherId};

use super::{WatcherState, handlers};
use crate::kit::ActorError;
use crate::lease;
use crate::testing::{NETWORK, PRICE, World, eventually, key};

const CALL: Duration = Duration::from_secs(20);

// B01. Goal: a payment that changes blocks keeps its one credit. Method: replace its block, mining it again
// at once.
#[tokio::test]
async fn a_payment_mined_again_in_another_block_keeps_its_credit() {
    let world = World::start().await;
    let node = world.node().await;
    node.tick().await;
    let payment = world.present(&key(1), PRICE).await;
    node.step(payment.id).await;
    world.chain.mine();
    node.drive(&world, payment.id, PaymentState::Credited).await;
    let before = world.payment(payment.id).await;

    world.chain.reorg(1, Dropped::Remined);
    world.chain.mine();
    let moved = async || {
        node.tick().await;
        world.payment(payment.id).await.block_hash != before.block_hash
    };
    assert!(eventually(moved).await);
    let after = world.payment(payment.id).await;
    assert_eq!((after.state, after.credits), (PaymentState::Credited, 1));
    assert_eq!(world.balance(AccountRef::x402_clearing(NETWORK)).await, UsdMicros(-PRICE.0));
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

// B01, B03, A10. Goal: what left the chain is taken back, and given again once when it returns. Method: drop
// its block and the transaction with it; our lane sends the same bytes again.
#[tokio::test]
async fn a_reorganisation_reverses_a_credit_and_credits_again_once() {
    let world = World::start().await;
    let node = world.node().await;
    node.tick().await;
    let payment = world.present(&key(1), PRICE).await;
    node.step(payment.id).await;
    world.chain.mine();
    node.drive(&world, payment.id, PaymentState::Credited).await;
    world.chain.mine();
    node.tick().await;

    world.chain.reorg(2, Dropped::Gone);
    world.chain.mine();
    node.drive(&world, payment.id, PaymentState::Settling).await;
    assert_eq!(world.balance(AccountRef::x402_clearing(NETWORK)).await, UsdMicros::ZERO);
    let seen = world.store.sightings_between(NETWORK, (0, 1_000)).await.unwrap();
    assert!(seen.is_empty(), "{seen:?}");
    world.check_books().await;

    world.advance_secs(6);
    node.lane_step().await;
    world.chain.mine();
    node.drive(&world, payment.id, PaymentState::Credited).await;
    node.tick().await;
    node.step(payment.id).await;
    let again = world.payment(payment.id).await;
    assert_eq!(again.credits, 2);
    assert_eq!(world.store.chain_txs_of_intent(payment.id.0).await.unwrap().len(), 1, "one nonce");
    assert_eq!(world.store.sightings_between(NETWORK, (0, 1_000)).await.unwrap().len(), 1);
    assert_eq!(world.balance(AccountRef::x402_clearing(NETWORK)).await, UsdMicros(-PRICE.0));
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

// B14. Goal: two watchers at once, one effect. Method: load both, scan with the first after the second has
// claimed.
#[tokio::test]
async fn of_two_watchers_the_superseded_one_is_fenced() {
    let world = World::start().await;
    let node = world.node().await;
    let mut fences = Vec::new();
    for _ in 0..2 {
        let entity = WatcherId::of(NETWORK).0;
        match world.store.claim("chain_watcher", entity, node.deps.node).await.unwrap() {
            Claimed::Ours(fence) => fences.push(fence),
            Claimed::Theirs(peer) => panic!("held by {peer:?}"),
        }
    }
    let new = WatcherState { network: NETWORK, fence: fences.pop().unwrap() };
    let old = WatcherState { network: NETWORK, fence: fences.pop().unwrap() };
    world.chain.mine();
    let refused = handlers::on_tick(&node.deps, &old).await.unwrap_err();
    assert!(matches!(refused, ActorError::Store(StoreError::Fenced)), "{refused:?}");
    assert!(world.store.cursor_find(NETWORK).await.unwrap().is_none());
    handlers::on_tick(&node.deps, &new).await.unwrap();
    world.chain.mine();
    let refused = handlers::on_tick(&node.deps, &old).await.unwrap_err();
    assert!(matches!(refused, ActorError::Store(StoreError::Fenced)), "{refused:?}");
    assert_eq!(world.store.cursor_find(NETWORK).await.unwrap().unwrap().next_block, 2);
    node.stop().await;
    world.stop().await;
}

// B04, B15. Goal: a reorganisation below what is retained halts the watcher for good, and a backlog of any
// length is scanned once. Method: retain 5 blocks, fall 30 behind, then replace 8.
#[tokio::test]
async fn a_reorganisation_deeper_than_retained_halts() {
    let world = World::retaining(5).await;
    let node = world.node().await;
    node.tick().await;
    let payment = world.present(&key(1), PRICE).await;
    node.step(payment.id).await;
    for _ in 0..30 {
        world.chain.mine();
    }
    node.drive(&world, payment.id, PaymentState::Credited).await;
    assert_eq!(world.store.cursor_find(NETWORK).await.unwrap().unwrap().next_block, 31);

    world.chain.reorg(8, Dropped::Gone);
    world.chain.mine();
    node.tick().await;
    let halted = world.store.cursor_find(NETWORK).await.unwrap().unwrap();
    assert!(halted.halted_reason.unwrap().contains("reorganisation"));
    world.chain.mine();
    node.tick().await;
    assert_eq!(world.store.cursor_find(NETWORK).await.unwrap().unwrap().next_block, 31);
    assert_eq!(world.payment(payment.id).await.state, PaymentState::Credited, "nothing is guessed");
    node.stop().await;
    world.stop().await;
}

/// A stranger submits an authorisation that was never presented, and the payer sends `plain` beside it.
async fn settled_by_a_stranger(world: &World, plain: UsdMicros) -> Authorization {
    let (payer, stranger) = (key(1), key(2));
    world.chain.fund(payer_address(1), UsdMicros(PRICE.0 + plain.0));
    let paid = world.authorize(&payer, PRICE);
    let digest = chain::x402::verify::signing_digest(&paid, NETWORK);
    let signature = chain::signer::Signer::sign_digest(&payer, digest).await.unwrap();
    let asset = chain::asset::usdc(NETWORK).address;
    let fees = Fees { max_fee_per_gas: 9_000_000, max_priority_fee_per_gas: 9_000_000 };
    let slot = Slot { network: NETWORK, nonce: 0, gas_limit: 90_000, fees };
    let settle = chain::lane::transfer_with_authorization(asset, &paid, &signature).unwrap();
    let plain = erc20_transfer(asset, world.payee, plain).unwrap();
    for (effect, signer) in [(settle, &stranger), (plain, &payer)] {
        let signed = sign(&effect.at(slot), signer).await.unwrap();
        world.chain.send_raw(&signed.raw).await.unwrap();
    }
    world.chain.mine();
    paid
}

// Oracle (2), A15. Goal: money that no payment explains is in suspense for as long as it is on the chain, and
// a proof that is presented later draws it from there. Method: a plain transfer, and an authorisation that
// arrives before its proof; then a reorganisation drops both.
#[tokio::test]
async fn money_without_a_payment_is_in_suspense_while_it_is_on_the_chain() {
    let world = World::start().await;
    let node = world.node().await;
    node.tick().await;
    let paid = settled_by_a_stranger(&world, UsdMicros(7)).await;
    node.tick().await;
    let suspense = || world.balance(AccountRef::suspense(NETWORK));
    assert_eq!(suspense().await, UsdMicros(PRICE.0 + 7));

    let payment = world.accept(&key(1), paid).await;
    node.drive(&world, payment.id, PaymentState::Credited).await;
    assert_eq!(suspense().await, UsdMicros(7));
    world.check_books().await;

    world.chain.reorg(1, Dropped::Gone);
    world.chain.mine();
    let cleared = async || {
        node.tick().await;
        suspense().await == UsdMicros::ZERO && world.payment(payment.id).await.state != PaymentState::Credited
    };
    assert!(eventually(cleared).await, "{:?} {:?}", suspense().await, world.payment(payment.id).await);
    assert_eq!(world.balance(AccountRef::x402_clearing(NETWORK)).await, UsdMicros::ZERO);
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

// A12. Goal: a payment that was judged and answered as failed is never credited afterwards; its money, if it is on
// the chain all the same, stays on suspense for an operator. Method: judge it while its money lies there, then
// order the credit.
#[tokio::test]
async fn a_payment_that_was_judged_to_have_failed_is_not_credited_though_its_money_is_there() {
    let world = World::start().await;
    let node = world.node().await;
    node.tick().await;
    let paid = settled_by_a_stranger(&world, UsdMicros(7)).await;
    node.tick().await;
    let payment = world.accept(&key(1), paid).await;
    let failure =
        Failure { code: "insufficient_funds".to_owned(), message: "ordered by the test".to_owned() };
    let judged = Move { from: PaymentState::Verified, to: PaymentState::Failed, failure: Some(&failure) };
    let mut tx = world.store.begin().await.unwrap();
    payment_moved(&mut tx, payment.id, judged, world.now()).await.unwrap();
    tx.commit().await.unwrap();

    let order = lease::Request::Credit { payment: payment.id };
    let answer = node.actors().lease.call(payment.account, order, Duration::from_secs(20)).await.unwrap_err();
    assert_eq!(answer.into_problem().code, Code::PaymentPending);
    let row = world.payment(payment.id).await;
    assert_eq!((row.state, row.credits), (PaymentState::Failed, 0));
    assert_eq!(world.balance(AccountRef::suspense(NETWORK)).await, UsdMicros(PRICE.0 + 7));
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

// Oracle (2), A42. Goal: money that an operator resolved is never credited as well. Method: the decision falls
// between a proof's check and its row; then the lease is asked outright, and the payment goes its own way.
#[tokio::test]
async fn money_that_an_operator_resolved_is_not_credited_to_a_proof_that_comes_later() {
    let world = World::start().await;
    let node = world.node().await;
    node.tick().await;
    let paid = settled_by_a_stranger(&world, UsdMicros(7)).await;
    node.tick().await;
    let rows = world.store.suspense_list(None, 10).await.unwrap();
    let row = rows.iter().find(|row| row.sighting.amount == PRICE).expect("it is in suspense");
    let name = row.sighting.source_id();
    let mut tx = world.store.begin().await.unwrap();
    let seen = suspended_locked(&mut tx, &name.parse().unwrap()).await.unwrap().unwrap();
    let resolution = Resolution {
        sighting: name.clone(),
        decided: Decided::Returned { tx_hash: [3; 32] },
        amount: seen.sighting.amount,
        currency: Currency::of(NETWORK),
        note: String::new(),
        admin: Wallet([9; 20]),
        created_at: world.now(),
    };
    resolution_append(&mut tx, &resolution).await.unwrap();
    let leg = billing::legs::resolve(NETWORK, &name, seen.sighting.amount, Resolved::Returned);
    post(&mut tx, OsEntropy.uuid(), &[leg], world.now()).await.unwrap();
    tx.commit().await.unwrap();
    world.check_books().await;

    let payment = world.accept(&key(1), paid).await;
    let request = lease::Request::Credit { payment: payment.id };
    let refused = node.actors().lease.call(payment.account, request, CALL).await.unwrap_err();
    assert_eq!(refused.into_problem().code, Code::SuspenseNotResolvable);
    // A verdict waits for some blocks more than there were when it was asked for.
    node.step(payment.id).await;
    for _ in 0..4 {
        world.chain.mine();
    }
    node.drive(&world, payment.id, PaymentState::Failed).await;
    node.step(payment.id).await;
    assert_eq!(world.payment(payment.id).await.state, PaymentState::Failed, "it stays so");
    assert_eq!(world.balance(AccountRef::suspense(NETWORK)).await, UsdMicros(7));
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

// Oracle (2), B01. Goal: the money that a credit drew from suspense stays drawn when its block changes, and other
// people's money on suspense stays theirs. Method: as above with more plain money than the price; then both are
// mined again in another block.
#[tokio::test]
async fn a_credit_that_drew_on_suspense_takes_nobody_elses_money_when_its_block_changes() {
    let world = World::start().await;
    let node = world.node().await;
    node.tick().await;
    let plain = UsdMicros(3 * PRICE.0);
    let paid = settled_by_a_stranger(&world, plain).await;
    node.tick().await;
    let payment = world.accept(&key(1), paid).await;
    node.drive(&world, payment.id, PaymentState::Credited).await;
    let suspense = || world.balance(AccountRef::suspense(NETWORK));
    let clearing = || world.balance(AccountRef::x402_clearing(NETWORK));
    assert_eq!(suspense().await, plain);

    world.chain.reorg(1, Dropped::Remined);
    for _ in 0..3 {
        world.chain.mine();
        node.tick().await;
        node.step(payment.id).await;
    }
    assert_eq!((suspense().await, clearing().await), (plain, UsdMicros(-plain.0 - PRICE.0)));
    assert_eq!(world.payment(payment.id).await.credits, 1);
    world.check_books().await;

    // And when that block goes as well, so does everything.
    world.chain.reorg(4, Dropped::Gone);
    world.chain.mine();
    let cleared = async || {
        node.tick().await;
        node.step(payment.id).await;
        clearing().await == UsdMicros::ZERO
    };
    assert!(eventually(cleared).await, "{:?} {:?}", suspense().await, world.payment(payment.id).await);
    assert_eq!(suspense().await, UsdMicros::ZERO);
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

// Oracle (2). Goal: a block that leaves and comes back before its money was taken off suspense brings the same
// money, not more. Method: rewind it as a watcher does that dies before it gets to that; the next one finds the
// same block.
#[tokio::test]
async fn a_block_that_comes_back_before_its_money_left_suspense_is_drawn_from_there() {
    let world = World::start().await;
    let node = world.node().await;
    node.tick().await;
    let paid = settled_by_a_stranger(&world, UsdMicros(7)).await;
    node.tick().await;
    let suspense = || world.balance(AccountRef::suspense(NETWORK));
    assert_eq!(suspense().await, UsdMicros(PRICE.0 + 7));

    let claimed = world.store.claim("chain_watcher", WatcherId::of(NETWORK).0, node.deps.node).await.unwrap();
    let Claimed::Ours(fence) = claimed else { panic!("{claimed:?}") };
    let mut tx = world.store.fenced(&fence).await.unwrap();
    assert_eq!(blocks_rewound(&mut tx, NETWORK, 0).await.unwrap().len(), 2);
    let back = CursorMove { network: NETWORK, from: 2, to: 1, safe_block: -1, finalized_block: -1 };
    cursor_moved(&mut tx, back, world.now()).await.unwrap();
    tx.commit().await.unwrap();
    let state = WatcherState { network: NETWORK, fence };
    handlers::on_tick(&node.deps, &state).await.unwrap();
    assert_eq!(suspense().await, UsdMicros(PRICE.0 + 7));

    let payment = world.accept(&key(1), paid).await;
    let credited = async || {
        node.step(payment.id).await;
        world.payment(payment.id).await.state == PaymentState::Credited
    };
    assert!(eventually(credited).await, "{:?}", world.payment(payment.id).await);
    assert_eq!(suspense().await, UsdMicros(7), "the payment's money is spent");
    assert_eq!(world.balance(AccountRef::x402_clearing(NETWORK)).await, UsdMicros(-PRICE.0 - 7));
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

fn payer_address(byte: u8) -> types::Wallet {
    chain::signer::Signer::address(&key(byte))
}
