//! `routes` and `checks`.

use std::collections::BTreeSet;

use actors::deploy::Check;
use serde_json::Value;
use store::releases::{Route, sort_routes};
use types::Code;

use super::functions::is_name;
use super::read::{Mistakes, list, object, only, strings};

/// # Source
/// Wire contract 02 section 4.1, "Limits".
const ROUTES_MAX: usize = 100;
const PATTERN_BYTES_MAX: usize = 256;
const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"];
const CHECKS_MAX: usize = 50;

/// The whole table, sorted. Null is absent: the base's routes stay.
pub(super) fn routes(value: Option<&Value>, bad: &mut Mistakes) -> Option<Vec<Route>> {
    let fields = object(value, "routes", bad)?;
    only(fields, "routes", &["replace"], bad);
    fields.get("replace").filter(|value| !value.is_null())?;
    let items = list(fields.get("replace"), "routes.replace", bad);
    if items.len() > ROUTES_MAX {
        bad.add("routes.replace", &format!("at most {ROUTES_MAX} routes are possible"));
        return None;
    }
    let mut routes = Vec::with_capacity(items.len());
    let mut taken: BTreeSet<(String, &str)> = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let place = format!("routes.replace[{i}]");
        let Some(route) = route(item, &place, bad) else { continue };
        // GET answers HEAD as well; two routes of one pattern share no method.
        let twice = METHODS
            .into_iter()
            .filter(|method| route.methods.as_ref().is_none_or(|all| all.iter().any(|m| m == method)))
            .filter(|method| !taken.insert((route.pattern.clone(), method)))
            .count();
        if twice > 0 {
            bad.add(&place, "another route has this pattern and method");
        }
        routes.push(route);
    }
    sort_routes(&mut routes);
    Some(routes)
}

fn route(item: &Value, place: &str, bad: &mut Mistakes) -> Option<Route> {
    let Some(fields) = object(Some(item), place, bad) else {
        if item.is_null() {
            bad.add(place, "an object is needed here");
        }
        return None;
    };
    only(fields, place, &["pattern", "methods", "target"], bad);
    let pattern = match fields.get("pattern").and_then(Value::as_str).map(pattern) {
        Some(Ok(pattern)) => Some(pattern),
        Some(Err(why)) => {
            bad.add(&format!("{place}.pattern"), why);
            None
        }
        None => {
            bad.add(&format!("{place}.pattern"), "a text is needed here");
            None
        }
    };
    let methods = methods(fields.get("methods"), &format!("{place}.methods"), bad);
    let target = target(fields.get("target"), &format!("{place}.target"), bad);
    Some(Route { pattern: pattern?, methods: methods?, target: target? })
}

/// The pattern as it is kept: an exact one without a slash at its end.
fn pattern(text: &str) -> Result<String, &'static str> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err("a pattern has at most 256 bytes");
    }
    if !text.starts_with('/') {
        return Err("a pattern begins with a slash");
    }
    if text.contains(['?', '#', '%']) {
        return Err("a pattern is a path as visitors see it: no query, no fragment, nothing encoded");
    }
    let (path, is_prefix) = match text.strip_suffix("/*") {
        Some("") => return Err("/* alone would take the whole site"),
        Some(path) => (path, true),
        None => (text, false),
    };
    if path.contains('*') {
        return Err("a star stands only at the end, after a slash");
    }
    let bare = match path {
        "/" => "/",
        path => path.strip_suffix('/').unwrap_or(path),
    };
    if bare != "/" {
        let relative = &bare[1..];
        if sites::path::canonical(relative).map_err(|why| why.0)? != relative {
            return Err("a pattern is in Unicode's composed form");
        }
    }
    Ok(if is_prefix { format!("{bare}/*") } else { bare.to_owned() })
}

/// Sorted. Outer None: not valid. Inner None: every method.
fn methods(value: Option<&Value>, place: &str, bad: &mut Mistakes) -> Option<Option<Vec<String>>> {
    if value.is_none_or(Value::is_null) {
        return Some(None);
    }
    let mut methods = Vec::new();
    for (here, method) in strings(value, place, bad) {
        if !METHODS.contains(&method) {
            bad.add(&here, &format!("use some of {}", METHODS.join(", ")));
        }
        methods.push(method.to_owned());
    }
    if methods.is_empty() {
        bad.add(place, "name at least one method, or leave it out for all");
        return None;
    }
    methods.sort();
    methods.dedup();
    Some(Some(methods))
}

fn target(value: Option<&Value>, place: &str, bad: &mut Mistakes) -> Option<String> {
    let Some(fields) = object(value, place, bad) else {
        if value.is_none_or(Value::is_null) {
            bad.add(place, "a function is needed here: {\"type\": \"function\", \"name\": ..}");
        }
        return None;
    };
    match fields.get("type").and_then(Value::as_str) {
        Some("function") => {}
        Some("static") => {
            bad.push(Code::FeatureDisabled, place, "this server does not route to files yet".to_owned());
            return None;
        }
        _ => {
            bad.add(&format!("{place}.type"), "use function");
            return None;
        }
    }
    only(fields, place, &["type", "name"], bad);
    let name = fields.get("name").and_then(Value::as_str).filter(|name| is_name(name));
    if name.is_none() {
        bad.add(&format!("{place}.name"), "name a function");
    }
    name.map(str::to_owned)
}

pub(super) fn checks(value: Option<&Value>, bad: &mut Mistakes) -> Vec<Check> {
    let items = list(value, "checks", bad);
    if items.len() > CHECKS_MAX {
        bad.add("checks", &format!("at most {CHECKS_MAX} checks are possible"));
        return Vec::new();
    }
    let read = items.iter().enumerate();
    read.filter_map(|(i, item)| check(item, &format!("checks[{i}]"), bad)).collect()
}

/// Clients take any object for a check; what is not an HTTP look is kept by its name.
fn check(item: &Value, place: &str, bad: &mut Mistakes) -> Option<Check> {
    let fields = object(Some(item), place, bad)?;
    only(fields, place, &["name", "http"], bad);
    let name = fields.get("name").and_then(Value::as_str).filter(|name| (1..=100).contains(&name.len()));
    if name.is_none() {
        bad.add(&format!("{place}.name"), "a text of 1 to 100 bytes is needed");
    }
    let mut check = Check { name: name?.to_owned(), path: None, method: "GET".to_owned(), status: 200 };
    let http_place = format!("{place}.http");
    let Some(http) = object(fields.get("http"), &http_place, bad) else { return Some(check) };
    only(http, &http_place, &["path", "method", "expect"], bad);
    match http.get("path").and_then(Value::as_str).filter(|path| path.starts_with('/')) {
        Some(path) => check.path = Some(path.to_owned()),
        None => bad.add(&format!("{http_place}.path"), "a path that begins with a slash is needed"),
    }
    match http.get("method") {
        None | Some(Value::Null) => {}
        Some(Value::String(method)) if METHODS.contains(&method.as_str()) => check.method.clone_from(method),
        Some(_) => bad.add(&format!("{http_place}.method"), "this is not a method"),
    }
    let expect_place = format!("{http_place}.expect");
    if let Some(expect) = object(http.get("expect"), &expect_place, bad) {
        only(expect, &expect_place, &["status"], bad);
        match expect.get("status").map(|status| status.as_u64().and_then(|n| u16::try_from(n).ok())) {
            None => {}
            Some(Some(status)) if (100..600).contains(&status) => check.status = status,
            Some(_) => bad.add(&format!("{expect_place}.status"), "this is not a status"),
        }
    }
    Some(check)
}
