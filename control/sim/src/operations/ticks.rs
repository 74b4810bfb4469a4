//! What the nodes do by themselves, and the messages between their actors.

use super::chain::mine;
use super::{Operation, Outcome, operation};
use crate::settle::{hints, tick};
use crate::world::World;

pub(super) const ALL: &[Operation] = &[
    operation!("watcher", 17, true, watcher),
    operation!("lanes", 6, true, lanes),
    operation!("payments", 5, true, payments),
    operation!("relay", 3, true, relay),
    operation!("sealer", 1, true, sealer),
    operation!("lifecycle", 1, true, lifecycle),
    operation!("housekeeping", 1, true, housekeeping),
    operation!("cards", 9, true, cards),
    operation!("card reconciler", 3, true, card_reconciler),
    operation!("recharges", 3, true, recharges),
    operation!("message", 24, true, message),
    operation!("calm", 5, true, calm),
];

async fn some_tick(world: &mut World, name: &str) -> Outcome {
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    Ok(format!("node {place} {}", tick(world, place, name).await?))
}

/// A few seconds in which nothing goes wrong but what has gone wrong already: most of a real day.
async fn calm(world: &mut World) -> Outcome {
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    let mut done = Vec::new();
    for name in ["payments", "lanes", "watcher"] {
        mine(world).await?;
        done.push(tick(world, place, name).await?);
        hints(world).await?;
    }
    Ok(format!("node {place} {}", done.join(", ")))
}

async fn watcher(world: &mut World) -> Outcome {
    some_tick(world, "watcher").await
}

async fn lanes(world: &mut World) -> Outcome {
    some_tick(world, "lanes").await
}

async fn payments(world: &mut World) -> Outcome {
    some_tick(world, "payments").await
}

async fn relay(world: &mut World) -> Outcome {
    some_tick(world, "relay").await
}

async fn sealer(world: &mut World) -> Outcome {
    some_tick(world, "sealer").await
}

async fn lifecycle(world: &mut World) -> Outcome {
    some_tick(world, "lifecycle").await
}

async fn cards(world: &mut World) -> Outcome {
    some_tick(world, "cards").await
}

async fn card_reconciler(world: &mut World) -> Outcome {
    some_tick(world, "card reconciler").await
}

async fn recharges(world: &mut World) -> Outcome {
    some_tick(world, "recharges").await
}

async fn housekeeping(world: &mut World) -> Outcome {
    let name = world.dice.pick(&["expiry", "claims"]);
    some_tick(world, name).await
}

/// One that waits arrives, arrives and stays to arrive again, or is lost.
async fn message(world: &mut World) -> Outcome {
    let fate = world.dice.below(100);
    let chance = world.dice.next();
    let Some(hint) = world.post.take(|length| usize::try_from(chance % length as u64).unwrap_or(0)) else {
        return Ok("none".to_owned());
    };
    let kind = hint.message.kind.clone();
    if fate < 6 {
        return Ok(format!("{kind} lost"));
    }
    let Some(node) = &world.nodes[hint.node] else { return Ok(format!("{kind} to nobody")) };
    let actors = node.actors();
    let mut outcome = None;
    for _ in 0..if fate < 14 { 2 } else { 1 } {
        let (actors, message) = (actors.clone(), hint.message.clone());
        outcome = world.on(hint.node, async move { actors.deliver(message).await }).await;
        world.look().await?;
    }
    let word =
        outcome.map_or("dead", |outcome| outcome.map_or_else(|problem| problem.code.as_str(), |_| "ok"));
    Ok(format!("{kind} to node {} {word}", hint.node))
}
