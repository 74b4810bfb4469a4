//! The kit by itself, with a kind that does what it is told: panics, sleeps, blocks, writes under its fence.

mod cold;
mod forwarding;
mod panics;
mod probe;
mod slow;

use std::time::Duration;

use store::{Claimed, StoreError};
use uuid::Uuid;

use self::probe::{Ask, Key, Peers, probes};
use super::{ActorError, Limits};
use crate::testing::{World, eventually};

const CALL: Duration = Duration::from_secs(10);

// Goal: an entity at rest is free for every node. Method: a keeper that rests for longer than its limit.
#[tokio::test]
async fn a_keeper_at_rest_ends_and_gives_its_claim_back() {
    let world = World::start().await;
    let node = world.node().await;
    let limits = Limits { idle: Duration::from_millis(200), ..Limits::default() };
    let probes = probes(&node.deps, limits, Peers::none()).await;
    let key = Key(Uuid::from_u128(1));
    let first = probes.call(key, Ask::Touch, CALL).await.unwrap();
    assert_eq!((first.touched, first.node), (1, node.deps.node));
    assert_eq!(
        probes.call(key, Ask::Touch, CALL).await.unwrap().touched,
        2,
        "the same keeper, while it is busy"
    );
    let free = async || world.store.claim_holder("probe", key.0).await.unwrap().is_none();
    assert!(eventually(free).await);
    assert!(eventually(async || probes.observe().await.is_empty()).await);

    // The next one loads afresh, under a higher epoch.
    let next = probes.call(key, Ask::Touch, CALL).await.unwrap();
    assert_eq!(next.touched, 1);
    assert!(next.epoch > first.epoch);
    node.stop().await;
    world.stop().await;
}

// E06. Goal: a holder that was paused past its heartbeat writes nothing. Method: let it lapse, take over
// elsewhere, wake the old one.
#[tokio::test]
async fn a_superseded_keeper_is_fenced_and_ends_and_its_node_asks_the_new_holder() {
    let world = World::start().await;
    let (one, two) = (world.node().await, world.node().await);
    let peers = Peers::new();
    let first = probes(&one.deps, Limits::default(), peers.clone()).await;
    let second = probes(&two.deps, Limits::default(), peers.clone()).await;
    peers.join(one.deps.node, first.clone());
    peers.join(two.deps.node, second.clone());
    let key = Key(Uuid::from_u128(2));
    assert_eq!(first.call(key, Ask::Write, CALL).await.unwrap().node, one.deps.node);

    world.store.node_heartbeat(one.deps.node, "http://unused", Duration::from_millis(1)).await.unwrap();
    let taken =
        async || matches!(second.call(key, Ask::Write, CALL).await, Ok(reply) if reply.node == two.deps.node);
    assert!(eventually(taken).await);

    world.store.node_heartbeat(one.deps.node, "http://unused", Duration::from_secs(600)).await.unwrap();
    let sent = peers.sent();
    let elsewhere = first.call(key, Ask::Write, CALL).await.unwrap();
    assert_eq!(elsewhere.node, two.deps.node, "it asks the new holder, and its caller does not notice");
    assert_eq!(peers.sent(), sent + 1);
    assert!(eventually(async || first.observe().await.is_empty()).await, "and ends");
    one.stop().await;
    two.stop().await;
    world.stop().await;
}

// Goal: full is an answer, at once. Method: one place; fill it.
#[tokio::test]
async fn no_more_keepers_live_than_may() {
    let world = World::start().await;
    let node = world.node().await;
    let limits = Limits { live_max: 1, idle: Duration::from_millis(300), ..Limits::default() };
    let probes = probes(&node.deps, limits, Peers::none()).await;
    let (one, two) = (Key(Uuid::from_u128(3)), Key(Uuid::from_u128(4)));
    probes.call(one, Ask::Touch, CALL).await.unwrap();
    let full = probes.call(two, Ask::Touch, CALL).await.unwrap_err();
    assert!(matches!(full, ActorError::Unavailable(_)), "{full:?}");
    assert_eq!(full.mutation(), types::Mutation::NotStarted);
    assert_eq!(probes.call(one, Ask::Touch, CALL).await.unwrap().touched, 2, "who is in stays in");
    assert!(eventually(async || probes.call(two, Ask::Touch, CALL).await.is_ok()).await, "a place came free");
    node.stop().await;
    world.stop().await;
}

// Goal: a refusal while loading reaches whoever asked, and locks nobody out. Method: refuse, look at the claim.
#[tokio::test]
async fn a_keeper_that_cannot_load_says_why_and_gives_its_claim_back() {
    let world = World::start().await;
    let node = world.node().await;
    let probes = probes(&node.deps, Limits::default(), Peers::none()).await;
    let key = Key::UNLOADABLE;
    let refused = probes.call(key, Ask::Touch, CALL).await.unwrap_err();
    assert!(
        matches!(&refused, ActorError::Refused(problem) if problem.message == "cannot be loaded"),
        "{refused:?}"
    );
    assert!(world.store.claim_holder("probe", key.0).await.unwrap().is_none());
    assert!(eventually(async || probes.observe().await.is_empty()).await);
    node.stop().await;
    world.stop().await;
}

// Goal: an epoch never comes back, though the claims of what has ended are swept. Method: end a payment, sweep,
// claim again, use the old fence.
#[tokio::test]
async fn claims_of_what_has_ended_are_swept_and_their_fences_stay_refused() {
    use crate::testing::{PRICE, key};
    let world = World::start().await;
    let node = world.node().await;
    let payment = world.present_unfunded(&key(1), PRICE).await;
    let claim = async || match world.store.claim("payment", payment.id.0, node.deps.node).await.unwrap() {
        Claimed::Ours(fence) => fence,
        Claimed::Theirs(peer) => panic!("held by {peer:?}"),
    };
    let old = claim().await;
    world.store.claim_release(&old).await.unwrap();
    assert_eq!(world.store.claims_sweep(100).await.unwrap(), 0, "its payment is open");
    node.drive(&world, payment.id, store::payments::PaymentState::Failed).await;
    assert_eq!(world.store.claims_sweep(100).await.unwrap(), 0, "its keeper lives");
    node.stop().await;
    assert_eq!(world.store.claims_sweep(100).await.unwrap(), 1);

    let node = world.node().await;
    let new = match world.store.claim("payment", payment.id.0, node.deps.node).await.unwrap() {
        Claimed::Ours(fence) => fence,
        Claimed::Theirs(peer) => panic!("held by {peer:?}"),
    };
    assert!(new.epoch > old.epoch, "{} after {}", new.epoch, old.epoch);
    let refused = world.store.fenced(&old).await.map(drop).unwrap_err();
    assert!(matches!(refused, StoreError::Fenced), "{refused:?}");
    node.stop().await;
    world.stop().await;
}
