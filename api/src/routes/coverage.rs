//! The routes that are really served, against the catalogue that clients and documents are made from.

use std::collections::BTreeSet;

use super::all;

/// Routes without an entry in the catalogue, each with its reason.
const UNLISTED: [(&str, &str); 17] = [
    // Stripe calls it; no client does.
    ("POST", "/webhooks/v1/stripe"),
    // A page for a person's browser; its button calls the route of the same path.
    ("GET", "/billing/v1/email-confirmations"),
    // What later published clients read instead of the wallet's list; ours use the older route.
    ("GET", "/projects/v1"),
    ("GET", "/projects/v1/{}"),
    // A function answers every method, and every path below its own.
    ("GET", "/functions/v1/{}"),
    ("PUT", "/functions/v1/{}"),
    ("PATCH", "/functions/v1/{}"),
    ("DELETE", "/functions/v1/{}"),
    ("GET", "/functions/v1/{}/{}"),
    ("POST", "/functions/v1/{}/{}"),
    ("PUT", "/functions/v1/{}/{}"),
    ("PATCH", "/functions/v1/{}/{}"),
    ("DELETE", "/functions/v1/{}/{}"),
    // The same as with a slash at the end.
    (ANY, "/rest/v1"),
    (ANY, "/admin/v1/rest"),
    // There is nothing below a table, which is said in the dialect's own words.
    (ANY, "/rest/v1/{}/{}"),
    (ANY, "/admin/v1/rest/{}/{}"),
];

/// A route that answers every method, be it to refuse it.
const ANY: &str = "ANY";

/// `(method, path)` of every route. axum does not list them, but its debug form shows them: a `path => id`
/// table and a method table per id. A change of that form fails the test loudly, since nothing would be
/// found.
fn served() -> BTreeSet<(String, String)> {
    let shown = format!("{:?}", all());
    let paths: Vec<(String, String)> = between_all(&shown, "RouteId(", ")")
        .into_iter()
        .filter_map(|(id, rest)| {
            let path = rest.strip_prefix(": \"")?.split('"').next()?;
            Some((id.to_owned(), path.to_owned()))
        })
        .collect();
    let mut found = BTreeSet::new();
    for (id, rest) in between_all(&shown, "RouteId(", ")") {
        let Some(methods) = rest.strip_prefix(": MethodRouter(") else { continue };
        let (_, path) = paths.iter().find(|(one, _)| *one == id).expect("each route has a path");
        let (_, otherwise) = methods.split_once(" fallback: ").expect("each route has a fallback");
        if !otherwise.starts_with("Default") {
            found.insert((ANY.to_owned(), unnamed(path)));
        }
        for method in ["get", "post", "put", "patch", "delete"] {
            let (_, after) = methods.split_once(&format!(" {method}: ")).expect("each method is shown");
            if !after.starts_with("None") {
                let path = match (method, path.as_str()) {
                    // A key may have slashes, so the end of that path is read by the handler.
                    ("post", "/storage/v1/blob/{*key}") => "/storage/v1/blob/{key}/sign",
                    (_, path) => path,
                };
                found.insert((method.to_uppercase(), unnamed(path)));
            }
        }
    }
    found
}

/// The path with `{}` for each parameter: what they are called inside is nobody's business.
fn unnamed(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

fn between_all<'a>(text: &'a str, start: &str, end: &str) -> Vec<(&'a str, &'a str)> {
    text.split(start).skip(1).filter_map(|part| part.split_once(end)).collect()
}

#[test]
fn the_catalogue_and_the_routes_are_the_same_list() {
    let served = served();
    assert!(served.contains(&("GET".into(), "/health".into())), "{served:?}");
    let listed: BTreeSet<_> = catalogue::OPERATIONS
        .iter()
        .map(|operation| (operation.method.as_str().to_owned(), unnamed(operation.path)))
        .collect();
    let answers_any = |path: &str| served.contains(&(ANY.to_owned(), path.to_owned()));
    let unserved: Vec<_> = listed.difference(&served).filter(|(_, path)| !answers_any(path)).collect();
    let listed_paths: BTreeSet<&str> = listed.iter().map(|(_, path)| path.as_str()).collect();
    let unlisted: Vec<_> = served
        .difference(&listed)
        // The later name of `/deploy/v2`, served by the same handlers.
        .filter(|(_, path)| !path.starts_with("/apply/v1/"))
        .filter(|(method, path)| method != ANY || !listed_paths.contains(path.as_str()))
        .filter(|(method, path)| !UNLISTED.contains(&(method.as_str(), path.as_str())))
        .collect();
    assert!(unserved.is_empty() && unlisted.is_empty(), "unserved {unserved:?}, unlisted {unlisted:?}");
}
