//! Tests that take as many minutes as they are given: the same work over and over, to see that nothing grows
//! (`tests/it/soak.rs`), and schedules while servers die (`tests/it/functions/cron_torture.rs`).

use anyhow::{Context, Result};

use crate::{process, tools};

const MINUTES_DEFAULT: u64 = 5;

/// A test and the variable that says how long it goes on.
pub struct Lasting {
    pub test: &'static str,
    pub minutes: &'static str,
}

pub const SOAK: Lasting = Lasting { test: "soak::", minutes: "RUN402_SOAK_MINUTES" };
pub const CRON_TORTURE: Lasting =
    Lasting { test: "functions::cron_torture::", minutes: "RUN402_CRON_TORTURE_MINUTES" };

/// Builds the server and runs the test for as many minutes as the one argument says.
pub fn run(lasting: &Lasting, arguments: &[String]) -> Result<()> {
    let minutes: u64 = match arguments.first() {
        Some(text) => text.parse().context("the one argument is a number of minutes")?,
        None => MINUTES_DEFAULT,
    };
    let tools = tools::install()?;
    process::build_all()?;
    let words =
        ["test", "--profile", "lab", "--workspace", "--test", "it", "--", "--nocapture", lasting.test];
    let mut command = process::cargo();
    command.args(words).env("RUN402_TOOLS_DIR", tools).env(lasting.minutes, minutes.to_string());
    process::run(&mut command)
}
