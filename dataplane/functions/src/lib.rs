//! Functions of projects: bundled by esbuild ([`Bundler`]), run by Node 22 ([`Workers`]).
//!
//! A worker is a process that serves one function of one project for its whole life. It is started ahead, bound
//! to its function by the first request, asked over one Unix socket by many requests at once, and ended after
//! idling, at a deadline, or when it takes too much memory. It lives in a [`sandbox`]: without a network, with
//! the system's libraries, Node and its own code to read, and nothing else of the machine. What it wants of the
//! network it asks of a broker ([`Egress`]) that resolves names and refuses private addresses.
//!
//! Failure story: whatever a function does, its worker ends, the requests that it held are answered with
//! [`RunError`], and the next one gets another worker. Nothing here is durable.

mod bundle;
mod cgroup;
mod cron;
mod egress;
mod error;
mod frame;
mod logs;
mod packages;
mod pool;
pub mod sandbox;
mod spawn;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::Value;

pub use bundle::{Bundle, BundleError, Bundler, LIBRARY_VERSION, Sources, TOOLCHAIN};
pub use cgroup::Cgroups;
pub use cron::Cron;
pub use egress::{Egress, Gateway};
pub use error::RunError;
pub use logs::{LogLine, LogStream, Redactor};
pub use packages::{LIBRARY_PACKAGE, Packages, package_wanted};
pub use pool::{Counts, Workers};

/// Largest body of a request and of a response.
///
/// # Source
/// Wire contract 03 section 3.3.
pub const BODY_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Whether tenants' code is kept in namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// In namespaces, or not at all.
    Namespaces,
    /// As an ordinary process of this machine's user: for trusted code only.
    None,
}

/// Where everything is.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// Node 22.
    pub node: PathBuf,
    pub esbuild: PathBuf,
    /// A program that calls [`sandbox::launched`] first of all.
    pub launcher: PathBuf,
    /// A folder for sockets and code of workers, this process's alone.
    pub folder: PathBuf,
    pub isolation: Isolation,
    /// What sandboxes are divided from, or why there is none.
    pub cgroups: Result<Arc<Cgroups>, String>,
    /// Workers at once, bound or not.
    pub workers_max: usize,
    /// Where packages come from; without it functions have none.
    pub packages: Option<PackagesConfig>,
}

/// npm and its registry.
#[derive(Debug, Clone)]
pub struct PackagesConfig {
    /// The folder of the package `npm`.
    pub npm: PathBuf,
    /// `https://host[:port]/`. Nothing else is reached while packages are installed.
    pub registry: String,
    /// Certificate authorities beside Node's own, in PEM.
    pub ca_file: Option<PathBuf>,
}

/// Gives the bundle of a function that no worker is bound to yet; the error is for the log.
pub type Load = Arc<dyn Fn() -> BoxFuture<'static, Result<Bytes, String>> + Send + Sync>;

/// A function as it is to run. Functions of one `version` are served by the same workers.
#[derive(Clone)]
pub struct Function {
    /// Names project, function, code, environment and limits: another of them is another version.
    pub version: String,
    pub project: String,
    pub name: String,
    pub memory_mb: u32,
    pub timeout: Duration,
    /// All of `process.env`.
    pub env: Arc<Vec<(String, String)>>,
    pub redactor: Arc<Redactor>,
    pub load: Load,
}

/// One request to a function.
#[derive(Debug, Clone)]
pub struct Call {
    /// `req_..`, or the id of a run.
    pub request_id: String,
    /// `fnatt_..` of a run's attempt: what it writes is found by it.
    pub attempt_id: Option<String>,
    pub method: String,
    /// Absolute.
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// Further fields of the request that a routed function is called with.
    pub routed: Option<Value>,
    /// How many functions called one another up to this one.
    pub depth: u32,
}

/// What a function answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

/// Runs functions.
#[async_trait::async_trait]
pub trait NodeRunner: Send + Sync + 'static {
    /// Calls a function and waits for its answer, for at most its timeout.
    ///
    /// # Errors
    /// [`RunError`]: what the caller should be told. The function may have done part of its work.
    async fn call(&self, function: &Function, call: Call) -> Result<Reply, RunError>;
}
