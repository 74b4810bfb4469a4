//! What the chain does, and what strangers do on it.

use chain::fake::{Dropped, SendFault};
use chrono::TimeDelta;
use types::UsdMicros;

use super::purchases::new_proof;
use super::{Operation, Outcome, operation};
use crate::Fault;
use crate::world::World;

pub(super) const ALL: &[Operation] = &[
    operation!("mine", 15, false, mine),
    operation!("reorganisation", 6, false, reorganise),
    operation!("finality", 1, false, finality),
    operation!("time", 2, false, time),
    operation!("age", 1, false, age),
    operation!("transfer", 1, false, transfer),
    operation!("stranger", 2, false, stranger),
    operation!("pocket money", 1, false, pocket_money),
    operation!("bad node", 2, false, bad_node),
];

/// Deeper than this no chain of today goes.
const REORGANISATION_MAX: u64 = 18;

pub(super) async fn mine(world: &mut World) -> Outcome {
    let blocks = 1 + world.dice.below(3);
    for _ in 0..blocks {
        world.chain.mine();
        world.wall.advance(TimeDelta::seconds(2));
        world.clock.advance(TimeDelta::seconds(2));
    }
    Ok(format!("{blocks} blocks"))
}

/// What is final stays.
async fn reorganise(world: &mut World) -> Outcome {
    let deepest = world.chain.unfinal_blocks().min(REORGANISATION_MAX);
    let depth = 1 + world.dice.below(deepest.max(1));
    if depth > deepest {
        return Ok("all is final".to_owned());
    }
    let dropped = world.dice.pick(&[Dropped::Remined, Dropped::Pooled, Dropped::Gone]);
    world.chain.reorg(usize::try_from(depth).unwrap_or(1), dropped);
    Ok(format!("{depth} blocks {dropped:?}"))
}

async fn finality(world: &mut World) -> Outcome {
    let frozen = world.dice.chance(40);
    world.chain.freeze_finality(frozen);
    Ok(if frozen { "stands".to_owned() } else { "moves".to_owned() })
}

/// Seconds to minutes, for everybody or only for the machines: then the chain stands still.
async fn time(world: &mut World) -> Outcome {
    let secs = world.dice.pick(&[5, 30, 130, 310]);
    let stalls = world.dice.chance(25);
    world.wall.advance(TimeDelta::seconds(secs));
    world.clock.advance(TimeDelta::seconds(secs));
    if !stalls {
        world.chain.skip_secs(secs.unsigned_abs());
        world.chain.mine();
    }
    Ok(format!("{secs} s{}", if stalls { " without blocks" } else { "" }))
}

/// Days, for leases only: signatures do not last that long.
async fn age(world: &mut World) -> Outcome {
    let days = world.dice.pick(&[1, 3, 8, 31]);
    world.clock.advance(TimeDelta::days(days));
    Ok(format!("{days} days"))
}

/// Money that says nothing about what it is for.
async fn transfer(world: &mut World) -> Outcome {
    let payer = world.payers[world.dice.index(world.payers.len())].clone();
    let amount = UsdMicros(1 + i64::try_from(world.dice.below(300_000)).unwrap_or_default());
    let nonce = world.chain.next_nonce(payer.address());
    let raw = payer.transfer(world.network, nonce, (world.payee, amount)).await;
    let answer = world.chain.offer(&raw.map_err(|e| Fault::of("a transfer", &e))?);
    Ok(format!("{amount} {answer:?}"))
}

/// Somebody submits a proof before we do, known to us or not.
async fn stranger(world: &mut World) -> Outcome {
    let unused = world.dice.chance(50);
    let known = match unused || world.memory.proofs.is_empty() {
        true => new_proof(world).await?,
        false => world.memory.proofs[world.dice.index(world.memory.proofs.len())].clone(),
    };
    let payer = world.payers[world.dice.index(world.payers.len())].clone();
    let nonce = world.chain.next_nonce(payer.address());
    let raw = payer.submit(nonce, &known.proof).await.map_err(|e| Fault::of("a stranger", &e))?;
    Ok(format!("{} {:?}", known.tier, world.chain.offer(&raw)))
}

async fn pocket_money(world: &mut World) -> Outcome {
    let payer = world.payers[world.dice.index(world.payers.len())].clone();
    let nonce = world.chain.next_nonce(payer.address());
    let raw = payer.mint(world.network, nonce, UsdMicros(25_000_000)).await;
    let answer = world.chain.offer(&raw.map_err(|e| Fault::of("pocket money", &e))?);
    Ok(format!("{answer:?}"))
}

async fn bad_node(world: &mut World) -> Outcome {
    Ok(match world.dice.below(5) {
        0 => {
            let reads = 1 + world.dice.below(6);
            world.chain.fail_reads(u32::try_from(reads).unwrap_or(1));
            format!("fails {reads} questions")
        }
        1 => {
            let waiting = world.chain.pooled();
            world.chain.clear_pool();
            format!("forgets {waiting} transactions")
        }
        which => {
            let faults = [SendFault::Lost, SendFault::Unanswered, SendFault::Forgotten];
            let fault = faults[usize::try_from(which).unwrap_or(2) - 2];
            world.chain.fail_send(fault);
            format!("{fault:?}")
        }
    })
}
