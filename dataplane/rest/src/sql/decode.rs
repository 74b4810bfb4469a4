//! Postgres' text output as JSON values, by type.

use std::borrow::Cow;

use chrono::{DateTime, FixedOffset, Utc};
use serde_json::{Number, Value};

/// The largest integer that a JSON reader surely keeps: 2^53 - 1.
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;
/// Decimal digits that a double keeps.
const SAFE_DIGITS_MAX: usize = 15;
const ARRAY_DEPTH_MAX: usize = 6;

/// Type oids and names; the array's oid where its elements are worth decoding.
const TYPES: [(u32, &str, u32); 37] = [
    (16, "bool", 1000),
    (17, "bytea", 1001),
    (18, "char", 1002),
    (19, "name", 1003),
    (20, "int8", 1016),
    (21, "int2", 1005),
    (23, "int4", 1007),
    (24, "regproc", 0),
    (25, "text", 1009),
    (26, "oid", 1028),
    (28, "xid", 0),
    (114, "json", 199),
    (142, "xml", 0),
    (600, "point", 0),
    (650, "cidr", 651),
    (700, "float4", 1021),
    (701, "float8", 1022),
    (705, "unknown", 0),
    (790, "money", 0),
    (829, "macaddr", 0),
    (869, "inet", 1041),
    (1042, "bpchar", 1014),
    (1043, "varchar", 1015),
    (1082, "date", 1182),
    (1083, "time", 1183),
    (1114, "timestamp", 1115),
    (1184, "timestamptz", 1185),
    (1186, "interval", 1187),
    (1266, "timetz", 0),
    (1560, "bit", 0),
    (1562, "varbit", 0),
    (1700, "numeric", 1231),
    (2205, "regclass", 0),
    (2249, "record", 0),
    (2278, "void", 0),
    (2950, "uuid", 2951),
    (3802, "jsonb", 3807),
];

/// `int4`, `_int4`; `None` for types that only the database can name.
pub(super) fn type_name(oid: u32) -> Option<Cow<'static, str>> {
    TYPES.iter().find_map(|&(own, name, array)| match oid {
        _ if oid == own => Some(Cow::Borrowed(name)),
        _ if oid == array && oid != 0 => Some(Cow::Owned(format!("_{name}"))),
        _ => None,
    })
}

/// What is not understood stays text.
///
/// # Source
/// Wire contract 01 section 6.6 and its open question 20.
pub(super) fn value(oid: u32, text: &str) -> Value {
    if let Some(&(element, ..)) = TYPES.iter().find(|&&(.., array)| array == oid && oid != 0) {
        return array(element, text).unwrap_or_else(|| Value::from(text));
    }
    let decoded = match oid {
        16 => Some(Value::Bool(text == "t")),
        21 | 23 | 26 => text.parse::<i64>().ok().map(Value::from),
        20 => integer(text),
        1700 => decimal(text),
        700 | 701 => text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number),
        114 | 3802 => serde_json::from_str(text).ok(),
        1184 => instant(text).map(Value::from),
        1114 => date_and_time(text).map(Value::from),
        _ => None,
    };
    decoded.unwrap_or_else(|| Value::from(text))
}

fn integer(text: &str) -> Option<Value> {
    let number: i64 = text.parse().ok()?;
    (number.unsigned_abs() <= SAFE_INTEGER_MAX).then(|| Value::from(number))
}

/// A number when a double keeps every digit of it.
fn decimal(text: &str) -> Option<Value> {
    if let Some(number) = integer(text) {
        return Some(number);
    }
    let digits = text.trim_start_matches(['-', '0', '.']).bytes().filter(u8::is_ascii_digit).count();
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.')) && text.contains('.');
    if !plain || digits > SAFE_DIGITS_MAX {
        return None;
    }
    text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number)
}

/// `2026-11-25 10:00:00.123456+00` as `2026-11-25T10:00:00.123Z`.
fn instant(text: &str) -> Option<String> {
    // The offset is `+HH`, `+HH:MM` or `+HH:MM:SS`.
    let at = text.rfind(['+', '-']).filter(|&at| at > 10)?;
    let offset = match text.len() - at {
        3 => format!("{}:00", &text[at..]),
        6 => text[at..].to_owned(),
        _ => return None,
    };
    let parsed: DateTime<FixedOffset> =
        DateTime::parse_from_rfc3339(&format!("{}{offset}", text[..at].replacen(' ', "T", 1))).ok()?;
    Some(types::rfc3339(parsed.with_timezone(&Utc)))
}

/// Without a zone nothing may be shifted: only the separator changes.
fn date_and_time(text: &str) -> Option<String> {
    let good = text.len() >= 19 && text.as_bytes()[10] == b' ' && !text.ends_with("BC");
    good.then(|| text.replacen(' ', "T", 1))
}

/// `{1,NULL,"a b"}` as a JSON array. `None` for lower bounds and other rarities, which stay text.
fn array(element: u32, text: &str) -> Option<Value> {
    let mut reader = ArrayReader { rest: text, element };
    let found = reader.list(0)?;
    reader.rest.is_empty().then_some(found)
}

struct ArrayReader<'a> {
    rest: &'a str,
    element: u32,
}

impl ArrayReader<'_> {
    fn eat(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        if depth >= ARRAY_DEPTH_MAX || !self.eat('{') {
            return None;
        }
        let mut items = Vec::new();
        if self.eat('}') {
            return Some(Value::Array(items));
        }
        loop {
            let item = if self.rest.starts_with('{') { self.list(depth + 1)? } else { self.scalar()? };
            items.push(item);
            if self.eat('}') {
                return Some(Value::Array(items));
            }
            if !self.eat(',') {
                return None;
            }
        }
    }

    fn scalar(&mut self) -> Option<Value> {
        if !self.eat('"') {
            let end = self.rest.find([',', '}'])?;
            let (text, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Some(if text == "NULL" { Value::Null } else { value(self.element, text) });
        }
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => text.push(chars.next()?.1),
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(value(self.element, &text));
                }
                other => text.push(other),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_numbers_only_when_nothing_is_lost() {
        for (oid, text, wanted) in [
            (20, "9007199254740991", json!(9_007_199_254_740_991_i64)),
            (20, "9007199254740992", json!("9007199254740992")),
            (20, "-9223372036854775808", json!("-9223372036854775808")),
            (1700, "1.50", json!(1.5)),
            (1700, "0.000001", json!(0.000_001)),
            (1700, "123456789012345678.5", json!("123456789012345678.5")),
            (1700, "NaN", json!("NaN")),
            (1700, "42", json!(42)),
            (701, "0.1", json!(0.1)),
            (701, "Infinity", json!("Infinity")),
            (23, "-7", json!(-7)),
            (16, "t", json!(true)),
        ] {
            assert_eq!(value(oid, text), wanted, "{oid} {text}");
        }
    }

    #[test]
    fn instants_are_utc_with_milliseconds() {
        assert_eq!(value(1184, "2026-11-25 10:00:00.123456+00"), json!("2026-11-25T10:00:00.123Z"));
        assert_eq!(value(1184, "2026-11-25 10:00:00+05:30"), json!("2026-11-25T04:30:00.000Z"));
        assert_eq!(value(1184, "infinity"), json!("infinity"));
        assert_eq!(value(1184, "0044-03-15 10:00:00+00 BC"), json!("0044-03-15 10:00:00+00 BC"));
        assert_eq!(value(1114, "2026-11-25 10:00:00.5"), json!("2026-11-25T10:00:00.5"));
        assert_eq!(value(1082, "2026-11-25"), json!("2026-11-25"));
    }

    #[test]
    fn arrays_are_read_with_their_quotes() {
        assert_eq!(value(1007, "{1,NULL,3}"), json!([1, null, 3]));
        assert_eq!(value(1009, r#"{a,"b,c","d\"e","NULL",""}"#), json!(["a", "b,c", "d\"e", "NULL", ""]));
        assert_eq!(value(1007, "{{1,2},{3,4}}"), json!([[1, 2], [3, 4]]));
        assert_eq!(value(1009, "{}"), json!([]));
        assert_eq!(value(1007, "[0:1]={1,2}"), json!("[0:1]={1,2}"));
        assert_eq!(value(3807, r#"{"{\"a\": 1}"}"#), json!([{"a": 1}]));
        assert_eq!(value(17, "\\x00ff"), json!("\\x00ff"));
        assert_eq!(value(114, "{\"a\":[1]}"), json!({"a": [1]}));
    }

    #[test]
    fn names_are_those_of_the_catalogue() {
        assert_eq!(type_name(23).as_deref(), Some("int4"));
        assert_eq!(type_name(1185).as_deref(), Some("_timestamptz"));
        assert_eq!(type_name(0), None);
        assert_eq!(type_name(99_999), None);
    }
}
