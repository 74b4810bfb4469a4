use chain::fake::Dropped;
use chain::lane::{Slot, erc20_transfer, sign};
use chain::rpc::{ChainRpc, Fees};
use store::ledger::AccountRef;
use store::payments::PaymentState;
use store::{Claimed, StoreError};
use types::{UsdMicros, WatcherId};

use super::{WatcherState, handlers};
use crate::kit::ActorError;
use crate::testing::{NETWORK, PRICE, World, eventually, key};

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
    let seen = world.store.sightings_list(NETWORK, (0, -1), 10).await.unwrap();
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
    assert_eq!(world.store.sightings_list(NETWORK, (0, -1), 10).await.unwrap().len(), 1);
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

// Oracle (2), A15. Goal: money that no payment explains is in suspense for as long as it is on the chain, and
// a proof that is presented later draws it from there. Method: a plain transfer, and an authorisation that
// arrives before its proof; then a reorganisation drops both.
#[tokio::test]
async fn money_without_a_payment_is_in_suspense_while_it_is_on_the_chain() {
    let world = World::start().await;
    let node = world.node().await;
    node.tick().await;
    let (payer, stranger) = (key(1), key(2));
    world.chain.fund(payer_address(1), UsdMicros(PRICE.0 + 7));
    let paid = world.authorize(&payer, PRICE);
    let signature =
        chain::signer::Signer::sign_digest(&payer, chain::x402::verify::signing_digest(&paid, NETWORK));
    let signature = signature.await.unwrap();
    let asset = chain::asset::usdc(NETWORK).address;
    let fees = Fees { max_fee_per_gas: 9_000_000, max_priority_fee_per_gas: 9_000_000 };
    let slot = Slot { network: NETWORK, nonce: 0, gas_limit: 90_000, fees };
    let settle = chain::lane::transfer_with_authorization(asset, &paid, &signature).unwrap();
    let plain = erc20_transfer(asset, world.payee, UsdMicros(7)).unwrap();
    for (effect, signer) in [(settle, &stranger), (plain, &payer)] {
        let signed = sign(&effect.at(slot), signer).await.unwrap();
        world.chain.send_raw(&signed.raw).await.unwrap();
    }
    world.chain.mine();
    node.tick().await;
    let suspense = || world.balance(AccountRef::suspense(NETWORK));
    assert_eq!(suspense().await, UsdMicros(PRICE.0 + 7));

    let payment = world.accept(&payer, paid).await;
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

fn payer_address(byte: u8) -> types::Wallet {
    chain::signer::Signer::address(&key(byte))
}
