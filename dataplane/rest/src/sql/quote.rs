//! Parameters as literals: text that Postgres casts to what the statement needs.

use serde_json::Value;

/// A parameter as an untyped literal. `null` stays null; objects and arrays are their JSON text; `None` for
/// text that Postgres cannot hold (a NUL).
pub(super) fn literal(value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return Some("null".to_owned()),
        Value::Bool(yes) => yes.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    if text.contains('\0') {
        return None;
    }
    // The session pins standard_conforming_strings to on, so a quote is all there is to escape.
    Some(format!("'{}'", text.replace('\'', "''")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn literals_hold_whatever_they_are_given() {
        for (value, wanted) in [
            (json!(null), "null"),
            (json!(true), "'true'"),
            (json!(-1.5), "'-1.5'"),
            (json!("it's; drop table t --"), "'it''s; drop table t --'"),
            (json!("\\'"), "'\\'''"),
            (json!({"a": "o'clock"}), "'{\"a\":\"o''clock\"}'"),
            (json!([1, "x"]), "'[1,\"x\"]'"),
            (json!("$1 $$"), "'$1 $$'"),
        ] {
            assert_eq!(literal(&value).as_deref(), Some(wanted));
        }
        assert_eq!(literal(&json!("a\u{0}b")), None);
    }
}
