//! What a CI session may do. Pure.

use actors::deploy::RouteDiff;
use serde_json::{Value, json};
use types::{Code, Problem, ProjectId};

use super::{CiSession, SESSION_PREFIX, out_of_scope};
use crate::deploy::PlanRequest;

/// Whether a bearer token is meant as a CI session's.
pub fn is_session_token(token: &str) -> bool {
    token.starts_with(SESSION_PREFIX)
}

/// Whether a CI session may call that route at all. Whatever is not listed is refused.
///
/// # Source
/// Wire contract 02 section 8.4.
pub fn is_callable(method: &str, path: &str) -> bool {
    let path = path.strip_prefix('/').unwrap_or(path);
    let parts: Vec<&str> = path.split('/').collect();
    let method = if method == "HEAD" { "GET" } else { method };
    match (method, parts.as_slice()) {
        ("POST", ["content", "v1", "plans"] | ["content", "v1", "plans", _, "commit"]) => true,
        (_, ["deploy", "v2", rest @ ..] | ["apply", "v1", rest @ ..]) => matches!(
            (method, rest),
            ("POST", ["plans"] | ["plans", _, "commit"] | ["operations", _, "resume"])
                | ("GET", ["operations"] | ["operations", _] | ["operations", _, "events"])
        ),
        _ => false,
    }
}

/// What a workflow may ask to be planned: parts are refused by their presence, whatever they hold.
pub(crate) fn check_request(
    request: &PlanRequest,
    project: ProjectId,
    session: &CiSession,
) -> Result<(), Problem> {
    if project != session.project {
        return Err(out_of_scope().detail("project_id", session.project.to_string()));
    }
    if request.manifest_ref.is_some() {
        return Err(forbidden("manifest_ref"));
    }
    let fields = request.spec.as_object().into_iter().flatten();
    for (name, value) in fields {
        let allowed = match name.as_str() {
            "project" | "project_id" | "database" | "functions" | "site" => true,
            "base" => *value == json!({ "release": "current" }),
            "routes" => !session.route_scopes.is_empty() && scoped_routes(value),
            _ => false,
        };
        if !allowed {
            return Err(forbidden(name));
        }
    }
    Ok(())
}

/// With scopes, routes are a whole table or nothing.
fn scoped_routes(value: &Value) -> bool {
    value.get("replace").is_some_and(Value::is_array)
}

/// Every route that comes, goes or changes lies within a scope. Those outside must stay as they are.
pub(crate) fn check_routes(diff: &RouteDiff, session: &CiSession) -> Result<(), Problem> {
    let changed = diff.changed.iter().map(|change| &change.after.pattern);
    let patterns = diff.added.iter().chain(&diff.removed).map(|route| &route.pattern).chain(changed);
    for pattern in patterns {
        if !session.route_scopes.iter().any(|scope| covers(scope, pattern)) {
            return Err(forbidden("routes")
                .detail("pattern", pattern.as_str())
                .detail("route_scopes", session.route_scopes.clone()));
        }
    }
    Ok(())
}

/// `/api/*` covers itself and every pattern below; anything else covers itself.
fn covers(scope: &str, pattern: &str) -> bool {
    let below = |prefix: &str| pattern.starts_with(prefix) && pattern.len() > prefix.len();
    scope == pattern || scope.strip_suffix('*').is_some_and(below)
}

fn forbidden(field: &str) -> Problem {
    Problem::new(Code::CiForbiddenSpecField, format!("a workflow may not deploy {field} under this binding"))
        .extra("resource", field)
        .detail("field", field)
}

#[cfg(test)]
mod tests {
    use store::releases::Route;
    use types::{CiBindingId, OsEntropy};

    use super::*;

    fn session(scopes: &[&str]) -> CiSession {
        CiSession {
            binding: CiBindingId::new(&OsEntropy),
            project: ProjectId::new(&OsEntropy),
            route_scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        }
    }

    fn ask(spec: Value) -> PlanRequest {
        PlanRequest { spec, manifest_ref: None, idempotency_key: None, dry_run: false }
    }

    #[test]
    fn only_deploy_routes_are_callable() {
        for (method, path) in [
            ("POST", "/content/v1/plans"),
            ("POST", "/content/v1/plans/cplan_1/commit"),
            ("POST", "/deploy/v2/plans"),
            ("POST", "/apply/v1/plans/plan_1/commit"),
            ("GET", "/deploy/v2/operations"),
            ("HEAD", "/deploy/v2/operations/op_1"),
            ("GET", "/apply/v1/operations/op_1/events"),
            ("POST", "/deploy/v2/operations/op_1/resume"),
        ] {
            assert!(is_callable(method, path), "{method} {path}");
        }
        for (method, path) in [
            ("GET", "/deploy/v2/plans"),
            ("POST", "/deploy/v2/operations"),
            ("POST", "/deploy/v2/plans/"),
            ("POST", "/deploy/v2/releases/rel_1/promote"),
            ("GET", "/deploy/v2/releases/active"),
            ("POST", "/storage/v1/uploads/upl_1/complete"),
            ("POST", "/projects/v1"),
            ("POST", "//deploy/v2/plans"),
            ("POST", "/x/deploy/v2/plans"),
            ("POST", "/deploy/v2/plans/a/b/commit"),
            ("GET", "/ci/v1/bindings"),
        ] {
            assert!(!is_callable(method, path), "{method} {path}");
        }
    }

    // H03: what a workflow may put into a spec.
    #[test]
    fn parts_are_refused_by_their_presence() {
        let plain = session(&[]);
        let id = plain.project.to_string();
        let allowed = [
            json!({ "project": id, "site": { "replace": {} } }),
            json!({ "project": id, "base": { "release": "current" }, "functions": {}, "database": {} }),
        ];
        for spec in allowed {
            assert!(check_request(&ask(spec.clone()), plain.project, &plain).is_ok(), "{spec}");
        }
        for (field, value) in [
            ("routes", Value::Null),
            ("routes", json!({ "replace": [] })),
            ("checks", json!([])),
            ("secrets", json!({})),
            ("subdomains", json!({})),
            ("assets", Value::Null),
            ("base", Value::Null),
            ("base", json!({ "release": "empty" })),
            ("base", json!({ "release": "current", "release_id": "rel_1" })),
        ] {
            let mut spec = json!({ "project": id });
            spec[field] = value;
            let refused = check_request(&ask(spec.clone()), plain.project, &plain).unwrap_err();
            assert_eq!(refused.code, Code::CiForbiddenSpecField, "{spec}");
            assert_eq!(refused.extra["resource"], field);
        }
        let with_file = PlanRequest { manifest_ref: Some(json!({})), ..ask(json!({ "project": id })) };
        assert!(check_request(&with_file, plain.project, &plain).is_err());
        let other = ProjectId::new(&OsEntropy);
        let foreign = check_request(&ask(json!({})), other, &plain).unwrap_err();
        assert_eq!(foreign.code, Code::CiInsufficientScope);
    }

    #[test]
    fn routes_change_within_their_scopes_only() {
        let scoped = session(&["/api/*", "/hook"]);
        let spec = json!({ "project": scoped.project, "routes": { "replace": [] } });
        assert!(check_request(&ask(spec), scoped.project, &scoped).is_ok());
        let empty = json!({ "project": scoped.project, "routes": null });
        assert!(check_request(&ask(empty), scoped.project, &scoped).is_err());
        let added = |pattern: &str| RouteDiff {
            added: vec![Route { pattern: pattern.to_owned(), methods: None, target: "f".to_owned() }],
            ..RouteDiff::default()
        };
        for pattern in ["/api/*", "/api/v1/*", "/api/users", "/hook"] {
            assert!(check_routes(&added(pattern), &scoped).is_ok(), "{pattern}");
        }
        for pattern in ["/api", "/apis", "/hook/*", "/hooks", "/admin/*", "/a/*"] {
            assert!(check_routes(&added(pattern), &scoped).is_err(), "{pattern}");
        }
        let removed = RouteDiff { removed: added("/admin/*").added, ..RouteDiff::default() };
        assert!(check_routes(&removed, &scoped).is_err(), "what is outside must stay");
    }
}
