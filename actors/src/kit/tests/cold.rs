//! Many entities at once.

use std::time::{Duration, Instant};

use futures::StreamExt;
use uuid::Uuid;

use super::probe::{Ask, Key, Peers, probes};
use super::{CALL, Limits};
use crate::testing::World;

/// Requests under way at once, as many as a server would admit.
const CLIENTS: usize = 64;

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn wake(entities: u128) -> (Duration, u64) {
    let world = World::start().await;
    let node = world.node().await;
    let limits = Limits { idle: Duration::from_secs(3_600), ..Limits::default() };
    let probes = probes(&node.deps, limits, Peers::none()).await;
    probes.call(Key(Uuid::from_u128(1)), Ask::Touch, CALL).await.unwrap();
    let (before, started) = (resident_kib(), Instant::now());
    let mut waking = futures::stream::iter(2..=entities)
        .map(|n| {
            let probes = probes.clone();
            async move { probes.call(Key(Uuid::from_u128(n)), Ask::Touch, CALL).await }
        })
        .buffer_unordered(CLIENTS);
    while let Some(told) = waking.next().await {
        assert_eq!(told.unwrap().touched, 1);
    }
    drop(waking);
    let (taken, each) =
        (started.elapsed(), (resident_kib() - before) * 1024 / u64::try_from(entities).unwrap());
    assert_eq!(probes.observe().await.len(), usize::try_from(entities).unwrap());
    println!("{entities} cold entities: {taken:?}, {each} bytes each at rest");
    probes.drain().await;
    node.stop().await;
    world.stop().await;
    (taken, each)
}

// E10: keepers are made on demand, a bounded number at a time, and cost little at rest. The bench `actors` wakes
// 100,000.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_cold_entities_are_ready_soon_and_cost_little() {
    let (taken, each) = wake(2_000).await;
    assert!(taken < Duration::from_secs(60), "{taken:?}");
    assert!(each < 48 * 1024, "{each} bytes each");
}
