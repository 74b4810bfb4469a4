//! [`ChainRpc`] over HTTP. Answers are parsed by structs of our own with only the fields that are used, so
//! an L2's extra transaction types cannot break a scan.

#[cfg(test)]
mod tests;
mod wire;

use std::{collections::BTreeMap, time::Duration};

use alloy::{
    primitives::{B256, Bytes, U64, U128, keccak256},
    rpc::client::RpcClient,
    transports::{RpcError as AlloyError, TransportError, http::reqwest},
};
use async_trait::async_trait;
use serde_json::{Value, json};
use types::{Network, Wallet};

use self::wire::{Failure, WireBlock, WireLog, WireReceipt};
use crate::{
    Bytes32,
    rpc::{BlockAt, Broadcast, CallRequest, ChainRpc, Fees, Head, NonceAt, Receipt, RpcError},
    scan::{self, BlockLogs, RawLog, ScanQuery, Sighting},
};

/// How long one question may take.
const ANSWER_SECS_MAX: u64 = 10;
/// How often a read is asked before the node counts as unavailable.
const ATTEMPTS_MAX: u32 = 4;
/// The first pause between attempts; each next one is four times longer.
const BACKOFF_MILLIS: u64 = 100;
/// Ranges up to here are read block by block, by hash. A node that lags behind its neighbours answers a
/// question about numbers it has not reached with an empty list, and one about an unknown hash with an
/// error.
const HASHED_BLOCKS_MAX: u64 = 32;
/// A tip that Base takes when the node will not name one, in wei.
const PRIORITY_FEE_FALLBACK: u128 = 1_000_000;

/// One HTTP endpoint of one chain.
#[derive(Clone)]
pub struct AlloyRpc {
    network: Network,
    client: RpcClient,
}

impl std::fmt::Debug for AlloyRpc {
    /// Without the url, which may carry a key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlloyRpc({})", self.network)
    }
}

impl AlloyRpc {
    /// Opens no connection. Run [`crate::rpc::self_check`] before using it.
    ///
    /// # Errors
    /// `Refused` when `url` is not one; the text never holds the url, which may carry a key.
    pub fn new(network: Network, url: &str) -> Result<Self, RpcError> {
        let refused = |message: &str| RpcError::Refused { code: 0, message: message.to_owned() };
        let url = url.parse().map_err(|_| refused("the RPC address is not a url"))?;
        // Proxies would come from the environment, which only the server reads.
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(ANSWER_SECS_MAX))
            .build()
            .map_err(|_| refused("no HTTP client"))?;
        Ok(Self { network, client: RpcClient::new_http_with_client(http, url) })
    }

    async fn ask_once<R>(&self, method: &'static str, params: &Value) -> Result<R, Failure>
    where
        R: serde::de::DeserializeOwned + std::fmt::Debug + Send + Sync + Unpin + 'static,
    {
        let question = self.client.request::<_, R>(method, params.clone());
        match tokio::time::timeout(Duration::from_secs(ANSWER_SECS_MAX), question).await {
            Err(_) => Err(Failure::Timeout),
            Ok(Err(error)) => Err(wire::classify(error)),
            Ok(Ok(answer)) => Ok(answer),
        }
    }

    /// Asks again after failures that may pass.
    async fn ask<R>(&self, method: &'static str, params: Value) -> Result<R, Failure>
    where
        R: serde::de::DeserializeOwned + std::fmt::Debug + Send + Sync + Unpin + 'static,
    {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match self.ask_once(method, &params).await {
                Err(failure) if failure.may_pass() && attempt < ATTEMPTS_MAX => {
                    tracing::debug!(rpc.method = method, attempt, "the chain's RPC failed, asking again");
                    let pause = BACKOFF_MILLIS << (2 * (attempt - 1));
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                answer => return answer,
            }
        }
    }

    async fn raw_block(&self, at: BlockAt) -> Result<Option<WireBlock>, RpcError> {
        let tag = match at {
            BlockAt::Number(number) => format!("{number:#x}"),
            BlockAt::Latest => "latest".to_owned(),
            BlockAt::Safe => "safe".to_owned(),
            BlockAt::Finalized => "finalized".to_owned(),
        };
        let answer = self.ask::<Option<WireBlock>>("eth_getBlockByNumber", json!([tag, false])).await;
        match (answer, at) {
            // Geth answers an error, not null, while it has no such block.
            (Err(Failure::Final(RpcError::Refused { .. })), BlockAt::Safe | BlockAt::Finalized) => Ok(None),
            (Ok(Some(block)), BlockAt::Number(number)) if block.number() != number => {
                Err(RpcError::Forged("a block of another number"))
            }
            (answer, _) => Ok(answer?),
        }
    }

    async fn logs(&self, filter: Value) -> Result<Vec<RawLog>, Failure> {
        let logs: Vec<WireLog> = self.ask("eth_getLogs", json!([filter])).await?;
        logs.into_iter().map(|log| log.checked().map_err(Failure::Final)).collect()
    }

    /// Transfers to payees in a range, halving it as long as the node finds it too large or too slow (B12).
    async fn transfers(&self, query: &ScanQuery) -> Result<Vec<RawLog>, RpcError> {
        let mut found = Vec::new();
        let mut ranges = vec![(query.from, query.to)];
        while let Some((from, to)) = ranges.pop() {
            let filter = json!({
                "address": query.asset,
                "fromBlock": format!("{from:#x}"),
                "toBlock": format!("{to:#x}"),
                "topics": transfer_topics(&query.payees),
            });
            match self.logs(filter).await {
                Ok(logs) => found.extend(logs),
                Err(Failure::TooLarge(_) | Failure::Timeout) if from < to => {
                    let middle = from + (to - from) / 2;
                    ranges.push((middle + 1, to));
                    ranges.push((from, middle));
                }
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(found)
    }

    /// All that the asset logged in one block, paired.
    async fn block_sightings(&self, query: &ScanQuery, head: &Head) -> Result<Vec<Sighting>, RpcError> {
        let filter = json!({
            "address": query.asset,
            "blockHash": B256::from(head.hash),
            "topics": [[B256::from(scan::transfer_topic()), B256::from(scan::authorization_used_topic())]],
        });
        let logs = self.logs(filter).await.map_err(unknown_block)?;
        let block = BlockLogs {
            network: self.network,
            asset: query.asset,
            block_number: head.number,
            block_hash: head.hash,
            timestamp: head.timestamp,
            logs: &logs,
        };
        scan::sightings(&block, &query.payees)
    }

    async fn scan_by_hash(&self, query: &ScanQuery) -> Result<Vec<Sighting>, RpcError> {
        let mut found = Vec::new();
        for number in query.from..=query.to {
            let head = self.block(number).await?.ok_or(RpcError::Moved)?;
            let filter = json!({
                "address": query.asset,
                "blockHash": B256::from(head.hash),
                "topics": transfer_topics(&query.payees),
            });
            // Most blocks pay us nothing: only the others are read in full.
            if !self.logs(filter).await.map_err(unknown_block)?.is_empty() {
                found.extend(self.block_sightings(query, &head).await?);
            }
        }
        Ok(found)
    }

    async fn scan_by_range(&self, query: &ScanQuery) -> Result<Vec<Sighting>, RpcError> {
        // A node that has not reached the end of the range would answer as if nothing were there.
        if self.head().await?.number < query.to {
            return Err(RpcError::Moved);
        }
        let mut paying: BTreeMap<u64, Bytes32> = BTreeMap::new();
        for log in self.transfers(query).await? {
            if !(query.from..=query.to).contains(&log.block_number) {
                return Err(RpcError::Forged("a log outside the range"));
            }
            if *paying.entry(log.block_number).or_insert(log.block_hash) != log.block_hash {
                return Err(RpcError::Moved);
            }
        }
        let mut found = Vec::new();
        for (number, hash) in paying {
            let head = self.block(number).await?.filter(|h| h.hash == hash).ok_or(RpcError::Moved)?;
            found.extend(self.block_sightings(query, &head).await?);
        }
        Ok(found)
    }
}

fn transfer_topics(payees: &[Wallet]) -> Value {
    let payees: Vec<B256> = payees.iter().map(|&p| B256::from(scan::wallet_topic(p))).collect();
    json!([B256::from(scan::transfer_topic()), null, payees])
}

/// Asked by hash, a refusal means that the block is no longer, or not yet, known to this node.
fn unknown_block(failure: Failure) -> RpcError {
    match failure {
        Failure::Final(RpcError::Refused { .. }) => RpcError::Moved,
        other => other.into(),
    }
}

fn call_params(request: &CallRequest) -> Value {
    let mut call = json!({ "to": request.to, "data": Bytes::copy_from_slice(&request.data) });
    if let Some(from) = request.from {
        call["from"] = json!(from);
    }
    call
}

#[async_trait]
impl ChainRpc for AlloyRpc {
    fn network(&self) -> Network {
        self.network
    }

    async fn chain_id(&self) -> Result<u64, RpcError> {
        Ok(self.ask::<U64>("eth_chainId", json!([])).await?.to())
    }

    async fn block_at(&self, at: BlockAt) -> Result<Option<Head>, RpcError> {
        Ok(self.raw_block(at).await?.map(|block| block.head()))
    }

    async fn authorizations(&self, query: &ScanQuery) -> Result<Vec<Sighting>, RpcError> {
        // An empty list of payees would match every payee.
        if query.payees.is_empty() || query.from > query.to {
            return Ok(Vec::new());
        }
        if query.to - query.from < HASHED_BLOCKS_MAX {
            self.scan_by_hash(query).await
        } else {
            self.scan_by_range(query).await
        }
    }

    async fn nonce(&self, account: Wallet, at: NonceAt) -> Result<u64, RpcError> {
        let tag = match at {
            NonceAt::Latest => "latest",
            NonceAt::Pending => "pending",
        };
        Ok(self.ask::<U64>("eth_getTransactionCount", json!([account, tag])).await?.to())
    }

    async fn balance_eth(&self, account: Wallet) -> Result<u128, RpcError> {
        Ok(self.ask::<U128>("eth_getBalance", json!([account, "latest"])).await?.to())
    }

    async fn call(&self, request: &CallRequest) -> Result<Vec<u8>, RpcError> {
        let answer: Bytes = self.ask("eth_call", json!([call_params(request), "latest"])).await?;
        Ok(answer.to_vec())
    }

    async fn estimate_gas(&self, request: &CallRequest) -> Result<u64, RpcError> {
        // Judged at the latest block: the pending one holds our own earlier attempt, after which the same
        // transfer would look refused.
        Ok(self.ask::<U64>("eth_estimateGas", json!([call_params(request), "latest"])).await?.to())
    }

    async fn fees(&self) -> Result<Fees, RpcError> {
        let block = self.raw_block(BlockAt::Latest).await?.ok_or(RpcError::Forged("no latest block"))?;
        let tip = match self.ask::<U128>("eth_maxPriorityFeePerGas", json!([])).await {
            Ok(tip) => tip.to(),
            Err(Failure::Final(RpcError::Refused { .. })) => PRIORITY_FEE_FALLBACK,
            Err(failure) => return Err(failure.into()),
        };
        // Twice the base fee outlasts six full blocks of its steepest rise.
        let max_fee_per_gas = block.base_fee().saturating_mul(2).saturating_add(tip);
        Ok(Fees { max_fee_per_gas, max_priority_fee_per_gas: tip })
    }

    async fn send_raw(&self, raw: &[u8]) -> Result<Broadcast, RpcError> {
        let params = json!([Bytes::copy_from_slice(raw)]);
        let question = self.client.request::<_, B256>("eth_sendRawTransaction", params);
        let answer = tokio::time::timeout(Duration::from_secs(ANSWER_SECS_MAX), question).await;
        let answer: Result<B256, TransportError> = answer.map_err(|_| RpcError::from(Failure::Timeout))?;
        match answer {
            Ok(hash) if hash == keccak256(raw) => Ok(Broadcast::Accepted),
            Ok(_) => Err(RpcError::Forged("another transaction hash")),
            Err(AlloyError::ErrorResp(payload)) if !wire::is_rate_limit(payload.code, &payload.message) => {
                Ok(wire::broadcast_answer(&payload.message))
            }
            Err(other) => Err(RpcError::Unavailable(wire::transport_text(&other))),
        }
    }

    async fn receipt(&self, tx_hash: Bytes32) -> Result<Option<Receipt>, RpcError> {
        let params = json!([B256::from(tx_hash)]);
        let answer: Option<WireReceipt> = self.ask("eth_getTransactionReceipt", params).await?;
        match answer.map(|receipt| receipt.into_receipt()) {
            Some(receipt) if receipt.tx_hash != tx_hash => Err(RpcError::Forged("another receipt")),
            answer => Ok(answer),
        }
    }
}
