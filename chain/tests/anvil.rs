//! The crate against a real node: a child anvil with our test USDC at its canonical address.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use alloy::providers::{Provider, ProviderBuilder, RootProvider};
use chain::{
    alloy_rpc::AlloyRpc,
    asset,
    lane::{self, Effect, SignedTx, Slot},
    rpc::{Broadcast, CallRequest, ChainRpc, Fees, Head, NonceAt, RpcError, self_check},
    scan::{Evidence, ScanQuery, Sighting},
    signer::{KeySecret, LocalSigner, Signer},
    x402::{
        Offer, SCHEME,
        verify::{SimulateError, check, signing_digest, simulate},
        wire::{Authorization, Presented, Requirements, Version},
    },
};
use serde_json::{Value, json};
use types::{Network, UsdMicros, Wallet};

const NETWORK: Network = Network::BaseSepolia;
const PRICE: UsdMicros = UsdMicros(100_000);
const READY_SECS_MAX: u64 = 20;

/// The nearest `.tools` folder above this crate; `cargo xtask tools` fills it.
fn anvil_program() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tools = crate_folder.ancestors().map(|folder| folder.join(".tools")).find(|t| t.is_dir());
    let tools = tools.expect("no .tools above this crate: run `cargo xtask tools`");
    let list = std::fs::read_to_string(tools.join("tools.json")).expect("run `cargo xtask tools`");
    let list: Value = serde_json::from_str(&list).unwrap();
    tools.join(list["anvil"]["program"].as_str().expect("anvil is not installed: run `cargo xtask tools`"))
}

fn artefact() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("contracts/TestUsdc.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the artefact is committed")).unwrap()
}

/// A chain with funded actors; blocks come when asked for. Ends its anvil when dropped.
struct Lab {
    child: Child,
    node: RootProvider,
    rpc: AlloyRpc,
    lane: LocalSigner,
    payer: LocalSigner,
    payee: Wallet,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn key(seed: u8) -> LocalSigner {
    LocalSigner::new(&KeySecret::new(Box::new([seed; 32]))).unwrap()
}

impl Lab {
    async fn start(chain_id: u64) -> Self {
        // Bound and let go: free a moment ago, and only loopback.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(anvil_program())
            .args(["--host", "127.0.0.1", "--no-mining", "--silent", "--accounts", "0"])
            .args(["--port", &port.to_string(), "--chain-id", &chain_id.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let node = ProviderBuilder::new().disable_recommended_fillers().connect_http(url.parse().unwrap());
        let rpc = AlloyRpc::new(NETWORK, &url).unwrap();
        let lab = Self { child, node, rpc, lane: key(0x77), payer: key(0x55), payee: Wallet([0x11; 20]) };
        tokio::time::timeout(Duration::from_secs(READY_SECS_MAX), async {
            while lab.node.get_chain_id().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .expect("anvil answers in time");
        lab
    }

    async fn with_usdc() -> Self {
        let lab = Self::start(NETWORK.chain_id()).await;
        let code = artefact()["deployedBytecode"].clone();
        lab.cheat("anvil_setCode", json!([usdc(), code])).await;
        // Slot 0 holds the faucet, which may mint.
        let faucet = format!("0x{:0>64}", &lab.lane.address().to_string()[2..]);
        lab.cheat("anvil_setStorageAt", json!([usdc(), "0x0", faucet])).await;
        lab.cheat("anvil_setBalance", json!([lab.lane.address(), "0xde0b6b3a7640000"])).await;
        lab.mine().await;
        let mint = lane::mint(usdc(), lab.payer.address(), UsdMicros(1_000_000)).unwrap();
        lab.run(mint).await;
        lab
    }

    async fn cheat(&self, method: &'static str, params: Value) {
        let _: Value = self.node.raw_request(method.into(), params).await.unwrap();
    }

    async fn mine(&self) -> Head {
        self.cheat("anvil_mine", json!(["0x1"])).await;
        self.rpc.head().await.unwrap()
    }

    async fn sign(&self, effect: Effect, gas_limit: u64) -> SignedTx {
        let nonce = self.rpc.nonce(self.lane.address(), NonceAt::Pending).await.unwrap();
        let slot = Slot { network: NETWORK, nonce, gas_limit, fees: self.rpc.fees().await.unwrap() };
        lane::sign(&effect.at(slot), &self.lane).await.unwrap()
    }

    /// Sends and mines; says whether it succeeded.
    async fn run(&self, effect: Effect) -> bool {
        let tx = self.sign(effect, 200_000).await;
        assert_eq!(self.rpc.send_raw(&tx.raw).await, Ok(Broadcast::Accepted));
        assert_eq!(self.rpc.receipt(tx.hash).await, Ok(None));
        let head = self.mine().await;
        let receipt = self.rpc.receipt(tx.hash).await.unwrap().expect("it was mined");
        assert_eq!((receipt.block_hash, receipt.block_number), (head.hash, head.number));
        receipt.succeeded
    }

    fn offer(&self) -> Offer {
        Offer { network: NETWORK, amount: PRICE, pay_to: self.payee, max_timeout_secs: 300 }
    }

    /// What a client would present now, its window moved by `shift_secs`.
    async fn present(&self, nonce: u8, shift_secs: i64) -> Presented {
        let now = self.rpc.head().await.unwrap().timestamp;
        let authorization = Authorization {
            from: self.payer.address(),
            to: self.payee,
            value: PRICE,
            valid_after: now.saturating_sub(600).checked_add_signed(shift_secs).unwrap(),
            valid_before: (now + 300).checked_add_signed(shift_secs).unwrap(),
            nonce: [nonce; 32],
        };
        let digest = signing_digest(&authorization, NETWORK);
        Presented {
            identifier: None,
            version: Version::V2,
            scheme: SCHEME.to_owned(),
            network: NETWORK,
            accepted: Some(Requirements::from(&self.offer())),
            resource_url: None,
            authorization,
            signature: self.payer.sign_digest(digest).await.unwrap().to_vec(),
        }
    }

    async fn simulate(&self, presented: &Presented) -> Result<(), SimulateError> {
        simulate(&self.rpc, &self.offer(), presented, self.lane.address()).await
    }

    async fn seen(&self, from: u64) -> Vec<Sighting> {
        let to = self.rpc.head().await.unwrap().number;
        let query = ScanQuery { from, to, asset: usdc(), payees: vec![self.payee] };
        self.rpc.authorizations(&query).await.unwrap()
    }
}

fn usdc() -> Wallet {
    asset::usdc(NETWORK).address
}

fn settle(presented: &Presented) -> Effect {
    lane::transfer_with_authorization(usdc(), &presented.authorization, &presented.signature).unwrap()
}

#[tokio::test]
async fn a_payment_is_verified_settled_and_seen_once() {
    let lab = Lab::with_usdc().await;
    self_check(&lab.rpc).await.unwrap();
    let presented = lab.present(1, 0).await;
    let now = lab.rpc.head().await.unwrap().timestamp;
    assert_eq!(check(&presented, &[lab.offer()], now), Ok(&lab.offer()));
    lab.simulate(&presented).await.unwrap();
    let gas = lab.rpc.estimate_gas(&settle(&presented).as_call(lab.lane.address())).await.unwrap();
    assert!((40_000..150_000).contains(&gas), "{gas}");

    assert!(lab.run(settle(&presented)).await);
    let [found] = lab.seen(0).await[..] else { panic!("one sighting") };
    let head = lab.rpc.head().await.unwrap();
    assert_eq!(found.evidence, Evidence::Authorization { nonce: [1; 32] });
    assert_eq!((found.payer, found.pay_to, found.amount), (lab.payer.address(), lab.payee, PRICE));
    assert_eq!((found.block_hash, found.timestamp), (head.hash, head.timestamp));
    assert_eq!(lab.rpc.usdc_balance(usdc(), lab.payee).await, Ok(PRICE));

    // The same proof again: the chain knows, before and after it is sent.
    assert!(matches!(lab.simulate(&presented).await, Err(SimulateError::AlreadyUsed)));
    assert!(!lab.run(settle(&presented)).await);
    assert_eq!(lab.seen(0).await.len(), 1);

    // A plain transfer is money without a purpose.
    lab.run(lane::mint(usdc(), lab.lane.address(), UsdMicros(5)).unwrap()).await;
    lab.run(lane::erc20_transfer(usdc(), lab.payee, UsdMicros(5)).unwrap()).await;
    let seen = lab.seen(0).await;
    assert_eq!((seen.len(), seen[1].evidence, seen[1].amount), (2, Evidence::Direct, UsdMicros(5)));
}

#[tokio::test]
async fn the_chain_refuses_what_we_refuse() {
    let lab = Lab::with_usdc().await;
    let head = lab.rpc.head().await.unwrap();
    let offers = [lab.offer()];
    for shift_secs in [-301, 601 + 60] {
        let presented = lab.present(1, shift_secs).await;
        assert!(check(&presented, &offers, head.timestamp).is_err(), "{shift_secs}");
        let refused = lab.simulate(&presented).await.unwrap_err();
        assert!(matches!(&refused, SimulateError::Reverted(why) if why.contains("authorization is")));
        assert!(!lab.run(settle(&presented)).await);
    }

    let mut malleated = lab.present(2, 0).await;
    let order = alloy::primitives::U256::from_be_bytes(alloy::hex!(
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
    ));
    let s = alloy::primitives::U256::from_be_slice(&malleated.signature[32..64]);
    malleated.signature[32..64].copy_from_slice(&(order - s).to_be_bytes::<32>());
    malleated.signature[64] ^= 27 ^ 28;
    assert!(check(&malleated, &offers, head.timestamp).is_err());
    let refused = lab.simulate(&malleated).await.unwrap_err();
    assert!(matches!(&refused, SimulateError::Reverted(why) if why.contains("'s' value")), "{refused}");

    let mut poor = lab.present(3, 0).await;
    poor.authorization.from = Wallet([9; 20]);
    assert!(matches!(lab.simulate(&poor).await, Err(SimulateError::Insufficient { .. })));
    let paused = CallRequest { from: None, to: usdc(), data: vec![0x84, 0x56, 0xcb, 0x59] };
    let refused = lab.rpc.call(&paused).await;
    assert!(matches!(refused, Err(RpcError::Reverted(why)) if why.contains("not the faucet")));
    assert_eq!(lab.seen(0).await, []);
}

#[tokio::test]
async fn a_node_names_what_is_wrong_with_signed_bytes() {
    let lab = Lab::with_usdc().await;
    let tx = lab.sign(settle(&lab.present(1, 0).await), 200_000).await;
    assert_eq!(lab.rpc.send_raw(&tx.raw).await, Ok(Broadcast::Accepted));
    assert_eq!(lab.rpc.send_raw(&tx.raw).await, Ok(Broadcast::AlreadyKnown));

    // A fee bump replaces it; a bid that is no higher does not.
    let nonce = lab.rpc.nonce(lab.lane.address(), NonceAt::Latest).await.unwrap();
    let fees = lab.rpc.fees().await.unwrap();
    let slot = Slot { network: NETWORK, nonce, gas_limit: 200_000, fees };
    let bid = settle(&lab.present(1, 0).await).at(slot);
    let mut lower = bid.clone();
    lower.fees = Fees { max_fee_per_gas: fees.max_fee_per_gas - 1, ..fees };
    let lower = lane::sign(&lower, &lab.lane).await.unwrap();
    assert_eq!(lab.rpc.send_raw(&lower.raw).await, Ok(Broadcast::Underpriced));
    let bumped = lane::sign(&bid.bumped(fees), &lab.lane).await.unwrap();
    assert_eq!(lab.rpc.send_raw(&bumped.raw).await, Ok(Broadcast::Accepted));
    lab.mine().await;
    assert_eq!(lab.rpc.receipt(tx.hash).await, Ok(None));
    assert!(lab.rpc.receipt(bumped.hash).await.unwrap().unwrap().succeeded);
    assert_eq!(lab.rpc.send_raw(&tx.raw).await, Ok(Broadcast::NonceTooLow));
    assert_eq!(lab.seen(0).await.len(), 1, "one effect, whichever bid was mined");

    let poor = lane::sign(&bid, &key(0x33)).await.unwrap();
    assert_eq!(lab.rpc.send_raw(&poor.raw).await, Ok(Broadcast::OutOfGasMoney));
    assert!(matches!(lab.rpc.send_raw(&[2, 1]).await, Ok(Broadcast::Refused(_))));
}

// B01, and both ways of scanning.
#[tokio::test]
async fn a_reorganisation_changes_hashes_and_takes_sightings_away() {
    let lab = Lab::with_usdc().await;
    assert!(lab.run(settle(&lab.present(1, 0).await)).await);
    lab.cheat("anvil_mine", json!(["0x40"])).await;
    let head = lab.rpc.head().await.unwrap();
    let by_range = lab.seen(0).await;
    assert_eq!(by_range.len(), 1);
    let at = by_range[0].block_number;
    assert!(head.number - at >= 64);
    let query = ScanQuery { from: at, to: at, asset: usdc(), payees: vec![lab.payee] };
    assert_eq!(lab.rpc.authorizations(&query).await.unwrap(), by_range, "by hash as by range");
    let beyond = ScanQuery { to: head.number + 1, ..query.clone() };
    assert_eq!(lab.rpc.authorizations(&beyond).await, Err(RpcError::Moved));
    let (safe, finalized) = (lab.rpc.safe().await.unwrap(), lab.rpc.finalized().await.unwrap());
    assert!(finalized.unwrap().number <= safe.unwrap().number);

    lab.cheat("anvil_reorg", json!([head.number - at + 1, []])).await;
    assert_ne!(lab.rpc.block(at).await.unwrap().unwrap().hash, by_range[0].block_hash);
    assert_eq!(lab.seen(0).await, []);
    assert_eq!(lab.rpc.block(head.number + 1000).await, Ok(None));
}

// B13, B20.
#[tokio::test]
async fn a_wrong_chain_or_token_is_refused_at_the_start() {
    let (wrong, bare) = tokio::join!(Lab::start(8453), Lab::start(NETWORK.chain_id()));
    let refused = self_check(&wrong.rpc).await;
    assert_eq!(refused, Err(RpcError::WrongChain { wanted: 84532, found: 8453 }));
    assert_eq!(self_check(&bare.rpc).await, Err(RpcError::WrongAsset), "no code at the address");
    // A contract that answers every question with one word, as a token of another name would answer with its own.
    bare.cheat("anvil_setCode", json!([usdc(), "0x60aa60005260206000f3"])).await;
    assert_eq!(self_check(&bare.rpc).await, Err(RpcError::WrongAsset), "another domain");
    drop(bare);
    let nobody = AlloyRpc::new(NETWORK, "http://127.0.0.1:1").unwrap();
    assert!(matches!(self_check(&nobody).await, Err(RpcError::Unavailable(_))));
}
