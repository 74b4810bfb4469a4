//! Starts a worker's process and waits until it can be bound.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, ChildStdin, Command};

use crate::cgroup::Cgroup;
use crate::frame::{Frame, Kind};
use crate::sandbox::{Bind, LAUNCHER, Limits, Plan, SMALL};
use crate::{Isolation, RunnerConfig};

const BOOTSTRAP: &str = include_str!("node/bootstrap.mjs");
pub(crate) const TUNNEL: &str = include_str!("node/tunnel.mjs");
const READY_SECS_MAX: u64 = 20;
/// Node's own threads, and a few more.
const PROCESSES_MAX: u64 = 48;
const FILES_MAX: u64 = 256;
const TMP_BYTES_MAX: u64 = 64 << 20;
const TMP_FILES_MAX: u64 = 4096;
/// What Node takes beside the function's memory, as the kernel counts private memory.
const DATA_BYTES_BASE: u64 = 512 << 20;
/// What the whole of a worker takes beside the function's memory: Node, `/tmp`, and what the kernel keeps for it.
const MEMORY_BYTES_BASE: u64 = (64 << 20) + TMP_BYTES_MAX + (64 << 20);
/// Users of the machine that workers become when root starts them, one each.
const UID_FIRST: u32 = 60_000;
const UIDS: u32 = 5_000;
const STDERR_BYTES_MAX: u64 = 4096;

/// A process that is ready.
pub(crate) struct Started {
    pub child: Child,
    /// Ends the process when dropped.
    pub lease: Option<ChildStdin>,
    pub control: UnixStream,
    pub egress: UnixListener,
    /// Holds code and sockets.
    pub folder: TempDir,
    /// Ends whatever is left of the process when dropped.
    pub group: Option<Cgroup>,
    /// The process id of Node itself.
    pub pid: Option<u32>,
}

/// A process of a tenant, in a sandbox or, where that is allowed, without one; and its control group, to be kept
/// for as long as it lives.
///
/// # Errors
/// The control group cannot be made.
pub(crate) fn command(config: &RunnerConfig, mut plan: Plan) -> io::Result<(Command, Option<Cgroup>)> {
    let mut group = None;
    let mut command = match config.isolation {
        Isolation::Namespaces => {
            if let Ok(groups) = &config.cgroups {
                let made = groups.make(&plan.limits)?;
                plan.cgroup = Some(made.folder().to_path_buf());
                group = Some(made);
            }
            let mut command = Command::new(&config.launcher);
            let text = serde_json::to_string(&plan).expect("paths of ours are text");
            command.arg(LAUNCHER).arg(text).env_clear().envs(SMALL);
            command
        }
        Isolation::None => {
            let outside = |path: &Path| {
                let bind = plan.binds.iter().find(|bind| path.starts_with(&bind.to));
                bind.map_or_else(
                    || path.to_path_buf(),
                    |bind| match path.strip_prefix(&bind.to) {
                        Ok(rest) if !rest.as_os_str().is_empty() => bind.from.join(rest),
                        _ => bind.from.clone(),
                    },
                )
            };
            let mut command = Command::new(outside(&plan.program));
            command.args(plan.args.iter().map(|word| outside(Path::new(word)))).env_clear();
            command.envs(plan.env.iter().cloned()).current_dir(outside(&plan.folder));
            for (name, place) in [("RUN402_WORKER_DIR", "/run402"), ("RUN402_CODE_DIR", "/code")] {
                command.env(name, outside(Path::new(place)));
            }
            command
        }
    };
    // The launcher's stdin is its lease: when it ends, so does everything inside.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    Ok((command, group))
}

/// The next user for a sandbox.
pub(crate) fn next_uid() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    UID_FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % UIDS
}

/// A folder with an empty `root`, and what else is named, readable for every user of a sandbox.
pub(crate) fn folder(config: &RunnerConfig, parts: &[&str]) -> io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("w").tempdir_in(&config.folder)?;
    for part in ["root"].iter().chain(parts) {
        let path = folder.path().join(part);
        fs::create_dir(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(folder)
}

/// The socket that a sandbox asks its broker at.
pub(crate) fn egress_listener(folder: &Path) -> io::Result<UnixListener> {
    listener(&fs::File::open(folder.join("run"))?, "e")
}

/// A socket in a folder, by a name that is short however deep the folder is.
fn listener(run: &fs::File, name: &str) -> io::Result<UnixListener> {
    let path = format!("/proc/self/fd/{}/{name}", run.as_raw_fd());
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

/// Starts a worker with so much memory.
///
/// # Errors
/// What the machine refused, with what the process said.
pub(crate) async fn start(config: &RunnerConfig, memory_mb: u32) -> io::Result<Started> {
    let folder = folder(config, &["code", "boot", "run"])?;
    let place = |part: &str| folder.path().join(part);
    fs::write(place("boot").join("bootstrap.mjs"), BOOTSTRAP)?;
    fs::write(place("boot").join("tunnel.mjs"), TUNNEL)?;
    let run = fs::File::open(place("run"))?;
    let (control, egress) = (listener(&run, "s")?, listener(&run, "e")?);
    let plan = Plan {
        root: place("root"),
        program: "/node".into(),
        args: vec![
            format!("--max-old-space-size={memory_mb}"),
            "--disable-warning=ExperimentalWarning".to_owned(),
            "/boot/bootstrap.mjs".to_owned(),
        ],
        env: vec![("NODE_ENV".to_owned(), "production".to_owned())],
        folder: "/boot".into(),
        binds: vec![
            Bind::new(&config.node, "/node"),
            Bind::new(&place("boot"), "/boot"),
            Bind::new(&place("code"), "/code"),
            Bind::new(&place("run"), "/run402"),
        ],
        uid: next_uid(),
        limits: Limits {
            data_bytes: DATA_BYTES_BASE + 2 * (u64::from(memory_mb) << 20),
            memory_bytes: MEMORY_BYTES_BASE + (u64::from(memory_mb) << 20),
            processes: PROCESSES_MAX,
            files: FILES_MAX,
            tmp_bytes: TMP_BYTES_MAX,
            tmp_files: TMP_FILES_MAX,
        },
        cgroup: None,
    };
    let (mut command, group) = command(config, plan)?;
    let mut child = command.spawn()?;
    // Taken first: waiting for a child closes its stdin.
    let lease = child.stdin.take();
    let ready = tokio::time::timeout(Duration::from_secs(READY_SECS_MAX), ready(&control));
    let control = tokio::select! {
        ready = ready => ready.ok().flatten(),
        _ = child.wait() => None,
    };
    let Some(control) = control else {
        let _ = child.start_kill();
        return Err(io::Error::other(said(&mut child).await));
    };
    let pid = match config.isolation {
        Isolation::Namespaces => child.id().and_then(child_of),
        Isolation::None => child.id(),
    };
    Ok(Started { child, lease, control, egress, folder, group, pid })
}

/// The worker's own connection, once it has said that it is ready.
async fn ready(listener: &UnixListener) -> Option<UnixStream> {
    let (mut stream, _) = listener.accept().await.ok()?;
    let frame = Frame::read(&mut stream).await?;
    (frame.kind == Kind::Ready).then_some(stream)
}

/// The only child of a process.
fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// What a process wrote before it ended.
async fn said(child: &mut Child) -> String {
    let mut text = String::new();
    if let Some(stderr) = child.stderr.take() {
        let mut stderr = stderr.take(STDERR_BYTES_MAX);
        let _ = tokio::time::timeout(Duration::from_secs(1), stderr.read_to_string(&mut text)).await;
    }
    let text = text.trim();
    if text.is_empty() { "the process ended before it was ready".to_owned() } else { text.to_owned() }
}

/// Megabytes of real memory that a process holds.
pub(crate) fn resident_mb(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    let shared: u64 = text.split_whitespace().nth(2)?.parse().ok()?;
    // Pages of 4 KiB. What it shares with its file is Node's own text, mapped by all workers together.
    Some(pages.saturating_sub(shared) * 4096 / (1 << 20))
}
