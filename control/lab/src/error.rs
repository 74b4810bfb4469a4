//! Why a lab does not start, in words that say what to do.

use std::io;
use std::path::{Path, PathBuf};

/// A failure of the lab. `Display` carries the advice; nothing of the data was lost.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    #[error("port {port} of {host} is in use: end what listens there, or choose another port for the {what}")]
    PortInUse { host: String, port: u16, what: &'static str },
    #[error("{listen} is not a loopback address, and the {what} listens on loopback only")]
    NotLoopback { listen: String, what: &'static str },
    #[error(
        "{data} holds a lab of format {found}, and this program knows format {known}: use the program that \
         made it, or choose another data directory"
    )]
    Version { data: PathBuf, found: String, known: u32 },
    #[error("{data} is not empty and not a lab: choose another data directory, or empty this one")]
    NotALab { data: PathBuf },
    #[error("there is no lab in {data}: start one with `run402d up --data {data}`")]
    NoLab { data: PathBuf },
    #[error(
        "the lab in {data} is in use by process {holder}: end it first, or choose another data directory"
    )]
    Locked { data: PathBuf, holder: String },
    #[error("{what} was not found in {tools} nor on this system: run `cargo xtask tools`")]
    ToolsMissing { what: &'static str, tools: PathBuf },
    #[error("{tools} does not fit: {why}; run `cargo xtask tools`")]
    ToolsBroken { tools: PathBuf, why: String },
    #[error(
        "{what} ended ({status}) before it was ready; the last lines of {log}:\n{tail}",
        log = log.display()
    )]
    ChildDied { what: &'static str, status: String, log: PathBuf, tail: String },
    #[error("{what} was not ready after {secs} seconds ({last}); see {log}", log = log.display())]
    NotReady { what: &'static str, secs: u64, last: String, log: PathBuf },
    #[error("the disk is full ({what}): free some space and start again; nothing was lost")]
    DiskFull { what: String },
    #[error(
        "Postgres refuses to run as root, and the account {account} cannot be used ({why}): start as an \
         ordinary user, or keep the data directory and the tools where every account may pass"
    )]
    Account { account: String, why: String },
    #[error("process {pid} of an earlier run ({what}) does not end: end it by hand")]
    Orphan { pid: i32, what: String },
    #[error("{path}: {why}", path = path.display())]
    Corrupt { path: PathBuf, why: String },
    #[error("the chain answered something else than expected: {0}")]
    Chain(String),
    #[error("the {what} database answered an error")]
    Database {
        what: &'static str,
        #[source]
        source: Box<tokio_postgres::Error>,
    },
    #[error("{what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
}

/// Says which step an IO error belongs to, and recognises a full disk.
pub(crate) trait During<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, LabError>;
    /// The same, for a step that is all about one path.
    fn at(self, act: &str, path: &Path) -> Result<T, LabError>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, what: impl FnOnce() -> String) -> Result<T, LabError> {
        self.map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LabError::DiskFull { what: what() },
            _ => LabError::Io { what: what(), source },
        })
    }

    fn at(self, act: &str, path: &Path) -> Result<T, LabError> {
        self.during(|| format!("{act} {}", path.display()))
    }
}

/// The end of a child's log, for an error message; a full disk is told as such.
pub(crate) fn child_died(what: &'static str, status: String, log: &Path) -> LabError {
    let tail = log_tail(log);
    if tail.contains("No space left on device") {
        return LabError::DiskFull { what: what.to_owned() };
    }
    LabError::ChildDied { what, status, log: log.to_path_buf(), tail }
}

const TAIL_LINES: usize = 12;

pub(crate) fn log_tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}
