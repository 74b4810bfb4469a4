//! Published PostgREST clients, unmodified, drive every documented behaviour.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::{Lab, peers, run};

use super::Project;

const SCHEMA: &str = include_str!("../../conformance/schema.sql");
/// A version that was looked at; a newer one may ask for more.
const PYTHON_CLIENT: &str = "postgrest==2.34.1";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

/// The Python client in an environment of its own, made once per machine.
fn python() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.ancestors().nth(3).unwrap().join("postgrest-client");
    let ready = folder.join("ready");
    if std::fs::read_to_string(&ready).is_ok_and(|text| text == PYTHON_CLIENT) {
        return folder.join("bin/python");
    }
    let _ = std::fs::remove_dir_all(&folder);
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
    run(Command::new(folder.join("bin/pip")).args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        PYTHON_CLIENT,
    ]));
    std::fs::write(&ready, PYTHON_CLIENT).unwrap();
    folder.join("bin/python")
}

/// Everything that differed, and the total at the end.
fn verdict(command: &mut Command, at_least: u64) {
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stdout);
    let total: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(total["failed"] == 0 && total["ran"].as_u64().unwrap() >= at_least, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn published_clients_find_postgrest() {
    let lab = Lab::start().await;
    let p = Project::make(&lab).await;
    p.sql(&lab, SCHEMA).await;
    let (url, key) = (lab.url("/rest/v1"), p.anon.clone());
    let (own_url, own_key) = (lab.url("/admin/v1/rest"), p.service.clone());
    tokio::task::spawn_blocking(move || {
        let script = folder().join("run.mjs");
        verdict(
            Command::new("node").current_dir(peers()).arg(script).args([&url, &key, &own_url, &own_key]),
            155,
        );
        verdict(Command::new(python()).arg(folder().join("run.py")).args([&url, &key]), 14);
    })
    .await
    .unwrap();
    lab.assert_books_agree();
}

#[test]
fn the_document_is_made_from_the_cases() {
    let output = run(Command::new("node").arg(folder().join("document.mjs")));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rest-conformance.md");
    let written = std::fs::read_to_string(file).unwrap();
    let made = String::from_utf8(output.stdout).unwrap();
    assert_eq!(written, made, "run: node tests/conformance/document.mjs > docs/rest-conformance.md");
}
