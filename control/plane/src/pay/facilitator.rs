//! Settling x402 payments for others: the payees that the operator names (A35).
//!
//! A payment of a third party goes the way of our own: one row per authorisation, signed bytes before anything
//! is sent, evidence from the chain alone. It ends as `settled` instead of `credited` and books nothing, for
//! the money is its payee's. Verifying writes nothing at all (A38).

use std::time::Duration;

use actors::ChainDeps;
use chain::rpc::ChainRpc;
use chain::x402::SCHEME;
use chain::x402::facilitate::{Ask, read};
use chain::x402::verify::{SimulateError, check, simulate};
use chain::x402::wire::{SettleResponse, Version};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use store::payments::{FACILITATION, NewPayment, PaymentRow, PaymentState};
use types::{AccountId, Code, Network, PaymentId, Problem, Wallet, kill_point};

use super::{chain_silent, key_of, pays, unavailable};
use crate::Plane;
use crate::caller::Caller;

/// Not terminal: ask again with the same payment.
///
/// # Source
/// x402 specification version 2 section 9.
const PENDING: &str = "settlement_pending";
/// Ours: the facilitator pays gas for the payees that its operator names, and for nobody else.
const NOT_SERVED: &str = "pay_to_not_served";
const INVALID_STATE: &str = "invalid_transaction_state";
/// How long an authorisation that was used by somebody else is looked for.
const LOOKS: u32 = 50;
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What can be verified and settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supported {
    /// Each network with an address that is served.
    pub networks: Vec<Network>,
    pub scheme: &'static str,
    /// Who sends the transactions.
    pub signers: Vec<Wallet>,
}

/// Whether a payment could be settled now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// A facilitator's word and a sentence, where it could not.
    pub refused: Option<(String, String)>,
    pub payer: Option<Wallet>,
}

/// Why an ask was not taken.
struct Refusal {
    reason: String,
    message: String,
}

impl Refusal {
    fn new(reason: &str, message: impl ToString) -> Self {
        Self { reason: reason.to_owned(), message: message.to_string() }
    }
}

impl Plane {
    /// What [`Plane::facilitator_verify`] can say yes to, and nothing else (A39).
    pub fn facilitator_supported(&self) -> Supported {
        let served = || self.deps().chains.0.values().filter(|chain| !chain.facilitated.is_empty());
        let mut signers: Vec<Wallet> = served().map(|chain| chain.fee_payer.address()).collect();
        signers.sort_unstable();
        signers.dedup();
        Supported { networks: served().map(|chain| chain.network).collect(), scheme: SCHEME, signers }
    }

    /// Judges a payment without any effect.
    ///
    /// # Errors
    /// `CHAIN_UNAVAILABLE` only; a payment that is not good is an answer.
    pub async fn facilitator_verify(&self, body: Map<String, Value>) -> Result<Verdict, Problem> {
        let ask = match read(body) {
            Ok(ask) => ask,
            Err(e) => {
                return Ok(Verdict { refused: Some((e.reason().to_owned(), e.to_string())), payer: None });
            }
        };
        let payer = Some(ask.presented.authorization.from);
        let judged = match self.served(&ask) {
            Ok(chain) => self.judge(&ask, chain).await?,
            Err(refusal) => Err((refusal, false)),
        };
        Ok(Verdict { refused: judged.err().map(|(r, _)| (r.reason, r.message)), payer })
    }

    /// Settles a payment to a payee that is served, or answers what became of it when it was asked before.
    ///
    /// # Errors
    /// `PAYMENT_PENDING` while nothing was signed yet; `RATE_LIMITED`; `CHAIN_UNAVAILABLE`; `UNAVAILABLE`. A
    /// payment that cannot be settled is an answer.
    pub async fn facilitator_settle(
        &self,
        caller: &Caller,
        body: Map<String, Value>,
    ) -> Result<SettleResponse, Problem> {
        let ask = match read(body) {
            Ok(ask) => ask,
            Err(e) => return Ok(nothing(e.reason())),
        };
        let before = self.deps().store.payment_by_authorisation(&key_of(&ask.presented)).await;
        let row = match before.map_err(unavailable)? {
            // Before anything is judged: a repeat is answered after its window has closed, too.
            Some(row) => row,
            None => match self.facilitate(caller, &ask).await? {
                Ok(row) => row,
                Err(refusal) => return Ok(refused(&ask, &refusal.reason)),
            },
        };
        if !same(&row, &ask) {
            return Ok(refused(&ask, INVALID_STATE));
        }
        let row = match row.state.unfinished() {
            false => row,
            true => match self.payment_settled(&row).await {
                Ok(row) => row,
                Err(problem) if problem.code == Code::PaymentPending => {
                    return self.pending_answer(&ask, &row, problem).await;
                }
                Err(problem) => return Err(problem),
            },
        };
        Ok(self.answer(&ask, &row))
    }

    /// The chain that it would be settled on, if its payee is served there.
    fn served(&self, ask: &Ask) -> Result<&ChainDeps, Refusal> {
        let chain = self.deps().chains.get(ask.offer.network).filter(|chain| !chain.facilitated.is_empty());
        let chain =
            chain.ok_or_else(|| Refusal::new("invalid_network", "nothing is settled on this network"))?;
        if chain.facilitated.contains(&ask.offer.pay_to) {
            return Ok(chain);
        }
        Err(Refusal::new(NOT_SERVED, "this facilitator does not settle for that payTo"))
    }

    /// Form, window, signature, then the chain's own word. The flag says that the authorisation was found used.
    async fn judge(&self, ask: &Ask, chain: &ChainDeps) -> Result<Result<(), (Refusal, bool)>, Problem> {
        let now = chain.rpc.head().await.map_err(chain_silent)?.timestamp;
        if let Err(e) = check(&ask.presented, std::slice::from_ref(&ask.offer), now) {
            return Ok(Err((Refusal::new(e.reason(), e), false)));
        }
        let rpc: &dyn ChainRpc = chain.rpc.as_ref();
        match simulate(rpc, &ask.offer, &ask.presented, chain.fee_payer.address()).await {
            Ok(()) => Ok(Ok(())),
            Err(SimulateError::Unavailable(e)) => Err(chain_silent(e)),
            Err(e) => {
                let used = matches!(e, SimulateError::AlreadyUsed);
                Ok(Err((Refusal::new(e.reason(), e), used)))
            }
        }
    }

    /// Judges it once more and makes it durable.
    async fn facilitate(&self, caller: &Caller, ask: &Ask) -> Result<Result<PaymentRow, Refusal>, Problem> {
        let chain = match self.served(ask) {
            Ok(chain) => chain,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Err((refusal, used)) = self.judge(ask, chain).await?
            && !(used && self.reached_its_payee(ask).await?)
        {
            // The same ask on another connection may have been settled while this one was judged.
            let row = self.deps().store.payment_by_authorisation(&key_of(&ask.presented)).await;
            return Ok(row.map_err(unavailable)?.ok_or(refusal));
        }
        let new = self.facilitation(caller, ask).await?;
        let row = self.payment_begin(&new, None).await?;
        kill_point!("facilitate.inserted");
        Ok(Ok(row))
    }

    /// Whether somebody else has submitted the authorisation, to the effect that was wanted.
    async fn reached_its_payee(&self, ask: &Ask) -> Result<bool, Problem> {
        let key = key_of(&ask.presented);
        for _ in 0..LOOKS {
            let seen = self.deps().store.sighting_of_authorisation(&key).await.map_err(unavailable)?;
            if let Some(seen) = seen {
                return Ok(pays(&seen, &ask.presented));
            }
            if self.deps().store.payment_by_authorisation(&key).await.map_err(unavailable)?.is_some() {
                return Ok(false);
            }
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
        }
        Ok(false)
    }

    async fn facilitation(&self, caller: &Caller, ask: &Ask) -> Result<NewPayment, Problem> {
        let deps = self.deps();
        let paid = &ask.presented.authorization;
        // The payer's account, so that it can ask for the payment under `GET /payments/v1/{id}`.
        let fresh = AccountId::new(&*deps.entropy);
        let account = store::accounts::account_of_wallet_ensure(&deps.store, paid.from, fresh, self.now());
        let secs = |secs: u64| i64::try_from(secs).unwrap_or(i64::MAX);
        let request = format!("{FACILITATION} {}", paid.to);
        Ok(NewPayment {
            id: PaymentId::new(&*deps.entropy),
            key: key_of(&ask.presented),
            pay_to: paid.to,
            amount: paid.value,
            valid_after: secs(paid.valid_after),
            valid_before: secs(paid.valid_before),
            signature: ask.presented.signature.clone(),
            request_hash: Sha256::digest(&request).into(),
            request,
            product: FACILITATION.to_owned(),
            product_key: paid.to.to_string(),
            account: account.await.map_err(unavailable)?,
            trace: caller.trace,
        })
    }

    fn answer(&self, ask: &Ask, row: &PaymentRow) -> SettleResponse {
        let version = ask.presented.version;
        match (row.state, row.tx_hash) {
            (PaymentState::Settled, Some(hash)) => {
                SettleResponse::paid(version, row.key.network, hash, row.key.payer)
            }
            _ => refused(ask, row.failure.as_ref().map_or("transaction_failed", |f| f.code.as_str())),
        }
    }

    /// Not known yet: the transaction that is under way, so that the caller can look for itself.
    async fn pending_answer(
        &self,
        ask: &Ask,
        row: &PaymentRow,
        problem: Problem,
    ) -> Result<SettleResponse, Problem> {
        let attempts = self.deps().store.chain_txs_of_intent(row.id.0).await.map_err(unavailable)?;
        let Some(attempt) = attempts.last() else { return Err(problem) };
        let mut answer = refused(ask, PENDING);
        answer.transaction = format!("0x{}", hex::encode(attempt.hash));
        Ok(answer)
    }
}

/// The stored payment is this ask's. One that was presented at our own routes is none of the facilitator's.
fn same(row: &PaymentRow, ask: &Ask) -> bool {
    let paid = &ask.presented.authorization;
    row.facilitated()
        && row.pay_to == paid.to
        && row.amount == paid.value
        && ask.offer.pay_to == paid.to
        && ask.offer.amount == paid.value
        && u64::try_from(row.valid_before).ok() == Some(paid.valid_before)
        && row.signature == ask.presented.signature
}

fn refused(ask: &Ask, reason: &str) -> SettleResponse {
    let presented = &ask.presented;
    SettleResponse::refused(presented.version, presented.network, presented.authorization.from, reason)
}

/// What could not even be read: no network and no payer to name.
fn nothing(reason: &str) -> SettleResponse {
    let unread = SettleResponse::refused(Version::V2, Network::Base, Wallet([0; 20]), reason);
    SettleResponse { network: String::new(), payer: None, ..unread }
}
