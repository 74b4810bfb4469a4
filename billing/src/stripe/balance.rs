//! What a balance transaction says, read as leniently as events are. Its `source` has to be expanded.

use chrono::DateTime;
use serde_json::Value;
use store::stripe_balance::BalanceLine;
use types::UsdMicros;

use super::event::CENT;

/// The line in a balance transaction, with our quote where the payment is of this platform; none for what is
/// about no payment (fees, payouts) or not in dollars.
pub fn line(transaction: &Value, platform: &str) -> Option<BalanceLine> {
    let text = |name: &str| transaction.pointer(name).and_then(Value::as_str).map(str::to_owned);
    let number = |name: &str| transaction.get(name).and_then(Value::as_i64);
    if text("/currency").as_deref() != Some("usd") {
        return None;
    }
    Some(BalanceLine {
        id: text("/id").filter(|id| !id.is_empty() && id.len() <= 255)?,
        payment_intent: text("/source/payment_intent")?,
        checkout: text("/source/metadata/checkout")
            .filter(|_| text("/source/metadata/platform").as_deref() == Some(platform))
            .and_then(|id| id.parse().ok()),
        amount: UsdMicros(number("amount")?.checked_mul(CENT)?),
        said_at: DateTime::from_timestamp(number("created")?, 0)?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_about_a_payment_in_dollars_and_keeps_its_sign() {
        let refund = json!({ "id": "txn_1", "type": "refund", "amount": -250, "fee": 0, "currency": "usd",
            "created": 1_900_000_000, "source": { "object": "refund", "payment_intent": "pi_1" } });
        let read = line(&refund, "us").unwrap();
        assert_eq!((read.amount, read.checkout), (UsdMicros(-2_500_000), None));
        let with = |name: &str, value: Value| {
            let mut other = refund.clone();
            other[name] = value;
            line(&other, "us")
        };
        assert_eq!(with("currency", json!("eur")), None);
        assert_eq!(with("source", json!("re_1")), None, "not expanded");
        assert_eq!(with("source", Value::Null), None, "a payout");
        assert_eq!(with("amount", json!(i64::MAX)), None);
        let checkout = "0193e3a0-0000-7000-8000-000000000001";
        let named = |platform: &str| {
            let metadata = json!({ "checkout": checkout, "platform": platform });
            with("source", json!({ "payment_intent": "pi_1", "metadata": metadata })).unwrap().checkout
        };
        assert_eq!(named("us"), checkout.parse().ok());
        assert_eq!(named("them"), None, "another platform's, on the same account");
    }
}
