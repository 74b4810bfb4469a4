//! Which account the children run as. Postgres refuses root, so root lends them `nobody`.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{User, chown, geteuid};

use crate::error::{During, LabError};

/// Nothing of our own environment reaches the children but where programs are.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const UNPRIVILEGED: &str = "nobody";

/// The account of the children and the means to start them.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    uid: nix::unistd::Uid,
    gid: nix::unistd::Gid,
    name: String,
    /// True when we are root and the children are not.
    lowered: bool,
    /// The name of the account that runs this process.
    our_name: String,
    /// `setpriv` of util-linux can ask the kernel to signal the child when we die.
    has_setpriv: bool,
    /// `prlimit` of util-linux can bound the memory of a child's every process.
    has_prlimit: bool,
}

impl Account {
    /// Ourselves; or, as root, an account without rights.
    pub(crate) fn choose() -> Result<Self, LabError> {
        let (us, lowered) = (geteuid(), geteuid().is_root());
        let failed = |account: &str, why: String| LabError::Account { account: account.to_owned(), why };
        let ours = User::from_uid(us).map_err(|errno| failed("of this process", errno.to_string()))?;
        let ours =
            ours.ok_or_else(|| failed(&us.to_string(), "it has no entry in the passwd file".to_owned()))?;
        let user = if lowered {
            let found =
                User::from_name(UNPRIVILEGED).map_err(|errno| failed(UNPRIVILEGED, errno.to_string()))?;
            found.ok_or_else(|| failed(UNPRIVILEGED, "it does not exist".to_owned()))?
        } else {
            ours.clone()
        };
        let has_setpriv = runs(Command::new("setpriv").args(["--pdeathsig", "clear", "--", "true"]));
        let has_prlimit = runs(Command::new("prlimit").arg("--version"));
        let our_name = ours.name;
        Ok(Self {
            uid: user.uid,
            gid: user.gid,
            name: user.name,
            lowered,
            our_name,
            has_setpriv,
            has_prlimit,
        })
    }

    pub(crate) fn is_lowered(&self) -> bool {
        self.lowered
    }

    pub(crate) fn our_name(&self) -> &str {
        &self.our_name
    }

    /// A command that runs as this account, in its own process group, with a clean environment.
    ///
    /// Its own group, because Ctrl-C in a terminal goes to the whole group: the children must end after us.
    pub(crate) fn command(&self, program: &Path) -> Command {
        self.prepare(Command::new(program))
    }

    /// The same, and the kernel sends `death_signal` to it when the thread that started it ends.
    pub(crate) fn lasting_command(&self, program: &Path, death_signal: &str) -> Command {
        self.wrapped_command(program, death_signal, None)
    }

    /// The same, and none of its processes gets more private memory than `bytes_max`.
    pub(crate) fn bounded_command(&self, program: &Path, death_signal: &str, bytes_max: u64) -> Command {
        self.wrapped_command(program, death_signal, self.has_prlimit.then_some(bytes_max))
    }

    /// Each wrapper becomes the next program, so all is one process.
    fn wrapped_command(&self, program: &Path, death_signal: &str, bytes_max: Option<u64>) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if self.has_setpriv {
            words.extend(["setpriv", "--pdeathsig", death_signal, "--"].map(OsString::from));
        }
        if let Some(bytes) = bytes_max {
            words.extend(["prlimit", &format!("--data={bytes}"), "--"].map(OsString::from));
        }
        words.push(program.into());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        self.prepare(command)
    }

    fn prepare(&self, mut command: Command) -> Command {
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C").env("TZ", "UTC");
        command.current_dir("/").stdin(Stdio::null()).process_group(0);
        if self.lowered {
            command.uid(self.uid.as_raw()).gid(self.gid.as_raw());
        }
        command
    }

    /// Makes the directory, in an existing folder of ours, for this account alone.
    pub(crate) fn own_directory(&self, path: &Path) -> Result<(), LabError> {
        match std::fs::create_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.at("making", path)?,
        }
        let file = std::fs::symlink_metadata(path).at("reading", path)?;
        let expected = file.uid() == self.uid.as_raw() || file.uid() == geteuid().as_raw();
        if !file.is_dir() || !expected {
            let why = "it should be a folder of the account that runs the servers".to_owned();
            return Err(LabError::Corrupt { path: path.to_path_buf(), why });
        }
        self.own(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).at("closing", path)
    }

    /// Hands a file or directory over to this account.
    pub(crate) fn own(&self, path: &Path) -> Result<(), LabError> {
        if !self.lowered {
            return Ok(());
        }
        chown(path, Some(self.uid), Some(self.gid)).map_err(|errno| LabError::Account {
            account: self.name.clone(),
            why: format!("{} cannot be given to it: {errno}", path.display()),
        })
    }

    /// The first folder on the way to `path` (itself included) that the account may not pass.
    pub(crate) fn closed_folder(&self, path: &Path) -> Option<PathBuf> {
        if !self.lowered {
            return None;
        }
        let mut ways: Vec<&Path> = path.ancestors().collect();
        ways.reverse();
        ways.into_iter().find(|folder| !self.allows(folder, 0o1)).map(Path::to_path_buf)
    }

    /// True when the account may read the file, its folders aside.
    pub(crate) fn may_read(&self, file: &Path) -> bool {
        !self.lowered || self.allows(file, 0o4)
    }

    fn allows(&self, path: &Path, bit: u32) -> bool {
        let Ok(file) = std::fs::metadata(path) else { return false };
        let shift = match file {
            _ if file.uid() == self.uid.as_raw() => 6,
            _ if file.gid() == self.gid.as_raw() => 3,
            _ => 0,
        };
        (file.mode() >> shift) & bit == bit
    }
}

/// True when the command starts and succeeds; its output is dropped.
pub(crate) fn runs(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}
