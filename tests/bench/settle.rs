//! Many valid payments at once against a lab with a block a second: all must succeed. Beside it, as many plain
//! token transfers sent straight to the same chain.

#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bench::{Latencies, SEED, Table};
use chain::lane::{erc20_transfer, sign};
use chain::rpc::Fees;
use chain::signer::{KeySecret, LocalSigner, Signer};
use futures::future::join_all;
use serde_json::{Value, json};
use tests::{Answer, Lab, Wallet};
use types::{Network, UsdMicros};

const PAYMENTS: usize = 64;
const ROUTE: &str = "/tiers/v1/prototype";
const WAIT_SECS_MAX: u64 = 30;

#[tokio::main]
async fn main() {
    let mut table = Table::new("settle");
    let lab = Lab::start().await;
    // The first payment of a lab opens the lane and the watcher's way; it is not what is measured.
    lab.subscribed_wallet().await;
    let mut bare = Run::of_transfers(&lab).await;
    let mut ours = Run::of_payments(&lab).await;
    lab.assert_books_agree();
    let what = format!("{PAYMENTS} concurrent payments, all succeeded");
    let beside = Some(("plain transfers, same chain", bare.per_second()));
    table.rate(&what, "payments/s", ours.per_second(), beside, &ours.latencies.text());
    table.rate("the same, by block", "payments/block", ours.per_block(), Some(("", bare.per_block())), "");
    let fullest = |run: &Run| run.blocks.values().copied().max().unwrap_or_default() as f64;
    table.rate("in the fullest block", "payments", fullest(&ours), Some(("", fullest(&bare))), "");
    table.row(["plain transfers, same chain", "", "", "", "", "", &bare.latencies.text()]);
    println!("blocks of ours: {:?}; of the plain transfers: {:?}", ours.sizes(), bare.sizes());
    table.finish(
        "the chain's second: a payment waits for its block, then for the watcher to see it; one fee payer signs and \
         sends in nonce order",
    );
}

/// What became of as many things as were sent at once.
struct Run {
    latencies: Latencies,
    took: Duration,
    /// How many landed in each block.
    blocks: BTreeMap<u64, usize>,
}

impl Run {
    fn per_second(&self) -> f64 {
        bench::per_second(PAYMENTS, self.took)
    }

    fn per_block(&self) -> f64 {
        PAYMENTS as f64 / self.blocks.len().max(1) as f64
    }

    fn sizes(&self) -> Vec<usize> {
        self.blocks.values().copied().collect()
    }

    async fn of_payments(lab: &Lab) -> Self {
        let wallets: Vec<Wallet> = (0..PAYMENTS).map(|_| Wallet::random()).collect();
        let mut payments = Vec::new();
        for wallet in &wallets {
            lab.mint(wallet, 1_000_000).await;
            let (challenge, offer) = lab.challenge(wallet, ROUTE).await;
            payments.push(wallet.payment(&challenge, &offer, &wallet.authorize(&offer)));
        }
        let started = Instant::now();
        let sent = wallets.iter().zip(&payments).map(|(wallet, payment)| async move {
            let asked = Instant::now();
            let answer = lab.present(wallet, ROUTE, payment).await;
            (answer, asked.elapsed())
        });
        let answers = join_all(sent).await;
        let took = started.elapsed();
        let (mut latencies, mut blocks) = (Latencies::default(), BTreeMap::new());
        for (answer, latency) in answers {
            assert_eq!(answer.status, 200, "{answer:?}");
            latencies.add(latency);
            *blocks.entry(block_of(lab, &answer).await).or_default() += 1;
        }
        Self { latencies, took, blocks }
    }

    /// Transfers by one key in nonce order, like a fee payer's lane, without anything around them.
    async fn of_transfers(lab: &Lab) -> Self {
        let key = Wallet::random();
        let secret: [u8; 32] =
            hex::decode(key.key_hex().trim_start_matches("0x")).unwrap().try_into().unwrap();
        let signer = LocalSigner::new(&KeySecret::new(Box::new(secret))).unwrap();
        lab.mint(&key, 1_000_000).await;
        lab.chain.rpc("anvil_setBalance", json!([key.address(), "0x8ac7230489e80000"])).await;
        let mut raws = HashMap::new();
        for nonce in 0..PAYMENTS as u64 {
            let fees = Fees { max_fee_per_gas: 20_000_000_000, max_priority_fee_per_gas: 1_000_000_000 };
            let slot = chain::lane::Slot { network: Network::BaseSepolia, nonce, gas_limit: 120_000, fees };
            let token = lab.token().parse().unwrap();
            let effect = erc20_transfer(token, types::Wallet([1; 20]), UsdMicros(SEED as i64)).unwrap();
            let signed = sign(&effect.at(slot), &signer as &dyn Signer).await.unwrap();
            raws.insert(format!("0x{}", hex::encode(signed.hash)), (nonce, signed.raw));
        }
        let started = Instant::now();
        let mut ordered: Vec<_> = raws.values().collect();
        ordered.sort_by_key(|(nonce, _)| *nonce);
        join_all(ordered.into_iter().map(|(_, raw)| async move {
            lab.chain.rpc("eth_sendRawTransaction", json!([format!("0x{}", hex::encode(raw))])).await
        }))
        .await;
        Self::mined(lab, raws.into_keys().collect(), started).await
    }

    /// Looks at each block as it comes until every transaction was in one.
    async fn mined(lab: &Lab, mut waiting: Vec<String>, started: Instant) -> Self {
        let (mut latencies, mut blocks) = (Latencies::default(), BTreeMap::new());
        let mut next = lab.chain.block_number().await.saturating_sub(1);
        while !waiting.is_empty() {
            assert!(started.elapsed() < Duration::from_secs(WAIT_SECS_MAX), "{} not mined", waiting.len());
            if lab.chain.block_number().await < next {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            let block = lab.chain.rpc("eth_getBlockByNumber", json!([format!("{next:#x}"), false])).await;
            let took = started.elapsed();
            let inside: Vec<Value> = block["transactions"].as_array().cloned().unwrap_or_default();
            let before = waiting.len();
            waiting.retain(|hash| !inside.iter().any(|one| one == hash.as_str()));
            let here = before - waiting.len();
            (0..here).for_each(|_| latencies.add(took));
            if here > 0 {
                blocks.insert(next, here);
            }
            next += 1;
        }
        Self { latencies, took: started.elapsed(), blocks }
    }
}

async fn block_of(lab: &Lab, answer: &Answer) -> u64 {
    let header = answer.headers["payment-response"].to_str().unwrap();
    let response: Value = serde_json::from_slice(&STANDARD.decode(header).unwrap()).unwrap();
    let receipt = lab.chain.rpc("eth_getTransactionReceipt", json!([response["transaction"]])).await;
    let number = receipt["blockNumber"].as_str().unwrap();
    u64::from_str_radix(number.trim_start_matches("0x"), 16).unwrap()
}
