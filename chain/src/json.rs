//! JSON inside a base64 header, read strictly: a member named twice is refused, because two readers could
//! then see two different objects.

use std::fmt;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The longest header that is read, in bytes.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;

/// Standard alphabet; padding may be left out, as the x402 clients' own pattern allows.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    #[error("the header is longer than 8 KiB")]
    TooLong,
    #[error("the header is not standard base64")]
    NotBase64,
    #[error("the header does not hold a JSON object with each member named once")]
    NotJsonObject,
}

/// Standard base64 of a JSON object.
pub fn decode_object(header: &str) -> Result<Map<String, Value>, HeaderError> {
    if header.len() > HEADER_BYTES_MAX {
        return Err(HeaderError::TooLong);
    }
    let bytes = BASE64.decode(header).map_err(|_| HeaderError::NotBase64)?;
    match serde_json::from_slice(&bytes) {
        Ok(Strict(Value::Object(object))) => Ok(object),
        _ => Err(HeaderError::NotJsonObject),
    }
}

/// Standard base64, padded, of any JSON.
pub fn encode(value: &impl serde::Serialize) -> String {
    // The values are our own structs of strings, numbers and booleans.
    let bytes = serde_json::to_vec(value).expect("a struct of plain values is always JSON");
    BASE64.encode(bytes)
}

/// A JSON value without repeated members, floats included as they came.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(StrictVisitor).map(Self)
    }
}

#[derive(Clone, Copy)]
struct StrictVisitor;

impl<'de> DeserializeSeed<'de> for StrictVisitor {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated members")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(Value::Number(v.into()))
    }
    fn visit_f64<E: Error>(self, v: f64) -> Result<Value, E> {
        Number::from_f64(v).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }
    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(self)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is named twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Map<String, Value>, HeaderError> {
        decode_object(&BASE64.encode(text))
    }

    // A24.
    #[test]
    fn only_one_reading_of_a_header_is_possible() {
        assert_eq!(of(r#"{"a":[1,{"b":null}]}"#).unwrap()["a"][1]["b"], Value::Null);
        for bad in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"\u0061":2}]}"#, "[]", "1", "", "{", "{} {}"] {
            assert_eq!(of(bad), Err(HeaderError::NotJsonObject), "{bad}");
        }
        assert_eq!(of(&"[".repeat(5000)), Err(HeaderError::NotJsonObject));
        assert_eq!(decode_object("e30"), decode_object("e30="));
        for bad in ["e3_-", "e30 ", " e30", "e30==", "e31=", "🦀"] {
            assert_eq!(decode_object(bad), Err(HeaderError::NotBase64), "{bad}");
        }
        assert_eq!(decode_object(&"A".repeat(HEADER_BYTES_MAX + 1)), Err(HeaderError::TooLong));
    }
}
