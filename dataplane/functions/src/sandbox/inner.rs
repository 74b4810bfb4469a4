//! The side inside: process 1 of its world, until it becomes the tenant's program.

use std::convert::Infallible;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::{Gid, Uid, chdir, geteuid, pivot_root, setgid, setgroups, setuid};

use super::{During, Limits, Plan, Refused, filter, map_user};

/// What programs are linked with. Links to folders are made again, as links.
const LIBRARIES: [&str; 4] = ["/usr/lib", "/usr/lib64", "/lib", "/lib64"];
const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/random", "/dev/urandom"];
/// The user inside.
const USER: u32 = 1000;
const NONE: Option<&str> = None;

pub(super) fn run(plan: &Plan) -> Result<Infallible, Refused> {
    build(plan)?;
    limit(plan.limits)?;
    lower(plan.uid)?;
    // Last of all: what made this world is refused from here on.
    filter::install()?;
    // Blocked by the outer side for its own use, and inherited.
    SigSet::all().thread_unblock().during("take signals")?;
    let failure = Command::new(&plan.program)
        .args(&plan.args)
        .env_clear()
        .envs(plan.env.iter().cloned())
        .current_dir(&plan.folder)
        .exec();
    Err(failure).during(&format!("run {}", plan.program.display()))
}

/// Mounts the new root, fills it, and leaves the old one.
fn build(plan: &Plan) -> Result<(), Refused> {
    unshare(CloneFlags::CLONE_NEWNS).during("leave the machine's mounts")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NONE, "/", NONE, private, NONE).during("keep mounts private")?;
    let root = &plan.root;
    let sealed = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), root, Some("tmpfs"), sealed, Some("size=1m,mode=755")).during("mount the root")?;
    for library in LIBRARIES {
        let from = Path::new(library);
        let Ok(kind) = fs::symlink_metadata(from) else { continue };
        if kind.is_symlink() {
            let target = fs::read_link(from).during("read a link")?;
            std::os::unix::fs::symlink(target, inside(root, from)).during("make a link")?;
        } else {
            bind(from, &inside(root, from), MsFlags::MS_NODEV)?;
        }
    }
    for device in DEVICES {
        bind(Path::new(device), &inside(root, Path::new(device)), MsFlags::MS_NOEXEC)?;
    }
    for one in &plan.binds {
        bind(&one.from, &inside(root, &one.to), MsFlags::MS_NODEV)?;
    }
    let tmp = root.join("tmp");
    fs::create_dir(&tmp).during("make /tmp")?;
    let size = format!("size={},nr_inodes={},mode=1777", plan.limits.tmp_bytes, plan.limits.tmp_files);
    mount(Some("tmpfs"), &tmp, Some("tmpfs"), sealed | MsFlags::MS_NOEXEC, Some(size.as_str()))
        .during("mount /tmp")?;
    let proc = root.join("proc");
    fs::create_dir(&proc).during("make /proc")?;
    mount(Some("proc"), &proc, Some("proc"), sealed | MsFlags::MS_NOEXEC, NONE).during("mount /proc")?;
    let still = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | sealed;
    mount(NONE, root, NONE, still, NONE).during("close the root")?;
    chdir(root).during("enter the root")?;
    pivot_root(".", ".").during("change the root")?;
    umount2(".", MntFlags::MNT_DETACH).during("leave the old root")?;
    chdir("/").during("enter the root")
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    let relative = path.strip_prefix("/").unwrap_or(path);
    root.join(relative)
}

/// Shows a file or folder of the machine, for reading.
fn bind(from: &Path, to: &Path, more: MsFlags) -> Result<(), Refused> {
    let what = format!("show {}", from.display());
    if from.is_dir() {
        fs::create_dir_all(to).during(&what)?;
    } else {
        let folder = to.parent().unwrap_or(to);
        fs::create_dir_all(folder).during(&what)?;
        fs::File::create(to).during(&what)?;
    }
    mount(Some(from), to, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).during(&what)?;
    // What the mount carries already may not be taken away in a user namespace.
    let carried = statvfs(to).during(&what)?.flags();
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | more;
    for (carried_flag, flag) in [
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ] {
        if carried.contains(carried_flag) {
            flags |= flag;
        }
    }
    mount(NONE, to, NONE, flags, NONE).during(&what)
}

fn limit(limits: Limits) -> Result<(), Refused> {
    for (resource, most) in [
        (Resource::RLIMIT_DATA, limits.data_bytes),
        (Resource::RLIMIT_NPROC, limits.processes),
        (Resource::RLIMIT_NOFILE, limits.files),
        (Resource::RLIMIT_FSIZE, limits.tmp_bytes),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_MEMLOCK, 0),
        (Resource::RLIMIT_MSGQUEUE, 0),
    ] {
        setrlimit(resource, most, most).during("set a limit")?;
    }
    Ok(())
}

/// Gives up every right. What is mounted belongs to the user namespace that is left here, so it cannot be
/// changed any more.
fn lower(uid: u32) -> Result<(), Refused> {
    let (mut user, mut group) = (geteuid(), nix::unistd::getegid());
    // Real root; the root of an ordinary user's namespace is somebody else outside.
    let real = fs::read_to_string("/proc/self/uid_map").during("read who we are")?;
    if user.is_root() && real.split_whitespace().eq(["0", "0", "4294967295"]) {
        (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
        setgroups(&[]).during("give up groups")?;
        setgid(group).during("lower the group")?;
        setuid(user).during("lower the user")?;
    }
    unshare(CloneFlags::CLONE_NEWUSER).during("leave the machine's users")?;
    map_user(USER, user.as_raw(), group.as_raw())?;
    prctl::set_no_new_privs().during("renounce new rights")?;
    // After the last change of credentials, which would clear it.
    prctl::set_pdeathsig(Signal::SIGKILL).during("end with the outer side")
}
