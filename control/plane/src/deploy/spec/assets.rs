//! `assets`: blobs that are put and deleted when the release goes live.

use std::collections::BTreeMap;

use serde_json::Value;
use store::content::{AssetChange, AssetPut, Visibility};

use super::content::content;
use super::read::{Fields, Mistakes, boolean, later, list, object, only, strings, under};
use crate::blob::blob_key;

/// Blobs that one release changes: they are written in its one transaction.
pub(in crate::deploy) const ASSETS_MAX: usize = 1_000;
/// What later versions say of pictures.
const LATER: [&str; 3] = ["metadata", "exif_policy", "image"];

pub(super) fn assets(value: Option<&Value>, bad: &mut Mistakes) -> Option<AssetChange> {
    let fields = object(value, "assets", bad)?;
    only(fields, "assets", &["put", "delete", "sync"], bad);
    let mut puts: BTreeMap<String, AssetPut> = BTreeMap::new();
    for (i, item) in list(fields.get("put"), "assets.put", bad).iter().enumerate() {
        let here = format!("assets.put[{i}]");
        let Some(put) = asset(item, &here, bad) else { continue };
        if puts.insert(put.key.clone(), put).is_some() {
            bad.add(&under(&here, "key"), "the key is there twice");
        }
    }
    let mut delete = Vec::new();
    for (place, key) in strings(fields.get("delete"), "assets.delete", bad) {
        match blob_key(key) {
            Ok(key) if puts.contains_key(&key) => bad.add(&place, "the key is put and deleted"),
            Ok(key) => delete.push(key),
            Err(why) => bad.add(&place, &why.message),
        }
    }
    delete.sort();
    delete.dedup();
    if puts.len() + delete.len() > ASSETS_MAX {
        bad.add("assets", &format!("a deploy changes {ASSETS_MAX} assets at most; deploy the rest after it"));
    }
    let sync = sync(fields.get("sync"), bad);
    let empty = puts.is_empty() && delete.is_empty() && sync.is_empty();
    (!empty).then(|| AssetChange { put: puts.into_values().collect(), delete, sync })
}

/// `{"prefix": "img/"}`, or a list of these: afterwards the folder holds what is put and nothing else. The whole of a
/// project is no folder, so that an empty text does not delete everything.
fn sync(value: Option<&Value>, bad: &mut Mistakes) -> Vec<String> {
    let items: Vec<(String, &Value)> = match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(all)) => {
            all.iter().enumerate().map(|(i, item)| (format!("assets.sync[{i}]"), item)).collect()
        }
        Some(one) => vec![("assets.sync".to_owned(), one)],
    };
    let mut prefixes = Vec::new();
    for (place, item) in items {
        let Some(fields) = object(Some(item), &place, bad) else { continue };
        only(fields, &place, &["prefix"], bad);
        let prefix = fields.get("prefix").and_then(Value::as_str).unwrap_or_default();
        match blob_key(prefix.strip_suffix('/').unwrap_or(prefix)) {
            Ok(folder) => prefixes.push(format!("{folder}/")),
            Err(why) => bad.add(&under(&place, "prefix"), &why.message),
        }
    }
    prefixes.sort();
    prefixes.dedup();
    prefixes
}

fn asset(item: &Value, place: &str, bad: &mut Mistakes) -> Option<AssetPut> {
    let fields = object(Some(item), place, bad)?;
    const KNOWN: [&str; 7] =
        ["key", "sha256", "size_bytes", "size", "content_type", "visibility", "immutable"];
    only(fields, place, &[&KNOWN[..], &LATER[..]].concat(), bad);
    later(fields, place, &LATER, bad);
    let key = match fields.get("key").and_then(Value::as_str).map(blob_key) {
        Some(Ok(key)) => key,
        Some(Err(why)) => {
            bad.add(&under(place, "key"), &why.message);
            return None;
        }
        None => {
            bad.add(&under(place, "key"), "a text is needed here");
            return None;
        }
    };
    // The rest reads like any other reference to content.
    let mut reference = Fields::new();
    for (name, at) in [("sha256", "sha256"), ("size_bytes", "size"), ("size", "size")] {
        if let Some(value) = fields.get(name) {
            reference.insert(at.to_owned(), value.clone());
        }
    }
    if let Some(kind) = fields.get("content_type").filter(|kind| !kind.is_null()) {
        reference.insert("content_type".to_owned(), kind.clone());
    }
    let content = content(Some(&reference.into()), place, &key, bad)?;
    let visibility = match fields.get("visibility").filter(|value| !value.is_null()) {
        None => Visibility::Public,
        Some(named) => match Visibility::ALL.into_iter().find(|one| named.as_str() == Some(one.as_str())) {
            Some(known) => known,
            None => {
                bad.add(&under(place, "visibility"), "use public or private");
                return None;
            }
        },
    };
    let immutable = boolean(fields, "immutable", place, bad);
    let actors::deploy::Content { sha256, size, content_type } = content;
    Some(AssetPut { key, sha256, size, content_type, visibility, immutable })
}
