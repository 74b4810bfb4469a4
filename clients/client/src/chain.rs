//! The chain as seen by a wallet: what it holds, and whether a transaction is in.

use std::time::Duration;

use alloy::primitives::U256;
use serde_json::{Value, json};
use tokio::time::sleep;
use types::{Network, UsdMicros, Wallet};

use crate::x402::usdc;
use crate::{ClientError, LocalError};

const RPC_TIMEOUT: Duration = Duration::from_secs(5);
/// Looks at a transaction, a second apart.
const RECEIPT_LOOKS_MAX: u32 = 30;

/// What the wallet holds in USDC.
///
/// # Errors
/// `Network` when the node does not answer, `CHAIN_RPC` when it answers with an error.
pub async fn usdc_balance(
    http: &reqwest::Client,
    rpc: &str,
    network: Network,
    wallet: Wallet,
) -> Result<UsdMicros, ClientError> {
    // balanceOf(address)
    let data = format!("0x70a08231{:0>64}", hex::encode(wallet.0));
    let call = json!([{ "to": usdc(network).to_checksum(None), "data": data }, "latest"]);
    let answer = rpc_call(http, rpc, "eth_call", call).await?;
    let units = answer.as_str().and_then(|text| text.parse::<U256>().ok());
    let micros = units.and_then(|units| i64::try_from(units).ok());
    micros.map(UsdMicros).ok_or_else(|| bad_answer("eth_call", &answer).into())
}

/// Waits until the transaction is in a block. False when it still is not after half a minute.
///
/// # Errors
/// `Network` when the node does not answer, `CHAIN_RPC` when it answers with an error.
pub async fn wait_for_receipt(http: &reqwest::Client, rpc: &str, hash: &str) -> Result<bool, ClientError> {
    for _ in 0..RECEIPT_LOOKS_MAX {
        if !rpc_call(http, rpc, "eth_getTransactionReceipt", json!([hash])).await?.is_null() {
            return Ok(true);
        }
        sleep(Duration::from_secs(1)).await;
    }
    Ok(false)
}

async fn rpc_call(
    http: &reqwest::Client,
    rpc: &str,
    method: &'static str,
    params: Value,
) -> Result<Value, ClientError> {
    let lost = |source| ClientError::Network { during: format!("asking the chain ({method})"), source };
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let response = http.post(rpc).timeout(RPC_TIMEOUT).json(&body).send().await.map_err(lost)?;
    let mut answer: Value = response.json().await.map_err(lost)?;
    match answer.get_mut("result") {
        Some(result) => Ok(result.take()),
        None => Err(bad_answer(method, &answer).into()),
    }
}

fn bad_answer(method: &str, answer: &Value) -> LocalError {
    let why = answer["error"]["message"].as_str().unwrap_or("no result");
    LocalError::new("CHAIN_RPC", format!("the chain node refused {method}: {why}"))
}

impl crate::Client {
    /// What the client's wallet holds on that network, read from that node.
    ///
    /// # Errors
    /// As [`usdc_balance`], and `NO_ALLOWANCE`.
    pub async fn usdc_balance(&self, rpc: &str, network: Network) -> Result<UsdMicros, ClientError> {
        usdc_balance(&self.http, rpc, network, self.wallet()?.wallet()).await
    }

    /// As [`wait_for_receipt`].
    ///
    /// # Errors
    /// As [`wait_for_receipt`].
    pub async fn wait_for_receipt(&self, rpc: &str, hash: &str) -> Result<bool, ClientError> {
        wait_for_receipt(&self.http, rpc, hash).await
    }
}
