//! Manifests and schemas in files, with the statements they must give.

use serde::Deserialize;
use serde_json::Value;

use super::compile::{Applied, compile};
use super::live::Live;
use super::{Issues, check, manifest};

/// One case: what is asked, what was applied before, what is there.
#[derive(Deserialize)]
struct Case {
    manifest: Value,
    #[serde(default)]
    applied: Applied,
    live: Live,
}

// Goal: statements are a pure function of manifest and schema. Method: every case beside this file; a changed
// statement shows in review. RUN402_GOLDEN=write writes them anew.
#[test]
fn statements_are_those_of_the_golden_files() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/expose/golden");
    let mut cases = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|kind| kind != "json") {
            continue;
        }
        cases += 1;
        let case: Case = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut issues = Issues::default();
        let read = manifest::read(&case.manifest, &mut issues);
        check::check(&read, &case.live, &|_| false, &mut issues);
        let mut told = String::new();
        if issues.errors.is_empty() {
            for step in compile(&read, &case.applied, &case.live).steps {
                told += &format!("{};\n", step.sql());
            }
        }
        for issue in issues.errors.iter().chain(&issues.warnings) {
            told += &format!("-- {:?} {:?}: {}\n", issue.severity, issue.kind, issue.detail);
        }
        let golden = path.with_extension("sql");
        if std::env::var_os("RUN402_GOLDEN").is_some() {
            std::fs::write(&golden, &told).unwrap();
        }
        assert_eq!(told, std::fs::read_to_string(&golden).unwrap_or_default(), "{}", path.display());
    }
    assert!(cases > 4, "the golden files are where they belong");
}
