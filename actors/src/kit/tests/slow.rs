//! Handlers that take too long.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::panics::Heard;
use super::probe::{Ask, Key, Peers, probes};
use super::{CALL, Limits};
use crate::kit::ActorError;
use crate::testing::{World, eventually};

// E05. Goal: a slow entity is nobody else's trouble, its queue is bounded, and the log hears of it once.
#[tokio::test]
async fn a_slow_entity_fills_its_own_queue_and_is_told_to_the_log() {
    let heard = Heard::start();
    let world = World::start().await;
    let node = world.node().await;
    let limits = Limits { mailbox_max: 2, slow: Duration::from_millis(200), ..Limits::default() };
    let probes = probes(&node.deps, limits, Peers::none()).await;
    let (slow, other) = (Key(Uuid::from_u128(1)), Key(Uuid::from_u128(2)));
    probes.call(other, Ask::Touch, CALL).await.unwrap();
    let asking = |ask: Ask| {
        let probes = probes.clone();
        tokio::spawn(async move { probes.call(slow, ask, CALL).await })
    };
    let sleeping = asking(Ask::Sleep(Duration::from_millis(1_500)));
    assert!(eventually(async || probes.observe().await.iter().any(|one| one.busy_millis > 0)).await);
    let waiting = asking(Ask::Touch);
    assert!(eventually(async || probes.observe().await.iter().any(|one| one.waiting == 2)).await);

    let started = Instant::now();
    let full = probes.call(slow, Ask::Touch, CALL).await.unwrap_err();
    assert!(matches!(full, ActorError::Unavailable(_)), "{full:?}");
    assert_eq!(full.into_problem().code.status(), 503);
    probes.call(other, Ask::Touch, CALL).await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(700), "neither waited: {:?}", started.elapsed());

    assert_eq!(sleeping.await.unwrap().unwrap().touched, 1);
    assert_eq!(waiting.await.unwrap().unwrap().touched, 2);
    assert_eq!(heard.count("WARN", "a request takes too long"), 1);
    // Who gave up waiting is told that it does not know.
    let unknown = probes.call(slow, Ask::Sleep(Duration::from_millis(300)), Duration::from_millis(50)).await;
    assert!(matches!(unknown, Err(ActorError::OutcomeUnknown)), "{unknown:?}");
    node.stop().await;
    world.stop().await;
}

// E05. Goal: a handler that keeps its thread does not stop the others, and is noticed from outside.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_blocking_handler_does_not_stop_the_others() {
    // As in the server: without it a blocked worker can take timers and sockets with it.
    let _watchdog = crate::kit::watchdog::start().unwrap();
    let world = World::start().await;
    let node = world.node().await;
    let limits = Limits { slow: Duration::from_millis(100), ..Limits::default() };
    let probes = probes(&node.deps, limits, Peers::none()).await;
    let blocked = Key(Uuid::from_u128(1));
    let blocking = {
        let probes = probes.clone();
        tokio::spawn(async move { probes.call(blocked, Ask::Block(Duration::from_secs(2)), CALL).await })
    };
    assert!(eventually(async || probes.observe().await.iter().any(|one| one.busy_millis > 100)).await);
    for n in 2..20 {
        probes.call(Key(Uuid::from_u128(n)), Ask::Touch, CALL).await.unwrap();
    }
    assert!(!blocking.is_finished(), "all of that happened meanwhile");
    blocking.await.unwrap().unwrap();
    node.stop().await;
    world.stop().await;
}
