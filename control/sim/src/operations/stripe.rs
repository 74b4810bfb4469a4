//! What Stripe delivers, what others would have us believe that it did, and the calls that it does not answer.

use serde_json::Value;
use stripe_fake::{Declined, Fault as StripeFault};
use types::{Clock, Code, Problem};

use super::purchases::refusal;
use super::{Operation, Outcome, operation};
use crate::Fault;
use crate::world::World;

pub(super) const ALL: &[Operation] = &[
    operation!("webhook", 12, true, webhook),
    operation!("forged webhook", 1, true, forged),
    operation!("bad stripe", 2, false, bad_stripe),
];

/// Stripe's signatures are good for so long.
const TOLERANCE_SECS: i64 = 300;

/// An event arrives, in whatever order; most that arrived never do again, some do, and some never arrive.
async fn webhook(world: &mut World) -> Outcome {
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    let (fate, repeats) = (world.dice.below(100), world.dice.chance(30));
    let (waiting, gone) = (world.stripe.waiting.len(), world.stripe.gone.len());
    let again = gone > 0 && (repeats || waiting == 0);
    let at = world.dice.index(if again { gone } else { waiting });
    let body = match again {
        true => world.stripe.gone.get(at).cloned(),
        false => (waiting > 0).then(|| world.stripe.waiting.remove(at)),
    };
    let Some(body) = body else { return Ok("none".to_owned()) };
    let kind = kind_of(&body);
    if !again && fate < 12 {
        // It may be that its delivery was only very late.
        world.stripe.gone.push(body);
        return Ok(format!("{kind} is given up"));
    }
    let header = world.stripe.model.sign(world.wall.now().timestamp(), &body);
    let told = deliver(world, place, (header, &body)).await;
    let taken = matches!(told, Some(Ok(())));
    if !again {
        // An answer that is lost is none: Stripe delivers again.
        let side = if taken && fate >= 20 { &mut world.stripe.gone } else { &mut world.stripe.waiting };
        side.push(body);
    }
    let word = match told {
        None => "dead".to_owned(),
        Some(Ok(())) => "ok".to_owned(),
        Some(Err(problem)) if problem.code == Code::Unavailable => refusal(&problem)?,
        Some(Err(problem)) => return Err(Fault(format!("{kind} is not taken: {}", problem.message))),
    };
    Ok(format!("{kind}{} at node {place}: {word}", if again { " again" } else { "" }))
}

/// An event is delivered at once.
pub(super) async fn webhook_of(world: &mut World, place: usize, event: Option<String>) -> Outcome {
    let Some(body) = event else { return Ok("nothing is said".to_owned()) };
    let header = world.stripe.model.sign(world.wall.now().timestamp(), &body);
    let told = deliver(world, place, (header, &body)).await;
    world.stripe.waiting.push(body);
    match told {
        None => Ok("dead".to_owned()),
        Some(Ok(())) => Ok("told".to_owned()),
        Some(Err(problem)) => refusal(&problem),
    }
}

fn kind_of(body: &str) -> String {
    let event: Value = serde_json::from_str(body).unwrap_or_default();
    event["type"].as_str().unwrap_or_default().to_owned()
}

/// What a node says to a delivery; none when it died over it.
async fn deliver(world: &World, place: usize, (header, body): (String, &str)) -> Option<Result<(), Problem>> {
    let plane = world.nodes[place].as_ref()?.plane.clone();
    let body = body.as_bytes().to_vec();
    world.on(place, async move { plane.stripe_webhook(Some(&header), &body).await }).await
}

/// Nobody but Stripe is believed, and nobody for ever.
async fn forged(world: &mut World) -> Outcome {
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    let all: Vec<&String> = world.stripe.waiting.iter().chain(&world.stripe.gone).collect();
    let how = world.dice.below(3);
    let Some(body) = all.get(world.dice.index(all.len())).map(|body| (*body).clone()) else {
        return Ok("nothing".to_owned());
    };
    let now = world.wall.now().timestamp();
    let model = &world.stripe.model;
    let (delivery, word) = match how {
        0 => ((model.sign(now, &body), body.replace("unpaid", "paid") + " "), "another body"),
        1 => ((model.sign(now - TOLERANCE_SECS - 1, &body), body), "an old signature"),
        _ => ((format!("t={now},v1={}", "0".repeat(64)), body), "no signature"),
    };
    match deliver(world, place, (delivery.0, &delivery.1)).await {
        None => Ok("dead".to_owned()),
        Some(Err(problem)) if problem.code == Code::WebhookSignatureInvalid => Ok(word.to_owned()),
        Some(Err(problem)) => Err(Fault(format!("{word} is refused with {}", problem.code.as_str()))),
        Some(Ok(())) => Err(Fault(format!("a webhook with {word} was taken"))),
    }
}

/// The next calls fail, are lost before or after something was done; saved cards are declined or taken again.
async fn bad_stripe(world: &mut World) -> Outcome {
    let model = &world.stripe.model;
    let fault = match world.dice.below(6) {
        0 => StripeFault::Status(500),
        1 => StripeFault::Status(429),
        2 => StripeFault::Reset,
        3 => StripeFault::LostAnswer,
        4 => {
            model.decline_saved_cards(Declined::Yes);
            return Ok("declines saved cards".to_owned());
        }
        _ => {
            model.decline_saved_cards(Declined::No);
            return Ok("takes saved cards".to_owned());
        }
    };
    let calls = usize::try_from(1 + world.dice.below(2)).unwrap_or(1);
    model.fail_next(std::iter::repeat_n(fault, calls));
    Ok(format!("{fault:?}, {calls} calls"))
}
