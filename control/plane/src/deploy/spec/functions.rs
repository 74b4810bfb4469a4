//! `functions`: all of them, or some.

use std::collections::BTreeMap;

use actors::deploy::{FunctionChange, FunctionSpec, RUNTIME, Source};
use serde_json::Value;

use super::content::{content, files};
use super::cron::interval_minutes;
use super::read::{Fields, Mistakes, later, object, only, spelled, strings};
use super::triggers::triggers;

/// More than any tier allows.
const FUNCTIONS_MAX: usize = 500;
const FUNCTION_FILES_MAX: usize = 1_000;

pub(super) fn functions(value: Option<&Value>, bad: &mut Mistakes) -> Option<FunctionChange> {
    let fields = object(value, "functions", bad)?;
    only(fields, "functions", &["replace", "patch"], bad);
    let there = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
    match (there("replace"), there("patch")) {
        (true, true) => {
            bad.add("functions", "use either replace or patch");
            None
        }
        (false, false) => None,
        (true, false) => {
            let all = specs(fields.get("replace"), "functions.replace", bad);
            for (name, _) in all.iter().filter(|(_, spec)| spec.source.is_none()) {
                bad.add(
                    &format!("functions.replace.{name}"),
                    "a source, or files and an entrypoint, is needed",
                );
            }
            Some(FunctionChange::Replace(all))
        }
        (false, true) => patch(fields.get("patch"), bad),
    }
}

fn patch(value: Option<&Value>, bad: &mut Mistakes) -> Option<FunctionChange> {
    let fields = object(value, "functions.patch", bad)?;
    only(fields, "functions.patch", &["set", "delete"], bad);
    let set = specs(fields.get("set"), "functions.patch.set", bad);
    let mut delete = Vec::new();
    for (place, name) in strings(fields.get("delete"), "functions.patch.delete", bad) {
        match (is_name(name), set.contains_key(name)) {
            (false, _) => bad.add(&place, NAME),
            (true, true) => bad.add(&place, "the function is set and deleted"),
            (true, false) => delete.push(name.to_owned()),
        }
    }
    delete.sort();
    delete.dedup();
    let empty = set.is_empty() && delete.is_empty();
    (!empty).then_some(FunctionChange::Patch { set, delete })
}

const NAME: &str = "a function's name has 1 to 64 of A-Z, a-z, 0-9, _ and -";

/// # Source
/// Wire contract 02 section 0.4.
pub(super) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

fn specs(value: Option<&Value>, place: &str, bad: &mut Mistakes) -> BTreeMap<String, FunctionSpec> {
    let mut all = BTreeMap::new();
    let Some(fields) = object(value, place, bad) else { return all };
    if fields.len() > FUNCTIONS_MAX {
        bad.add(place, &format!("at most {FUNCTIONS_MAX} functions are possible"));
        return all;
    }
    for (name, value) in fields {
        let here = format!("{place}.{name}");
        if !is_name(name) {
            bad.add(&here, NAME);
        }
        if let Some(spec) = spec(value, &here, bad) {
            all.insert(name.clone(), spec);
        }
    }
    all
}

fn spec(value: &Value, place: &str, bad: &mut Mistakes) -> Option<FunctionSpec> {
    let Some(fields) = object(Some(value), place, bad) else {
        if value.is_null() {
            bad.add(place, "an object is needed here");
        }
        return None;
    };
    const KNOWN: [&str; 5] = ["runtime", "source", "files", "entrypoint", "config"];
    const LATER: [&str; 4] = ["deps", "require_auth", "require_role", "class"];
    only(fields, place, &[&KNOWN[..], &["schedule", "triggers"], &LATER[..]].concat(), bad);
    later(fields, place, &LATER, bad);
    let runtime = match spelled(fields, &["runtime"]) {
        None => None,
        Some(named) if named.as_str() == Some(RUNTIME) => Some(RUNTIME.to_owned()),
        Some(_) => {
            bad.add(&format!("{place}.runtime"), "only node22 is available");
            None
        }
    };
    let config_place = format!("{place}.config");
    let empty = Fields::new();
    let config = object(fields.get("config"), &config_place, bad).unwrap_or(&empty);
    const TIMEOUT: [&str; 2] = ["timeoutSeconds", "timeout_seconds"];
    const MEMORY: [&str; 2] = ["memoryMb", "memory_mb"];
    only(config, &config_place, &[&TIMEOUT[..], &MEMORY[..]].concat(), bad);
    let schedule = schedule(fields.get("schedule"), &format!("{place}.schedule"), bad);
    let triggers = triggers(fields.get("triggers"), &format!("{place}.triggers"), bad);
    if matches!(schedule, Some(Some(_))) && triggers.as_ref().is_some_and(|all| !all.is_empty()) {
        bad.add(&format!("{place}.triggers"), "use either schedule or triggers");
    }
    Some(FunctionSpec {
        runtime,
        source: source(fields, place, bad),
        timeout_seconds: number(config, &TIMEOUT, 900, &config_place, bad),
        memory_mb: number(config, &MEMORY, 10_240, &config_place, bad),
        schedule,
        triggers,
    })
}

fn number(fields: &Fields, names: &[&str], max: i32, place: &str, bad: &mut Mistakes) -> Option<i32> {
    let value = spelled(fields, names)?;
    let found = value.as_i64().and_then(|n| i32::try_from(n).ok()).filter(|n| (1..=max).contains(n));
    if found.is_none() {
        bad.add(&format!("{place}.{}", names[0]), &format!("a whole number from 1 to {max} is needed"));
    }
    found
}

fn source(fields: &Fields, place: &str, bad: &mut Mistakes) -> Option<Source> {
    let (single, several) = (spelled(fields, &["source"]), spelled(fields, &["files"]));
    match (single, several) {
        (Some(_), Some(_)) => {
            bad.add(place, "use either source, or files and entrypoint");
            None
        }
        (Some(one), None) => {
            if spelled(fields, &["entrypoint"]).is_some() {
                bad.add(&format!("{place}.entrypoint"), "it goes with files");
            }
            content(Some(one), &format!("{place}.source"), "index.mjs", bad).map(Source::File)
        }
        (None, Some(all)) => {
            let files = files(Some(all), &format!("{place}.files"), FUNCTION_FILES_MAX, bad);
            let entrypoint = fields.get("entrypoint").and_then(Value::as_str).unwrap_or_default();
            match sites::path::canonical(entrypoint) {
                Ok(entrypoint) if files.contains_key(&entrypoint) => {
                    Some(Source::Files { files, entrypoint, packages: BTreeMap::new() })
                }
                _ => {
                    bad.add(&format!("{place}.entrypoint"), "name one of the files");
                    None
                }
            }
        }
        (None, None) => {
            if spelled(fields, &["entrypoint"]).is_some() {
                bad.add(&format!("{place}.entrypoint"), "it goes with files");
            }
            None
        }
    }
}

/// Absent stays, null takes away.
fn schedule(value: Option<&Value>, place: &str, bad: &mut Mistakes) -> Option<Option<String>> {
    match value? {
        Value::Null => Some(None),
        Value::String(text) if interval_minutes(text).is_some() => Some(Some(text.trim().to_owned())),
        _ => {
            bad.add(place, "five fields of cron are needed, such as */15 * * * *");
            None
        }
    }
}
