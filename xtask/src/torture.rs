//! Killing a server over and over while customers buy from it: see `tests/torture`.

use anyhow::Result;

use crate::{process, tools};

/// Builds the server and the program that tortures it, and runs that.
pub fn run(arguments: &[String]) -> Result<()> {
    let tools = tools::install()?;
    process::build_all()?;
    let torture = ["test", "--workspace", "--profile", "lab", "--test", "torture", "--"];
    process::run(process::cargo().args(torture).args(arguments).env("RUN402_TOOLS_DIR", tools))
}
