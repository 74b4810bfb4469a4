//! From a clone to a running lab in one command.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, tools};

/// Installs the tools, builds both binaries, then becomes `run402d up`.
///
/// Becoming it (exec) means that Ctrl-C and SIGTERM reach the server itself, and its exit code is ours.
pub fn run(arguments: &[String]) -> Result<()> {
    let tools = tools::install()?;
    build()?;
    let binaries = process::lab_binaries()?;
    eprintln!("xtask: to have `run402` in another terminal: export PATH=\"{}:$PATH\"", binaries.display());
    let error = Command::new(binaries.join("run402d"))
        .arg("up")
        .args(arguments)
        .env("RUN402_TOOLS_DIR", tools)
        .exec();
    Err(error).context("cannot start run402d")
}

/// Builds the server and the command line with the quick `lab` profile.
pub fn build() -> Result<()> {
    let what = ["build", "--profile", "lab", "--bin", "run402d", "--bin", "run402"];
    process::run(process::cargo().args(what))
}
