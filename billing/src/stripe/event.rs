//! What an event says, read leniently: Stripe adds fields and types at any time, and sends the version that
//! the endpoint was made with.

use chrono::{DateTime, Utc};
use serde_json::Value;
use types::UsdMicros;

/// The types that we act on: what the reconciler asks for, and what an endpoint should be subscribed to.
pub const ACTED_ON: [&str; 9] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "charge.refunded",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
];

/// A cent in micros.
pub const CENT: i64 = 10_000;

/// An event, as far as we read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub id: String,
    pub kind: String,
    pub livemode: bool,
    /// Set when it belongs to an account that is connected to ours (Connect).
    pub account: Option<String>,
    pub said_at: DateTime<Utc>,
    pub fact: Fact,
}

/// The fact in it.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    Session(SessionSaid),
    /// All that was refunded of a payment so far.
    Refunded {
        payment_intent: Option<String>,
        refunded: UsdMicros,
    },
    Dispute(DisputeSaid),
    /// A type that we do not act on.
    Other,
    /// A type that we act on, without what we need.
    Unreadable(&'static str),
}

/// A checkout session as an event shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionSaid {
    pub id: String,
    /// What we called it.
    pub client_reference_id: Option<String>,
    /// The quote that we sealed in it.
    pub quote: Option<String>,
    pub payment_intent: Option<String>,
    pub customer: Option<String>,
    /// `payment_status` is `paid`. A completed session may still be `unpaid`, when the money comes later.
    pub paid: bool,
    pub failed: bool,
    pub amount_total_cents: Option<i64>,
    pub currency: Option<String>,
}

/// A dispute as an event shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct DisputeSaid {
    pub id: String,
    pub payment_intent: Option<String>,
    pub amount: UsdMicros,
    pub status: String,
    /// 0 an inquiry, 1 money withdrawn, 2 decided.
    pub stage: i16,
}

/// Not an event at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not an event of Stripe")]
pub struct NotAnEvent;

impl Event {
    /// Stripe's name of the session or the payment that it tells of.
    pub fn subject(&self) -> Option<&str> {
        match &self.fact {
            Fact::Session(said) => Some(&said.id),
            Fact::Refunded { payment_intent, .. } => payment_intent.as_deref(),
            Fact::Dispute(said) => said.payment_intent.as_deref(),
            Fact::Other | Fact::Unreadable(_) => None,
        }
    }

    /// Reads the JSON of an event.
    ///
    /// # Errors
    /// `NotAnEvent` without an id, a type and a time.
    pub fn parse(body: &[u8]) -> Result<Self, NotAnEvent> {
        let event: Value = serde_json::from_slice(body).map_err(|_| NotAnEvent)?;
        let id = text(&event, "id").filter(|id| id.len() <= 255).ok_or(NotAnEvent)?;
        let kind = text(&event, "type").ok_or(NotAnEvent)?;
        let said = event.get("created").and_then(Value::as_i64).ok_or(NotAnEvent)?;
        let object = event.pointer("/data/object").unwrap_or(&Value::Null);
        Ok(Self {
            fact: fact(&kind, object),
            livemode: event.get("livemode").and_then(Value::as_bool).unwrap_or(false),
            account: text(&event, "account"),
            said_at: DateTime::from_timestamp(said, 0).ok_or(NotAnEvent)?,
            id,
            kind,
        })
    }
}

fn fact(kind: &str, object: &Value) -> Fact {
    match kind {
        "checkout.session.completed" => session(object, Ended::Maybe),
        "checkout.session.async_payment_succeeded" => session(object, Ended::Maybe),
        "checkout.session.async_payment_failed" => session(object, Ended::Failed),
        "charge.refunded" => refunded(object),
        _ if kind.starts_with("charge.dispute.") => dispute(object),
        _ => Fact::Other,
    }
}

#[derive(PartialEq)]
enum Ended {
    /// The session says whether it is paid.
    Maybe,
    Failed,
}

fn session(object: &Value, ended: Ended) -> Fact {
    let Some(id) = text(object, "id") else { return Fact::Unreadable("a session without an id") };
    Fact::Session(SessionSaid {
        id,
        client_reference_id: text(object, "client_reference_id"),
        quote: object.get("metadata").and_then(|metadata| text(metadata, "quote")),
        payment_intent: id_of(object, "payment_intent"),
        customer: id_of(object, "customer"),
        paid: ended == Ended::Maybe && object["payment_status"] == "paid",
        failed: ended == Ended::Failed,
        amount_total_cents: object.get("amount_total").and_then(Value::as_i64),
        currency: text(object, "currency"),
    })
}

fn refunded(object: &Value) -> Fact {
    let Some(cents) = object.get("amount_refunded").and_then(Value::as_i64).filter(|c| *c >= 0) else {
        return Fact::Unreadable("a refund without an amount");
    };
    Fact::Refunded { payment_intent: id_of(object, "payment_intent"), refunded: micros(cents) }
}

fn dispute(object: &Value) -> Fact {
    let cents = object.get("amount").and_then(Value::as_i64).filter(|c| *c >= 0);
    let (Some(id), Some(cents), Some(status)) = (text(object, "id"), cents, text(object, "status")) else {
        return Fact::Unreadable("a dispute without id, amount or status");
    };
    let stage = match status.as_str() {
        "won" | "lost" => 2,
        // Inquiries and early warnings withdraw nothing, nor does one that was closed in time.
        "prevented" => 0,
        other if other.starts_with("warning_") => 0,
        _ => 1,
    };
    let payment_intent = id_of(object, "payment_intent");
    Fact::Dispute(DisputeSaid { id, payment_intent, amount: micros(cents), status, stage })
}

/// Saturates: what was taken back is bounded by the quote anyway.
fn micros(cents: i64) -> UsdMicros {
    UsdMicros(cents.saturating_mul(CENT))
}

fn text(object: &Value, name: &str) -> Option<String> {
    object.get(name).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned)
}

/// An id, or the id within the object that stands in its place when it is expanded.
fn id_of(object: &Value, name: &str) -> Option<String> {
    text(object, name).or_else(|| text(object.get(name)?, "id"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(kind: &str, object: Value) -> Event {
        let body = json!({ "id": "evt_1", "type": kind, "created": 1_900_000_000, "livemode": false,
            "api_version": "2099-01-01.future", "data": { "object": object }, "novel": [1] });
        Event::parse(body.to_string().as_bytes()).unwrap()
    }

    // C07: completed is not paid.
    #[test]
    fn only_a_paid_session_is_money() {
        let session = |kind: &str, status: &str| {
            let object =
                json!({ "id": "cs_1", "payment_status": status, "payment_intent": { "id": "pi_1" } });
            match parse(kind, object).fact {
                Fact::Session(said) => (said.paid, said.failed, said.payment_intent),
                other => panic!("{other:?}"),
            }
        };
        let intent = Some("pi_1".to_owned());
        assert_eq!(session("checkout.session.completed", "paid"), (true, false, intent.clone()));
        assert_eq!(session("checkout.session.completed", "unpaid"), (false, false, intent.clone()));
        assert_eq!(
            session("checkout.session.async_payment_succeeded", "paid"),
            (true, false, intent.clone())
        );
        assert_eq!(session("checkout.session.async_payment_failed", "paid"), (false, true, intent));
    }

    // C06, C09.
    #[test]
    fn unknown_types_are_other_and_disputes_have_stages() {
        assert_eq!(parse("customer.created", json!({ "id": "cus_1" })).fact, Fact::Other);
        assert!(matches!(parse("charge.refunded", json!({})).fact, Fact::Unreadable(_)));
        let stage = |status: &str| match parse(
            "charge.dispute.updated",
            json!({ "id": "dp", "amount": 5, "status": status }),
        )
        .fact
        {
            Fact::Dispute(said) => said.stage,
            other => panic!("{other:?}"),
        };
        assert_eq!(stage("warning_needs_response"), 0);
        assert_eq!(stage("needs_response"), 1);
        assert_eq!((stage("won"), stage("lost")), (2, 2));
        assert!(
            Event::parse(b"{}").is_err() && Event::parse(b"[").is_err() && Event::parse(&[0xff]).is_err()
        );
    }
}
