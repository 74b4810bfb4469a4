//! Buyers that pay by card, their banks, and what is taken back of it.

use plane::billing::checkouts::{Buyer, CheckoutView};
use serde_json::json;
use sha2::{Digest, Sha256};
use store::accounts::account_of_wallet_find;
use stripe_fake::{Paid, Settled};
use types::{Problem, Tier, Wallet};

use super::purchases::{refusal, request};
use super::stripe::webhook_of;
use super::{Operation, Outcome, operation};
use crate::Fault;
use crate::memory::{Goods, Ordered};
use crate::settle::tick;
use crate::world::World;

pub(super) const ALL: &[Operation] = &[
    operation!("checkout", 6, true, checkout),
    operation!("same checkout", 2, true, same_checkout),
    operation!("customer", 9, false, customer),
    operation!("bank", 3, false, bank),
    operation!("refund", 3, false, refund),
    operation!("dispute", 4, false, dispute),
    operation!("recharge wish", 2, true, recharge_wish),
    operation!("card sale", 5, true, sale),
];

const PATH: &str = "/billing/v1/checkouts";
/// Whole cents, from the least that a card can be charged.
const CREDITS: [i64; 4] = [500_000, 1_230_000, 5_000_000, 20_000_000];
/// Below, at and above what one or two e-mail packs bring.
const THRESHOLDS: [i64; 4] = [2_000, 10_000, 10_001, 20_001];

/// Somebody asks for a page to pay at.
async fn checkout(world: &mut World) -> Outcome {
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    let ordered = some_order(world).await?;
    let word = order(world, place, &ordered).await?;
    Ok(format!("{:?} at node {place}: {word}", ordered.goods))
}

/// A wallet that we know, or one that nobody has seen.
async fn some_order(world: &mut World) -> Result<Ordered, Fault> {
    let payer = world.dice.index(world.payers.len());
    let signer = world.payers[payer].clone();
    let wallet = match world.dice.chance(85) {
        true => signer.address(),
        false => Wallet([0xc0 + u8::try_from(world.dice.below(4)).unwrap_or(0); 20]),
    };
    let goods = match world.dice.below(10) {
        0..3 => Goods::Credit(world.dice.pick(&CREDITS)),
        3..7 => Goods::Tier(world.dice.pick(&[Tier::Prototype, Tier::Hobby, Tier::Hobby, Tier::Team])),
        _ => Goods::Emails,
    };
    let mut caller = request(world, &signer, PATH).await?;
    caller.body_sha256 = Sha256::digest(format!("{wallet} {goods:?}")).into();
    Ok(keyed(world, Ordered { wallet, goods, caller }))
}

/// Most sales are like this: a page, a payment, a webhook, and soon it is in the books.
async fn sale(world: &mut World) -> Outcome {
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    let before = world.stripe.model.open_sessions();
    let ordered = some_order(world).await?;
    let word = order(world, place, &ordered).await?;
    let made = world.stripe.model.open_sessions().into_iter().find(|session| !before.contains(session));
    let (Some(session), true) = (made, word == "ok") else { return Ok(format!("no page: {word}")) };
    let event = world.stripe.model.pay(&session);
    let told = webhook_of(world, place, event).await?;
    let posted = tick(world, place, "cards").await?;
    Ok(format!("{:?} at node {place}: {told}, {posted}", ordered.goods))
}

/// Most give a key to their request, and may repeat it.
fn keyed(world: &mut World, mut ordered: Ordered) -> Ordered {
    if world.dice.chance(70) {
        ordered.caller.idempotency_key = Some(hex::encode(world.dice.bytes::<8>()));
        world.memory.checkouts.push(ordered.clone());
    }
    ordered
}

/// The very same again: the same page.
async fn same_checkout(world: &mut World) -> Outcome {
    let all = world.memory.checkouts.len();
    let (Some(place), true) = (world.some_node(), all > 0) else { return Ok("nothing".to_owned()) };
    let back = world.dice.index(all.min(6));
    let ordered = world.memory.checkouts[all - 1 - back].clone();
    let word = order(world, place, &ordered).await?;
    Ok(format!("{:?} at node {place}: {word}", ordered.goods))
}

async fn order(world: &mut World, place: usize, ordered: &Ordered) -> Outcome {
    let Some(node) = &world.nodes[place] else { return Ok("nobody".to_owned()) };
    let (plane, asked) = (node.plane.clone(), ordered.clone());
    let told: Option<Result<CheckoutView, Problem>> = world
        .on(place, async move {
            let buyer = Buyer { wallet: Some(asked.wallet.to_string()), email: None };
            match asked.goods {
                Goods::Credit(micros) => plane.checkout_top_up(&asked.caller, &buyer, micros).await,
                Goods::Tier(tier) => plane.checkout_tier(&asked.caller, &buyer, tier.as_str()).await,
                Goods::Emails => plane.checkout_email_pack(&asked.caller, &buyer).await,
            }
        })
        .await;
    match told {
        None => Ok("dead".to_owned()),
        Some(Err(problem)) => refusal(&problem),
        Some(Ok(view)) => {
            if let Some(key) = &ordered.caller.idempotency_key {
                let name = format!("checkout/{}/{key}", ordered.wallet);
                world.memory.answered(name, &json!({ "id": view.id.to_string(), "url": view.url }))?;
            }
            Ok("ok".to_owned())
        }
    }
}

/// Somebody at a page pays, pays in a way whose money comes later, or leaves.
async fn customer(world: &mut World) -> Outcome {
    let open = world.stripe.model.open_sessions();
    let chance = world.dice.below(100);
    let Some(session) = open.get(world.dice.index(open.len())) else { return Ok("none".to_owned()) };
    let (event, word) = match chance {
        0..70 => (world.stripe.model.pay(session), "pays"),
        70..90 => (world.stripe.model.pay_later(session), "pays later"),
        _ => (world.stripe.model.expire(session), "leaves"),
    };
    world.stripe.says(event);
    Ok(word.to_owned())
}

async fn bank(world: &mut World) -> Outcome {
    let waiting = world.stripe.model.unsettled_sessions();
    let good = if world.dice.chance(65) { Settled::Paid } else { Settled::Failed };
    let Some(session) = waiting.get(world.dice.index(waiting.len())) else { return Ok("none".to_owned()) };
    let event = world.stripe.model.settle(session, good);
    world.stripe.says(event);
    Ok(format!("{good:?}"))
}

/// One of the payments that succeeded, and how many of its cents: all, or some.
fn some_payment(world: &mut World) -> Option<(Paid, i64)> {
    let paid = world.stripe.model.paid();
    let at = world.dice.index(paid.len());
    let (whole, part) = (world.dice.chance(50), world.dice.next());
    let paid = paid.into_iter().nth(at)?;
    let some = 1 + i64::try_from(part % paid.cents.unsigned_abs().max(1)).unwrap_or(0);
    let cents = if whole { paid.cents } else { some };
    Some((paid, cents))
}

/// Stripe refunds what is left at most.
async fn refund(world: &mut World) -> Outcome {
    let Some((paid, cents)) = some_payment(world) else { return Ok("none".to_owned()) };
    let cents = cents.min(paid.cents - paid.refunded);
    if cents <= 0 {
        return Ok("nothing is left".to_owned());
    }
    let event = world.stripe.model.refund(&paid.intent, cents);
    world.stripe.says(event);
    Ok(format!("{cents} of {}", paid.cents))
}

/// A new one, or one that moves on. Rarely more is disputed than is left of the payment.
async fn dispute(world: &mut World) -> Outcome {
    let open = world.stripe.model.open_disputes();
    let (chance, status) = (world.dice.chance(55), world.dice.pick(&["won", "lost", "under_review"]));
    let which = world.dice.index(open.len());
    if let (true, Some(dispute)) = (chance, open.get(which)) {
        let event = world.stripe.model.dispute_update(dispute, status);
        world.stripe.says(event);
        return Ok(status.to_owned());
    }
    let too_much = world.dice.chance(15);
    let Some((paid, cents)) = some_payment(world) else { return Ok("none".to_owned()) };
    let left = paid.cents - paid.refunded - paid.disputed;
    let cents = if too_much { cents } else { cents.min(left) };
    if cents <= 0 {
        return Ok("nothing is left".to_owned());
    }
    let event = world.stripe.model.dispute(&paid.intent, cents);
    world.stripe.says(event);
    Ok(format!("{cents} of {}, of which {left} are left", paid.cents))
}

/// An account wants e-mail packs to be bought for it, or does not any more.
async fn recharge_wish(world: &mut World) -> Outcome {
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    let payer = world.payers[world.dice.index(world.payers.len())].clone();
    let (enabled, threshold) = (world.dice.chance(80), world.dice.pick(&THRESHOLDS));
    let account = account_of_wallet_find(&world.admin, payer.address()).await?;
    let (Some(account), Some(node)) = (account, &world.nodes[place]) else {
        return Ok("no account".to_owned());
    };
    let plane = node.plane.clone();
    let caller = request(world, &payer, "/billing/v1/accounts/recharge").await?;
    let told = world
        .on(place, async move {
            plane.recharge_set(&caller, &account.to_string(), (enabled, Some(threshold))).await
        })
        .await;
    match told {
        None => Ok("dead".to_owned()),
        Some(Err(problem)) => refusal(&problem),
        Some(Ok(set)) if (set.enabled, set.threshold) == (enabled, threshold) => {
            Ok(format!("{enabled} below {threshold}"))
        }
        Some(Ok(set)) => Err(Fault(format!("a wish became {set:?}"))),
    }
}
