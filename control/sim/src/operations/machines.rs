//! Nodes that die, leave, come, and are believed to be dead while they work.

use super::{Operation, Outcome, operation};
use crate::node::{Node, heartbeat};
use crate::world::{NODES, World};

pub(super) const ALL: &[Operation] = &[
    operation!("kill", 1, false, kill),
    operation!("restart", 1, false, restart),
    operation!("start", 6, false, start),
    operation!("paused", 3, false, paused),
    operation!("heard again", 2, false, heard_again),
];

async fn kill(world: &mut World) -> Outcome {
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    world.kill(place).await?;
    Ok(format!("node {place}"))
}

/// In good order.
async fn restart(world: &mut World) -> Outcome {
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    if let Some(node) = world.nodes[place].take() {
        world.post.leave(node.id, place);
        node.leave().await?;
    }
    world.nodes[place] = Some(Node::start(world, place).await?);
    Ok(format!("node {place}"))
}

/// A place without a node gets one, and what died before is found dead.
async fn start(world: &mut World) -> Outcome {
    let mut done = Vec::new();
    if world.dice.chance(60) {
        for ghost in std::mem::take(&mut world.ghosts) {
            heartbeat(&world.admin, ghost, false).await?;
            done.push("a dead one lapsed".to_owned());
        }
    }
    for place in 0..NODES {
        if world.nodes[place].is_none() {
            world.nodes[place] = Some(Node::start(world, place).await?);
            done.push(format!("node {place}"));
        }
    }
    Ok(if done.is_empty() { "nothing".to_owned() } else { done.join(", ") })
}

/// Its heartbeat is late, so that the other takes what it holds over; it knows nothing of that and works on.
async fn paused(world: &mut World) -> Outcome {
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    if let Some(node) = &world.nodes[place] {
        heartbeat(&world.admin, node.id, false).await?;
    }
    Ok(format!("node {place}"))
}

async fn heard_again(world: &mut World) -> Outcome {
    for node in world.nodes.iter().flatten() {
        heartbeat(&world.admin, node.id, true).await?;
    }
    Ok("all".to_owned())
}
