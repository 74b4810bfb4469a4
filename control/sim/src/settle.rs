//! The end of a run: the world becomes friendly, everything comes to rest, and then nothing may be left over.

use actors::{Chains, schedule};
use chain::rpc::ChainRpc;
use chain::scan::{ScanQuery, Sighting};
use chrono::TimeDelta;

use crate::Fault;
use crate::node::{Node, heartbeat};
use crate::stripe::RECONCILE_SECS;
use crate::world::{NODES, World};

/// What a node does in a round, in the order in which it helps most.
const ROUND: [&str; 4] = ["watcher", "lanes", "payments", "relay"];
/// Blocks that each round begins with: the first looks at what is there, the next ones make it safe and final, and
/// the last ones see to what came of that.
const BLOCKS: [u64; 8] = [1, 12, 25, 1, 25, 1, 25, 1];
/// Longer than any authorisation lasts: what is not paid by then never will be.
const EXPIRY_SECS: u64 = 320;
/// The same for cards. The last charges what the rounds before made necessary.
const CARD_ROUND: [&str; 5] = ["card reconciler", "cards", "recharges", "cards", "relay"];
const CARD_ROUNDS: usize = 8;
/// Stripe's balance is compared once it is older than half an hour.
const COMPARED_SECS: u64 = 1_900;

/// Lets everything come to rest, then verifies the books against themselves and against the chain.
pub(crate) async fn settle(world: &mut World) -> Result<(), Fault> {
    make_friendly(world).await?;
    for (round, blocks) in BLOCKS.into_iter().enumerate() {
        if round == 2 {
            pass(world, EXPIRY_SECS);
        }
        for _ in 0..blocks {
            world.chain.mine();
            world.wall.advance(TimeDelta::seconds(2));
        }
        for name in ROUND {
            tick(world, 0, name).await?;
            hints(world).await?;
        }
        if round > 2 && world.oracle.open().is_empty() && world.post.waiting() == 0 {
            break;
        }
    }
    ended(&world.oracle.open())?;
    settle_cards(world).await?;
    tick(world, 0, "sealer").await?;
    against_the_chain(world).await?;
    verify(world).await?;
    let line = format!("settled: {}", world.oracle.summary());
    world.note(&line);
    Ok(())
}

fn ended(open: &[String]) -> Result<(), Fault> {
    match open {
        [] => Ok(()),
        open => Err(Fault(format!("never ends: {}", open.join("; ")))),
    }
}

/// No webhook comes any more: what none has told until now, the reconciler finds.
async fn settle_cards(world: &mut World) -> Result<(), Fault> {
    let called = world.oracle.called();
    pass(world, COMPARED_SECS);
    for _ in 0..CARD_ROUNDS {
        for name in CARD_ROUND {
            tick(world, 0, name).await?;
            hints(world).await?;
        }
        pass(world, RECONCILE_SECS + 1);
        if world.oracle.open_cards().is_empty() {
            break;
        }
    }
    // What the last round charged is old enough to be compared, too.
    pass(world, COMPARED_SECS);
    for name in &CARD_ROUND[..2] {
        tick(world, 0, name).await?;
    }
    ended(&world.oracle.open_cards())?;
    world.oracle.against_stripe(&called)
}

async fn make_friendly(world: &mut World) -> Result<(), Fault> {
    world.post.rely();
    world.chain.forgive();
    world.stripe.model.forgive();
    for ghost in std::mem::take(&mut world.ghosts) {
        heartbeat(&world.admin, ghost, false).await?;
    }
    for place in 0..NODES {
        match &world.nodes[place] {
            Some(node) => heartbeat(&world.admin, node.id, true).await?,
            None => world.nodes[place] = Some(Node::start(world, place).await?),
        }
    }
    Ok(())
}

/// Time passes for everybody.
fn pass(world: &World, secs: u64) {
    let span = TimeDelta::seconds(i64::try_from(secs).unwrap_or(i64::MAX));
    world.chain.skip_secs(secs);
    world.wall.advance(span);
    world.clock.advance(span);
}

/// Has a node run one of its loops.
pub(crate) async fn tick(world: &mut World, place: usize, name: &str) -> Result<String, Fault> {
    let Some(node) = &world.nodes[place] else { return Ok("nobody".to_owned()) };
    let deps = node.deps.clone();
    let outcome = world
        .on(place, async move {
            match name {
                "relay" => actors::outbox_relay::relay_once(&deps).await.map(drop).map_err(Into::into),
                name => schedule::run_once(&deps, name).await,
            }
        })
        .await;
    world.look().await?;
    Ok(outcome.map_or_else(|| "dead".to_owned(), |outcome| crate::node::word(&outcome)))
}

/// Delivers every hint that waits, and those that come of them.
pub(crate) async fn hints(world: &mut World) -> Result<(), Fault> {
    while let Some(hint) = world.post.take(|_| 0) {
        let Some(node) = &world.nodes[hint.node] else { continue };
        let actors = node.actors();
        world.on(hint.node, async move { actors.deliver(hint.message).await }).await;
        world.look().await?;
    }
    Ok(())
}

/// Every deposit that the chain shows is in the books, and no other.
async fn against_the_chain(world: &World) -> Result<(), Fault> {
    let failed = |e: chain::rpc::RpcError| Fault::of("the chain", &e);
    let query = ScanQuery {
        from: 0,
        to: world.chain.head().await.map_err(failed)?.number,
        asset: chain::asset::usdc(world.network).address,
        payees: vec![world.payee],
    };
    let shown: Vec<Sighting> = world.chain.authorizations(&query).await.map_err(failed)?;
    world.oracle.against(&shown)
}

/// What `run402d books verify` does.
async fn verify(world: &World) -> Result<(), Fault> {
    let Some(node) = &world.nodes[0] else { return Ok(()) };
    let chains: &Chains = &node.deps.chains;
    let report = plane::books::books_verify(&world.admin, chains).await;
    let report =
        report.map_err(|problem| Fault(format!("the books cannot be verified: {}", problem.message)))?;
    match report.findings.first() {
        None => Ok(()),
        Some(first) => Err(Fault(format!(
            "books verify finds {} differences, first {}: {}",
            report.differences, first.check, first.what
        ))),
    }
}
