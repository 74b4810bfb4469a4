//! The launcher alone, for this crate's tests: the server is its own launcher.

use std::process::ExitCode;

fn main() -> ExitCode {
    functions::sandbox::launched(std::env::args()).unwrap_or(ExitCode::FAILURE)
}
