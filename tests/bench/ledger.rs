//! Posting transfers, beside pgbench that runs the same statements on the same server in the same run.

#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bench::postgres::Postgres;
use bench::{CONTROL_SETTINGS, Latencies, SEED, Table, median, missing, output, per_second, program};
use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::Row;
use store::Store;
use store::ledger::{AccountRef, Currency, Journal, NewTransfer, Poster, post, post_many};
use types::{AccountId, Clock, Entropy, OsEntropy, SystemClock, UsdMicros};
use uuid::Uuid;

const OWNERS: u64 = 1_000;
const CALLERS: usize = 8;
const TURN: Duration = Duration::from_millis(1_500);
const TURNS: usize = 3;

/// Who is credited.
#[derive(Clone, Copy)]
enum To {
    /// Another customer, any of them.
    Anyone,
    /// The revenue account, always the same row.
    Revenue,
}

struct World {
    store: Store,
    server: Postgres,
    now: DateTime<Utc>,
    runs: AtomicU64,
}

#[tokio::main]
async fn main() {
    let world = World::new().await;
    let mut table = Table::new("ledger");
    let pgbench = program("pgbench");
    if pgbench.is_none() {
        missing("pgbench", "postgresql-contrib");
    }
    for (what, to, script, hot) in [
        ("post per call, 8 callers, spread accounts", To::Anyone, "post.sql", 0),
        ("post per call, 8 callers, one revenue account", To::Revenue, "post.sql", 1),
    ] {
        let (mut ours, mut theirs, mut latencies) = (Vec::new(), Vec::new(), Latencies::default());
        for _ in 0..TURNS {
            let (rate, took) = world.per_call(to).await;
            ours.push(rate);
            latencies.extend(took);
            if let Some(program) = &pgbench {
                theirs.push(world.pgbench(program, script, CALLERS, &[("hot", hot)]));
            }
        }
        let limit = (!theirs.is_empty()).then(|| ("pgbench, same statements", median(&mut theirs)));
        table.rate(what, "transfers/s", median(&mut ours), limit, &latencies.text());
    }
    for (batch, to, hot) in [(100, To::Revenue, 1), (1_000, To::Revenue, 1), (1_000, To::Anyone, 0)] {
        let (mut ours, mut theirs, mut latencies) = (Vec::new(), Vec::new(), Latencies::default());
        for _ in 0..TURNS {
            let (rate, took) = world.batches(batch, to).await;
            ours.push(rate);
            latencies.extend(took);
            if let Some(program) = &pgbench {
                let sizes = [("hot", hot), ("batch", batch as u64)];
                theirs.push(world.pgbench(program, "batch.sql", 1, &sizes) * batch as f64);
            }
        }
        let limit = (!theirs.is_empty()).then(|| ("pgbench, same statements", median(&mut theirs)));
        let account = if hot == 1 { "one revenue account" } else { "spread accounts" };
        let what = format!("post_many, batches of {batch}, {account}");
        table.rate(&what, "transfers/s", median(&mut ours), limit, &latencies.text());
    }
    for callers in [64, 1_000] {
        let (mut ours, mut batches, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        let mut latencies = Latencies::default();
        for _ in 0..TURNS {
            let (rate, took) = world.group_commit(callers).await;
            ours.push(rate);
            latencies.extend(took);
            if let Some(program) = &pgbench {
                batches
                    .push(world.pgbench(program, "batch.sql", 1, &[("hot", 1), ("batch", 1_000)]) * 1_000.0);
                calls.push(world.pgbench(program, "post.sql", CALLERS, &[("hot", 1)]));
            }
        }
        let rate = median(&mut ours);
        let what = format!("group commit, {callers} callers, one revenue account");
        for (name, theirs) in [("pgbench, batches of 1,000", &mut batches), ("pgbench, per call", &mut calls)]
        {
            let limit = (!theirs.is_empty()).then(|| (name, median(theirs)));
            table.rate(&what, "transfers/s", rate, limit, &latencies.text());
        }
    }
    world.check().await;
    table.finish(
        "per call, four round trips and one synced commit, and on one account the row's lock held over three of \
         them; in batches, one backend's CPU for the indices and foreign keys of each transfer",
    );
}

impl World {
    async fn new() -> Self {
        let server = Postgres::start_with(CONTROL_SETTINGS);
        let store = Store::connect(&server.url("postgres"), 20).await.unwrap();
        store.migrate().await.unwrap();
        let raw = sqlx::PgPool::connect(&server.url("postgres")).await.unwrap();
        // Ids without gaps, so that pgbench can pick accounts by number: owner n has account n.
        for sql in [
            "insert into accounts (id, created_at)
             select ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, now()
             from generate_series(1, 1000) n",
            "insert into ledger_accounts (kind, currency, owner, posted)
             select 'customer_credit', 'usd',
               ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 1000000000000
             from generate_series(1, 1000) n order by n",
            "insert into ledger_accounts (kind, currency, name, may_be_negative, posted)
             values ('revenue', 'usd', 'bench', true, -1000000000000000)",
            // Not the transfers: a statistic that says "empty" is one that no real ledger has, and plans are kept.
            "vacuum analyze accounts, ledger_accounts",
        ] {
            sqlx::query(sql).execute(&raw).await.unwrap();
        }
        raw.close().await;
        Self { store, server, now: SystemClock.now(), runs: AtomicU64::default() }
    }

    async fn per_call(&self, to: To) -> (f64, Latencies) {
        let started = Instant::now();
        let callers = (0..CALLERS).map(|caller| {
            let (store, now) = (self.store.clone(), self.now);
            let mut random = StdRng::seed_from_u64(SEED + caller as u64);
            tokio::spawn(async move {
                let mut latencies = Latencies::default();
                while started.elapsed() < TURN {
                    let asked = Instant::now();
                    let mut tx = store.begin().await.unwrap();
                    post(&mut tx, OsEntropy.uuid(), &[transfer(&mut random, to)], now).await.unwrap();
                    tx.commit().await.unwrap();
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

    /// Callers that know nothing of each other and credit the same account.
    async fn group_commit(&self, callers: usize) -> (f64, Latencies) {
        let poster = Poster::new(self.store.clone(), Arc::new(SystemClock));
        let started = Instant::now();
        let callers = (0..callers).map(|caller| {
            let poster = poster.clone();
            let mut random = StdRng::seed_from_u64(SEED + caller as u64);
            tokio::spawn(async move {
                let mut latencies = Latencies::default();
                while started.elapsed() < TURN {
                    let asked = Instant::now();
                    let legs = vec![transfer(&mut random, To::Revenue)];
                    poster.post(None, Journal { link: OsEntropy.uuid(), legs }).await.unwrap();
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

    /// One writer, as a group commit has.
    async fn batches(&self, batch: usize, to: To) -> (f64, Latencies) {
        let mut random = StdRng::seed_from_u64(SEED);
        let (started, mut latencies) = (Instant::now(), Latencies::default());
        while started.elapsed() < TURN {
            let journal = |_| Journal { link: OsEntropy.uuid(), legs: vec![transfer(&mut random, to)] };
            let journals: Vec<Journal> = (0..batch).map(journal).collect();
            let asked = Instant::now();
            let mut tx = self.store.begin().await.unwrap();
            let posted = post_many(&mut tx, &journals, self.now).await.unwrap();
            tx.commit().await.unwrap();
            latencies.add(asked.elapsed());
            assert!(posted.iter().all(Result::is_ok));
        }
        (per_second(latencies.len() * batch, started.elapsed()), latencies)
    }

    /// Transactions per second of a script that stands beside this file.
    fn pgbench(&self, program: &Path, script: &str, clients: usize, variables: &[(&str, u64)]) -> f64 {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("pgbench").join(script);
        let mut command = Command::new(program);
        command.args(["--no-vacuum", "--protocol=prepared", "--time=2", "--jobs=2"]);
        command.arg(format!("--client={clients}")).arg(format!("--random-seed={SEED}"));
        for (name, value) in variables {
            command.arg(format!("--define={name}={value}"));
        }
        // The seed is the same each time, and so would the facts be.
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        command
            .arg(format!("--define=run={run}"))
            .arg(format!("--define=owners={OWNERS}"))
            .arg(format!("--file={}", script.display()));
        let text = output(command.arg(self.server.url("postgres")));
        let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        rate.unwrap_or_else(|| panic!("pgbench printed no rate: {text}"))
    }

    /// Speed that loses money is none: every transfer moved two balances, and money is neither made nor lost.
    async fn check(&self) {
        let raw = sqlx::PgPool::connect(&self.server.url("postgres")).await.unwrap();
        let sums =
            "select sum(posted)::bigint, sum(version)::bigint, (select 2 * count(*) from ledger_transfers)
                    from ledger_accounts";
        let row = sqlx::query(sums).fetch_one(&raw).await.unwrap();
        let (posted, moves, sides): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        assert_eq!((posted, moves), (0, sides), "the books do not add up");
    }
}

fn transfer(random: &mut StdRng, to: To) -> NewTransfer {
    let from = random.random_range(1..=OWNERS);
    let credit = match to {
        To::Revenue => AccountRef::revenue("bench", Currency::Usd),
        To::Anyone => customer((from + random.random_range(1..OWNERS)) % OWNERS + 1),
    };
    let debit = customer(from);
    // The remainder above may hit the payer itself.
    let credit = if credit == debit { customer(from % OWNERS + 1) } else { credit };
    let name = OsEntropy.uuid().simple().to_string();
    NewTransfer::post(("bench", name), (debit, credit), UsdMicros(1), "bench")
}

fn customer(n: u64) -> AccountRef {
    let owner = AccountId(Uuid::from_u128((0x7000_8000_u128 << 48) | u128::from(n)));
    AccountRef::customer(owner, Currency::Usd)
}
