//! A watcher that was away: how fast it reads what it missed, beside bare `eth_getLogs` over the same blocks of the
//! same node in the same run.

#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::time::{Duration, Instant};

use bench::{Table, per_second};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::PgPool;
use tests::{Lab, Wallet};

const ROUNDS: u64 = 12;
const BLOCKS_PER_ROUND: u64 = 400;
const TRANSFERS_PER_ROUND: usize = 20;
/// What the watcher asks for at once.
const CHUNK_BLOCKS: u64 = 2_000;
const TRANSFER_TOPIC: &str = "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef";

#[tokio::main]
async fn main() {
    let mut table = Table::new("watcher");
    let lab = Lab::start().await;
    let database = lab.database().await;
    let payee = lab.server.ready["payee"].as_str().unwrap().to_owned();
    caught_up(&lab, &database).await;
    lab.server.signal(Signal::SIGSTOP);
    let first = lab.chain.block_number().await + 1;
    backlog(&lab, &payee).await;
    let last = lab.chain.block_number().await;
    let blocks = usize::try_from(last + 1 - first).unwrap();

    let (bare, logs) = bare(&lab, &payee, (first, last)).await;
    lab.server.signal(Signal::SIGCONT);
    let started = Instant::now();
    caught_up(&lab, &database).await;
    let ours = started.elapsed();
    let seen: i64 = sqlx::query_scalar("select count(*) from sightings").fetch_one(&database).await.unwrap();
    assert_eq!(usize::try_from(seen).unwrap(), logs, "both see the same");
    let what = format!("catch up over {blocks} blocks with {logs} transfers to us");
    let beside = Some(("bare eth_getLogs", per_second(blocks, bare)));
    table.rate(&what, "blocks/s", per_second(blocks, ours), beside, "");
    table.finish(
        "the watcher's next look (up to a second), a time per block that holds money, and a synced commit for each \
         2,000 blocks; four of those between two looks",
    );
}

/// Blocks and transfers that nobody has seen.
async fn backlog(lab: &Lab, payee: &str) {
    lab.chain.hold_blocks().await;
    let payer = Wallet::random();
    lab.mint(&payer, 1_000_000_000).await;
    lab.chain.impersonate(&payer.address()).await;
    let data = format!("0xa9059cbb{:0>64}{:064x}", payee.trim_start_matches("0x"), 7);
    for _ in 0..ROUNDS {
        for _ in 0..TRANSFERS_PER_ROUND {
            lab.chain.send_with_gas(&payer.address(), &lab.token(), &data, 100_000).await;
        }
        lab.chain.mine(BLOCKS_PER_ROUND).await;
    }
}

/// The same ranges, asked one after the other; nothing is kept.
async fn bare(lab: &Lab, payee: &str, (first, last): (u64, u64)) -> (Duration, usize) {
    let to = format!("0x{:0>64}", payee.trim_start_matches("0x"));
    let (started, mut logs) = (Instant::now(), 0);
    for from in (first..=last).step_by(usize::try_from(CHUNK_BLOCKS).unwrap()) {
        let filter = json!([{
            "address": lab.token(), "topics": [TRANSFER_TOPIC, Value::Null, to],
            "fromBlock": format!("{from:#x}"), "toBlock": format!("{:#x}", last.min(from + CHUNK_BLOCKS - 1)),
        }]);
        logs += lab.chain.rpc("eth_getLogs", filter).await.as_array().unwrap().len();
    }
    (started.elapsed(), logs)
}

async fn caught_up(lab: &Lab, database: &PgPool) {
    let head = i64::try_from(lab.chain.block_number().await).unwrap();
    loop {
        let next: Option<i64> = sqlx::query_scalar("select max(next_block) from chain_cursors")
            .fetch_one(database)
            .await
            .unwrap();
        if next.is_some_and(|next| next > head) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
