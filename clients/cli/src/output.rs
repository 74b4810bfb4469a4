//! Printing. A reader that went away is not our failure.

use std::io::Write;

use client::{ClientError, LocalError};
use serde_json::Value;

/// The answer, on stdout.
pub fn value(value: &Value) {
    text(&format!("{value:#}\n"));
}

/// Text as it is, on stdout.
pub fn text(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The error, on stderr.
pub fn error(error: &ClientError) {
    event(error.to_json());
}

/// One line of JSON on stderr.
pub fn event(event: Value) {
    let _ = writeln!(std::io::stderr().lock(), "{event}");
}

/// A command line that cannot be understood.
pub fn bad_usage(message: &str) -> LocalError {
    LocalError::new("BAD_USAGE", message.trim_end().trim_start_matches("error: ").to_owned())
        .hint("run402 --help shows the commands; --help after a command shows its options.")
}
