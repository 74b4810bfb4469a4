//! Ending this process at a kill point, for the tests of crash safety. Nothing of it works in a release
//! build.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, raise};
use types::kill_points::{self, KILL_POINTS};

const POLL: Duration = Duration::from_millis(20);

/// Which point ends the process.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct KillArgs {
    /// Die at the nth pass of a kill point, as by SIGKILL.
    #[arg(long, value_name = "NAME[:N]", hide = true)]
    pub kill_at: Option<KillAt>,
    /// Wait until this file names a kill point, take the file away, and arm that point.
    #[arg(long, value_name = "FILE", hide = true, conflicts_with = "kill_at")]
    pub kill_at_file: Option<PathBuf>,
}

/// A kill point and the number of its pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillAt {
    name: String,
    nth: u64,
}

impl FromStr for KillAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, nth) = match text.split_once(':') {
            Some((name, nth)) => (name, nth.parse().map_err(|_| format!("{nth:?} is not a number"))?),
            None => (text, 1),
        };
        if nth == 0 {
            return Err("passes are counted from 1".to_owned());
        }
        if !KILL_POINTS.contains(&name) {
            return Err(format!("there is no kill point {name:?}; `run402d kill-points` lists them"));
        }
        Ok(Self { name: name.to_owned(), nth })
    }
}

impl KillArgs {
    /// Arms what is asked for, now or once the file is there.
    ///
    /// # Errors
    /// In a release build.
    pub fn arm(&self) -> anyhow::Result<()> {
        if let Some(at) = &self.kill_at {
            arm(at)?;
        }
        if let Some(file) = self.kill_at_file.clone() {
            std::thread::Builder::new()
                .name("kill-at-file".to_owned())
                .spawn(move || arm_by_file(&file))
                .context("waiting for a kill point")?;
        }
        Ok(())
    }
}

fn arm(at: &KillAt) -> anyhow::Result<()> {
    kill_points::arm(&at.name, at.nth, Box::new(die)).context("arming a kill point")
}

fn arm_by_file(file: &Path) {
    loop {
        std::thread::sleep(POLL);
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        // Its writer may not be done yet.
        let Ok(at) = text.trim().parse() else { continue };
        match arm(&at) {
            // The file's end is what its writer waits for.
            Ok(()) => drop(std::fs::remove_file(file)),
            Err(e) => eprintln!("run402d: {e:#}"),
        }
        return;
    }
}

/// No destructor, no flush, no goodbye.
fn die() {
    let _ = raise(Signal::SIGKILL);
    std::process::abort();
}

/// Prints the name of every kill point.
pub fn list() {
    for name in KILL_POINTS {
        println!("{name}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_point_is_named_with_its_pass() {
        let first = KILL_POINTS[0];
        assert_eq!(first.parse(), Ok(KillAt { name: first.to_owned(), nth: 1 }));
        assert_eq!(format!("{first}:3").parse(), Ok(KillAt { name: first.to_owned(), nth: 3 }));
        for bad in ["payment.nowhere", "", &format!("{first}:0"), &format!("{first}:x")] {
            assert!(bad.parse::<KillAt>().is_err(), "{bad}");
        }
    }
}
