//! The data directory: what is where, which format it is, and who holds it.
//!
//! ```text
//! VERSION         the format number            lock           held by the process that runs the lab
//! keys.json       every secret, made once      children.json  who runs: process id and start time
//! control-pg/     the control Postgres         endpoints.json how to reach what runs
//! cell-pg/        the tenants' Postgres        chain/         anvil's state
//! s3/             objects                      socket/        both Postgres sockets
//! logs/           one file a child             conf/          Postgres configuration, written at every start
//! chain-backup/   the chain's state as it was when the lab last started
//! ```
//!
//! As root the servers run as another account. When that account cannot reach the data directory (root's home
//! is closed), what is theirs lives under [`ROOT_STORE`] and the names above are symbolic links to it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use alloy::primitives::keccak256;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::account::Account;
use crate::children::Role;
use crate::error::{During, LabError};

/// Rises when an older program could not use the directory any more.
const FORMAT: u32 = 1;
/// Reachable by every account, writable by root alone.
pub(crate) const ROOT_STORE: &str = "/var/lib/run402";
/// `sun_path` holds 108 bytes with its closing zero; Postgres appends `/.s.PGSQL.5433`.
const SOCKET_FOLDER_BYTES_MAX: usize = 93;

/// What the servers' account reads or owns.
const SERVED: [&str; 5] = ["control-pg", "cell-pg", "chain", "socket", "conf"];

/// An opened data directory. Holds its lock until dropped.
#[derive(Debug)]
pub(crate) struct Layout {
    data: PathBuf,
    /// Where `SERVED` really is.
    home: PathBuf,
    socket: PathBuf,
    _lock: Flock<File>,
}

/// Whether a data directory without a lab becomes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Open {
    Create,
    ExistingOnly,
}

impl Layout {
    /// Opens, locks and, where allowed, makes the data directory.
    ///
    /// # Errors
    /// `Locked`, `Version`, `NotALab`, `NoLab`: nothing was changed.
    pub(crate) fn open(data: &Path, open: Open, account: &Account) -> Result<Self, LabError> {
        let data = absolute(data)?;
        if open == Open::ExistingOnly && !data.join("VERSION").is_file() {
            return Err(LabError::NoLab { data });
        }
        if data.join("VERSION").is_file() {
            // Before anything is made or locked: what another version keeps there is not ours to touch.
            check_version(&data)?;
        }
        make_data_directory(&data, account)?;
        let data = data.canonicalize().at("resolving", &data)?;
        let lock = lock(&data)?;
        let fresh = check_version(&data)?;
        let home = place_home(&data, account, fresh)?;
        let socket = place_socket(&home, account)?;
        let layout = Self { data, home, socket, _lock: lock };
        layout.make_folders(account)?;
        if fresh {
            // Last: without it the next start begins anew, and every part is made whole or not at all.
            write_atomically(&layout.data.join("VERSION"), format!("{FORMAT}\n").as_bytes(), 0o644)?;
        }
        Ok(layout)
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }
    pub(crate) fn objects(&self) -> PathBuf {
        self.data.join("s3")
    }
    pub(crate) fn keys_file(&self) -> PathBuf {
        self.data.join("keys.json")
    }
    pub(crate) fn children_file(&self) -> PathBuf {
        self.data.join("children.json")
    }
    pub(crate) fn endpoints_file(&self) -> PathBuf {
        self.data.join("endpoints.json")
    }
    pub(crate) fn chain(&self) -> PathBuf {
        self.home.join("chain")
    }
    /// Ours, unlike `chain`: a server must not be able to bend a path that root writes to.
    pub(crate) fn chain_backup(&self) -> PathBuf {
        self.data.join("chain-backup")
    }
    /// Ours, read by the servers: the configuration holds no secret.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.home.join("conf")
    }
    /// A file beside the Postgres directories, for one moment of their making.
    pub(crate) fn password_file(&self, port: u16) -> PathBuf {
        self.home.join(format!("password-{port}"))
    }
    /// The folder of both Postgres sockets, short enough for a socket address.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }
    pub(crate) fn postgres_directories(&self) -> [(Role, PathBuf); 2] {
        [
            (Role::ControlPostgres, self.home.join("control-pg")),
            (Role::CellPostgres, self.home.join("cell-pg")),
        ]
    }

    fn make_folders(&self, account: &Account) -> Result<(), LabError> {
        let modes = [
            (self.logs(), 0o700),
            (self.objects(), 0o700),
            (self.chain_backup(), 0o700),
            (self.configuration(), 0o755),
        ];
        for (folder, mode) in modes {
            fs::create_dir_all(&folder).at("making", &folder)?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).at("closing", &folder)?;
        }
        account.own_directory(&self.chain())?;
        account.own_directory(&self.socket)?;
        if self.home != self.data {
            for name in SERVED {
                link(&self.home.join(name), &self.data.join(name))?;
            }
        }
        Ok(())
    }
}

impl Drop for Layout {
    /// Leaves nothing outside the data directory.
    fn drop(&mut self) {
        if !self.socket.starts_with(&self.home) {
            // Where it is not empty a server died without cleaning up, and the next start goes on in it.
            let _ = fs::remove_dir(&self.socket);
        }
    }
}

/// The absolute form, without asking that it exists.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, LabError> {
    std::path::absolute(path).at("resolving", path)
}

/// Writes a file that only we may read, whole or not at all.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), LabError> {
    write_atomically(path, bytes, 0o600)
}

fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> Result<(), LabError> {
    let draft = path.with_extension("new");
    crate::children::remove_if_there(&draft)?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft).at("making", &draft)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).at("writing", &draft)?;
    fs::rename(&draft, path).at("writing", path)
}

fn make_data_directory(data: &Path, account: &Account) -> Result<(), LabError> {
    // Another account has to pass through, but need not list.
    let mode = if account.is_lowered() { 0o711 } else { 0o700 };
    if let Some(parent) = data.parent() {
        fs::create_dir_all(parent).at("making", parent)?;
    }
    match fs::DirBuilder::new().mode(mode).create(data) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.at("making", data),
    }
}

fn lock(data: &Path) -> Result<Flock<File>, LabError> {
    let path = data.join("lock");
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    match Flock::lock(file.at("opening", &path)?, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            lock.set_len(0).at("writing", &path)?;
            write!(lock, "{}", std::process::id()).at("writing", &path)?;
            Ok(lock)
        }
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            Err(LabError::Locked { data: data.to_path_buf(), holder })
        }
        Err((_, errno)) => Err(std::io::Error::from(errno)).at("locking", &path),
    }
}

/// True when a process holds the lab of this directory.
pub(crate) fn is_locked(data: &Path) -> bool {
    let Ok(file) = File::open(data.join("lock")) else { return false };
    matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, Errno::EWOULDBLOCK)))
}

/// True when the directory has no lab yet.
fn check_version(data: &Path) -> Result<bool, LabError> {
    let path = data.join("VERSION");
    match fs::read_to_string(&path) {
        Ok(text) if text.trim() == FORMAT.to_string() => Ok(false),
        Ok(text) => Err(LabError::Version {
            data: data.to_path_buf(),
            found: text.trim().chars().take(40).collect(),
            known: FORMAT,
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            refuse_strange_files(data)?;
            Ok(true)
        }
        Err(error) => Err(error).at("reading", &path),
    }
}

/// Without VERSION only the leftovers of an interrupted first start are ours.
fn refuse_strange_files(data: &Path) -> Result<(), LabError> {
    const OURS: [&str; 5] = ["lock", "logs", "s3", "chain-backup", "VERSION.new"];
    for entry in fs::read_dir(data).at("reading", data)? {
        let name = entry.at("reading", data)?.file_name();
        let known = name.to_str().is_some_and(|name| OURS.contains(&name) || SERVED.contains(&name));
        if !known {
            return Err(LabError::NotALab { data: data.to_path_buf() });
        }
    }
    Ok(())
}

/// The data directory itself; as root, where the servers' account cannot reach it, a folder of root's own.
fn place_home(data: &Path, account: &Account, fresh: bool) -> Result<PathBuf, LabError> {
    let elsewhere = Path::new(ROOT_STORE).join(format!("lab-{}", path_hash(data)));
    let linked = data.join(SERVED[0]).is_symlink();
    if account.closed_folder(data).is_none() && !linked {
        return Ok(data.to_path_buf());
    }
    if fresh && elsewhere.exists() {
        // Of a lab whose data directory was removed since: its keys are gone, so nothing can use it.
        fs::remove_dir_all(&elsewhere).at("removing", &elsewhere)?;
    }
    make_root_folder(&elsewhere)?;
    match account.closed_folder(&elsewhere) {
        None => Ok(elsewhere),
        Some(folder) => Err(LabError::Account {
            account: "of the servers".to_owned(),
            why: format!("it may not pass {}", folder.display()),
        }),
    }
}

/// Makes a folder under [`ROOT_STORE`] that every account may pass and only root may change.
pub(crate) fn make_root_folder(path: &Path) -> Result<(), LabError> {
    for folder in [Path::new(ROOT_STORE), path] {
        fs::create_dir_all(folder).at("making", folder)?;
        let file = fs::symlink_metadata(folder).at("reading", folder)?;
        if file.is_symlink() || file.uid() != 0 {
            let why = "it should be a folder of root's".to_owned();
            return Err(LabError::Corrupt { path: folder.to_path_buf(), why });
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).at("opening", folder)?;
    }
    Ok(())
}

fn place_socket(home: &Path, account: &Account) -> Result<PathBuf, LabError> {
    let socket = home.join("socket");
    if socket.as_os_str().len() <= SOCKET_FOLDER_BYTES_MAX {
        return Ok(socket);
    }
    // Root never works in a folder where others may plant names.
    let store = Path::new(if account.is_lowered() { ROOT_STORE } else { "/tmp" });
    if account.is_lowered() {
        make_root_folder(store)?;
    }
    Ok(store.join(format!("run402-{}", path_hash(home))))
}

fn path_hash(path: &Path) -> String {
    let hash = keccak256(path.as_os_str().as_encoded_bytes());
    alloy::hex::encode(&hash[..8])
}

fn link(target: &Path, name: &Path) -> Result<(), LabError> {
    if name.is_symlink() && fs::read_link(name).is_ok_and(|present| present == target) {
        return Ok(());
    }
    crate::children::remove_if_there(name)?;
    std::os::unix::fs::symlink(target, name).at("linking", name)
}
