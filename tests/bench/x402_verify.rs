//! Verifying presented payments, beside bare secp256k1 recovery by the same library in the same run.

#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use alloy::primitives::{B256, Signature};
use alloy::signers::SignerSync;
use alloy::signers::local::PrivateKeySigner;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bench::{Latencies, SEED, Table, alternate, per_second};
use chain::x402::Offer;
use chain::x402::verify::{check, signing_digest};
use chain::x402::wire::{Authorization, Presented, Requirements, decode};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use types::{Network, UsdMicros, Wallet};

const NETWORK: Network = Network::BaseSepolia;
const NOW: u64 = 1_900_000_000;
const PAYMENTS: usize = 512;
const CALLERS: usize = 16;
const TURN: Duration = Duration::from_millis(100);
const TURNS: usize = 25;

struct Payment {
    header: String,
    presented: Presented,
    digest: B256,
    signature: Signature,
}

/// One offer, and payments for it by as many payers.
struct World {
    offers: Vec<Offer>,
    payments: Vec<Payment>,
}

fn main() {
    let world = Arc::new(World::new());
    let mut table = Table::new("x402-verify");
    one_core(&world, &mut table);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(many_callers(&world, &mut table));
    table.finish(
        "the two multiplications on secp256k1 with which the library recovers and then checks a key (k256, portable \
         Rust); our rules, hashing, JSON and base64 are what the ratio lacks of 1",
    );
}

fn one_core(world: &World, table: &mut Table) {
    let pick = |n: usize| &world.payments[n % PAYMENTS];
    let mut bare = |n: usize| drop(black_box(bare(pick(n))));
    let mut checked = |n: usize| {
        black_box(check(&pick(n).presented, &world.offers, NOW).unwrap());
    };
    let mut decoded = |n: usize| drop(black_box(decode(Some(&pick(n).header), None).unwrap().unwrap()));
    let mut whole = |n: usize| verify(world, pick(n));
    let [bare, checked, decoded, whole] =
        alternate(TURN, TURNS, [&mut bare, &mut checked, &mut decoded, &mut whole]);
    let limit = Some(("bare recovery, one core", bare));
    table.rate("check, one core", "1/core s", checked, limit, "");
    table.rate("decode the header and check, one core", "1/core s", whole, limit, "");
    table.rate("decode the header, one core", "1/core s", decoded, None, "");
}

/// As many callers as the issue asks for, on as many threads as there are cores. A caller's time includes its
/// waiting for a thread.
async fn many_callers(world: &Arc<World>, table: &mut Table) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut latencies = Latencies::default();
    for _ in 0..TURNS {
        theirs.push(turn(world, |_, payment| drop(black_box(bare(payment)))).await.0);
        let (rate, took) = turn(world, verify).await;
        ours.push(rate);
        latencies.extend(took);
    }
    let (ours, theirs) = (bench::median(&mut ours), bench::median(&mut theirs));
    let limit = Some(("bare recovery, 16 callers", theirs));
    table.rate("decode and check, 16 callers", "1/s", ours, limit, &latencies.text());
}

async fn turn(world: &Arc<World>, work: fn(&World, &Payment)) -> (f64, Latencies) {
    let started = Instant::now();
    let callers = (0..CALLERS).map(|caller| {
        let world = world.clone();
        tokio::spawn(async move {
            let mut latencies = Latencies::default();
            while started.elapsed() < TURN {
                let asked = Instant::now();
                tokio::task::yield_now().await;
                work(&world, &world.payments[(caller * 31 + latencies.len()) % PAYMENTS]);
                latencies.add(asked.elapsed());
            }
            latencies
        })
    });
    let mut all = Latencies::default();
    for caller in callers.collect::<Vec<_>>() {
        all.extend(caller.await.unwrap());
    }
    (per_second(all.len(), started.elapsed()), all)
}

fn bare(payment: &Payment) -> impl Sized {
    payment.signature.recover_from_prehash(&payment.digest).unwrap()
}

/// What the server does with a header before it asks the chain.
fn verify(world: &World, payment: &Payment) {
    let presented = decode(Some(&payment.header), None).unwrap().unwrap();
    black_box(check(&presented, &world.offers, NOW).unwrap());
}

impl World {
    fn new() -> Self {
        let mut random = StdRng::seed_from_u64(SEED);
        let offer =
            |amount| Offer { network: NETWORK, amount, pay_to: Wallet([0xee; 20]), max_timeout_secs: 300 };
        let offers = vec![offer(UsdMicros(100_000))];
        let payments = (0..PAYMENTS).map(|_| Payment::new(&mut random, &offers[0])).collect();
        Self { offers, payments }
    }
}

impl Payment {
    fn new(random: &mut StdRng, offer: &Offer) -> Self {
        let key = PrivateKeySigner::from_slice(&random.random::<[u8; 32]>()).unwrap();
        let authorization = Authorization {
            from: Wallet(key.address().into_array()),
            to: offer.pay_to,
            value: offer.amount,
            valid_after: NOW - 600,
            valid_before: NOW + 300,
            nonce: random.random(),
        };
        let digest = B256::from(signing_digest(&authorization, NETWORK));
        let signature = key.sign_hash_sync(&digest).unwrap();
        let header = STANDARD.encode(
            json!({
                "x402Version": 2,
                "payload": {
                    "authorization": {
                        "from": key.address().to_checksum(None),
                        "to": authorization.to.to_string(),
                        "value": authorization.value.to_string(),
                        "validAfter": authorization.valid_after.to_string(),
                        "validBefore": authorization.valid_before.to_string(),
                        "nonce": format!("0x{}", hex::encode(authorization.nonce)),
                    },
                    "signature": format!("0x{}", hex::encode(signature.as_bytes())),
                },
                "resource": { "url": "http://localhost:4020/tiers/v1/prototype", "description": "a tier" },
                "accepted": Requirements::from(offer),
            })
            .to_string(),
        );
        let presented = decode(Some(&header), None).unwrap().unwrap();
        Self { header, presented, digest, signature }
    }
}
