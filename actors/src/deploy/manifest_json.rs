//! A file `manifest.json` at a site's root that is an authorisation manifest: it is taken off the site and
//! applied to the database. Published clients ship it as a file; manifests of web applications stay files.

use serde_json::Value;
use types::{Code, Problem};

use super::{Content, SiteChange, Spec, deploy_problem};
use crate::Deps;
use crate::kit::ActorError;

const PATH: &str = "manifest.json";
const BYTES_MAX: usize = 1 << 20;

/// A spec as it is carried out.
#[derive(Debug, Clone)]
pub struct Effective {
    pub spec: Spec,
    /// Its manifest came with the site.
    pub manifest_applied: bool,
}

/// The spec as it is carried out. While the file's bytes are not uploaded nobody can tell, and it stays a file.
///
/// # Errors
/// `INVALID_SPEC` when the spec brings a manifest twice; `Outside` when the object store does not answer.
///
/// # Source
/// Wire contract 02 section 5.2 and its open question 3.
pub async fn effective(deps: &Deps, mut spec: Spec) -> Result<Effective, ActorError> {
    let Some(manifest) = shipped(deps, &spec).await? else {
        return Ok(Effective { spec, manifest_applied: false });
    };
    if spec.database.as_ref().is_some_and(|database| database.expose.is_some()) {
        return Err(twice().into());
    }
    if let Some(files) = spec.site.as_mut().map(files_mut) {
        files.remove(PATH);
    }
    spec.database.get_or_insert_default().expose = Some(manifest);
    Ok(Effective { spec, manifest_applied: true })
}

fn files_mut(site: &mut SiteChange) -> &mut std::collections::BTreeMap<String, Content> {
    match site {
        SiteChange::Replace(files) => files,
        SiteChange::Patch { put, .. } => put,
    }
}

async fn shipped(deps: &Deps, spec: &Spec) -> Result<Option<Value>, ActorError> {
    let file = match &spec.site {
        Some(SiteChange::Replace(files)) => files.get(PATH),
        Some(SiteChange::Patch { put, .. }) => put.get(PATH),
        None => None,
    };
    let Some(file) = file.filter(|file| file.size <= BYTES_MAX as u64) else { return Ok(None) };
    let wanted = std::slice::from_ref(&file.sha256);
    let held = store::content::content_held(&deps.store, spec.project, wanted).await?;
    if held.get(&file.sha256) != Some(&file.size) {
        return Ok(None);
    }
    let bytes = read(deps, file).await?;
    Ok(serde_json::from_slice::<Value>(&bytes).ok().filter(is_authorisation))
}

/// The bytes of content that the project holds.
///
/// # Errors
/// `Outside` when the object store does not answer, or with other bytes.
pub(super) async fn read(deps: &Deps, content: &Content) -> Result<Vec<u8>, ActorError> {
    let checked = blobs::Checked { sha256: content.sha256.clone(), size_bytes: content.size };
    let bytes = blobs::read_content(&*deps.blobs, &checked).await;
    bytes.map(|bytes| bytes.to_vec()).map_err(|e| ActorError::Outside {
        what: "read content of a deploy",
        code: Code::StorageUnavailable,
        source: Box::new(e),
    })
}

fn is_authorisation(value: &Value) -> bool {
    let tables = value.get("version").and_then(Value::as_str) == Some("1")
        && value.get("tables").is_some_and(Value::is_array);
    let named = value.get("$schema").and_then(Value::as_str).is_some_and(|name| name.contains("manifest.v1"));
    tables || named
}

fn twice() -> Problem {
    let message = "database.expose: the site's manifest.json is an authorisation manifest as well; send one";
    deploy_problem(Code::InvalidSpec, "validate", message).extra("resource", "database.expose")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::is_authorisation;

    #[test]
    fn manifests_of_web_applications_are_not_ours() {
        for ours in [
            json!({ "version": "1", "tables": [] }),
            json!({ "$schema": "https://example.test/schemas/manifest.v1.json" }),
        ] {
            assert!(is_authorisation(&ours), "{ours}");
        }
        for other in [
            json!({ "name": "Shop", "start_url": "/", "icons": [] }),
            json!({ "version": "1", "name": "Extension" }),
            json!({ "version": 1, "tables": [] }),
            json!([]),
        ] {
            assert!(!is_authorisation(&other), "{other}");
        }
    }
}
