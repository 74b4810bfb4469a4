//! npm packages of functions: what may be asked for, and where they are installed.
//!
//! npm runs in a sandbox like everything else here, with a broker that reaches the registry and nothing else. No
//! script of a package runs, there is no git, and everything ends with the sandbox's own memory file system.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tokio::task::AbortHandle;

use crate::bundle::{BundleError, binds, unavailable};
use crate::sandbox::{Bind, Limits, Plan};
use crate::{Egress, Isolation, PackagesConfig, RunnerConfig, spawn};

/// Ours unless a published version of it is asked for.
pub const LIBRARY_PACKAGE: &str = "@run402/functions";
/// A name that has never been the library's, and must not be taken for it.
const NO_LIBRARY: &str = "run402-functions";
const SPEC_CHARS_MAX: usize = 200;
const INSTALLER: &str = include_str!("node/packages.mjs");
const MEMORY_BYTES_MAX: u64 = 2 << 30;
/// Archives and what is in them. It is memory.
const TMP_BYTES_MAX: u64 = 384 << 20;
const TMP_FILES_MAX: u64 = 60_000;

/// By name: a version, a range or a tag.
pub type Packages = BTreeMap<String, String>;

/// What of a package is asked for by `name`, `name@1.2.3`, `name@^3.0.0` or `@scope/name@next`.
///
/// # Errors
/// What to ask for instead.
///
/// # Source
/// Wire contract 03 section 3.6.
pub fn package_wanted(spec: &str) -> Result<(String, String), String> {
    if spec.chars().count() > SPEC_CHARS_MAX {
        return Err(format!("{SPEC_CHARS_MAX} characters are enough for a package"));
    }
    let (name, version) = match spec.get(1..).and_then(|rest| rest.split_once('@')) {
        Some((name, version)) => (&spec[..=name.len()], Some(version)),
        None => (spec, None),
    };
    if !is_package(name) {
        return Err(format!("{spec:?} is no package: use a name of the registry, such as zod or zod@^3.0.0"));
    }
    // Neither a path nor a URL nor another name has only these.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".^~<>=|*+-_".contains(c);
    if version.is_some_and(|version| version.is_empty() || !version.chars().all(is_plain)) {
        return Err(format!("{spec:?}: only versions, ranges and tags of the registry can be asked for"));
    }
    match (name, version) {
        (LIBRARY_PACKAGE, None) | (NO_LIBRARY, _) => Err(format!(
            "{LIBRARY_PACKAGE} is always there; name a version, such as {LIBRARY_PACKAGE}@3.13.0, for a published one"
        )),
        (name, version) => Ok((name.to_owned(), version.unwrap_or("latest").to_owned())),
    }
}

/// As the registry spells names.
fn is_package(name: &str) -> bool {
    let is_part = |part: &str| {
        let first = part.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'~' || b == b'-');
        first && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    };
    match name.strip_prefix('@') {
        Some(scoped) => scoped.split_once('/').is_some_and(|(scope, name)| is_part(scope) && is_part(name)),
        None => is_part(name),
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    Resolve,
    Bundle,
}

/// The sandbox in which packages are installed, and bundled by these words of esbuild's.
///
/// # Errors
/// `Unavailable` where no packages are installed.
pub(crate) fn plan(
    config: &RunnerConfig,
    folder: &Path,
    wanted: &Packages,
    mode: Mode,
    words: &[String],
) -> Result<Plan, BundleError> {
    let packages = chosen(config)?;
    let boot = folder.join("boot");
    for (name, text) in [("packages.mjs", INSTALLER), ("tunnel.mjs", spawn::TUNNEL)] {
        std::fs::write(boot.join(name), text).map_err(unavailable)?;
    }
    let mode = match mode {
        Mode::Resolve => "resolve",
        Mode::Bundle => "bundle",
    };
    let mut env = vec![
        ("RUN402_PACKAGES".to_owned(), serde_json::json!(wanted).to_string()),
        ("RUN402_REGISTRY".to_owned(), packages.registry.clone()),
    ];
    let mut binds = binds(config, folder);
    binds.extend([
        Bind::new(&config.node, "/node"),
        Bind::new(&packages.npm, "/npm"),
        Bind::new(&boot, "/boot"),
        Bind::new(&folder.join("run"), "/run402"),
    ]);
    if let Some(file) = &packages.ca_file {
        env.push(("NODE_EXTRA_CA_CERTS".to_owned(), "/ca.pem".to_owned()));
        binds.push(Bind::new(file, "/ca.pem"));
    }
    let args = ["/boot/packages.mjs".to_owned(), mode.to_owned()].into_iter().chain(words.iter().cloned());
    Ok(Plan {
        root: folder.join("root"),
        program: "/node".into(),
        args: args.collect(),
        env,
        folder: "/src".into(),
        binds,
        uid: spawn::next_uid(),
        limits: Limits {
            data_bytes: MEMORY_BYTES_MAX,
            memory_bytes: MEMORY_BYTES_MAX + TMP_BYTES_MAX,
            processes: 128,
            files: 1024,
            tmp_bytes: TMP_BYTES_MAX,
            tmp_files: TMP_FILES_MAX,
        },
        cgroup: None,
    })
}

/// Ends with what it is kept in.
pub(crate) struct Broker(AbortHandle);

impl Drop for Broker {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Serves the sandbox in this folder with the registry.
///
/// # Errors
/// `Unavailable`.
pub(crate) fn broker(config: &RunnerConfig, folder: &Path) -> Result<Broker, BundleError> {
    let wrong = || BundleError::Unavailable("the registry's URL names no host".to_owned());
    let url: http::Uri = chosen(config)?.registry.parse().map_err(|_| wrong())?;
    let host = url.host().ok_or_else(wrong)?;
    let plain = url.scheme_str() == Some("http");
    let port = url.port_u16().unwrap_or(if plain { 80 } else { 443 });
    let egress = Arc::new(Egress::to_registry(host.trim_start_matches('[').trim_end_matches(']'), port));
    let listener = spawn::egress_listener(folder).map_err(unavailable)?;
    Ok(Broker(tokio::spawn(egress.serve(listener, Arc::new(|| 0))).abort_handle()))
}

fn chosen(config: &RunnerConfig) -> Result<&PackagesConfig, BundleError> {
    let sandboxed = config.isolation == Isolation::Namespaces;
    let packages = config.packages.as_ref().filter(|_| sandboxed);
    packages.ok_or_else(|| BundleError::Unavailable("this server installs no npm packages".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // F10: nothing but packages of the registry can be asked for.
    #[test]
    fn only_names_and_versions_of_the_registry_are_packages() {
        for (spec, name, version) in [
            ("zod", "zod", "latest"),
            ("zod@3.23.8", "zod", "3.23.8"),
            ("zod@^3.0.0", "zod", "^3.0.0"),
            ("@scope/a.b@>=1.2.0-rc.1", "@scope/a.b", ">=1.2.0-rc.1"),
            ("@scope/a", "@scope/a", "latest"),
            ("@run402/functions@3.13.0", "@run402/functions", "3.13.0"),
        ] {
            assert_eq!(package_wanted(spec).unwrap(), (name.to_owned(), version.to_owned()), "{spec}");
        }
        let long = "a".repeat(201);
        for spec in [
            "",
            "@",
            "@scope",
            "@/a",
            " zod",
            "zod ",
            "zod@",
            "zod@1 || 2",
            "zod@npm:other@1",
            "zod@file:../x",
            "zod@git+ssh://host/x",
            "zod@https://host/x.tgz",
            "zod@workspace:*",
            "../zod",
            "/etc/passwd",
            "git+https://host/x",
            "owner/repo",
            ".hidden",
            "zod\0",
            "\u{fc}ber",
            "@run402/functions",
            "run402-functions",
            "run402-functions@1.0.0",
            &long,
        ] {
            assert!(package_wanted(spec).is_err(), "{spec:?}");
        }
    }
}
