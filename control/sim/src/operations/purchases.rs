//! Buyers: honest ones, impatient ones, and ones that try to pay once and buy twice.

use std::panic::AssertUnwindSafe;

use chain::fake::Payer;
use chain::rpc::ChainRpc;
use chain::x402::Offer;
use futures::FutureExt;
use futures::future::{Either, select};
use plane::budgets::Scope;
use plane::caller::Caller;
use plane::suspense::ResolveTo;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use types::{Code, Entropy, Problem, Tier, TraceId, UsdMicros, Wallet};

use super::{Operation, Outcome, operation};
use crate::Fault;
use crate::memory::{Asked, Known};
use crate::node::DOMAIN;
use crate::stage::Gate;
use crate::world::World;

pub(super) const ALL: &[Operation] = &[
    operation!("buy", 9, true, buy),
    operation!("replay", 7, true, replay),
    operation!("alter", 4, true, alter),
    operation!("from balance", 7, true, from_balance),
    operation!("same request", 4, true, same_request),
    operation!("two at once", 3, true, two_at_once),
    operation!("resolve", 2, true, resolve),
    operation!("budget", 2, true, budget),
];

/// What an account may spend in a day: nothing, some purchases of the smallest tier, one of each.
const BUDGETS: [i64; 4] = [0, 250_000, 5_500_000, 26_000_000];

/// As long as our offers allow.
const AUTHORISED_SECS: u64 = 300;
const TIMEOUT_SECS: u32 = 300;

/// Signs a proof that nobody has seen yet.
pub(super) async fn new_proof(world: &mut World) -> Result<Known, Fault> {
    let payer = world.dice.index(world.payers.len());
    let tier = world.dice.pick(&[Tier::Prototype, Tier::Prototype, Tier::Hobby, Tier::Team]);
    let now = world.chain.head().await.map_or(0, |head| head.timestamp);
    let nonce = world.dice.bytes();
    let offer = offer(world, tier);
    let proof = world.payers[payer].authorize(offer, nonce, (now, AUTHORISED_SECS)).await;
    let known = Known { payer, tier, proof: proof.map_err(|e| Fault::of("a proof", &e))? };
    world.memory.proofs.push(known.clone());
    Ok(known)
}

fn offer(world: &World, tier: Tier) -> Offer {
    Offer {
        network: world.network,
        amount: world.prices.price(tier),
        pay_to: world.payee,
        max_timeout_secs: TIMEOUT_SECS,
    }
}

/// A request that a payer signs now.
pub(super) async fn request(world: &World, payer: &Payer, path: &str) -> Result<Caller, Fault> {
    let nonce = hex::encode(&world.entropy.secret()[..16]);
    let at = types::Clock::now(&*world.wall);
    let siwx = payer.sign_in((DOMAIN, path), &nonce, at).await.map_err(|e| Fault::of("a sign-in", &e))?;
    Ok(Caller {
        siwx: Some(siwx),
        bearer: None,
        apikey: None,
        payment_signature: None,
        x_payment: None,
        idempotency_key: None,
        admin_mode: false,
        method: "POST".to_owned(),
        path_and_query: path.to_owned(),
        body_sha256: Sha256::digest([]).into(),
        client_ip: "127.0.0.1".to_owned(),
        trace: TraceId::new(&*world.entropy),
    })
}

fn path(tier: Tier) -> String {
    format!("/tiers/v1/{tier}")
}

/// What the buyer is told, or none when the node died over it.
type Told = Option<Result<serde_json::Value, Box<Problem>>>;

/// Asks a node for a tier.
async fn ask(world: &World, place: usize, caller: Caller, tier: Tier) -> Told {
    let node = world.nodes[place].as_ref()?;
    let plane = node.plane.clone();
    let answer = world.on(place, async move { plane.tier_set(&caller, tier.as_str()).await }).await?;
    Some(answer.map(|done| done.body).map_err(Box::new))
}

/// A refusal in a word. A fault of ours is none.
pub(super) fn refusal(problem: &Problem) -> Outcome {
    match problem.code {
        Code::Internal => Err(Fault(format!("an error of our own: {}", problem.message))),
        code => Ok(code.as_str().to_owned()),
    }
}

/// Notes an answer and says it in a word.
fn hear(world: &mut World, name: &str, told: Told) -> Outcome {
    match told {
        None => Ok("dead".to_owned()),
        Some(Err(problem)) => refusal(&problem),
        Some(Ok(body)) => {
            world.memory.answered(name.to_owned(), &body)?;
            Ok(format!("ok {}", body["action"].as_str().unwrap_or_default()))
        }
    }
}

/// Presents a proof as it is.
async fn present(world: &mut World, place: usize, known: &Known) -> Outcome {
    let payer = world.payers[known.payer].clone();
    let mut caller = request(world, &payer, &path(known.tier)).await?;
    caller.payment_signature = Some(known.proof.header());
    let told = ask(world, place, caller, known.tier).await;
    hear(world, &name_of(known), told)
}

fn name_of(known: &Known) -> String {
    format!("{}/{}", known.payer, hex::encode(known.proof.authorization.nonce))
}

async fn buy(world: &mut World) -> Outcome {
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    let known = new_proof(world).await?;
    let word = present(world, place, &known).await?;
    Ok(format!("{} by {} at node {place}: {word}", known.tier, known.payer))
}

/// One of the newest proofs, more often than an old one.
fn some_proof(world: &mut World) -> Option<Known> {
    let all = world.memory.proofs.len();
    let back = match world.dice.chance(60) {
        true => world.dice.index(all.min(4)),
        false => world.dice.index(all),
    };
    world.memory.proofs.get(all.checked_sub(1 + back)?).cloned()
}

async fn replay(world: &mut World) -> Outcome {
    let (Some(place), Some(known)) = (world.some_node(), some_proof(world)) else {
        return Ok("nothing".to_owned());
    };
    let word = present(world, place, &known).await?;
    Ok(format!("{} by {} at node {place}: {word}", known.tier, known.payer))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Altered {
    /// Signed, and for less.
    Amount,
    /// Signed, and for somebody else.
    Payee,
    /// The same authorisation, and not a signature of its payer.
    Signature,
    /// Presented for another tier.
    Tier,
    /// Presented by another wallet.
    Wallet,
    /// Another authorisation under an old signature.
    Nonce,
}

/// A proof that is not what it says buys nothing that it did not buy before.
async fn alter(world: &mut World) -> Outcome {
    use Altered::{Amount, Nonce, Payee, Signature, Tier as OtherTier, Wallet as OtherWallet};
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    let known = match some_proof(world).filter(|_| world.dice.chance(60)) {
        Some(known) => known,
        None => new_proof(world).await?,
    };
    let how = world.dice.pick(&[Amount, Payee, Signature, OtherTier, OtherWallet, Nonce]);
    let mut forged = known.clone();
    let mut paid = forged.proof.authorization;
    let signer = world.payers[known.payer].clone();
    let mut tier = known.tier;
    let mut caller_is = known.payer;
    match how {
        Amount => paid.value.0 -= 1,
        Payee => paid.to = Wallet([0xbb; 20]),
        Signature => forged.proof.signature[5] ^= 1,
        OtherTier => tier = Tier::ALL[(Tier::ALL.iter().position(|t| *t == tier).unwrap_or(0) + 1) % 3],
        OtherWallet => caller_is = (known.payer + 1) % world.payers.len(),
        Nonce => forged.proof.authorization.nonce[0] ^= 1,
    }
    if matches!(how, Amount | Payee) {
        let signed = signer.sign(forged.proof.offer, paid).await;
        forged.proof = signed.map_err(|e| Fault::of("a forged proof", &e))?;
    }
    let asker = world.payers[caller_is].clone();
    let mut caller = request(world, &asker, &path(tier)).await?;
    caller.payment_signature = Some(forged.proof.header());
    let told = ask(world, place, caller, tier).await;
    // Who presents what was paid already is told what it bought, and the signature is not looked at again.
    if matches!(told, Some(Ok(_))) && how != Signature {
        return Err(Fault(format!("a proof with another {how:?} was taken")));
    }
    let word = hear(world, &name_of(&known), told)?;
    Ok(format!("{how:?} of {} by {}: {word}", known.tier, known.payer))
}

/// Buys without a proof: what the balance covers.
async fn from_balance(world: &mut World) -> Outcome {
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    let payer = world.dice.index(world.payers.len());
    let tier = world.dice.pick(&[Tier::Prototype, Tier::Prototype, Tier::Hobby, Tier::Team]);
    let mut caller = request(world, &world.payers[payer].clone(), &path(tier)).await?;
    let mut key = format!("siwx:{}", hex::encode(Sha256::digest(caller.siwx.as_deref().unwrap_or_default())));
    if world.dice.chance(60) {
        let chosen = hex::encode(world.dice.bytes::<8>());
        key = format!("key:{chosen}");
        caller.idempotency_key = Some(chosen);
    }
    world.memory.ask(Asked { payer, tier, caller: caller.clone() }, key.clone());
    let told = ask(world, place, caller, tier).await;
    let word = hear(world, &format!("{payer}/{key}"), told)?;
    Ok(format!("{tier} by {payer} at node {place}: {word}"))
}

/// The very same request again, or signed anew under the same key.
async fn same_request(world: &mut World) -> Outcome {
    let (Some(place), false) = (world.some_node(), world.memory.requests.is_empty()) else {
        return Ok("nothing".to_owned());
    };
    let all = world.memory.requests.len();
    let back = world.dice.index(all.min(6));
    let asked = world.memory.requests[all - 1 - back].clone();
    let Asked { payer, tier, mut caller } = asked;
    let key = match &caller.idempotency_key {
        Some(key) => format!("key:{key}"),
        None => format!("siwx:{}", hex::encode(Sha256::digest(caller.siwx.as_deref().unwrap_or_default()))),
    };
    if caller.idempotency_key.is_some() {
        let signed = request(world, &world.payers[payer].clone(), &path(tier)).await?;
        caller.siwx = signed.siwx;
    }
    let told = ask(world, place, caller, tier).await;
    let word = hear(world, &format!("{payer}/{key}"), told)?;
    Ok(format!("{tier} by {payer} at node {place}: {word}"))
}

/// The same proof on two connections: the first waits in the middle of being checked while the second is served.
async fn two_at_once(world: &mut World) -> Outcome {
    let (Some(first), Some(second)) = (world.some_node(), world.some_node()) else {
        return Ok("nobody".to_owned());
    };
    let known = new_proof(world).await?;
    let payer = world.payers[known.payer].clone();
    let mut caller = request(world, &payer, &path(known.tier)).await?;
    caller.payment_signature = Some(known.proof.header());
    let Some(node) = &world.nodes[first] else { return Ok("nobody".to_owned()) };
    let (plane, tier) = (node.plane.clone(), known.tier);
    let (reached, at_gate) = oneshot::channel();
    let (opens, open) = oneshot::channel();
    world.stage.shut_gate(Some(Gate { reached, open }));
    let asking = AssertUnwindSafe(async move { plane.tier_set(&caller, tier.as_str()).await }).catch_unwind();
    let begun = {
        let _acting = world.stage.enter(first);
        select(Box::pin(asking), at_gate).await
    };
    world.stage.shut_gate(None);
    let (told, word) = match begun {
        // It never asked the chain.
        Either::Left((done, _)) => (world.survived(first, done), "alone".to_owned()),
        Either::Right((_, asking)) => {
            let word = present(world, second, &known).await?;
            world.rest_but(first).await?;
            let _ = opens.send(());
            let _acting = world.stage.enter(first);
            let done = asking.await;
            drop(_acting);
            (world.survived(first, done), word)
        }
    };
    let told = told.map(|answer| answer.map(|done| done.body).map_err(Box::new));
    let word_of_first = hear(world, &name_of(&known), told)?;
    Ok(format!("{} by {}: node {second} {word}, node {first} {word_of_first}", known.tier, known.payer))
}

/// An operator gives money that nobody claimed to whoever sent it.
async fn resolve(world: &mut World) -> Outcome {
    const PATH: &str = "/suspense";
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    let Some(node) = &world.nodes[place] else { return Ok("nobody".to_owned()) };
    let plane = node.plane.clone();
    let operator = world.operator.clone();
    let mut caller = request(world, &operator, PATH).await?;
    caller.admin_mode = true;
    let payer = world.payers[world.dice.index(world.payers.len())].address();
    let chance = world.dice.next();
    let done = world
        .on(place, async move {
            let page = plane.suspense_list(&caller, (None, None)).await?;
            let Some(row) =
                page.rows.get(usize::try_from(chance % page.rows.len().max(1) as u64).unwrap_or(0))
            else {
                return Ok("nothing lies there".to_owned());
            };
            let sighting = row.sighting.source_id();
            let resolved = plane.suspense_resolve(&caller, &sighting, ResolveTo::Wallet(payer), "sim").await;
            resolved.map(|_| "done".to_owned())
        })
        .await;
    match done {
        None => Ok("dead".to_owned()),
        Some(Ok(word)) => Ok(word),
        Some(Err(problem)) => refusal(&problem),
    }
}

/// Somebody limits what may be spent of his balance, or does not any more.
async fn budget(world: &mut World) -> Outcome {
    const PATH: &str = "/billing/v1/budgets";
    let Some(place) = world.some_node() else { return Ok("nobody".to_owned()) };
    let payer = world.payers[world.dice.index(world.payers.len())].clone();
    let of_wallet = world.dice.chance(50);
    let limit = world.dice.chance(65).then(|| UsdMicros(world.dice.pick(&BUDGETS)));
    let Some(node) = &world.nodes[place] else { return Ok("nobody".to_owned()) };
    let plane = node.plane.clone();
    let caller = request(world, &payer, PATH).await?;
    let scope = Scope { wallet: of_wallet.then(|| payer.address()), project: None };
    match world.on(place, async move { plane.budget_set(&caller, scope, limit).await }).await {
        None => Ok("dead".to_owned()),
        Some(Ok(_)) => Ok(limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string())),
        Some(Err(problem)) => refusal(&problem),
    }
}
