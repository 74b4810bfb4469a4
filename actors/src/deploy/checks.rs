//! Looks at a release that has gone live. What they find is told and changes nothing.

use std::sync::Arc;

use bytes::Bytes;
use functions::Call;
use serde_json::{Value, json};
use sites::Resolution;
use sites::routes::Routed;
use store::releases::ReleaseFile;
use types::ProjectId;

use super::{Check, Files, Parts};
use crate::Deps;

struct Site<'a>(&'a Files);

impl sites::Lookup for Site<'_> {
    type File = ReleaseFile;
    fn find(&self, path: &str) -> Option<(&str, &ReleaseFile)> {
        self.0.get_key_value(path).map(|(path, file)| (path.as_str(), file))
    }
}

/// Where to look.
pub(super) struct Looked<'a> {
    pub deps: &'a Arc<Deps>,
    pub project: ProjectId,
    /// Of the site, without a slash at the end.
    pub url: String,
    pub parts: &'a Parts,
}

/// A log line for each check.
pub(super) async fn looked(checks: &[Check], at: &Looked<'_>) -> Vec<Value> {
    let mut lines = Vec::with_capacity(checks.len());
    for check in checks {
        let (stream, line) = match &check.path {
            None => ("stdout", "nothing to look at".to_owned()),
            Some(path) => {
                let found = status(path, &check.method, at).await;
                let stream = if found == check.status { "stdout" } else { "stderr" };
                (stream, format!("{} {path} answers {found}, expected {}", check.method, check.status))
            }
        };
        let resource = format!("checks.{}", check.name);
        lines.push(json!({ "type": "log", "resource": resource, "stream": stream, "line": line }));
    }
    lines
}

/// What a visitor gets, by the rules that hosting goes by.
async fn status(path: &str, method: &str, at: &Looked<'_>) -> u16 {
    let parts = at.parts;
    let Ok(decoded) = sites::path::decode(path) else { return 400 };
    match sites::routes::route(&parts.routes, &decoded, method) {
        Routed::Function(route) => return called(&route.target, (method, path), at).await,
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

/// What the function answers, asked for real.
async fn called(function: &str, (method, path): (&str, &str), at: &Looked<'_>) -> u16 {
    const UNAVAILABLE: u16 = 503;
    let (Some(host), Some(function)) = (&at.deps.functions, at.parts.functions.get(function)) else {
        return UNAVAILABLE;
    };
    let request_id = format!("req_{}", hex::encode(&at.deps.entropy.secret()[..12]));
    let call = Call {
        headers: vec![("x-run402-request-id".to_owned(), request_id.clone())],
        request_id,
        attempt_id: None,
        method: method.to_owned(),
        url: format!("{}{path}", at.url),
        body: Bytes::new(),
        routed: None,
        depth: 0,
    };
    host.call(at.deps, at.project, function, call).await.map_or(UNAVAILABLE, |reply| reply.status)
}
