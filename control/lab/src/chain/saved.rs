//! The chain's state on disk, and a copy of it that a crash during writing cannot reach.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;

use crate::account::Account;
use crate::children::remove_if_there;
use crate::error::{During, LabError};
use crate::layout::Layout;

/// A dump writes the whole history, about 1.3 KB a block, so a long chain is dumped less often.
const INTERVALS: [(u64, u64); 3] = [(8 << 20, 5), (64 << 20, 30), (u64::MAX, 300)];

/// What was found at the start.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Saved {
    None,
    Whole,
    /// The file was broken, and the copy of an earlier start took its place.
    TakenFromBackup,
}

pub(super) fn file(layout: &Layout) -> PathBuf {
    layout.chain().join("state.json")
}

/// Seconds between dumps: what a killed chain may lose.
pub(super) fn interval_secs(layout: &Layout) -> u64 {
    let bytes = file(layout).metadata().map_or(0, |state| state.len());
    INTERVALS.iter().find(|(bytes_max, _)| bytes <= *bytes_max).map_or(5, |(_, secs)| *secs)
}

/// Copies a whole state aside, or replaces a broken one by that copy.
///
/// # Errors
/// `Corrupt` when both are broken: a chain that begins anew would contradict the books, so nobody starts it.
pub(super) fn secure(layout: &Layout, account: &Account) -> Result<Saved, LabError> {
    let (state, backup) = (file(layout), layout.chain_backup().join("state.json"));
    match is_whole(&state)? {
        Some(true) => {
            copy(&state, &backup)?;
            return Ok(Saved::Whole);
        }
        None if !backup.exists() => return Ok(Saved::None),
        _ => {}
    }
    if is_whole(&backup)? != Some(true) {
        let why = "the chain's state is broken, and so is its copy; the books in this data directory need it";
        return Err(LabError::Corrupt { path: state, why: why.to_owned() });
    }
    if state.exists() {
        fs::rename(&state, layout.chain_backup().join("broken.json")).at("putting aside", &state)?;
    }
    copy(&backup, &state)?;
    account.own(&state)?;
    Ok(Saved::TakenFromBackup)
}

/// None when there is no file.
fn is_whole(path: &Path) -> Result<Option<bool>, LabError> {
    match open(path) {
        Ok(file) => Ok(Some(serde_json::from_reader::<_, IgnoredAny>(BufReader::new(file)).is_ok())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).at("reading", path),
    }
}

/// Never through a symbolic link: the servers' account could have planted it.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path)
}

fn copy(from: &Path, to: &Path) -> Result<(), LabError> {
    let draft = to.with_extension("new");
    remove_if_there(&draft)?;
    let mut source = open(from).at("reading", from)?;
    let target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
    let mut target = target.at("making", &draft)?;
    std::io::copy(&mut source, &mut target).and_then(|_| target.sync_all()).at("writing", &draft)?;
    fs::rename(&draft, to).at("writing", to)
}
