//! What is wrong with a manifest, one entry for each mistake.

use std::collections::BTreeMap;

use serde::Serialize;

/// Entries of one answer; a manifest with more mistakes is repaired in rounds.
pub(super) const ISSUES_MAX: usize = 500;

/// # Source
/// Wire contract 01 section 7.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IssueKind {
    SchemaShape,
    MissingTable,
    MissingColumn,
    MissingViewBase,
    MissingRpc,
    AmbiguousRpc,
    UnrestrictedAckRequired,
    ForceOwnerWithoutOwnerColumn,
    GrantToRoleUnknown,
    SensitiveColumnPublicWrite,
    /// A warning: the owner column is no uuid, so rows are compared as text.
    OwnerColumnTextCast,
    ValidationInconclusive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// One mistake, where it is, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Issue {
    #[serde(rename = "type")]
    pub kind: IssueKind,
    pub severity: Severity,
    /// Such as `tables[2].owner_column`; empty for the whole manifest.
    pub path: String,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// What was found so far.
#[derive(Debug, Default)]
pub struct Issues {
    pub errors: Vec<Issue>,
    pub warnings: Vec<Issue>,
    /// Where the entries that could be read stood in their lists.
    positions: BTreeMap<&'static str, Vec<usize>>,
}

impl Issues {
    pub(super) fn stood(&mut self, list: &'static str, position: usize) {
        self.positions.entry(list).or_default().push(position);
    }

    /// The path of an entry, by its index among those that could be read.
    pub(super) fn path(&self, list: &str, index: usize) -> String {
        let position = self.positions.get(list).and_then(|all| all.get(index)).unwrap_or(&index);
        format!("{list}[{position}]")
    }

    pub(super) fn error(&mut self, kind: IssueKind, path: &str, detail: impl Into<String>, fix: &str) {
        push(&mut self.errors, kind, Severity::Error, path, detail.into(), fix);
    }

    pub(super) fn warn(&mut self, kind: IssueKind, path: &str, detail: impl Into<String>, fix: &str) {
        push(&mut self.warnings, kind, Severity::Warning, path, detail.into(), fix);
    }

    pub(super) fn shape(&mut self, path: &str, detail: impl Into<String>, fix: &str) {
        self.error(IssueKind::SchemaShape, path, detail, fix);
    }
}

fn push(list: &mut Vec<Issue>, kind: IssueKind, severity: Severity, path: &str, detail: String, fix: &str) {
    if list.len() >= ISSUES_MAX {
        return;
    }
    let detail = format!("manifest{}{path}: {detail}", if path.is_empty() { "" } else { "." });
    list.push(Issue { kind, severity, path: path.to_owned(), detail, fix: Some(fix.to_owned()) });
}
