//! Handlers that panic: the kit's own, and every real kind's.

use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use store::payments::PaymentState;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber, span};
use types::{Mutation, WatcherId};
use uuid::Uuid;

use super::probe::{Ask, Key, Peers, probes};
use super::{CALL, Limits};
use crate::kit::{ActorError, Kind};
use crate::testing::{self, NETWORK, Node, PRICE, Place, World, eventually, key};
use crate::{chain_watcher, lease, payment, wallet};

/// The lines that were logged on this thread since it was made.
pub struct Heard {
    lines: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
}

struct Ear(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Ear {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Heard {
    /// For tests on one thread.
    pub fn start() -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let guard = tracing::subscriber::set_default(Ear(lines.clone()));
        Self { lines, _guard: guard }
    }

    pub fn count(&self, level: &str, text: &str) -> usize {
        let lines = self.lines.lock().unwrap();
        lines.iter().filter(|line| line.starts_with(level) && line.contains(text)).count()
    }
}

// E01. Goal: one panic is one entity's, and is answered. Method: panic one of two.
#[tokio::test]
async fn a_panic_is_answered_and_nobody_else_notices() {
    let heard = Heard::start();
    let world = World::start().await;
    let node = world.node().await;
    let probes = probes(&node.deps, Limits::default(), Peers::none()).await;
    let (bad, good) = (Key(Uuid::from_u128(1)), Key(Uuid::from_u128(2)));
    let before = probes.call(bad, Ask::Touch, CALL).await.unwrap();
    probes.call(good, Ask::Touch, CALL).await.unwrap();

    let unknown = probes.call(bad, Ask::Panic, CALL).await.unwrap_err();
    assert!(matches!(unknown, ActorError::OutcomeUnknown), "{unknown:?}");
    assert_eq!((unknown.mutation(), unknown.into_problem().code.status()), (Mutation::Unknown, 503));
    assert_eq!(probes.call(good, Ask::Touch, CALL).await.unwrap().touched, 2, "still the same keeper");
    assert!(eventually(async || probes.call(bad, Ask::Touch, CALL).await.is_ok()).await);
    let after = probes.call(bad, Ask::Touch, CALL).await.unwrap();
    assert_eq!(after.touched, 2, "loaded anew");
    assert!(after.epoch > before.epoch);
    assert_eq!(heard.count("ERROR", "actor died"), 1);
    node.stop().await;
    world.stop().await;
}

// E02. Goal: who panics again and again is left alone for longer and longer, and the log has each. Method: panic
// as soon as it is served again, four times.
#[tokio::test]
async fn panics_in_a_row_open_the_circuit_for_longer_each_time() {
    let heard = Heard::start();
    let world = World::start().await;
    let node = world.node().await;
    let limits = Limits { idle: Duration::from_millis(400), ..Limits::default() };
    let probes = probes(&node.deps, limits, Peers::none()).await;
    let (bad, good) = (Key(Uuid::from_u128(1)), Key(Uuid::from_u128(2)));
    let mut pauses = Vec::new();
    for _ in 0..4 {
        let unknown = probes.call(bad, Ask::Panic, CALL).await.unwrap_err();
        assert!(matches!(unknown, ActorError::OutcomeUnknown), "{unknown:?}");
        let since = Instant::now();
        let refused = probes.call(bad, Ask::Touch, CALL).await;
        assert!(
            matches!(refused, Err(ActorError::Unavailable(_) | ActorError::OutcomeUnknown)),
            "{refused:?}"
        );
        probes.call(good, Ask::Touch, CALL).await.unwrap();
        assert!(eventually(async || probes.call(bad, Ask::Touch, CALL).await.is_ok()).await);
        pauses.push(since.elapsed());
    }
    assert!(pauses[3] >= Duration::from_millis(800) && pauses[3] > pauses[0] * 3, "{pauses:?}");
    assert_eq!(heard.count("ERROR", "actor died"), 4);
    // One that comes to a good end has a clean record.
    assert!(eventually(async || !probes.observe().await.iter().any(|one| one.key == bad.to_string())).await);
    probes.call(bad, Ask::Panic, CALL).await.unwrap_err();
    let since = Instant::now();
    assert!(eventually(async || probes.call(bad, Ask::Touch, CALL).await.is_ok()).await);
    assert!(since.elapsed() < Duration::from_millis(600), "{:?}", since.elapsed());
    node.stop().await;
    world.stop().await;
}

/// One round of everything that moves a payment; failures are what the test is about.
async fn nudge(node: &Node, id: types::PaymentId) {
    let watcher = WatcherId::of(NETWORK);
    let _ = node.actors().chain_watcher.call(watcher, chain_watcher::Request::Tick, CALL).await;
    let _ = node.lane(wallet::Request::Step).await;
    let _ = node.actors().payment.call(id, payment::Request::Step, CALL).await;
}

// E01, generated: each kind that money passes through panics before and after a handler's work, and the payment
// is credited once all the same.
#[tokio::test]
async fn every_kind_that_handles_money_may_panic_before_and_after_its_work() {
    let world = World::start().await;
    let node = world.node().await;
    let kinds =
        [payment::Payment::NAME, wallet::Lane::NAME, lease::Lease::NAME, chain_watcher::Watcher::NAME];
    let mut payer = 20;
    for kind in kinds {
        for place in [Place::Before, Place::After] {
            payer += 1;
            let payment = world.present(&key(payer), PRICE).await;
            testing::panic_once(node.deps.node, kind, place);
            let credited = async || {
                nudge(&node, payment.id).await;
                world.chain.mine();
                world.payment(payment.id).await.state == PaymentState::Credited
            };
            assert!(eventually(credited).await, "{kind} {place:?}: {:?}", world.payment(payment.id).await);
            assert!(testing::all_panicked(), "{kind} {place:?} never came by");
            assert_eq!(world.payment(payment.id).await.credits, 1, "{kind} {place:?}");
            let sent = world.store.chain_txs_of_intent(payment.id.0).await.unwrap();
            assert!(sent.iter().all(|attempt| attempt.nonce == sent[0].nonce), "{kind} {place:?}: one nonce");
        }
    }
    world.check_books().await;
    node.stop().await;
    world.stop().await;
}

// E01 for the kinds without money: a panic is answered, and the next request is served as if it were the first.
#[tokio::test]
async fn deploys_and_projects_that_panic_are_served_again() {
    let world = World::start().await;
    let node = world.node().await;
    let (operation, project) = (types::OperationId(Uuid::from_u128(5)), types::ProjectId(Uuid::from_u128(6)));
    for (kind, place) in [("deploy", Place::Before), ("project", Place::Before)] {
        let step = async || match kind {
            "deploy" => {
                node.actors().deploy.call(operation, crate::deploy::Request::Step, CALL).await.map(drop)
            }
            _ => node.actors().project.call(project, crate::project::Request::Step, CALL).await.map(drop),
        };
        let first = format!("{:?}", step().await);
        testing::panic_once(node.deps.node, kind, place);
        let _ = step().await;
        let again = async || format!("{:?}", step().await) == first;
        assert!(eventually(again).await, "{kind}: {first} and then {:?}", step().await);
    }
    node.stop().await;
    world.stop().await;
}
