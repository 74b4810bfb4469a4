//! Control groups (version 2) for sandboxes: memory, processes and processor time of everything in one, together.
//!
//! They are there where whoever runs this server gave it a part of the machine's tree to divide on: systemd's
//! `Delegate=yes`, a container with a writable tree. Elsewhere each process is held to limits of its own
//! (`rlimit`) and its resident memory is looked at, and `/status` says so.
//!
//! A group that hands controllers on may hold no processes itself, so a server that is alone in its group moves
//! to one below.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::sandbox::Limits;

const MOUNT: &str = "/sys/fs/cgroup";
const OWN: &str = "/proc/self/cgroup";
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];
/// Where the server moves to.
const SERVER: &str = "server";
const PREFIX: &str = "function";
/// Microseconds of processor time in each hundred thousand: one processor.
const CPU_MAX: &str = "100000 100000";
/// The launcher's two processes, which the limit of a sandbox does not count.
const LAUNCHERS: u64 = 2;

/// The part of the tree that is this server's.
#[derive(Debug)]
pub struct Cgroups {
    base: PathBuf,
    server: u32,
    next: AtomicU64,
    /// Groups whose processes may not be gone yet.
    left: Mutex<Vec<PathBuf>>,
}

/// One sandbox's group. Everything in it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Cgroup {
    folder: PathBuf,
    of: Arc<Cgroups>,
}

impl Cgroups {
    /// Asks the machine for a part of its tree. The error says why there is none.
    ///
    /// # Errors
    /// What is missing.
    pub fn find() -> Result<Arc<Self>, String> {
        let own = fs::read_to_string(OWN).map_err(|e| format!("{OWN}: {e}"))?;
        Self::find_in(Path::new(MOUNT), &own, std::process::id())
    }

    fn find_in(mount: &Path, own: &str, server: u32) -> Result<Arc<Self>, String> {
        let place = own.lines().find_map(|line| line.strip_prefix("0::/"));
        let place = place.ok_or("this machine has no control groups of version 2")?;
        let group = mount.join(place);
        let Ok(offered) = fs::read_to_string(group.join("cgroup.controllers")) else {
            return Err(format!("control groups of version 2 are not mounted at {}", mount.display()));
        };
        let has = |name: &&str| offered.split_whitespace().any(|one| one == *name);
        if let Some(missing) = CONTROLLERS.iter().find(|name| !has(name)) {
            return Err(format!("this server's control group lacks the controller {missing}"));
        }
        let above = group.parent().filter(|above| above.starts_with(mount) && group != mount);
        let base = match above.filter(|above| is_free(above)) {
            // systemd's `DelegateSubgroup=` did what is done below.
            Some(above) => above.to_path_buf(),
            None => {
                step_down(&group, server)?;
                group
            }
        };
        let all = CONTROLLERS.map(|name| format!("+{name}")).join(" ");
        fs::write(base.join("cgroup.subtree_control"), all)
            .map_err(|e| format!("{} hands no controllers on: {e}", base.display()))?;
        let found = Self { base, server, next: AtomicU64::new(0), left: Mutex::default() };
        found.forget_the_dead();
        Ok(Arc::new(found))
    }

    /// A group for one sandbox.
    ///
    /// # Errors
    /// What the kernel refused: then nothing may be started.
    pub(crate) fn make(self: &Arc<Self>, limits: &Limits) -> io::Result<Cgroup> {
        self.sweep();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let folder = self.base.join(format!("{PREFIX}-{}-{number}", self.server));
        fs::create_dir(&folder)?;
        // From here on it is removed whatever comes.
        let group = Cgroup { folder, of: self.clone() };
        for (file, value) in [
            ("memory.max", limits.memory_bytes.to_string()),
            // A sandbox that lost one process to the memory's end is of no use.
            ("memory.oom.group", "1".to_owned()),
            ("pids.max", (limits.processes + LAUNCHERS).to_string()),
            ("cpu.max", CPU_MAX.to_owned()),
        ] {
            fs::write(group.folder.join(file), value)?;
        }
        // Only there where the machine counts swap.
        let _ = fs::write(group.folder.join("memory.swap.max"), "0");
        Ok(group)
    }

    /// Removes groups whose processes have ended.
    fn sweep(&self) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|folder| fs::remove_dir(folder).is_err_and(|e| e.kind() != io::ErrorKind::NotFound));
    }

    /// What servers before this one left behind.
    fn forget_the_dead(&self) {
        for one in fs::read_dir(&self.base).into_iter().flatten().flatten() {
            let name = one.file_name();
            let server = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').nth(1));
            if server.is_some_and(|server| !Path::new("/proc").join(server).exists()) {
                end(&one.path());
            }
        }
    }
}

impl Cgroup {
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        end(&self.folder);
        if self.folder.exists() {
            self.of.left.lock().unwrap_or_else(PoisonError::into_inner).push(self.folder.clone());
        }
    }
}

/// Ends whatever is in a group, and removes it once it is empty.
fn end(folder: &Path) {
    let _ = fs::write(folder.join("cgroup.kill"), "1");
    let _ = fs::remove_dir(folder);
}

/// Whether the group is ours to divide: nothing lives in it itself, and we may write.
fn is_free(group: &Path) -> bool {
    let empty = fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|all| all.trim().is_empty());
    let control = fs::OpenOptions::new().write(true).open(group.join("cgroup.subtree_control"));
    // The root holds the whole machine, whoever may write to it.
    let is_root = !group.join("cgroup.type").exists();
    empty && control.is_ok() && !is_root
}

/// Moves the server out of its group, if it is alone there.
fn step_down(group: &Path, server: u32) -> Result<(), String> {
    let wrong = |e: io::Error| format!("{} is not this server's: {e}", group.display());
    let inside = fs::read_to_string(group.join("cgroup.procs")).map_err(wrong)?;
    if inside.split_whitespace().any(|process| process != server.to_string()) {
        return Err("other processes share this server's control group".to_owned());
    }
    let below = group.join(SERVER);
    match fs::create_dir(&below) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(wrong(e)),
        _ => fs::write(below.join("cgroup.procs"), server.to_string()).map_err(wrong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        data_bytes: 1,
        memory_bytes: 320 << 20,
        processes: 48,
        files: 1,
        tmp_bytes: 1,
        tmp_files: 1,
    };
    const SERVER_PID: u32 = 7;

    /// A folder with the files that the kernel would show for a group.
    fn group(at: &Path, controllers: &str, inside: &str) {
        fs::create_dir_all(at).unwrap();
        for (file, text) in [
            ("cgroup.controllers", controllers),
            ("cgroup.procs", inside),
            ("cgroup.subtree_control", ""),
            ("cgroup.type", "domain"),
        ] {
            fs::write(at.join(file), text).unwrap();
        }
    }

    fn read(path: PathBuf) -> String {
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    // F07. Goal: everything in a sandbox is held together to its memory, processes and one processor. Method: a
    // folder that looks like a delegated tree; what is written there is what a kernel would be told.
    #[test]
    fn a_server_that_is_alone_steps_down_and_its_sandboxes_get_their_limits() {
        let tree = tempfile::tempdir().unwrap();
        let own = tree.path().join("run402.service");
        group(tree.path(), "cpu memory pids", "1");
        group(&own, "cpuset cpu io memory pids", "7\n");
        let found =
            Cgroups::find_in(tree.path(), "1:name=systemd:/\n0::/run402.service\n", SERVER_PID).unwrap();
        assert_eq!(read(own.join("server/cgroup.procs")), "7", "no process beside groups");
        assert_eq!(read(own.join("cgroup.subtree_control")), "+memory +pids +cpu");
        let made = found.make(&LIMITS).unwrap();
        let folder = made.folder().to_path_buf();
        assert_eq!(folder, own.join("function-7-0"));
        for (file, value) in [
            ("memory.max", "335544320"),
            ("memory.swap.max", "0"),
            ("memory.oom.group", "1"),
            ("pids.max", "50"),
            ("cpu.max", "100000 100000"),
        ] {
            assert_eq!(read(folder.join(file)), value, "{file}");
        }
        assert_eq!(found.make(&LIMITS).unwrap().folder(), own.join("function-7-1"));
        drop(made);
        assert_eq!(read(folder.join("cgroup.kill")), "1", "all in it end with it");
        // A kernel's folder of files can be removed once nobody is in it; here they are files.
        for file in fs::read_dir(&folder).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        found.sweep();
        assert!(!folder.exists(), "what is empty is removed later");
    }

    #[test]
    fn a_part_given_by_systemd_is_divided_where_it_stands_and_the_dead_are_cleared_away() {
        let tree = tempfile::tempdir().unwrap();
        let above = tree.path().join("run402.service");
        group(&above, "cpu memory pids", "");
        group(&above.join("main"), "cpu memory pids", "7");
        let dead = above.join("function-4194305-3");
        fs::create_dir(&dead).unwrap();
        let found = Cgroups::find_in(tree.path(), "0::/run402.service/main", SERVER_PID).unwrap();
        assert_eq!(found.make(&LIMITS).unwrap().folder(), above.join("function-7-0"));
        assert_eq!(read(above.join("main/cgroup.procs")), "7", "nobody moves");
        assert_eq!(read(dead.join("cgroup.kill")), "1", "no process has that number");
    }

    #[test]
    fn whoever_has_no_part_of_the_tree_is_told_why() {
        let tree = tempfile::tempdir().unwrap();
        group(&tree.path().join("shared"), "cpu memory pids", "7\n8\n");
        group(&tree.path().join("poor"), "cpu", "7");
        for (own, why) in [
            ("1:memory:/\n", "no control groups of version 2"),
            ("0::/elsewhere", "not mounted"),
            ("0::/", "not mounted"),
            ("0::/shared", "other processes"),
            ("0::/poor", "lacks the controller memory"),
        ] {
            let error = Cgroups::find_in(tree.path(), own, SERVER_PID).unwrap_err();
            assert!(error.contains(why), "{own}: {error}");
        }
        assert!(!tree.path().join("shared/server").exists(), "nothing is changed that is not ours");
    }
}
