//! From a base and a spec to the files of a release, and what that changes.

use std::collections::BTreeMap;

use store::releases::ReleaseFile;

use super::{Content, SiteChange};

/// The files of a site by path.
pub type Files = BTreeMap<String, ReleaseFile>;

/// A path whose bytes or type change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    pub old: ReleaseFile,
    pub new: ReleaseFile,
}

/// What is between two sites. Each list is sorted by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SiteDiff {
    pub added: Vec<ReleaseFile>,
    pub removed: Vec<String>,
    pub changed: Vec<FileChange>,
}

impl SiteDiff {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// The site after `change`. `live` is what visitors have seen: a path that looks immutable but has other
/// bytes there must be revalidated from now on.
pub fn materialise(base: &Files, change: Option<&SiteChange>, live: &Files) -> Files {
    let mut files = match change {
        None => base.clone(),
        Some(SiteChange::Replace(files)) => files.iter().map(placed).collect(),
        Some(SiteChange::Patch { put, delete }) => {
            let mut files = base.clone();
            for path in delete {
                files.remove(path);
            }
            files.extend(put.iter().map(placed));
            files
        }
    };
    for (path, file) in &mut files {
        let seen = live.get(path);
        file.revalidate = seen.is_some_and(|seen| {
            seen.revalidate || (seen.sha256 != file.sha256 && sites::is_fingerprinted(path))
        });
    }
    files
}

fn placed((path, content): (&String, &Content)) -> (String, ReleaseFile) {
    let file = ReleaseFile {
        path: path.clone(),
        sha256: content.sha256.clone(),
        size_bytes: content.size,
        content_type: content.content_type.clone(),
        revalidate: false,
    };
    (path.clone(), file)
}

/// What a visitor would notice.
pub fn site_diff(from: &Files, to: &Files) -> SiteDiff {
    let mut diff = SiteDiff::default();
    for (path, new) in to {
        match from.get(path) {
            None => diff.added.push(new.clone()),
            Some(old) if old.sha256 != new.sha256 || old.content_type != new.content_type => {
                diff.changed.push(FileChange { old: old.clone(), new: new.clone() });
            }
            Some(_) => {}
        }
    }
    diff.removed = from.keys().filter(|path| !to.contains_key(*path)).cloned().collect();
    diff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(digit: char) -> Content {
        Content {
            sha256: digit.to_string().repeat(64).parse().unwrap(),
            size: 1,
            content_type: "text/plain".to_owned(),
        }
    }

    fn map(entries: &[(&str, char)]) -> BTreeMap<String, Content> {
        entries.iter().map(|(path, digit)| ((*path).to_owned(), content(*digit))).collect()
    }

    fn site(entries: &[(&str, char)]) -> Files {
        materialise(&Files::new(), Some(&SiteChange::Replace(map(entries))), &Files::new())
    }

    #[test]
    fn replace_is_exact_patch_is_partial_and_absence_carries_forward() {
        let base = site(&[("a", '1'), ("b", '2')]);
        assert_eq!(materialise(&base, None, &base), base);
        let replaced = materialise(&base, Some(&SiteChange::Replace(map(&[("c", '3')]))), &base);
        assert_eq!(replaced, site(&[("c", '3')]));
        let patch =
            SiteChange::Patch { put: map(&[("b", '9'), ("d", '4')]), delete: vec!["a".into(), "zz".into()] };
        assert_eq!(materialise(&base, Some(&patch), &base), site(&[("b", '9'), ("d", '4')]));
    }

    #[test]
    fn a_diff_names_each_path_once() {
        let (old, new) =
            (site(&[("a", '1'), ("b", '2'), ("c", '3')]), site(&[("b", '2'), ("c", '4'), ("d", '5')]));
        let diff = site_diff(&old, &new);
        assert_eq!(diff.added.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["d"]);
        assert_eq!(diff.removed, ["a"]);
        assert_eq!(diff.changed.iter().map(|c| c.new.path.as_str()).collect::<Vec<_>>(), ["c"]);
        assert!(site_diff(&new, &new).is_empty());
    }

    #[test]
    fn a_name_that_looks_immutable_and_changed_its_bytes_stays_revalidated() {
        let path = "app.3f9a1b2c.js";
        let first = site(&[(path, '1')]);
        assert!(!first[path].revalidate);
        let change = SiteChange::Replace(map(&[(path, '2')]));
        let second = materialise(&first, Some(&change), &first);
        assert!(second[path].revalidate);
        let third = materialise(&second, Some(&change), &second);
        assert!(third[path].revalidate, "what browsers keep does not become right again");
    }
}
