use super::*;
use crate::{
    asset,
    fake::{Dropped, FakeChain, SendFault},
    lane::{self, Slot, erc20_transfer},
    rpc::self_check,
    signer::{KeySecret, LocalSigner, Signer},
};
use types::UsdMicros;

const NETWORK: Network = Network::BaseSepolia;
const US: Wallet = Wallet([1; 20]);

/// Nodes that agree so far, and the quorum over them.
fn nodes(count: usize) -> (Vec<Arc<FakeChain>>, QuorumRpc) {
    let all: Vec<_> = (0..count).map(|_| Arc::new(FakeChain::new(NETWORK, 1000))).collect();
    let rpcs = all.iter().map(|node| node.clone() as Arc<dyn ChainRpc>).collect();
    (all, QuorumRpc::new(NETWORK, rpcs))
}

/// A plain transfer to us of a payer that every node knows to be rich.
async fn transfer(nodes: &[Arc<FakeChain>]) -> Vec<u8> {
    let payer = LocalSigner::new(&KeySecret::new(Box::new([5; 32]))).unwrap();
    nodes.iter().for_each(|node| node.fund(payer.address(), UsdMicros(7)));
    let effect = erc20_transfer(asset::usdc(NETWORK).address, US, UsdMicros(7)).unwrap();
    let fees = Fees { max_fee_per_gas: 1000, max_priority_fee_per_gas: 100 };
    let slot = Slot { network: NETWORK, nonce: 0, gas_limit: 100_000, fees };
    lane::sign(&effect.at(slot), &payer).await.unwrap().raw
}

fn everything(to: u64) -> ScanQuery {
    ScanQuery { from: 0, to, asset: asset::usdc(NETWORK).address, payees: vec![US] }
}

// B10.
#[tokio::test]
async fn the_head_is_the_highest_block_that_a_majority_has() {
    let (two, both) = nodes(2);
    self_check(&both).await.unwrap();
    two[0].mine();
    two[0].mine();
    two[1].mine();
    assert_eq!(both.head().await.unwrap().number, 1, "the lower of two");
    assert_eq!(both.block(2).await, Ok(None), "what one node has is not known");
    let (three, most) = nodes(3);
    three[0].mine();
    three[1].mine();
    assert_eq!(most.head().await.unwrap().number, 1, "a node that lags does not stop two");
    three[1].fail_reads(1);
    assert_eq!(most.head().await.unwrap().number, 0, "two are left, and one of them lags");
    three.iter().for_each(|node| node.fail_reads(1));
    assert!(matches!(most.head().await, Err(RpcError::Unavailable(_))));
}

// B10. Goal: money that only one of two nodes shows is never seen. Method: a transfer that one of them mines.
#[tokio::test]
async fn a_minority_is_never_believed_and_a_lasting_contradiction_is_an_alarm() {
    let (two, both) = nodes(2);
    let raw = transfer(&two).await;
    two[0].send_raw(&raw).await.unwrap();
    two.iter().for_each(|node| _ = node.mine());
    assert_eq!(two[0].authorizations(&everything(1)).await.unwrap().len(), 1);
    assert_eq!(both.head().await, Err(RpcError::Moved), "the tip may differ for a moment");
    let strict = both.with_grace(Duration::ZERO);
    assert_eq!(strict.head().await, Err(RpcError::Disagreement { block: 1 }));
    assert_eq!(strict.authorizations(&everything(1)).await, Err(RpcError::Disagreement { block: 1 }));

    // One of them gives in.
    two[0].reorg(1, Dropped::Gone);
    two[1].reorg(1, Dropped::Gone);
    assert_eq!(strict.head().await.unwrap().number, 1);
    assert_eq!(strict.authorizations(&everything(1)).await, Ok(Vec::new()));

    let (three, most) = nodes(3);
    let raw = transfer(&three).await;
    three[..2].iter().for_each(|node| drop(futures::executor::block_on(node.send_raw(&raw))));
    three.iter().for_each(|node| _ = node.mine());
    assert_eq!(most.authorizations(&everything(1)).await.unwrap().len(), 1, "two of three are enough");
}

#[tokio::test]
async fn a_broadcast_goes_to_all_and_the_best_answer_counts() {
    let (two, both) = nodes(2);
    let raw = transfer(&two).await;
    two[0].fail_send(SendFault::Lost);
    assert_eq!(both.send_raw(&raw).await, Ok(Broadcast::Accepted));
    assert_eq!((two[0].pooled(), two[1].pooled()), (0, 1));
    assert_eq!(both.send_raw(&raw).await, Ok(Broadcast::Accepted));
    assert_eq!(both.send_raw(&raw).await, Ok(Broadcast::AlreadyKnown));
    let hash = alloy::primitives::keccak256(&raw).0;
    two[0].mine();
    assert_eq!(both.receipt(hash).await, Ok(None), "one node's receipt is none");
    two[1].mine();
    assert!(both.receipt(hash).await.unwrap().unwrap().succeeded);
    let asset = asset::usdc(NETWORK).address;
    assert_eq!(both.usdc_balance(asset, US).await, Ok(UsdMicros(7)));
    two[0].fund(US, UsdMicros(1));
    assert_eq!(both.usdc_balance(asset, US).await, Err(RpcError::Moved));
}
