//! What an actor costs: starting one, asking it, its claim, its memory at rest. Beside it a bare actor of the
//! same library, and pgbench with the claim's statements.

#![expect(clippy::unwrap_used, reason = "in a bench a panic is the report")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actors::kit::{ActorError, Handle, Kind, Limits, NoPeers};
use actors::{Chains, Deps};
use bench::postgres::Postgres;
use bench::{Latencies, SEED, Table, missing, output, per_second, program, resident_kib};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, call};
use store::cells::Cells;
use store::{Claimed, Fence, MasterKey, Store};
use types::{NodeId, OsEntropy, SystemClock};
use uuid::Uuid;

/// As durable as the control server: a claim is a synced commit.
const SETTINGS: &[&str] = bench::CONTROL_SETTINGS;
const CALLERS: usize = 16;
const SPAWNED: u128 = 4_000;
const CALLS: usize = 100_000;
const CLAIMS: usize = 4_000;
const IDLE: u128 = 100_000;
const CALL: Duration = Duration::from_secs(30);

/// Counts how often it was asked.
struct Counter;

impl Kind for Counter {
    const NAME: &'static str = "counter";
    type Key = Uuid;
    type Request = u64;
    type Reply = u64;
    type State = u64;

    fn entity(key: Uuid) -> Uuid {
        key
    }

    fn key(entity: Uuid) -> Uuid {
        entity
    }

    async fn load(_: &Arc<Deps>, _: Uuid, _: Fence) -> Result<u64, ActorError> {
        Ok(0)
    }

    async fn handle(_: &Arc<Deps>, state: &mut u64, request: u64) -> Result<u64, ActorError> {
        *state += request;
        Ok(*state)
    }
}

/// The same without directory, claim, permit, deadline and span.
struct Bare;

struct Ask(u64, RpcReplyPort<u64>);

impl Actor for Bare {
    type Msg = Ask;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Ask>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(
        &self,
        _: ActorRef<Ask>,
        Ask(add, reply): Ask,
        state: &mut u64,
    ) -> Result<(), ActorProcessingErr> {
        *state += add;
        let _ = reply.send(*state);
        Ok(())
    }
}

struct Root;

impl Actor for Root {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

#[tokio::main]
async fn main() {
    let durable = Postgres::start_with(SETTINGS);
    let mut table = Table::new("actors");
    let deps = deps(&durable).await;
    let counters = handle(&deps).await;
    let bare = spawn_bare(SPAWNED).await;
    starts(&counters, bare.1, &mut table).await;
    calls(&counters, &bare.0, &mut table).await;
    claims(&deps, &durable, &mut table).await;
    counters.drain().await;
    stop(bare.0).await;
    drop(durable);
    // Claims of keepers that only rest need no disk.
    memory(&Postgres::start(), &mut table).await;
    table.finish(
        "starting: the claim's synced commit; calling: three hops between tasks (directory, keeper, caller) where a \
         bare actor has two; memory: a task, a timer, a permit counter and two map entries per keeper",
    );
}

async fn deps(server: &Postgres) -> Arc<Deps> {
    let store = Store::connect(&server.url("postgres"), u32::try_from(CALLERS * 2).unwrap()).await.unwrap();
    store.migrate().await.unwrap();
    let node = NodeId::new(&OsEntropy);
    store.node_heartbeat(node, "http://unused", Duration::from_secs(600)).await.unwrap();
    let master_key = MasterKey::new([9; 32]);
    let cells = Cells::connect(Vec::new(), &master_key, &store).await.unwrap();
    Arc::new(Deps {
        functions: None,
        node,
        clock: Arc::new(SystemClock),
        wall: Arc::new(SystemClock),
        movable: None,
        meter: actors::meter::Meter::new(&OsEntropy),
        entropy: Arc::new(OsEntropy),
        users: users::Users::new(cells.clone()),
        captures_mail: false,
        cells,
        store,
        master_key,
        chains: Chains(BTreeMap::new()),
        blobs: Arc::new(blobs::S3Blobs::new("http://127.0.0.1:1", "none", "none", "none", "none")),
        cards: None,
        ai: None,
        prices: billing::PriceTable::lab(),
        hosts: sites::Hosts::new("http", "localhost", None),
        dns: None,
        acme: None,
        actors: OnceLock::new(),
    })
}

async fn handle(deps: &Arc<Deps>) -> Handle<Counter> {
    let (root, _) = Actor::spawn(None, Root, ()).await.unwrap();
    Handle::start(root.get_cell(), deps.clone(), Limits::default(), Arc::new(NoPeers)).await.unwrap()
}

/// Asks keepers `from..to` once each; the first question starts a keeper.
async fn ask_each(counters: &Handle<Counter>, from: u128, to: u128) -> Latencies {
    let step = CALLERS as u128;
    let callers = (0..step).map(|caller| {
        let counters = counters.clone();
        tokio::spawn(async move {
            let mut latencies = Latencies::default();
            let mut key = from + caller;
            while key < to {
                let asked = Instant::now();
                counters.call(Uuid::from_u128(key), 1, CALL).await.unwrap();
                latencies.add(asked.elapsed());
                key += step;
            }
            latencies
        })
    });
    join(callers.collect()).await
}

async fn join(callers: Vec<tokio::task::JoinHandle<Latencies>>) -> Latencies {
    let mut all = Latencies::default();
    for caller in callers {
        all.extend(caller.await.unwrap());
    }
    all
}

async fn spawn_bare(count: u128) -> (Vec<ActorRef<Ask>>, f64) {
    let started = Instant::now();
    let mut actors = Vec::new();
    for _ in 0..count {
        let (actor, _) = Actor::spawn(None, Bare, ()).await.unwrap();
        actors.push(actor);
    }
    (actors, per_second(usize::try_from(count).unwrap(), started.elapsed()))
}

async fn stop(actors: Vec<ActorRef<Ask>>) {
    for actor in actors {
        actor.stop(None);
    }
}

async fn starts(counters: &Handle<Counter>, bare: f64, table: &mut Table) {
    let started = Instant::now();
    let mut took = ask_each(counters, 0, SPAWNED).await;
    let rate = per_second(took.len(), started.elapsed());
    let limit = Some(("bare actor, no claim", bare));
    table.rate("start (spawn, claim, load, answer), 16 callers", "1/s", rate, limit, &took.text());
}

async fn calls(counters: &Handle<Counter>, bare: &[ActorRef<Ask>], table: &mut Table) {
    for callers in [1, CALLERS] {
        let (mut ours, mut theirs, mut latencies) = (Vec::new(), Vec::new(), Latencies::default());
        for _ in 0..3 {
            let started = Instant::now();
            let tasks = (0..callers).map(|caller| {
                let counters = counters.clone();
                tokio::spawn(async move {
                    let mut latencies = Latencies::default();
                    for n in 0..CALLS / callers {
                        let key = (n * callers + caller) as u128 % SPAWNED;
                        let asked = Instant::now();
                        counters.call(Uuid::from_u128(key), 1, CALL).await.unwrap();
                        latencies.add(asked.elapsed());
                    }
                    latencies
                })
            });
            let took = join(tasks.collect()).await;
            ours.push(per_second(took.len(), started.elapsed()));
            latencies.extend(took);
            theirs.push(bare_calls(bare, callers).await);
        }
        let limit = Some(("bare actor", bench::median(&mut theirs)));
        let what = format!("call a living keeper, callers: {callers}");
        table.rate(&what, "1/s", bench::median(&mut ours), limit, &latencies.text());
    }
}

async fn bare_calls(bare: &[ActorRef<Ask>], callers: usize) -> f64 {
    let started = Instant::now();
    let tasks = (0..callers).map(|caller| {
        let own: Vec<_> = bare.iter().skip(caller).step_by(callers).cloned().collect();
        tokio::spawn(async move {
            for n in 0..CALLS / callers {
                call!(own[n % own.len()], |reply| Ask(1, reply)).unwrap();
            }
            Latencies::default()
        })
    });
    join(tasks.collect()).await;
    per_second(CALLS / callers * callers, started.elapsed())
}

async fn claims(deps: &Arc<Deps>, server: &Postgres, table: &mut Table) {
    let started = Instant::now();
    let tasks = (0..CALLERS).map(|caller| {
        let deps = deps.clone();
        tokio::spawn(async move {
            let mut latencies = Latencies::default();
            for n in 0..CLAIMS / CALLERS {
                let entity = Uuid::from_u128((n * CALLERS + caller) as u128);
                let asked = Instant::now();
                let claimed = deps.store.claim("bench", entity, deps.node).await.unwrap();
                let Claimed::Ours(fence) = claimed else { panic!("nobody else is here") };
                deps.store.claim_release(&fence).await.unwrap();
                latencies.add(asked.elapsed());
            }
            latencies
        })
    });
    let mut took = join(tasks.collect()).await;
    let rate = per_second(took.len(), started.elapsed());
    let theirs = match program("pgbench") {
        Some(program) => Some(("pgbench, same statements", pgbench(&program, server, deps.node))),
        None => {
            missing("pgbench", "postgresql-contrib");
            None
        }
    };
    table.rate("claim and release, 16 callers", "1/s", rate, theirs, &took.text());
}

fn pgbench(program: &Path, server: &Postgres, node: NodeId) -> f64 {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("pgbench/claim.sql");
    let mut command = Command::new(program);
    command.args(["--no-vacuum", "--protocol=prepared", "--time=2", "--jobs=2"]);
    command.arg(format!("--client={CALLERS}")).arg(format!("--random-seed={SEED}"));
    command.arg(format!("--define=node={}", node.0)).arg(format!("--file={}", script.display()));
    let text = output(command.arg(server.url("postgres")));
    let rate = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    rate.unwrap_or_else(|| panic!("pgbench printed no rate: {text}"))
}

/// Resident memory per keeper at rest, beside that of a bare actor.
async fn memory(server: &Postgres, table: &mut Table) {
    let own = std::process::id();
    let deps = deps(server).await;
    let counters = handle(&deps).await;
    ask_each(&counters, 0, 1_000).await;
    let before = resident_kib(own);
    let started = Instant::now();
    ask_each(&counters, 1_000, IDLE).await;
    let took = started.elapsed();
    let ours = resident_kib(own).saturating_sub(before);
    let before = resident_kib(own);
    let _kept = spawn_bare(IDLE - 1_000).await;
    let theirs = resident_kib(own).saturating_sub(before);
    let bytes = |kib: u64| kib as f64 * 1024.0 / (IDLE - 1_000) as f64;
    let (ours, theirs) = (bytes(ours), bytes(theirs));
    table.rate("memory of an idle keeper, of 100,000", "bytes", ours, Some(("bare actor", theirs)), "");
    let total = format!("{:.0}", ours * IDLE as f64 / 1_048_576.0);
    let when = format!("started in {took:.1?}");
    table.row(["memory of 100,000 idle keepers", "MiB", &total, "aim", "1024", "", &when]);
}
