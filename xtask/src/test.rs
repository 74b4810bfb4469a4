//! Every check and every test, in the order in which they fail fastest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::{generate, layers, process, solidity, tidy, tools};

/// With arguments runs only the tests that they select, without the lints.
pub fn run(arguments: &[String]) -> Result<()> {
    let tools = tools::install()?;
    peers()?;
    chromium()?;
    if arguments.is_empty() {
        lint()?;
    }
    process::build_all()?;
    if arguments.is_empty() {
        generate::check()?;
    }
    tests(arguments, &tools)?;
    if arguments.is_empty() {
        deny()?;
    }
    Ok(())
}

fn lint() -> Result<()> {
    process::run(process::cargo().args(["fmt", "--all", "--check"]))?;
    layers::run()?;
    tidy::run()?;
    solidity::run(&["--check".to_owned()])?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--profile", "lab", "--", "-D", "warnings"];
    process::run(process::cargo().args(clippy))
}

/// The test runner: nextest where it is installed, `cargo test` elsewhere.
fn tests(arguments: &[String], tools: &Path) -> Result<()> {
    let mut command = process::cargo();
    if process::works("cargo-nextest", "--version") {
        command.args(["nextest", "run", "--workspace", "--cargo-profile", "lab"]);
    } else {
        command.args(["test", "--workspace", "--profile", "lab"]);
    }
    command.args(arguments).env("RUN402_TOOLS_DIR", tools).env("RUN402_BIN_DIR", process::lab_binaries()?);
    process::run(&mut command)
}

/// The unmodified clients that the tests drive, pinned by their lock file.
fn peers() -> Result<()> {
    let folder = process::root().join("tests/peers");
    if !folder.join("package.json").is_file() || is_fresh(&folder) {
        return Ok(());
    }
    let how = if folder.join("package-lock.json").is_file() { "ci" } else { "install" };
    process::run(
        Command::new("npm").args([how, "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(folder),
    )
}

/// npm writes `node_modules/.package-lock.json` last, so one newer than the lock file means a finished
/// install.
fn is_fresh(folder: &Path) -> bool {
    let modified = |path: PathBuf| path.metadata().and_then(|file| file.modified()).ok();
    let installed = modified(folder.join("node_modules/.package-lock.json"));
    let sources = ["package.json", "package-lock.json"].map(|name| modified(folder.join(name)));
    installed.is_some() && sources.iter().all(|source| source.is_some() && *source <= installed)
}

fn chromium() -> Result<()> {
    if process::works("chromium", "--version") {
        return Ok(());
    }
    if !process::is_root() {
        bail!("chromium was not found: install it (Debian and Ubuntu: sudo apt-get install chromium)");
    }
    let install = || process::run(Command::new("apt-get").args(["install", "-y", "-q", "chromium"]));
    if install().is_ok() {
        return Ok(());
    }
    process::run(Command::new("apt-get").args(["update", "-q"]))?;
    install()
}

fn deny() -> Result<()> {
    if !process::works("cargo-deny", "--version") {
        eprintln!("xtask: cargo-deny is not installed, so licences and advisories were NOT checked");
        return Ok(());
    }
    // Advisories come from a repository that an offline machine cannot reach; the rest is in the lock file.
    process::run(process::cargo().args(["deny", "check", "bans", "licenses", "sources"]))
}
