//! One `run402d`, as far as money goes: its own connections, its own actors, the operations in front of them.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use actors::kit::{ActorError, Limits};
use actors::{Actors, ChainDeps, Chains, Deps, Started};
use chain::signer::{KeySecret, LocalSigner};
use chain::siwx::SiwxPolicy;
use plane::ci::CiConfig;
use plane::{Operator, Plane, PlaneConfig};
use store::cells::Cells;
use store::{MasterKey, Store};
use types::{Clock, Entropy, NodeId, UsdMicros, Wallet};

use crate::post::PostOf;
use crate::rpc::NodeRpc;
use crate::stage::Vital;
use crate::world::World;
use crate::{CONNECTIONS, Fault};

pub(crate) const DOMAIN: &str = "sim.test";
/// Deposits up to this are credited when their block is seen: the smallest tier's are, the others' wait.
pub(crate) const INSTANT_MAX: UsdMicros = UsdMicros(1_000_000);
/// More than any reorganisation that happens here.
pub(crate) const RETAINED_BLOCKS: u64 = 64;
const FEE_PAYER: [u8; 32] = [7; 32];
/// Longer than a run.
const HEARTBEAT: Duration = Duration::from_secs(86_400);

/// A node that was started.
pub(crate) struct Node {
    pub id: NodeId,
    pub deps: Arc<Deps>,
    pub plane: Plane,
    started: Started,
}

impl Node {
    pub fn actors(&self) -> Actors {
        self.deps.actors().clone()
    }

    /// Starts a node in a place of the world.
    pub async fn start(world: &World, place: usize) -> Result<Self, Fault> {
        let store = Store::connect(&world.url, CONNECTIONS).await?;
        let alive = Arc::new(AtomicBool::new(true));
        world.stage.put(place, Vital { alive: alive.clone(), store: store.clone() });
        let id = NodeId::new(&*world.entropy);
        heartbeat(&store, id, true).await?;
        let deps = deps(world, store, id, alive).await?;
        let forward = Arc::new(PostOf { post: world.post.clone(), node: place });
        let limits = Limits { idle: HEARTBEAT, ..Limits::default() };
        let started = Actors::start(&deps, limits, forward).await.map_err(|e| Fault::of("a node", &e))?;
        let actors = deps.actors().clone();
        world.post.join(id, place, actors.clone());
        let plane = Plane::new(deps.clone(), actors, plane_config(world));
        Ok(Self { id, deps, plane, started })
    }

    /// Ends it as a process ends that is told to: claims are given back.
    pub async fn leave(self) -> Result<(), Fault> {
        self.started.drain().await;
        self.deps.store.node_leave(self.id).await?;
        self.deps.store.close().await;
        Ok(())
    }

    /// Takes away what is left of a node that died. Once this returns Postgres has rolled back what it had open.
    pub async fn bury(self) {
        self.deps.store.shut();
        self.started.drain().await;
        self.deps.store.close().await;
    }
}

/// Has others believe that a node lives, or that it does not.
pub(crate) async fn heartbeat(store: &Store, id: NodeId, lives: bool) -> Result<(), Fault> {
    let ttl = if lives { HEARTBEAT } else { Duration::ZERO };
    Ok(store.node_heartbeat(id, "http://unused.test", ttl).await?)
}

async fn deps(world: &World, store: Store, id: NodeId, alive: Arc<AtomicBool>) -> Result<Arc<Deps>, Fault> {
    let master_key = MasterKey::new([9; 32]);
    let clock: Arc<dyn Clock> = world.clock.clone();
    let entropy: Arc<dyn Entropy> = world.entropy.clone();
    let cells = Cells::connect(Vec::new(), &master_key, &store).await?;
    Ok(Arc::new(Deps {
        functions: None,
        node: id,
        clock,
        wall: world.wall.clone(),
        movable: None,
        meter: actors::meter::Meter::new(&*entropy),
        entropy,
        users: users::Users::new(cells.clone()),
        cells,
        captures_mail: true,
        master_key,
        cards: Some(Arc::new(world.stripe.cards(alive.clone()))),
        ai: None,
        chains: Chains([(world.network, chain_deps(world, alive)?)].into_iter().collect()),
        blobs: world.blobs.clone(),
        prices: world.prices.clone(),
        hosts: sites::Hosts::new("http", DOMAIN, None),
        dns: None,
        acme: None,
        actors: OnceLock::new(),
        store,
    }))
}

fn chain_deps(world: &World, alive: Arc<AtomicBool>) -> Result<ChainDeps, Fault> {
    let fee_payer = LocalSigner::new(&KeySecret::new(Box::new(FEE_PAYER)));
    let rpc = NodeRpc { chain: world.chain.clone(), alive, stage: world.stage.clone() };
    Ok(ChainDeps {
        network: world.network,
        rpc: Arc::new(rpc),
        fee_payer: Arc::new(fee_payer.map_err(|e| Fault::of("the fee payer", &e))?),
        faucet: None,
        payee: world.payee,
        payees: vec![world.payee],
        facilitated: vec![world.payee],
        facilitated_before: Vec::new(),
        instant_max: INSTANT_MAX,
        retained_blocks: RETAINED_BLOCKS,
    })
}

fn plane_config(world: &World) -> PlaneConfig {
    let admin_wallets: Vec<Wallet> = vec![world.operator.address()];
    PlaneConfig {
        public_url: format!("http://{DOMAIN}"),
        siwx: SiwxPolicy::new(vec![DOMAIN.to_owned()]),
        siwx_path_bound: true,
        // A request never waits: what it waits for happens in other steps.
        wait_secs_max: 0,
        completion_wait_secs: 1,
        single_put_bytes_max: 5 << 30,
        admin_wallets,
        operator: Operator { name: "sim".to_owned(), contact: "sim".to_owned() },
        ci: CiConfig::default(),
        lab: None,
    }
}

/// What became of a request, for the trace.
pub(crate) fn word<T>(outcome: &Result<T, ActorError>) -> String {
    match outcome {
        Ok(_) => "ok".to_owned(),
        Err(ActorError::Refused(problem)) => problem.code.as_str().to_owned(),
        Err(e) => e.to_string(),
    }
}
