//! Which function answers a path, if one does.

use store::releases::Route;

/// What the routes say about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed<'a> {
    /// This route's function answers, whatever it says.
    Function(&'a Route),
    /// The path is routed, the method is not, and a file cannot answer it: the methods that can.
    NotAllowed(Vec<&'a str>),
    /// The files decide.
    Static,
}

/// Matches a decoded path that begins with a slash. The most specific route that takes the method wins: an exact
/// pattern, which knows no difference between `/a` and `/a/`, then the longest prefix. `/a/*` takes what is
/// below `/a/`, not `/a/` itself. `routes` are sorted as stored.
///
/// # Source
/// Wire contract 02 section 10.2, rule 2.
pub fn route<'a>(routes: &'a [Route], path: &str, method: &str) -> Routed<'a> {
    let matching = || routes.iter().filter(|route| fits(route, path));
    if let Some(found) = matching().find(|route| route.takes(method)) {
        return Routed::Function(found);
    }
    if matches!(method, "GET" | "HEAD") || matching().next().is_none() {
        return Routed::Static;
    }
    let mut allowed: Vec<&str> = vec!["GET", "HEAD"];
    allowed.extend(matching().filter_map(|route| route.methods.as_ref()).flatten().map(String::as_str));
    allowed.sort_unstable();
    allowed.dedup();
    Routed::NotAllowed(allowed)
}

fn fits(route: &Route, path: &str) -> bool {
    match route.prefix() {
        Some(prefix) => path.len() > prefix.len() && path.starts_with(prefix),
        None => bare(&route.pattern) == bare(path),
    }
}

fn bare(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some("") | None => path,
        Some(rest) => rest,
    }
}

#[cfg(test)]
mod tests {
    use store::releases::sort_routes;

    use super::*;

    fn table() -> Vec<Route> {
        let route = |pattern: &str, methods: Option<&[&str]>, target: &str| Route {
            pattern: pattern.into(),
            methods: methods.map(|list| list.iter().map(|m| (*m).to_owned()).collect()),
            target: target.into(),
        };
        let mut routes = vec![
            route("/admin/*", None, "all"),
            route("/admin/deep/*", Some(&["GET"]), "deep"),
            route("/login", Some(&["POST"]), "login"),
            route("/", Some(&["POST"]), "root"),
        ];
        sort_routes(&mut routes);
        routes
    }

    fn goes(path: &str, method: &str) -> String {
        match route(&table(), path, method) {
            Routed::Function(route) => route.target.clone(),
            Routed::NotAllowed(allowed) => allowed.join(","),
            Routed::Static => "static".to_owned(),
        }
    }

    #[test]
    fn the_most_specific_route_that_takes_the_method_answers() {
        for (path, method, answer) in [
            ("/admin/x", "GET", "all"),
            ("/admin/deep/x", "GET", "deep"),
            ("/admin/deep/x", "HEAD", "deep"),
            ("/admin/deep/x", "POST", "all"),
            ("/admin", "GET", "static"),
            ("/admin/", "GET", "static"),
            ("/admin.css", "GET", "static"),
            ("/administrator", "GET", "static"),
            ("/login", "POST", "login"),
            ("/login/", "POST", "login"),
            ("/login", "GET", "static"),
            ("/login", "DELETE", "GET,HEAD,POST"),
            ("/login/x", "DELETE", "static"),
            ("/", "POST", "root"),
            ("/x", "POST", "static"),
        ] {
            assert_eq!(goes(path, method), answer, "{method} {path}");
        }
    }
}
