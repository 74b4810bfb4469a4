//! A chain in memory, for tests of actors and for the simulator: blocks, reorganisations, the token's
//! rules, and a node that loses, drops or delays what it is told. Chain scenarios use a real node instead.

mod payer;
mod world;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use alloy::{primitives::keccak256, sol_types::SolCall};
use async_trait::async_trait;
use types::{Network, UsdMicros, Wallet};

pub use self::payer::{Payer, Proof};
use self::world::{Tx, World};
use crate::{
    Bytes32, asset, evm,
    rpc::{BlockAt, Broadcast, CallRequest, ChainRpc, Fees, Head, NonceAt, Receipt, RpcError},
    scan::{self, BlockLogs, RawLog, ScanQuery, Sighting},
};

const BLOCK_SECS: u64 = 2;
const GAS_PER_CALL: u64 = 90_000;

/// How the node mistreats the next broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendFault {
    /// It never arrives, and there is no answer.
    Lost,
    /// It arrives, and there is no answer.
    Unanswered,
    /// It is "accepted" and forgotten.
    Forgotten,
}

/// What a reorganisation does with the transactions of the blocks that it drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// They are mined again, in the first new block.
    Remined,
    /// They wait in the pool; the new blocks are empty.
    Pooled,
    /// They are gone.
    Gone,
}

/// One chain and its only node. Blocks come when [`FakeChain::mine`] says so.
pub struct FakeChain {
    network: Network,
    state: Mutex<State>,
}

#[derive(Clone)]
struct State {
    blocks: Vec<Block>,
    pool: Vec<Tx>,
    /// Blocks between the head and the safe one, and the final one.
    depths: (u64, u64),
    /// The safe and the final block while they do not follow the head.
    frozen: Option<(Option<u64>, Option<u64>)>,
    /// Makes the blocks of a reorganisation differ from those that they replace.
    salt: u64,
    unavailable_reads: u32,
    send_faults: VecDeque<SendFault>,
    skip_secs: u64,
    gas_per_call: u64,
    shows_next: bool,
}

#[derive(Clone)]
struct Block {
    head: Head,
    txs: Vec<(Tx, bool)>,
    logs: Vec<RawLog>,
    /// After this block; shared by blocks that changed nothing.
    world: Arc<World>,
}

impl FakeChain {
    /// One empty block at `timestamp` (Unix seconds); safe 10 blocks and final 20 blocks below the head.
    pub fn new(network: Network, timestamp: u64) -> Self {
        let head = Head { number: 0, hash: [1; 32], parent_hash: [0; 32], timestamp };
        let genesis = Block { head, txs: Vec::new(), logs: Vec::new(), world: Arc::new(World::new(network)) };
        let state = State {
            blocks: vec![genesis],
            pool: Vec::new(),
            depths: (10, 20),
            frozen: None,
            salt: 0,
            unavailable_reads: 0,
            send_faults: VecDeque::new(),
            skip_secs: 0,
            gas_per_call: GAS_PER_CALL,
            shows_next: false,
        };
        Self { network, state: Mutex::new(state) }
    }

    /// Gives USDC as if it had always been there: no reorganisation takes it away.
    pub fn fund(&self, wallet: Wallet, amount: UsdMicros) {
        for block in &mut self.state().blocks {
            Arc::make_mut(&mut block.world).give(wallet, amount);
        }
    }

    /// Whether the safe and the final block stay where they are while blocks are made.
    pub fn freeze_finality(&self, frozen: bool) {
        let mut state = self.state();
        let held = (state.level(BlockAt::Safe), state.level(BlockAt::Finalized));
        state.frozen = frozen.then(|| state.frozen.unwrap_or(held));
    }

    /// The deepest reorganisation that leaves the final block alone.
    pub fn unfinal_blocks(&self) -> u64 {
        let state = self.state();
        state.head().number - state.level(BlockAt::Finalized).unwrap_or_default()
    }

    /// Offers bytes to the pool as somebody else would, without any fault of the node.
    pub fn offer(&self, raw: &[u8]) -> Broadcast {
        match Tx::decode(raw, self.network.chain_id()) {
            Some(tx) => self.state().accept(tx),
            None => Broadcast::Refused("not a transaction of this chain".to_owned()),
        }
    }

    /// The nonce of an account's next transaction, those in the pool counted.
    pub fn next_nonce(&self, account: Wallet) -> u64 {
        self.state().pending_nonce(account)
    }

    /// Mines what can be mined of the pool, in the order of its arrival.
    pub fn mine(&self) -> Head {
        self.state().mine(true)
    }

    /// Lets chain time pass before the next block.
    pub fn skip_secs(&self, secs: u64) {
        self.state().skip_secs += secs;
    }

    /// Replaces the newest `depth` blocks by as many others; the first block of all stays.
    pub fn reorg(&self, depth: usize, dropped: Dropped) -> Head {
        let mut state = self.state();
        let keep = state.blocks.len().saturating_sub(depth).max(1);
        let old = state.blocks.split_off(keep);
        state.salt += 1;
        if dropped != Dropped::Gone {
            let txs = old.iter().flat_map(|block| block.txs.iter().map(|(tx, _)| tx.clone()));
            let waiting = std::mem::take(&mut state.pool);
            state.pool = txs.chain(waiting).collect();
        }
        let skip_secs = std::mem::take(&mut state.skip_secs);
        for (at, block) in old.iter().enumerate() {
            // Time is not taken back: a block's is the clock's, whoever makes it.
            state.skip_secs = block.head.timestamp.saturating_sub(state.head().timestamp + BLOCK_SECS);
            state.mine(at == 0 && dropped == Dropped::Remined);
        }
        state.skip_secs = skip_secs;
        state.head()
    }

    /// The next `count` questions of any kind fail; broadcasts are not questions.
    pub fn fail_reads(&self, count: u32) {
        self.state().unavailable_reads = count;
    }

    /// Whether calls see the block that comes next, as on a node that is making it or that is ahead of the one
    /// which says the head.
    pub fn show_next(&self, shows: bool) {
        self.state().shows_next = shows;
    }

    /// Ends every fault and lets finality move.
    pub fn forgive(&self) {
        let mut state = self.state();
        state.frozen = None;
        state.unavailable_reads = 0;
        state.send_faults.clear();
    }

    /// What every call takes from now on.
    pub fn price_calls(&self, gas: u64) {
        self.state().gas_per_call = gas;
    }

    /// Queued: each broadcast takes one.
    pub fn fail_send(&self, fault: SendFault) {
        self.state().send_faults.push_back(fault);
    }

    /// Transactions that wait to be mined.
    pub fn pooled(&self) -> usize {
        self.state().pool.len()
    }

    /// Forgets them, as a restarted node may.
    pub fn clear_pool(&self) {
        self.state().pool.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<MutexGuard<'_, State>, RpcError> {
        let mut state = self.state();
        if state.unavailable_reads > 0 {
            state.unavailable_reads -= 1;
            return Err(RpcError::Unavailable("as the test wants".to_owned()));
        }
        Ok(state)
    }
}

impl State {
    fn newest(&self) -> &Block {
        self.blocks.last().expect("the first block is never removed")
    }

    fn head(&self) -> Head {
        self.newest().head
    }

    fn mine(&mut self, with_pool: bool) -> Head {
        let parent = self.head();
        let mut head = Head {
            number: parent.number + 1,
            hash: [0; 32],
            parent_hash: parent.hash,
            timestamp: parent.timestamp + BLOCK_SECS + std::mem::take(&mut self.skip_secs),
        };
        let mut shared = self.newest().world.clone();
        let (mut txs, mut logs) = (Vec::new(), Vec::new());
        if with_pool && !self.pool.is_empty() {
            let world = Arc::make_mut(&mut shared);
            // Each round mines what the round before made next in line.
            while let Some(at) = self.pool.iter().position(|tx| tx.nonce == world.nonce(tx.from)) {
                let tx = self.pool.remove(at);
                let result = world.execute(&tx, head.timestamp);
                txs.push((tx.clone(), result.is_ok()));
                logs.extend(
                    result.unwrap_or_default().into_iter().map(|(topics, data)| (tx.hash, topics, data)),
                );
            }
            self.pool.retain(|tx| tx.nonce > world.nonce(tx.from));
        }
        head.hash = self.hash(&head, &txs);
        let logs = (0..).zip(logs).map(|(log_index, (tx_hash, topics, data))| RawLog {
            address: shared.asset(),
            topics,
            data,
            block_number: head.number,
            block_hash: head.hash,
            tx_hash,
            log_index,
        });
        let logs = logs.collect();
        self.blocks.push(Block { head, txs, logs, world: shared });
        head
    }

    /// The number of a block that is named by how sure it is.
    fn level(&self, at: BlockAt) -> Option<u64> {
        let newest = self.head().number;
        match (at, self.frozen) {
            (BlockAt::Number(number), _) => Some(number),
            (BlockAt::Latest, _) => Some(newest),
            (BlockAt::Safe, Some((safe, _))) => safe,
            (BlockAt::Safe, None) => newest.checked_sub(self.depths.0),
            (BlockAt::Finalized, Some((_, finalized))) => finalized,
            (BlockAt::Finalized, None) => newest.checked_sub(self.depths.1),
        }
    }

    fn pending_nonce(&self, account: Wallet) -> u64 {
        let mut nonce = self.newest().world.nonce(account);
        while self.pool.iter().any(|tx| tx.from == account && tx.nonce == nonce) {
            nonce += 1;
        }
        nonce
    }

    fn hash(&self, head: &Head, txs: &[(Tx, bool)]) -> Bytes32 {
        let mut bytes = head.parent_hash.to_vec();
        for number in [head.number, head.timestamp, self.salt] {
            bytes.extend(number.to_be_bytes());
        }
        txs.iter().for_each(|(tx, _)| bytes.extend(tx.hash));
        keccak256(bytes).0
    }

    fn block(&self, at: BlockAt) -> Option<&Block> {
        self.blocks.get(usize::try_from(self.level(at)?).ok()?)
    }

    fn accept(&mut self, tx: Tx) -> Broadcast {
        let mined = |tx: &Tx| self.blocks.iter().any(|b| b.txs.iter().any(|(t, _)| t.hash == tx.hash));
        if self.pool.iter().any(|waiting| waiting.hash == tx.hash) || mined(&tx) {
            return Broadcast::AlreadyKnown;
        }
        if tx.nonce < self.newest().world.nonce(tx.from) {
            return Broadcast::NonceTooLow;
        }
        let rival = self.pool.iter().position(|old| old.from == tx.from && old.nonce == tx.nonce);
        if let Some(at) = rival {
            let enough = |old: u128, new: u128| new >= old + old / 10;
            let (old, new) = (self.pool[at].fees, tx.fees);
            if !enough(old.max_fee_per_gas, new.max_fee_per_gas)
                || !enough(old.max_priority_fee_per_gas, new.max_priority_fee_per_gas)
            {
                return Broadcast::Underpriced;
            }
            self.pool.remove(at);
        }
        self.pool.push(tx);
        Broadcast::Accepted
    }
}

#[async_trait]
impl ChainRpc for FakeChain {
    fn network(&self) -> Network {
        self.network
    }

    async fn chain_id(&self) -> Result<u64, RpcError> {
        self.read().map(|_| self.network.chain_id())
    }

    async fn block_at(&self, at: BlockAt) -> Result<Option<Head>, RpcError> {
        Ok(self.read()?.block(at).map(|block| block.head))
    }

    async fn authorizations(&self, query: &ScanQuery) -> Result<Vec<Sighting>, RpcError> {
        let state = self.read()?;
        let mut found = Vec::new();
        for number in query.from..=query.to {
            let block = state.block(BlockAt::Number(number)).ok_or(RpcError::Moved)?;
            let logs = BlockLogs {
                network: self.network,
                asset: query.asset,
                block_number: number,
                block_hash: block.head.hash,
                timestamp: block.head.timestamp,
                logs: &block.logs,
            };
            found.extend(scan::sightings(&logs, &query.payees)?);
        }
        Ok(found)
    }

    async fn nonce(&self, account: Wallet, at: NonceAt) -> Result<u64, RpcError> {
        let state = self.read()?;
        Ok(match at {
            NonceAt::Latest => state.newest().world.nonce(account),
            NonceAt::Pending => state.pending_nonce(account),
        })
    }

    async fn balance_eth(&self, _account: Wallet) -> Result<u128, RpcError> {
        self.read().map(|_| 10_u128.pow(18))
    }

    async fn call(&self, request: &CallRequest) -> Result<Vec<u8>, RpcError> {
        let state = self.read()?;
        let block = match state.shows_next {
            true => {
                let mut ahead = state.clone();
                ahead.mine(true);
                ahead.newest().clone()
            }
            false => state.newest().clone(),
        };
        drop(state);
        if request.to != asset::usdc(self.network).address {
            return Ok(Vec::new());
        }
        if request.data.starts_with(&evm::Usdc::DOMAIN_SEPARATORCall::SELECTOR) {
            return Ok(evm::domain(self.network, asset::usdc(self.network)).separator().to_vec());
        }
        let caller = request.from.unwrap_or(Wallet([0; 20]));
        block.world.call(caller, &request.data, block.head.timestamp).map_err(RpcError::Reverted)
    }

    async fn estimate_gas(&self, request: &CallRequest) -> Result<u64, RpcError> {
        self.call(request).await.map(|_| self.state().gas_per_call)
    }

    async fn fees(&self) -> Result<Fees, RpcError> {
        self.read().map(|_| Fees { max_fee_per_gas: 3_000_000, max_priority_fee_per_gas: 1_000_000 })
    }

    async fn send_raw(&self, raw: &[u8]) -> Result<Broadcast, RpcError> {
        let tx = Tx::decode(raw, self.network.chain_id());
        let mut state = self.state();
        let fault = state.send_faults.pop_front();
        let unanswered = Err(RpcError::Unavailable("as the test wants".to_owned()));
        match (fault, tx) {
            (Some(SendFault::Lost), _) => unanswered,
            (Some(SendFault::Forgotten), _) => Ok(Broadcast::Accepted),
            (_, None) => Ok(Broadcast::Refused("not a transaction of this chain".to_owned())),
            (Some(SendFault::Unanswered), Some(tx)) => {
                state.accept(tx);
                unanswered
            }
            (None, Some(tx)) => Ok(state.accept(tx)),
        }
    }

    async fn receipt(&self, tx_hash: Bytes32) -> Result<Option<Receipt>, RpcError> {
        let state = self.read()?;
        let found = state.blocks.iter().find_map(|block| {
            let (tx, succeeded) = block.txs.iter().find(|(tx, _)| tx.hash == tx_hash)?;
            Some(Receipt {
                tx_hash,
                block_number: block.head.number,
                block_hash: block.head.hash,
                succeeded: *succeeded,
                gas_used: GAS_PER_CALL,
                effective_gas_price: tx.fees.max_priority_fee_per_gas,
            })
        });
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
