//! `site`: the whole of it, or some paths.

use actors::deploy::SiteChange;
use serde_json::Value;

use super::content::files;
use super::read::{Mistakes, later, object, only, strings};

/// Files of a site.
///
/// # Source
/// The work's own limit; contract 02 section 4 names none.
pub(super) const FILES_MAX: usize = 50_000;

pub(super) fn site(value: Option<&Value>, bad: &mut Mistakes) -> Option<SiteChange> {
    let fields = object(value, "site", bad)?;
    only(fields, "site", &["replace", "patch", "public_paths"], bad);
    later(fields, "site", &["public_paths"], bad);
    let there = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
    match (there("replace"), there("patch")) {
        (true, true) => {
            bad.add("site", "use either replace or patch");
            None
        }
        (false, false) => None,
        (true, false) => {
            Some(SiteChange::Replace(files(fields.get("replace"), "site.replace", FILES_MAX, bad)))
        }
        (false, true) => patch(fields.get("patch"), bad),
    }
}

fn patch(value: Option<&Value>, bad: &mut Mistakes) -> Option<SiteChange> {
    let fields = object(value, "site.patch", bad)?;
    only(fields, "site.patch", &["put", "delete"], bad);
    let put = files(fields.get("put"), "site.patch.put", FILES_MAX, bad);
    let mut delete = Vec::new();
    for (place, path) in strings(fields.get("delete"), "site.patch.delete", bad) {
        match sites::path::canonical(path) {
            Ok(path) if put.contains_key(&path) => bad.add(&place, "the path is put and deleted"),
            Ok(path) => delete.push(path),
            Err(why) => bad.add(&place, why.0),
        }
    }
    delete.sort();
    delete.dedup();
    let empty = put.is_empty() && delete.is_empty();
    (!empty).then_some(SiteChange::Patch { put, delete })
}
