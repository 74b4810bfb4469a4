//! What the benches share: a table, percentiles, rounds that alternate between us and the peer, and the
//! programs of others.
//!
//! A bench prints what it found and judges nothing: there are no thresholds here.

mod load;
#[path = "../../../control/store/tests/common/postgres.rs"]
pub mod postgres;
mod table;
mod timing;

pub use load::{Load, load};
pub use table::Table;
pub use timing::{Latencies, alternate, median, per_second};

use std::path::PathBuf;
use std::process::Command;

/// Where every bench's randomness starts, so that two runs do the same work.
pub const SEED: u64 = 402;

/// What the control server of a lab is set to: money is synced.
pub const CONTROL_SETTINGS: &[&str] = &[
    "fsync=on",
    "synchronous_commit=on",
    "full_page_writes=on",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=1GB",
    "jit=off",
    "shared_buffers=128MB",
    "max_connections=100",
];

/// A program of others, when it is installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/lib/postgresql/18/bin", "/usr/lib/postgresql/15/bin"];
    let folders = std::env::split_paths(&path).chain(system.map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Says what is missing, and how to get it.
pub fn missing(name: &str, package: &str) {
    println!("peer missing: {name}; install it (Debian: apt-get install {package}) and run again");
}

/// The output of a program that must succeed.
pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Resident memory of a process in KiB.
pub fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Ticks of the kernel's accounting in a second.
const TICKS_PER_SEC: f64 = 100.0;

/// Processor time of a process so far, of all its threads, in seconds.
pub fn cpu_secs(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    // User and system, the 14th and 15th of the line.
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / TICKS_PER_SEC
}
