//! The same by the words of the command line.

use std::process::Command;

use serde_json::{Value, json};
use tests::{Lab, fresh_folder, target_binary};

// Goal: a release with everything in it, secrets, a bundle of earlier clients and the way back, all by words.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_applied_listed_compared_and_taken_back_by_words() {
    let lab = Lab::start().await;
    let home = fresh_folder();
    std::fs::create_dir_all(&home).unwrap();
    let output = |args: &[&str]| {
        let mut command = Command::new(target_binary("run402"));
        command.args(args).env("RUN402_API_BASE", &lab.api).env("RUN402_CONFIG_DIR", home.join("config"));
        command.output().unwrap()
    };
    let run = |args: &[&str]| -> Value {
        let done = output(args);
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "run402 {args:?}\n{out}\n{err}");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("run402 {args:?}: {e}\n{out}"))
    };
    let file = |name: &str, manifest: Value| -> String {
        let path = home.join(name);
        std::fs::write(&path, manifest.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    run(&["init"]);
    run(&["tier", "set", "prototype"]);
    let project = run(&["projects", "provision", "--name", "app"]);
    let id = project["project_id"].as_str().unwrap();

    let manifest = file(
        "release.json",
        json!({
            "database": { "migrations": [{ "id": "001", "sql": "create table items (n int)" }],
                "expose": { "version": "1", "tables": [
                    { "name": "items", "expose": true, "policy": "public_read_authenticated_write" } ] } },
            "secrets": { "require": ["API_KEY"] },
            "functions": { "replace": { "api": { "source": "export default () => new Response()" } } },
            "routes": { "replace": [{ "pattern": "/api/*", "target": { "type": "function", "name": "api" } }] },
            "site": { "replace": { "index.html": "home" } },
        }),
    );
    let refused = output(&["deploy", "apply", "--manifest", &manifest]);
    assert!(!refused.status.success());
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(told.contains("MISSING_REQUIRED_SECRET"), "{told}");
    assert_eq!(run(&["secrets", "set", id, "API_KEY", "s3cret"])["key"], "API_KEY");
    assert_eq!(run(&["secrets", "list", id])[0]["key"], "API_KEY");
    let first = run(&["deploy", "apply", "--manifest", &manifest]);
    let release = first["release_id"].as_str().unwrap();
    let active = run(&["deploy", "release", "active"]);
    assert_eq!(
        (&active["functions"][0]["name"], &active["secrets"]["keys"]),
        (&json!("api"), &json!(["API_KEY"]))
    );
    assert_eq!(active["migrations_applied"][0]["migration_id"], "001");

    let bundle = file(
        "bundle.json",
        json!({ "files": [{ "file": "index.html", "data": "bundled" }], "functions": [],
            "migrations": "create table more (n int)" }),
    );
    // A route would lead nowhere: bundles know no routes.
    let clear = file("clear.json", json!({ "routes": { "replace": [] } }));
    run(&["deploy", "apply", "--manifest", &clear]);
    let second = run(&["deploy", "--manifest", &bundle]);
    let diff = run(&["deploy", "release", "diff", "--from", release, "--to", "active"]);
    assert_eq!(diff["functions"]["removed"], json!(["api"]), "{diff}");
    assert_eq!(diff["migrations"]["applied_between_releases"].as_array().unwrap().len(), 1);

    let back = run(&["deploy", "promote", release]);
    assert_eq!(back["status"], "ready", "{back}");
    assert_ne!(back["release_id"], second["release_id"]);
    let active = run(&["deploy", "release", "active"]);
    assert_eq!(active["functions"][0]["name"], "api");
    assert_eq!(run(&["secrets", "delete", id, "API_KEY"])["status"], "deleted");
    let operations = run(&["deploy", "list"]);
    assert_eq!(operations["operations"].as_array().unwrap().len(), 4, "{operations}");
}
