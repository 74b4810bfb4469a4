use super::*;
use crate::{
    lane::{self, SignedTx, Slot},
    rpc::self_check,
    signer::{KeySecret, LocalSigner, Signer},
    x402::{verify::signing_digest, wire::Authorization},
};

const NETWORK: Network = Network::BaseSepolia;
const US: Wallet = Wallet([1; 20]);

fn signer(seed: u8) -> LocalSigner {
    LocalSigner::new(&KeySecret::new(Box::new([seed; 32]))).unwrap()
}

/// A payment of `amount` by the key of `seed`, settled by the lane under `nonce`.
async fn settle(seed: u8, amount: i64, nonce: u64) -> SignedTx {
    let payer = signer(seed);
    let authorization = Authorization {
        from: payer.address(),
        to: US,
        value: UsdMicros(amount),
        valid_after: 0,
        valid_before: 10_000,
        nonce: [seed; 32],
    };
    let signature = payer.sign_digest(signing_digest(&authorization, NETWORK)).await.unwrap();
    let asset = asset::usdc(NETWORK).address;
    let effect = lane::transfer_with_authorization(asset, &authorization, &signature).unwrap();
    let fees = Fees { max_fee_per_gas: 1000, max_priority_fee_per_gas: 100 };
    let slot = Slot { network: NETWORK, nonce, gas_limit: 100_000, fees };
    lane::sign(&effect.at(slot), &signer(0x77)).await.unwrap()
}

async fn seen(chain: &FakeChain) -> Vec<Sighting> {
    let to = chain.head().await.unwrap().number;
    let query = ScanQuery { from: 0, to, asset: asset::usdc(NETWORK).address, payees: vec![US] };
    chain.authorizations(&query).await.unwrap()
}

#[tokio::test]
async fn a_settlement_is_seen_once_and_follows_a_reorganisation() {
    let chain = FakeChain::new(NETWORK, 1000);
    self_check(&chain).await.unwrap();
    chain.fund(signer(1).address(), UsdMicros(7));
    let tx = settle(1, 7, 0).await;
    assert_eq!(chain.send_raw(&tx.raw).await, Ok(Broadcast::Accepted));
    assert_eq!(chain.send_raw(&tx.raw).await, Ok(Broadcast::AlreadyKnown));
    assert_eq!(seen(&chain).await, []);
    let mined = chain.mine();
    let [sighting] = seen(&chain).await[..] else { panic!("one sighting") };
    assert_eq!((sighting.nonce(), sighting.amount, sighting.tx_hash), (Some([1; 32]), UsdMicros(7), tx.hash));
    assert!(chain.receipt(tx.hash).await.unwrap().unwrap().succeeded);

    chain.reorg(1, Dropped::Pooled);
    assert_eq!(seen(&chain).await, []);
    assert_ne!(chain.block(1).await.unwrap().unwrap().hash, mined.hash);
    let again = chain.mine();
    assert_eq!(seen(&chain).await[0].block_hash, again.hash);
    chain.reorg(1, Dropped::Remined);
    assert_eq!(seen(&chain).await.len(), 1);
    chain.skip_secs(60);
    let late = chain.mine();
    chain.skip_secs(5);
    assert_eq!(chain.reorg(3, Dropped::Gone).timestamp, late.timestamp, "time is not taken back");
    assert_eq!(chain.mine().timestamp, late.timestamp + 7);
    assert_eq!((seen(&chain).await, chain.pooled()), (vec![], 0));
    assert_eq!(chain.nonce(signer(0x77).address(), NonceAt::Latest).await, Ok(0));
}

#[tokio::test]
async fn nonces_bids_and_reverts_are_as_on_a_chain() {
    let chain = FakeChain::new(NETWORK, 1000);
    chain.fund(signer(1).address(), UsdMicros(7));
    let (first, second) = (settle(1, 7, 0).await, settle(2, 7, 1).await);
    chain.send_raw(&second.raw).await.unwrap();
    chain.mine();
    assert_eq!(chain.pooled(), 1, "a gap waits");
    chain.send_raw(&first.raw).await.unwrap();
    assert_eq!(chain.send_raw(&settle(3, 7, 0).await.raw).await, Ok(Broadcast::Underpriced));
    chain.mine();
    assert_eq!(seen(&chain).await.len(), 1);
    assert!(!chain.receipt(second.hash).await.unwrap().unwrap().succeeded, "the second payer is poor");
    assert_eq!(chain.send_raw(&settle(3, 7, 0).await.raw).await, Ok(Broadcast::NonceTooLow));
    assert!(matches!(chain.send_raw(&[1, 2]).await, Ok(Broadcast::Refused(_))));
}

#[tokio::test]
async fn a_node_may_lose_or_forget_what_it_is_told() {
    let chain = FakeChain::new(NETWORK, 1000);
    let tx = settle(1, 7, 0).await;
    for (fault, answered, pooled) in
        [(SendFault::Lost, false, 0), (SendFault::Forgotten, true, 0), (SendFault::Unanswered, false, 1)]
    {
        chain.fail_send(fault);
        assert_eq!(chain.send_raw(&tx.raw).await.is_ok(), answered, "{fault:?}");
        assert_eq!(chain.pooled(), pooled, "{fault:?}");
    }
    chain.fail_reads(2);
    assert!(chain.head().await.is_err() && chain.chain_id().await.is_err() && chain.head().await.is_ok());
}
