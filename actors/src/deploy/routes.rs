//! What is between two tables of routes.

use serde_json::json;
use sha2::{Digest, Sha256};
use store::releases::Route;
use types::Sha256Hex;

/// A route before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteChanged {
    pub before: Route,
    pub after: Route,
}

/// Each list in the order of its table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteDiff {
    pub added: Vec<Route>,
    pub removed: Vec<Route>,
    pub changed: Vec<RouteChanged>,
}

impl RouteDiff {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// Entries of one pattern that stand alone on both sides are the same route, changed; where several share a
/// pattern each is a route of its own.
pub fn route_diff(from: &[Route], to: &[Route]) -> RouteDiff {
    let mut diff = RouteDiff::default();
    let of = |table: &[Route], pattern: &str| -> Vec<Route> {
        table.iter().filter(|route| route.pattern == pattern).cloned().collect()
    };
    let mut seen: Vec<&str> = Vec::new();
    for route in from.iter().chain(to) {
        if seen.contains(&route.pattern.as_str()) {
            continue;
        }
        seen.push(&route.pattern);
        let (before, after) = (of(from, &route.pattern), of(to, &route.pattern));
        if let ([one], [other]) = (before.as_slice(), after.as_slice()) {
            if one != other {
                diff.changed.push(RouteChanged { before: one.clone(), after: other.clone() });
            }
            continue;
        }
        diff.removed.extend(before.iter().filter(|route| !after.contains(route)).cloned());
        diff.added.extend(after.into_iter().filter(|route| !before.contains(route)));
    }
    diff
}

/// None for an empty table.
///
/// # Source
/// Wire contract 02 section 4.8.
pub fn routes_digest(routes: &[Route]) -> Option<Sha256Hex> {
    if routes.is_empty() {
        return None;
    }
    // Keys in the order of the contract: the map keeps it.
    let text = serde_json::Value::from(routes.iter().map(route_view).collect::<Vec<_>>()).to_string();
    Some(Sha256Hex::from_bytes(Sha256::digest(text).into()))
}

/// A route as inventories show it.
pub fn route_view(route: &Route) -> serde_json::Value {
    json!({
        "pattern": route.pattern,
        "kind": if route.prefix().is_some() { "prefix" } else { "exact" },
        "prefix": route.prefix(),
        "methods": route.methods,
        "target": { "type": "function", "name": route.target },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(pattern: &str, methods: Option<&[&str]>, target: &str) -> Route {
        let methods = methods.map(|list| list.iter().map(|m| (*m).to_owned()).collect());
        Route { pattern: pattern.into(), methods, target: target.into() }
    }

    #[test]
    fn a_pattern_that_stays_alone_is_changed_and_shared_ones_come_and_go() {
        let from = [route("/a", None, "f"), route("/b/*", Some(&["GET"]), "f"), route("/c", None, "f")];
        let to = [
            route("/a", None, "g"),
            route("/b/*", Some(&["GET"]), "f"),
            route("/b/*", Some(&["POST"]), "g"),
            route("/d", None, "f"),
        ];
        let diff = route_diff(&from, &to);
        assert_eq!(diff.added, [to[2].clone(), to[3].clone()]);
        assert_eq!(diff.removed, [from[2].clone()]);
        assert_eq!(diff.changed, [RouteChanged { before: from[0].clone(), after: to[0].clone() }]);
        assert!(route_diff(&to, &to).is_empty());
    }

    #[test]
    fn the_digest_is_that_of_the_compact_entries() {
        assert_eq!(routes_digest(&[]), None);
        let text = concat!(
            r#"[{"pattern":"/api/*","kind":"prefix","prefix":"/api/","methods":["GET"],"#,
            r#""target":{"type":"function","name":"api"}}]"#
        );
        let digest = routes_digest(&[route("/api/*", Some(&["GET"]), "api")]);
        assert_eq!(digest, Some(Sha256Hex::from_bytes(Sha256::digest(text).into())));
    }
}
