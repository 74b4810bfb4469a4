//! The stand-in without a wire: asked and told in process, under a clock and chance that are given.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use types::{Clock, Entropy};

use crate::source::Source;
use crate::state::{Answer, Intent, State, refuse};
use crate::wire::{Pairs, asked, balance, events, found, intent, session};
use crate::{Declined, Fault, Settled, webhooks};

/// A Stripe that answers calls and does what its customers, their banks and its owner do. What it would deliver is
/// given to whoever caused it.
pub struct StripeModel {
    state: Mutex<State>,
    secret: String,
}

/// A payment that succeeded, as Stripe has it. In cents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paid {
    pub intent: String,
    /// Our quote, from the payment's metadata.
    pub checkout: String,
    pub cents: i64,
    pub refunded: i64,
    /// Disputes that were not won.
    pub disputed: i64,
    /// All disputes, however they ended.
    pub contested: i64,
    /// Sum of its balance transactions.
    pub balance: i64,
}

impl StripeModel {
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, secret: &str) -> Self {
        let state = State::new(Source { clock, entropy });
        Self { state: Mutex::new(state), secret: secret.to_owned() }
    }

    /// Answers a call of the API: a status and a body, or nothing when question or answer are lost. `key` is the
    /// idempotency key of a change.
    pub fn ask(&self, path: &str, pairs: Vec<(String, String)>, key: Option<&str>) -> Option<(u16, Value)> {
        let form: Pairs = pairs.into_iter().collect();
        let mut state = self.state();
        let fault = state.faults.pop_front();
        match fault {
            Some(Fault::Status(status)) => return Some(refuse(status, "api_error", "a fault was asked for")),
            Some(Fault::Reset) => return None,
            None | Some(Fault::LostAnswer) => {}
        }
        let answer = answer(&mut state, path, &form, key);
        (fault != Some(Fault::LostAnswer)).then_some(answer)
    }

    /// The customer pays at once. Here and below: the event's body, or nothing when nothing happens.
    pub fn pay(&self, session: &str) -> Option<String> {
        self.state().complete(session, "paid")
    }

    /// The customer chooses a method whose money comes later.
    pub fn pay_later(&self, session: &str) -> Option<String> {
        self.state().complete(session, "unpaid")
    }

    /// The customer does not pay.
    pub fn expire(&self, session: &str) -> Option<String> {
        self.state().expire(session)
    }

    /// The money that was to come later has come, or has not.
    pub fn settle(&self, session: &str, good: Settled) -> Option<String> {
        self.state().settle(session, good)
    }

    /// Refunds cents of a payment.
    pub fn refund(&self, intent: &str, cents: i64) -> Option<String> {
        self.state().refund(intent, cents)
    }

    /// The cardholder disputes cents of a payment.
    pub fn dispute(&self, intent: &str, cents: i64) -> Option<String> {
        let mut state = self.state();
        let id = state.source.name("dp");
        state.dispute(&id, intent, cents)
    }

    /// Moves a dispute on: `under_review`, `won`, `lost`.
    pub fn dispute_update(&self, dispute: &str, status: &str) -> Option<String> {
        self.state().dispute_update(dispute, status)
    }

    /// Cards that were saved are declined from now on, or taken.
    pub fn decline_saved_cards(&self, decline: Declined) {
        self.state().decline = decline == Declined::Yes;
    }

    /// The next calls of the API go wrong, one fault each, after those that were to go wrong anyway.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// No call goes wrong any more.
    pub fn forgive(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.decline = false;
    }

    /// The `Stripe-Signature` header of a body, made at that time.
    pub fn sign(&self, at_secs: i64, body: &str) -> String {
        webhooks::sign(&self.secret, at_secs, body)
    }

    /// Sessions that nobody has paid or left yet.
    pub fn open_sessions(&self) -> Vec<String> {
        let state = self.state();
        state.sessions.values().filter(|s| s.status == "open").map(|s| s.id.clone()).collect()
    }

    /// Sessions whose money is still to come.
    pub fn unsettled_sessions(&self) -> Vec<String> {
        let state = self.state();
        let waits = |intent: &Option<String>| {
            intent.as_ref().and_then(|id| state.intents.get(id)).is_some_and(|i| i.status == "processing")
        };
        state.sessions.values().filter(|s| waits(&s.intent)).map(|s| s.id.clone()).collect()
    }

    /// Disputes that nobody has decided yet.
    pub fn open_disputes(&self) -> Vec<String> {
        let state = self.state();
        let open = state.disputes.iter().filter(|(_, d)| d["status"] != "won" && d["status"] != "lost");
        open.map(|(id, _)| id.clone()).collect()
    }

    /// Every payment that succeeded.
    pub fn paid(&self) -> Vec<Paid> {
        let state = self.state();
        state.intents.values().filter(|i| i.status == "succeeded").map(|i| paid(&state, i)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(state: &mut State, path: &str, form: &Pairs, key: Option<&str>) -> Answer {
    const PAYMENT: &str = "/payment_intents/";
    match (path, key) {
        ("/checkout/sessions", Some(_)) => {
            state.once(key, asked("session", form), |state| session(state, "http://stripe.test", form))
        }
        ("/payment_intents", Some(_)) => state.once(key, asked("intent", form), |state| intent(state, form)),
        ("/events", None) => events(state, form),
        ("/balance_transactions", None) => balance(state, form),
        (path, None) if path.starts_with(PAYMENT) => {
            found(state.intents.get(&path[PAYMENT.len()..]).map(Intent::shown))
        }
        _ => refuse(404, "invalid_request_error", "no such path"),
    }
}

fn paid(state: &State, intent: &Intent) -> Paid {
    let of_intent = |object: &Value| object["payment_intent"].as_str() == Some(&intent.id);
    Paid {
        intent: intent.id.clone(),
        checkout: intent.metadata["checkout"].as_str().unwrap_or_default().to_owned(),
        cents: intent.cents,
        refunded: intent.refunded,
        disputed: sum(state.disputes.values().filter(|d| of_intent(d) && d["status"] != "won")),
        contested: sum(state.disputes.values().filter(|d| of_intent(d))),
        balance: sum(state.balance.iter().filter(|line| of_intent(&line["source"]))),
    }
}

fn sum<'a>(objects: impl Iterator<Item = &'a Value>) -> i64 {
    objects.filter_map(|object| object["amount"].as_i64()).sum()
}

#[cfg(test)]
mod tests {
    use types::{OsEntropy, SystemClock};

    use super::*;

    #[test]
    fn a_key_makes_one_session_and_the_balance_is_what_happened() {
        let stripe = StripeModel::new(Arc::new(SystemClock), Arc::new(OsEntropy), "whsec_x");
        let form: Vec<(String, String)> = [
            ("mode", "payment"),
            ("client_reference_id", "top_1"),
            ("line_items[0][price_data][currency]", "usd"),
            ("line_items[0][price_data][unit_amount]", "500"),
            ("payment_intent_data[metadata][checkout]", "top_1"),
        ]
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into();
        stripe.fail_next([Fault::Reset, Fault::LostAnswer]);
        assert_eq!(stripe.ask("/checkout/sessions", form.clone(), Some("k")), None);
        assert_eq!(stripe.open_sessions().len(), 0);
        assert_eq!(stripe.ask("/checkout/sessions", form.clone(), Some("k")), None);
        assert_eq!(stripe.ask("/checkout/sessions", form, Some("k")).map(|(status, _)| status), Some(200));
        let open = stripe.open_sessions();
        assert_eq!(open.len(), 1);
        assert!(stripe.pay(&open[0]).is_some());
        assert!(stripe.pay(&open[0]).is_none() && stripe.expire(&open[0]).is_none());
        let paid = stripe.paid().remove(0);
        stripe.refund(&paid.intent, 120).unwrap();
        stripe.dispute(&paid.intent, 100).unwrap();
        let disputed = Paid { refunded: 120, disputed: 100, contested: 100, balance: 280, ..paid.clone() };
        assert_eq!(stripe.paid(), [disputed]);
        stripe.dispute_update(&stripe.open_disputes()[0], "won").unwrap();
        assert_eq!(stripe.paid(), [Paid { refunded: 120, contested: 100, balance: 380, ..paid }]);
    }
}
