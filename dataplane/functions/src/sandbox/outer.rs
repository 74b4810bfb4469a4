//! The side that stays outside and waits.

use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{getegid, geteuid, read, setsid};

use super::{During, INNER, Plan, Refused, SMALL, map_user};

pub(super) fn run(plan: &Plan, text: &str) -> Result<ExitCode, Refused> {
    if let Some(group) = &plan.cgroup {
        // Before anything is started: what a group is held to begins here.
        std::fs::write(group.join("cgroup.procs"), "0").during("join the control group")?;
    }
    // A signal to our group must not reach the server. It fails when we lead a group already, which is as good.
    let _ = setsid();
    let mut kinds = CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    if plan.cgroup.is_some() {
        // Inside, this group is the root of all groups.
        kinds |= CloneFlags::CLONE_NEWCGROUP;
    }
    let (uid, gid) = (geteuid(), getegid());
    if !uid.is_root() {
        kinds |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(kinds).during("leave the machine's namespaces")?;
    if !uid.is_root() {
        map_user(0, uid.as_raw(), gid.as_raw())?;
    }
    nix::unistd::sethostname("function").during("name the world")?;
    let ended = SigSet::from(Signal::SIGCHLD);
    ended.thread_block().during("wait for signals")?;
    let signals = SignalFd::with_flags(&ended, SfdFlags::SFD_CLOEXEC).during("wait for signals")?;
    let program = std::fs::read_link("/proc/self/exe").during("find this program")?;
    let child = Command::new(program)
        .arg(INNER)
        .arg(text)
        .env_clear()
        .envs(SMALL)
        .stdin(Stdio::null())
        .spawn()
        .during("start the inner side")?;
    Ok(code(wait(child, &signals)?))
}

/// Until the child ends, or whoever started us closes our stdin.
fn wait(mut child: Child, signals: &SignalFd) -> Result<ExitStatus, Refused> {
    let stdin = std::io::stdin();
    loop {
        if let Some(status) = child.try_wait().during("wait")? {
            return Ok(status);
        }
        let mut watched =
            [PollFd::new(stdin.as_fd(), PollFlags::POLLIN), PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno).during("wait"),
        }
        if watched[0].revents().is_some_and(|seen| !seen.is_empty()) {
            let mut buffer = [0; 64];
            if read(stdin.as_fd(), &mut buffer).unwrap_or(0) == 0 {
                child.kill().during("end the child")?;
                return child.wait().during("wait");
            }
        }
        if watched[1].revents().is_some_and(|seen| !seen.is_empty()) {
            let mut buffer = [0; 128];
            let _ = read(signals.as_fd(), &mut buffer);
        }
    }
}

fn code(status: ExitStatus) -> ExitCode {
    let number = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    ExitCode::from(u8::try_from(number).unwrap_or(u8::MAX))
}
