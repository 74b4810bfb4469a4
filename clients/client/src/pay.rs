//! Paying a 402: one signature per call, whatever happens to it.
//!
//! 1. The request is sent unpaid. An answer `PAYMENT_PENDING` means that an earlier payment for the same
//!    thing is open: we wait for it and do not pay again.
//! 2. A 402 with a challenge is paid once: an offer is chosen and signed.
//! 3. The same request is sent with the proof until the outcome is known or the wait is over. A lost answer,
//!    a 5xx and `PAYMENT_PENDING` all mean "ask again with the same proof": the server never applies one
//!    proof twice.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::answer::RawAnswer;
use crate::http::Request;
use crate::{Balances, Challenge, Client, ClientError, LocalError, chain};

impl Client {
    pub(crate) async fn exchange_paying(&self, request: &Request) -> Result<RawAnswer, ClientError> {
        let (answer, waited) = self.exchange_unpaid(request).await?;
        let Some(challenge) = answer.payment_required.as_deref() else { return Ok(answer) };
        if answer.status != 402 || !request.draft.operation.paid || self.wallet.is_none() {
            return Ok(answer);
        }
        if waited {
            // The payment we waited for is over and the server would sell again. Buying twice is for people
            // to decide.
            return Err(LocalError::new(
                "EARLIER_PAYMENT_RESOLVED",
                "an earlier payment for this was still open and has now been resolved; nothing new was paid",
            )
            .hint("Look at run402 tier status; repeat the command only to buy once more.")
            .into());
        }
        let challenge = Challenge::decode(challenge)?;
        let proof = self.sign_payment(&challenge).await?;
        self.exchange_paid(request, &proof).await
    }

    /// Sends the request, following a payment that is already open. The flag tells whether there was one.
    async fn exchange_unpaid(&self, request: &Request) -> Result<(RawAnswer, bool), ClientError> {
        let started = Instant::now();
        let mut waited = false;
        loop {
            let answer = self.exchange(request, None).await?;
            let pause = answer.retry_after(self.timing.payment_pause);
            if !answer.is_payment_pending() || self.is_over(started, pause) {
                return Ok((answer, waited));
            }
            waited = true;
            sleep(pause).await;
        }
    }

    async fn sign_payment(&self, challenge: &Challenge) -> Result<String, ClientError> {
        let wallet = self.wallet()?;
        let offer = challenge.choose(&self.balances(challenge).await)?;
        tracing::info!(network = %offer.network, amount_micros = offer.amount.0, "paying");
        let now_secs = self.clock.now().timestamp().unsigned_abs();
        Ok(challenge.pay(wallet, offer, now_secs, self.entropy.secret())?)
    }

    /// Balances matter only where there is a choice; one that cannot be read is left out.
    async fn balances(&self, challenge: &Challenge) -> Balances {
        let mut balances = Balances::new();
        let Some(wallet) = self.wallet.as_ref().filter(|_| challenge.offers.len() > 1) else {
            return balances;
        };
        for network in challenge.offers.iter().map(|offer| offer.network) {
            let Some(rpc) = self.chain_rpcs.get(&network) else { continue };
            match chain::usdc_balance(&self.http, rpc, network, wallet.wallet()).await {
                Ok(held) => drop(balances.insert(network, held)),
                Err(error) => tracing::debug!(%network, %error, "balance not read"),
            }
        }
        balances
    }

    async fn exchange_paid(&self, request: &Request, proof: &str) -> Result<RawAnswer, ClientError> {
        let started = Instant::now();
        loop {
            let outcome = self.exchange(request, Some(proof)).await;
            let pause = match &outcome {
                Ok(answer) if answer.is_unresolved() => answer.retry_after(self.timing.payment_pause),
                Err(ClientError::Network { .. }) => self.timing.payment_pause,
                _ => return outcome,
            };
            if self.is_over(started, pause) {
                return outcome.map_err(unknown);
            }
            sleep(pause).await;
        }
    }

    fn is_over(&self, started: Instant, pause: Duration) -> bool {
        started.elapsed() + pause > self.timing.payment_wait_max
    }
}

/// The proof was sent and no answer came back: the money may have moved.
fn unknown(error: ClientError) -> ClientError {
    LocalError::new("OUTCOME_UNKNOWN", format!("a payment was sent and its outcome is unknown: {error}"))
        .hint("Look at run402 tier status and run402 billing history before you repeat the command.")
        .detail("mutation_state", "unknown")
        .into()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};
    use types::Network;

    use super::*;
    use crate::stub::{Reply, Stub};
    use crate::wallet::tests::KEY;
    use crate::x402::tests::{header, offer};
    use crate::{Call, Timing, WalletKey};

    fn challenge() -> Reply {
        let offers = header(json!([offer(Network::BaseSepolia, "100000")]));
        Reply::Json(402, vec![("PAYMENT-REQUIRED", offers)], json!({ "code": "PAYMENT_REQUIRED" }))
    }

    fn pending() -> Reply {
        Reply::Json(409, vec![], json!({ "code": "PAYMENT_PENDING", "retry_after": 0.01 }))
    }

    fn paid() -> Reply {
        let receipt = STANDARD.encode(json!({ "success": true, "transaction": "0xfeed" }).to_string());
        Reply::Json(200, vec![("PAYMENT-RESPONSE", receipt)], json!({ "action": "subscribe" }))
    }

    fn client(stub: &Stub) -> Client {
        let timing = Timing {
            payment_pause: Duration::from_millis(10),
            payment_wait_max: Duration::from_millis(500),
            ..Timing::default()
        };
        Client::new(&stub.base, Some(WalletKey::from_hex(KEY).unwrap())).unwrap().with_timing(timing)
    }

    async fn set_tier(stub: &Stub) -> Result<crate::Answer, ClientError> {
        client(stub).send(Call::new("tiers.set").path("tier", "prototype").wallet()).await
    }

    #[tokio::test]
    async fn a_challenge_is_paid_once_and_the_same_request_is_sent_again() {
        let stub = Stub::start(vec![challenge(), paid()]).await;
        let answer = set_tier(&stub).await.unwrap();
        assert_eq!(answer.body["action"], "subscribe");
        assert_eq!(answer.receipt.unwrap()["transaction"], "0xfeed");
        let seen = stub.seen();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].line, "POST /tiers/v1/prototype HTTP/1.1");
        assert_eq!((&seen[0].line, &seen[0].body), (&seen[1].line, &seen[1].body));
        assert_eq!(seen[0].header("sign-in-with-x"), seen[1].header("sign-in-with-x"));
        assert_eq!(seen[0].header("payment-signature"), None);
        let proof = STANDARD.decode(seen[1].header("payment-signature").unwrap()).unwrap();
        let proof: Value = serde_json::from_slice(&proof).unwrap();
        assert_eq!(proof["accepted"], offer(Network::BaseSepolia, "100000"));
        assert_eq!(proof["payload"]["authorization"]["from"], client(&stub).wallet().unwrap().address_text());
    }

    #[tokio::test]
    async fn an_open_payment_is_asked_for_with_the_same_proof() {
        let fault = Reply::Json(503, vec![], json!({ "code": "TIMEOUT", "retry_after": 0 }));
        let stub = Stub::start(vec![challenge(), pending(), Reply::Drop, fault, pending(), paid()]).await;
        assert_eq!(set_tier(&stub).await.unwrap().body["action"], "subscribe");
        let proofs: Vec<_> = stub.seen()[1..]
            .iter()
            .map(|seen| seen.header("payment-signature").unwrap().to_owned())
            .collect();
        assert_eq!(proofs.len(), 5);
        assert!(proofs.iter().all(|proof| *proof == proofs[0]));
    }

    #[tokio::test]
    async fn a_payment_that_stays_open_ends_in_the_servers_words() {
        let stub = Stub::start([vec![challenge()], vec![pending(); 200]].concat()).await;
        let error = set_tier(&stub).await.unwrap_err();
        assert_eq!(error.code(), "PAYMENT_PENDING");
    }

    #[tokio::test]
    async fn a_lost_answer_to_a_paid_request_is_not_called_a_failure() {
        let stub = Stub::start([vec![challenge()], vec![Reply::Drop; 200]].concat()).await;
        let error = set_tier(&stub).await.unwrap_err();
        assert_eq!(error.code(), "OUTCOME_UNKNOWN");
        assert_eq!(error.to_json()["details"]["mutation_state"], "unknown");
    }

    #[tokio::test]
    async fn a_second_402_is_final_and_shown() {
        let refusal = Reply::Json(402, vec![], json!({ "code": "INSUFFICIENT_FUNDS", "message": "empty" }));
        let stub = Stub::start(vec![challenge(), refusal]).await;
        let shown = set_tier(&stub).await.unwrap_err().to_json();
        assert_eq!((&shown["code"], &shown["http"]), (&json!("INSUFFICIENT_FUNDS"), &json!(402)));
    }

    #[tokio::test]
    async fn after_waiting_for_an_earlier_payment_nothing_new_is_paid() {
        let stub = Stub::start(vec![pending(), challenge()]).await;
        assert_eq!(set_tier(&stub).await.unwrap_err().code(), "EARLIER_PAYMENT_RESOLVED");
        assert!(stub.seen().iter().all(|seen| seen.header("payment-signature").is_none()));
    }

    #[tokio::test]
    async fn a_402_is_not_paid_where_the_catalogue_knows_no_price() {
        let stub = Stub::start(vec![challenge()]).await;
        let error = client(&stub).call(Call::new("tiers.status").wallet()).await.unwrap_err();
        assert_eq!((error.code(), stub.seen().len()), ("PAYMENT_REQUIRED", 1));
    }
}
