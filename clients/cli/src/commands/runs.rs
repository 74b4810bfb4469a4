//! `run402 runs`.

use std::path::PathBuf;

use client::{Call, LocalError};
use serde_json::{Map, Value, json};

use super::Outcome;
use crate::context::{Context, read_json};
use crate::output::bad_usage;

#[derive(Debug, clap::Subcommand)]
pub enum Runs {
    /// Run a function durably, now or later.
    Create(Box<Create>),
    /// List a function's runs.
    List {
        id: String,
        name: String,
        #[arg(long)]
        status: Option<String>,
        #[arg(long = "event", value_name = "TYPE")]
        event_type: Option<String>,
        /// Written down at this ISO-8601 time or later.
        #[arg(long)]
        since: Option<String>,
        #[arg(long)]
        until: Option<String>,
        #[arg(long)]
        limit: Option<u32>,
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Look at a run.
    Get { id: String, run_id: String },
    /// Read what a run's attempts wrote.
    Logs {
        id: String,
        run_id: String,
        #[arg(long)]
        tail: Option<u32>,
        /// Milliseconds since 1970.
        #[arg(long)]
        since: Option<i64>,
        /// Of one attempt (fnatt_).
        #[arg(long)]
        request_id: Option<String>,
    },
    /// Call a run off.
    Cancel { id: String, run_id: String },
    /// Begin a run anew that ended without success.
    Redrive {
        id: String,
        run_id: String,
        #[command(flatten)]
        retry: Retry,
    },
}

#[derive(Debug, clap::Args)]
pub struct Create {
    id: String,
    name: String,
    /// What it is about.
    #[arg(long = "event", value_name = "TYPE")]
    event_type: String,
    /// The same key is the same run.
    #[arg(long, value_name = "KEY")]
    key: String,
    /// A JSON object for the function.
    #[arg(long, allow_hyphen_values = true, conflicts_with = "payload_file")]
    payload: Option<String>,
    #[arg(long, value_name = "FILE")]
    payload_file: Option<PathBuf>,
    /// An ISO-8601 time.
    #[arg(long, conflicts_with = "delay")]
    run_at: Option<String>,
    /// Seconds.
    #[arg(long)]
    delay: Option<u32>,
    /// An ISO-8601 time; no attempt begins after it.
    #[arg(long)]
    expires_at: Option<String>,
    #[command(flatten)]
    retry: Retry,
}

/// How often and how fast a run is tried again.
#[derive(Debug, clap::Args)]
pub struct Retry {
    /// standard or none.
    #[arg(long = "retry", value_name = "PRESET")]
    preset: Option<String>,
    #[arg(long)]
    max_attempts: Option<u32>,
    /// Seconds; doubled with each attempt.
    #[arg(long)]
    min_delay: Option<u32>,
    /// Seconds.
    #[arg(long)]
    max_delay: Option<u32>,
}

pub async fn run(command: Runs, context: &Context) -> Outcome {
    let client = context.public()?;
    let keyed = |id: &str| -> Result<String, LocalError> {
        let (projects, id) = context.project(Some(id))?;
        Ok(projects.keys(&id)?.service_key.to_owned())
    };
    match command {
        Runs::Create(create) => {
            let key = keyed(&create.id)?;
            let call = Call::new("runs.create").path("name", &create.name);
            let call = call.header("Idempotency-Key", &create.key).json(body(&create)?);
            client.call(call.service_key(&key)).await
        }
        Runs::List { id, name, status, event_type, since, until, limit, cursor } => {
            let key = keyed(&id)?;
            let call = Call::new("runs.list").path("name", name);
            let call = call.query_some("status", status).query_some("event_type", event_type);
            let call = call.query_some("since", since).query_some("until", until);
            let call = call.query_some("limit", limit).query_some("cursor", cursor);
            client.call(call.service_key(&key)).await
        }
        Runs::Get { id, run_id } => {
            let key = keyed(&id)?;
            client.call(Call::new("runs.get").path("run_id", run_id).service_key(&key)).await
        }
        Runs::Logs { id, run_id, tail, since, request_id } => {
            let key = keyed(&id)?;
            let call = Call::new("runs.logs").path("run_id", run_id);
            let call = call.query_some("tail", tail).query_some("since", since);
            let call = call.query_some("request_id", request_id);
            client.call(call.service_key(&key)).await
        }
        Runs::Cancel { id, run_id } => {
            let key = keyed(&id)?;
            client.call(Call::new("runs.cancel").path("run_id", run_id).service_key(&key)).await
        }
        Runs::Redrive { id, run_id, retry } => {
            let key = keyed(&id)?;
            let body = retry.body().map_or_else(|| json!({}), |retry| json!({ "retry": retry }));
            let call = Call::new("runs.redrive").path("run_id", run_id).json(body);
            client.call(call.service_key(&key)).await
        }
    }
}

/// In the words of the wire; what is not given is not sent.
fn body(create: &Create) -> Result<Value, LocalError> {
    let payload = match (&create.payload, &create.payload_file) {
        (Some(text), _) => {
            let read = serde_json::from_str::<Map<String, Value>>(text);
            Some(Value::from(read.map_err(|e| bad_usage(&format!("--payload takes a JSON object: {e}")))?))
        }
        (None, Some(file)) => Some(read_json(file)?),
        (None, None) => None,
    };
    let fields = [
        ("event_type", Some(json!(create.event_type))),
        ("idempotency_key", Some(json!(create.key))),
        ("payload", payload),
        ("run_at", create.run_at.as_ref().map(|at| json!(at))),
        ("delay_seconds", create.delay.map(|secs| json!(secs))),
        ("expires_at", create.expires_at.as_ref().map(|at| json!(at))),
        ("retry", create.retry.body()),
    ];
    Ok(given(fields))
}

impl Retry {
    fn body(&self) -> Option<Value> {
        let fields = given([
            ("preset", self.preset.as_ref().map(|preset| json!(preset))),
            ("max_attempts", self.max_attempts.map(|n| json!(n))),
            ("min_delay_seconds", self.min_delay.map(|n| json!(n))),
            ("max_delay_seconds", self.max_delay.map(|n| json!(n))),
        ]);
        fields.as_object().is_some_and(|fields| !fields.is_empty()).then_some(fields)
    }
}

fn given<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect::<Map<_, _>>()
        .into()
}
