//! What one sandbox holds.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A program and its world. Travels to the launcher as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// An empty folder of the machine: the new world's root is mounted there.
    pub root: PathBuf,
    /// Inside.
    pub program: PathBuf,
    pub args: Vec<String>,
    /// All of the environment.
    pub env: Vec<(String, String)>,
    /// Inside.
    pub folder: PathBuf,
    /// Beside the system's libraries.
    pub binds: Vec<Bind>,
    /// The user that root lowers itself to, one for each sandbox, because the kernel counts processes by user.
    /// Ignored unless root.
    pub uid: u32,
    pub limits: Limits,
    /// A folder of the machine: the control group that all of it joins.
    pub cgroup: Option<PathBuf>,
}

/// A folder or file of the machine that is seen inside, never written to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bind {
    pub from: PathBuf,
    pub to: PathBuf,
}

impl Bind {
    pub fn new(from: &Path, to: &str) -> Self {
        Self { from: from.to_path_buf(), to: to.into() }
    }
}

/// What the kernel holds a sandbox to.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Limits {
    /// Private memory of each process, as the kernel counts it (`RLIMIT_DATA`).
    pub data_bytes: u64,
    /// Memory of all of it together with its `/tmp`. Held to only in a control group.
    pub memory_bytes: u64,
    /// Processes and threads together.
    pub processes: u64,
    pub files: u64,
    /// Of `/tmp`, and of one file.
    pub tmp_bytes: u64,
    /// Files and folders in `/tmp`.
    pub tmp_files: u64,
}
