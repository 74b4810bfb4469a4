//! npm packages of a function that is deployed: what was asked for becomes versions.

use std::collections::BTreeMap;

use functions::{BundleError, Packages, package_wanted};
use types::{Code, Mutation, Problem};

use super::deploy::bad;
use crate::Plane;

/// # Source
/// Wire contract 03 section 3.6.
const PACKAGES_MAX: usize = 30;

impl Plane {
    /// The version of each package that is installed; the newest of those that fit is the newest now.
    ///
    /// # Errors
    /// `BAD_FUNCTION` for what is no package; `FUNCTION_BUILD_FAILED` with npm's words;
    /// `FUNCTION_UNAVAILABLE`.
    pub(super) async fn packages_resolved(&self, specs: &[String]) -> Result<Packages, Problem> {
        if specs.len() > PACKAGES_MAX {
            return Err(bad("deps", &format!("at most {PACKAGES_MAX} packages are possible")));
        }
        let mut wanted = BTreeMap::new();
        for spec in specs {
            let (name, version) = package_wanted(spec).map_err(|why| bad("deps", &why))?;
            if wanted.insert(name, version).is_some() {
                return Err(bad("deps", &format!("{spec:?} is asked for twice")));
            }
        }
        if wanted.is_empty() {
            return Ok(wanted);
        }
        let Some(host) = self.function_host() else { return Err(unavailable()) };
        host.resolve(&wanted).await.map_err(|error| match error {
            BundleError::Source(said) => Problem::new(Code::FunctionBuildFailed, said)
                .mutation(Mutation::NotStarted)
                .detail("field", "deps"),
            BundleError::Unavailable(why) => {
                tracing::error!(why, "packages were not resolved");
                unavailable()
            }
        })
    }
}

fn unavailable() -> Problem {
    Problem::new(Code::FunctionUnavailable, "npm packages cannot be installed here right now")
        .mutation(Mutation::NotStarted)
}
