//! Against a node that answers what a script says.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::*;

const NETWORK: Network = Network::BaseSepolia;
const US: Wallet = Wallet([1; 20]);
const PAYER: Wallet = Wallet([2; 20]);
const NONCE: [u8; 32] = [9; 32];

/// What the node does with one question: an HTTP status and a body.
type Script = dyn Fn(&str, &Value) -> (u16, String) + Send + Sync;

/// Every question, in order: method and parameters.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

async fn node(script: Arc<Script>) -> (AlloyRpc, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let log = asked.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = serve(stream, &script, &log).await;
        }
    });
    (AlloyRpc::new(NETWORK, &url).unwrap(), asked)
}

async fn serve(mut stream: TcpStream, script: &Arc<Script>, log: &Asked) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let question = loop {
        let mut chunk = [0; 4096];
        let count = stream.read(&mut chunk).await?;
        bytes.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if let Ok(question) = serde_json::from_str::<Value>(body) {
            break question;
        }
    };
    let method = question["method"].as_str().unwrap().to_owned();
    let (status, result) = script(&method, &question["params"]);
    log.lock().unwrap().push((method, question["params"].clone()));
    let body = match status {
        200 => format!(r#"{{"jsonrpc":"2.0","id":{},{result}}}"#, question["id"]),
        _ => result,
    };
    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await
}

fn result(value: Value) -> (u16, String) {
    (200, format!(r#""result":{value}"#))
}

fn error(code: i64, message: &str) -> (u16, String) {
    (200, format!(r#""error":{}"#, json!({ "code": code, "message": message })))
}

fn number(value: &Value) -> u64 {
    u64::from_str_radix(&value.as_str().unwrap()[2..], 16).unwrap()
}

fn hash(number: u64) -> B256 {
    B256::left_padding_from(&number.to_be_bytes())
}

fn block(number: u64) -> Value {
    json!({
        "number": format!("{number:#x}"), "hash": hash(number), "parentHash": hash(number.wrapping_sub(1)),
        "timestamp": format!("{:#x}", number * 2), "baseFeePerGas": "0x7", "transactions": [{"type": "0x7e"}],
    })
}

fn log(number: u64, log_index: u64, topics: [Bytes32; 3], data: &[u8]) -> Value {
    json!({
        "address": crate::asset::usdc(NETWORK).address, "topics": topics.map(B256::from),
        "data": Bytes::copy_from_slice(data), "blockNumber": format!("{number:#x}"),
        "blockHash": hash(number),
        "transactionHash": B256::repeat_byte(5), "transactionIndex": "0x0",
        "logIndex": format!("{log_index:#x}"), "removed": false,
    })
}

/// Block 77 of 100 holds one payment.
fn logs_of(filter: &Value) -> Value {
    let (payer, us) = (scan::wallet_topic(PAYER), scan::wallet_topic(US));
    let used = log(77, 3, [scan::authorization_used_topic(), payer, NONCE], &[]);
    let amount = alloy::primitives::U256::from(5).to_be_bytes::<32>();
    let paid = log(77, 4, [scan::transfer_topic(), payer, us], &amount);
    let all = filter["topics"].as_array().unwrap().len() == 1;
    let here = match filter["blockHash"].as_str() {
        Some(asked) => asked == hash(77).to_string(),
        None => (number(&filter["fromBlock"])..=number(&filter["toBlock"])).contains(&77),
    };
    match (here, all) {
        (false, _) => json!([]),
        (true, false) => json!([paid]),
        (true, true) => json!([used, paid]),
    }
}

fn chain_of_100(method: &str, params: &Value) -> (u16, String) {
    match method {
        "eth_getBlockByNumber" if params[0] == "latest" => result(block(100)),
        "eth_getBlockByNumber" => result(block(number(&params[0]))),
        "eth_getLogs" => result(logs_of(&params[0])),
        other => panic!("not expected: {other}"),
    }
}

fn query(from: u64, to: u64) -> ScanQuery {
    ScanQuery { from, to, asset: crate::asset::usdc(NETWORK).address, payees: vec![US] }
}

// B12.
#[tokio::test]
async fn a_range_is_halved_until_the_node_takes_it_and_nothing_is_lost() {
    let picky = |method: &str, params: &Value| {
        let filter = &params[0];
        let wide = filter.get("fromBlock").is_some()
            && number(&filter["toBlock"]) - number(&filter["fromBlock"]) >= 10;
        if wide { error(-32005, "query exceeds max block range 10") } else { chain_of_100(method, params) }
    };
    let (rpc, asked) = node(Arc::new(picky)).await;
    let [found] = rpc.authorizations(&query(0, 100)).await.unwrap()[..] else { panic!("one sighting") };
    assert_eq!((found.nonce(), found.amount.0, found.timestamp), (Some(NONCE), 5, 154));

    let mut covered: Vec<u64> = Vec::new();
    for (method, params) in asked.lock().unwrap().iter().filter(|(m, _)| m == "eth_getLogs") {
        let filter = &params[0];
        if filter.get("fromBlock").is_some() {
            let range = number(&filter["fromBlock"])..=number(&filter["toBlock"]);
            covered.extend(range.clone().filter(|_| range.end() - range.start() < 10));
        }
        assert!(method == "eth_getLogs");
    }
    assert_eq!(covered, (0..=100).collect::<Vec<_>>(), "each block once, in order");
}

#[tokio::test]
async fn a_busy_node_is_asked_again_and_a_broken_one_is_unavailable() {
    let calls = Arc::new(Mutex::new(0));
    let count = calls.clone();
    let (rpc, _) = node(Arc::new(move |_: &str, _: &Value| {
        let mut calls = count.lock().unwrap();
        *calls += 1;
        match *calls {
            1 => (429, "slow down".to_owned()),
            2 => error(-32005, "rate limited"),
            _ => result(json!("0x14a34")),
        }
    }))
    .await;
    assert_eq!((rpc.chain_id().await, *calls.lock().unwrap()), (Ok(84532), 3));

    let (rpc, asked) = node(Arc::new(|_: &str, _: &Value| (502, "<html>".to_owned()))).await;
    assert!(matches!(rpc.send_raw(&[1]).await, Err(RpcError::Unavailable(_))));
    assert_eq!(asked.lock().unwrap().len(), 1, "a broadcast is tried once");
    assert!(matches!(rpc.chain_id().await, Err(RpcError::Unavailable(_))));
    assert_eq!(asked.lock().unwrap().len(), 5);
}

// B13.
#[tokio::test]
async fn answers_that_cannot_be_true_are_dropped() {
    let (rpc, _) = node(Arc::new(|method: &str, params: &Value| match method {
        "eth_getBlockByNumber" if params[0] == "0x8" => result(block(9)),
        "eth_sendRawTransaction" => result(json!(hash(1))),
        "eth_getLogs" => {
            let mut logs = logs_of(&params[0]);
            if let Some(log) = logs.get_mut(0) {
                log["address"] = json!(PAYER);
            }
            result(logs)
        }
        _ => chain_of_100(method, params),
    }))
    .await;
    assert!(matches!(rpc.block(8).await, Err(RpcError::Forged(_))));
    assert!(matches!(rpc.send_raw(&[1]).await, Err(RpcError::Forged(_))));
    assert!(matches!(rpc.authorizations(&query(70, 80)).await, Err(RpcError::Forged(_))));
    assert!(matches!(rpc.authorizations(&query(0, 100)).await, Err(RpcError::Forged(_))));
}

#[tokio::test]
async fn a_block_that_the_node_does_not_know_is_not_an_empty_one() {
    let (rpc, _) = node(Arc::new(|method: &str, params: &Value| match method {
        "eth_getLogs" => error(-32000, "unknown block"),
        _ => chain_of_100(method, params),
    }))
    .await;
    assert_eq!(rpc.authorizations(&query(70, 80)).await, Err(RpcError::Moved));
    assert_eq!(rpc.authorizations(&query(0, 101)).await, Err(RpcError::Moved));
}

#[tokio::test]
async fn a_contract_chooses_its_words_but_not_what_they_mean() {
    let (rpc, asked) = node(Arc::new(|method: &str, _: &Value| match method {
        "eth_call" => error(3, "execution reverted: more than the block range, rate limited, timeout"),
        _ => error(-39001, "safe block not found"),
    }))
    .await;
    let request = CallRequest { from: None, to: US, data: Vec::new() };
    assert!(matches!(rpc.call(&request).await, Err(RpcError::Reverted(_))));
    assert_eq!(asked.lock().unwrap().len(), 1, "a revert is an answer");
    assert_eq!(rpc.safe().await, Ok(None));
    assert_eq!(format!("{rpc:?}"), "AlloyRpc(eip155:84532)");
}
