//! Several nodes of one chain, of which a majority must agree (B10). A minority is never believed: what a
//! majority does not say is not known, and what it contradicts is an alarm.
//!
//! - **Heads**: the highest block that a majority has reached; a node that lags does not stop the others.
//! - **Blocks, logs, receipts, calls**: the same answer from a majority. Of two nodes that is both.
//! - **Broadcasts** go to all; the best answer counts, because none of them is evidence.
//!
//! Nodes differ for moments, at the tip of the chain, all the time. Such an answer is
//! [`RpcError::Moved`], "ask again", for [`GRACE`]; after that it is [`RpcError::Disagreement`] and an ERROR
//! in the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use tokio::time::Instant;
use types::{Network, Wallet};

use crate::{
    Bytes32,
    rpc::{BlockAt, Broadcast, CallRequest, ChainRpc, Fees, Head, NonceAt, Receipt, RpcError},
    scan::{ScanQuery, Sighting},
};

/// How long nodes may contradict one another before it is more than the tip of the chain moving.
const GRACE: Duration = Duration::from_secs(10);

/// Nodes that must agree.
pub struct QuorumRpc {
    network: Network,
    nodes: Vec<Arc<dyn ChainRpc>>,
    grace: Duration,
    /// Which blocks there are.
    blocks: Mutex<Option<Dispute>>,
    /// What is in them.
    logs: Mutex<Option<Dispute>>,
}

/// Nodes contradict one another.
#[derive(Clone, Copy)]
struct Dispute {
    block: u64,
    since: Instant,
    told: bool,
}

impl QuorumRpc {
    /// Nodes of one network, at least two. Run [`crate::rpc::self_check`] on each before.
    pub fn new(network: Network, nodes: Vec<Arc<dyn ChainRpc>>) -> Self {
        Self { network, nodes, grace: GRACE, blocks: Mutex::new(None), logs: Mutex::new(None) }
    }

    #[cfg(test)]
    fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// How many must agree.
    fn majority(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    async fn ask_all<'a, T, F>(
        &'a self,
        ask: impl Fn(&'a dyn ChainRpc) -> F,
    ) -> Result<Vec<Result<T, RpcError>>, RpcError>
    where
        F: Future<Output = Result<T, RpcError>> + Send + 'a,
        T: Send,
    {
        let answers = join_all(self.nodes.iter().map(|node| ask(node.as_ref()))).await;
        // A node that is away agrees with nobody; without a majority of answers nothing is known.
        let there = |answer: &&Result<T, RpcError>| !matches!(answer, Err(RpcError::Unavailable(_)));
        if answers.iter().filter(there).count() < self.majority() {
            let away = answers.into_iter().find_map(|answer| match answer {
                Err(RpcError::Unavailable(why)) => Some(why),
                _ => None,
            });
            return Err(RpcError::Unavailable(format!("too few nodes answer: {}", away.unwrap_or_default())));
        }
        Ok(answers)
    }

    /// The answer that a majority gives, word for word.
    async fn agreed<'a, T, F>(&'a self, ask: impl Fn(&'a dyn ChainRpc) -> F) -> Result<T, RpcError>
    where
        F: Future<Output = Result<T, RpcError>> + Send + 'a,
        T: PartialEq + Send,
    {
        let mut answers = self.ask_all(ask).await?;
        let same = |one: &Result<T, RpcError>| answers.iter().filter(|other| *other == one).count();
        match answers.iter().position(|answer| same(answer) >= self.majority()) {
            Some(at) => answers.swap_remove(at),
            None => Err(RpcError::Moved),
        }
    }

    /// The highest value that a majority has reached.
    fn reached<T: Ord>(&self, mut values: Vec<T>) -> Option<T> {
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.into_iter().nth(self.majority() - 1)
    }

    /// One block, as a majority knows it. `None` until a majority has it.
    async fn block_agreed(&self, number: u64) -> Result<Option<Head>, RpcError> {
        let at = BlockAt::Number(number);
        let answers: Vec<Option<Head>> =
            self.ask_all(|node| node.block_at(at)).await?.into_iter().flatten().collect();
        let same = |one: &Head| answers.iter().flatten().filter(|other| *other == one).count();
        if let Some(head) = answers.iter().flatten().find(|head| same(head) >= self.majority()) {
            self.settled(&self.blocks, number);
            return Ok(Some(*head));
        }
        let known: Vec<&Head> = answers.iter().flatten().collect();
        if known.len() >= self.majority() {
            return Err(self.disputed(&self.blocks, number));
        }
        Ok(None)
    }

    /// Ends a dispute about this block or an older one.
    fn settled(&self, dispute: &Mutex<Option<Dispute>>, block: u64) {
        let mut dispute = dispute.lock().unwrap_or_else(PoisonError::into_inner);
        let over = dispute.take_if(|dispute| dispute.block <= block);
        if over.is_some_and(|dispute| dispute.told) {
            tracing::warn!(network = %self.network, block, "the chain's RPC nodes agree again");
        }
    }

    fn disputed(&self, dispute: &Mutex<Option<Dispute>>, block: u64) -> RpcError {
        let mut dispute = dispute.lock().unwrap_or_else(PoisonError::into_inner);
        let now = dispute.get_or_insert(Dispute { block, since: Instant::now(), told: false });
        if now.since.elapsed() < self.grace {
            return RpcError::Moved;
        }
        if !std::mem::replace(&mut now.told, true) {
            tracing::error!(
                network = %self.network, block, secs = self.grace.as_secs(),
                "the chain's RPC nodes contradict one another: nothing is credited until they agree"
            );
        }
        RpcError::Disagreement { block }
    }
}

#[async_trait]
impl ChainRpc for QuorumRpc {
    fn network(&self) -> Network {
        self.network
    }

    async fn chain_id(&self) -> Result<u64, RpcError> {
        self.agreed(|node| node.chain_id()).await
    }

    async fn block_at(&self, at: BlockAt) -> Result<Option<Head>, RpcError> {
        if let BlockAt::Number(number) = at {
            return self.block_agreed(number).await;
        }
        let heads = self.ask_all(|node| node.block_at(at)).await?;
        let numbers = heads.into_iter().flatten().flatten().map(|head| head.number).collect();
        match self.reached(numbers) {
            Some(number) => self.block_agreed(number).await,
            None => Ok(None),
        }
    }

    async fn authorizations(&self, query: &ScanQuery) -> Result<Vec<Sighting>, RpcError> {
        let mut answers = self.ask_all(|node| node.authorizations(query)).await?;
        let same = |one: &Vec<Sighting>| answers.iter().filter(|a| a.as_ref() == Ok(one)).count();
        let agreed =
            |a: &Result<Vec<Sighting>, RpcError>| a.as_ref().is_ok_and(|a| same(a) >= self.majority());
        if let Some(at) = answers.iter().position(agreed) {
            self.settled(&self.logs, query.to);
            return answers.swap_remove(at);
        }
        let told = answers.iter().filter(|answer| answer.is_ok()).count();
        let lied = answers.iter().any(|answer| matches!(answer, Err(RpcError::Forged(_))));
        // Otherwise some node is not there yet.
        if lied || told >= self.majority() {
            return Err(self.disputed(&self.logs, query.to));
        }
        Err(RpcError::Moved)
    }

    async fn nonce(&self, account: Wallet, at: NonceAt) -> Result<u64, RpcError> {
        let answers = self.ask_all(|node| node.nonce(account, at)).await?;
        self.reached(answers.into_iter().flatten().collect()).ok_or(RpcError::Moved)
    }

    async fn balance_eth(&self, account: Wallet) -> Result<u128, RpcError> {
        let answers = self.ask_all(|node| node.balance_eth(account)).await?;
        self.reached(answers.into_iter().flatten().collect()).ok_or(RpcError::Moved)
    }

    async fn call(&self, request: &CallRequest) -> Result<Vec<u8>, RpcError> {
        self.agreed(|node| node.call(request)).await
    }

    async fn estimate_gas(&self, request: &CallRequest) -> Result<u64, RpcError> {
        let answers = self.ask_all(|node| node.estimate_gas(request)).await?;
        let reverts: Vec<_> = answers.iter().filter(|a| matches!(a, Err(RpcError::Reverted(_)))).collect();
        if let Some(Err(reverted)) = reverts.first().filter(|_| reverts.len() >= self.majority()) {
            return Err(reverted.clone());
        }
        // The dearest opinion: unused gas is not paid.
        let mut gas: Vec<u64> = answers.into_iter().flatten().collect();
        gas.sort_unstable();
        if gas.len() < self.majority() { Err(RpcError::Moved) } else { gas.pop().ok_or(RpcError::Moved) }
    }

    async fn fees(&self) -> Result<Fees, RpcError> {
        let answers = self.ask_all(|node| node.fees()).await?;
        answers.into_iter().flatten().reduce(Fees::max).ok_or(RpcError::Moved)
    }

    async fn send_raw(&self, raw: &[u8]) -> Result<Broadcast, RpcError> {
        let mut answers = join_all(self.nodes.iter().map(|node| node.send_raw(raw))).await;
        let rank = |answer: &Result<Broadcast, RpcError>| match answer {
            Ok(Broadcast::Accepted) => 0,
            Ok(Broadcast::AlreadyKnown) => 1,
            Ok(Broadcast::NonceTooLow) => 2,
            Ok(Broadcast::Underpriced) => 3,
            Ok(Broadcast::OutOfGasMoney) => 4,
            Ok(Broadcast::Refused(_)) => 5,
            Err(_) => 6,
        };
        answers.sort_by_key(rank);
        let none = || Err(RpcError::Unavailable("no node".to_owned()));
        answers.into_iter().next().unwrap_or_else(none)
    }

    async fn receipt(&self, tx_hash: Bytes32) -> Result<Option<Receipt>, RpcError> {
        let answers: Vec<Option<Receipt>> =
            self.ask_all(|node| node.receipt(tx_hash)).await?.into_iter().flatten().collect();
        let same = |one: &Receipt| answers.iter().flatten().filter(|other| *other == one).count();
        // Not mined, as far as a majority knows.
        Ok(answers.iter().flatten().find(|receipt| same(receipt) >= self.majority()).copied())
    }
}

#[cfg(test)]
mod tests;
