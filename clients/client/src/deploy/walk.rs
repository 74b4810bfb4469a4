//! The files of a directory, in an order that does not depend on the file system.

use std::fs;
use std::path::{Path, PathBuf};

use crate::LocalError;

const SKIPPED: [&str; 3] = [".git", "node_modules", ".DS_Store"];
const FILES_MAX: usize = 50_000;
const DEPTH_MAX: usize = 64;

/// Every file under the directory as `(site path, file)`, sorted by the site path. `.git`, `node_modules` and
/// `.DS_Store` are left out at any depth.
///
/// # Errors `BAD_DIRECTORY` when it is none, is empty, cannot be read, is too deep or too large;
/// `SYMLINK_REJECTED` and `BAD_FILE` for an entry that is a link, no plain file, or whose name is not UTF-8.
pub fn walk(directory: &Path) -> Result<Vec<(String, PathBuf)>, LocalError> {
    let bad = |why: String| LocalError::new("BAD_DIRECTORY", format!("{} {why}", directory.display()));
    let root = fs::metadata(directory).map_err(|error| bad(format!("cannot be read: {error}")))?;
    if !root.is_dir() {
        return Err(bad("is not a directory".to_owned()));
    }
    let mut found = Vec::new();
    let mut open = vec![(String::new(), directory.to_owned(), 0)];
    while let Some((prefix, path, depth)) = open.pop() {
        if depth > DEPTH_MAX {
            return Err(bad(format!("is more than {DEPTH_MAX} levels deep")));
        }
        let unreadable =
            |error: std::io::Error| bad(format!("cannot be read at {}: {error}", path.display()));
        for entry in fs::read_dir(&path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            // The type of the entry itself: a link is not followed.
            let kind = entry.file_type().map_err(unreadable)?;
            let name = entry.file_name();
            if SKIPPED.iter().any(|skipped| name == *skipped) {
                continue;
            }
            let name =
                name.to_str().ok_or_else(|| bad_file(&entry.path(), "has a name that is not UTF-8"))?;
            let site_path = format!("{prefix}{name}");
            if kind.is_symlink() {
                return Err(LocalError::new(
                    "SYMLINK_REJECTED",
                    format!("{} is a symbolic link", entry.path().display()),
                )
                .hint("Replace it by a copy of what it points to."));
            } else if kind.is_dir() {
                open.push((format!("{site_path}/"), entry.path(), depth + 1));
            } else if kind.is_file() {
                found.push((site_path, entry.path()));
            } else {
                return Err(bad_file(&entry.path(), "is not a plain file"));
            }
        }
        if found.len() > FILES_MAX {
            return Err(bad(format!("has more than {FILES_MAX} files")));
        }
    }
    if found.is_empty() {
        return Err(bad("has no files to deploy".to_owned()));
    }
    found.sort();
    Ok(found)
}

fn bad_file(path: &Path, why: &str) -> LocalError {
    LocalError::new("BAD_FILE", format!("{} {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::local::Scratch;

    fn file(scratch: &Scratch, path: &str) {
        let path = scratch.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }

    #[test]
    fn files_come_sorted_and_without_the_clutter() {
        let scratch = Scratch::new();
        for path in
            ["b.html", "a/z.css", "a.html", ".git/HEAD", "a/node_modules/m.js", ".DS_Store", ".well-known/x"]
        {
            file(&scratch, path);
        }
        let paths: Vec<_> = walk(&scratch.0).unwrap().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, [".well-known/x", "a.html", "a/z.css", "b.html"]);
    }

    #[test]
    fn links_are_refused_even_when_they_point_inside() {
        let scratch = Scratch::new();
        file(&scratch, "a/index.html");
        std::os::unix::fs::symlink("index.html", scratch.0.join("a/link.html")).unwrap();
        let error = walk(&scratch.0).unwrap_err();
        assert_eq!(error.code, "SYMLINK_REJECTED");
        assert!(error.message.contains("link.html"));
    }

    #[test]
    fn what_is_no_directory_of_plain_files_is_refused() {
        let scratch = Scratch::new();
        assert_eq!(walk(&scratch.0).unwrap_err().code, "BAD_DIRECTORY");
        assert_eq!(walk(&scratch.0.join("none")).unwrap_err().code, "BAD_DIRECTORY");
        file(&scratch, "index.html");
        assert_eq!(walk(&scratch.0.join("index.html")).unwrap_err().code, "BAD_DIRECTORY");
        let odd = std::ffi::OsStr::from_bytes(b"\xff.html");
        fs::write(scratch.0.join(odd), "x").unwrap();
        assert_eq!(walk(&scratch.0).unwrap_err().code, "BAD_FILE");
    }
}
