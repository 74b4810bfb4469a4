//! The line on stdout that scripts wait for.

use serde_json::Value;

/// Prints `line` as one line of JSON. Nothing else is ever printed to stdout by a running server.
pub fn print(line: &Value) {
    println!("{line}");
}
