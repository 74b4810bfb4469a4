//! What came back.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::{ClientError, LocalError, Refusal};

/// Longest `retry_after` that is obeyed in one piece.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// Enough of a page that is not JSON to recognise it.
const TEXT_CHARS_MAX: usize = 200;

/// A successful answer, with the receipt if the request was paid.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    /// The decoded `PAYMENT-RESPONSE` header.
    pub receipt: Option<Value>,
}

/// Any answer, as it was read from the wire.
#[derive(Debug, Clone)]
pub(crate) struct RawAnswer {
    pub status: u16,
    pub body: Value,
    pub payment_required: Option<String>,
    pub payment_response: Option<String>,
}

impl RawAnswer {
    /// Only JSON that says so is JSON; an empty body is null, any other text a string.
    pub fn parse_body(content_type: &str, bytes: &[u8]) -> Value {
        if content_type.contains("application/json") && !bytes.is_empty() {
            return serde_json::from_slice(bytes).unwrap_or(Value::Null);
        }
        match String::from_utf8_lossy(bytes) {
            text if text.is_empty() => Value::Null,
            text => Value::String(text.into_owned()),
        }
    }

    /// The outcome of a payment is open.
    pub fn is_payment_pending(&self) -> bool {
        self.status == 409 && self.body["code"] == "PAYMENT_PENDING"
    }

    /// Sending the same paid request again is the way to learn more: the server knows the proof.
    pub fn is_unresolved(&self) -> bool {
        self.is_payment_pending() || self.status >= 500 || matches!(self.status, 408 | 429)
    }

    /// How long the server asks us to wait, within reason.
    pub fn retry_after(&self, otherwise: Duration) -> Duration {
        let asked = self.body["retry_after"].as_f64().filter(|secs| secs.is_finite() && *secs >= 0.0);
        asked.map_or(otherwise, |secs| Duration::from_secs_f64(secs.min(RETRY_AFTER_MAX.as_secs_f64())))
    }

    /// # Errors
    /// `Refused` unless the status is 2xx.
    pub fn into_success(self) -> Result<Answer, ClientError> {
        if !(200..300).contains(&self.status) {
            return Err(ClientError::Refused(self.into_refusal()));
        }
        let receipt = self.payment_response.and_then(|header| {
            let bytes = STANDARD.decode(header).ok()?;
            serde_json::from_slice(&bytes).ok()
        });
        Ok(Answer { status: self.status, body: self.body, receipt })
    }

    pub fn into_refusal(self) -> Refusal {
        let body = match self.body {
            Value::Object(body) => body,
            Value::String(text) => {
                let start: String = text.chars().take(TEXT_CHARS_MAX).collect();
                Map::from_iter([("message".to_owned(), start.into())])
            }
            _ => Map::new(),
        };
        Refusal { status: self.status, body }
    }
}

impl Answer {
    /// The text of a field that the contract promises.
    ///
    /// # Errors
    /// `BAD_RESPONSE` when it is not there.
    pub fn text(&self, name: &str) -> Result<&str, LocalError> {
        text_of(&self.body, name)
    }
}

/// The text of a field that the contract promises.
pub(crate) fn text_of<'a>(body: &'a Value, name: &str) -> Result<&'a str, LocalError> {
    body[name].as_str().ok_or_else(|| {
        LocalError::new("BAD_RESPONSE", format!("the server's answer has no {name}"))
            .detail("body", body.clone())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn raw(status: u16, body: Value) -> RawAnswer {
        RawAnswer { status, body, payment_required: None, payment_response: None }
    }

    #[test]
    fn only_declared_json_is_read_as_json() {
        let json = b"{\"a\":1}";
        assert_eq!(RawAnswer::parse_body("application/json; charset=utf-8", json), json!({ "a": 1 }));
        assert_eq!(RawAnswer::parse_body("text/html", json), json!("{\"a\":1}"));
        assert_eq!(RawAnswer::parse_body("application/json", b""), Value::Null);
        assert_eq!(RawAnswer::parse_body("application/json", b"{"), Value::Null);
    }

    #[test]
    fn a_refusal_without_json_still_has_words() {
        let Err(ClientError::Refused(refusal)) = raw(502, json!("Bad Gateway")).into_success() else {
            panic!()
        };
        assert_eq!(refusal.to_string(), "Bad Gateway (HTTP 502)");
        assert_eq!(ClientError::Refused(refusal).to_json()["code"], "API_ERROR");
    }

    #[test]
    fn waiting_is_bounded_whatever_the_server_says() {
        let wait = |body| raw(409, body).retry_after(Duration::from_secs(2));
        assert_eq!(wait(json!({ "retry_after": 0.5 })), Duration::from_millis(500));
        assert_eq!(wait(json!({ "retry_after": 1e300 })), RETRY_AFTER_MAX);
        assert_eq!(wait(json!({ "retry_after": -1 })), Duration::from_secs(2));
        assert_eq!(wait(json!({})), Duration::from_secs(2));
    }
}
