//! What a process of a tenant may see: namespaces of its own, made by our own launcher.
//!
//! The server starts its own program again with [`LAUNCHER`] as first word. That process ([`outer`]) leaves
//! the network, the processes and the users of the machine, and starts the program once more ([`inner`]), which
//! is process 1 of its own world: it builds a file system out of the few folders that its [`Plan`] names, gives
//! up every right, and becomes the tenant's program. The outer process only waits. It ends its child when its
//! stdin ends, so nothing outlives the server.
//!
//! What Node never asks of the kernel does not reach it ([`filter`]). The kernel holds the world to its [`Limits`],
//! all of it together where this server was given a part of the machine's control groups ([`Plan::cgroup`]).
//!
//! Nobody is ever mapped to the machine's root: inside, the program is user 1000 and holds no capability, not
//! even over its own namespaces.

mod filter;
mod inner;
mod outer;
mod plan;

use std::process::ExitCode;

pub use plan::{Bind, Limits, Plan};

/// The first word of the launcher's command line.
pub const LAUNCHER: &str = "function-launcher";
/// The same, inside the namespaces.
const INNER: &str = "function-launcher-inner";
/// Environment of both: hundreds of them wait, and large pages would cost each two megabytes.
pub(crate) const SMALL: [(&str, &str); 1] = [("MIMALLOC_ALLOW_THP", "0")];
/// The program could not be started in its namespaces. Shells use it for "cannot run".
const CANNOT: u8 = 126;

/// Why a program did not start.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {errno}")]
pub(crate) struct Refused {
    what: String,
    errno: nix::errno::Errno,
}

trait During<T> {
    fn during(self, what: &str) -> Result<T, Refused>;
}

impl<T> During<T> for Result<T, nix::errno::Errno> {
    fn during(self, what: &str) -> Result<T, Refused> {
        self.map_err(|errno| Refused { what: what.to_owned(), errno })
    }
}

impl<T> During<T> for std::io::Result<T> {
    fn during(self, what: &str) -> Result<T, Refused> {
        self.map_err(|e| Refused {
            what: what.to_owned(),
            errno: nix::errno::Errno::from_raw(e.raw_os_error().unwrap_or(nix::errno::Errno::EIO as i32)),
        })
    }
}

/// Takes over when the command line is the launcher's. Call it before any thread is started: a process with
/// threads cannot leave its namespaces.
pub fn launched(arguments: impl Iterator<Item = String>) -> Option<ExitCode> {
    let mut arguments = arguments.skip(1);
    let word = arguments.next()?;
    let run: fn(&Plan, &str) -> Result<ExitCode, Refused> = match word.as_str() {
        LAUNCHER => |plan, text| outer::run(plan, text),
        INNER => |plan, _| inner::run(plan).map(|never| match never {}),
        _ => return None,
    };
    let text = arguments.next().unwrap_or_default();
    let plan: Plan = match serde_json::from_str(&text) {
        Ok(plan) => plan,
        Err(e) => {
            eprintln!("launcher: {e}");
            return Some(ExitCode::from(CANNOT));
        }
    };
    Some(run(&plan, &text).unwrap_or_else(|refused| {
        eprintln!("launcher: {refused}");
        ExitCode::from(CANNOT)
    }))
}

/// Refuses this process, and all that come of it, the system calls that are refused to tenants' programs. Nothing
/// takes it back.
///
/// # Errors
/// The kernel has no such filters.
pub fn filter_calls() -> std::io::Result<()> {
    filter::install().map_err(|refused| std::io::Error::other(refused.to_string()))
}

/// Gives this process, just moved to a user namespace of its own, one user there.
fn map_user(inside: u32, uid: u32, gid: u32) -> Result<(), Refused> {
    // A change of credentials hides /proc/self from its own process.
    nix::sys::prctl::set_dumpable(true).during("become readable to itself")?;
    std::fs::write("/proc/self/setgroups", "deny").during("give up groups")?;
    std::fs::write("/proc/self/uid_map", format!("{inside} {uid} 1")).during("map the user")?;
    std::fs::write("/proc/self/gid_map", format!("{inside} {gid} 1")).during("map the group")
}
