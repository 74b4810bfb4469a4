//! The body of a request: JSON, a form, CSV, or a single text for a function.

use serde_json::{Map, Value};

use super::error::RestError;
use super::parse;

/// What a body is made of, by its content type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    Json,
    Form,
    Csv,
    Text,
    Xml,
    Octets,
}

impl BodyKind {
    /// `None` is told apart later: only a request that reads its body minds.
    pub fn of(content_type: Option<&str>) -> Option<Self> {
        let kind = content_type.unwrap_or("application/json").split(';').next().unwrap_or_default();
        match kind.trim().to_ascii_lowercase().as_str() {
            "" | "*/*" | "application/json" => Some(Self::Json),
            "application/x-www-form-urlencoded" => Some(Self::Form),
            "text/csv" => Some(Self::Csv),
            "text/plain" => Some(Self::Text),
            "text/xml" => Some(Self::Xml),
            "application/octet-stream" => Some(Self::Octets),
            _ => None,
        }
    }
}

/// A body of rows: the JSON that the statement gets, and the columns that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    pub json: String,
    /// Of the first object, in its order.
    pub keys: Vec<String>,
    /// No object at all: nothing is to be done.
    pub empty: bool,
}

fn invalid() -> RestError {
    RestError::body_invalid("Empty or invalid json")
}

/// Rows to insert or values to set. With `columns` given the keys need not agree.
///
/// # Errors
/// `PGRST102`.
pub fn rows(
    kind: Option<BodyKind>,
    content_type: Option<&str>,
    body: &[u8],
    columns: bool,
) -> Result<Rows, RestError> {
    match kind {
        Some(BodyKind::Json) => {
            let value: Value = serde_json::from_slice(body).map_err(|_| invalid())?;
            let text = std::str::from_utf8(body).map_err(|_| invalid())?;
            of_value(&value, text, columns)
        }
        Some(BodyKind::Form) => {
            let text = std::str::from_utf8(body).map_err(|_| invalid())?;
            let object: Map<String, Value> =
                parse_form(text).into_iter().map(|(k, v)| (k, v.into())).collect();
            let value = Value::Object(object);
            of_value(&value, &value.to_string(), columns)
        }
        Some(BodyKind::Csv) => {
            let value = csv(std::str::from_utf8(body).map_err(|_| invalid())?)?;
            of_value(&value, &value.to_string(), true)
        }
        _ => {
            let named =
                content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
            Err(RestError::body_invalid(format!("Content-Type not acceptable: {named}")))
        }
    }
}

fn of_value(value: &Value, text: &str, columns: bool) -> Result<Rows, RestError> {
    let keys = |object: &Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
    match value {
        Value::Object(object) => Ok(Rows { json: text.to_owned(), keys: keys(object), empty: false }),
        Value::Array(items) => {
            let Some(first) = items.first() else {
                return Ok(Rows { json: "[]".to_owned(), keys: Vec::new(), empty: true });
            };
            let first =
                first.as_object().ok_or_else(|| RestError::body_invalid("All object keys must match"))?;
            let same = |item: &Value| {
                item.as_object().is_some_and(|one| {
                    columns || (one.len() == first.len() && one.keys().all(|key| first.contains_key(key)))
                })
            };
            if !items.iter().all(same) {
                return Err(RestError::body_invalid("All object keys must match"));
            }
            Ok(Rows { json: text.to_owned(), keys: keys(first), empty: false })
        }
        _ => Err(RestError::body_invalid("All object keys must match")),
    }
}

/// `a=1&b=2`
pub fn parse_form(text: &str) -> Vec<(String, String)> {
    parse::pairs(text)
}

/// Lines of values under a line of names; `NULL` is null.
fn csv(text: &str) -> Result<Value, RestError> {
    let mut records = csv_records(text)?.into_iter();
    let Some(names) = records.next() else { return Ok(Value::Array(Vec::new())) };
    let mut out = Vec::new();
    for record in records {
        if record.len() != names.len() {
            return Err(RestError::body_invalid("All lines must have same number of fields"));
        }
        let value = |field: String| if field == "NULL" { Value::Null } else { Value::String(field) };
        let object: Map<String, Value> = names.iter().cloned().zip(record.into_iter().map(value)).collect();
        out.push(Value::Object(object));
    }
    Ok(Value::Array(out))
}

fn csv_records(text: &str) -> Result<Vec<Vec<String>>, RestError> {
    let (mut records, mut record, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut begun) = (false, false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => (quoted, begun) = (true, true),
            _ if quoted => field.push(c),
            ',' => {
                record.push(std::mem::take(&mut field));
                begun = true;
            }
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' => {
                if begun || !field.is_empty() {
                    record.push(std::mem::take(&mut field));
                    records.push(std::mem::take(&mut record));
                }
                begun = false;
            }
            _ => field.push(c),
        }
    }
    if quoted {
        return Err(RestError::body_invalid("a quoted field of the CSV does not end"));
    }
    if begun || !field.is_empty() {
        record.push(field);
        records.push(record);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Result<Rows, RestError> {
        rows(Some(BodyKind::Json), None, text.as_bytes(), false)
    }

    #[test]
    fn objects_and_arrays_of_like_objects_are_rows() {
        assert_eq!(json(r#"{"b":1,"a":2}"#).unwrap().keys, ["b", "a"]);
        assert_eq!(json(r#"[{"a":1},{"a":2}]"#).unwrap().keys, ["a"]);
        assert!(json("[]").unwrap().empty);
        for text in ["", "{", "1", "[1]", r#"[{"a":1},{"b":2}]"#, r#"[{"a":1},2]"#] {
            assert_eq!(json(text).unwrap_err().code, "PGRST102", "{text}");
        }
    }

    #[test]
    fn csv_knows_quotes_and_null() {
        let rows = rows(Some(BodyKind::Csv), None, b"a,b\n1,\"x,\"\"y\"\nNULL,\n", false).unwrap();
        assert_eq!(rows.json, r#"[{"a":"1","b":"x,\"y"},{"a":null,"b":""}]"#);
        assert_eq!(csv("a,b\n1\n").unwrap_err().message, "All lines must have same number of fields");
    }

    #[test]
    fn an_unknown_content_type_is_named() {
        let kind = BodyKind::of(Some("image/png; q=1"));
        let error = rows(kind, Some("image/png; q=1"), b"x", false).unwrap_err();
        assert_eq!(error.message, "Content-Type not acceptable: image/png");
    }
}
