//! What can go wrong, in the words that the command line prints.

use serde_json::{Map, Value, json};

/// Why a call or a flow did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{0}")]
    Refused(Refusal),
    /// A deploy ran and ended badly; the operation's error object says how.
    #[error("the deploy did not go live")]
    DeployFailed(Map<String, Value>),
    /// No answer came. Whether the server acted is not known.
    #[error("network error while {during}")]
    Network { during: String, source: reqwest::Error },
    /// Found out on this machine, before or beside any request.
    #[error("{0}")]
    Local(#[from] LocalError),
}

/// A non-2xx answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub status: u16,
    pub body: Map<String, Value>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = ["message", "error"].iter().find_map(|name| self.body.get(*name)?.as_str());
        write!(f, "{} (HTTP {})", words.unwrap_or("the server refused"), self.status)
    }
}

/// A failure that never left this machine.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct LocalError {
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
    pub details: Map<String, Value>,
}

impl LocalError {
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, details: Map::new() }
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

impl ClientError {
    /// The `code` that a program branches on.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(refusal) => refusal.body.get("code").and_then(Value::as_str).unwrap_or("API_ERROR"),
            Self::DeployFailed(error) => {
                error.get("code").and_then(Value::as_str).unwrap_or("INTERNAL_ERROR")
            }
            Self::Network { .. } => "NETWORK_ERROR",
            Self::Local(local) => local.code,
        }
    }

    /// One object for stderr: the server's body as it came, with `status: "error"` and, when there was one,
    /// `http`.
    pub fn to_json(&self) -> Value {
        let mut out = match self {
            Self::Refused(refusal) => {
                let mut out = refusal.body.clone();
                out.insert("http".to_owned(), refusal.status.into());
                out
            }
            Self::DeployFailed(error) => error.clone(),
            Self::Network { source, .. } => fields(json!({
                "category": "network", "retryable": true, "details": { "cause": innermost(source) },
            })),
            Self::Local(local) => {
                let mut out = fields(json!({ "category": "local", "retryable": false }));
                if let Some(hint) = &local.hint {
                    out.insert("hint".to_owned(), hint.as_str().into());
                }
                if !local.details.is_empty() {
                    out.insert("details".to_owned(), local.details.clone().into());
                }
                out
            }
        };
        out.entry("code").or_insert_with(|| self.code().into());
        out.entry("message").or_insert_with(|| self.to_string().into());
        out.insert("status".to_owned(), "error".into());
        Value::Object(out)
    }
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}

/// The last cause names the trouble ("connection refused"); the outer ones repeat the URL.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_body_is_kept_and_marked_as_an_error() {
        let body =
            fields(json!({ "code": "UNKNOWN_TIER", "message": "Unknown tier: gold", "status": "odd" }));
        let shown = ClientError::Refused(Refusal { status: 400, body }).to_json();
        assert_eq!(shown["status"], "error");
        assert_eq!(shown["http"], 400);
        assert_eq!(shown["code"], "UNKNOWN_TIER");
        assert_eq!(shown["message"], "Unknown tier: gold");
    }

    #[test]
    fn a_local_failure_carries_its_hint_and_details() {
        let error =
            LocalError::new("NO_ALLOWANCE", "there is no wallet here").hint("run402 init").detail("n", 1);
        let shown = ClientError::from(error).to_json();
        assert_eq!(shown["code"], "NO_ALLOWANCE");
        assert_eq!(shown["hint"], "run402 init");
        assert_eq!(shown["details"]["n"], 1);
        assert!(shown.get("http").is_none());
    }
}
