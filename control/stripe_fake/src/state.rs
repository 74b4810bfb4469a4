//! What the fake remembers, and how it changes.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde_json::{Value, json};

use crate::source::Source;
use crate::{Fault, Settled};

pub(crate) struct State {
    pub source: Source,
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
    pub fn new(source: Source) -> Self {
        Self {
            source,
            webhook_url: None,
            sessions: BTreeMap::new(),
            intents: BTreeMap::new(),
            disputes: BTreeMap::new(),
            events: Vec::new(),
            balance: Vec::new(),
            keys: HashMap::new(),
            faults: VecDeque::new(),
            held: None,
            unlisted: false,
            decline: false,
        }
    }

    /// The payment of a session.
    pub fn intent_of(&self, session: &str) -> Option<String> {
        self.sessions.get(session)?.intent.clone()
    }

    /// Remembers an event; its text is what goes out.
    pub fn emit(&mut self, event: Value) -> Option<String> {
        let text = event.to_string();
        self.events.push(event);
        Some(text)
    }

    /// Money moved on our balance at Stripe.
    pub fn moved(&mut self, kind: &str, cents: i64, source: Value) {
        self.balance.push(json!({
            "id": self.source.name("txn"), "object": "balance_transaction", "type": kind, "amount": cents,
            "fee": 0, "net": cents, "currency": "usd", "created": self.source.now(), "source": source,
            "status": "available",
        }));
    }

    /// The customer went through with it. Nothing happens the second time.
    pub fn complete(&mut self, session: &str, payment_status: &'static str) -> Option<String> {
        let source = self.source.clone();
        let session = self.sessions.get_mut(session).filter(|s| s.status == "open")?;
        let customer = session.saves_card.then(|| source.name("cus"));
        let intent = Intent {
            id: source.name("pi"),
            charge: source.name("ch"),
            cents: session.cents,
            refunded: 0,
            status: if payment_status == "paid" { "succeeded" } else { "processing" },
            customer: customer.clone(),
            payment_method: source.name("pm"),
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
        self.emit(source.event("checkout.session.completed", shown))
    }

    /// The customer let the page end. Nothing happens to one that was completed.
    pub fn expire(&mut self, session: &str) -> Option<String> {
        let session = self.sessions.get_mut(session).filter(|s| s.status == "open")?;
        session.status = "expired";
        let shown = session.shown();
        let event = self.source.event("checkout.session.expired", shown);
        self.emit(event)
    }

    pub fn settle(&mut self, session: &str, settled: Settled) -> Option<String> {
        let session = self.sessions.get_mut(session).filter(|s| s.payment_status == "unpaid")?;
        let intent = self.intents.get_mut(session.intent.as_deref()?)?;
        if intent.status != "processing" {
            return None;
        }
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
        let event = self.source.event(kind, shown);
        self.emit(event)
    }

    pub fn refund(&mut self, intent: &str, cents: i64) -> Option<String> {
        let names = self.source.clone();
        let intent = self.intents.get_mut(intent).filter(|i| i.status == "succeeded")?;
        // Told is what a test likes; moved is what there is.
        let there = cents.min(intent.cents - intent.refunded).max(0);
        intent.refunded += cents;
        let shown = intent.charge();
        let source = json!({ "id": names.name("re"), "object": "refund", "amount": there, "charge": intent.charge,
            "payment_intent": intent.id, "metadata": {} });
        self.moved("refund", -there, source);
        self.emit(names.event("charge.refunded", shown))
    }

    pub fn dispute(&mut self, id: &str, intent: &str, cents: i64) -> Option<String> {
        let intent = self.intents.get(intent)?;
        let dispute = json!({
            "id": id, "object": "dispute", "amount": cents, "charge": intent.charge, "currency": "usd",
            "livemode": false, "payment_intent": intent.id, "reason": "fraudulent",
            "status": "needs_response", "created": self.source.now(),
        });
        self.disputes.insert(id.to_owned(), dispute.clone());
        self.moved("adjustment", -cents, dispute.clone());
        let event = self.source.event("charge.dispute.created", dispute);
        self.emit(event)
    }

    pub fn dispute_update(&mut self, id: &str, status: &str) -> Option<String> {
        let dispute = self.disputes.get_mut(id)?;
        dispute["status"] = status.into();
        let shown = dispute.clone();
        let closed = matches!(status, "won" | "lost");
        if status == "won" {
            self.moved("adjustment", shown["amount"].as_i64().unwrap_or_default(), shown.clone());
        }
        let kind = if closed { "charge.dispute.closed" } else { "charge.dispute.updated" };
        let event = self.source.event(kind, shown);
        self.emit(event)
    }

    /// A change under an idempotency key: the first answer is everybody's.
    pub fn once(
        &mut self,
        key: Option<&str>,
        asked: String,
        act: impl FnOnce(&mut Self) -> Answer,
    ) -> Answer {
        match key.and_then(|key| self.keys.get(key).cloned()) {
            Some((same, status, body)) if same == asked => (status, body),
            Some(_) => refuse(400, "idempotency_error", "this key was used with other parameters"),
            None => {
                let answer = act(self);
                if let Some(key) = key {
                    self.keys.insert(key.to_owned(), (asked, answer.0, answer.1.clone()));
                }
                answer
            }
        }
    }
}

/// Status and body.
pub(crate) type Answer = (u16, Value);

pub(crate) fn refuse(status: u16, kind: &str, message: &str) -> Answer {
    (status, json!({ "error": { "type": kind, "message": message } }))
}
