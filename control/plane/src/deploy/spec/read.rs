//! Reading JSON strictly, and remembering every mistake.

use serde_json::{Map, Value, json};
use types::{Code, Problem};

use super::deploy_problem;

pub(super) type Fields = Map<String, Value>;

/// Mistakes of one answer; a spec with more is repaired in rounds.
const MISTAKES_MAX: usize = 100;
/// Entries of any list.
const LIST_MAX: usize = 50_000;

struct Mistake {
    code: Code,
    place: String,
    message: String,
}

/// What is wrong with a spec so far, in the order in which it was found.
#[derive(Default)]
pub(super) struct Mistakes {
    found: Vec<Mistake>,
    more: usize,
}

impl Mistakes {
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn add(&mut self, place: &str, why: &str) {
        self.push(Code::InvalidSpec, place, format!("{place}: {why}"));
    }

    pub fn push(&mut self, code: Code, place: &str, message: String) {
        if self.found.len() >= MISTAKES_MAX {
            self.more += 1;
            return;
        }
        self.found.push(Mistake { code, place: place.to_owned(), message });
    }

    /// The first mistake speaks; all of them are listed.
    pub fn into_problem(self) -> Option<Problem> {
        let first = self.found.first()?;
        let all: Vec<Value> = self
            .found
            .iter()
            .map(|m| json!({ "code": m.code.as_str(), "resource": m.place, "message": m.message }))
            .collect();
        let problem = deploy_problem(first.code, "validate", first.message.as_str())
            .extra("resource", first.place.as_str())
            .extra("fix", json!({ "action": "set_field", "path": first.place }))
            .extra("errors", all);
        Some(if self.more > 0 { problem.detail("more_errors", self.more) } else { problem })
    }
}

/// The object at `place`; null counts as absent.
pub(super) fn object<'a>(value: Option<&'a Value>, place: &str, bad: &mut Mistakes) -> Option<&'a Fields> {
    let value = value.filter(|value| !value.is_null())?;
    let fields = value.as_object();
    if fields.is_none() {
        bad.add(place, "an object is needed here");
    }
    fields
}

/// Every key that is not known is a mistake.
pub(super) fn only(fields: &Fields, place: &str, known: &[&str], bad: &mut Mistakes) {
    for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
        bad.add(&under(place, key), "this key is not known");
    }
}

/// Keys of later versions: a mistake of its own kind when they ask for something.
pub(super) fn later(fields: &Fields, place: &str, names: &[&str], bad: &mut Mistakes) {
    for name in names {
        if fields.get(*name).is_some_and(asks) {
            let place = under(place, name);
            bad.push(Code::FeatureDisabled, &place, format!("this server does not deploy {place} yet"));
        }
    }
}

fn asks(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => fields.values().any(asks),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => true,
    }
}

pub(super) fn under(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

pub(super) fn list<'a>(value: Option<&'a Value>, place: &str, bad: &mut Mistakes) -> &'a [Value] {
    let Some(value) = value.filter(|value| !value.is_null()) else { return &[] };
    match value.as_array() {
        Some(items) if items.len() <= LIST_MAX => items,
        Some(_) => {
            bad.add(place, "the list is too long");
            &[]
        }
        None => {
            bad.add(place, "a list is needed here");
            &[]
        }
    }
}

/// The texts of a list, with their places.
pub(super) fn strings<'a>(
    value: Option<&'a Value>,
    place: &str,
    bad: &mut Mistakes,
) -> Vec<(String, &'a str)> {
    let mut texts = Vec::new();
    for (i, item) in list(value, place, bad).iter().enumerate() {
        let here = format!("{place}[{i}]");
        match item.as_str() {
            Some(text) => texts.push((here, text)),
            None => bad.add(&here, "a text is needed here"),
        }
    }
    texts
}

/// The first of the spellings that is there and not null.
pub(super) fn spelled<'a>(fields: &'a Fields, names: &[&str]) -> Option<&'a Value> {
    names.iter().find_map(|name| fields.get(*name)).filter(|value| !value.is_null())
}

pub(super) fn boolean(fields: &Fields, name: &str, place: &str, bad: &mut Mistakes) -> bool {
    match fields.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(value)) => *value,
        Some(_) => {
            bad.add(&under(place, name), "true or false is needed here");
            false
        }
    }
}
