//! What the environment says. This is the only file that knows its names.

use std::ffi::OsString;
use std::path::PathBuf;

use client::LocalError;
use client::ci::IdentitySource;

const DEFAULT_API_BASE: &str = "http://localhost:4020";

/// Where the server is and where the local files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub api_base: String,
    pub allowance_path: PathBuf,
    pub projects_path: PathBuf,
    /// Where a workflow gets its identity; none outside of one.
    pub identity: Option<IdentitySource>,
    /// The folder of notes about uploads that were cut off.
    pub uploads_path: PathBuf,
}

impl Settings {
    /// `RUN402_API_BASE`, `RUN402_CONFIG_DIR`, `RUN402_ALLOWANCE_PATH` and `HOME`; in a workflow also
    /// `GITHUB_ACTIONS` and the two `ACTIONS_ID_TOKEN_REQUEST_*`. An empty value counts as
    /// none.
    ///
    /// # Errors
    /// `BAD_ENV` when there is neither a configuration directory nor a home, or the base is not text.
    pub fn from_env(look_up: impl Fn(&str) -> Option<OsString>) -> Result<Self, LocalError> {
        let value = |name: &str| look_up(name).filter(|value| !value.is_empty());
        let api_base = match value("RUN402_API_BASE") {
            Some(base) => {
                base.into_string().map_err(|_| LocalError::new("BAD_ENV", "RUN402_API_BASE is not text"))?
            }
            None => DEFAULT_API_BASE.to_owned(),
        };
        let config = match (value("RUN402_CONFIG_DIR"), value("HOME")) {
            (Some(config), _) => PathBuf::from(config),
            (None, Some(home)) => PathBuf::from(home).join(".config/run402"),
            (None, None) => {
                return Err(LocalError::new(
                    "BAD_ENV",
                    "there is no home directory for the wallet and the keys",
                )
                .hint("Set RUN402_CONFIG_DIR."));
            }
        };
        let allowance_path = value("RUN402_ALLOWANCE_PATH").map(PathBuf::from);
        let text = |name: &str| value(name).and_then(|value| value.into_string().ok());
        let in_actions = text("GITHUB_ACTIONS").is_some_and(|value| value == "true");
        let identity = text("ACTIONS_ID_TOKEN_REQUEST_URL").zip(text("ACTIONS_ID_TOKEN_REQUEST_TOKEN"));
        Ok(Self {
            api_base,
            allowance_path: allowance_path.unwrap_or_else(|| config.join("allowance.json")),
            projects_path: config.join("projects.json"),
            identity: identity.filter(|_| in_actions).map(|(url, token)| IdentitySource { url, token }),
            uploads_path: config.join("uploads"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(env: &[(&str, &str)]) -> Result<Settings, LocalError> {
        Settings::from_env(|name| {
            env.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_lab_and_the_home_directory_are_the_defaults() {
        let found = settings(&[("HOME", "/home/a"), ("RUN402_API_BASE", "")]).unwrap();
        assert_eq!(found.api_base, "http://localhost:4020");
        assert_eq!(found.allowance_path, PathBuf::from("/home/a/.config/run402/allowance.json"));
        assert_eq!(found.projects_path, PathBuf::from("/home/a/.config/run402/projects.json"));
    }

    #[test]
    fn each_variable_moves_its_part() {
        let env = [
            ("HOME", "/home/a"),
            ("RUN402_CONFIG_DIR", "/c"),
            ("RUN402_ALLOWANCE_PATH", "/w.json"),
            ("RUN402_API_BASE", "https://gw.example.test"),
        ];
        let found = settings(&env).unwrap();
        assert_eq!(found.api_base, "https://gw.example.test");
        assert_eq!(found.allowance_path, PathBuf::from("/w.json"));
        assert_eq!(found.projects_path, PathBuf::from("/c/projects.json"));
        assert_eq!(settings(&[]).unwrap_err().code, "BAD_ENV");
    }

    #[test]
    fn a_workflow_is_known_by_three_variables() {
        let all = [
            ("HOME", "/home/a"),
            ("GITHUB_ACTIONS", "true"),
            ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://runner.test/id?a=1"),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t"),
        ];
        let found = settings(&all).unwrap().identity.unwrap();
        assert_eq!((found.url.as_str(), found.token.as_str()), ("https://runner.test/id?a=1", "t"));
        for missing in 1..all.len() {
            let some: Vec<_> =
                all.iter().enumerate().filter(|(i, _)| *i != missing).map(|(_, v)| *v).collect();
            assert_eq!(settings(&some).unwrap().identity, None);
        }
    }
}
