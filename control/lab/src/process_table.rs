//! What `/proc` says about a process. A process is its id *and* its start time: ids are used again.

use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const POLL: Duration = Duration::from_millis(50);

/// When the process started, in clock ticks since boot; none when it is gone or only waits to be reaped.
///
/// # Source
/// proc_pid_stat(5): field 3 is the state, field 22 the start time; field 2 may hold spaces and brackets.
pub(crate) fn started(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(") ")?.1;
    let mut fields = after_name.split_ascii_whitespace();
    // An orphan of ours may stay a zombie for good where process 1 reaps nothing.
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The current directory of a process, when we may see it.
pub(crate) fn current_directory(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd")).ok()
}

/// True while the very process that started then is alive.
pub(crate) fn is_alive(pid: i32, start_time: u64) -> bool {
    started(pid) == Some(start_time)
}

/// Sends a signal; a process that is gone is fine.
pub(crate) fn send(pid: i32, signal: Signal) {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => tracing::warn!(pid, %signal, %errno, "a child could not be signalled"),
    }
}

/// True once the process is gone, false when it is still there after `limit`.
pub(crate) async fn wait_gone(pid: i32, start_time: u64, limit: Duration) -> bool {
    let gone = async {
        while is_alive(pid, start_time) {
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::time::timeout(limit, gone).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not_it() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let start_time = started(pid).unwrap();
        assert!(is_alive(pid, start_time));
        assert!(!is_alive(pid, start_time + 1));
    }

    #[test]
    fn a_zombie_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while started(pid).is_some() && std::time::Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(started(pid), None);
        child.wait().unwrap();
    }
}
