//! References to content.

use std::collections::BTreeMap;

use actors::deploy::Content;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use types::{Sha256Hex, content_type as content_type_of};

use super::read::{Mistakes, object, only, spelled};
use crate::content::OBJECT_BYTES_MAX;

const CONTENT_TYPE_BYTES_MAX: usize = 255;

/// A map from canonical paths to content.
pub(super) fn files(
    value: Option<&Value>,
    place: &str,
    count_max: usize,
    bad: &mut Mistakes,
) -> BTreeMap<String, Content> {
    let mut files = BTreeMap::new();
    let Some(fields) = object(value, place, bad) else { return files };
    if fields.len() > count_max {
        bad.add(place, &format!("at most {count_max} files are possible here"));
        return files;
    }
    let mut sizes: BTreeMap<Sha256Hex, u64> = BTreeMap::new();
    for (path, value) in fields {
        let here = format!("{place}[{path:?}]");
        let path = match sites::path::canonical(path) {
            Ok(path) => path,
            Err(why) => {
                bad.add(&here, why.0);
                continue;
            }
        };
        let Some(content) = content(Some(value), &here, &path, bad) else { continue };
        if *sizes.entry(content.sha256.clone()).or_insert(content.size) != content.size {
            bad.add(&format!("{here}.size"), "the same content has two sizes");
        }
        if files.insert(path, content).is_some() {
            bad.add(&here, "another path is the same one after normalisation");
        }
    }
    files
}

/// `{sha256, size, contentType?, integrity?}`, in both spellings.
pub(super) fn content(value: Option<&Value>, place: &str, path: &str, bad: &mut Mistakes) -> Option<Content> {
    let Some(fields) = object(value, place, bad) else {
        if value.is_none_or(Value::is_null) {
            bad.add(place, "a reference to content is needed here");
        }
        return None;
    };
    only(fields, place, &["sha256", "size", "contentType", "content_type", "integrity"], bad);
    let sha256: Option<Sha256Hex> =
        fields.get("sha256").and_then(Value::as_str).and_then(|text| text.parse().ok());
    if sha256.is_none() {
        bad.add(&format!("{place}.sha256"), "64 lower-case hex digits are needed");
    }
    let size = fields.get("size").and_then(Value::as_u64).filter(|size| *size <= OBJECT_BYTES_MAX);
    if size.is_none() {
        bad.add(&format!("{place}.size"), "a number of bytes, at most 5 GiB, is needed");
    }
    if let (Some(sha256), Some(integrity)) = (&sha256, spelled(fields, &["integrity"])) {
        let expected = format!("sha256-{}", STANDARD.encode(sha256.to_bytes()));
        if integrity.as_str() != Some(&expected) {
            bad.add(&format!("{place}.integrity"), "it does not agree with sha256");
        }
    }
    let content_type = match spelled(fields, &["contentType", "content_type"]) {
        None => Some(content_type_of(path)),
        Some(named) => named.as_str().filter(|text| is_content_type(text)),
    };
    if content_type.is_none() {
        bad.add(&format!("{place}.contentType"), "this is not a media type");
    }
    Some(Content { sha256: sha256?, size: size?, content_type: content_type?.to_owned() })
}

/// What may stand in a header: visible ASCII and spaces, with a type and a subtype.
pub(crate) fn is_content_type(text: &str) -> bool {
    text.len() <= CONTENT_TYPE_BYTES_MAX
        && text.bytes().all(|b| (b' '..=b'~').contains(&b))
        && text.split_once('/').is_some_and(|(kind, rest)| {
            !kind.is_empty()
                && !rest.is_empty()
                && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}
