//! The same work over and over, to see that nothing grows: see `tests/it/soak.rs`.

use anyhow::{Context, Result};

use crate::{process, tools};

const MINUTES_DEFAULT: u64 = 5;

/// Builds the server and soaks it for as many minutes as the one argument says.
pub fn run(arguments: &[String]) -> Result<()> {
    let minutes = match arguments.first() {
        Some(text) => text.parse().context("soak takes a number of minutes")?,
        None => MINUTES_DEFAULT,
    };
    let tools = tools::install()?;
    process::build_all()?;
    let soak = ["test", "--profile", "lab", "--workspace", "--test", "it", "--", "--nocapture", "soak::"];
    let mut command = process::cargo();
    command.args(soak).env("RUN402_TOOLS_DIR", tools).env("RUN402_SOAK_MINUTES", minutes.to_string());
    process::run(&mut command)
}
