//! Limits on sizes and words that no lint knows.

mod functions;

use std::fs;
use std::path::Path;

use anyhow::{Result, bail};

use crate::process;

const FILE_LINES_MAX: usize = 600;
const FILE_LINES_WARN: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;
/// rustfmt wraps code at 110; SQL and other texts that it leaves alone get a little more.
const LINE_COLUMNS_MAX: usize = 120;

/// Folders that hold nothing of ours: build output, installed packages, data.
const SKIPPED_FOLDERS: &[&str] = &["target", "node_modules", ".git", ".tools", ".run402"];
/// Text that is checked for words; only `.rs` is checked for sizes.
const TEXT: &[&str] = &["rs", "toml", "md", "sql", "sol", "mjs", "js", "ts", "yml", "yaml"];
/// Made by a program, so nobody can tidy them.
const GENERATED: &[&str] = &["store/src/entity/", "docs/openapi.json", "docs/errors.md"];

const READS_ENVIRONMENT: &[&str] = &["control/server/", "clients/cli/", "clients/mcp/", "xtask/", "tests/"];
const WRITES_SQL: &[&str] = &["control/store/", "dataplane/rest/", "dataplane/users/", "tests/"];

/// What was found in one file.
#[derive(Debug, Default, PartialEq)]
struct Findings {
    faults: Vec<String>,
    warnings: Vec<String>,
}

/// Prints every fault and fails when there is one; warnings do not fail.
pub fn run() -> Result<()> {
    let root = process::root();
    let mut paths = Vec::new();
    walk(&root, &root, &mut paths)?;
    paths.sort();
    let mut faults = 0;
    for path in &paths {
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        let findings = check(path, &text);
        findings.warnings.iter().for_each(|warning| eprintln!("tidy: warning: {warning}"));
        findings.faults.iter().for_each(|fault| eprintln!("tidy: {fault}"));
        faults += findings.faults.len();
    }
    if faults > 0 {
        bail!("{faults} faults");
    }
    eprintln!("tidy: {} files keep the rules", paths.len());
    Ok(())
}

fn walk(root: &Path, folder: &Path, paths: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_dir() {
            if !SKIPPED_FOLDERS.contains(&name.as_str()) {
                walk(root, &path, paths)?;
            }
        } else if kind.is_file() && is_text(&path) {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            paths.push(relative.to_string_lossy().into_owned());
        }
    }
    Ok(())
}

fn is_text(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| TEXT.contains(&extension)) || path.ends_with(".ci/run")
}

fn check(path: &str, text: &str) -> Findings {
    let mut findings = Findings::default();
    if GENERATED.iter().any(|generated| path.contains(generated)) {
        return findings;
    }
    check_words(path, text, &mut findings.faults);
    if path.ends_with(".rs") {
        check_sizes(path, text, &mut findings);
        check_homes(path, text, &mut findings.faults);
    }
    findings
}

fn check_words(path: &str, text: &str, faults: &mut Vec<String>) {
    // Spelled in halves, so that this file passes its own check.
    let machine = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let task = concat!("TO", "DO");
    for (index, line) in text.lines().enumerate() {
        let at = format!("{path}:{}", index + 1);
        if let Some(found) = machine.iter().find(|place| is_absolute_use(line, place)) {
            faults.push(format!("{at}: {found} is a path of one machine"));
        }
        let open = line.split(task).skip(1).any(|after| !names_an_issue(after));
        if open && !path.ends_with(".md") {
            faults.push(format!("{at}: a {task} needs its issue: {task} #12"));
        }
    }
}

/// True when the place starts a path, and is not a part of a longer one such as `docs/work/`.
fn is_absolute_use(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "._-}".contains(before))
    })
}

fn names_an_issue(after: &str) -> bool {
    let after = after.trim_start_matches(['(', ':', ' ']);
    after.strip_prefix('#').is_some_and(|number| number.starts_with(|digit: char| digit.is_ascii_digit()))
}

fn check_sizes(path: &str, text: &str, findings: &mut Findings) {
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.faults.push(format!("{path}: {lines} lines, more than {FILE_LINES_MAX}"));
    } else if lines > FILE_LINES_WARN {
        findings.warnings.push(format!("{path}: {lines} lines; split it before {FILE_LINES_MAX}"));
    }
    for (index, line) in text.lines().enumerate() {
        let columns = line.chars().count();
        // rustfmt leaves long literals alone; tables of text may be wide where splitting would hide the
        // table.
        if columns > LINE_COLUMNS_MAX && !is_table_row(line) {
            let at = index + 1;
            findings.faults.push(format!("{path}:{at}: {columns} columns, more than {LINE_COLUMNS_MAX}"));
        }
    }
    if is_test(path) {
        return;
    }
    for function in functions::list(text) {
        if function.lines > FUNCTION_LINES_MAX {
            let functions::Function { name, line, lines } = function;
            findings
                .faults
                .push(format!("{path}:{line}: fn {name} has {lines} lines, more than {FUNCTION_LINES_MAX}"));
        }
    }
}

/// A row of a macro's table: items between commas, closed by a semicolon, with literals.
fn is_table_row(line: &str) -> bool {
    let line = line.trim();
    line.ends_with(';') && line.matches(", \"").count() >= 2
}

fn check_homes(path: &str, text: &str, faults: &mut Vec<String>) {
    let environment = concat!("std::", "env");
    let sql = concat!("sqlx::", "query");
    let at_home = |homes: &[&str]| homes.iter().any(|home| path.starts_with(home)) || is_test(path);
    for (index, line) in code_before_tests(text).enumerate() {
        let code = line.split("//").next().unwrap_or(line);
        let at = format!("{path}:{}", index + 1);
        if code.contains(environment) && !at_home(READS_ENVIRONMENT) {
            faults.push(format!("{at}: only {} read the environment", READS_ENVIRONMENT.join(", ")));
        }
        if code.contains(sql) && !at_home(WRITES_SQL) {
            faults.push(format!("{at}: only {} write SQL", WRITES_SQL.join(", ")));
        }
    }
}

/// A file of tests: `tests.rs`, or anything in a folder `tests` or `it`.
fn is_test(path: &str) -> bool {
    path.ends_with("tests.rs") || path.split('/').any(|folder| folder == "tests" || folder == "it")
}

fn code_before_tests(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> Vec<String> {
        check(path, text).faults
    }

    #[test]
    fn long_files_warn_then_fail() {
        assert_eq!(check("api/src/lib.rs", &"\n".repeat(401)).warnings.len(), 1);
        assert!(check("api/src/lib.rs", &"\n".repeat(400)).warnings.is_empty());
        assert_eq!(faults("api/src/lib.rs", &"\n".repeat(601)).len(), 1);
    }

    #[test]
    fn long_functions_fail_except_in_tests() {
        let long = format!("fn long() {{\n{}}}\n", "    step();\n".repeat(70));
        assert_eq!(faults("api/src/lib.rs", &long).len(), 1);
        assert!(faults("tests/it/pay.rs", &long).is_empty());
        assert!(faults("api/src/lib.rs", &format!("#[cfg(test)]\nmod tests {{\n{long}}}\n")).is_empty());
    }

    #[test]
    fn wide_lines_fail() {
        assert_eq!(faults("api/src/lib.rs", &format!("// {}\n", "x".repeat(118))).len(), 1);
        assert!(faults("api/src/lib.rs", &format!("// {}\n", "x".repeat(117))).is_empty());
    }

    #[test]
    fn words_away_from_home_fail() {
        let reads = concat!("let x = std::", "env::var(\"X\");\n");
        assert_eq!(faults("api/src/lib.rs", reads).len(), 1);
        assert!(faults("control/server/src/main.rs", reads).is_empty());
        let query = concat!("sqlx::", "query(\"select 1\");\n");
        assert_eq!(faults("billing/src/lib.rs", query).len(), 1);
        assert!(faults("control/store/src/lib.rs", query).is_empty());
    }

    #[test]
    fn open_tasks_need_an_issue() {
        let (bare, named) = (concat!("// TO", "DO later\n"), concat!("// TO", "DO(#12): later\n"));
        assert_eq!(faults("api/src/lib.rs", bare).len(), 1);
        assert!(faults("api/src/lib.rs", named).is_empty());
    }

    #[test]
    fn paths_of_one_machine_fail() {
        assert_eq!(faults("README.md", concat!("cd /wo", "rk/main\n")).len(), 1);
        assert!(faults("README.md", concat!("see docs/wo", "rk/main\n")).is_empty());
    }
}
