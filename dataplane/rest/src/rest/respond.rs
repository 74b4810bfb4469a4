//! From the one row of a statement to the answer. Pure.

use serde_json::Value;

use super::error::RestError;
use super::media::Media;
use super::parse::percent_encode;
use super::prefer::{Count, Resolution, Return};
use super::prepare::{Job, Kind};
use super::range::content_range;
use super::request::Answer;

/// The one row that every statement answers, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    pub total: Option<i64>,
    pub rows: i64,
    pub body: String,
    pub headers: Option<String>,
    pub status: Option<String>,
    pub location: Option<String>,
    pub inserted: Option<i64>,
    /// What the plan expects.
    pub planned: Option<i64>,
}

/// Above so many rows an estimate is believed.
const EXACT_MAX: i64 = 1_000;

impl Outcome {
    /// The row of an `EXPLAIN`.
    pub fn of_plan(row: &mut [Option<String>]) -> Self {
        let text = row.first_mut().and_then(Option::take).unwrap_or_default();
        Self { body: text, ..Self::default() }
    }

    pub fn of(row: &mut [Option<String>], plan: Option<&str>) -> Self {
        let mut take = |i: usize| row.get_mut(i).and_then(Option::take);
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok());
        let planned = plan.and_then(|plan| {
            let plan: Value = serde_json::from_str(plan).ok()?;
            plan.get(0)?.get("Plan")?.get("Plan Rows")?.as_i64()
        });
        Self {
            total: number(take(0)),
            rows: number(take(1)).unwrap_or(0),
            body: take(2).unwrap_or_default(),
            headers: take(3),
            status: take(4),
            location: take(5),
            inserted: number(take(6)),
            planned,
        }
    }
}

/// Whether the change must not stand, found out by what it did.
pub(super) fn verdict(job: &Job, found: &Outcome) -> Result<(), RestError> {
    if matches!(job.media, Media::Plan(_)) {
        return Ok(());
    }
    if job.kind == Kind::Put && found.rows != 1 {
        return Err(RestError::put_mismatch());
    }
    if job.media.is_single() && found.rows != 1 {
        return Err(RestError::singular(found.rows));
    }
    let limited = matches!(job.kind, Kind::Update | Kind::Delete | Kind::Call { .. });
    if let Some(max) = job.prefer.max_affected().filter(|_| limited)
        && found.rows > max
    {
        return Err(RestError::too_many_affected(found.rows));
    }
    Ok(())
}

/// # Errors
/// `PGRST116`, `PGRST103`, `PGRST111`, `PGRST112`.
pub(super) fn answer(job: &Job, found: Outcome) -> Result<Answer, RestError> {
    verdict(job, &found)?;
    if let Media::Plan(plan) = job.media {
        let content_type = Media::Plan(plan).content_type().into_owned();
        let body = if job.body { found.body } else { String::new() };
        return Ok(Answer { status: 200, headers: vec![("content-type".to_owned(), content_type)], body });
    }
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: String| headers.push((name.to_owned(), value));
    let total = total(job, &found);
    let counts = job.prefer.count.is_some();
    let star = |total: Option<i64>| format!("*/{}", total.map_or("*".to_owned(), |total| total.to_string()));
    let status = match job.kind {
        Kind::Read => {
            let (status, range) = content_range(job.range, found.rows, total)?;
            add("content-range", range);
            if !job.canonical.is_empty() {
                add("content-location", format!("/{}?{}", percent_encode(&job.target), job.canonical));
            } else {
                add("content-location", format!("/{}", percent_encode(&job.target)));
            }
            status
        }
        Kind::Call { void } => {
            let (status, range) = content_range(job.range, found.rows, total)?;
            add("content-range", range);
            if void { 204 } else { status }
        }
        Kind::Insert => {
            if let Some(location) = location(job, &found) {
                add("location", location);
            }
            add("content-range", star(counts.then_some(found.rows)));
            let merges = job.prefer.resolution == Some(Resolution::Merge);
            if merges && found.inserted.unwrap_or(0) == 0 { 200 } else { 201 }
        }
        Kind::Put => {
            add("content-range", star(counts.then_some(found.rows)));
            let fresh = found.inserted.is_none_or(|inserted| inserted > 0);
            match (fresh, job.body) {
                (true, _) => 201,
                (false, true) => 200,
                (false, false) => 204,
            }
        }
        Kind::Update => {
            let all = counts.then_some(found.rows);
            add(
                "content-range",
                if found.rows == 0 { star(all) } else { format!("0-{}{}", found.rows - 1, &star(all)[1..]) },
            );
            if job.body { 200 } else { 204 }
        }
        Kind::Delete => {
            add("content-range", star(counts.then_some(found.rows)));
            if job.body { 200 } else { 204 }
        }
    };
    let changes = !matches!(job.kind, Kind::Read | Kind::Call { .. });
    if let Some(applied) = job.prefer.applied(changes, job.kind == Kind::Insert) {
        add("preference-applied", applied);
    }
    let has_body = job.body && !matches!(job.kind, Kind::Call { void: true });
    // HEAD tells of the body that GET would have.
    if has_body || matches!(job.kind, Kind::Read | Kind::Call { void: false }) {
        add("content-type", job.media.content_type().into_owned());
    }
    let status = overridden(&found, status, &mut headers)?;
    Ok(Answer { status, headers, body: if has_body { found.body } else { String::new() } })
}

fn total(job: &Job, found: &Outcome) -> Option<i64> {
    match job.prefer.count? {
        Count::Exact => found.total,
        Count::Planned => found.planned.or(found.total),
        Count::Estimated => match found.total {
            Some(exact) if exact <= EXACT_MAX => Some(exact),
            exact => exact.max(found.planned),
        },
    }
}

fn location(job: &Job, found: &Outcome) -> Option<String> {
    if job.prefer.returns != Some(Return::HeadersOnly) || found.rows != 1 {
        return None;
    }
    let pairs: Vec<(String, Option<String>)> = serde_json::from_str(found.location.as_deref()?).ok()?;
    let query: Vec<String> = pairs
        .iter()
        .map(|(name, value)| match value {
            Some(value) => format!("{}=eq.{}", percent_encode(name), percent_encode(value)),
            None => format!("{}=is.null", percent_encode(name)),
        })
        .collect();
    Some(format!("/{}?{}", percent_encode(&job.target), query.join("&")))
}

/// What the statement set by `response.status` and `response.headers`.
fn overridden(found: &Outcome, status: u16, headers: &mut Vec<(String, String)>) -> Result<u16, RestError> {
    if let Some(text) = &found.headers {
        let wrong = || {
            let message = "response.headers guc must be a JSON array composed of objects with a single key and \
                           a string value";
            RestError::new(500, "PGRST111", message)
        };
        let list: Vec<serde_json::Map<String, Value>> = serde_json::from_str(text).map_err(|_| wrong())?;
        for object in list {
            let mut members = object.into_iter();
            let (Some((name, Value::String(value))), None) = (members.next(), members.next()) else {
                return Err(wrong());
            };
            let name = name.to_ascii_lowercase();
            // Only `Set-Cookie` may come twice.
            if name != "set-cookie" {
                headers.retain(|(one, _)| *one != name);
            }
            headers.push((name, value));
        }
    }
    match &found.status {
        Some(text) => {
            let wanted = text.parse().ok().filter(|status| (200..600).contains(status));
            wanted.ok_or_else(|| {
                RestError::new(500, "PGRST112", "response.status guc must be a valid status code")
            })
        }
        None => Ok(status),
    }
}
