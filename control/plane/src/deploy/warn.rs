//! What the author of a release should know before it goes live.

use std::collections::BTreeSet;

use actors::deploy::{FileChange, Parts, SiteDiff, Spec};
use sites::routes::{Routed, route};

use super::compare::Ground;

/// Published clients stop before the upload when one asks for confirmation, and most of them have no way to
/// give it: only what would fail at the commit asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub code: &'static str,
    /// `info`, `warn` or `high`.
    pub severity: &'static str,
    pub requires_confirmation: bool,
    pub message: String,
    pub affected: Vec<String>,
}

/// From so many entries on, a table of routes is nearly full.
const ROUTES_NEAR: usize = 90;
/// Paths that one warning names.
const AFFECTED_MAX: usize = 50;

/// # Source
/// Wire contract 02 section 4.6.
pub(super) fn warnings(
    spec: &Spec,
    ground: &Ground,
    after: &Parts,
    site: &SiteDiff,
    manifest_applied: bool,
) -> Vec<Warning> {
    let mut all = Vec::new();
    if ground.live.active_release.is_none() {
        all.push(info("FIRST_DEPLOY", "This is the project's first deploy.", Vec::new()));
    }
    let (require, _) = spec.secret_keys();
    let missing: Vec<String> = require.iter().filter(|key| !ground.keys.contains(key)).cloned().collect();
    if !missing.is_empty() {
        let message =
            format!("The project has no secret {}; the commit will be refused.", missing.join(", "));
        let warning = info("MISSING_REQUIRED_SECRET", &message, missing);
        all.push(Warning { severity: "high", requires_confirmation: true, ..warning });
    }
    if manifest_applied {
        let message = "manifest.json is the authorisation manifest: it is applied to the database and not \
            part of the site.";
        all.push(info("MANIFEST_JSON_APPLIED", message, vec!["manifest.json".to_owned()]));
    }
    routed(spec, after, &mut all);
    let changed = |change: &&FileChange| {
        change.old.sha256 != change.new.sha256 && sites::is_fingerprinted(&change.new.path)
    };
    let affected: Vec<String> =
        site.changed.iter().filter(changed).map(|change| change.new.path.clone()).collect();
    if !affected.is_empty() {
        let message = "Names that look like digests get new bytes; browsers may keep the old ones.";
        all.push(info("STATIC_IMMUTABLE_PATH_CHANGED", message, affected));
    }
    all
}

fn routed(spec: &Spec, after: &Parts, all: &mut Vec<Warning>) {
    if after.routes.is_empty() {
        return;
    }
    let targets: BTreeSet<&String> = after.routes.iter().map(|route| &route.target).collect();
    let targets: Vec<String> = targets.into_iter().cloned().collect();
    if spec.routes.is_none() {
        let message = "The base's routes stay and lead to the functions of this release.";
        all.push(info("ROUTE_TARGET_CARRIED_FORWARD", message, targets.clone()));
    }
    let message = "These functions answer visitors without any key.";
    all.push(info("PUBLIC_ROUTED_FUNCTION", message, targets));
    let (mut exact, mut below, mut beside) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for path in after.files.keys() {
        for shown in shown_at(path) {
            match route(&after.routes, &shown, "GET") {
                Routed::Function(route) if route.prefix().is_some() => drop(below.insert(shown)),
                Routed::Function(_) => drop(exact.insert(shown)),
                Routed::Static | Routed::NotAllowed(_) => {
                    let other =
                        |method: &&str| matches!(route(&after.routes, &shown, method), Routed::Function(_));
                    if ["POST", "PUT", "PATCH", "DELETE"].iter().any(other) {
                        beside.insert(shown);
                    }
                }
            }
        }
    }
    let warn = |code, message: &str, paths: BTreeSet<String>| Warning {
        severity: "warn",
        ..info(code, message, paths.into_iter().take(AFFECTED_MAX).collect())
    };
    if !exact.is_empty() {
        all.push(warn("ROUTE_SHADOWS_STATIC_PATH", "Functions answer where the site has files.", exact));
    }
    if !below.is_empty() {
        let message = "A route for everything below a path hides files of the site.";
        all.push(warn("WILDCARD_ROUTE_SHADOWS_STATIC_PATHS", message, below));
    }
    if !beside.is_empty() {
        let message = "GET shows the file, other methods call the function.";
        let paths = beside.into_iter().take(AFFECTED_MAX).collect();
        all.push(info("METHOD_SPECIFIC_ROUTE_ALLOWS_GET_STATIC_FALLBACK", message, paths));
    }
    if after.routes.len() >= ROUTES_NEAR {
        let message = format!("The table has {} of 100 possible routes.", after.routes.len());
        all.push(Warning { severity: "warn", ..info("ROUTE_TABLE_NEAR_LIMIT", &message, Vec::new()) });
    }
}

/// The URL paths that show a file.
fn shown_at(path: &str) -> Vec<String> {
    let mut shown = vec![format!("/{path}")];
    if let Some(folder) = path.strip_suffix("index.html").filter(|f| f.is_empty() || f.ends_with('/')) {
        shown.push(format!("/{folder}"));
    } else if let Some(bare) = path.strip_suffix(".html") {
        shown.push(format!("/{bare}"));
    }
    shown
}

fn info(code: &'static str, message: &str, affected: Vec<String>) -> Warning {
    let message = message.to_owned();
    Warning { code, severity: "info", requires_confirmation: false, message, affected }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use store::releases::Route;

    use super::*;

    #[test]
    fn routes_over_files_are_told_by_kind() {
        let route = |pattern: &str, methods: Option<&[&str]>| Route {
            pattern: pattern.into(),
            methods: methods.map(|m| m.iter().map(|m| (*m).to_owned()).collect()),
            target: "api".into(),
        };
        let file = |path: &str| {
            let file = store::releases::ReleaseFile {
                path: path.to_owned(),
                sha256: "0".repeat(64).parse().unwrap(),
                size_bytes: 1,
                content_type: "text/html".to_owned(),
                revalidate: false,
            };
            (path.to_owned(), file)
        };
        let after = Parts {
            files: ["about.html", "docs/a.txt", "form.html", "free.html"].map(file).into_iter().collect(),
            routes: vec![route("/about", None), route("/form", Some(&["POST"])), route("/docs/*", None)],
            ..Parts::default()
        };
        let spec: Spec = serde_json::from_value(json!({
            "project": "prj_0123456789abcdef0123456789abcdef", "base": {"release": "current"} }))
        .unwrap();
        let mut all = Vec::new();
        routed(&spec, &after, &mut all);
        let of = |code: &str| all.iter().find(|w| w.code == code).map(|w| w.affected.clone());
        assert_eq!(of("ROUTE_SHADOWS_STATIC_PATH"), Some(vec!["/about".to_owned()]));
        assert_eq!(of("WILDCARD_ROUTE_SHADOWS_STATIC_PATHS"), Some(vec!["/docs/a.txt".to_owned()]));
        let beside = of("METHOD_SPECIFIC_ROUTE_ALLOWS_GET_STATIC_FALLBACK");
        assert_eq!(beside, Some(vec!["/form".to_owned()]));
        assert!(of("ROUTE_TARGET_CARRIED_FORWARD").is_some() && of("PUBLIC_ROUTED_FUNCTION").is_some());
        assert!(all.iter().all(|w| !w.requires_confirmation));
    }
}
