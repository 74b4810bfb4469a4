//! One JSON object in one file, read whole and replaced whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use types::{Entropy, OsEntropy};

use crate::LocalError;

const OWNER_ONLY: u32 = 0o600;
const OWNER_ONLY_DIR: u32 = 0o700;

/// The object in the file, or nothing when there is no file.
///
/// # Errors
/// `LOCAL_FILE_CORRUPT` when it is not a JSON object, `LOCAL_FILE` when it cannot be read.
pub(super) fn read(path: &Path) -> Result<Option<Map<String, Value>>, LocalError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(corrupt(path, "it is not text"));
        }
        Err(error) => return Err(failed(path, "read", &error)),
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => Ok(Some(object)),
        Ok(_) => Err(corrupt(path, "it is not a JSON object")),
        // The position and nothing of the text, which holds keys.
        Err(error) => {
            let at = format!("it is not JSON (line {}, column {})", error.line(), error.column());
            Err(corrupt(path, &at))
        }
    }
}

/// Replaces the file at once: readers see the old text or the new one.
///
/// # Errors
/// `LOCAL_FILE`; the old file is then as it was.
pub(super) fn replace(path: &Path, object: &Map<String, Value>) -> Result<(), LocalError> {
    // A link set up by the owner stays a link: its target is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let temporary = write_beside(&path, object)?;
    fs::rename(&temporary, &path).map_err(|error| {
        let _ = fs::remove_file(&temporary);
        failed(&path, "replace", &error)
    })?;
    sync_parent(&path);
    Ok(())
}

/// Makes the file unless there is one already. False when there is, and then nothing changed.
///
/// # Errors
/// `LOCAL_FILE`; no file was made.
pub(super) fn create(path: &Path, object: &Map<String, Value>) -> Result<bool, LocalError> {
    let temporary = write_beside(path, object)?;
    // Unlike a rename, a link never takes the place of a file that another process just made.
    let linked = fs::hard_link(&temporary, path);
    let _ = fs::remove_file(&temporary);
    match linked {
        Ok(()) => {
            sync_parent(path);
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(path, "create", &error)),
    }
}

/// Keeps other processes of this machine out until the file is dropped.
///
/// # Errors
/// `LOCAL_FILE` when the lock cannot be made.
pub(super) fn lock(path: &Path) -> Result<File, LocalError> {
    let fail = |error: io::Error| failed(path, "lock", &error);
    DirBuilder::new().recursive(true).mode(OWNER_ONLY_DIR).create(parent(path)).map_err(fail)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let lock = parent(path).join(format!(".{name}.lock"));
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(OWNER_ONLY).open(lock);
    let file = file.map_err(fail)?;
    file.lock().map_err(fail)?;
    Ok(file)
}

pub(super) fn corrupt(path: &Path, why: &str) -> LocalError {
    LocalError::new("LOCAL_FILE_CORRUPT", format!("{} cannot be used: {why}", path.display()))
        .hint("Repair it, or move it away to start afresh. It was not changed.")
        .detail("path", path.display().to_string())
}

fn failed(path: &Path, verb: &str, error: &io::Error) -> LocalError {
    LocalError::new("LOCAL_FILE", format!("cannot {verb} {}: {error}", path.display()))
        .detail("path", path.display().to_string())
}

fn write_beside(path: &Path, object: &Map<String, Value>) -> Result<PathBuf, LocalError> {
    let fail = |error: io::Error| failed(path, "write", &error);
    let directory = parent(path);
    DirBuilder::new().recursive(true).mode(OWNER_ONLY_DIR).create(directory).map_err(fail)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.{}.tmp", hex::encode(&OsEntropy.secret()[..8])));

    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(&temporary)?;
        let mut text = serde_json::to_string_pretty(object)?;
        text.push('\n');
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })();
    match written {
        Ok(()) => Ok(temporary),
        Err(error) => {
            let _ = fs::remove_file(&temporary);
            Err(fail(error))
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The new name survives a power cut. Where a directory cannot be synced the file is still whole.
fn sync_parent(path: &Path) {
    if let Some(directory) = path.parent().and_then(|parent| File::open(parent).ok()) {
        let _ = directory.sync_all();
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A directory that is removed with its owner.
    pub(crate) struct Scratch(pub PathBuf);

    impl Scratch {
        pub(crate) fn new() -> Self {
            let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tmp");
            let path = home.join(format!("client-{}", hex::encode(OsEntropy.secret())));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn object(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_file_is_for_its_owner_and_leaves_nothing_beside_it() {
        let scratch = Scratch::new();
        let path = scratch.0.join("a/b/projects.json");
        assert_eq!(read(&path).unwrap(), None);
        replace(&path, &object(r#"{"a":1}"#)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        replace(&path, &object(r#"{"a":2}"#)).unwrap();
        assert_eq!(read(&path).unwrap().unwrap()["a"], 2);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn creating_never_takes_the_place_of_a_file() {
        let scratch = Scratch::new();
        let path = scratch.0.join("allowance.json");
        assert!(create(&path, &object(r#"{"first":true}"#)).unwrap());
        assert!(!create(&path, &object(r#"{"first":false}"#)).unwrap());
        assert_eq!(read(&path).unwrap().unwrap()["first"], true);
        assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);
    }

    #[test]
    fn a_link_stays_a_link() {
        let scratch = Scratch::new();
        let (target, link) = (scratch.0.join("target.json"), scratch.0.join("link.json"));
        replace(&target, &object("{}")).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        replace(&link, &object(r#"{"a":1}"#)).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(read(&target).unwrap().unwrap()["a"], 1);
    }

    #[test]
    fn a_corrupt_file_is_named_and_its_text_is_not_repeated() {
        let scratch = Scratch::new();
        let path = scratch.0.join("projects.json");
        for bad in ["{\"service_key\": \"s3cret", "[]", "", "null"] {
            fs::write(&path, bad).unwrap();
            let error = read(&path).unwrap_err();
            assert_eq!(error.code, "LOCAL_FILE_CORRUPT");
            assert!(error.message.contains("projects.json") && !error.message.contains("s3cret"));
        }
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert_eq!(read(&path).unwrap_err().code, "LOCAL_FILE_CORRUPT");
    }
}
