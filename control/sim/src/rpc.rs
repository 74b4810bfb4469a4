//! A node's view of the chain: dark once the node is dead, and each answer is a place to die at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use chain::Bytes32;
use chain::fake::FakeChain;
use chain::rpc::{BlockAt, Broadcast, CallRequest, ChainRpc, Fees, Head, NonceAt, Receipt, RpcError};
use chain::scan::{ScanQuery, Sighting};
use types::kill_points::awaited;
use types::{Network, Wallet};

use crate::stage::Stage;

pub(crate) struct NodeRpc {
    pub chain: Arc<FakeChain>,
    pub alive: Arc<AtomicBool>,
    pub stage: Arc<Stage>,
}

impl NodeRpc {
    fn dead(&self) -> Result<(), RpcError> {
        match self.alive.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(RpcError::Unavailable("the node is dead".to_owned())),
        }
    }
}

/// Asks the chain, then passes a place.
macro_rules! ask {
    ($self:ident, $name:literal, $question:expr) => {{
        $self.dead()?;
        let answer = $question.await;
        awaited($name);
        answer
    }};
}

#[async_trait]
impl ChainRpc for NodeRpc {
    fn network(&self) -> Network {
        self.chain.network()
    }
    async fn chain_id(&self) -> Result<u64, RpcError> {
        ask!(self, "chain.id", self.chain.chain_id())
    }
    async fn block_at(&self, at: BlockAt) -> Result<Option<Head>, RpcError> {
        ask!(self, "chain.block", self.chain.block_at(at))
    }
    async fn authorizations(&self, query: &ScanQuery) -> Result<Vec<Sighting>, RpcError> {
        ask!(self, "chain.logs", self.chain.authorizations(query))
    }
    async fn nonce(&self, account: Wallet, at: NonceAt) -> Result<u64, RpcError> {
        ask!(self, "chain.nonce", self.chain.nonce(account, at))
    }
    async fn balance_eth(&self, account: Wallet) -> Result<u128, RpcError> {
        ask!(self, "chain.balance", self.chain.balance_eth(account))
    }
    async fn call(&self, request: &CallRequest) -> Result<Vec<u8>, RpcError> {
        if let Some(gate) = self.stage.take_gate() {
            let _ = gate.reached.send(());
            // A gate that is gone is open.
            let _ = gate.open.await;
        }
        ask!(self, "chain.call", self.chain.call(request))
    }
    async fn estimate_gas(&self, request: &CallRequest) -> Result<u64, RpcError> {
        ask!(self, "chain.gas", self.chain.estimate_gas(request))
    }
    async fn fees(&self) -> Result<Fees, RpcError> {
        ask!(self, "chain.fees", self.chain.fees())
    }
    async fn send_raw(&self, raw: &[u8]) -> Result<Broadcast, RpcError> {
        ask!(self, "chain.send", self.chain.send_raw(raw))
    }
    async fn receipt(&self, tx_hash: Bytes32) -> Result<Option<Receipt>, RpcError> {
        ask!(self, "chain.receipt", self.chain.receipt(tx_hash))
    }
}
