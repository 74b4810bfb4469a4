//! The lab's chain, spoken to directly.

use serde_json::{Value, json};

/// JSON-RPC to the lab's anvil.
#[derive(Clone)]
pub struct Chain {
    http: reqwest::Client,
    url: String,
}

impl Chain {
    pub fn new(url: &str) -> Self {
        Self { http: reqwest::Client::new(), url: url.to_owned() }
    }

    /// The result of a call; panics with the node's error.
    pub async fn rpc(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer: Value = self.http.post(&self.url).json(&body).send().await.unwrap().json().await.unwrap();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// USDC base units of an address.
    pub async fn usdc_balance(&self, token: &str, address: &str) -> u128 {
        let data = format!("0x70a08231000000000000000000000000{}", address.trim_start_matches("0x"));
        let hex = self.rpc("eth_call", json!([{ "to": token, "data": data }, "latest"])).await;
        u128::from_str_radix(hex.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }

    /// Stops making blocks: transactions stay pending.
    pub async fn hold_blocks(&self) {
        self.rpc("evm_setIntervalMining", json!([0])).await;
        self.rpc("evm_setAutomine", json!([false])).await;
    }

    /// One block a second again.
    pub async fn release_blocks(&self) {
        self.rpc("evm_setIntervalMining", json!([1])).await;
    }

    pub async fn block_number(&self) -> u64 {
        let hex = self.rpc("eth_blockNumber", json!([])).await;
        u64::from_str_radix(hex.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }

    /// Makes empty blocks, or takes up what waits in the pool.
    pub async fn mine(&self, blocks: u64) {
        self.rpc("anvil_mine", json!([format!("{blocks:#x}")])).await;
    }

    /// Replaces the newest blocks. Each raw transaction is mined again in the new block of its offset; all
    /// others are gone.
    pub async fn reorg(&self, depth: u64, again: &[(String, u64)]) {
        let pairs: Vec<Value> = again.iter().map(|(raw, offset)| json!([raw, offset])).collect();
        self.rpc("anvil_reorg", json!([depth, pairs])).await;
    }

    /// Sends a transaction in somebody's name, with a bid that comes before ours; answers its hash.
    pub async fn send_as(&self, from: &str, to: &str, data: &str) -> String {
        self.impersonate(from).await;
        self.send_with_gas(from, to, data, 250_000).await
    }

    /// Lets `from` send without a key, and pays its gas.
    pub async fn impersonate(&self, from: &str) {
        self.rpc("anvil_setBalance", json!([from, "0x3635c9adc5dea00000"])).await;
        self.rpc("anvil_impersonateAccount", json!([from])).await;
    }

    pub async fn send_with_gas(&self, from: &str, to: &str, data: &str, gas: u64) -> String {
        let bid = "0x174876e800";
        let request = json!({
            "from": from, "to": to, "data": data, "gas": format!("{gas:#x}"), "maxFeePerGas": bid,
            "maxPriorityFeePerGas": bid,
        });
        self.rpc("eth_sendTransaction", json!([request])).await.as_str().unwrap().to_owned()
    }

    /// Transactions that wait to be mined next.
    pub async fn pending(&self) -> u64 {
        let hex = self.rpc("txpool_status", json!([])).await["pending"].clone();
        u64::from_str_radix(hex.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    }

    /// Forgets everything that waits.
    pub async fn drop_pool(&self) {
        self.rpc("anvil_dropAllTransactions", json!([])).await;
    }

    pub async fn set_code(&self, at: &str, code: &str) {
        self.rpc("anvil_setCode", json!([at, code])).await;
    }

    pub async fn set_storage(&self, at: &str, slot: &str, value: u64) {
        self.rpc("anvil_setStorageAt", json!([at, slot, format!("0x{value:064x}")])).await;
    }

    pub async fn receipt(&self, tx_hash: &str) -> Value {
        self.rpc("eth_getTransactionReceipt", json!([tx_hash])).await
    }
}
