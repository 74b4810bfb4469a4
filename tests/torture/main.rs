//! `cargo xtask torture --kills N [--seed S]`: a server is killed over and over while customers buy and renew
//! on the chain and by card, provision, deploy and erase through it; whatever it answered last, each of them
//! repeats the same request until it is answered for good. At the end the oracle, and every customer's own
//! account of what happened.
//!
//! Two nodes share one Postgres and one chain. The one that keeps those is left alone; it may take over work
//! of the one that is killed, but nobody speaks to it. The seed decides the moments of death and what each
//! customer does next, not how threads are scheduled: it makes a run similar, not the same.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod cards;
mod customer;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use stripe_fake::{FakeConfig, StripeFake};
use tests::{Customer, Lab, LabOptions, Server, fresh_folder, oracle, target_binary};

use crate::customer::Buyer;

const USAGE: &str = "usage: torture --kills N [--seed S] [--customers C]";
const SECRET: &str = "whsec_torture";
const CUSTOMERS: u64 = 6;
/// Between two deaths, in milliseconds: some come before the server is warm, some after long work.
const LIFE_MS: std::ops::Range<u64> = 50..5_000;
const PROGRESS_EVERY: u64 = 10;

struct Arguments {
    kills: u64,
    seed: u64,
    customers: u64,
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    eprintln!("torture: seed {}", arguments.seed);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(&arguments));
    ExitCode::SUCCESS
}

fn arguments() -> Option<Arguments> {
    let mut found = Arguments { kills: 0, seed: rand::random(), customers: CUSTOMERS };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let number = words.next()?.parse().ok()?;
        match word.as_str() {
            "--kills" => found.kills = number,
            "--seed" => found.seed = number,
            "--customers" => found.customers = number,
            _ => return None,
        }
    }
    (found.kills > 0 && found.customers > 0).then_some(found)
}

async fn run(arguments: &Arguments) {
    let config = fresh_folder().with_extension("toml");
    let stripe = stripe().await;
    let mut args = vec!["--write-serve-config".to_owned(), config.display().to_string()];
    args.extend(["--stripe-url", &stripe.url(), "--stripe-webhook-secret", SECRET].map(str::to_owned));
    let lab = Lab::start_with(LabOptions { args, ..LabOptions::default() }).await;
    shorten_claims(&config);
    let started = Instant::now();
    let mut victim = serve(&config).await;
    let to_victim = Customer::new(&listen(&victim));
    stripe.set_webhook_url(&webhooks(&victim));
    let stop = Arc::new(AtomicBool::new(false));
    let mut buyers = Vec::new();
    for number in 0..arguments.customers {
        let buyer = Buyer::new(number, &lab, (to_victim.clone(), stripe.clone()), arguments.seed).await;
        buyers.push(tokio::spawn(buyer.run(stop.clone())));
    }
    let mut random = StdRng::seed_from_u64(arguments.seed);
    for kill in 1..=arguments.kills {
        tokio::time::sleep(Duration::from_millis(random.random_range(LIFE_MS))).await;
        victim.kill();
        complain_about(&victim);
        // While it is away, requests find nobody; for a while afterwards, a cold server.
        victim = serve(&config).await;
        to_victim.moved(&listen(&victim));
        stripe.set_webhook_url(&webhooks(&victim));
        if kill % PROGRESS_EVERY == 0 || kill == arguments.kills {
            let done = customer::done();
            eprintln!("torture: {kill} kills, {done} in {} s", started.elapsed().as_secs());
        }
        if let Some(ended) = buyers.iter().position(tokio::task::JoinHandle::is_finished) {
            let outcome = buyers.swap_remove(ended).await;
            panic!("a customer gave up (seed {}): {:?}", arguments.seed, outcome.map(|_| ()));
        }
    }
    stop.store(true, Ordering::SeqCst);
    let database = lab.database().await;
    for buyer in buyers {
        buyer.await.unwrap().settle(&lab, &database).await;
    }
    let sessions = u64::try_from(stripe.counts().0).unwrap();
    assert_eq!(sessions, cards::CARDS.load(Ordering::SeqCst), "one session at Stripe for each checkout");
    complain_about(&victim);
    assert_eq!(victim.stop(), Some(0), "{}", victim.log.lock().unwrap());
    oracle(&lab).await;
    let _ = std::fs::remove_file(&config);
    let (report, _) = lab.books();
    eprintln!("torture: seed {}: {} kills, {}", arguments.seed, arguments.kills, customer::done());
    eprintln!("torture: books {report}");
}

/// Stripe outlives its customers.
async fn stripe() -> Arc<StripeFake> {
    let config = FakeConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        webhook_secret: SECRET.to_owned(),
        webhook_url: None,
    };
    Arc::new(StripeFake::start(config).await.unwrap())
}

fn webhooks(server: &Server) -> String {
    format!("{}/webhooks/v1/stripe", listen(server))
}

async fn serve(config: &PathBuf) -> Server {
    Server::start(Command::new(target_binary("run402d")).arg("serve").arg("--config").arg(config)).await
}

fn listen(server: &Server) -> String {
    format!("http://{}", server.ready["listen"].as_str().unwrap())
}

/// Deaths are many here: nobody should wait ten seconds for each.
fn shorten_claims(config: &Path) {
    let text = std::fs::read_to_string(config).unwrap();
    let shorter = text.replacen("[server]\n", "[server]\nclaim_ttl_secs = 3\n", 1);
    assert_ne!(text, shorter, "the configuration has a [server]");
    std::fs::write(config, shorter).unwrap();
}

/// What a dead server logged as errors belongs into the report too.
fn complain_about(server: &Server) {
    let log = server.log.lock().unwrap();
    let errors: Vec<&str> =
        log.lines().filter(|line| line.split_whitespace().nth(1) == Some("ERROR")).collect();
    assert!(errors.is_empty(), "the killed server logged errors:\n{}", errors.join("\n"));
}
