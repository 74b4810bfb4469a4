//! Which system calls do not reach the kernel's code.
//!
//! Namespaces and the lack of rights make most of them fail already. But they fail late, in code that was
//! written for programs with rights, and that code is where a machine is broken out of. What Node, esbuild and
//! npm never ask for is refused here, at the door.
//!
//! Everything else is allowed: a list of what Node needs would be another one with each version of it.

use std::collections::BTreeMap;

use nix::errno::Errno;
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

use super::Refused;

/// As on a kernel without them, so that programs take their other way: `clone` for `clone3`, whose arguments lie
/// in memory where no filter sees them, and `epoll` for a ring.
const ABSENT: &[libc::c_long] =
    &[libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

const REFUSED: &[libc::c_long] = &[
    // Mounts, roots and other namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    // Files by handle, which no mount keeps inside.
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Programs for the kernel, and what they hang on.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_lookup_dcookie,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    // Keys belong to a user, not to a namespace.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // The machine itself.
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    libc::SYS_personality,
    // Memory that no limit of a process counts.
    libc::SYS_shmget,
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
];

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

/// Of processors that are programmed like a PC.
#[cfg(target_arch = "x86_64")]
const OF_THIS_PROCESSOR: &[libc::c_long] = &[
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OF_THIS_PROCESSOR: &[libc::c_long] = &[];

/// Namespaces that a new process can be given.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];
/// A socket's kind without the flags that are added to it.
const KIND_MASK: u64 = 0xf;
/// Every packet of an interface, the old way.
const SOCK_PACKET: libc::c_int = 10;
/// Netlink's part that tells addresses and interfaces.
const NETLINK_ROUTE: libc::c_int = 0;

/// Refuses them to this process and all that come of it, for good.
pub(super) fn install() -> Result<(), Refused> {
    for program in programs().map_err(refused)? {
        apply_filter(&program).map_err(refused)?;
    }
    Ok(())
}

/// The strictest answer of all of them counts.
fn programs() -> Result<Vec<BpfProgram>, seccompiler::Error> {
    let absent = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
    let mut refused: BTreeMap<libc::c_long, Vec<SeccompRule>> =
        REFUSED.iter().chain(OF_THIS_PROCESSOR).map(|call| (*call, Vec::new())).collect();
    refused.insert(libc::SYS_clone, namespaces()?);
    refused.insert(libc::SYS_socket, sockets()?);
    let mut all = vec![program(absent, Errno::ENOSYS)?, program(refused, Errno::EPERM)?];
    all.extend(second_numbers());
    Ok(all)
}

/// Calls by the numbers of another processor end the process: they would mean something else.
fn program(
    calls: BTreeMap<libc::c_long, Vec<SeccompRule>>,
    answer: Errno,
) -> Result<BpfProgram, seccompiler::Error> {
    let answer = SeccompAction::Errno((answer as i32).unsigned_abs());
    Ok(SeccompFilter::new(calls, SeccompAction::Allow, answer, ARCH)?.try_into()?)
}

fn namespaces() -> Result<Vec<SeccompRule>, seccompiler::Error> {
    let mut rules = Vec::new();
    for flag in NAMESPACES {
        let flag = u64::from(flag.unsigned_abs());
        let asked = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)?;
        rules.push(SeccompRule::new(vec![asked])?);
    }
    Ok(rules)
}

/// Unix, IPv4 and IPv6 without raw access, and what tells the addresses of this (empty) network.
fn sockets() -> Result<Vec<SeccompRule>, seccompiler::Error> {
    let number = |number: libc::c_int| u64::from(number.unsigned_abs());
    let is = |argument: u8, operator: SeccompCmpOp, value: libc::c_int| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, number(value))
    };
    let kind = |value| is(1, SeccompCmpOp::MaskedEq(KIND_MASK), value);
    let not = |family| is(0, SeccompCmpOp::Ne, family);
    let netlink = libc::AF_NETLINK;
    Ok(vec![
        SeccompRule::new(vec![
            not(libc::AF_UNIX)?,
            not(libc::AF_INET)?,
            not(libc::AF_INET6)?,
            not(netlink)?,
        ])?,
        SeccompRule::new(vec![not(netlink)?, kind(libc::SOCK_RAW)?])?,
        SeccompRule::new(vec![not(netlink)?, kind(SOCK_PACKET)?])?,
        SeccompRule::new(vec![is(0, SeccompCmpOp::Eq, netlink)?, is(2, SeccompCmpOp::Ne, NETLINK_ROUTE)?])?,
    ])
}

/// The kernel of a PC may know every call by a second number (x32), which the lists above would not see.
#[cfg(target_arch = "x86_64")]
fn second_numbers() -> Option<BpfProgram> {
    use seccompiler::sock_filter;

    const FIRST: u32 = 0x4000_0000;
    let step = |code: u32, (jt, jf): (u8, u8), k: u32| sock_filter {
        code: u16::try_from(code).expect("codes have 16 bits"),
        jt,
        jf,
        k,
    };
    let end = |answer: u32| step(libc::BPF_RET | libc::BPF_K, (0, 0), answer);
    Some(vec![
        // The number is the first field of what a filter is shown.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (0, 0), 0),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, (0, 1), FIRST),
        end(libc::SECCOMP_RET_ERRNO | (Errno::ENOSYS as i32).unsigned_abs()),
        end(libc::SECCOMP_RET_ALLOW),
    ])
}

#[cfg(not(target_arch = "x86_64"))]
fn second_numbers() -> Option<BpfProgram> {
    None
}

#[expect(clippy::needless_pass_by_value, reason = "given to map_err")]
fn refused(error: seccompiler::Error) -> Refused {
    let errno = match &error {
        seccompiler::Error::Prctl(e) | seccompiler::Error::Seccomp(e) => {
            e.raw_os_error().map(Errno::from_raw)
        }
        _ => None,
    };
    Refused { what: "filter system calls".to_owned(), errno: errno.unwrap_or(Errno::ENOTSUP) }
}
