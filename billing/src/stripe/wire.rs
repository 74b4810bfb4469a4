//! Another way to Stripe than HTTP: whoever stands in for it answers in process.

use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;

use super::api::CardError;

/// One call of the API.
#[derive(Debug, Clone)]
pub struct Question {
    /// Below the version, such as `/events`.
    pub path: String,
    /// The form, or the query: objects and lists as Stripe's parameters nest them.
    pub parameters: Value,
    /// The idempotency key of a change; none for a look.
    pub key: Option<String>,
}

impl Question {
    pub(super) fn new(path: &str, parameters: &impl Serialize, key: Option<&str>) -> Result<Self, CardError> {
        let parameters = serde_json::to_value(parameters).map_err(|e| CardError::Config(e.to_string()))?;
        Ok(Self { path: path.to_owned(), parameters, key: key.map(str::to_owned) })
    }

    /// The parameters as the wire names them: `line_items[0][quantity]` and its text.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        flatten(String::new(), &self.parameters, &mut pairs);
        pairs
    }
}

/// Answers calls of the API. Nobody asks again: what a lost answer is, the stand-in decides.
#[async_trait]
pub trait Wire: Send + Sync + std::fmt::Debug {
    /// # Errors
    /// As [`CardError::of_status`] judges; `Unknown` for a question or an answer that was lost.
    async fn ask(&self, question: &Question) -> Result<Value, CardError>;
}

fn flatten(name: String, value: &Value, pairs: &mut Vec<(String, String)>) {
    let within = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}[{key}]") };
    match value {
        Value::Null => {}
        Value::Object(fields) => fields.iter().for_each(|(key, field)| flatten(within(key), field, pairs)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| flatten(within(&n.to_string()), item, pairs));
        }
        Value::String(text) => pairs.push((name, text.clone())),
        other => pairs.push((name, other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_are_named_as_on_the_wire() {
        let form = json!({ "mode": "payment", "line_items": [{ "quantity": 1 }], "none": null });
        let pairs = Question::new("/x", &form, None).unwrap().pairs();
        let named = [("mode", "payment"), ("line_items[0][quantity]", "1")];
        assert_eq!(pairs, named.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }
}
