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
}
