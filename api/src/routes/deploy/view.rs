//! What clients read of plans, operations and releases.
//!
//! # Source
//! Wire contract 02 sections 4.2 to 4.9. Every key is always there, and every list is one, because clients
//! count them.

use plane::deploy::{
    Committed, FunctionDiff, MigrationPlan, MissingContent, Operation, Planned, RouteDiff, SiteDiff,
    Transaction, Warning, route_view, routes_digest,
};
use plane::release::{Inventory, Membership, ReleaseDiff};
use serde_json::{Value, json};
use types::rfc3339;

use crate::routes::functions::triggers::declared;

mod assets;

pub(super) const SCHEMA_VERSION: &str = "agent-deploy-observability.v1";

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
        "summary": summary_of_plan(planned),
        "expected_events": ["plan.created"],
        "payment_required": null,
        "missing_content": missing,
        "warnings": warnings,
        "migrations": migrations_view(&planned.migrations),
        "site": site_view(&planned.site, paths_max),
        "functions": functions_view(&planned.functions),
        "secrets": { "added": [], "removed": planned.secrets_removed },
        "subdomains": { "added": planned.names_added, "removed": planned.names_removed },
        "routes": routes_view(&planned.routes),
        "asset_entries": planned.assets.iter().map(assets::asset_entry).collect::<Vec<_>>(),
        "asset_deletes": planned.assets_deleted,
        "asset_sync": assets::asset_sync(planned),
    })
}

fn migrations_view(all: &[MigrationPlan]) -> Value {
    let row = |one: &MigrationPlan| json!({ "id": one.id, "checksum_hex": one.checksum });
    let new = |one: &MigrationPlan| {
        let transaction = match one.transaction {
            Transaction::Required => "default",
            Transaction::None => "none",
        };
        json!({ "id": one.id, "checksum_hex": one.checksum, "transaction": transaction })
    };
    json!({
        "new": all.iter().filter(|one| one.is_new).map(new).collect::<Vec<_>>(),
        "noop": all.iter().filter(|one| !one.is_new).map(row).collect::<Vec<_>>(),
    })
}

fn functions_view(diff: &FunctionDiff) -> Value {
    let changed: Vec<Value> =
        diff.changed.iter().map(|one| json!({ "name": one.name, "fields_changed": one.fields })).collect();
    json!({ "added": diff.added, "removed": diff.removed, "changed": changed })
}

fn routes_view(diff: &RouteDiff) -> Value {
    let changed: Vec<Value> = diff
        .changed
        .iter()
        .map(|one| {
            let differs = [
                ("methods", one.before.methods != one.after.methods),
                ("target", one.before.target != one.after.target),
            ];
            let fields: Vec<&str> = differs.iter().filter(|(_, d)| *d).map(|(field, _)| *field).collect();
            json!({
                "pattern": one.after.pattern,
                "before": route_view(&one.before),
                "after": route_view(&one.after),
                "fields_changed": fields,
            })
        })
        .collect();
    json!({
        "added": diff.added.iter().map(route_view).collect::<Vec<_>>(),
        "removed": diff.removed.iter().map(route_view).collect::<Vec<_>>(),
        "changed": changed,
    })
}

fn membership_view(set: &Membership) -> Value {
    json!({ "added": set.added, "removed": set.removed })
}

fn content_view(content: &MissingContent) -> Value {
    json!({ "sha256": content.sha256, "size": content.size_bytes, "present": content.present })
}

fn warning_view(warning: &Warning) -> Value {
    json!({
        "code": warning.code,
        "severity": warning.severity,
        "requires_confirmation": warning.requires_confirmation,
        "message": warning.message,
        "affected": warning.affected,
    })
}

fn summary_of_plan(planned: &Planned) -> String {
    let new = planned.migrations.iter().filter(|one| one.is_new).count();
    let counts = |list: &[String]| list.len();
    summary([
        counted("migration", &[(new, "to run")]),
        files_counted(&planned.site),
        functions_counted(&planned.functions),
        routes_counted(&planned.routes),
        counted("secret", &[(counts(&planned.secrets_removed), "removed")]),
        counted(
            "name",
            &[(counts(&planned.names_added), "added"), (counts(&planned.names_removed), "removed")],
        ),
        counted("asset", &[(planned.assets_changed, "changed")]),
    ])
}

fn summary_of_diff(found: &ReleaseDiff) -> String {
    let membership =
        |noun, set: &Membership| counted(noun, &[(set.added.len(), "added"), (set.removed.len(), "removed")]);
    summary([
        counted("migration", &[(found.migrations.len(), "ran")]),
        files_counted(&found.site),
        functions_counted(&found.functions),
        routes_counted(&found.routes),
        membership("secret", &found.secrets),
        membership("name", &found.names),
    ])
}

/// `2 files added, 1 changed; 1 name removed`
fn summary(parts: impl IntoIterator<Item = Option<String>>) -> String {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "No changes".to_owned() } else { parts.join("; ") }
}

fn files_counted(site: &SiteDiff) -> Option<String> {
    counted(
        "file",
        &[(site.added.len(), "added"), (site.changed.len(), "changed"), (site.removed.len(), "removed")],
    )
}

fn functions_counted(diff: &FunctionDiff) -> Option<String> {
    counted(
        "function",
        &[(diff.added.len(), "added"), (diff.changed.len(), "changed"), (diff.removed.len(), "removed")],
    )
}

fn routes_counted(diff: &RouteDiff) -> Option<String> {
    counted(
        "route",
        &[(diff.added.len(), "added"), (diff.changed.len(), "changed"), (diff.removed.len(), "removed")],
    )
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
        .parts
        .files
        .values()
        .take(paths_max)
        .map(|file| {
            json!({ "path": file.path, "content_sha256": file.sha256, "content_type": file.content_type })
        })
        .collect();
    let mut site = json!({ "paths": paths });
    if found.parts.files.len() > paths_max {
        site["totals"] = json!({ "paths": found.parts.files.len() });
    }
    let functions: Vec<Value> = found
        .parts
        .functions
        .values()
        .map(|f| {
            json!({
                "name": f.name, "code_hash": f.code_hash, "runtime": f.runtime,
                "timeout_seconds": f.timeout_seconds, "memory_mb": f.memory_mb, "schedule": f.schedule,
                "triggers": f.triggers.iter().map(declared).collect::<Vec<_>>(),
            })
        })
        .collect();
    let applied: Vec<Value> = found
        .migrations
        .iter()
        .map(|m| {
            let at = rfc3339(m.applied_at);
            json!({ "migration_id": m.id, "checksum_hex": m.checksum, "applied_at": at })
        })
        .collect();
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
        "functions": functions,
        "secrets": { "keys": found.secret_keys },
        "subdomains": { "names": found.names },
        "routes": {
            "manifest_sha256": routes_digest(&found.parts.routes),
            "entries": found.parts.routes.iter().map(route_view).collect::<Vec<_>>(),
        },
        "migrations_applied": applied,
        "warnings": [],
    })
}

pub(super) fn diff_view(found: &ReleaseDiff, paths_max: usize) -> Value {
    let mut routes = routes_view(&found.routes);
    routes["manifest_sha256_old"] = json!(routes_digest(&found.route_tables.0));
    routes["manifest_sha256_new"] = json!(routes_digest(&found.route_tables.1));
    json!({
        "kind": "release_diff",
        "schema_version": SCHEMA_VERSION,
        "from_release_id": found.from,
        "to_release_id": found.to,
        "is_noop": found.is_noop(),
        "summary": summary_of_diff(found),
        "warnings": [],
        "migrations": { "applied_between_releases": found.migrations },
        "site": site_view(&found.site, paths_max),
        "functions": functions_view(&found.functions),
        "secrets": membership_view(&found.secrets),
        "subdomains": membership_view(&found.names),
        "routes": routes,
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
            migrations: vec![],
            functions: FunctionDiff::default(),
            routes: RouteDiff::default(),
            secrets_removed: vec![],
            site: SiteDiff { removed: vec!["old.html".into()], ..SiteDiff::default() },
            names_added: vec!["shop".into()],
            names_removed: vec![],
            assets: vec![],
            assets_changed: 0,
            assets_deleted: vec![],
            assets_synced: vec![],
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
            "asset_entries": [],
            "asset_deletes": [],
            "asset_sync": null,
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
        let names = counted("name", &[(2, "added"), (1, "removed")]);
        assert_eq!(summary([files_counted(&site), None, None, None, None, None]), "2 files removed");
        assert_eq!(summary([None, None, None, None, None, None]), "No changes");
        let both = summary([files_counted(&site), None, None, None, None, names]);
        assert_eq!(both, "2 files removed; 2 names added, 1 removed");
    }
}
