//! System calls that a tenant's program may not make. Node cannot make them by itself; whoever breaks out of it can.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use functions::sandbox::{Bind, LAUNCHER, Limits, Plan};
use nix::errno::Errno;
use nix::libc;
use nix::unistd::geteuid;

use super::{World, world};

/// Makes the calls of its arguments, `name:number:argument..`, and says what became of each.
const PROBE: &str = "for my $call (@ARGV) {
    my ($name, $number, @rest) = map { /^-?[0-9]+$/ ? $_ + 0 : $_ } split /:/, $call;
    my $done = syscall($number, @rest);
    print $name, ' ', ($done == -1 ? $! + 0 : 0), qq(\\n);
}";
/// Every Debian has it, and it makes system calls by number.
const PERL: &str = "/usr/bin/perl";
const NEW_USER_AND_FILES: i64 = libc::CLONE_NEWUSER as i64 | libc::CLONE_FS as i64;
const NEW_MOUNTS_AND_FILES: i64 = libc::CLONE_NEWNS as i64 | libc::CLONE_FS as i64;
/// More than there are flags.
const ALL: i64 = 0x7fff_ffff;
/// No process has it.
const NOBODY: i64 = 4_194_305;

/// Each with arguments that do no harm: whoever may make it is told that they make no sense.
fn refused() -> Vec<(&'static str, i64, Vec<i64>)> {
    let mut all = vec![
        ("mount", libc::SYS_mount, vec![0, 0, 0, 0, 0]),
        ("umount2", libc::SYS_umount2, vec![0, ALL]),
        ("pivot_root", libc::SYS_pivot_root, vec![0, 0]),
        ("chroot", libc::SYS_chroot, vec![0]),
        ("move_mount", libc::SYS_move_mount, vec![-1, 0, -1, 0, ALL]),
        ("open_tree", libc::SYS_open_tree, vec![-1, 0, ALL]),
        ("fsopen", libc::SYS_fsopen, vec![0, ALL]),
        ("fsconfig", libc::SYS_fsconfig, vec![-1, 0, 0, 0, 0]),
        ("fsmount", libc::SYS_fsmount, vec![-1, ALL, 0]),
        ("fspick", libc::SYS_fspick, vec![-1, 0, ALL]),
        ("mount_setattr", libc::SYS_mount_setattr, vec![-1, 0, ALL, 0, 0]),
        ("unshare", libc::SYS_unshare, vec![libc::CLONE_FILES.into()]),
        ("clone-user", libc::SYS_clone, vec![NEW_USER_AND_FILES, 0, 0, 0, 0]),
        ("clone-mounts", libc::SYS_clone, vec![NEW_MOUNTS_AND_FILES, 0, 0, 0, 0]),
        ("setns", libc::SYS_setns, vec![-1, 0]),
        ("name_to_handle_at", libc::SYS_name_to_handle_at, vec![-1, 0, 0, 0, ALL]),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, vec![-1, 0, 0]),
        ("ptrace", libc::SYS_ptrace, vec![libc::PTRACE_ATTACH.into(), NOBODY, 0, 0]),
        ("process_vm_readv", libc::SYS_process_vm_readv, vec![NOBODY, 0, 0, 0, 0, ALL]),
        ("process_vm_writev", libc::SYS_process_vm_writev, vec![NOBODY, 0, 0, 0, 0, ALL]),
        ("process_madvise", libc::SYS_process_madvise, vec![-1, 0, 0, 0, ALL]),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, vec![-1, 0, ALL]),
        ("kcmp", libc::SYS_kcmp, vec![NOBODY, NOBODY, 0, 0, 0]),
        ("move_pages", libc::SYS_move_pages, vec![NOBODY, 0, 0, 0, 0, ALL]),
        ("bpf", libc::SYS_bpf, vec![ALL, 0, 0]),
        ("perf_event_open", libc::SYS_perf_event_open, vec![0, 0, -1, -1, ALL]),
        ("userfaultfd", libc::SYS_userfaultfd, vec![ALL]),
        ("fanotify_init", libc::SYS_fanotify_init, vec![ALL, 0]),
        ("init_module", libc::SYS_init_module, vec![0, 0, 0]),
        ("finit_module", libc::SYS_finit_module, vec![-1, 0, ALL]),
        ("delete_module", libc::SYS_delete_module, vec![0, 0]),
        ("kexec_load", libc::SYS_kexec_load, vec![0, 0, 0, ALL]),
        ("kexec_file_load", libc::SYS_kexec_file_load, vec![-1, -1, 0, 0, ALL]),
        ("keyctl", libc::SYS_keyctl, vec![ALL, 0, 0, 0, 0]),
        ("add_key", libc::SYS_add_key, vec![0, 0, 0, 0, 0]),
        ("request_key", libc::SYS_request_key, vec![0, 0, 0, 0]),
        ("reboot", libc::SYS_reboot, vec![0, 0, 0, 0]),
        ("swapon", libc::SYS_swapon, vec![0, ALL]),
        ("swapoff", libc::SYS_swapoff, vec![0]),
        ("acct", libc::SYS_acct, vec![1]),
        ("quotactl", libc::SYS_quotactl, vec![ALL, 0, 0, 0]),
        ("syslog", libc::SYS_syslog, vec![ALL, 0, 0]),
        ("settimeofday", libc::SYS_settimeofday, vec![1, 1]),
        ("clock_settime", libc::SYS_clock_settime, vec![ALL, 0]),
        ("sethostname", libc::SYS_sethostname, vec![0, -1]),
        ("personality", libc::SYS_personality, vec![0xffff_ffff]),
        ("shmget", libc::SYS_shmget, vec![0, 0, 0]),
        ("memfd_create", libc::SYS_memfd_create, vec![0, ALL]),
        ("packets", libc::SYS_socket, vec![libc::AF_PACKET.into(), libc::SOCK_RAW.into(), 0]),
        ("raw", libc::SYS_socket, vec![libc::AF_INET.into(), libc::SOCK_RAW.into(), 1]),
        ("raw6", libc::SYS_socket, vec![libc::AF_INET6.into(), libc::SOCK_RAW.into(), 58]),
        ("hosts", libc::SYS_socket, vec![libc::AF_VSOCK.into(), libc::SOCK_STREAM.into(), 0]),
        ("ciphers", libc::SYS_socket, vec![libc::AF_ALG.into(), libc::SOCK_SEQPACKET.into(), 0]),
        ("audit", libc::SYS_socket, vec![libc::AF_NETLINK.into(), libc::SOCK_RAW.into(), 9]),
    ];
    if cfg!(target_arch = "x86_64") {
        // `iopl` and `modify_ldt`.
        all.extend([("ports", 172, vec![9]), ("segments", 154, vec![ALL, 0, 0])]);
    }
    all
}

fn absent() -> Vec<(&'static str, i64, Vec<i64>)> {
    let mut all = vec![
        ("clone3", libc::SYS_clone3, vec![0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, vec![0, 0]),
        ("io_uring_enter", libc::SYS_io_uring_enter, vec![-1, 0, 0, 0, 0, 0]),
        ("io_uring_register", libc::SYS_io_uring_register, vec![-1, 0, 0, 0]),
    ];
    if cfg!(target_arch = "x86_64") {
        // `getpid` and `mount` by their second numbers.
        all.extend([
            ("second-getpid", 0x4000_0027, vec![]),
            ("second-mount", 0x4000_00a5, vec![0, 0, 0, 0, 0]),
        ]);
    }
    all
}

/// What programs must be able to do.
fn allowed() -> Vec<(&'static str, i64, Vec<i64>)> {
    vec![
        ("getpid", libc::SYS_getpid, vec![]),
        ("unix", libc::SYS_socket, vec![libc::AF_UNIX.into(), libc::SOCK_STREAM.into(), 0]),
        ("stream", libc::SYS_socket, vec![libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0]),
        ("datagram", libc::SYS_socket, vec![libc::AF_INET6.into(), libc::SOCK_DGRAM.into(), 0]),
        ("addresses", libc::SYS_socket, vec![libc::AF_NETLINK.into(), libc::SOCK_RAW.into(), 0]),
    ]
}

fn words(calls: &[(&str, i64, Vec<i64>)]) -> Vec<String> {
    let word = |(name, number, rest): &(&str, i64, Vec<i64>)| {
        let rest: String = rest.iter().map(|argument| format!(":{argument}")).collect();
        format!("{name}:{number}{rest}")
    };
    ["-e".to_owned(), PROBE.to_owned()].into_iter().chain(calls.iter().map(word)).collect()
}

/// What became of each call, as an error or none.
fn said(mut command: Command) -> BTreeMap<String, Option<Errno>> {
    // A launcher that hears no more of its caller ends.
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lease = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(lease);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let read = |line: &str| {
        let (name, number) = line.split_once(' ').unwrap();
        let number: i32 = number.parse().unwrap();
        (name.to_owned(), (number != 0).then(|| Errno::from_raw(number)))
    };
    text.lines().map(read).collect()
}

fn perl() -> PathBuf {
    let path = PathBuf::from(PERL);
    assert!(path.exists(), "{PERL} is not installed: it makes the system calls of this test");
    path
}

/// The probe in a sandbox like a worker's.
fn sandboxed(world: &World, calls: &[(&str, i64, Vec<i64>)]) -> Command {
    let root = world.config.folder.join("root");
    std::fs::create_dir_all(&root).unwrap();
    let plan = Plan {
        root,
        program: "/probe".into(),
        args: words(calls),
        env: Vec::new(),
        folder: "/".into(),
        binds: vec![Bind::new(&perl(), "/probe")],
        uid: 60_000,
        limits: Limits {
            data_bytes: 1 << 30,
            memory_bytes: 1 << 30,
            processes: 64,
            files: 64,
            tmp_bytes: 1 << 20,
            tmp_files: 64,
        },
        cgroup: None,
    };
    let mut command = Command::new(&world.config.launcher);
    command.arg(LAUNCHER).arg(serde_json::to_string(&plan).unwrap());
    command
}

/// The probe with the rights of this process, through the filter alone or through nothing.
fn bare(launcher: Option<&Path>, calls: &[(&str, i64, Vec<i64>)]) -> Command {
    let mut command = match launcher {
        Some(launcher) => {
            let mut command = Command::new(launcher);
            command.arg("filtered").arg(perl());
            command
        }
        None => Command::new(perl()),
    };
    command.args(words(calls));
    command
}

/// Of a whole root, as the kernel shows it.
fn has_all_rights() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
    geteuid().is_root() && u64::from_str_radix(set, 16).unwrap().count_ones() > 38
}

// F08. Goal: what breaks out of machines does not reach the kernel's code, from a worker and from everything else
// that runs in a sandbox, whatever rights it had. Method: each call is made by its number, inside a sandbox; then by
// root through the filter alone, where nothing but the filter can refuse it; then by root without it, which shows
// that those arguments would have got another answer.
#[tokio::test]
async fn what_no_function_needs_is_refused_by_the_kernel() {
    let world = world();
    let (refused, absent, allowed) = (refused(), absent(), allowed());
    let all: Vec<_> = refused.iter().chain(&absent).chain(&allowed).cloned().collect();
    let judge = |said: &BTreeMap<String, Option<Errno>>, place: &str| {
        for (calls, errno) in
            [(&refused, Some(Errno::EPERM)), (&absent, Some(Errno::ENOSYS)), (&allowed, None)]
        {
            for (name, _, _) in calls {
                assert_eq!(said[*name], errno, "{name} {place}");
            }
        }
    };
    judge(&said(sandboxed(&world, &all)), "in a sandbox");
    judge(&said(bare(Some(&world.config.launcher), &all)), "through the filter");
    if !has_all_rights() {
        eprintln!("this account lacks rights: NOT tried is what the calls would do without the filter");
        return;
    }
    let free = said(bare(None, &refused));
    let alike: Vec<&String> =
        free.iter().filter(|(_, e)| **e == Some(Errno::EPERM)).map(|(name, _)| name).collect();
    // A kernel that is locked down refuses these to everybody.
    let locked = ["kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module"];
    assert!(alike.iter().all(|name| locked.contains(&name.as_str())), "{alike:?} tell nothing: {free:?}");
}
