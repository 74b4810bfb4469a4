//! What clients read of plans, operations and releases.
//!
//! # Source
//! Wire contract 02 sections 4.2 to 4.9. Every key is always there, and every list is one, because clients
//! count them.

use plane::deploy::{Committed, MissingContent, Planned, Warning};
use plane::deploy::{Operation, SiteDiff};
use plane::release::{Inventory, ReleaseDiff};
use serde_json::{Value, json};
use types::rfc3339;

const SCHEMA_VERSION: &str = "agent-deploy-observability.v1";

pub(super) fn plan_view(planned: &Planned, paths_max: usize) -> Value {
    let (plan, operation) = planned.ids.unzip();
    let missing: Vec<Value> = planned.contents.iter().map(content_view).collect();
    let warnings: Vec<Value> = planned.warnings.iter().map(warning_view).collect();
    json!({
        "kind": "plan_response",
        "schema_version": SCHEMA_VERSION,
        "plan_id": plan,
        "operation_id": operation,
        "base_release_id": planned.base_release,
        "manifest_digest": planned.digest,
        "is_noop": planned.is_noop,
        "summary": summary(&planned.site, planned.names_added.len(), planned.names_removed.len()),
        "expected_events": ["plan.created"],
        "payment_required": null,
        "missing_content": missing,
        "warnings": warnings,
        "migrations": { "new": [], "noop": [] },
        "site": site_view(&planned.site, paths_max),
        "functions": { "added": [], "removed": [], "changed": [] },
        "secrets": { "added": [], "removed": [] },
        "subdomains": { "added": planned.names_added, "removed": planned.names_removed },
        "routes": { "added": [], "removed": [], "changed": [] },
    })
}

fn content_view(content: &MissingContent) -> Value {
    json!({ "sha256": content.sha256, "size": content.size_bytes, "present": content.present })
}

fn warning_view(warning: &Warning) -> Value {
    json!({
        "code": warning.code,
        "severity": warning.severity,
        "requires_confirmation": false,
        "message": warning.message,
        "affected": warning.affected,
    })
}

/// `2 files added, 1 changed; 1 name removed`
fn summary(site: &SiteDiff, names_added: usize, names_removed: usize) -> String {
    let files = counted(
        "file",
        &[(site.added.len(), "added"), (site.changed.len(), "changed"), (site.removed.len(), "removed")],
    );
    let names = counted("name", &[(names_added, "added"), (names_removed, "removed")]);
    match (files, names) {
        (None, None) => "No changes".to_owned(),
        (Some(one), None) | (None, Some(one)) => one,
        (Some(files), Some(names)) => format!("{files}; {names}"),
    }
}

/// The noun stands with the first count only.
fn counted(noun: &str, counts: &[(usize, &str)]) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for (count, verb) in counts.iter().filter(|(count, _)| *count > 0) {
        parts.push(match (parts.is_empty(), count) {
            (true, 1) => format!("1 {noun} {verb}"),
            (true, count) => format!("{count} {noun}s {verb}"),
            (false, count) => format!("{count} {verb}"),
        });
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Lists are cut at `paths_max`; then `totals` says how long they are.
fn site_view(site: &SiteDiff, paths_max: usize) -> Value {
    let added: Vec<Value> = site
        .added
        .iter()
        .take(paths_max)
        .map(|file| json!({ "path": file.path, "sha256": file.sha256, "content_type": file.content_type }))
        .collect();
    let changed: Vec<Value> = site
        .changed
        .iter()
        .take(paths_max)
        .map(|change| {
            json!({
                "path": change.new.path,
                "sha256_old": change.old.sha256,
                "sha256_new": change.new.sha256,
                "content_type_old": change.old.content_type,
                "content_type_new": change.new.content_type,
            })
        })
        .collect();
    let removed: Vec<&String> = site.removed.iter().take(paths_max).collect();
    let mut view = json!({ "added": added, "removed": removed, "changed": changed });
    let counts = [site.added.len(), site.removed.len(), site.changed.len()];
    if counts.into_iter().any(|count| count > paths_max) {
        view["totals"] = json!({ "added": counts[0], "removed": counts[1], "changed": counts[2] });
    }
    view
}

/// `ready` always comes with a release and its addresses, `failed` with an error.
pub(super) fn commit_view(done: &Committed) -> Value {
    let operation = &done.operation;
    let mut view = json!({ "operation_id": operation.id, "status": done.status.as_str() });
    if let Some(release) = operation.release {
        view["release_id"] = json!(release);
    }
    if let Some(urls) = &operation.urls {
        view["urls"] = urls.clone();
    }
    if let Some(error) = &operation.error {
        view["error"] = error.clone();
    }
    view
}

pub(super) fn snapshot_view(operation: &Operation) -> Value {
    json!({
        "operation_id": operation.id,
        "project_id": operation.project,
        "plan_id": operation.plan,
        "status": operation.status.as_str(),
        "base_release_id": operation.base_release,
        "target_release_id": operation.target_release,
        "release_id": operation.release,
        "urls": operation.urls,
        "payment_required": null,
        "error": operation.error,
        "activate_attempts": operation.activate_attempts,
        "last_activate_attempt_at": operation.last_activate_attempt_at.map(rfc3339),
        "created_at": rfc3339(operation.created_at),
        "updated_at": rfc3339(operation.updated_at),
    })
}

pub(super) fn inventory_view(found: &Inventory, paths_max: usize) -> Value {
    let release = found.release.as_ref();
    let paths: Vec<Value> = found
        .files
        .iter()
        .take(paths_max)
        .map(|file| {
            json!({ "path": file.path, "content_sha256": file.sha256, "content_type": file.content_type })
        })
        .collect();
    let mut site = json!({ "paths": paths });
    if found.files.len() > paths_max {
        site["totals"] = json!({ "paths": found.files.len() });
    }
    json!({
        "kind": "release_inventory",
        "schema_version": SCHEMA_VERSION,
        "release_id": release.map(|r| r.id),
        "project_id": found.project,
        "parent_id": release.and_then(|r| r.parent),
        "status": release.map(|r| &r.status),
        "manifest_digest": release.map(|r| &r.digest),
        "created_at": release.map(|r| rfc3339(r.created_at)),
        "created_by": release.map(|r| &r.created_by),
        "activated_at": release.and_then(|r| r.activated_at).map(rfc3339),
        "superseded_at": release.and_then(|r| r.superseded_at).map(rfc3339),
        "operation_id": release.map(|r| r.operation),
        "plan_id": release.map(|r| r.plan),
        "events_url": release.map(|r| format!("/deploy/v2/operations/{}/events", r.operation)),
        "effective": found.state_kind != "desired_manifest",
        "state_kind": found.state_kind,
        "site": site,
        "functions": [],
        "secrets": { "keys": [] },
        "subdomains": { "names": found.names },
        "routes": { "manifest_sha256": null, "entries": [] },
        "migrations_applied": [],
        "warnings": [],
    })
}

pub(super) fn diff_view(found: &ReleaseDiff, paths_max: usize) -> Value {
    json!({
        "kind": "release_diff",
        "schema_version": SCHEMA_VERSION,
        "from_release_id": found.from,
        "to_release_id": found.to,
        "is_noop": found.site.is_empty(),
        "summary": summary(&found.site, 0, 0),
        "warnings": [],
        "migrations": { "applied_between_releases": [] },
        "site": site_view(&found.site, paths_max),
        "functions": { "added": [], "removed": [], "changed": [] },
        "secrets": { "added": [], "removed": [] },
        "subdomains": { "added": [], "removed": [] },
        "routes": { "added": [], "removed": [], "changed": [] },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Golden: the plan response of contract 02 section 4.2, key by key.
    #[test]
    fn a_plan_has_every_key_that_clients_read() {
        let sha256: types::Sha256Hex = "a".repeat(64).parse().unwrap();
        let planned = Planned {
            ids: None,
            base_release: None,
            digest: sha256.clone(),
            is_noop: false,
            contents: vec![MissingContent { sha256: sha256.clone(), size_bytes: 11, present: false }],
            warnings: vec![],
            site: SiteDiff { removed: vec!["old.html".into()], ..SiteDiff::default() },
            names_added: vec!["shop".into()],
            names_removed: vec![],
        };
        let expected = json!({
            "kind": "plan_response", "schema_version": "agent-deploy-observability.v1", "plan_id": null,
            "operation_id": null, "base_release_id": null, "manifest_digest": sha256, "is_noop": false,
            "summary": "1 file removed; 1 name added", "expected_events": ["plan.created"],
            "payment_required": null,
            "missing_content": [{ "sha256": sha256, "size": 11, "present": false }], "warnings": [],
            "migrations": { "new": [], "noop": [] },
            "site": { "added": [], "removed": ["old.html"], "changed": [] },
            "functions": { "added": [], "removed": [], "changed": [] },
            "secrets": { "added": [], "removed": [] },
            "subdomains": { "added": ["shop"], "removed": [] },
            "routes": { "added": [], "removed": [], "changed": [] },
        });
        assert_eq!(plan_view(&planned, 1000), expected);
    }

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let removed = (0..5).map(|i| format!("f{i}")).collect();
        let view = site_view(&SiteDiff { removed, ..SiteDiff::default() }, 3);
        assert_eq!(view["removed"].as_array().unwrap().len(), 3);
        assert_eq!(view["totals"], json!({ "added": 0, "removed": 5, "changed": 0 }));
    }

    #[test]
    fn a_summary_counts_in_words() {
        let site = SiteDiff { removed: vec!["a".into(), "b".into()], ..SiteDiff::default() };
        assert_eq!(summary(&site, 0, 0), "2 files removed");
        assert_eq!(summary(&SiteDiff::default(), 0, 0), "No changes");
        assert_eq!(summary(&SiteDiff::default(), 2, 1), "2 names added, 1 removed");
    }
}
