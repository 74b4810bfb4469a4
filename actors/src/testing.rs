//! The world of actor tests: a real Postgres, a chain in memory, a clock that moves when told.

#[path = "../../control/store/tests/common/postgres.rs"]
mod postgres;

use std::future::Future;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use chain::asset::usdc;
use chain::fake::FakeChain;
use chain::signer::{KeySecret, LocalSigner, Signer};
use chain::x402::verify::signing_digest;
use chain::x402::wire::Authorization;
use chrono::{DateTime, TimeDelta, Utc};
use store::cells::{CellConfig, Cells};
use store::ledger::{AccountRef, balance_find};
use store::payments::{AuthorisationKey, NewPayment, PaymentRow, PaymentState, payment_insert};
use store::{MasterKey, Store};
use types::{
    AccountId, Clock, ManualClock, Network, NodeId, OsEntropy, PaymentId, TraceId, UsdMicros, Wallet,
    WatcherId,
};

use self::postgres::Postgres;
use crate::kit::{ActorError, Limits, NoPeers};
use crate::root::Started;
use crate::{Actors, ChainDeps, Chains, Deps, chain_watcher, payment, wallet};

pub const NETWORK: Network = Network::BaseSepolia;
/// The price of a prototype lease.
pub const PRICE: UsdMicros = UsdMicros(100_000);
const CALL: Duration = Duration::from_secs(20);

/// Everything outside of the nodes.
pub struct World {
    pub store: Store,
    pub chain: Arc<FakeChain>,
    pub clock: Arc<ManualClock>,
    pub payee: Wallet,
    /// Blocks that watchers retain.
    retained: u64,
    nonce: AtomicU8,
    server: Postgres,
}

/// A Postgres that holds tenant databases.
pub struct TenantServer(Postgres);

impl TenantServer {
    pub fn url(&self, database: &str) -> String {
        self.0.url(database)
    }
}

/// One `run402d`, as far as actors go.
pub struct Node {
    pub deps: Arc<Deps>,
    started: Option<Started>,
}

/// Where a keeper is made to panic: before its handler, or after it and before its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Before,
    After,
}

static PANICS: Mutex<Vec<(NodeId, &'static str, Place)>> = Mutex::new(Vec::new());

/// The next keeper of `kind` on `node` that comes to `place` panics, once.
pub fn panic_once(node: NodeId, kind: &'static str, place: Place) {
    PANICS.lock().unwrap().push((node, kind, place));
}

/// Whether every ordered panic has happened.
pub fn all_panicked() -> bool {
    PANICS.lock().unwrap().is_empty()
}

pub fn panic_point(node: NodeId, kind: &'static str, place: Place) {
    let mut panics = PANICS.lock().unwrap();
    if let Some(at) = panics.iter().position(|panic| *panic == (node, kind, place)) {
        panics.remove(at);
        drop(panics);
        panic!("ordered by the test: {kind} {place:?}");
    }
}

/// Somebody for whom the worlds of tests settle.
pub const OTHERS: Wallet = Wallet([0xdd; 20]);

pub fn key(byte: u8) -> LocalSigner {
    LocalSigner::new(&KeySecret::new(Box::new([byte; 32]))).unwrap()
}

impl World {
    pub async fn start() -> Self {
        Self::retaining(64).await
    }

    pub async fn retaining(retained: u64) -> Self {
        let server = Postgres::start();
        let store = Store::connect(&server.url("postgres"), 20).await.unwrap();
        store.migrate().await.unwrap();
        let now = DateTime::from_timestamp(1_900_000_000, 0).unwrap();
        Self {
            store,
            chain: Arc::new(FakeChain::new(NETWORK, 1_900_000_000)),
            clock: Arc::new(ManualClock::new(now)),
            payee: Wallet([0xee; 20]),
            retained,
            nonce: AtomicU8::new(1),
            server,
        }
    }

    pub async fn node(&self) -> Node {
        let nowhere = blobs::S3Blobs::new("http://127.0.0.1:1", "none", "none", "none", "none");
        self.node_with(Vec::new(), Arc::new(nowhere)).await
    }

    /// A node that reaches tenant databases and contents.
    pub async fn node_with(&self, cells: Vec<CellConfig>, blobs: Arc<dyn blobs::Blobs>) -> Node {
        self.node_that_runs(cells, blobs, None).await
    }

    /// A node that builds functions as well.
    pub async fn node_that_runs(
        &self,
        cells: Vec<CellConfig>,
        blobs: Arc<dyn blobs::Blobs>,
        functions: Option<Arc<crate::functions::FunctionHost>>,
    ) -> Node {
        let node = NodeId::new(&OsEntropy);
        self.store.node_heartbeat(node, "http://unused", Duration::from_secs(600)).await.unwrap();
        let chain = ChainDeps {
            network: NETWORK,
            rpc: self.chain.clone(),
            fee_payer: Arc::new(key(7)),
            faucet: Some(Arc::new(key(8))),
            payee: self.payee,
            payees: vec![self.payee],
            facilitated: vec![self.payee, OTHERS],
            facilitated_before: Vec::new(),
            instant_max: UsdMicros(25_000_000),
            retained_blocks: self.retained,
        };
        let master_key = MasterKey::new([9; 32]);
        let cells = Cells::connect(cells, &master_key, &self.store).await.unwrap();
        let deps = Arc::new(Deps {
            functions,
            store: self.store.clone(),
            node,
            clock: self.clock.clone(),
            wall: self.clock.clone(),
            movable: None,
            meter: crate::meter::Meter::new(&OsEntropy),
            entropy: Arc::new(OsEntropy),
            users: users::Users::new(cells.clone()),
            captures_mail: true,
            cells,
            master_key,
            chains: Chains([(NETWORK, chain)].into_iter().collect()),
            blobs,
            cards: None,
            ai: None,
            prices: billing::PriceTable::lab(),
            hosts: sites::Hosts::new("http", "localhost", None),
            dns: None,
            acme: None,
            actors: OnceLock::new(),
        });
        let started = Actors::start(&deps, Limits::default(), Arc::new(NoPeers)).await.unwrap();
        Node { deps, started: Some(started) }
    }

    /// A payment whose proof was accepted; its payer holds just the price.
    pub async fn present(&self, payer: &LocalSigner, price: UsdMicros) -> PaymentRow {
        self.chain.fund(payer.address(), price);
        self.present_unfunded(payer, price).await
    }

    pub async fn present_unfunded(&self, payer: &LocalSigner, price: UsdMicros) -> PaymentRow {
        let authorization = self.authorize(payer, price);
        self.accept(payer, authorization).await
    }

    pub fn authorize(&self, payer: &LocalSigner, price: UsdMicros) -> Authorization {
        let now = self.now().timestamp().unsigned_abs();
        Authorization {
            from: payer.address(),
            to: self.payee,
            value: price,
            valid_after: now - 600,
            valid_before: now + 300,
            nonce: [self.nonce.fetch_add(1, Ordering::SeqCst); 32],
        }
    }

    pub async fn accept(&self, payer: &LocalSigner, paid: Authorization) -> PaymentRow {
        let account = store::accounts::account_of_wallet_ensure(
            &self.store,
            paid.from,
            AccountId::new(&OsEntropy),
            self.now(),
        );
        let new = NewPayment {
            id: PaymentId::new(&OsEntropy),
            key: AuthorisationKey {
                network: NETWORK,
                asset: usdc(NETWORK).address,
                payer: paid.from,
                nonce: paid.nonce,
            },
            pay_to: paid.to,
            amount: paid.value,
            valid_after: paid.valid_after.cast_signed(),
            valid_before: paid.valid_before.cast_signed(),
            signature: payer.sign_digest(signing_digest(&paid, NETWORK)).await.unwrap().to_vec(),
            request: "POST /tiers/v1/prototype".to_owned(),
            request_hash: [1; 32],
            product: "tier".to_owned(),
            product_key: "prototype".to_owned(),
            account: account.await.unwrap(),
            trace: TraceId::new(&OsEntropy),
        };
        let mut tx = self.store.begin().await.unwrap();
        assert!(payment_insert(&mut tx, &new, self.now()).await.unwrap());
        tx.commit().await.unwrap();
        self.store.payment_fetch(new.id).await.unwrap()
    }

    /// A server for tenant databases; it ends with the value.
    pub fn cell() -> (TenantServer, CellConfig) {
        let server = Postgres::start();
        let config = CellConfig::new("cell-1", server.url("postgres"));
        (TenantServer(server), config)
    }

    /// The control database, for tests that break it.
    pub fn database_url(&self) -> String {
        self.server.url("postgres")
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub fn advance_secs(&self, secs: i64) {
        self.clock.advance(TimeDelta::seconds(secs));
    }

    pub async fn payment(&self, id: PaymentId) -> PaymentRow {
        self.store.payment_fetch(id).await.unwrap()
    }

    pub async fn balance(&self, account: AccountRef) -> UsdMicros {
        balance_find(&self.store, &account).await.unwrap().posted
    }

    /// Debits equal credits, balances equal transfers.
    pub async fn check_books(&self) {
        let report = store::ledger::verify(&self.store).await.unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
    }

    pub async fn stop(self) {
        self.store.close().await;
    }
}

impl Node {
    pub fn actors(&self) -> &Actors {
        self.deps.actors()
    }

    /// Ends the node's actors as a crash would end them for Postgres: between two writes.
    pub async fn stop(mut self) {
        self.started.take().unwrap().drain().await;
        self.deps.store.node_leave(self.deps.node).await.unwrap();
    }

    pub async fn tick(&self) {
        let watcher = WatcherId::of(NETWORK);
        self.actors().chain_watcher.call(watcher, chain_watcher::Request::Tick, CALL).await.unwrap();
    }

    pub async fn step(&self, id: PaymentId) {
        self.actors().payment.call(id, payment::Request::Step, CALL).await.unwrap();
    }

    pub async fn lane(&self, request: wallet::Request) -> Result<wallet::Reply, ActorError> {
        let lane = wallet::settlement_lane(&self.deps, NETWORK).unwrap();
        self.actors().wallet.call(lane, request, CALL).await
    }

    pub async fn lane_step(&self) {
        self.lane(wallet::Request::Step).await.unwrap();
    }

    /// Scans and steps until the payment is in `state`.
    pub async fn drive(&self, world: &World, id: PaymentId, state: PaymentState) {
        let reached = async || {
            self.tick().await;
            self.step(id).await;
            world.payment(id).await.state == state
        };
        if !eventually(reached).await {
            panic!("still {:?}", world.payment(id).await);
        }
    }
}

/// Polls with a deadline: hints are delivered when they are.
pub async fn eventually<F: Future<Output = bool>>(check: impl Fn() -> F) -> bool {
    for _ in 0..100 {
        if check().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}
