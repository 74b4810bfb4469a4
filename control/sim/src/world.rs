//! Everything of one run.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

use billing::PriceTable;
use chain::fake::{FakeChain, Payer};
use chrono::{DateTime, TimeDelta};
use futures::FutureExt;
use store::Store;
use types::{ManualClock, Network, NodeId, UsdMicros, Wallet};

use crate::dice::Dice;
use crate::entropy::SeededEntropy;
use crate::memory::Memory;
use crate::node::{Node, heartbeat};
use crate::operations::Operation;
use crate::oracle::Oracle;
use crate::post::Post;
use crate::stage::Stage;
use crate::stripe::Stripe;
use crate::trace::Trace;
use crate::{Fault, Plan, Report};

/// The year 2030.
const BEGINS_AT: i64 = 1_900_000_000;
const PAYERS: u8 = 5;
/// What a payer has at first: some purchases of each tier.
const POCKET: UsdMicros = UsdMicros(60_000_000);
pub(crate) const NODES: usize = 2;
/// In how many of a hundred steps the node that acts dies.
const CRASHES_PERCENT: u64 = 5;
/// Places that an operation passes, roughly, at most.
const PLACES_MAX: u64 = 40;
/// How often tasks that are ready may run before the database is looked at.
const TURNS: usize = 16;
const RESTS_MAX: usize = 1_000_000;

pub(crate) struct World {
    pub url: String,
    pub admin: Store,
    pub dice: Dice,
    pub chain: Arc<FakeChain>,
    pub network: Network,
    pub stripe: Stripe,
    /// The platform's time, and the time that the chain and the wallets share.
    pub clock: Arc<ManualClock>,
    pub wall: Arc<ManualClock>,
    pub entropy: Arc<SeededEntropy>,
    pub stage: Arc<Stage>,
    pub post: Arc<Post>,
    pub blobs: Arc<dyn blobs::Blobs>,
    pub prices: PriceTable,
    pub payee: Wallet,
    pub payers: Vec<Payer>,
    pub operator: Payer,
    pub nodes: Vec<Option<Node>>,
    /// Nodes that died and are still believed to live.
    pub ghosts: Vec<NodeId>,
    pub memory: Memory,
    pub oracle: Oracle,
    trace: Trace,
    /// Whether the step at hand has looked at the books after all that it did.
    looked: bool,
    steps: u32,
    crashes: u32,
    fell_at: Vec<&'static str>,
}

impl World {
    pub async fn start(url: &str, admin: &Store, stage: Arc<Stage>, plan: Plan) -> Result<Self, Fault> {
        store::simulation::wipe(admin).await?;
        let mut dice = Dice::new(plan.seed);
        let begins = DateTime::from_timestamp(BEGINS_AT, 0).unwrap_or_default();
        let clock = Arc::new(ManualClock::new(begins));
        let network = Network::BaseSepolia;
        let payer = |secret: u8| Payer::new([secret; 32]).map_err(|e| Fault::of("a payer", &e));
        let wall = Arc::new(ManualClock::new(begins));
        let entropy = Arc::new(SeededEntropy::new(dice.branch(), clock.clone()));
        let stripe = Stripe::new((wall.clone(), entropy.clone()));
        let mut world = Self {
            url: url.to_owned(),
            admin: admin.clone(),
            chain: Arc::new(FakeChain::new(network, BEGINS_AT.unsigned_abs())),
            network,
            entropy,
            clock,
            wall,
            post: Post::new(stage.clone(), dice.branch()),
            stage,
            blobs: Arc::new(blobs::S3Blobs::new("http://127.0.0.1:1", "none", "none", "none", "none")),
            prices: PriceTable::lab(),
            payee: Wallet([0xee; 20]),
            payers: (0..PAYERS).map(|n| payer(0x20 + n)).collect::<Result<_, _>>()?,
            operator: payer(0x70)?,
            nodes: (0..NODES).map(|_| None).collect(),
            ghosts: Vec::new(),
            memory: Memory::default(),
            oracle: Oracle::new(stripe.model.clone()),
            stripe,
            trace: Trace::new(plan.told),
            looked: false,
            dice,
            steps: 0,
            crashes: 0,
            fell_at: Vec::new(),
        };
        world.payers.iter().for_each(|payer| world.chain.fund(payer.address(), POCKET));
        world.chain.mine();
        for place in 0..NODES {
            world.nodes[place] = Some(Node::start(&world, place).await?);
        }
        Ok(world)
    }

    /// One operation, what it broke, and the look at the books after it.
    pub async fn step(&mut self, operation: &Operation) -> Result<(), Fault> {
        self.steps += 1;
        // So that no two steps happen at the same time.
        self.clock.advance(TimeDelta::milliseconds(1));
        if operation.may_crash && self.dice.chance(CRASHES_PERCENT) {
            self.stage.arm(1 + self.dice.below(PLACES_MAX));
        }
        self.looked = false;
        let outcome = (operation.run)(self).await?;
        let fell = self.stage.disarm();
        self.rest().await?;
        if self.stage.starved() {
            return Err(Fault("a second connection was asked for while the first was held".to_owned()));
        }
        let mut crash = String::new();
        if let Some((place, name)) = fell {
            crash = format!(" node {place} died at {name:?}");
            self.crashes += 1;
            self.fell_at.push(name);
            self.bury(place).await?;
        }
        // Where no node acts the books stay as they are.
        if operation.may_crash && !self.looked {
            self.oracle.look(&self.admin, &self.memory).await?;
        }
        let books = self.oracle.summary();
        let line = format!("{} {}: {outcome}{crash}; {books}", self.steps, operation.name);
        self.trace.line(&line);
        Ok(())
    }

    /// Has a node do something. None when it died over it.
    pub async fn on<T>(&self, place: usize, work: impl Future<Output = T>) -> Option<T> {
        let acting = self.stage.enter(place);
        let outcome = AssertUnwindSafe(work).catch_unwind().await;
        drop(acting);
        self.survived(place, outcome)
    }

    /// The same for work whose unwinding was caught already.
    pub fn survived<T>(&self, place: usize, outcome: std::thread::Result<T>) -> Option<T> {
        match outcome {
            // What a dead node would still say, nobody hears.
            Ok(answer) => self.stage.is_alive(place).then_some(answer),
            Err(_) if !self.stage.is_alive(place) => None,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Waits for rest, then looks at the books. The rules compare what one message did: an operation that is more
    /// than one looks after each.
    pub async fn look(&mut self) -> Result<(), Fault> {
        self.rest().await?;
        self.looked = true;
        self.oracle.look(&self.admin, &self.memory).await
    }

    /// A living node, by chance.
    pub fn some_node(&mut self) -> Option<usize> {
        let living: Vec<usize> = (0..NODES).filter(|place| self.nodes[*place].is_some()).collect();
        (!living.is_empty()).then(|| self.dice.pick(&living))
    }

    /// Waits until nothing goes on beside the steps, such as a keeper that gives its claim back.
    pub async fn rest(&self) -> Result<(), Fault> {
        self.rest_but(NODES).await
    }

    /// The same while one node is in the middle of something.
    pub async fn rest_but(&self, busy: usize) -> Result<(), Fault> {
        for _ in 0..RESTS_MAX {
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
            let others = self.nodes.iter().enumerate().filter(|(place, _)| *place != busy);
            let mut living = others.filter_map(|(_, node)| node.as_ref()).map(|node| &node.deps.store);
            if living.all(|store| store.is_shut() || store.at_rest()) {
                return Ok(());
            }
        }
        Err(Fault("a node does not come to rest".to_owned()))
    }

    /// Takes a dead node away. It is still believed to live for a while, or found dead at once.
    async fn bury(&mut self, place: usize) -> Result<(), Fault> {
        let Some(node) = self.nodes[place].take() else { return Ok(()) };
        self.post.leave(node.id, place);
        let id = node.id;
        node.bury().await;
        if self.dice.chance(70) {
            heartbeat(&self.admin, id, false).await?;
        } else {
            self.ghosts.push(id);
        }
        if self.dice.chance(70) {
            self.nodes[place] = Some(Node::start(self, place).await?);
        }
        Ok(())
    }

    /// Kills a node between two operations.
    pub async fn kill(&mut self, place: usize) -> Result<(), Fault> {
        self.crashes += 1;
        self.bury(place).await
    }

    /// Ends what is left, whatever it is in the middle of.
    pub async fn end(&mut self) {
        self.stage.disarm();
        for node in self.nodes.iter_mut().filter_map(Option::take) {
            node.bury().await;
        }
    }

    pub fn note(&mut self, line: &str) {
        self.trace.line(line);
    }

    pub fn report(&self) -> Report {
        let books = self.oracle.counts();
        Report {
            trace: self.trace.digest(),
            crashes: self.crashes,
            credited: books.credited,
            purchases: books.purchases,
            reversed: books.reversed,
            cards: books.cards,
            transfers: books.transfers,
            fell_at: self.fell_at.clone(),
        }
    }
}
