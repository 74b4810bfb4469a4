//! The extension `payment-identifier`: a client names its payment, so that a repeat is known as one.
//!
//! # Source
//! x402 specification, `specs/extensions/payment_identifier.md`.

use serde_json::{Map, Value, json};

use super::wire::WireError;

const NAME: &str = "payment-identifier";
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=128;

/// What a challenge says: an id is understood, and not asked for.
pub fn offered() -> Map<String, Value> {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "required": { "type": "boolean" },
            "id": { "type": "string", "minLength": LENGTHS.start(), "maxLength": LENGTHS.end() },
        },
        "required": ["required"],
    });
    let mut extensions = Map::new();
    extensions.insert(NAME.to_owned(), json!({ "info": { "required": false }, "schema": schema }));
    extensions
}

/// The id that a payment carries, if it does.
///
/// # Errors
/// `Field` for an id of another length or of other characters than letters, digits, `-` and `_`.
pub(super) fn read(payment: &Map<String, Value>) -> Result<Option<String>, WireError> {
    let info = payment.get("extensions").and_then(|all| all.get(NAME)).and_then(|own| own.get("info"));
    match info.and_then(|info| info.get("id")) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(id)) if is_id(id) => Ok(Some(id.clone())),
        Some(_) => Err(WireError::Field("extensions.payment-identifier.info.id")),
    }
}

fn is_id(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    LENGTHS.contains(&text.len()) && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    // A06.
    #[test]
    fn an_id_has_its_length_and_its_alphabet_or_is_refused() {
        let of = |id: Value| {
            let payment = json!({ "extensions": { NAME: { "info": { "required": false, "id": id } } } });
            read(payment.as_object().unwrap())
        };
        for good in ["a".repeat(16), "Z_-9".repeat(32)] {
            assert_eq!(of(json!(good)), Ok(Some(good)));
        }
        let bad = ["a".repeat(15), "a".repeat(129), "a b".repeat(8), "é".repeat(16), String::new()];
        for bad in bad.map(Value::from).into_iter().chain([json!(7), json!({}), json!(["a"])]) {
            assert!(of(bad.clone()).is_err(), "{bad}");
        }
        assert_eq!(of(Value::Null), Ok(None));
        assert_eq!(read(&offered()), Ok(None));
        let echoed = json!({ "extensions": offered() });
        assert_eq!(read(echoed.as_object().unwrap()), Ok(None), "a client that only echoes names nothing");
    }
}
