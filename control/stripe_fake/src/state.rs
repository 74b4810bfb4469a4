//! What the fake remembers, and how it changes.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::{Value, json};
use types::{Clock, SystemClock};

use crate::{Fault, Settled, event, name};

#[derive(Default)]
pub(crate) struct State {
    pub webhook_url: Option<String>,
    pub sessions: BTreeMap<String, Session>,
    pub intents: BTreeMap<String, Intent>,
    pub disputes: BTreeMap<String, Value>,
    /// Oldest first.
    pub events: Vec<Value>,
    /// Balance transactions, oldest first.
    pub balance: Vec<Value>,
    /// Idempotency keys: what was asked, and what was answered.
    pub keys: HashMap<String, (String, u16, Value)>,
    pub faults: VecDeque<Fault>,
    /// Deliveries that are kept back; none when they go out.
    pub held: Option<VecDeque<String>>,
    /// Events are not listed.
    pub unlisted: bool,
    /// Saved cards are declined.
    pub decline: bool,
}

pub(crate) struct Session {
    pub id: String,
    pub reference: String,
    pub cents: i64,
    pub currency: String,
    pub name: String,
    pub url: String,
    pub success_url: String,
    pub cancel_url: String,
    pub status: &'static str,
    pub payment_status: &'static str,
    pub intent: Option<String>,
    pub customer: Option<String>,
    pub saves_card: bool,
    /// `metadata` of the session, and of the payment.
    pub kept: Value,
    pub metadata: Value,
    pub created: i64,
}

pub(crate) struct Intent {
    pub id: String,
    pub charge: String,
    pub cents: i64,
    pub refunded: i64,
    pub status: &'static str,
    pub customer: Option<String>,
    pub payment_method: String,
    pub metadata: Value,
}

impl Session {
    pub fn shown(&self) -> Value {
        json!({
            "id": self.id, "object": "checkout.session", "amount_total": self.cents,
            "amount_subtotal": self.cents, "client_reference_id": self.reference, "currency": self.currency,
            "customer": self.customer, "created": self.created, "expires_at": self.created + 86_400,
            "livemode": false, "metadata": self.kept, "mode": "payment", "payment_intent": self.intent,
            "payment_status": self.payment_status, "status": self.status,
            "success_url": self.success_url, "cancel_url": self.cancel_url,
            "url": (self.status == "open").then_some(&self.url),
        })
    }
}

impl Intent {
    pub fn shown(&self) -> Value {
        json!({
            "id": self.id, "object": "payment_intent", "amount": self.cents, "currency": "usd",
            "customer": self.customer, "payment_method": self.payment_method, "status": self.status,
            "latest_charge": self.charge, "livemode": false, "metadata": self.metadata,
        })
    }

    pub fn charge(&self) -> Value {
        json!({
            "id": self.charge, "object": "charge", "amount": self.cents, "amount_refunded": self.refunded,
            "currency": "usd", "customer": self.customer, "livemode": false, "metadata": self.metadata, "paid": true,
            "payment_intent": self.id, "refunded": self.refunded == self.cents, "status": "succeeded",
        })
    }
}

impl State {
    /// Remembers an event; its text is what goes out.
    pub fn emit(&mut self, event: Value) -> Option<String> {
        let text = event.to_string();
        self.events.push(event);
        Some(text)
    }

    /// Money moved on our balance at Stripe.
    pub fn moved(&mut self, kind: &str, cents: i64, source: Value) {
        self.balance.push(json!({
            "id": name("txn"), "object": "balance_transaction", "type": kind, "amount": cents, "fee": 0,
            "net": cents, "currency": "usd", "created": SystemClock.now().timestamp(), "source": source,
            "status": "available",
        }));
    }

    /// The customer went through with it. Nothing happens the second time.
    pub fn complete(&mut self, session: &str, payment_status: &'static str) -> Option<String> {
        let session = self.sessions.get_mut(session).filter(|s| s.status == "open")?;
        let customer = session.saves_card.then(|| name("cus"));
        let intent = Intent {
            id: name("pi"),
            charge: name("ch"),
            cents: session.cents,
            refunded: 0,
            status: if payment_status == "paid" { "succeeded" } else { "processing" },
            customer: customer.clone(),
            payment_method: name("pm"),
            metadata: session.metadata.clone(),
        };
        (session.status, session.payment_status) = ("complete", payment_status);
        (session.intent, session.customer) = (Some(intent.id.clone()), customer);
        let shown = session.shown();
        let (charge, cents) = (intent.charge(), intent.cents);
        self.intents.insert(intent.id.clone(), intent);
        if payment_status == "paid" {
            self.moved("charge", cents, charge);
        }
        self.emit(event("checkout.session.completed", shown))
    }

    pub fn settle(&mut self, session: &str, settled: Settled) -> Option<String> {
        let session = self.sessions.get_mut(session).filter(|s| s.payment_status == "unpaid")?;
        let intent = self.intents.get_mut(session.intent.as_deref()?)?;
        let kind = match settled {
            Settled::Paid => {
                (session.payment_status, intent.status) = ("paid", "succeeded");
                "checkout.session.async_payment_succeeded"
            }
            Settled::Failed => {
                intent.status = "requires_payment_method";
                "checkout.session.async_payment_failed"
            }
        };
        let (shown, charge, cents) = (session.shown(), intent.charge(), intent.cents);
        if settled == Settled::Paid {
            self.moved("payment", cents, charge);
        }
        self.emit(event(kind, shown))
    }

    pub fn refund(&mut self, session: &str, cents: i64) -> Option<String> {
        let intent = self.sessions.get(session)?.intent.clone()?;
        let intent = self.intents.get_mut(&intent).filter(|i| i.status == "succeeded")?;
        // Told is what a test likes; moved is what there is.
        let there = cents.min(intent.cents - intent.refunded).max(0);
        intent.refunded += cents;
        let shown = intent.charge();
        let source = json!({ "id": name("re"), "object": "refund", "amount": there, "charge": intent.charge,
            "payment_intent": intent.id, "metadata": {} });
        self.moved("refund", -there, source);
        self.emit(event("charge.refunded", shown))
    }

    pub fn dispute(&mut self, id: &str, session: &str, cents: i64) -> Option<String> {
        let intent = self.sessions.get(session)?.intent.clone()?;
        let intent = self.intents.get(&intent)?;
        let dispute = json!({
            "id": id, "object": "dispute", "amount": cents, "charge": intent.charge, "currency": "usd",
            "livemode": false, "payment_intent": intent.id, "reason": "fraudulent",
            "status": "needs_response", "created": SystemClock.now().timestamp(),
        });
        self.disputes.insert(id.to_owned(), dispute.clone());
        self.moved("adjustment", -cents, dispute.clone());
        self.emit(event("charge.dispute.created", dispute))
    }

    pub fn dispute_update(&mut self, id: &str, status: &str) -> Option<String> {
        let dispute = self.disputes.get_mut(id)?;
        dispute["status"] = status.into();
        let shown = dispute.clone();
        let closed = matches!(status, "won" | "lost");
        if status == "won" {
            self.moved("adjustment", shown["amount"].as_i64().unwrap_or_default(), shown.clone());
        }
        self.emit(event(if closed { "charge.dispute.closed" } else { "charge.dispute.updated" }, shown))
    }
}
