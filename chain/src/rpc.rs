//! All that watchers and lanes see of a chain. [`crate::alloy_rpc`] is the real one, [`crate::fake`] the
//! one for tests.

use alloy::sol_types::{SolCall, SolValue};
use async_trait::async_trait;
use types::{Network, UsdMicros, Wallet};

use crate::{
    Bytes32, asset, evm,
    scan::{ScanQuery, Sighting},
};

/// A block's place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub number: u64,
    pub hash: Bytes32,
    pub parent_hash: Bytes32,
    /// Unix seconds.
    pub timestamp: u64,
}

/// Which block is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockAt {
    Number(u64),
    /// The newest block that the sequencer announced.
    Latest,
    /// Derived from data on the parent chain.
    Safe,
    /// Final on the parent chain.
    Finalized,
}

/// Whose transactions a nonce counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NonceAt {
    /// Mined ones.
    Latest,
    /// Mined ones and those that this node waits to see mined.
    Pending,
}

/// A call that changes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRequest {
    pub from: Option<Wallet>,
    pub to: Wallet,
    pub data: Vec<u8>,
}

/// What a transaction bids for gas, in wei per unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fees {
    pub max_fee_per_gas: u128,
    pub max_priority_fee_per_gas: u128,
}

impl Fees {
    /// The least bid that replaces a transaction of the same nonce: both fees up by an eighth, rounded up.
    #[must_use]
    pub fn bump(self) -> Self {
        let up = |fee: u128| fee.saturating_add(fee / 8).saturating_add(1);
        Self {
            max_fee_per_gas: up(self.max_fee_per_gas),
            max_priority_fee_per_gas: up(self.max_priority_fee_per_gas),
        }
    }

    /// The higher of each: for a bump that must also meet a risen market.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            max_fee_per_gas: self.max_fee_per_gas.max(other.max_fee_per_gas),
            max_priority_fee_per_gas: self.max_priority_fee_per_gas.max(other.max_priority_fee_per_gas),
        }
    }
}

/// What a node said to signed bytes. None of it is evidence that they were, or were not, mined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broadcast {
    Accepted,
    /// The node has these bytes.
    AlreadyKnown,
    /// The nonce is used: by these bytes, by an earlier bid of ours, or by someone with our key.
    NonceTooLow,
    /// Another transaction of this nonce waits and bids too much for this one to replace it.
    Underpriced,
    /// The sender cannot pay for gas.
    OutOfGasMoney,
    /// Anything else; the text is the node's.
    Refused(String),
}

/// A mined transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    pub tx_hash: Bytes32,
    pub block_number: u64,
    pub block_hash: Bytes32,
    /// False when it was mined and reverted.
    pub succeeded: bool,
    pub gas_used: u64,
    /// Wei per unit.
    pub effective_gas_price: u128,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// Timeouts, lost connections, 429 and 5xx, after retries. For a broadcast it means "unknown".
    #[error("the chain's RPC does not answer: {0}")]
    Unavailable(String),
    /// The node answered something that cannot be true. The whole answer is dropped (B13).
    #[error("the chain's RPC answered nonsense: {0}")]
    Forged(&'static str),
    /// Blocks changed between two questions. Ask again.
    #[error("the chain moved during the question")]
    Moved,
    /// Several nodes are asked, and they contradict one another for longer than the tip of a chain moves (B10).
    #[error("the chain's RPC nodes contradict one another at block {block}")]
    Disagreement { block: u64 },
    #[error("the RPC serves chain {found}, not {wanted}")]
    WrongChain { wanted: u64, found: u64 },
    /// The token at the pinned address is missing or signs under another EIP-712 domain (B20).
    #[error("the USDC contract is not the expected one")]
    WrongAsset,
    #[error("the call reverts: {0}")]
    Reverted(String),
    #[error("the RPC refuses: {message} ({code})")]
    Refused { code: i64, message: String },
}

/// One node of one chain, or what stands for it. Reads are retried inside; a broadcast is tried once.
///
/// # Errors
/// Every method: `Unavailable` or `Forged`; others where said.
#[async_trait]
pub trait ChainRpc: Send + Sync + 'static {
    fn network(&self) -> Network;

    async fn chain_id(&self) -> Result<u64, RpcError>;

    /// `None` when the node has no such block (yet, or no notion of the tag).
    async fn block_at(&self, at: BlockAt) -> Result<Option<Head>, RpcError>;

    /// Every Transfer of the asset to one of the payees in a range of blocks, with the authorisation that
    /// moved it if there was one; in chain order. Ask for blocks at or below a head already seen. `Moved`
    /// when a block changed meanwhile.
    async fn authorizations(&self, query: &ScanQuery) -> Result<Vec<Sighting>, RpcError>;

    /// The next nonce of an account.
    async fn nonce(&self, account: Wallet, at: NonceAt) -> Result<u64, RpcError>;

    /// Wei.
    async fn balance_eth(&self, account: Wallet) -> Result<u128, RpcError>;

    /// The answer's bytes; `Reverted` with the reason.
    async fn call(&self, request: &CallRequest) -> Result<Vec<u8>, RpcError>;

    /// Gas units, without a margin; `Reverted` with the reason.
    async fn estimate_gas(&self, request: &CallRequest) -> Result<u64, RpcError>;

    /// A bid that should be mined within a few blocks.
    async fn fees(&self) -> Result<Fees, RpcError>;

    /// Offers signed bytes to the node, once. `Unavailable` means the outcome is unknown.
    async fn send_raw(&self, raw: &[u8]) -> Result<Broadcast, RpcError>;

    /// `None` while it is not mined on the chain that this node holds canonical.
    async fn receipt(&self, tx_hash: Bytes32) -> Result<Option<Receipt>, RpcError>;

    async fn block(&self, number: u64) -> Result<Option<Head>, RpcError> {
        self.block_at(BlockAt::Number(number)).await
    }

    async fn head(&self) -> Result<Head, RpcError> {
        self.block_at(BlockAt::Latest).await?.ok_or(RpcError::Forged("no latest block"))
    }

    async fn safe(&self) -> Result<Option<Head>, RpcError> {
        self.block_at(BlockAt::Safe).await
    }

    async fn finalized(&self) -> Result<Option<Head>, RpcError> {
        self.block_at(BlockAt::Finalized).await
    }

    async fn usdc_balance(&self, asset: Wallet, account: Wallet) -> Result<UsdMicros, RpcError> {
        let data = evm::Usdc::balanceOfCall { account: evm::address(account) }.abi_encode();
        let answer = self.call(&CallRequest { from: None, to: asset, data }).await?;
        let value = evm::Usdc::balanceOfCall::abi_decode_returns(&answer);
        value.ok().and_then(evm::micros).ok_or(RpcError::Forged("balanceOf"))
    }

    /// True when the authorisation was used or cancelled.
    async fn authorization_state(
        &self,
        asset: Wallet,
        payer: Wallet,
        nonce: Bytes32,
    ) -> Result<bool, RpcError> {
        let call = evm::Usdc::authorizationStateCall { authorizer: evm::address(payer), nonce: nonce.into() };
        let answer = self.call(&CallRequest { from: None, to: asset, data: call.abi_encode() }).await?;
        bool::abi_decode_validate(&answer).map_err(|_| RpcError::Forged("authorizationState"))
    }
}

/// Refuses to start on a node of another chain, or where USDC is missing or signs under another domain
/// (B13, B20).
///
/// # Errors
/// `WrongChain`, `WrongAsset`, or what the questions met.
pub async fn self_check(rpc: &dyn ChainRpc) -> Result<(), RpcError> {
    let network = rpc.network();
    let (wanted, found) = (network.chain_id(), rpc.chain_id().await?);
    if wanted != found {
        return Err(RpcError::WrongChain { wanted, found });
    }
    let usdc = asset::usdc(network);
    let data = evm::Usdc::DOMAIN_SEPARATORCall {}.abi_encode();
    let answer = rpc.call(&CallRequest { from: None, to: usdc.address, data }).await;
    match answer {
        Ok(bytes) if bytes == evm::domain(network, usdc).separator().as_slice() => Ok(()),
        Ok(_) | Err(RpcError::Reverted(_)) => Err(RpcError::WrongAsset),
        Err(other) => Err(other),
    }
}
