//! Load on an HTTP server, by wrk.

use std::path::Path;
use std::process::Command;

use crate::output;

/// What one run of wrk says.
pub struct Load {
    pub rate: f64,
    p50: String,
    p99: String,
}

impl Load {
    /// `p50 / p99` for the table.
    pub fn text(&self) -> String {
        format!("{} / {}", self.p50, self.p99)
    }
}

/// A request every time the last is answered, on each connection, for three seconds. Headers are `Name: value`;
/// a script is wrk's own, in Lua.
///
/// # Panics
/// When an answer is not a success.
pub fn load(wrk: &Path, url: &str, connections: usize, headers: &[&str], script: Option<&Path>) -> Load {
    let mut command = Command::new(wrk);
    command.args(["--threads=1", "--duration=3s", "--latency"]);
    command.arg(format!("--connections={connections}"));
    command.args(headers.iter().map(|header| format!("--header={header}")));
    if let Some(script) = script {
        command.arg("--script").arg(script);
    }
    let text = output(command.arg(url));
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let after = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name).map(str::trim));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    };
    let rate = after("Requests/sec:").parse().unwrap_or_else(|e| panic!("{e}: {text}"));
    Load { rate, p50: after("50%"), p99: after("99%") }
}
