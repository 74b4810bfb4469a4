//! Callers of the ledger that did not hear its answer, and say the same again.

use billing::legs;
use chrono::{DateTime, Utc};
use store::Store;
use store::ledger::{LedgerError, NewTransfer, Posted, post, transfer_find};
use types::{Clock, Entropy};
use uuid::Uuid;

use super::{Operation, Outcome, operation};
use crate::Fault;
use crate::world::World;

pub(super) const ALL: &[Operation] = &[operation!("same fact", 2, true, same_fact)];

/// Facts that are said again, and what they may be posted for.
const SOURCES: [&str; 2] = [legs::X402, legs::PURCHASE];
const REASONS: [&str; 5] = ["tier_subscribe", "tier_renew", "tier_upgrade", "tier_downgrade", "x402_payment"];

/// A fact that is on record is posted again, word for word: nothing moves. In the actors a row of their own stands
/// before the ledger's key; here nothing does.
async fn same_fact(world: &mut World) -> Outcome {
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    let chance = world.dice.next();
    let (Some(name), Some(node)) = (world.oracle.some_fact(&SOURCES, chance), &world.nodes[place]) else {
        return Ok("nothing".to_owned());
    };
    let source = name.0;
    let store = node.deps.store.clone();
    let at = (world.entropy.uuid(), world.clock.now());
    match world.on(place, async move { again(&store, name, at).await }).await {
        None => Ok("dead".to_owned()),
        Some(Ok(word)) => Ok(format!("{source} at node {place}: {word}")),
        Some(Err(e)) => Err(Fault::of("a fact that was said again", &e)),
    }
}

async fn again(
    store: &Store,
    (source, source_id): (&'static str, String),
    (link, now): (Uuid, DateTime<Utc>),
) -> Result<&'static str, LedgerError> {
    let mut tx = store.begin().await?;
    let Some(of) = transfer_find(&mut tx, source, &source_id).await? else { return Ok("not on record") };
    let Some(reason) = REASONS.into_iter().find(|reason| *reason == of.reason) else { return Ok("other") };
    let leg = NewTransfer::post((source, source_id), (of.debit, of.credit), of.amount, reason);
    let posted = post(&mut tx, link, &[leg], now).await?;
    tx.commit().await?;
    Ok(match posted {
        Posted::New(_) => "moved",
        Posted::Before(_) => "on record",
    })
}
