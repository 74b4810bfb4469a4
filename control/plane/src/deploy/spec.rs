//! Reads a release spec as clients send it and brings it to its normal form.

use std::collections::BTreeMap;

use actors::deploy::{Anchor, Base, Content, SiteChange, Spec, deploy_problem};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use store::releases::NameChange;
use types::{Code, Problem, ProjectId, ReleaseId, Sha256Hex};

use crate::content::OBJECT_BYTES_MAX;
use crate::subdomain::check_name;

/// Files of a site.
///
/// # Source
/// The work's own limit; contract 02 section 4 names none.
const FILES_MAX: usize = 20_000;
const CONTENT_TYPE_BYTES_MAX: usize = 255;

/// Parts of a spec that this server does not build yet, with the keys that each may have.
const LATER: [(&str, &[&str]); 5] = [
    ("database", &["migrations", "expose", "zero_downtime"]),
    ("functions", &["replace", "patch"]),
    ("secrets", &["require", "delete"]),
    ("routes", &["replace"]),
    ("checks", &[]),
];

type Fields = Map<String, Value>;

/// The project that a spec names, before anything else of it is read: it decides who may go on.
pub(super) fn project(spec: &Value) -> Result<ProjectId, Problem> {
    let fields = spec.as_object().ok_or_else(|| invalid("spec", "the spec is not an object"))?;
    let named = fields.get("project").or_else(|| fields.get("project_id"));
    let named = named.and_then(Value::as_str).ok_or_else(|| invalid("project", "name the project"))?;
    named.parse().map_err(|_| deploy_problem(Code::ProjectNotFound, "plan", format!("no project {named}")))
}

/// # Errors
/// `INVALID_SPEC` with the dotted place, `MANIFEST_EMPTY`, `SUBDOMAIN_MULTI_NOT_SUPPORTED`,
/// `FEATURE_DISABLED`.
///
/// # Source
/// Wire contract 02 section 4.1.
pub(super) fn normalise(spec: &Value) -> Result<Spec, Problem> {
    let project = project(spec)?;
    let fields = object(spec, "spec")?;
    if fields.contains_key("project") && fields.contains_key("project_id") {
        return Err(invalid("project_id", "the project is named twice"));
    }
    let known = ["project", "project_id", "base", "site", "subdomains"];
    let later = LATER.map(|(name, _)| name);
    only(fields, "", &[&known[..], &later[..]].concat())?;
    let mut has_content = false;
    for (name, keys) in LATER {
        if let Some(value) = fields.get(name) {
            has_content |= check_later(name, keys, value)?;
        }
    }
    let site = fields.get("site").map(site).transpose()?.flatten();
    let subdomains = fields.get("subdomains").map(subdomains).transpose()?.flatten();
    let fills = |site: &SiteChange| match site {
        SiteChange::Replace(files) => !files.is_empty(),
        SiteChange::Patch { .. } => true,
    };
    has_content |= site.as_ref().is_some_and(fills);
    has_content |= subdomains.as_ref().is_some_and(|change| {
        change.set.as_ref().is_some_and(|set| !set.is_empty())
            || !change.add.is_empty()
            || !change.remove.is_empty()
    });
    if !has_content {
        return Err(deploy_problem(Code::ManifestEmpty, "validate", "the spec deploys nothing"));
    }
    Ok(Spec { project, base: base(fields.get("base"))?, site, subdomains })
}

/// A part of later versions: fine while it asks for nothing. True when it is content all the same (clearing
/// the routes).
fn check_later(name: &str, keys: &[&str], value: &Value) -> Result<bool, Problem> {
    if let Value::Object(fields) = value {
        only(fields, name, keys)?;
    }
    let asks = match value {
        // It only says how migrations would run.
        Value::Object(fields) => fields.iter().any(|(key, value)| key != "zero_downtime" && !is_empty(value)),
        other => !is_empty(other),
    };
    if asks {
        let message = format!("this server does not deploy {name} yet");
        return Err(deploy_problem(Code::FeatureDisabled, "validate", message)
            .extra("resource", name)
            .detail("field", name));
    }
    Ok(name == "routes" && value.get("replace").is_some_and(Value::is_array))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

fn base(value: Option<&Value>) -> Result<Base, Problem> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(Base::Release(Anchor::Current));
    };
    let fields = object(value, "base")?;
    only(fields, "base", &["release", "release_id"])?;
    match (fields.get("release"), fields.get("release_id")) {
        (Some(_), Some(_)) => Err(invalid("base", "name either release or release_id")),
        (None, None) => Ok(Base::Release(Anchor::Current)),
        (Some(anchor), None) => match anchor.as_str() {
            Some("current") => Ok(Base::Release(Anchor::Current)),
            Some("empty") => Ok(Base::Release(Anchor::Empty)),
            _ => Err(invalid("base.release", "use current or empty")),
        },
        (None, Some(id)) => id
            .as_str()
            .and_then(|id| id.parse::<ReleaseId>().ok())
            .map(Base::ReleaseId)
            .ok_or_else(|| invalid("base.release_id", "this is not a release id")),
    }
}

fn site(value: &Value) -> Result<Option<SiteChange>, Problem> {
    if value.is_null() {
        return Ok(None);
    }
    let fields = object(value, "site")?;
    only(fields, "site", &["replace", "patch"])?;
    match (fields.get("replace"), fields.get("patch")) {
        (Some(_), Some(_)) => Err(invalid("site", "use either replace or patch")),
        (None, None) => Ok(None),
        (Some(all), None) => Ok(Some(SiteChange::Replace(files(all, "site.replace")?))),
        (None, Some(patch)) => site_patch(patch),
    }
}

fn site_patch(value: &Value) -> Result<Option<SiteChange>, Problem> {
    let fields = object(value, "site.patch")?;
    only(fields, "site.patch", &["put", "delete"])?;
    let put = fields.get("put").map(|put| files(put, "site.patch.put")).transpose()?.unwrap_or_default();
    let mut delete = Vec::new();
    for (i, path) in strings(fields.get("delete"), "site.patch.delete")?.iter().enumerate() {
        let place = format!("site.patch.delete[{i}]");
        let path = sites::path::canonical(path).map_err(|bad| invalid(&place, bad.0))?;
        if put.contains_key(&path) {
            return Err(invalid(&place, "the path is put and deleted"));
        }
        delete.push(path);
    }
    delete.sort();
    delete.dedup();
    let empty = put.is_empty() && delete.is_empty();
    Ok((!empty).then_some(SiteChange::Patch { put, delete }))
}

fn files(value: &Value, place: &str) -> Result<BTreeMap<String, Content>, Problem> {
    let fields = object(value, place)?;
    if fields.len() > FILES_MAX {
        return Err(invalid(place, &format!("a site has at most {FILES_MAX} files")));
    }
    let mut files = BTreeMap::new();
    let mut sizes: BTreeMap<Sha256Hex, u64> = BTreeMap::new();
    for (path, value) in fields {
        let here = format!("{place}[{path:?}]");
        let canonical = sites::path::canonical(path).map_err(|bad| invalid(&here, bad.0))?;
        let content = content(value, &here, &canonical)?;
        if *sizes.entry(content.sha256.clone()).or_insert(content.size) != content.size {
            return Err(invalid(&format!("{here}.size"), "the same content has two sizes"));
        }
        if files.insert(canonical, content).is_some() {
            return Err(invalid(&here, "another path is the same one after normalisation"));
        }
    }
    Ok(files)
}

/// `{sha256, size, contentType?, integrity?}`, in both spellings.
fn content(value: &Value, place: &str, path: &str) -> Result<Content, Problem> {
    let fields = object(value, place)?;
    only(fields, place, &["sha256", "size", "contentType", "content_type", "integrity"])?;
    let sha256: Sha256Hex =
        fields
            .get("sha256")
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| invalid(&format!("{place}.sha256"), "64 lower-case hex digits are needed"))?;
    let size =
        fields.get("size").and_then(Value::as_u64).filter(|size| *size <= OBJECT_BYTES_MAX).ok_or_else(
            || invalid(&format!("{place}.size"), "a number of bytes, at most 5 GiB, is needed"),
        )?;
    if let Some(integrity) = fields.get("integrity").filter(|value| !value.is_null()) {
        let expected = format!("sha256-{}", STANDARD.encode(sha256.to_bytes()));
        if integrity.as_str() != Some(&expected) {
            return Err(invalid(&format!("{place}.integrity"), "it does not agree with sha256"));
        }
    }
    let named = fields.get("contentType").or_else(|| fields.get("content_type"));
    let content_type = match named.filter(|value| !value.is_null()) {
        None => guess(path).to_owned(),
        Some(named) => named
            .as_str()
            .filter(|text| is_content_type(text))
            .ok_or_else(|| invalid(&format!("{place}.contentType"), "this is not a media type"))?
            .to_owned(),
    };
    Ok(Content { sha256, size, content_type })
}

/// What may stand in a header: visible ASCII and spaces, with a type and a subtype.
fn is_content_type(text: &str) -> bool {
    text.len() <= CONTENT_TYPE_BYTES_MAX
        && text.bytes().all(|b| (b' '..=b'~').contains(&b))
        && text.split_once('/').is_some_and(|(kind, rest)| {
            !kind.is_empty()
                && !rest.is_empty()
                && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
}

/// For references without a type.
fn guess(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    match extension.as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "txt" => "text/plain; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "xml" => "application/xml",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "ico" => "image/x-icon",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        _ => "application/octet-stream",
    }
}

fn subdomains(value: &Value) -> Result<Option<NameChange>, Problem> {
    if value.is_null() {
        return Ok(None);
    }
    let fields = object(value, "subdomains")?;
    only(fields, "subdomains", &["set", "add", "remove"])?;
    let list = |key: &str| -> Result<Vec<String>, Problem> {
        let place = format!("subdomains.{key}");
        let mut names = strings(fields.get(key), &place)?;
        for (i, name) in names.iter().enumerate() {
            check_name(name).map_err(|bad| invalid(&format!("{place}[{i}]"), bad.0))?;
        }
        names.sort();
        names.dedup();
        Ok(names)
    };
    let set = fields.get("set").filter(|set| !set.is_null()).map(|_| list("set")).transpose()?;
    let (add, remove) = (list("add")?, list("remove")?);
    if set.is_some() && !(add.is_empty() && remove.is_empty()) {
        return Err(invalid("subdomains", "use either set, or add and remove"));
    }
    if let Some(name) = add.iter().find(|name| remove.contains(name)) {
        return Err(invalid("subdomains.add", &format!("{name} is added and removed")));
    }
    if set.as_ref().is_some_and(|set| set.len() > 1) || add.len() > 1 {
        return Err(too_many_names());
    }
    let empty = set.is_none() && add.is_empty() && remove.is_empty();
    Ok((!empty).then_some(NameChange { set, add, remove }))
}

pub(super) fn too_many_names() -> Problem {
    deploy_problem(Code::SubdomainMultiNotSupported, "validate", "a deploy sets one subdomain at most")
        .extra("resource", "subdomains")
}

fn object<'a>(value: &'a Value, place: &str) -> Result<&'a Fields, Problem> {
    value.as_object().ok_or_else(|| invalid(place, "an object is needed here"))
}

/// # Errors
/// `INVALID_SPEC` naming the first key that is not known.
fn only(fields: &Fields, place: &str, known: &[&str]) -> Result<(), Problem> {
    let unknown = fields.keys().find(|key| !known.contains(&key.as_str()));
    let Some(key) = unknown else { return Ok(()) };
    let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
    Err(invalid(&place, "this key is not known"))
}

fn strings(value: Option<&Value>, place: &str) -> Result<Vec<String>, Problem> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(Vec::new()) };
    let items = value.as_array().ok_or_else(|| invalid(place, "a list is needed here"))?;
    if items.len() > FILES_MAX {
        return Err(invalid(place, "the list is too long"));
    }
    items
        .iter()
        .enumerate()
        .map(|(i, item)| {
            let text = item.as_str().map(str::to_owned);
            text.ok_or_else(|| invalid(&format!("{place}[{i}]"), "a text is needed here"))
        })
        .collect()
}

/// A mistake in the spec, with its place.
pub(super) fn invalid(place: &str, why: &str) -> Problem {
    deploy_problem(Code::InvalidSpec, "validate", format!("{place}: {why}"))
        .extra("resource", place)
        .extra("fix", json!({ "action": "set_field", "path": place }))
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
