//! Paying for one request with x402: the challenge, the check of what is presented, and the wait for the
//! chain.
//!
//! Nothing is credited here. A request inserts its payment (one row per authorisation, however often and
//! wherever the same proof is presented), wakes the payment's actor, and waits for the row; whoever comes
//! with the same proof waits for the same row and gets the same answer (A01, A02).

mod budget;
mod challenge;
pub mod facilitator;
mod identifier;
mod receipt;

use std::time::Duration;

use chain::rpc::ChainRpc;
use chain::x402::Offer;
use chain::x402::verify::{SimulateError, VerifyError, check, simulate};
use chain::x402::wire::{Presented, WireError, decode};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::outbox::outbox_append;
use store::payments::{
    AuthorisationKey, IdentifierClaim, NewPayment, PaymentRow, PaymentState, payment_insert,
};
use store::{StoreError, sightings::SightingRow};
use types::{AccountId, Code, Mutation, Network, PaymentId, Problem, UsdMicros, Wallet, kill_point};

use self::challenge::Challenge;
use self::receipt::{paid, with_receipt};
use crate::Plane;
use crate::caller::Caller;

/// How often a waiting request looks at its row.
const POLL: Duration = Duration::from_millis(1_000 / POLLS_PER_SEC);
const POLLS_PER_SEC: u64 = 10;
/// Polls between two hints to the payment's actor: hints may get lost.
const POLLS_PER_HINT: u64 = 10;
/// How long a proof whose authorisation is used already may wait for the watcher to see where.
const SIGHTING_POLLS_MAX: u64 = 50;
const RETRY_AFTER_SECS: u64 = 2;
/// Above the instant limit a payment waits for a safe block, which takes minutes.
const RETRY_AFTER_SAFE_SECS: u64 = 30;

/// What is to be paid for.
#[derive(Debug, Clone)]
pub struct PayFor {
    pub account: AccountId,
    /// The wallet that signed the request: it must be the payer.
    pub wallet: Wallet,
    /// The kind of thing, such as `tier`.
    pub product: &'static str,
    /// Which one, such as `prototype`.
    pub product_key: String,
    pub priced: Priced,
}

/// What something costs, and where that is written on an offer.
#[derive(Debug, Clone)]
pub struct Priced {
    pub price: UsdMicros,
    /// In the order of the offers: a client with an empty wallet takes the first.
    pub networks: Vec<Network>,
    /// Absolute path of the request, without its query.
    pub resource_path: String,
    pub description: String,
}

/// A payment that was credited, now or before.
#[derive(Debug, Clone)]
pub struct Paid {
    pub payment: PaymentId,
    /// The body that was answered when it was credited.
    pub answer: Value,
    /// For the `PAYMENT-RESPONSE` header.
    pub settle_response: String,
}

impl Plane {
    /// Takes the payment of a request, or says how to pay.
    ///
    /// # Errors
    /// `PAYMENT_REQUIRED` with a challenge; `PAYMENT_INVALID` or `INSUFFICIENT_FUNDS` with the reason and a
    /// challenge; `PAYMENT_MALFORMED`; `PAYMENT_REUSED`; `PAYMENT_PENDING` while the outcome is open;
    /// `CHAIN_UNAVAILABLE`.
    ///
    /// # Source
    /// Wire contract 01 sections 3.2 to 3.6.
    pub(crate) async fn pay(&self, caller: &Caller, what: PayFor) -> Result<Paid, Problem> {
        let challenge = self.challenge(&what.priced)?;
        match decode(caller.payment_signature.as_deref(), caller.x_payment.as_deref()) {
            Ok(None) => self.pay_unpaid(&what, &challenge).await,
            Ok(Some(presented)) => self
                .pay_presented(caller, &what, &challenge, &presented)
                .await
                .map_err(|problem| with_receipt(problem, &presented)),
            // Readable, but nothing that we take: paying the challenge fixes it.
            Err(e @ (WireError::Network | WireError::Version)) => {
                Err(challenge.refused(Code::PaymentInvalid, e.reason(), &e.to_string()))
            }
            Err(e) => Err(Problem::new(Code::PaymentMalformed, e.to_string()).detail("reason", e.reason())),
        }
    }

    /// How to pay for something, whoever asks: the refusal that carries its challenge.
    pub(crate) fn pay_challenge(&self, price: &Priced) -> Problem {
        match self.challenge(price) {
            Ok(challenge) => challenge.required(),
            Err(problem) => problem,
        }
    }

    fn challenge(&self, what: &Priced) -> Result<Challenge, Problem> {
        let chains = &self.deps().chains;
        let offers: Vec<Offer> = what
            .networks
            .iter()
            .filter_map(|network| chains.get(*network))
            .map(|chain| Offer {
                network: chain.network,
                amount: what.price,
                pay_to: chain.payee,
                max_timeout_secs: challenge::TIMEOUT_SECS,
            })
            .collect();
        if offers.is_empty() {
            return Err(Problem::new(Code::ChainUnavailable, "this server takes no payments for that now"));
        }
        let url = format!("{}{}", self.config().public_url, what.resource_path);
        Ok(Challenge::new(url, what.description.clone(), offers))
    }

    /// Asked again without a proof, while an earlier payment for the same is open: that one is waited for, so
    /// that a client that simply runs again does not pay twice (A09).
    async fn pay_unpaid(&self, what: &PayFor, challenge: &Challenge) -> Result<Paid, Problem> {
        let open =
            self.deps().store.payment_unfinished_for(what.account, what.product, &what.product_key).await;
        let Some(open) = open.map_err(unavailable)? else { return Err(challenge.required()) };
        let row = self.payment_settled(&open).await?;
        match row.state {
            PaymentState::Credited => paid(&row, chain::x402::wire::Version::V2),
            _ => Err(challenge.required()),
        }
    }

    async fn pay_presented(
        &self,
        caller: &Caller,
        what: &PayFor,
        challenge: &Challenge,
        presented: &Presented,
    ) -> Result<Paid, Problem> {
        let authorization = &presented.authorization;
        if authorization.from != what.wallet {
            let message = "the payer is not the wallet that signed the request";
            return Err(challenge.refused(Code::PaymentInvalid, "invalid_payer", message));
        }
        let request = Identity::of(caller, what);
        let key = key_of(presented);
        let found = self.deps().store.payment_by_authorisation(&key).await.map_err(unavailable)?;
        let row = match found {
            Some(row) => row,
            None => match self.verify(challenge, presented, &request).await? {
                Verified::Now => self.payment_accept(caller, what, presented, &request).await?,
                Verified::Before(row) => *row,
            },
        };
        request.same_as(&row, presented)?;
        self.identifier_take(presented, &request).await?;
        let row = if row.state.unfinished() { self.payment_settled(&row).await? } else { row };
        match row.state {
            PaymentState::Credited => paid(&row, presented.version),
            _ => Err(challenge.failed(&row)),
        }
    }

    /// Checks form and signature, then asks the chain.
    async fn verify(
        &self,
        challenge: &Challenge,
        presented: &Presented,
        request: &Identity,
    ) -> Result<Verified, Problem> {
        let refused = |e: VerifyError| challenge.refused(Code::PaymentInvalid, e.reason(), &e.to_string());
        if presented.resource_url.as_deref().is_some_and(|url| path_of(url) != path_of(challenge.url())) {
            let message = "the payment names another resource";
            return Err(challenge.refused(
                Code::PaymentInvalid,
                VerifyError::OfferMismatch.reason(),
                message,
            ));
        }
        let here = challenge.offers().iter().any(|offer| offer.network == presented.network);
        let chain = self.deps().chains.get(presented.network).filter(|_| here);
        let chain = chain.ok_or_else(|| refused(VerifyError::NetworkMismatch))?;
        // The chain's time: it is what will judge the window (B19).
        let now = chain.rpc.head().await.map_err(chain_silent)?.timestamp;
        let offer = check(presented, challenge.offers(), now).map_err(refused)?;
        let fee_payer = chain.fee_payer.address();
        let rpc: &dyn ChainRpc = chain.rpc.as_ref();
        match simulate(rpc, offer, presented, fee_payer).await {
            Ok(()) => Ok(Verified::Now),
            Err(SimulateError::Unavailable(e)) => Err(chain_silent(e)),
            Err(e @ SimulateError::Insufficient { .. }) => {
                // The same proof may have been settled while this one was checked.
                match self.payment_before(presented).await? {
                    Some(row) => Ok(Verified::Before(Box::new(row))),
                    None => Err(challenge.refused(Code::InsufficientFunds, e.reason(), &e.to_string())),
                }
            }
            Err(e) => self.used_already(challenge, presented, request, &e).await,
        }
    }

    /// The authorisation is used: by the same proof on another connection, by a stranger who submitted it
    /// first, or to no benefit of ours.
    async fn used_already(
        &self,
        challenge: &Challenge,
        presented: &Presented,
        request: &Identity,
        why: &SimulateError,
    ) -> Result<Verified, Problem> {
        let key = key_of(presented);
        for _ in 0..SIGHTING_POLLS_MAX.min(self.config().wait_secs_max * POLLS_PER_SEC).max(1) {
            if let Some(row) = self.payment_before(presented).await? {
                request.same_as(&row, presented)?;
                return Ok(Verified::Before(Box::new(row)));
            }
            let seen = self.deps().store.sighting_of_authorisation(&key).await.map_err(unavailable)?;
            match seen {
                // What an operator has given to somebody buys nothing any more.
                Some(seen) if seen.in_suspense && self.resolved(&seen).await? => break,
                Some(seen) if pays(&seen, presented) => return Ok(Verified::Now),
                Some(_) => break,
                // Who does not wait for payments does not wait here either.
                None if self.config().wait_secs_max == 0 => break,
                None if matches!(why, SimulateError::AlreadyUsed) => tokio::time::sleep(POLL).await,
                None => break,
            }
        }
        Err(challenge.refused(Code::PaymentInvalid, why.reason(), &why.to_string()))
    }

    async fn resolved(&self, seen: &SightingRow) -> Result<bool, Problem> {
        self.deps().store.sighting_resolved(seen).await.map_err(unavailable)
    }

    async fn payment_before(&self, presented: &Presented) -> Result<Option<PaymentRow>, Problem> {
        self.deps().store.payment_by_authorisation(&key_of(presented)).await.map_err(unavailable)
    }

    /// Makes the payment durable and wakes its actor. Of all who present the same proof at once, one inserts
    /// it.
    async fn payment_accept(
        &self,
        caller: &Caller,
        what: &PayFor,
        presented: &Presented,
        request: &Identity,
    ) -> Result<PaymentRow, Problem> {
        let deps = self.deps();
        let authorization = &presented.authorization;
        let secs = |secs: u64| i64::try_from(secs).unwrap_or(i64::MAX);
        let new = NewPayment {
            id: PaymentId::new(&*deps.entropy),
            key: key_of(presented),
            pay_to: authorization.to,
            amount: authorization.value,
            valid_after: secs(authorization.valid_after),
            valid_before: secs(authorization.valid_before),
            signature: presented.signature.clone(),
            request: request.text.clone(),
            request_hash: request.hash,
            product: what.product.to_owned(),
            product_key: what.product_key.clone(),
            account: what.account,
            trace: caller.trace,
        };
        kill_point!("payment.verified");
        let row = self.payment_begin(&new, identifier::claim(presented, request)).await?;
        kill_point!("payment.asked");
        Ok(row)
    }

    /// Inserts a verified payment, unless its authorisation has a row, and wakes its actor.
    async fn payment_begin(
        &self,
        new: &NewPayment,
        claim: Option<IdentifierClaim>,
    ) -> Result<PaymentRow, Problem> {
        let store = &self.deps().store;
        let mut tx = store.begin().await.map_err(unavailable)?;
        budget::check(&mut tx, &new.key, self.now()).await?;
        if let Some(claim) = claim {
            identifier::take(&mut tx, &claim, self.now()).await?;
        }
        if payment_insert(&mut tx, new, self.now()).await.map_err(unavailable)? {
            outbox_append(&mut tx, "payment.step", json!({ "id": new.id })).await.map_err(unavailable)?;
            tracing::info!(
                payment.id = %new.id, network = %new.key.network, payer = %new.key.payer,
                amount_micros = new.amount.0, product = new.product, product.key = %new.product_key,
                "payment verified"
            );
            kill_point!("payment.inserted");
        }
        tx.commit().await.map_err(unavailable)?;
        kill_point!("payment.accepted");
        let row = store.payment_by_authorisation(&new.key).await.map_err(unavailable)?;
        let row = row.ok_or_else(|| unavailable(StoreError::NotFound("payment")))?;
        self.actors().payment.hint(row.id, actors::payment::Request::Settle);
        Ok(row)
    }

    /// Waits until the payment's outcome is known.
    async fn payment_settled(&self, row: &PaymentRow) -> Result<PaymentRow, Problem> {
        for poll in 0..self.config().wait_secs_max * POLLS_PER_SEC {
            let now = self.deps().store.payment_find(row.id).await.map_err(unavailable)?;
            if let Some(now) = now.filter(|now| !now.state.unfinished()) {
                kill_point!("payment.settled");
                return Ok(now);
            }
            if poll % POLLS_PER_HINT == POLLS_PER_HINT - 1 {
                self.actors().payment.hint(row.id, actors::payment::Request::Step);
            }
            tokio::time::sleep(POLL).await;
        }
        Err(self.pending(row))
    }

    fn pending(&self, row: &PaymentRow) -> Problem {
        let instant_max = self.deps().chains.get(row.key.network).map_or(UsdMicros::ZERO, |c| c.instant_max);
        let secs = if row.amount > instant_max { RETRY_AFTER_SAFE_SECS } else { RETRY_AFTER_SECS };
        Problem::new(Code::PaymentPending, "the payment was sent and is not confirmed yet")
            .mutation(Mutation::Unknown)
            .extra("payment_id", row.id.to_string())
            .extra("retry_after", secs)
            .detail("payment_state", row.state.as_str())
    }
}

/// What became of a check.
enum Verified {
    /// It can be settled, or was by somebody and paid us.
    Now,
    /// The same proof came first on another connection.
    Before(Box<PaymentRow>),
}

/// What a proof was presented for.
struct Identity {
    text: String,
    hash: [u8; 32],
}

impl Identity {
    /// Method, path and product. Not the body: the product says all that was bought.
    fn of(caller: &Caller, what: &PayFor) -> Self {
        let text = format!("{} {}", caller.method, what.priced.resource_path);
        let mut hash = Sha256::new();
        for part in [text.as_str(), what.product, &what.product_key] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self { text, hash: hash.finalize().into() }
    }

    /// The stored payment is this proof, presented for this request (A03, A04).
    fn same_as(&self, row: &PaymentRow, presented: &Presented) -> Result<(), Problem> {
        let paid = &presented.authorization;
        let same_proof = row.pay_to == paid.to
            && row.amount == paid.value
            && u64::try_from(row.valid_before).ok() == Some(paid.valid_before);
        if same_proof && row.request_hash == self.hash {
            return Ok(());
        }
        Err(Problem::new(Code::PaymentReused, "this payment was presented for another request before")
            .detail("payment_id", row.id.to_string()))
    }
}

fn key_of(presented: &Presented) -> AuthorisationKey {
    AuthorisationKey {
        network: presented.network,
        asset: chain::asset::usdc(presented.network).address,
        payer: presented.authorization.from,
        nonce: presented.authorization.nonce,
    }
}

/// Only the path says what is paid for: this server may be reached by several names, and its name may change
/// between the challenge and the payment.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("/", |at| &rest[at..])
}

fn pays(seen: &SightingRow, presented: &Presented) -> bool {
    seen.pay_to == presented.authorization.to && seen.amount == presented.authorization.value
}

fn chain_silent(e: chain::rpc::RpcError) -> Problem {
    tracing::warn!(error = %e, "the chain does not answer");
    Problem::new(Code::ChainUnavailable, "the chain does not answer; nothing was charged")
        .mutation(Mutation::NotStarted)
}

/// The same proof may be presented again whatever happened: it is one payment.
pub(crate) fn unavailable(e: StoreError) -> Problem {
    let unknown = matches!(e, StoreError::CommitUnknown(_));
    tracing::warn!(error = &e as &dyn std::error::Error, "control database");
    let (code, mutation) = match unknown {
        true => (Code::OutcomeUnknown, Mutation::Unknown),
        false => (Code::Unavailable, Mutation::NotStarted),
    };
    Problem::new(code, "the control database did not answer").mutation(mutation)
}

#[cfg(test)]
mod tests {
    use super::*;

    // A04: what is paid for is the path, query included; the name of the server is not.
    #[test]
    fn the_resource_is_compared_by_its_path() {
        assert_eq!(path_of("http://127.0.0.1:4020/tiers/v1/hobby"), path_of("https://x.test/tiers/v1/hobby"));
        assert_ne!(path_of("http://x.test/tiers/v1/hobby?a=1"), path_of("http://x.test/tiers/v1/hobby"));
        assert_ne!(path_of("http://x.test/tiers/v1/%68obby"), path_of("http://x.test/tiers/v1/hobby"));
        assert_eq!(path_of("http://x.test"), "/");
    }
}
