//! Schemas that were read, by slot. Whether one still holds is told by its version, which every statement
//! brings along.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::Failure;
use super::schema::{Schema, load};
use super::wire::{Conn, Step, WireError};

/// Schemas that are remembered.
const SCHEMAS_MAX: usize = 2_000;
/// How long the schema of a database that does not count its changes is believed.
const UNCOUNTED: Duration = Duration::from_secs(1);
/// A table that is not there.
const UNDEFINED_TABLE: &str = "42P01";

pub(super) const VERSION: &str = "select version::text from r402.schema_version";

#[derive(Default)]
pub(super) struct Cache {
    schemas: Mutex<HashMap<i32, Entry>>,
    /// Held while one request reads a schema that others wait for.
    reading: Mutex<HashMap<i32, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Clone)]
struct Entry {
    schema: Arc<Schema>,
    read_at: Instant,
    used_at: Instant,
}

impl Cache {
    pub fn get(&self, slot: i32) -> Option<Arc<Schema>> {
        let mut schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = schemas.get_mut(&slot)?;
        if entry.schema.version.is_none() && entry.read_at.elapsed() > UNCOUNTED {
            return None;
        }
        entry.used_at = Instant::now();
        Some(entry.schema.clone())
    }

    /// Forgets a schema, unless it was replaced meanwhile.
    pub fn forget(&self, slot: i32, stale: &Arc<Schema>) {
        let mut schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        if schemas.get(&slot).is_some_and(|entry| Arc::ptr_eq(&entry.schema, stale)) {
            schemas.remove(&slot);
        }
    }

    /// A guard that only one request of a slot holds.
    pub fn turn(&self, slot: i32) -> Arc<tokio::sync::Mutex<()>> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if reading.len() > SCHEMAS_MAX {
            reading.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        reading.entry(slot).or_default().clone()
    }

    pub fn put(&self, slot: i32, schema: Schema) -> Arc<Schema> {
        let schema = Arc::new(schema);
        let now = Instant::now();
        let mut schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        if schemas.len() >= SCHEMAS_MAX
            && let Some(oldest) = schemas.iter().min_by_key(|(_, entry)| entry.used_at).map(|(slot, _)| *slot)
        {
            schemas.remove(&oldest);
        }
        schemas.insert(slot, Entry { schema: schema.clone(), read_at: now, used_at: now });
        schema
    }
}

/// Reads the schema by that name. The version is read first: what changes between is only read once more.
pub(super) async fn read(conn: &mut Conn, name: &str) -> Result<Schema, Failure> {
    let text = load::statement();
    let named = [Some(name.to_owned())];
    let whole = Step { key: "schema", text: &text, params: &named, keep: false };
    let version = Step { key: VERSION, text: VERSION, params: &[], keep: false };
    let (version, rows) = match conn.run(&[version, whole]).await {
        Ok(mut ran) => {
            let rows = ran.rows.pop().flatten();
            let version = ran.rows.pop().flatten().and_then(|row| row.first()?.as_ref()?.parse().ok());
            (version, rows)
        }
        // Made before changes were counted.
        Err(WireError::Refused { error, step: 0 }) if error.sqlstate == UNDEFINED_TABLE => {
            let mut ran = conn.run(&[whole]).await.map_err(failed)?;
            (None, ran.rows.pop().flatten())
        }
        Err(e) => return Err(failed(e)),
    };
    let text = rows.and_then(|mut row| row.first_mut().and_then(Option::take)).unwrap_or_default();
    load::read(name, version, &text).map_err(|e| {
        tracing::error!(error = &e as &dyn std::error::Error, "schema of a project");
        Failure::unavailable()
    })
}

/// The catalogue query is ours, so a refusal of it is our fault or the server's.
fn failed(error: WireError) -> Failure {
    match error {
        WireError::Refused { error, .. } => {
            tracing::error!(
                sqlstate = error.sqlstate,
                message = error.message,
                "read the schema of a project"
            );
        }
        WireError::TooLarge => tracing::warn!("the schema of a project is larger than a message may be"),
        WireError::Broken(e) => tracing::warn!(error = %e, "read the schema of a project"),
    }
    Failure::unavailable()
}
