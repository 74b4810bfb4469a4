//! A node that lies, stalls and forgets: nothing is granted on its word alone, and nothing is lost by its
//! silence.

use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Act, Lab, LabOptions, RpcProxy, TIER_ROUTE as ROUTE, eventually, fresh_folder, target_binary};

use crate::watcher::{becomes, credited, let_it_work, number, presented, prove, rich_wallet, scanned, text};

const PRICE: u128 = 100_000;
const STATE: &str = "select state from payments order by created_at desc limit 1";
const CREDITED: &str = "select count(*) from payments where state = 'credited'";

/// A lab whose server sees its chain through as many proxies.
async fn lab_behind(count: usize, args: &[&str]) -> (Lab, Vec<RpcProxy>) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let upstream = format!("http://{port}");
    let mut all = vec!["--chain-listen".to_owned(), port.to_string()];
    let mut proxies = Vec::new();
    for _ in 0..count {
        let proxy = RpcProxy::start(&upstream).await;
        all.extend(["--chain-rpc".to_owned(), proxy.url.clone()]);
        proxies.push(proxy);
    }
    all.extend(args.iter().map(|word| (*word).to_owned()));
    let lab = Lab::start_with(LabOptions { args: all, ..LabOptions::default() }).await;
    (lab, proxies)
}

/// The hash that a node would answer to a broadcast.
fn hash_of(params: &Value) -> Value {
    let raw = hex::decode(params[0].as_str().unwrap().trim_start_matches("0x")).unwrap();
    json!(alloy::primitives::keccak256(raw).to_string())
}

// A08, A09, A10, A32: what a node says to a broadcast is no evidence, in either direction. Each lie once, with a
// payment of its own; several at once share the fee payer's nonces.
#[tokio::test]
async fn whatever_a_node_says_to_a_broadcast_a_payment_is_granted_once_when_it_is_mined() {
    let (lab, proxies) = lab_behind(1, &[]).await;
    let (proxy, database) = (&proxies[0], lab.database().await);
    type Lie = fn(&Value) -> Act;
    let lies: [(&str, Lie); 8] = [
        ("accepted and forgotten", |params| Act::Answer(hash_of(params))),
        ("an error although accepted", |_| Act::DoneButError(-32000, "internal error")),
        ("no answer although accepted", |_| Act::Lost),
        ("already known although dropped", |_| Act::Error(-32000, "already known")),
        ("nonce too low although not", |_| Act::Error(-32000, "nonce too low: next nonce 7, tx nonce 3")),
        ("underpriced although accepted", |_| {
            Act::DoneButError(-32000, "replacement transaction underpriced")
        }),
        ("a page instead of JSON", |_| Act::Http(502, "<html>Bad Gateway</html>")),
        ("a success with the wrong status", |_| Act::Http(503, r#"{"jsonrpc":"2.0","id":1,"result":"0x1"}"#)),
    ];
    let mut waiting = Vec::new();
    for (what, lie) in lies {
        let wallet = rich_wallet(&lab).await;
        let proof = prove(&lab, &wallet).await;
        proxy.first("eth_sendRawTransaction", 1, lie);
        let asked = proxy.calls("eth_sendRawTransaction");
        let request = presented(&lab, &wallet, &proof.payment);
        eventually(what, 20, || async { (proxy.calls("eth_sendRawTransaction") > asked).then_some(()) })
            .await;
        waiting.push((what, wallet, proof, request));
    }
    for (what, wallet, proof, request) in waiting {
        let answer = request.await.unwrap();
        assert!(matches!(answer.status, 200 | 409), "{what}: {answer:?}");
        let body = credited(&lab, &wallet, &proof.payment).await;
        assert_eq!(body["action"], "subscribe", "{what}");
        assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 9 * PRICE, "{what}");
    }
    assert_eq!(number(&database, "select count(*) from purchases").await, 8);
    let nonces = "select count(distinct nonce) from chain_txs where purpose = 'settle'";
    assert_eq!(number(&database, nonces).await, 8, "one nonce each");
    lab.assert_books_agree();
}

// A10, A09: every broadcast is "accepted" and none arrives: never a grant, never a second bill, and all is well
// when the node comes to its senses.
#[tokio::test]
async fn a_broadcast_that_never_arrives_grants_nothing_and_is_repeated() {
    let (lab, proxies) = lab_behind(1, &[]).await;
    let (proxy, database) = (&proxies[0], lab.database().await);
    let wallet = rich_wallet(&lab).await;
    let proof = prove(&lab, &wallet).await;
    proxy.on("eth_sendRawTransaction", |params| Act::Answer(hash_of(params)));
    // And the node says that it is mined, and worked.
    let block = lab.chain.rpc("eth_getBlockByNumber", json!(["latest", false])).await;
    proxy.on("eth_getTransactionReceipt", move |params| {
        Act::Answer(json!({
            "transactionHash": params[0], "blockNumber": block["number"], "blockHash": block["hash"],
            "status": "0x1", "gasUsed": "0x5208", "effectiveGasPrice": "0x1",
        }))
    });
    let waiting = presented(&lab, &wallet, &proof.payment);
    eventually("repeated broadcasts", 20, || async {
        (proxy.calls("eth_sendRawTransaction") >= 2).then_some(())
    })
    .await;
    assert_eq!(text(&database, STATE).await, "settling");
    assert_eq!(number(&database, CREDITED).await, 0);
    assert!(!waiting.is_finished());
    proxy.honest();
    assert_eq!(credited(&lab, &wallet, &proof.payment).await["action"], "subscribe");
    assert_eq!(number(&database, "select count(*) from purchases").await, 1);
    lab.assert_books_agree();
}

// B12: ranges that are too large, rate limits, time-outs and lost connections. B13: forged logs of every kind,
// and a head that lags. Nothing is lost, nothing is invented, and meanwhile nothing is skipped.
#[tokio::test]
async fn a_scan_survives_refusals_and_believes_no_forgery() {
    let (lab, proxies) = lab_behind(1, &[]).await;
    let (proxy, database) = (&proxies[0], lab.database().await);
    let payee = lab.server.ready["payee"].as_str().unwrap().to_owned();
    let payer = rich_wallet(&lab).await.address();
    let transfer = format!("0xa9059cbb{:0>64}{:064x}", payee.trim_start_matches("0x").to_lowercase(), 5);
    let count = "select count(*) from sightings where canonical";
    let next = "select next_block from chain_cursors";

    // Away, while 600 blocks with transfers here and there are made.
    proxy.on("eth_getBlockByNumber", |_| Act::Http(429, "too many requests"));
    lab.chain.hold_blocks().await;
    for _ in 0..12 {
        lab.chain.send_as(&payer, &lab.token(), &transfer).await;
        lab.chain.mine(50).await;
    }
    let_it_work().await;
    assert_eq!(number(&database, count).await, 0);
    let before = number(&database, next).await;
    proxy.honest();
    let asked = AtomicU64::new(0);
    proxy.on("eth_getLogs", move |params| {
        let block = |name: &str| {
            let hex = params[0][name].as_str()?.trim_start_matches("0x");
            u64::from_str_radix(hex, 16).ok()
        };
        let length = block("toBlock").zip(block("fromBlock")).map_or(0, |(to, from)| to - from);
        match asked.fetch_add(1, Ordering::SeqCst) % 4 {
            _ if length > 99 => Act::Error(-32602, "query exceeds max block range 100"),
            1 => Act::Http(429, "slow down"),
            2 => Act::Error(-32005, "daily limit exceeded"),
            _ => Act::Honest,
        }
    });
    becomes(&database, 12, count).await;
    assert!(number(&database, next).await > before + 590);
    lab.chain.release_blocks().await;
    proxy.honest();
    scanned(&lab, &database).await;

    // One real transfer, and forgeries beside it.
    type Forge = fn(&mut Value);
    let forgeries: [(&str, Forge); 7] = [
        ("another address", |log| log["address"] = json!("0x00000000000000000000000000000000000000aa")),
        ("a topic less", |log| drop(log["topics"].as_array_mut().unwrap().pop())),
        ("short data", |log| log["data"] = json!("0x05")),
        ("long data", |log| log["data"] = json!(format!("0x{:0128x}", 5))),
        ("dirty high bytes", |log| {
            let dirty = log["topics"][2].as_str().unwrap().replacen("0x00", "0x01", 1);
            log["topics"][2] = json!(dirty);
        }),
        ("another block", |log| log["blockHash"] = json!(format!("0x{:064x}", 7))),
        ("a removed log", |log| log["removed"] = json!(true)),
    ];
    let held = number(&database, next).await;
    // Each answer is forged in the next way. Every block takes two questions, so each way has its turn at both.
    let turn = AtomicU64::new(0);
    proxy.on("eth_getLogs", move |_| {
        let (_, forge) = forgeries[usize::try_from(turn.fetch_add(1, Ordering::SeqCst)).unwrap() % 7];
        Act::Edit(Box::new(move |mut logs| {
            if let Some(log) = logs.as_array().and_then(|logs| logs.first()).cloned() {
                let mut forged = log;
                forge(&mut forged);
                forged["logIndex"] = json!("0x63");
                logs.as_array_mut().unwrap().push(forged);
            }
            logs
        }))
    });
    lab.chain.send_as(&payer, &lab.token(), &transfer).await;
    let asked = proxy.calls("eth_getLogs");
    eventually("questions about it", 30, || async {
        (proxy.calls("eth_getLogs") > asked + 14).then_some(())
    })
    .await;
    assert_eq!(number(&database, count).await, 12, "a block with a forgery is not believed");
    assert!(number(&database, next).await <= held + 3, "nothing is skipped");
    proxy.honest();
    becomes(&database, 13, count).await;

    // A head that stays behind: nothing is taken for gone.
    let old = lab.chain.rpc("eth_getBlockByNumber", json!(["latest", false])).await;
    scanned(&lab, &database).await;
    proxy.on("eth_getBlockByNumber", move |params| {
        if params[0] == "latest" { Act::Answer(old.clone()) } else { Act::Honest }
    });
    let_it_work().await;
    assert_eq!(number(&database, count).await, 13);
    proxy.honest();
    // Connections that just close are asked again.
    proxy.first("eth_getBlockByNumber", 2, |_| Act::Lost);
    scanned(&lab, &database).await;
    assert_eq!(number(&database, "select count(*) from sightings").await, 13, "none was doubted");
    lab.assert_books_agree();
}

// B13, B20: an endpoint of another chain, or one whose USDC signs under another domain: a server refuses to
// start and says why.
#[tokio::test]
async fn a_server_refuses_to_start_on_another_chain_or_another_token() {
    let config = fresh_folder().with_extension("toml");
    let (lab, proxies) = lab_behind(1, &["--write-serve-config", &config.display().to_string()]).await;
    let refused = || async {
        let mut serve = Command::new(target_binary("run402d"));
        serve.arg("serve").arg("--config").arg(&config);
        let output = tokio::task::spawn_blocking(move || serve.output().unwrap()).await.unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    proxies[0].on("eth_chainId", |_| Act::Answer(json!("0x2105")));
    let said = refused().await;
    assert!(said.contains("8453") && said.contains("84532"), "{said}");
    proxies[0].honest();
    // The domain separator after a fork that changed the chain's id or the token's version.
    proxies[0].on("eth_call", |params| match params[0]["data"].as_str().or(params[0]["input"].as_str()) {
        Some("0x3644e515") => Act::Answer(json!(format!("0x{:064x}", 9))),
        _ => Act::Honest,
    });
    let said = refused().await;
    assert!(said.contains("USDC contract"), "{said}");
    proxies[0].honest();
    assert_eq!(lab.get("/health").await.status, 200, "the other server was not touched");
    let _ = std::fs::remove_file(config);
}

// B21: a transaction is stuck, a higher bid replaces it, and then the first one is mined after all.
#[tokio::test]
async fn of_two_bids_under_one_nonce_whichever_is_mined_settles_once() {
    let (lab, proxies) = lab_behind(1, &[]).await;
    let (proxy, database) = (&proxies[0], lab.database().await);
    for old_one_is_mined in [true, false] {
        let wallet = rich_wallet(&lab).await;
        let proof = prove(&lab, &wallet).await;
        lab.chain.hold_blocks().await;
        let waiting = presented(&lab, &wallet, &proof.payment);
        eventually("the first bid", 20, || async { (lab.chain.pending().await == 1).then_some(()) }).await;
        // Twenty seconds pass for it.
        let age = "update chain_txs set created_at = created_at - interval '30 seconds'
                   where state in ('intended', 'sent')";
        sqlx::query(age).execute(&database).await.unwrap();
        becomes(
            &database,
            2,
            "select max(attempt)::bigint from chain_txs
             where intent = (select id from payments order by created_at desc limit 1)",
        )
        .await;
        let hash = |attempt: &'static str| text(&database, attempt);
        let old = "select '0x' || encode(hash, 'hex') from chain_txs
                   where purpose = 'settle' order by created_at desc offset 1 limit 1";
        let new = "select '0x' || encode(hash, 'hex') from chain_txs
                   where purpose = 'settle' order by created_at desc limit 1";
        let (old, new) = (hash(old).await, hash(new).await);
        if old_one_is_mined {
            let raw = "select '0x' || encode(raw, 'hex') from chain_txs
                       where purpose = 'settle' order by created_at desc offset 1 limit 1";
            let raw = text(&database, raw).await;
            proxy.on("eth_sendRawTransaction", |_| Act::Error(-32000, "already known"));
            lab.chain.drop_pool().await;
            lab.chain.rpc("eth_sendRawTransaction", json!([raw])).await;
        }
        lab.chain.mine(1).await;
        proxy.honest();
        lab.chain.release_blocks().await;
        let answer = waiting.await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        let mined = text(
            &database,
            "select '0x' || encode(tx_hash, 'hex') from sightings
                                     where canonical order by block_number desc limit 1",
        )
        .await;
        assert_eq!(mined, if old_one_is_mined { old } else { new });
        assert_eq!(lab.chain.usdc_balance(&lab.token(), &wallet.address()).await, 9 * PRICE);
    }
    let twice = "select count(*) from (select intent from chain_txs where succeeded group by 1
                 having count(*) > 1) t";
    becomes(&database, 0, "select count(*) from chain_txs where state in ('intended', 'sent')").await;
    assert_eq!(number(&database, twice).await, 0);
    assert_eq!(
        number(&database, "select count(distinct nonce) from chain_txs where purpose = 'settle'").await,
        2
    );
    lab.assert_books_agree();
}

// B10: of two nodes one hides a payment, then one invents one. Nothing is credited on the word of one, the
// contradiction is an alarm, and it ends when they agree.
#[tokio::test]
async fn two_nodes_must_agree_before_anything_is_credited() {
    let (lab, proxies) = lab_behind(2, &[]).await;
    let database = lab.database().await;
    let wallet = rich_wallet(&lab).await;
    let proof = prove(&lab, &wallet).await;
    proxies[1].on("eth_getLogs", |_| Act::Answer(json!([])));
    let waiting = presented(&lab, &wallet, &proof.payment);
    eventually("the money", 20, || async {
        (lab.chain.usdc_balance(&lab.token(), &wallet.address()).await == 9 * PRICE).then_some(())
    })
    .await;
    lab.expect_error("contradict one another");
    eventually("the alarm", 30, || async {
        lab.server.log.lock().unwrap().contains("contradict one another").then_some(())
    })
    .await;
    assert_eq!(number(&database, "select count(*) from sightings").await, 0);
    assert_eq!(text(&database, STATE).await, "settling");
    proxies[1].honest();
    let answer = waiting.await.unwrap();
    assert!(matches!(answer.status, 200 | 409), "{answer:?}");
    assert_eq!(credited(&lab, &wallet, &proof.payment).await["action"], "subscribe");

    // The other way about: one node tells of more money than there is.
    let payee = lab.server.ready["payee"].as_str().unwrap().to_lowercase();
    let transfer = format!("0xa9059cbb{:0>64}{:064x}", payee.trim_start_matches("0x"), 5);
    proxies[0].on("eth_getLogs", |_| {
        Act::Edit(Box::new(|mut logs| {
            for log in logs.as_array_mut().into_iter().flatten() {
                if log["data"] == format!("0x{:064x}", 5) {
                    log["data"] = json!(format!("0x{:064x}", 5_000_000));
                }
            }
            logs
        }))
    });
    let hash = lab.chain.send_as(&wallet.address(), &lab.token(), &transfer).await;
    eventually("the transfer", 10, || async { lab.chain.receipt(&hash).await.is_object().then_some(()) })
        .await;
    let_it_work().await;
    assert_eq!(number(&database, "select count(*) from sightings").await, 1, "a minority is not believed");
    proxies[0].honest();
    // One of them is away: nothing moves, nothing is wrong, and then it goes on.
    proxies[0].on("eth_getBlockByNumber", |_| Act::Http(503, "away"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    proxies[0].honest();
    assert_eq!(lab.pay(&wallet, ROUTE).await.status, 200);
    assert_eq!(number(&database, "select max(amount_micros) from sightings").await, PRICE as i64);
    lab.assert_books_agree();
}
