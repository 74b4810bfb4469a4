//! Triggers of a release's functions, as they are stored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Times at which a function runs, as a release declares them.
///
/// # Source
/// Wire contract 03 section 8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// 1 to 64 of `A-Za-z0-9_-`, and no other trigger of the function has the same.
    pub id: String,
    /// Five fields.
    pub cron: String,
    /// In which the fields are meant: a name of the IANA database.
    pub timezone: String,
    pub run: TriggerRun,
}

/// The run that each time becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerRun {
    pub event_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Map<String, Value>>,
    pub retry: TriggerRetry,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_after_seconds: Option<i32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerRetry {
    pub max_attempts: i32,
    pub min_delay_seconds: i32,
    pub max_delay_seconds: i32,
}
