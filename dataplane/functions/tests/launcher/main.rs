//! The launcher alone, for tests: the server is its own launcher. With two more words:
//!
//! - `filtered PROGRAM ARGS..`: the program with all rights of its caller, but through the filter of system calls;
//! - `without-namespaces PROGRAM ARGS..`: the program on a machine that gives nobody a namespace.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

fn main() -> ExitCode {
    if let Some(code) = functions::sandbox::launched(std::env::args()) {
        return code;
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [how, program, arguments @ ..] = words.as_slice() else { return ExitCode::FAILURE };
    let ready = match how.as_str() {
        "filtered" => functions::sandbox::filter_calls().map_err(|e| e.to_string()),
        "without-namespaces" => without_namespaces().map_err(|e| e.to_string()),
        other => Err(format!("{other} is no word of this program")),
    };
    if let Err(why) = ready {
        eprintln!("launcher: {why}");
        return ExitCode::FAILURE;
    }
    let failure = Command::new(program).args(arguments).exec();
    eprintln!("launcher: {program}: {failure}");
    ExitCode::FAILURE
}

fn without_namespaces() -> Result<(), seccompiler::Error> {
    let calls = BTreeMap::from([(libc::SYS_unshare, Vec::new())]);
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let program: BpfProgram = SeccompFilter::new(calls, SeccompAction::Allow, refused, arch)?.try_into()?;
    seccompiler::apply_filter(&program)
}
