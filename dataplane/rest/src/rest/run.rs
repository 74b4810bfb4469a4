//! Running a statement: one round trip with role, claims and limits; two when only its outcome tells whether
//! it may stand.

use std::time::Duration;

use serde_json::{Map, Value};

use super::error::{Failure, PgError, RestError};
use super::media::Media;
use super::prepare::Job;
use super::request::{Ask, Who};
use super::respond::{Outcome, verdict};
use super::schema::Schema;
use super::wire::{Lease, Ran, Step, WireError};

/// Of one statement.
const STATEMENT_MS: &str = "10000";
/// Kept from outside, because a tenant's function can lift the limit above.
pub(super) const DEADLINE: Duration = Duration::from_secs(12);

/// Sent before every statement: what an earlier request or a tenant's function left on the connection counts for
/// nothing. Empty texts are unset values.
const SETTINGS: &str = "select
  set_config('role', $1, true), set_config('request.jwt.claims', $2, true), set_config('request.method', $3, true),
  set_config('request.path', $4, true), set_config('request.headers', $5, true),
  set_config('request.cookies', $6, true), set_config('search_path', $7, true),
  set_config('statement_timeout', $8, true), set_config('transaction_read_only', $9, true),
  set_config('TimeZone', coalesce(nullif($10, ''), 'UTC'), true), set_config('row_security', 'on', true),
  set_config('response.headers', '', true), set_config('response.status', '', true),
  set_config('pgrst.inserted', '', true), set_config('client_encoding', 'UTF8', true),
  set_config('lock_timeout', '0', true), set_config('transaction_timeout', '0', true),
  set_config('standard_conforming_strings', 'on', true), set_config('DateStyle', 'ISO, MDY', true),
  set_config('IntervalStyle', 'postgres', true), set_config('bytea_output', 'hex', true),
  set_config('extra_float_digits', '1', true)";

/// The same and the schema's version, at the end.
const SETTINGS_VERSION: &str = ", (select version::text from r402.schema_version)";
/// Its place in the row.
const VERSION_AT: usize = 22;

/// What came of a run.
pub(super) struct Done {
    pub outcome: Outcome,
    /// The schema's version at that time, where versions are counted.
    pub version: Option<i64>,
}

/// Why a run failed, and whether the connection may be used again.
pub(super) enum Undone {
    Refused(PgError),
    /// The outcome says that the change must not stand; it does not.
    Verdict(RestError),
    Zone,
    /// Not even the settings went through: an earlier statement left the connection useless. Nothing was done.
    Spoilt,
    /// There was no connection. Nothing was done.
    NotRun(Failure),
    TooLarge,
    Broken(std::io::Error),
}

/// Runs a job on a connection.
pub(super) async fn job(
    lease: &mut Lease,
    schema: &Schema,
    who: &Who,
    ask: &Ask,
    job: &Job,
) -> Result<Done, Undone> {
    let settings_text = settings_text(schema);
    let settings = settings(schema, who, ask, job);
    let key = |text: &str| format!("{}/{:?}/{text}", who.role.as_str(), schema.version);
    let main_key = key(&job.statement.text);
    let begin = Step { key: "begin", text: "begin", params: &[], keep: true };
    let set = Step { key: &settings_text, text: &settings_text, params: &settings, keep: true };
    let main = Step { key: &main_key, text: &job.statement.text, params: &job.statement.params, keep: true };
    let estimate_key = job.estimate.as_ref().map(|one| key(&one.text)).unwrap_or_default();
    let estimate = job.estimate.as_ref().map(|one| Step {
        key: &estimate_key,
        text: &one.text,
        params: &one.params,
        keep: true,
    });
    let late = job.decides_late();
    let mut steps = Vec::with_capacity(4);
    if late {
        steps.push(begin);
    }
    let first = steps.len();
    steps.extend([set, main]);
    steps.extend(estimate);
    let ran = match lease.conn.run(&steps).await {
        Ok(ran) => ran,
        Err(error) => return Err(refused(lease, error, late, (first, job)).await),
    };
    let done = read(ran, first, job);
    if late {
        let verdict = verdict(job, &done.outcome);
        let stands = verdict.is_ok() && job.prefer.rollback != Some(true);
        match lease.conn.simple(if stands { "commit" } else { "rollback" }).await {
            Ok(()) => {}
            Err(WireError::Refused { error, .. }) => return Err(Undone::Refused(error)),
            Err(WireError::TooLarge) => return Err(Undone::TooLarge),
            Err(WireError::Broken(e)) => return Err(Undone::Broken(e)),
        }
        verdict.map_err(Undone::Verdict)?;
    }
    Ok(done)
}

async fn refused(lease: &mut Lease, error: WireError, late: bool, (first, job): (usize, &Job)) -> Undone {
    match error {
        WireError::Refused { error, step } => {
            if error.fatal {
                // The server hung up. What it says before it commits was not committed, but who tells the two apart?
                let hung_up = Undone::Broken(std::io::Error::other(error.message));
                return if step <= first { Undone::Spoilt } else { hung_up };
            }
            if late && let Err(WireError::Broken(e)) = lease.conn.simple("rollback").await {
                return Undone::Broken(e);
            }
            // Of the settings only the time zone comes from the client.
            if step == first && error.sqlstate == "22023" && job.prefer.timezone.is_some() {
                return Undone::Zone;
            }
            if step <= first {
                return Undone::Spoilt;
            }
            Undone::Refused(error)
        }
        WireError::TooLarge => Undone::TooLarge,
        WireError::Broken(e) => Undone::Broken(e),
    }
}

fn read(mut ran: Ran, first: usize, job: &Job) -> Done {
    let mut rows = ran.rows.drain(first..);
    let version = rows.next().flatten().and_then(|row| row.get(VERSION_AT)?.as_ref()?.parse().ok());
    let mut main = rows.next().flatten().unwrap_or_default();
    let plan = rows.next().flatten().and_then(|mut row| row.first_mut().and_then(Option::take));
    let outcome = match job.media {
        Media::Plan(_) => Outcome::of_plan(&mut main),
        _ => Outcome::of(&mut main, plan.as_deref()),
    };
    Done { outcome, version }
}

pub(super) fn settings_text(schema: &Schema) -> String {
    let version = if schema.version.is_some() { SETTINGS_VERSION } else { "" };
    format!("{SETTINGS}{version}")
}

/// The values of [`SETTINGS`].
pub(super) fn settings(schema: &Schema, who: &Who, ask: &Ask, job: &Job) -> [Option<String>; 10] {
    let mut headers = Map::new();
    for (name, value) in &ask.headers {
        headers.insert(name.clone(), Value::from(value.as_str()));
    }
    let mut cookies = Map::new();
    for cookie in ask.all("cookie").flat_map(|header| header.split(';')) {
        if let Some((name, value)) = cookie.trim().split_once('=') {
            cookies.insert(name.to_owned(), Value::from(value));
        }
    }
    let path = match &ask.target {
        super::request::Target::Root | super::request::Target::Nowhere => "/".to_owned(),
        super::request::Target::Table(name) => format!("/{name}"),
        super::request::Target::Function(name) => format!("/rpc/{name}"),
    };
    [
        who.role.as_str().to_owned(),
        who.claims.clone(),
        ask.method.clone(),
        path,
        Value::Object(headers).to_string(),
        Value::Object(cookies).to_string(),
        format!("\"{}\", extensions, pg_temp", schema.name),
        STATEMENT_MS.to_owned(),
        if job.read_only { "on" } else { "off" }.to_owned(),
        job.prefer.timezone.clone().unwrap_or_default(),
    ]
    .map(Some)
}
