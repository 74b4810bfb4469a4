//! Who may depend on whom, and which crates of others have one home. The table is the law; the code reads it.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process;

const DATAPLANE: &[&str] = &["rest", "users", "blobs", "sites", "functions", "mail", "ai"];

/// A crate of ours and the crates of ours that it may use; `dataplane/*` stands for all of that folder.
const MAY_USE: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("store", &["types"]),
    ("lab", &["types"]),
    ("stripe_fake", &["types"]),
    ("billing", &["store", "types"]),
    ("chain", &["types"]),
    ("rest", &["store", "types"]),
    ("users", &["store", "types"]),
    ("blobs", &["store", "types"]),
    ("sites", &["store", "types"]),
    ("functions", &["store", "types"]),
    ("mail", &["store", "types"]),
    ("ai", &[]),
    ("actors", &["billing", "chain", "dataplane/*", "store", "types"]),
    ("plane", &["actors", "dataplane/*", "billing", "chain", "store", "types"]),
    ("api", &["plane", "dataplane/*", "types"]),
    // It stands where `server` stands, with everything outside injected.
    ("sim", &["plane", "actors", "dataplane/*", "billing", "chain", "store", "stripe_fake", "types"]),
    // docs/decisions/0001: the catalogue is data; the server makes the OpenAPI document from it.
    (
        "server",
        &[
            "api",
            "sim",
            "plane",
            "actors",
            "billing",
            "chain",
            "dataplane/*",
            "store",
            "lab",
            "stripe_fake",
            "catalogue",
            "types",
        ],
    ),
    ("catalogue", &["types"]),
    ("client", &["catalogue", "types"]),
    ("cli", &["client", "catalogue", "types"]),
    ("mcp", &["client", "catalogue", "types"]),
    ("tests", &["client", "catalogue", "lab", "stripe_fake", "types"]),
    // Its benches are test code and reach the crates that they measure.
    ("bench", &[]),
    ("xtask", &[]),
];

/// A crate of others and the only crates of ours that may name it.
const HOMES: &[(&str, &[&str])] = &[
    ("alloy", &["chain", "client", "cli", "mcp", "lab", "tests"]),
    ("async-stripe", &["billing"]),
    ("aws-sdk-kms", &["chain"]),
    ("aws-sdk-s3", &["blobs"]),
    ("axum", &["api", "server", "stripe_fake"]),
    ("ractor", &["actors"]),
    ("sea-orm", &["store"]),
    ("sqlx", &["store", "users", "rest", "tests"]),
    ("tokio-cron-scheduler", &["actors"]),
    ("tokio-postgres", &["rest", "lab"]),
    ("webauthn-rs", &["users"]),
];

/// One crate of the workspace with what its `[dependencies]` and `[build-dependencies]` name.
struct Package {
    name: String,
    uses: Vec<String>,
}

/// Prints every forbidden edge and fails when there is one.
pub fn run() -> Result<()> {
    let packages = packages(&process::metadata()?)?;
    let faults = faults(&packages);
    for fault in &faults {
        eprintln!("layers: {fault}");
    }
    if !faults.is_empty() {
        bail!("{} edges break the rules of xtask/src/layers.rs", faults.len());
    }
    eprintln!("layers: {} crates keep the rules", packages.len());
    Ok(())
}

fn packages(metadata: &Value) -> Result<Vec<Package>> {
    let listed = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let package = |package: &Value| {
        let uses = package["dependencies"].as_array().into_iter().flatten();
        // Test code may reach wherever it must: an edge that ships nothing is not an edge.
        let shipped = uses.filter(|dependency| dependency["kind"] != "dev");
        Package {
            name: package["name"].as_str().unwrap_or_default().to_owned(),
            uses: shipped.filter_map(|one| one["name"].as_str().map(str::to_owned)).collect(),
        }
    };
    Ok(listed.iter().map(package).collect())
}

fn faults(packages: &[Package]) -> Vec<String> {
    packages.iter().flat_map(|package| own_faults(package, packages)).collect()
}

fn own_faults(package: &Package, all: &[Package]) -> Vec<String> {
    let name = package.name.as_str();
    let Some((_, allowed)) = MAY_USE.iter().find(|(crate_name, _)| *crate_name == name) else {
        return vec![format!("{name} is not in the table: give it a line in MAY_USE")];
    };
    let mut faults = Vec::new();
    for used in &package.uses {
        let ours = all.iter().any(|other| other.name == *used);
        if ours && !is_allowed(allowed, used) {
            let rule = if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
            faults.push(format!("{name} -> {used} is forbidden: {name} may use {rule}"));
        }
        if let Some((_, homes)) = HOMES.iter().find(|(guest, _)| guest == used)
            && !homes.contains(&name)
        {
            faults.push(format!("{name} -> {used} is forbidden: {used} lives in {}", homes.join(", ")));
        }
    }
    faults
}

fn is_allowed(allowed: &[&str], used: &str) -> bool {
    allowed.contains(&used) || (allowed.contains(&"dataplane/*") && DATAPLANE.contains(&used))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(metadata: &Value) -> Vec<String> {
        faults(&packages(metadata).unwrap())
    }

    fn workspace(api_uses: &Value) -> Value {
        json!({ "packages": [
            { "name": "types", "dependencies": [] },
            { "name": "store", "dependencies": [{ "name": "sqlx", "kind": null }] },
            { "name": "rest", "dependencies": [{ "name": "store", "kind": null }] },
            { "name": "api", "dependencies": api_uses },
        ]})
    }

    #[test]
    fn a_forbidden_edge_is_found() {
        let found = found(&workspace(&json!([{ "name": "store", "kind": null }])));
        assert_eq!(found, ["api -> store is forbidden: api may use plane, dataplane/*, types"]);
    }

    #[test]
    fn an_allowed_edge_and_a_test_edge_pass() {
        let uses = json!([{ "name": "rest", "kind": null }, { "name": "store", "kind": "dev" }]);
        assert!(found(&workspace(&uses)).is_empty());
    }

    #[test]
    fn a_guest_away_from_home_is_found() {
        let found = found(&workspace(&json!([{ "name": "sqlx", "kind": null }])));
        assert_eq!(found, ["api -> sqlx is forbidden: sqlx lives in store, users, rest, tests"]);
    }

    #[test]
    fn an_unknown_crate_is_found() {
        let found = found(&json!({ "packages": [{ "name": "helpers", "dependencies": [] }] }));
        assert_eq!(found, ["helpers is not in the table: give it a line in MAY_USE"]);
    }
}
