//! `triggers` of a function: several schedules in place of one.

use serde_json::Value;
use store::releases::{Trigger, TriggerRetry, TriggerRun};
use types::Code;

use super::cron::interval_minutes;
use super::functions::is_name;
use super::read::{Fields, Mistakes, list, object, only, under};
use crate::functions::{EVENT_TYPE_CHARS_MAX, PAYLOAD_BYTES_MAX, RetryAsked, retry};

/// More than any tier allows.
const TRIGGERS_MAX: usize = 100;
const EXPIRES_SECS_MAX: i64 = 366 * 86_400;

/// Absent stays, null and an empty list take all away. Sorted by id.
///
/// # Source
/// Wire contract 03 section 8.
pub(super) fn triggers(value: Option<&Value>, place: &str, bad: &mut Mistakes) -> Option<Vec<Trigger>> {
    let items = list(Some(value?), place, bad);
    if items.len() > TRIGGERS_MAX {
        bad.add(place, &format!("at most {TRIGGERS_MAX} triggers are possible"));
        return None;
    }
    let mut all: Vec<Trigger> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let here = format!("{place}[{i}]");
        let Some(one) = trigger(item, &here, bad) else { continue };
        if all.iter().any(|known| known.id == one.id) {
            bad.add(&under(&here, "id"), "another trigger has this id");
        }
        all.push(one);
    }
    all.sort_by(|a, b| a.id.cmp(&b.id));
    Some(all)
}

fn trigger(value: &Value, place: &str, bad: &mut Mistakes) -> Option<Trigger> {
    let fields = needed(Some(value), place, bad)?;
    match text(fields, "type") {
        Some("schedule") => {}
        Some("email") => {
            let place = under(place, "type");
            let why = format!("{place}: this server has no mailboxes yet; use a trigger of type schedule");
            bad.push(Code::FeatureDisabled, &place, why);
            return None;
        }
        _ => {
            bad.add(&under(place, "type"), "schedule is needed here");
            return None;
        }
    }
    const KNOWN: [&str; 7] = ["id", "type", "cron", "timezone", "misfire_policy", "overlap_policy", "run"];
    only(fields, place, &KNOWN, bad);
    let id = text(fields, "id").filter(|id| is_name(id));
    if id.is_none() {
        bad.add(&under(place, "id"), "1 to 64 of A-Z, a-z, 0-9, _ and - are needed");
    }
    let cron = text(fields, "cron").map(str::trim).filter(|cron| interval_minutes(cron).is_some());
    if cron.is_none() {
        bad.add(&under(place, "cron"), "five fields of cron are needed, such as */15 * * * *");
    }
    let timezone = match fields.get("timezone") {
        None | Some(Value::Null) => Some("UTC"),
        Some(given) => given.as_str().filter(|name| ::functions::Cron::parse_in("* * * * *", name).is_some()),
    };
    if timezone.is_none() {
        bad.add(&under(place, "timezone"), "a name such as UTC or Europe/Berlin is needed");
    }
    for (name, only) in [("misfire_policy", "skip"), ("overlap_policy", "allow")] {
        if fields.get(name).is_some_and(|given| !given.is_null() && given != only) {
            bad.add(&under(place, name), &format!("only {only} is possible"));
        }
    }
    let run = run(fields.get("run"), &under(place, "run"), bad);
    Some(Trigger { id: id?.to_owned(), cron: cron?.to_owned(), timezone: timezone?.to_owned(), run: run? })
}

fn run(value: Option<&Value>, place: &str, bad: &mut Mistakes) -> Option<TriggerRun> {
    let fields = needed(value, place, bad)?;
    only(fields, place, &["event_type", "payload", "retry", "expires_after_seconds"], bad);
    let is_plain = |text: &&str| {
        (1..=EVENT_TYPE_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control)
    };
    let event_type = text(fields, "event_type").filter(is_plain);
    if event_type.is_none() {
        let why = format!("1 to {EVENT_TYPE_CHARS_MAX} characters without control characters are needed");
        bad.add(&under(place, "event_type"), &why);
    }
    let here = under(place, "payload");
    let payload = object(fields.get("payload"), &here, bad);
    if let Some(payload) = payload {
        let whole = Value::Object(payload.clone());
        if whole.to_string().len() > PAYLOAD_BYTES_MAX {
            bad.add(&here, "at most 64 KiB of JSON; put more into the project's storage");
        }
        if has_nul(&whole) {
            bad.add(&here, "it holds a NUL character");
        }
    }
    let here = under(place, "expires_after_seconds");
    let expires = whole(fields.get("expires_after_seconds"), &here, bad);
    if expires.is_some_and(|secs| !(1..=EXPIRES_SECS_MAX).contains(&secs)) {
        bad.add(&here, "1 second to 366 days");
    }
    Some(TriggerRun {
        event_type: event_type?.to_owned(),
        payload: payload.cloned(),
        retry: retries(fields.get("retry"), &under(place, "retry"), bad)?,
        expires_after_seconds: expires.and_then(|secs| i32::try_from(secs).ok()),
    })
}

fn retries(value: Option<&Value>, place: &str, bad: &mut Mistakes) -> Option<TriggerRetry> {
    let empty = Fields::new();
    let fields = object(value, place, bad).unwrap_or(&empty);
    const KNOWN: [&str; 4] = ["preset", "max_attempts", "min_delay_seconds", "max_delay_seconds"];
    only(fields, place, &KNOWN, bad);
    let mut number = |name: &str| whole(fields.get(name), &under(place, name), bad);
    let asked = RetryAsked {
        max_attempts: number("max_attempts"),
        min_delay_seconds: number("min_delay_seconds"),
        max_delay_seconds: number("max_delay_seconds"),
        preset: match fields.get("preset") {
            None | Some(Value::Null) => None,
            // What is no text is no preset either.
            Some(given) => Some(given.as_str().unwrap_or_default().to_owned()),
        },
    };
    match retry(&asked) {
        Ok(policy) => Some(TriggerRetry {
            max_attempts: policy.attempts_max,
            min_delay_seconds: policy.min_secs,
            max_delay_seconds: policy.max_secs,
        }),
        Err(problem) => {
            bad.add(place, &problem.message);
            None
        }
    }
}

fn needed<'a>(value: Option<&'a Value>, place: &str, bad: &mut Mistakes) -> Option<&'a Fields> {
    if value.is_none_or(Value::is_null) {
        bad.add(place, "an object is needed here");
    }
    object(value, place, bad)
}

fn text<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str)
}

fn whole(value: Option<&Value>, place: &str, bad: &mut Mistakes) -> Option<i64> {
    let value = value.filter(|value| !value.is_null())?;
    let number = value.as_i64();
    if number.is_none() {
        bad.add(place, "a whole number is needed");
    }
    number
}

/// The database takes none within JSON.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(one: Value) -> Result<Vec<Trigger>, Vec<String>> {
        let mut bad = Mistakes::default();
        let all = triggers(Some(&json!([one])), "t", &mut bad);
        let Some(problem) = bad.into_problem() else { return Ok(all.unwrap()) };
        let places = problem.extra["errors"].as_array().unwrap().iter();
        Err(places.map(|one| one["resource"].as_str().unwrap().to_owned()).collect())
    }

    fn with(place: &str, value: Value) -> Value {
        let mut one =
            json!({ "id": "a", "type": "schedule", "cron": "0 3 * * *", "run": { "event_type": "x" } });
        let (parent, key) = place.rsplit_once('/').unwrap();
        one.pointer_mut(parent).unwrap()[key] = value;
        one
    }

    #[test]
    fn a_trigger_is_read_with_what_it_leaves_out() {
        let plain = read(with("/timezone", Value::Null)).unwrap().remove(0);
        let standard = TriggerRetry { max_attempts: 5, min_delay_seconds: 30, max_delay_seconds: 21_600 };
        assert_eq!((plain.timezone.as_str(), plain.run.retry), ("UTC", standard));
        let own = read(with("/run/retry", json!({ "preset": "none", "max_attempts": 2 }))).unwrap().remove(0);
        assert_eq!(own.run.retry.max_attempts, 2);
        let stored = serde_json::to_value(&own).unwrap();
        assert_eq!(serde_json::from_value::<Trigger>(stored).unwrap(), own);
        let mut bad = Mistakes::default();
        assert_eq!(triggers(None, "t", &mut bad), None);
        assert_eq!(triggers(Some(&Value::Null), "t", &mut bad), Some(Vec::new()));
        let two = json!([with("/id", json!("b")), with("/id", json!("a"))]);
        let ids: Vec<String> =
            triggers(Some(&two), "t", &mut bad).unwrap().into_iter().map(|one| one.id).collect();
        assert_eq!((ids, bad.is_empty()), (vec!["a".to_owned(), "b".to_owned()], true));
        let twins = json!([with("/id", json!("a")), with("/id", json!("a"))]);
        triggers(Some(&twins), "t", &mut bad);
        assert_eq!(bad.into_problem().unwrap().extra["resource"], "t[1].id");
    }

    #[test]
    fn what_is_wrong_with_a_trigger_is_named_by_its_place() {
        for (place, value) in [
            ("/id", json!("")),
            ("/id", json!("a b")),
            ("/type", json!("webhook")),
            ("/type", json!("email")),
            ("/cron", json!("* * * *")),
            ("/cron", json!(5)),
            ("/timezone", json!("Mars/Base")),
            ("/timezone", json!(1)),
            ("/misfire_policy", json!("run_all")),
            ("/overlap_policy", json!("skip")),
            ("/when", json!("never")),
            ("/run", Value::Null),
            ("/run", json!("x")),
            ("/run/event_type", Value::Null),
            ("/run/event_type", json!("a\nb")),
            ("/run/event_type", json!("x".repeat(129))),
            ("/run/payload", json!([1])),
            ("/run/payload", json!({ "a": [{ "b": "c\0" }] })),
            ("/run/payload", json!({ "a\0": 1 })),
            ("/run/payload", json!({ "a": "x".repeat(65_536) })),
            ("/run/retry", json!({ "max_attempts": 21 })),
            ("/run/retry", json!({ "preset": 3 })),
            ("/run/retry/max_attempts", json!(1.5)),
            ("/run/retry/often", json!(1)),
            ("/run/expires_after_seconds", json!(0)),
            ("/run/expires_after_seconds", json!(366 * 86_400 + 1)),
            ("/run/delay", json!(1)),
        ] {
            let one = match place.strip_prefix("/run/retry/") {
                Some(name) => with("/run/retry", json!({ name: value })),
                None => with(place, value.clone()),
            };
            assert_eq!(read(one).unwrap_err(), [format!("t[0]{}", place.replace('/', "."))], "{value}");
        }
        assert_eq!(read(json!("a")).unwrap_err(), ["t[0]"]);
        assert_eq!(read(Value::Null).unwrap_err(), ["t[0]"]);
    }
}
