use chain::fake::SendFault;
use chain::lane::{Slot, erc20_transfer, sign};
use chain::rpc::{ChainRpc, Fees};
use chain::signer::Signer;
use store::StoreError;
use store::chain_txs::{Purpose, TxState};
use store::payments::PaymentState;
use store::{Claimed, Fence};
use types::{LaneId, UsdMicros, Wallet};

use super::state::LaneState;
use super::{Reply, Request, handlers, settlement_lane};
use crate::kit::ActorError;
use crate::testing::{NETWORK, Node, PRICE, World, key};

async fn claim(node: &Node, lane: LaneId) -> Fence {
    match node.deps.store.claim("wallet", lane.0, node.deps.node).await.unwrap() {
        Claimed::Ours(fence) => fence,
        Claimed::Theirs(peer) => panic!("held by {peer:?}"),
    }
}

// A32, B14. Goal: no nonce for a superseded lane. Method: load it, claim it again, use the first.
#[tokio::test]
async fn a_superseded_lane_cannot_reserve_a_nonce() {
    let world = World::start().await;
    let node = world.node().await;
    let lane = settlement_lane(&node.deps, NETWORK).unwrap();
    let fence = claim(&node, lane).await;
    let mut old = LaneState::load(&node.deps, lane, fence).await.unwrap();
    let fence = claim(&node, lane).await;
    let mut new = LaneState::load(&node.deps, lane, fence).await.unwrap();
    let payment = world.present(&key(1), PRICE).await;

    let refused = handlers::on_settle(&node.deps, &mut old, payment.id).await.unwrap_err();
    assert!(matches!(refused, ActorError::Store(StoreError::Fenced)), "{refused:?}");
    assert_eq!(world.payment(payment.id).await.state, PaymentState::Verified);
    assert_eq!(world.store.lane_find(lane).await.unwrap().unwrap().next_nonce, 0);
    assert_eq!(world.chain.pooled(), 0);

    let sent = handlers::on_settle(&node.deps, &mut new, payment.id).await.unwrap();
    assert!(matches!(sent, Reply::Sent { .. }));
    assert_eq!(world.store.lane_find(lane).await.unwrap().unwrap().next_nonce, 1);
    assert_eq!(world.chain.pooled(), 1);
    node.stop().await;
    world.stop().await;
}

// A28, A32. Goal: what was intended is sent, unchanged, by whoever comes next. Method: lose the broadcast,
// end the node, start another.
#[tokio::test]
async fn a_crash_between_intended_and_sent_sends_the_same_bytes() {
    let world = World::start().await;
    let first = world.node().await;
    let payment = world.present(&key(1), PRICE).await;
    world.chain.fail_send(SendFault::Lost);
    first.lane(Request::Settle { payment: payment.id }).await.unwrap();
    let before = world.store.chain_txs_of_intent(payment.id.0).await.unwrap();
    assert_eq!((before.len(), before[0].state), (1, TxState::Intended));
    assert_eq!(world.payment(payment.id).await.state, PaymentState::Settling);
    assert_eq!(world.chain.pooled(), 0);
    first.stop().await;

    let second = world.node().await;
    second.lane(Request::Settle { payment: payment.id }).await.unwrap();
    let after = world.store.chain_txs_of_intent(payment.id.0).await.unwrap();
    assert_eq!(after.len(), 1, "never a second nonce");
    assert_eq!((after[0].nonce, &after[0].raw), (before[0].nonce, &before[0].raw));
    assert_eq!(world.chain.pooled(), 1);
    world.chain.mine();
    second.lane_step().await;
    let mined = world.store.chain_txs_of_intent(payment.id.0).await.unwrap();
    assert_eq!((mined[0].state, mined[0].succeeded), (TxState::Mined, Some(true)));
    second.stop().await;
    world.stop().await;
}

// A18, A34. Goal: a payer whose account burns gas costs us none. Method: price the call above the limit.
#[tokio::test]
async fn a_transfer_that_takes_too_much_gas_is_never_sent() {
    let world = World::start().await;
    let node = world.node().await;
    let payment = world.present(&key(1), PRICE).await;
    world.chain.price_calls(300_001);
    let Reply::Refused { reason } = node.lane(Request::Settle { payment: payment.id }).await.unwrap() else {
        panic!("it was sent");
    };
    assert!(reason.contains("300001 gas"), "{reason}");
    assert_eq!(world.chain.pooled(), 0);
    world.chain.price_calls(300_000);
    let sent = node.lane(Request::Settle { payment: payment.id }).await.unwrap();
    assert!(matches!(sent, Reply::Sent { .. }), "{sent:?}");
    node.stop().await;
    world.stop().await;
}

/// The payer moves its money away behind our back.
async fn empty(world: &World, payer: u8, nonce: u64) {
    let signer = key(payer);
    let fees = Fees { max_fee_per_gas: 9_000_000, max_priority_fee_per_gas: 9_000_000 };
    let slot = Slot { network: NETWORK, nonce, gas_limit: 90_000, fees };
    let effect = erc20_transfer(chain::asset::usdc(NETWORK).address, Wallet([5; 20]), PRICE).unwrap();
    let signed = sign(&effect.at(slot), &signer).await.unwrap();
    world.chain.send_raw(&signed.raw).await.unwrap();
}

// B21, A12, A32. Goal: a nonce is bid up while its effect still works, and filled with nothing when it does
// not; the next one is not blocked. Method: let the node forget what it took, and let the second payer empty
// its wallet.
#[tokio::test]
async fn a_stuck_nonce_is_bid_up_or_cancelled_and_never_skipped() {
    let world = World::start().await;
    let node = world.node().await;
    let stuck = world.present(&key(1), PRICE).await;
    let hopeless = world.present(&key(2), PRICE).await;
    let behind = world.present(&key(3), PRICE).await;
    for payment in [&stuck, &hopeless] {
        world.chain.fail_send(SendFault::Forgotten);
        node.lane(Request::Settle { payment: payment.id }).await.unwrap();
    }
    node.lane(Request::Settle { payment: behind.id }).await.unwrap();
    empty(&world, 2, 0).await;
    world.chain.mine();
    assert_eq!(world.chain.pooled(), 1, "the third waits for the first two");

    world.advance_secs(25);
    node.lane_step().await;
    world.chain.mine();
    node.lane_step().await;
    let attempts = |id: types::PaymentId| world.store.chain_txs_of_intent(id.0);
    let bumped = attempts(stuck.id).await.unwrap();
    assert_eq!(bumped.iter().map(|a| a.nonce).collect::<Vec<_>>(), [0, 0]);
    assert_eq!(bumped.iter().map(|a| a.state).collect::<Vec<_>>(), [TxState::Replaced, TxState::Mined]);
    assert!(bumped[1].max_fee_wei > bumped[0].max_fee_wei);
    let cancelled = attempts(hopeless.id).await.unwrap();
    assert_eq!(cancelled.iter().map(|a| a.nonce).collect::<Vec<_>>(), [1, 1]);
    assert_eq!((cancelled[1].purpose, cancelled[1].state), (Purpose::Cancel, TxState::Mined));
    assert!(attempts(behind.id).await.unwrap().iter().any(|a| a.succeeded == Some(true)));

    node.drive(&world, stuck.id, PaymentState::Credited).await;
    node.drive(&world, behind.id, PaymentState::Credited).await;
    node.drive(&world, hopeless.id, PaymentState::Failed).await;
    assert_eq!(node.deps.chains.get(NETWORK).unwrap().fee_payer.address(), key(7).address());
    assert_eq!(
        world.balance(store::ledger::AccountRef::x402_clearing(NETWORK)).await,
        UsdMicros(-2 * PRICE.0)
    );
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}
