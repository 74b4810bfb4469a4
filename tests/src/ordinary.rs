//! The same tests by an account without rights. A sandbox is built in one way by root and in another by everybody
//! else; a machine that runs tests as root would see the first alone.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use nix::unistd::{User, geteuid};

use crate::tools_folder;

const UNPRIVILEGED: &str = "nobody";
/// One at a time: each starts servers and workers of its own.
const THREADS: &str = "1";

/// Runs these tests of the calling test binary again as `nobody`, when root runs them. `beside` are files that they
/// find by their place: relative to the folder above the binary's.
///
/// Everything is laid anew in a folder that `nobody` may pass: the tree of this build need not be one.
pub fn again_without_rights(tests: &[&str], beside: &[&str]) {
    if !geteuid().is_root() {
        eprintln!("this account has no rights already: NOT tried is what root's sandboxes keep in");
        return;
    }
    let user = User::from_name(UNPRIVILEGED).unwrap().expect("an account without rights");
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    let stage = tempdir(&format!("r402-{UNPRIVILEGED}"));
    let own = std::env::current_exe().unwrap();
    let build = own.ancestors().nth(2).unwrap();
    let program = stage.0.join("build/deps").join(own.file_name().unwrap());
    lay(&own, &program).unwrap();
    for name in beside {
        lay(&build.join(name), &stage.0.join("build").join(name)).unwrap();
    }
    let tools = stage.0.join("tools");
    lay(&tools_folder().canonicalize().unwrap(), &tools).unwrap();
    let home = stage.0.join("tmp");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(uid), Some(gid)).unwrap();

    let output = Command::new(&program)
        .args(tests)
        .args(["--exact", "--test-threads", THREADS])
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", &home)
        .env("TMPDIR", &home)
        .env("RUN402_TOOLS_DIR", &tools)
        .current_dir(&home)
        .uid(uid)
        .gid(gid)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let all = format!("{} passed", tests.len());
    assert!(
        output.status.success() && said.contains(&all),
        "as {UNPRIVILEGED}: {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Removed when dropped.
struct Stage(PathBuf);

fn tempdir(name: &str) -> Stage {
    let random: u64 = rand::random();
    let path = std::env::temp_dir().join(format!("{name}-{random:016x}"));
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Stage(path)
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file or tree at another place, where everybody may read it.
fn lay(from: &Path, to: &Path) -> io::Result<()> {
    let about = fs::symlink_metadata(from)?;
    if let Some(above) = to.parent() {
        fs::create_dir_all(above)?;
    }
    if about.is_symlink() {
        return symlink(fs::read_link(from)?, to);
    }
    if about.is_dir() {
        fs::create_dir(to)?;
        for one in fs::read_dir(from)? {
            let one = one?;
            lay(&one.path(), &to.join(one.file_name()))?;
        }
        return Ok(());
    }
    // Another name of the same file costs nothing.
    let readable = about.mode() & 0o4 != 0;
    if readable && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to)?;
    let everybody = if about.mode() & 0o100 == 0 { 0o644 } else { 0o755 };
    fs::set_permissions(to, fs::Permissions::from_mode(everybody))
}
