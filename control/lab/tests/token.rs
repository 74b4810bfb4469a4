//! The test USDC keeps EIP-3009: what settles, what is refused, and with which words.

#![expect(clippy::too_many_arguments, reason = "the interface is the token's")]
#![expect(clippy::unwrap_used, reason = "in a test a panic is the report; helpers are not seen as tests")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use alloy::network::EthereumWallet;
use alloy::primitives::{Address, B256, Bytes, Signature, U256, address};
use alloy::providers::{DynProvider, Provider, ProviderBuilder};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use alloy::sol;
use alloy::sol_types::{Eip712Domain, SolStruct, eip712_domain};
use lab::{Lab, LabConfig};

sol! {
    #[sol(rpc)]
    interface Usdc {
        event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);
        event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);
        event Transfer(address indexed from, address indexed to, uint256 value);
        function name() external view returns (string);
        function version() external view returns (string);
        function decimals() external view returns (uint8);
        function totalSupply() external view returns (uint256);
        function balanceOf(address account) external view returns (uint256);
        function DOMAIN_SEPARATOR() external view returns (bytes32);
        function authorizationState(address authorizer, bytes32 nonce) external view returns (bool);
        function transfer(address to, uint256 value) external returns (bool);
        function approve(address spender, uint256 value) external returns (bool);
        function transferFrom(address from, address to, uint256 value) external returns (bool);
        function mint(address to, uint256 value) external;
        function pause() external;
        function unpause() external;
        function blacklist(address account) external;
        function unBlacklist(address account) external;
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter,
            uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external;
        function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter,
            uint256 validBefore, bytes32 nonce, bytes signature) external;
        function receiveWithAuthorization(address from, address to, uint256 value, uint256 validAfter,
            uint256 validBefore, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external;
        function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s)
            external;
    }

    #[derive(Debug)]
    struct TransferWithAuthorization {
        address from; address to; uint256 value; uint256 validAfter; uint256 validBefore; bytes32 nonce;
    }
    struct ReceiveWithAuthorization {
        address from; address to; uint256 value; uint256 validAfter; uint256 validBefore; bytes32 nonce;
    }
    struct CancelAuthorization { address authorizer; bytes32 nonce; }
}

const PAYEE: Address = address!("0x00000000000000000000000000000000000000fe");
const UNITS: u64 = 100_000;

/// A lab, its token, and a payer with ten USDC. The faucet sends every transaction.
struct World {
    lab: Lab,
    data: PathBuf,
    rpc: DynProvider,
    token: Usdc::UsdcInstance<DynProvider>,
    payer: PrivateKeySigner,
}

impl World {
    async fn new(name: &str) -> Self {
        let data = std::env::temp_dir().join(format!("run402-token-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&data);
        let chosen = std::env::var_os("RUN402_TOOLS_DIR").map(PathBuf::from);
        let tools = chosen.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools"));
        let chain_listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = LabConfig { data: data.clone(), tools: Some(tools), chain_listen, block_time_secs: 1 };
        let lab = Lab::start(config, &|_| {}).await.unwrap();
        let faucet: PrivateKeySigner = lab.endpoints().faucet_private_key.parse().unwrap();
        let rpc = ProviderBuilder::new()
            .wallet(EthereumWallet::from(faucet))
            .connect_http(lab.endpoints().chain_rpc.parse().unwrap())
            .erased();
        rpc.client().set_poll_interval(std::time::Duration::from_millis(100));
        // Blocks on demand: the tests wait for dozens.
        let _: serde_json::Value = rpc.raw_request("evm_setAutomine".into(), [true]).await.unwrap();
        let token = Usdc::new(lab.endpoints().token_address.parse().unwrap(), rpc.clone());
        let payer = PrivateKeySigner::random();
        let world = Self { lab, data, rpc, token, payer };
        let mint = world.token.mint(world.payer.address(), U256::from(10_000_000));
        assert!(mint.send().await.unwrap().get_receipt().await.unwrap().status());
        world
    }

    fn domain(&self) -> Eip712Domain {
        eip712_domain! {
            name: "USDC", version: "2", chain_id: lab::CHAIN_ID, verifying_contract: *self.token.address(),
        }
    }

    fn message(&self, nonce: u8) -> TransferWithAuthorization {
        TransferWithAuthorization {
            from: self.payer.address(),
            to: PAYEE,
            value: U256::from(UNITS),
            validAfter: U256::ZERO,
            validBefore: U256::from(u64::MAX),
            nonce: B256::repeat_byte(nonce),
        }
    }

    fn sign(&self, message: &impl SolStruct) -> Signature {
        self.payer.sign_hash_sync(&message.eip712_signing_hash(&self.domain())).unwrap()
    }

    /// Submits as settlement does, with v, r and s; the error is the token's own words.
    async fn settle(&self, m: &TransferWithAuthorization, signature: Signature) -> Result<(), String> {
        let (v, r, s) = vrs(signature);
        self.submit(m, v, r, s).await
    }

    async fn submit(&self, m: &TransferWithAuthorization, v: u8, r: B256, s: B256) -> Result<(), String> {
        let (value, after, before) = (m.value, m.validAfter, m.validBefore);
        let call =
            self.token.transferWithAuthorization_0(m.from, m.to, value, after, before, m.nonce, v, r, s);
        call.call().await.map_err(|error| error.to_string())?;
        let receipt = call.send().await.unwrap().get_receipt().await.unwrap();
        assert!(receipt.status());
        Ok(())
    }

    async fn settle_bytes(&self, m: &TransferWithAuthorization, signature: Bytes) -> Result<(), String> {
        let (value, after, before) = (m.value, m.validAfter, m.validBefore);
        let call =
            self.token.transferWithAuthorization_1(m.from, m.to, value, after, before, m.nonce, signature);
        call.call().await.map_err(|error| error.to_string())?;
        assert!(call.send().await.unwrap().get_receipt().await.unwrap().status());
        Ok(())
    }

    async fn units(&self, account: Address) -> U256 {
        self.token.balanceOf(account).call().await.unwrap()
    }

    async fn end(self) {
        self.lab.stop().await.unwrap();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn vrs(signature: Signature) -> (u8, B256, B256) {
    (27 + u8::from(signature.v()), signature.r().into(), signature.s().into())
}

#[track_caller]
fn assert_says(outcome: Result<(), String>, words: &str) {
    let error = outcome.unwrap_err();
    assert!(error.contains(words), "expected {words:?} in {error:?}");
}

#[tokio::test]
async fn a_signed_authorization_settles_once() {
    let world = World::new("once").await;
    assert_eq!(world.token.name().call().await.unwrap(), "USDC");
    assert_eq!(world.token.version().call().await.unwrap(), "2");
    assert_eq!(world.token.decimals().call().await.unwrap(), 6);
    assert_eq!(world.token.DOMAIN_SEPARATOR().call().await.unwrap(), world.domain().separator());

    let message = world.message(1);
    let signature = world.sign(&message);
    world.settle(&message, signature).await.unwrap();
    assert_eq!(world.units(PAYEE).await, U256::from(UNITS));
    assert!(world.token.authorizationState(message.from, message.nonce).call().await.unwrap());
    let used = world.token.AuthorizationUsed_filter().topic1(message.from).topic2(message.nonce);
    assert_eq!(used.from_block(0).query().await.unwrap().len(), 1);
    let moved = world.token.Transfer_filter().topic1(message.from).topic2(PAYEE);
    assert_eq!(moved.from_block(0).query().await.unwrap().len(), 1);

    assert_says(world.settle(&message, signature).await, "authorization is used or canceled");
    assert_eq!(world.units(PAYEE).await, U256::from(UNITS));
    world.end().await;
}

#[tokio::test]
async fn forged_stale_and_early_authorizations_are_refused() {
    let world = World::new("refused").await;
    let message = world.message(2);
    let signature = world.sign(&message);

    let dearer = TransferWithAuthorization { value: U256::from(UNITS + 1), ..world.message(2) };
    assert_says(world.settle(&dearer, signature).await, "invalid signature");
    let stranger = PrivateKeySigner::random();
    let foreign = stranger.sign_hash_sync(&message.eip712_signing_hash(&world.domain())).unwrap();
    assert_says(world.settle(&message, foreign).await, "invalid signature");

    let (v, r, s) = vrs(signature);
    let order =
        U256::from_be_slice(&alloy::hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));
    let twin = B256::from(order - U256::from_be_bytes(s.0));
    assert_says(world.submit(&message, 55 - v, r, twin).await, "invalid signature 's' value");
    assert_says(world.submit(&message, 0, r, s).await, "invalid signature 'v' value");
    assert_says(world.settle_bytes(&message, Bytes::from(vec![1; 64])).await, "invalid signature length");

    // The window is open strictly between its ends, seen from the block that a call pretends to be in.
    let block = world.rpc.get_block(alloy::eips::BlockId::latest()).await.unwrap().unwrap();
    let (past, future) = (U256::from(block.header.timestamp), U256::from(block.header.timestamp + 10_000));
    let early = TransferWithAuthorization { validAfter: future, ..world.message(3) };
    assert_says(world.settle(&early, world.sign(&early)).await, "authorization is not yet valid");
    let late = TransferWithAuthorization { validBefore: past, ..world.message(4) };
    assert_says(world.settle(&late, world.sign(&late)).await, "authorization is expired");
    let large = TransferWithAuthorization { value: U256::from(10_000_001), ..world.message(5) };
    assert_says(world.settle(&large, world.sign(&large)).await, "transfer amount exceeds balance");

    assert_eq!(world.units(PAYEE).await, U256::ZERO);
    world.settle(&message, signature).await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn contract_wallets_sign_by_answering_and_only_with_the_magic_value() {
    let world = World::new("wallets").await;
    let wallets = [
        // Returns the magic value of EIP-1271 to every question; returns zero; reverts.
        ("0x631626ba7e60e01b60005260206000f3", None),
        ("0x60206000f3", Some("invalid signature")),
        ("0x60006000fd", Some("invalid signature")),
    ];
    for (index, (code, refusal)) in wallets.into_iter().enumerate() {
        let wallet = Address::with_last_byte(0xa0 + u8::try_from(index).unwrap());
        let set = world.rpc.raw_request::<_, serde_json::Value>("anvil_setCode".into(), (wallet, code));
        set.await.unwrap();
        let mint = world.token.mint(wallet, U256::from(UNITS));
        mint.send().await.unwrap().get_receipt().await.unwrap();
        let message = TransferWithAuthorization { from: wallet, ..world.message(6) };
        let outcome = world.settle_bytes(&message, Bytes::from_static(b"anything")).await;
        match refusal {
            None => outcome.unwrap(),
            Some(words) => assert_says(outcome, words),
        }
    }
    world.end().await;
}

#[tokio::test]
async fn cancelled_and_received_authorizations() {
    let world = World::new("cancel").await;
    let message = world.message(7);
    let cancel = CancelAuthorization { authorizer: message.from, nonce: message.nonce };
    let (v, r, s) = vrs(world.sign(&cancel));
    let call = world.token.cancelAuthorization(message.from, message.nonce, v, r, s);
    call.send().await.unwrap().get_receipt().await.unwrap();
    assert_says(world.settle(&message, world.sign(&message)).await, "authorization is used or canceled");
    let cancelled = world.token.AuthorizationCanceled_filter().topic2(message.nonce);
    assert_eq!(cancelled.from_block(0).query().await.unwrap().len(), 1);

    let m = world.message(8);
    let receive = |to: Address| ReceiveWithAuthorization {
        from: m.from,
        to,
        value: m.value,
        validAfter: m.validAfter,
        validBefore: m.validBefore,
        nonce: m.nonce,
    };
    let faucet: Address = world.lab.endpoints().faucet_address.parse().unwrap();
    for (to, refusal) in [(PAYEE, Some("caller must be the payee")), (faucet, None)] {
        let (v, r, s) = vrs(world.sign(&receive(to)));
        let (after, before) = (m.validAfter, m.validBefore);
        let call = world.token.receiveWithAuthorization(m.from, to, m.value, after, before, m.nonce, v, r, s);
        let outcome = call.from(faucet).call().await.map(|_| ()).map_err(|error| error.to_string());
        match refusal {
            Some(words) => assert_says(outcome, words),
            None => outcome.unwrap(),
        }
    }
    world.end().await;
}

#[tokio::test]
async fn only_the_faucet_mints_pauses_and_blacklists() {
    let world = World::new("faucet").await;
    let stranger = world.payer.address();
    let refusal = world.token.mint(stranger, U256::from(1)).from(stranger).call().await.map(|_| ());
    assert_says(refusal.map_err(|error| error.to_string()), "caller is not the faucet");
    let refusal = world.token.pause().from(stranger).call().await.map(|_| ());
    assert_says(refusal.map_err(|error| error.to_string()), "caller is not the faucet");

    let message = world.message(9);
    let signature = world.sign(&message);
    world.token.pause().send().await.unwrap().get_receipt().await.unwrap();
    assert_says(world.settle(&message, signature).await, "Pausable: paused");
    world.token.unpause().send().await.unwrap().get_receipt().await.unwrap();
    world.token.blacklist(stranger).send().await.unwrap().get_receipt().await.unwrap();
    assert_says(world.settle(&message, signature).await, "Blacklistable: account is blacklisted");
    world.token.unBlacklist(stranger).send().await.unwrap().get_receipt().await.unwrap();
    world.settle(&message, signature).await.unwrap();

    let faucet: Address = world.lab.endpoints().faucet_address.parse().unwrap();
    let pull = world.token.transferFrom(stranger, PAYEE, U256::from(1)).call().await.map(|_| ());
    assert_says(pull.map_err(|error| error.to_string()), "transfer amount exceeds allowance");
    let (before, supply) = (world.units(faucet).await, world.token.totalSupply().call().await.unwrap());
    world.token.transfer(PAYEE, U256::from(5)).send().await.unwrap().get_receipt().await.unwrap();
    assert_eq!(world.units(faucet).await, before - U256::from(5));
    assert_eq!(world.token.totalSupply().call().await.unwrap(), supply);
    world.end().await;
}
