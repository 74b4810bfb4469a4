//! Starting, watching and ending the child servers, and ending those that an earlier run left behind.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

use crate::error::{During, LabError, child_died};
use crate::layout::{Layout, write_private};
use crate::process_table;

/// How long a child may take to end by itself: Postgres writes a checkpoint, anvil its state.
const STOP_LIMIT: Duration = Duration::from_secs(60);
const KILL_LIMIT: Duration = Duration::from_secs(10);
const LOG_BYTES_MAX: u64 = 16 << 20;

/// The child servers of a lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    ControlPostgres,
    CellPostgres,
    Chain,
}

impl Role {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ControlPostgres => "the control Postgres",
            Self::CellPostgres => "the cell Postgres",
            Self::Chain => "the chain (anvil)",
        }
    }

    fn log_name(self) -> &'static str {
        match self {
            Self::ControlPostgres => "control-pg.log",
            Self::CellPostgres => "cell-pg.log",
            Self::Chain => "chain.log",
        }
    }

    /// Ends the server with its work saved. For Postgres SIGINT is the fast shutdown: SIGTERM waits for
    /// clients.
    fn stop_signal(self) -> Signal {
        match self {
            Self::ControlPostgres | Self::CellPostgres => Signal::SIGINT,
            Self::Chain => Signal::SIGTERM,
        }
    }

    /// The same signal by the name that `setpriv` knows.
    pub(crate) fn death_signal(self) -> &'static str {
        match self {
            Self::ControlPostgres | Self::CellPostgres => "INT",
            Self::Chain => "TERM",
        }
    }
}

/// The thread that starts every child and lives as long as the lab.
///
/// The kernel's parent-death signal follows the *thread* that started a child. Threads of an async runtime
/// come and go, and one that goes would take its children along.
#[derive(Debug)]
pub(crate) struct Keeper(mpsc::Sender<Order>);

#[derive(Debug)]
struct Order {
    command: Command,
    reply: oneshot::Sender<io::Result<std::process::Child>>,
}

impl Keeper {
    pub(crate) fn start() -> Result<Self, LabError> {
        let (sender, orders) = mpsc::channel::<Order>();
        let run = move || {
            for Order { mut command, reply } in orders {
                // A caller that gave up drops the process handle; the lab's own records end the process.
                let _ = reply.send(command.spawn());
            }
        };
        std::thread::Builder::new()
            .name("lab-children".to_owned())
            .spawn(run)
            .during(|| "starting the thread of the children".to_owned())?;
        Ok(Self(sender))
    }

    async fn spawn(&self, command: Command) -> io::Result<std::process::Child> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread of the children has ended");
        self.0.send(Order { command, reply }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// One running child. Dropping it asks the process to end.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) role: Role,
    pub(crate) log: PathBuf,
    pid: i32,
    started: u64,
    /// How it ended, once it has.
    ended: watch::Receiver<Option<String>>,
}

/// A child as `children.json` remembers it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    role: Role,
    pid: i32,
    /// Field 22 of `/proc/<pid>/stat`.
    start_time: u64,
}

impl Child {
    /// Starts the command with its output appended to the role's log.
    pub(crate) async fn spawn(
        role: Role,
        mut command: Command,
        keeper: &Keeper,
        layout: &Layout,
    ) -> Result<Self, LabError> {
        let log = layout.logs().join(role.log_name());
        let file = open_log(&log)?;
        command.stdout(file.try_clone().at("opening", &log)?).stderr(file);
        let mut process = keeper.spawn(command).await.during(|| format!("starting {}", role.as_str()))?;
        let pid = i32::try_from(process.id()).expect("Linux process ids fit 22 bits");
        let started = process_table::started(pid).unwrap_or_default();
        let (tell, ended) = watch::channel(None);
        let wait = move || {
            let how = process.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            tell.send_replace(Some(how));
        };
        std::thread::Builder::new()
            .name("lab-wait".to_owned())
            .spawn(wait)
            .during(|| "starting the thread that waits for a child".to_owned())?;
        Ok(Self { role, log, pid, started, ended })
    }

    /// How it ended, or none while it runs.
    pub(crate) fn status(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Waits for the end and tells it as the error it is for a server that should run.
    pub(crate) async fn death(&self) -> LabError {
        let mut ended = self.ended.clone();
        let status = match ended.wait_for(Option::is_some).await {
            Ok(status) => status.clone().unwrap_or_default(),
            Err(_) => "its waiting thread is gone".to_owned(),
        };
        child_died(self.role.as_str(), status, &self.log)
    }

    /// Asks it to end, waits, and kills it when it does not.
    pub(crate) async fn stop(self) -> Result<(), LabError> {
        let mut ended = self.ended.clone();
        for (signal, limit) in [(self.role.stop_signal(), STOP_LIMIT), (Signal::SIGKILL, KILL_LIMIT)] {
            if self.status().is_none() {
                process_table::send(self.pid, signal);
            }
            if tokio::time::timeout(limit, ended.wait_for(Option::is_some)).await.is_ok() {
                return Ok(());
            }
        }
        Err(LabError::Orphan { pid: self.pid, what: self.role.as_str().to_owned() })
    }

    fn record(&self) -> Record {
        Record { role: self.role, pid: self.pid, start_time: self.started }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.status().is_none() {
            process_table::send(self.pid, self.role.stop_signal());
        }
    }
}

/// Writes down who runs, so that the next start can end them should we die.
pub(crate) fn remember<'a>(
    layout: &Layout,
    children: impl Iterator<Item = &'a Child>,
) -> Result<(), LabError> {
    let records: Vec<Record> = children.map(Child::record).collect();
    let text = serde_json::to_vec_pretty(&records).expect("plain records are JSON");
    write_private(&layout.children_file(), &text)
}

/// Ends what an earlier run left: the recorded children, and a postmaster that works in one of our
/// directories.
pub(crate) async fn end_orphans(layout: &Layout) -> Result<usize, LabError> {
    let file = layout.children_file();
    // A torn file names nobody; the postmasters are found by their own files all the same.
    let mut orphans: Vec<Record> =
        std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    for (role, data) in layout.postgres_directories() {
        orphans.extend(postmaster(role, &data));
    }
    orphans.retain(|orphan| process_table::is_alive(orphan.pid, orphan.start_time));
    orphans.sort_by_key(|orphan| orphan.pid);
    orphans.dedup_by_key(|orphan| orphan.pid);
    for orphan in &orphans {
        end(orphan).await?;
    }
    for (_, data) in layout.postgres_directories() {
        // Postgres believes this file whenever the id in it is alive, also as an unrelated process of its
        // account.
        remove_if_there(&data.join("postmaster.pid"))?;
    }
    remove_if_there(&file)?;
    Ok(orphans.len())
}

async fn end(orphan: &Record) -> Result<(), LabError> {
    for (signal, limit) in [(orphan.role.stop_signal(), STOP_LIMIT), (Signal::SIGKILL, KILL_LIMIT)] {
        process_table::send(orphan.pid, signal);
        if process_table::wait_gone(orphan.pid, orphan.start_time, limit).await {
            return Ok(());
        }
    }
    Err(LabError::Orphan { pid: orphan.pid, what: orphan.role.as_str().to_owned() })
}

/// The live process that a `postmaster.pid` names, when it really works in that directory.
fn postmaster(role: Role, data: &Path) -> Option<Record> {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid: i32 = text.lines().next()?.trim().parse().ok()?;
    let start_time = process_table::started(pid)?;
    let works_here = process_table::current_directory(pid)? == data.canonicalize().ok()?;
    works_here.then_some(Record { role, pid, start_time })
}

fn open_log(path: &Path) -> Result<File, LabError> {
    if path.metadata().is_ok_and(|file| file.len() > LOG_BYTES_MAX) {
        std::fs::rename(path, path.with_extension("log.old")).at("putting aside", path)?;
    }
    OpenOptions::new().create(true).append(true).open(path).at("opening", path)
}

pub(crate) fn remove_if_there(path: &Path) -> Result<(), LabError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("removing", path),
        _ => Ok(()),
    }
}
