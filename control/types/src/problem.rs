//! A refusal as a value: the code, the words, and what became of the change. `api` puts it on the wire.

use serde_json::{Map, Value};

use crate::Code;

/// What became of the change that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    None,
    NotStarted,
    Committed,
    RolledBack,
    Partial,
    Unknown,
}

impl Mutation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NotStarted => "not_started",
            Self::Committed => "committed",
            Self::RolledBack => "rolled_back",
            Self::Partial => "partial",
            Self::Unknown => "unknown",
        }
    }
}

/// Everything a client is told about a failure.
///
/// # Source
/// Wire contract 04 section 1.5.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    #[serde(with = "code_text")]
    pub code: Code,
    pub message: String,
    /// Replaces the code's advice when more is known.
    pub hint: Option<String>,
    #[serde(with = "mutation_text")]
    pub mutation: Mutation,
    /// Free facts about this failure, shown as `details`.
    pub details: Map<String, Value>,
    /// Fields that clients read at the top level (`retry_after`, `lifecycle_state`, `x402`, `phase`,
    /// `resource`).
    pub extra: Map<String, Value>,
    /// The x402 challenge, already encoded, for the `PAYMENT-REQUIRED` header.
    pub payment_required: Option<String>,
    /// What became of the payment that was presented, already encoded, for the `PAYMENT-RESPONSE` header.
    #[serde(default)]
    pub payment_response: Option<String>,
}

impl Problem {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            mutation: Mutation::None,
            details: Map::new(),
            extra: Map::new(),
            payment_required: None,
            payment_response: None,
        }
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    pub fn mutation(mut self, mutation: Mutation) -> Self {
        self.mutation = mutation;
        self
    }
    pub fn detail(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
    pub fn extra(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for Problem {}

/// Problems cross nodes (a forwarded message answers with one), so they read back what they write.
mod code_text {
    use crate::Code;

    pub fn serialize<S: serde::Serializer>(code: &Code, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&format_args!("{code:?}"))
    }
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Code, D::Error> {
        let name = <String as serde::Deserialize>::deserialize(d)?;
        Ok(Code::ALL.iter().copied().find(|c| format!("{c:?}") == name).unwrap_or(Code::Internal))
    }
}

mod mutation_text {
    use crate::Mutation;

    const ALL: [Mutation; 6] = [
        Mutation::None,
        Mutation::NotStarted,
        Mutation::Committed,
        Mutation::RolledBack,
        Mutation::Partial,
        Mutation::Unknown,
    ];

    pub fn serialize<S: serde::Serializer>(m: &Mutation, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(m.as_str())
    }
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Mutation, D::Error> {
        let name = <String as serde::Deserialize>::deserialize(d)?;
        Ok(ALL.into_iter().find(|m| m.as_str() == name).unwrap_or(Mutation::Unknown))
    }
}
