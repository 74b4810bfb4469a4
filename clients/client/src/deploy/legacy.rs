//! Bundles: the manifests of earlier clients, brought to a release spec.

use std::path::Path;

use serde_json::{Map, Value, json};
use types::content_type;

use super::manifest::{bad, source};
use super::{Bundle, Source};
use crate::LocalError;

/// Keys that only a release spec has.
const SPEC_KEYS: [&str; 5] = ["database", "site", "subdomains", "routes", "checks"];

/// Whether a manifest is a bundle rather than a release spec.
///
/// # Source
/// Wire contract 02 section 5.2.
pub(super) fn is_bundle(manifest: &Value) -> bool {
    let has = |name: &str| manifest.get(name).is_some_and(|value| !value.is_null());
    let object = |name: &str| manifest.get(name).is_some_and(Value::is_object);
    const BUNDLE_KEYS: [&str; 6] = ["migrations", "rls", "files", "subdomain", "functions", "secrets"];
    !SPEC_KEYS.iter().any(|name| has(name))
        && !object("functions")
        && !object("secrets")
        && BUNDLE_KEYS.iter().any(|name| has(name))
}

/// The release spec of a bundle: its functions and files are all that the project then has.
///
/// # Errors
/// `BAD_MANIFEST` names the part that is wrong, `BAD_FILE` the file that cannot be read,
/// `UNSAFE_SECRET_MANIFEST` when a secret's value is in it.
pub(super) fn bundle_from_legacy(
    project_id: &str,
    manifest: &Value,
    home: &Path,
) -> Result<Bundle, LocalError> {
    let mut bundle = Bundle::new(project_id);
    let mut database = Map::new();
    if let Some(sql) = text(manifest, "migrations")? {
        let reference = bundle.add("migrations", Source::Bytes(sql.into_bytes()), Some("application/sql"))?;
        let checksum = reference["sha256"].as_str().unwrap_or_default().to_owned();
        let id = format!("bundle_legacy_{}", checksum.get(..16).unwrap_or_default());
        let migration = json!({ "id": id, "checksum": checksum, "sql_ref": reference });
        database.insert("migrations".to_owned(), json!([migration]));
    }
    if let Some(rls) = manifest.get("rls").filter(|rls| !rls.is_null()) {
        database.insert("expose".to_owned(), expose(rls)?);
    }
    if !database.is_empty() {
        bundle.spec.insert("database".to_owned(), database.into());
    }
    let keys = secret_keys(manifest)?;
    if !keys.is_empty() {
        bundle.spec.insert("secrets".to_owned(), json!({ "require": keys }));
    }
    if let Some(all) = functions(&mut bundle, manifest)? {
        bundle.spec.insert("functions".to_owned(), json!({ "replace": all }));
    }
    if let Some(all) = files(&mut bundle, manifest, home)? {
        bundle.spec.insert("site".to_owned(), json!({ "replace": all }));
    }
    if let Some(name) = text(manifest, "subdomain")? {
        bundle.spec.insert("subdomains".to_owned(), json!({ "set": [name] }));
    }
    Ok(bundle)
}

fn text(manifest: &Value, name: &str) -> Result<Option<String>, LocalError> {
    match manifest.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad(name, "is not text")),
    }
}

fn list<'a>(manifest: &'a Value, name: &str) -> Result<Option<&'a Vec<Value>>, LocalError> {
    match manifest.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(_) => Err(bad(name, "is not a list")),
    }
}

/// One policy for several tables, as a manifest of version 1.
fn expose(rls: &Value) -> Result<Value, LocalError> {
    let policy = rls["template"].as_str().ok_or_else(|| bad("rls", "has no template"))?;
    let tables = list(rls, "tables")?.ok_or_else(|| bad("rls", "has no tables"))?;
    let mut exposed = Vec::with_capacity(tables.len());
    for (index, entry) in tables.iter().enumerate() {
        let name =
            entry["table"].as_str().ok_or_else(|| bad(&format!("rls.tables[{index}]"), "has no table"))?;
        let mut table = json!({ "name": name, "expose": true, "policy": policy });
        if let Some(owner) = entry["owner_column"].as_str() {
            table["owner_column"] = json!(owner);
        }
        if rls["i_understand_this_is_unrestricted"] == json!(true) {
            table["i_understand_this_is_unrestricted"] = json!(true);
        }
        exposed.push(table);
    }
    Ok(json!({ "version": "1", "tables": exposed, "views": [], "rpcs": [] }))
}

/// Values never travel in a file that is kept beside the code.
fn secret_keys(manifest: &Value) -> Result<Vec<String>, LocalError> {
    let mut keys = Vec::new();
    for (index, entry) in list(manifest, "secrets")?.into_iter().flatten().enumerate() {
        let at = format!("secrets[{index}]");
        let key = entry.as_str().or(entry["key"].as_str()).ok_or_else(|| bad(&at, "has no key"))?;
        if entry.get("value").is_some_and(|value| !value.is_null()) {
            let message = format!("{at} holds the value of {key}");
            return Err(LocalError::new("UNSAFE_SECRET_MANIFEST", message)
                .hint("Take the value out and set it: run402 secrets set <id> <KEY> --file <path>"));
        }
        keys.push(key.to_owned());
    }
    Ok(keys)
}

fn functions(bundle: &mut Bundle, manifest: &Value) -> Result<Option<Map<String, Value>>, LocalError> {
    let Some(items) = list(manifest, "functions")? else { return Ok(None) };
    let mut all = Map::new();
    for (index, entry) in items.iter().enumerate() {
        let at = format!("functions[{index}]");
        let name = entry["name"].as_str().ok_or_else(|| bad(&at, "has no name"))?;
        let code = entry["code"].as_str().ok_or_else(|| bad(&at, "has no code"))?;
        let source = bundle.add(&at, Source::Bytes(code.as_bytes().to_vec()), None)?;
        let mut function = json!({ "runtime": "node22", "source": source });
        let mut config = Map::new();
        for (theirs, ours) in [("timeout", "timeoutSeconds"), ("memory", "memoryMb")] {
            if let Some(number) = entry.pointer(&format!("/config/{theirs}")) {
                config.insert(ours.to_owned(), number.clone());
            }
        }
        if !config.is_empty() {
            function["config"] = config.into();
        }
        if let Some(schedule) = entry.get("schedule") {
            function["schedule"] = schedule.clone();
        }
        if all.insert(name.to_owned(), function).is_some() {
            return Err(bad(&at, &format!("names {name} again")));
        }
    }
    Ok(Some(all))
}

fn files(
    bundle: &mut Bundle,
    manifest: &Value,
    home: &Path,
) -> Result<Option<Map<String, Value>>, LocalError> {
    let Some(items) = list(manifest, "files")? else { return Ok(None) };
    let mut all = Map::new();
    for (index, entry) in items.iter().enumerate() {
        let at = format!("files[{index}]");
        let name = entry["file"].as_str().ok_or_else(|| bad(&at, "has no file name"))?;
        let reference = bundle.add(name, source(entry, &at, home)?, Some(content_type(name)))?;
        if all.insert(name.to_owned(), reference).is_some() {
            return Err(bad(&at, &format!("names {name} again")));
        }
    }
    Ok(Some(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_becomes_a_release_spec() {
        let manifest = json!({
            "project_id": "prj_1",
            "migrations": "create table t (id int)",
            "rls": { "template": "user_owns_rows", "tables": [{ "table": "t", "owner_column": "owner" }] },
            "secrets": [{ "key": "API_KEY" }],
            "functions": [{ "name": "api", "code": "export default 1", "config": { "timeout": 5, "memory": 128 },
                "schedule": "0 * * * *" }],
            "files": [{ "file": "index.html", "data": "home" }],
            "subdomain": "shop",
            "inherit": true,
        });
        assert!(is_bundle(&manifest));
        let bundle = bundle_from_legacy("prj_9", &manifest, Path::new(".")).unwrap();
        let spec = Value::Object(bundle.spec.clone());
        let migration = &spec["database"]["migrations"][0];
        let checksum = migration["checksum"].as_str().unwrap();
        assert_eq!(migration["id"], format!("bundle_legacy_{}", &checksum[..16]));
        assert_eq!(
            spec["database"]["expose"]["tables"][0],
            json!({
            "name": "t", "expose": true, "policy": "user_owns_rows", "owner_column": "owner" })
        );
        assert_eq!(spec["secrets"], json!({ "require": ["API_KEY"] }));
        let api = &spec["functions"]["replace"]["api"];
        assert_eq!(
            (&api["config"], &api["schedule"]),
            (&json!({ "timeoutSeconds": 5, "memoryMb": 128 }), &json!("0 * * * *"))
        );
        assert_eq!(spec["site"]["replace"]["index.html"]["size"], 4);
        assert_eq!(spec["subdomains"], json!({ "set": ["shop"] }));
        assert_eq!(bundle.content.len(), 3);
    }

    #[test]
    fn release_specs_are_not_bundles_and_values_are_refused() {
        for spec in [
            json!({ "site": { "replace": {} } }),
            json!({ "functions": { "replace": {} } }),
            json!({ "secrets": { "require": ["A"] } }),
            json!({ "base": { "release_id": "rel_1" } }),
        ] {
            assert!(!is_bundle(&spec), "{spec}");
        }
        let unsafe_one = json!({ "secrets": [{ "key": "A", "value": "s3cret" }] });
        let error = bundle_from_legacy("prj_9", &unsafe_one, Path::new(".")).unwrap_err();
        assert_eq!(error.code, "UNSAFE_SECRET_MANIFEST");
        assert!(!error.message.contains("s3cret"));
    }
}
