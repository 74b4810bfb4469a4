//! `run402 functions`.

use std::path::PathBuf;
use std::time::Duration;

use client::{Call, Client, LocalError};
use serde_json::{Map, Value, json};

use super::sites::signing_client;
use super::{Outcome, ok};
use crate::context::{Context, read_text};
use crate::output;
use crate::output::bad_usage;

/// # Source
/// Wire contract 03 section 2.5.
const FOLLOW_EVERY: Duration = Duration::from_secs(3);

#[derive(Debug, clap::Subcommand)]
pub enum Functions {
    /// Deploy one module as a function.
    Deploy {
        id: String,
        name: String,
        #[arg(long)]
        file: PathBuf,
        /// Seconds.
        #[arg(long)]
        timeout: Option<u32>,
        /// Megabytes.
        #[arg(long)]
        memory: Option<u32>,
        /// npm packages.
        #[arg(long, value_delimiter = ',')]
        deps: Vec<String>,
        /// Five fields of cron in UTC; an empty text takes the schedule away.
        #[arg(long)]
        schedule: Option<String>,
    },
    /// Call a function.
    Invoke {
        id: String,
        /// With a path and a query if you like: hello/sub?x=1
        name: String,
        #[arg(long, default_value = "POST")]
        method: String,
        #[arg(long, allow_hyphen_values = true)]
        body: Option<String>,
    },
    /// Read what a function wrote.
    Logs {
        id: String,
        name: String,
        #[arg(long)]
        tail: Option<u32>,
        /// An ISO-8601 time, or milliseconds since 1970.
        #[arg(long)]
        since: Option<String>,
        /// Of a call (req_), of a run with all its attempts (fnrun_), or of one attempt (fnatt_).
        #[arg(long)]
        request_id: Option<String>,
        /// Go on reading until stopped.
        #[arg(long)]
        follow: bool,
    },
    /// Change a function's schedule or limits.
    Update {
        id: String,
        name: String,
        #[arg(long)]
        schedule: Option<String>,
        #[arg(long, conflicts_with = "schedule")]
        schedule_remove: bool,
        #[arg(long)]
        timeout: Option<u32>,
        #[arg(long)]
        memory: Option<u32>,
    },
    /// List a project's functions.
    List {
        /// The active project unless given.
        id: Option<String>,
    },
    /// List a function's scheduled runs.
    Runs {
        id: String,
        name: String,
        #[arg(long)]
        limit: Option<u32>,
    },
    /// Run a function now, as its schedule would.
    Trigger { id: String, name: String },
    /// Fire a function's trigger now.
    Fire {
        id: String,
        name: String,
        trigger_id: String,
        /// The same key is the same run.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
    },
    /// Build a function again, with this server's library.
    Rebuild { id: String, name: String },
    /// Build every function of a project again.
    RebuildAll {
        /// The active project unless given.
        id: Option<String>,
    },
    /// Delete a function.
    Delete { id: String, name: String },
}

pub async fn run(command: Functions, context: &Context) -> Outcome {
    let client = context.public()?;
    match command {
        Functions::Deploy { id, name, file, timeout, memory, deps, schedule } => {
            let mut body = changes(schedule, timeout, memory);
            body.insert("name".to_owned(), json!(name));
            body.insert("code".to_owned(), json!(read_text(&file)?));
            if !deps.is_empty() {
                body.insert("deps".to_owned(), json!(deps));
            }
            let (projects, id) = context.project(Some(&id))?;
            let call = Call::new("functions.deploy").path("id", &id);
            client.call(call.service_key(projects.keys(&id)?.service_key).json(body.into())).await
        }
        Functions::Update { id, name, schedule, schedule_remove, timeout, memory } => {
            let schedule = if schedule_remove { Some(String::new()) } else { schedule };
            let body = changes(schedule, timeout, memory);
            if body.is_empty() {
                let words = "give --schedule, --schedule-remove, --timeout or --memory";
                return Err(bad_usage(words).into());
            }
            let (projects, id) = context.project(Some(&id))?;
            let call = Call::new("functions.update").path("id", &id).path("name", name);
            client.call(call.service_key(projects.keys(&id)?.service_key).json(body.into())).await
        }
        Functions::Invoke { id, name, method, body } => {
            let (projects, id) = context.project(Some(&id))?;
            let method = method.to_uppercase();
            let mut call = Call::new("functions.invoke").raw_path("name", name).verb(&method);
            if let Some(body) = body.filter(|_| method != "GET" && method != "HEAD") {
                call = call.text(body);
            }
            client.call(call.anon_key(projects.keys(&id)?.service_key)).await
        }
        Functions::Logs { id, name, tail, since, request_id, follow } => {
            let (projects, id) = context.project(Some(&id))?;
            let key = projects.keys(&id)?.service_key;
            let asked = Asked { id: &id, name: &name, tail, request_id: request_id.as_deref(), key };
            let since = since.as_deref().map(millis).transpose()?;
            if follow { asked.follow(&client, since).await } else { asked.read(&client, since).await }
        }
        Functions::List { id } => {
            let (projects, id) = context.project(id.as_deref())?;
            let call = Call::new("functions.list").path("id", &id);
            client.call(call.service_key(projects.keys(&id)?.service_key)).await
        }
        Functions::Runs { id, name, limit } => {
            let (projects, id) = context.project(Some(&id))?;
            let call = Call::new("functions.runs").path("id", &id).path("name", name);
            client.call(call.query_some("limit", limit).service_key(projects.keys(&id)?.service_key)).await
        }
        Functions::Trigger { id, name } => {
            let (projects, id) = context.project(Some(&id))?;
            let call = Call::new("functions.trigger").path("id", &id).path("name", name);
            client.call(call.service_key(projects.keys(&id)?.service_key)).await
        }
        Functions::Fire { id, name, trigger_id, key } => {
            fire(context, (&id, &name, &trigger_id), key.as_deref()).await
        }
        Functions::Rebuild { id, name } => rebuild(context, Some(&id), Some(&name)).await,
        Functions::RebuildAll { id } => rebuild(context, id.as_deref(), None).await,
        Functions::Delete { id, name } => {
            let (projects, id) = context.project(Some(&id))?;
            let call = Call::new("functions.delete").path("id", &id).path("name", name);
            client.call(call.service_key(projects.keys(&id)?.service_key)).await.map(ok)
        }
    }
}

async fn fire(context: &Context, (id, name, trigger): (&str, &str, &str), key: Option<&str>) -> Outcome {
    let (projects, id) = context.project(Some(id))?;
    let call = Call::new("functions.fire").path("id", &id).path("name", name).path("trigger_id", trigger);
    let call = key.into_iter().fold(call, |call, key| call.header("Idempotency-Key", key));
    context.public()?.call(call.service_key(projects.keys(&id)?.service_key)).await
}

/// One function, or all of them.
async fn rebuild(context: &Context, id: Option<&str>, name: Option<&str>) -> Outcome {
    let (_, id) = context.project(id)?;
    let call = match name {
        Some(name) => Call::new("functions.rebuild").path("id", &id).path("name", name),
        None => Call::new("functions.rebuild_all").path("id", &id),
    };
    signing_client(context)?.call(call.wallet()).await
}

/// What is to change, in the words of the wire.
fn changes(schedule: Option<String>, timeout: Option<u32>, memory: Option<u32>) -> Map<String, Value> {
    let mut body = Map::new();
    if let Some(schedule) = schedule {
        let schedule = if schedule.is_empty() { Value::Null } else { json!(schedule) };
        body.insert("schedule".to_owned(), schedule);
    }
    let config: Map<String, Value> = [("timeout", timeout), ("memory", memory)]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), json!(value?))))
        .collect();
    if !config.is_empty() {
        body.insert("config".to_owned(), config.into());
    }
    body
}

/// Which log to read.
struct Asked<'a> {
    id: &'a str,
    name: &'a str,
    tail: Option<u32>,
    request_id: Option<&'a str>,
    key: &'a str,
}

impl Asked<'_> {
    async fn read(&self, client: &Client, since: Option<i64>) -> Outcome {
        let call = Call::new("functions.logs").path("id", self.id).path("name", self.name);
        let call = call.query("tail", self.tail.unwrap_or(50)).query_some("since", since);
        let call = call.query_some("request_id", self.request_id);
        client.call(call.service_key(self.key)).await
    }

    /// One line of JSON for each entry, until an error.
    async fn follow(&self, client: &Client, mut since: Option<i64>) -> Outcome {
        loop {
            let answer = self.read(client, since).await?;
            for entry in answer["logs"].as_array().into_iter().flatten() {
                output::text(&format!("{entry}\n"));
                if let Some(at) = entry["timestamp"].as_str() {
                    since = Some(millis(at)? + 1);
                }
            }
            tokio::time::sleep(FOLLOW_EVERY).await;
        }
    }
}

/// Milliseconds since 1970 of either spelling.
fn millis(text: &str) -> Result<i64, LocalError> {
    if let Ok(millis) = text.parse() {
        return Ok(millis);
    }
    let at = types::parse_rfc3339(text);
    at.map(|at| at.timestamp_millis())
        .ok_or_else(|| bad_usage("--since takes an ISO-8601 time or milliseconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_schedule_takes_it_away_and_times_have_two_spellings() {
        let body = changes(Some(String::new()), Some(5), None);
        assert_eq!(Value::from(body), json!({ "schedule": null, "config": { "timeout": 5 } }));
        assert!(changes(None, None, None).is_empty());
        assert_eq!(millis("1700000000000").unwrap(), millis("2023-11-14T22:13:20Z").unwrap());
        assert!(millis("yesterday").is_err());
    }
}
