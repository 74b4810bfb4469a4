//! One spelling per spec.

use serde_json::Value;
use sha2::{Digest, Sha256};
use types::Sha256Hex;

use super::Spec;

/// The manifest digest: SHA-256 of the spec's canonical JSON.
///
/// # Source
/// Wire contract 02 section 4.2, "Digest".
pub fn digest(spec: &Spec) -> Sha256Hex {
    let value = serde_json::to_value(spec).expect("a spec holds nothing that JSON cannot");
    Sha256Hex::from_bytes(Sha256::digest(canonical_json(&value)).into())
}

/// Keys sorted by code point, arrays in order, no whitespace; `null` is not absence.
pub fn canonical_json(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            // Sorted here, not by the map: a dependency may switch serde_json to insertion order.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (i, (key, value)) in fields.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out);
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_by_code_point_and_null_is_kept() {
        let value =
            json!({"b": [2, 1, null], "a": {"é": 1, "z": "x\"\n", "Z": true}, "\u{1f600}": 0, "\u{ff5e}": 0});
        assert_eq!(
            canonical_json(&value),
            "{\"a\":{\"Z\":true,\"z\":\"x\\\"\\n\",\"é\":1},\"b\":[2,1,null],\"\u{ff5e}\":0,\"\u{1f600}\":0}"
        );
    }

    #[test]
    fn the_digest_is_that_of_the_canonical_text() {
        let text = concat!(
            r#"{"base":{"release":"current"},"project":"prj_0123456789abcdef0123456789abcdef","#,
            r#""site":{"replace":{"a.txt":{"content_type":"text/plain","sha256":"#,
            r#""2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","size":5}}}}"#,
        );
        let spec: Spec = serde_json::from_str(text).unwrap();
        assert_eq!(digest(&spec), Sha256Hex::from_bytes(Sha256::digest(text).into()));
    }
}
