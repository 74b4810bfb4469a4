//! Manifests: JSON files that say what to deploy, with bytes in line or in files beside them.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use types::content_type;

use super::legacy::{bundle_from_legacy, is_bundle};
use super::{Bundle, Source};
use crate::LocalError;

/// The whole site from `{"files": [{"file", "data" | "path", "encoding"?}]}`. `data` is text unless
/// `encoding` is `base64`; a `path` is relative to `home`.
///
/// # Errors
/// `BAD_MANIFEST` names the entry that is wrong, `BAD_FILE` the file that cannot be read.
pub fn bundle_from_site(project_id: &str, manifest: &Value, home: &Path) -> Result<Bundle, LocalError> {
    let files = manifest["files"].as_array().filter(|files| !files.is_empty());
    let files = files.ok_or_else(|| bad("files", "is missing or empty"))?;
    let mut bundle = Bundle::new(project_id);
    let mut site = Map::new();
    for (index, entry) in files.iter().enumerate() {
        let at = format!("files[{index}]");
        let name = entry["file"].as_str().ok_or_else(|| bad(&at, "has no file name"))?;
        let source = source(entry, &at, home)?;
        if site.insert(name.to_owned(), bundle.add(name, source, Some(content_type(name)))?).is_some() {
            return Err(bad(&at, &format!("names {name} again")));
        }
    }
    bundle.spec.insert("site".to_owned(), json!({ "replace": site }));
    Ok(bundle)
}

/// A release spec whose content may be given in line or by path: `site.replace`, `site.patch.put`, the
/// `source` and `files` of functions, and the `sql` of `database.migrations`.
/// Everything else goes to the server as it is. A bundle of earlier clients (lists of files and functions, one
/// text of migrations) becomes such a spec first.
///
/// # Errors
/// `BAD_MANIFEST` names the part that is wrong, `BAD_FILE` the file that cannot be read.
pub fn bundle_from_release(project_id: &str, manifest: &Value, home: &Path) -> Result<Bundle, LocalError> {
    if is_bundle(manifest) {
        return bundle_from_legacy(project_id, manifest, home);
    }
    let mut spec = manifest.as_object().cloned().ok_or_else(|| bad("the manifest", "is not an object"))?;
    for name in ["$schema", "project_id", "idempotency_key"] {
        spec.remove(name);
    }
    let mut bundle = Bundle::new(project_id);
    spec.insert("project".to_owned(), json!(project_id));
    for (pointer, at) in [("/replace", "site.replace"), ("/patch/put", "site.patch.put")] {
        if let Some(files) = spec.get_mut("site").and_then(|site| site.pointer_mut(pointer)) {
            let files = files.as_object_mut().ok_or_else(|| bad(at, "is not an object"))?;
            for (path, entry) in files.iter_mut() {
                *entry = site_entry(&mut bundle, path, entry, &format!("{at}.{path}"), home)?;
            }
        }
    }
    for (pointer, at) in [("/replace", "functions.replace"), ("/patch/set", "functions.patch.set")] {
        if let Some(all) = spec.get_mut("functions").and_then(|f| f.pointer_mut(pointer)) {
            let all = all.as_object_mut().ok_or_else(|| bad(at, "is not an object"))?;
            for (name, function) in all.iter_mut() {
                function_code(&mut bundle, function, &format!("{at}.{name}"), home)?;
            }
        }
    }
    if let Some(migrations) = spec.get_mut("database").and_then(|database| database.get_mut("migrations")) {
        let list = migrations.as_array_mut().ok_or_else(|| bad("database.migrations", "is not a list"))?;
        for (index, migration) in list.iter_mut().enumerate() {
            migrate(&mut bundle, migration, &format!("database.migrations[{index}]"), home)?;
        }
    }
    bundle.spec = spec;
    Ok(bundle)
}

/// Replaces the code of a function by references.
fn function_code(bundle: &mut Bundle, function: &mut Value, at: &str, home: &Path) -> Result<(), LocalError> {
    let fields = function.as_object_mut().ok_or_else(|| bad(at, "is not an object"))?;
    if let Some(code) = fields.get_mut("source").filter(|code| code.get("sha256").is_none()) {
        let at = format!("{at}.source");
        *code = bundle.add(&at, source(code, &at, home)?, None)?;
    }
    if let Some(files) = fields.get_mut("files") {
        let files = files.as_object_mut().ok_or_else(|| bad(at, "has files that are not an object"))?;
        for (path, code) in files.iter_mut().filter(|(_, code)| code.get("sha256").is_none()) {
            let at = format!("{at}.files.{path}");
            *code = bundle.add(&at, source(code, &at, home)?, None)?;
        }
    }
    Ok(())
}

fn site_entry(
    bundle: &mut Bundle,
    path: &str,
    entry: &Value,
    at: &str,
    home: &Path,
) -> Result<Value, LocalError> {
    // A reference to content that the server has, or that another entry brings.
    if entry.get("sha256").is_some() {
        return Ok(entry.clone());
    }
    let given = ["contentType", "content_type"].iter().find_map(|name| entry.get(*name)?.as_str());
    bundle.add(path, source(entry, at, home)?, Some(given.unwrap_or_else(|| content_type(path))))
}

/// Replaces `sql` or `sql_path` by a reference, and fills the checksum in.
fn migrate(bundle: &mut Bundle, migration: &mut Value, at: &str, home: &Path) -> Result<(), LocalError> {
    let fields = migration.as_object_mut().ok_or_else(|| bad(at, "is not an object"))?;
    let label = fields.get("id").and_then(Value::as_str).ok_or_else(|| bad(at, "has no id"))?.to_owned();
    let text =
        |value: Value| value.as_str().map(str::to_owned).ok_or_else(|| bad(at, "has SQL that is not text"));
    let source = match (fields.remove("sql"), fields.remove("sql_path")) {
        (Some(sql), None) => Source::Bytes(text(sql)?.into_bytes()),
        (None, Some(path)) => Source::File(home.join(text(path)?)),
        (None, None) if fields.contains_key("sql_ref") => return Ok(()),
        _ => return Err(bad(at, "needs one of sql, sql_path and sql_ref")),
    };
    let reference = bundle.add(&label, source, Some("application/sql"))?;
    fields.entry("checksum").or_insert_with(|| reference["sha256"].clone());
    fields.insert("sql_ref".to_owned(), reference);
    Ok(())
}

/// Text, `{"data", "encoding"?}` or `{"path"}`.
pub(super) fn source(entry: &Value, at: &str, home: &Path) -> Result<Source, LocalError> {
    if let Some(text) = entry.as_str() {
        return Ok(Source::Bytes(text.as_bytes().to_vec()));
    }
    match (entry.get("data"), entry.get("path")) {
        (Some(data), None) => {
            let data = data.as_str().ok_or_else(|| bad(at, "has data that is not text"))?;
            match entry.get("encoding").and_then(Value::as_str).unwrap_or("utf-8") {
                "utf-8" | "utf8" => Ok(Source::Bytes(data.as_bytes().to_vec())),
                "base64" => STANDARD
                    .decode(data)
                    .map(Source::Bytes)
                    .map_err(|_| bad(at, "has data that is not base64")),
                other => Err(bad(at, &format!("has the encoding {other}; use utf-8 or base64"))),
            }
        }
        (None, Some(path)) => {
            let path = path.as_str().ok_or_else(|| bad(at, "has a path that is not text"))?;
            Ok(Source::File(home.join(path)))
        }
        _ => Err(bad(at, "needs either data or path")),
    }
}

pub(super) fn bad(at: &str, why: &str) -> LocalError {
    LocalError::new("BAD_MANIFEST", format!("{at} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::Scratch;

    #[test]
    fn bytes_come_from_text_from_base64_and_from_files() {
        let scratch = Scratch::new();
        std::fs::write(scratch.0.join("logo.png"), b"\x89PNG").unwrap();
        let manifest = json!({ "files": [
            { "file": "index.html", "data": "hello world" },
            { "file": "img/logo.png", "path": "logo.png" },
            { "file": "copy.png", "data": STANDARD.encode(b"\x89PNG"), "encoding": "base64" },
        ]});
        let bundle = bundle_from_site("prj_9", &manifest, &scratch.0).unwrap();
        let site = &bundle.spec["site"]["replace"];
        assert_eq!(site["img/logo.png"]["sha256"], site["copy.png"]["sha256"]);
        assert_eq!(site["img/logo.png"]["contentType"], "image/png");
        assert_eq!((bundle.content.len(), bundle.site_files()), (2, 3));
    }

    #[test]
    fn a_release_keeps_what_it_does_not_understand_and_replaces_bytes() {
        let reference = json!({ "sha256": "e7", "size": 1 });
        let manifest = json!({
            "$schema": "x", "project_id": "prj_1", "base": { "release": "current" },
            "site": { "patch": { "put": { "a.txt": "hi", "b.txt": reference }, "delete": ["c.txt"] } },
            "database": { "migrations": [{ "id": "001_init", "sql": "create table t ()" }] },
            "functions": { "replace": { "api": { "source": "export default 1" },
                "kit": { "files": { "a.mjs": "export {}" }, "entrypoint": "a.mjs" } } },
            "subdomains": { "set": ["shop"] },
        });
        let bundle = bundle_from_release("prj_9", &manifest, Path::new(".")).unwrap();
        let spec = Value::Object(bundle.spec.clone());
        assert_eq!(spec["project"], "prj_9");
        assert!(spec.get("$schema").is_none() && spec.get("project_id").is_none());
        assert_eq!(spec["site"]["patch"]["put"]["a.txt"]["size"], 2);
        assert_eq!(spec["site"]["patch"]["put"]["b.txt"], reference);
        assert_eq!(spec["site"]["patch"]["delete"], json!(["c.txt"]));
        let migration = &spec["database"]["migrations"][0];
        assert_eq!(migration["checksum"], migration["sql_ref"]["sha256"]);
        assert_eq!(migration["sql_ref"]["contentType"], "application/sql");
        assert!(migration.get("sql").is_none());
        assert_eq!(spec["subdomains"], json!({ "set": ["shop"] }));
        assert_eq!(spec["functions"]["replace"]["api"]["source"]["size"], 16);
        assert_eq!(spec["functions"]["replace"]["kit"]["files"]["a.mjs"]["size"], 9);
        assert_eq!((bundle.content.len(), bundle.site_files()), (4, 2));
    }

    #[test]
    fn a_wrong_manifest_names_the_part() {
        let site = |manifest: Value| bundle_from_site("prj_9", &manifest, Path::new(".")).unwrap_err();
        assert!(site(json!({})).message.starts_with("files "));
        assert!(site(json!({ "files": [{ "data": "x" }] })).message.starts_with("files[0] "));
        let twice = json!({ "files": [{ "file": "a", "data": "x" }, { "file": "a", "data": "y" }] });
        assert!(site(twice).message.contains("again"));
        let both = json!({ "files": [{ "file": "a", "data": "x", "path": "y" }] });
        assert_eq!(site(both).code, "BAD_MANIFEST");
        let odd = json!({ "files": [{ "file": "a", "data": "%", "encoding": "base64" }] });
        assert_eq!(site(odd).code, "BAD_MANIFEST");
        let gone = json!({ "files": [{ "file": "a", "path": "nowhere/none" }] });
        assert_eq!(site(gone).code, "BAD_FILE");
        let release = bundle_from_release("prj_9", &json!({ "site": { "replace": [] } }), Path::new("."));
        assert!(release.unwrap_err().message.starts_with("site.replace "));
    }
}
