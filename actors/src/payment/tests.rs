use chain::asset::usdc;
use chain::fake::{Dropped, Payer};
use chain::lane::{Slot, sign, transfer_with_authorization};
use chain::rpc::{ChainRpc, Fees};
use store::ledger::{AccountRef, Currency};
use store::payments::{PaymentRow, PaymentState};
use types::UsdMicros;

use crate::testing::{NETWORK, Node, PRICE, World, eventually, key};

/// Anybody may submit a signed authorisation and pay the gas.
async fn submit_as_stranger(world: &World, payment: &PaymentRow) {
    let authorization = chain::x402::wire::Authorization {
        from: payment.key.payer,
        to: payment.pay_to,
        value: payment.amount,
        valid_after: payment.valid_after.unsigned_abs(),
        valid_before: payment.valid_before.unsigned_abs(),
        nonce: payment.key.nonce,
    };
    let asset = usdc(NETWORK).address;
    let effect = transfer_with_authorization(asset, &authorization, &payment.signature).unwrap();
    let fees = Fees { max_fee_per_gas: 9_000_000, max_priority_fee_per_gas: 9_000_000 };
    let slot = Slot { network: NETWORK, nonce: 0, gas_limit: 90_000, fees };
    let signed = sign(&effect.at(slot), &key(66)).await.unwrap();
    world.chain.send_raw(&signed.raw).await.unwrap();
}

// A01, A02, A10. Goal: one credit, whatever is repeated. Method: push at every stage, several at once.
#[tokio::test]
async fn a_payment_is_credited_once_however_often_it_is_pushed() {
    let world = World::start().await;
    let node = world.node().await;
    node.tick().await;
    let payment = world.present(&key(1), PRICE).await;
    tokio::join!(node.step(payment.id), node.step(payment.id), node.step(payment.id));
    assert_eq!(world.chain.pooled(), 1);
    // Sent is no evidence.
    node.tick().await;
    node.step(payment.id).await;
    assert_eq!(world.payment(payment.id).await.state, PaymentState::Settling);

    world.chain.mine();
    node.drive(&world, payment.id, PaymentState::Credited).await;
    for _ in 0..3 {
        node.tick().await;
        tokio::join!(node.step(payment.id), node.step(payment.id));
    }
    let credited = world.payment(payment.id).await;
    assert_eq!((credited.credits, credited.block_number), (1, Some(1)));
    assert_eq!(credited.response.as_ref().unwrap()["tier"], "prototype");
    assert_eq!(world.balance(AccountRef::x402_clearing(NETWORK)).await, UsdMicros(-PRICE.0));
    let (_, exposure) = AccountRef::exposure(NETWORK);
    assert_eq!(world.balance(exposure.clone()).await, PRICE);

    // B05: the exposure ends with finality, 20 blocks below the head.
    for _ in 0..22 {
        world.chain.mine();
    }
    let finalized = async || {
        node.tick().await;
        world.payment(payment.id).await.finalized_at.is_some()
    };
    assert!(eventually(finalized).await);
    assert_eq!(world.balance(exposure).await, UsdMicros::ZERO);
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

// A14, A27. Goal: a stranger submitting the authorisation first changes nothing. Method: submit it before our
// lane does.
#[tokio::test]
async fn an_authorisation_that_a_stranger_submits_is_credited_all_the_same() {
    let world = World::start().await;
    let node = world.node().await;
    node.tick().await;
    let payment = world.present(&key(1), PRICE).await;
    submit_as_stranger(&world, &payment).await;
    world.chain.mine();
    // Before the watcher has scanned, the lane's refusal is no verdict.
    node.step(payment.id).await;
    assert_eq!(world.payment(payment.id).await.state, PaymentState::Verified);
    node.drive(&world, payment.id, PaymentState::Credited).await;
    assert!(world.store.chain_txs_of_intent(payment.id.0).await.unwrap().is_empty());
    let suspense = AccountRef::suspense(NETWORK);
    assert_eq!(world.balance(suspense).await, UsdMicros::ZERO);
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

// A11, A12. Goal: a payment is not judged by a block that only some of the nodes show yet. Method: calls already
// answer from the next block while the head and the watcher are at the one before; then that block comes.
#[tokio::test]
async fn a_used_authorisation_whose_block_is_still_being_made_is_waited_for() {
    let world = World::start().await;
    let node = world.node().await;
    node.tick().await;
    let payment = world.present(&key(1), PRICE).await;
    node.step(payment.id).await;
    node.tick().await;
    world.chain.show_next(true);
    node.step(payment.id).await;
    assert_eq!(world.payment(payment.id).await.state, PaymentState::Settling);
    world.chain.show_next(false);
    world.chain.mine();
    node.drive(&world, payment.id, PaymentState::Credited).await;
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

// A12, A16, B19. Goal: failure and expiry are what the chain shows, on the chain's time. Method: an empty
// wallet; then our clock past the window with the chain's before it; then the chain's past it as well.
#[tokio::test]
async fn only_the_chain_says_that_a_payment_failed_or_expired() {
    let world = World::start().await;
    let node = world.node().await;
    node.tick().await;
    let empty = world.present_unfunded(&key(1), PRICE).await;
    node.step(empty.id).await;
    let failed = world.payment(empty.id).await;
    assert_eq!(failed.state, PaymentState::Failed);
    assert_eq!(failed.failure.unwrap().code, "insufficient_funds");

    let late = world.present(&key(2), PRICE).await;
    world.chain.fail_send(chain::fake::SendFault::Lost);
    node.step(late.id).await;
    world.advance_secs(100_000);
    world.chain.mine();
    node.tick().await;
    node.step(late.id).await;
    assert_eq!(world.payment(late.id).await.state, PaymentState::Settling, "our clock is no evidence");
    world.chain.skip_secs(320);
    world.chain.mine();
    node.drive(&world, late.id, PaymentState::Expired).await;
    let customer = AccountRef::customer(late.account, Currency::TestUsd);
    assert_eq!(world.balance(customer).await, UsdMicros::ZERO);
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

/// A payment in the block after the one with the money that it pays from, which is offered again by what comes third.
async fn mined_after_its_money(world: &World) -> (Node, PaymentRow, Vec<u8>) {
    let node = world.node().await;
    node.tick().await;
    let payer = Payer::new([1; 32]).unwrap();
    let money = payer.mint(NETWORK, 0, PRICE).await.unwrap();
    world.chain.offer(&money);
    world.chain.mine();
    let payment = world.present_unfunded(&key(1), PRICE).await;
    assert_eq!(payment.key.payer, payer.address());
    node.step(payment.id).await;
    world.chain.mine();
    (node, payment, money)
}

// B03. Goal: a payment whose payer lost, with the same reorganisation, what it paid from is made good once that
// is back. Method: drop the block with both; what the lane sends again reverts; then the payer has money again.
#[tokio::test]
async fn a_payment_that_was_dropped_with_its_payers_money_is_made_good_when_that_is_back() {
    let world = World::start().await;
    let (node, payment, money) = mined_after_its_money(&world).await;
    node.drive(&world, payment.id, PaymentState::Credited).await;

    world.chain.reorg(2, Dropped::Gone);
    world.chain.mine();
    node.drive(&world, payment.id, PaymentState::Settling).await;
    world.advance_secs(6);
    node.lane_step().await;
    assert_eq!(world.chain.pooled(), 1, "the same bytes again");
    world.chain.mine();
    // It reverted: the lane notes it, and the payment stays open.
    for _ in 0..3 {
        node.lane_step().await;
        node.tick().await;
        node.step(payment.id).await;
        assert_eq!(world.payment(payment.id).await.state, PaymentState::Settling);
        world.chain.mine();
    }
    assert_eq!(world.balance(AccountRef::x402_clearing(NETWORK)).await, UsdMicros::ZERO);

    world.chain.offer(&money);
    world.chain.mine();
    node.step(payment.id).await;
    world.chain.mine();
    node.drive(&world, payment.id, PaymentState::Credited).await;
    assert_eq!(world.payment(payment.id).await.credits, 2);
    let attempts = world.store.chain_txs_of_intent(payment.id.0).await.unwrap();
    assert_eq!(attempts.iter().map(|a| a.succeeded).collect::<Vec<_>>()[0], Some(false), "{attempts:?}");
    assert_eq!(world.balance(AccountRef::x402_clearing(NETWORK)).await, UsdMicros(-PRICE.0));
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

// B03. Goal: the same when the chain mines the lane's bytes again before the lane looks, so that its nonce is as
// used as before. Method: drop the block with payer's money and payment, and have a stranger offer the bytes.
#[tokio::test]
async fn a_payment_that_is_mined_again_to_no_effect_is_made_good_when_its_money_is_back() {
    let world = World::start().await;
    let (node, payment, money) = mined_after_its_money(&world).await;
    node.lane_step().await;
    node.drive(&world, payment.id, PaymentState::Credited).await;
    let attempts = world.store.chain_txs_of_intent(payment.id.0).await.unwrap();
    assert_eq!(attempts[0].succeeded, Some(true));

    world.chain.reorg(2, Dropped::Gone);
    world.chain.send_raw(&attempts[0].raw).await.unwrap();
    world.chain.mine();
    assert_eq!(world.chain.pooled(), 0, "mined, and reverted");
    node.drive(&world, payment.id, PaymentState::Settling).await;
    for _ in 0..3 {
        node.lane_step().await;
        node.step(payment.id).await;
        world.chain.mine();
    }
    assert_eq!(world.payment(payment.id).await.state, PaymentState::Settling);

    world.chain.offer(&money);
    world.chain.mine();
    node.step(payment.id).await;
    world.chain.mine();
    node.drive(&world, payment.id, PaymentState::Credited).await;
    let attempts = world.store.chain_txs_of_intent(payment.id.0).await.unwrap();
    assert_eq!(attempts.iter().map(|a| a.succeeded).collect::<Vec<_>>(), [Some(false), None]);
    assert_eq!(world.balance(AccountRef::x402_clearing(NETWORK)).await, UsdMicros(-PRICE.0));
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

// B05. Goal: above the limit nothing is credited below its level. Method: 26 dollars, block by block.
#[tokio::test]
async fn a_large_payment_waits_for_a_safe_block() {
    let world = World::start().await;
    let node = world.node().await;
    node.tick().await;
    let payment = world.present(&key(1), UsdMicros(26_000_000)).await;
    node.step(payment.id).await;
    world.chain.mine();
    for _ in 0..9 {
        node.tick().await;
        node.step(payment.id).await;
        assert_eq!(world.payment(payment.id).await.state, PaymentState::Settling);
        world.chain.mine();
    }
    world.chain.mine();
    node.drive(&world, payment.id, PaymentState::Credited).await;
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}
