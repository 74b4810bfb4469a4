//! All that a release holds, and what a spec makes of it.

use store::Store;
use store::releases::{self, Route, sort_routes};
use types::ReleaseId;

use super::functions::{Functions, NoSource, functions_after};
use super::{Files, Spec, materialise};
use crate::kit::ActorError;

/// What a release holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    pub files: Files,
    pub functions: Functions,
    /// Sorted.
    pub routes: Vec<Route>,
}

/// Why a spec makes no release of its base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unmade {
    /// This function would have no code.
    NoSource(String),
    /// This route would lead to no function.
    NoTarget(Route),
}

/// The parts of a release, nothing for no release.
///
/// # Errors
/// `Store`.
pub async fn parts_of(store: &Store, release: Option<ReleaseId>) -> Result<Parts, ActorError> {
    let Some(release) = release else { return Ok(Parts::default()) };
    let files = releases::release_files(store, release).await?;
    let functions = releases::release_functions(store, release).await?;
    Ok(Parts {
        files: files.into_iter().map(|file| (file.path.clone(), file)).collect(),
        functions: functions.into_iter().map(|function| (function.name.clone(), function)).collect(),
        routes: releases::release_routes(store, release).await?,
    })
}

/// The parts after a spec. `live` is what visitors have seen, see [`materialise`].
///
/// # Errors
/// What does not fit together.
pub fn parts_after(base: &Parts, spec: &Spec, live: &Files) -> Result<Parts, Unmade> {
    let functions = functions_after(&base.functions, spec.functions.as_ref())
        .map_err(|NoSource(name)| Unmade::NoSource(name))?;
    let mut routes = spec.routes.clone().unwrap_or_else(|| base.routes.clone());
    sort_routes(&mut routes);
    if let Some(lost) = routes.iter().find(|route| !functions.contains_key(&route.target)) {
        return Err(Unmade::NoTarget(lost.clone()));
    }
    Ok(Parts { files: materialise(&base.files, spec.site.as_ref(), live), functions, routes })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_route_needs_a_function_that_is_there_afterwards() {
        let file = json!({"sha256": "0".repeat(64), "size": 1, "content_type": "text/javascript"});
        let spec = |functions: serde_json::Value, routes: serde_json::Value| -> Spec {
            let mut spec = json!({
                "project": "prj_0123456789abcdef0123456789abcdef", "base": {"release": "current"},
            });
            spec["functions"] = functions;
            spec["routes"] = routes;
            serde_json::from_value(spec).unwrap()
        };
        let made = json!({"replace": {"api": {"source": {"file": file}}}});
        let routed = json!([{"pattern": "/z", "target": "api"}, {"pattern": "/api/*", "target": "api"}]);
        let base = parts_after(&Parts::default(), &spec(made, routed), &Files::new()).unwrap();
        assert_eq!(base.routes[0].pattern, "/z", "exact first");
        let gone = parts_after(&base, &spec(json!({"replace": {}}), json!(null)), &Files::new());
        assert!(matches!(gone, Err(Unmade::NoTarget(route)) if route.target == "api"));
        let cleared = parts_after(&base, &spec(json!({"replace": {}}), json!([])), &Files::new()).unwrap();
        assert!(cleared.routes.is_empty() && cleared.functions.is_empty());
    }
}
