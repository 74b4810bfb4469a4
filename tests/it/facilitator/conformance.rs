//! Published checkers of x402 servers, unmodified.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tests::{Lab, fresh_folder, run};

/// Versions that were looked at; a newer one may ask for more.
const CHECKERS: [&str; 2] = ["x402-conformance==1.6.0", "x402-conformance-suite==0.5.2"];

/// The checkers in an environment of their own, made once per machine.
fn checkers() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let target = own.ancestors().nth(3).unwrap();
    let (folder, ready) = (target.join("x402-checkers"), target.join("x402-checkers/ready"));
    if std::fs::read_to_string(&ready).is_ok_and(|text| text == CHECKERS.join(" ")) {
        return folder.join("bin");
    }
    let _ = std::fs::remove_dir_all(&folder);
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
    run(Command::new(folder.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(CHECKERS));
    std::fs::write(&ready, CHECKERS.join(" ")).unwrap();
    folder.join("bin")
}

fn json_of(text: &[u8]) -> Value {
    let text = String::from_utf8_lossy(text);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Every `pass` in a report, wherever it stands.
fn verdicts(report: &Value, found: &mut Vec<(String, bool)>) {
    match report {
        Value::Array(items) => items.iter().for_each(|item| verdicts(item, found)),
        Value::Object(members) => {
            if let (Some(name), Some(Value::Bool(pass))) = (members.get("check"), members.get("pass")) {
                found.push((name.to_string(), *pass));
            }
            members.values().for_each(|member| verdicts(member, found));
        }
        _ => {}
    }
}

fn audit(bin: &Path, lab: &Lab) -> Value {
    let folder = fresh_folder();
    std::fs::create_dir(&folder).unwrap();
    let (list, out) = (folder.join("urls.txt"), folder.join("report.json"));
    std::fs::write(&list, format!("{}\n", lab.api)).unwrap();
    run(Command::new(bin.join("x402-validate"))
        .arg(&list)
        .args(["--output", "json", "--output-path"])
        .arg(&out));
    let report = json_of(&std::fs::read(&out).unwrap());
    std::fs::remove_dir_all(&folder).unwrap();
    report
}

// A39, and the checkers' own S0 to S4 and P1 to P7.
#[tokio::test(flavor = "multi_thread")]
async fn published_checkers_find_nothing() {
    let lab = Lab::start().await;
    let bin = tokio::task::spawn_blocking(checkers).await.unwrap();
    let facilitator = lab.url("/facilitator");
    let tier = lab.url("/tiers/v1/prototype");
    for words in [["live", "--fail-on-error", &facilitator], ["resource", "--fail-on-error", &tier]] {
        let output = run(Command::new(bin.join("x402conf")).args(words));
        let mut found = Vec::new();
        verdicts(&json_of(&output.stdout), &mut found);
        assert!(found.len() >= 4 && found.iter().all(|(_, pass)| *pass), "{words:?}: {found:?}");
    }
    let report = audit(&bin, &lab);
    assert!(!report.to_string().contains("FAIL") && report.to_string().contains("PASS"), "{report:#}");
}
