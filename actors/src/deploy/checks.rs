//! Looks at a release that has gone live. What they find is told and changes nothing.

use serde_json::{Value, json};
use sites::Resolution;
use sites::routes::Routed;
use store::releases::ReleaseFile;

use super::{Check, Files, Parts};

struct Site<'a>(&'a Files);

impl sites::Lookup for Site<'_> {
    type File = ReleaseFile;
    fn find(&self, path: &str) -> Option<(&str, &ReleaseFile)> {
        self.0.get_key_value(path).map(|(path, file)| (path.as_str(), file))
    }
}

/// A log line for each check.
pub(super) fn looked(checks: &[Check], parts: &Parts) -> Vec<Value> {
    let line = |check: &Check| {
        let (stream, line) = match &check.path {
            None => ("stdout", "nothing to look at".to_owned()),
            Some(path) => {
                let found = status(path, &check.method, parts);
                let stream = if found == check.status { "stdout" } else { "stderr" };
                (stream, format!("{} {path} answers {found}, expected {}", check.method, check.status))
            }
        };
        json!({ "type": "log", "resource": format!("checks.{}", check.name), "stream": stream, "line": line })
    };
    checks.iter().map(line).collect()
}

/// What a visitor gets, by the rules that hosting goes by.
fn status(path: &str, method: &str, parts: &Parts) -> u16 {
    let Ok(decoded) = sites::path::decode(path) else { return 400 };
    match sites::routes::route(&parts.routes, &decoded, method) {
        // Functions do not run yet.
        Routed::Function(_) => return 503,
        Routed::NotAllowed(_) => return 405,
        Routed::Static => {}
    }
    if !matches!(method, "GET" | "HEAD") {
        return 405;
    }
    match sites::resolve(&Site(&parts.files), &decoded) {
        Resolution::File { .. } => 200,
        Resolution::AddSlash => 301,
        Resolution::NotFound(_) => 404,
    }
}
