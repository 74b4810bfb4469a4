//! A release spec in its one normal form: what is stored with a plan, and what its digest is made of.
//!
//! Reading what clients send, in all its spellings, is `plane`'s business.

use std::collections::BTreeMap;

use store::releases::NameChange;
use types::{ProjectId, ReleaseId, Sha256Hex};

/// What a release shall be, on top of what.
///
/// # Source
/// Wire contract 02 section 4.1.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Spec {
    pub project: ProjectId,
    pub base: Base,
    /// Absent: the base's site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteChange>,
    /// Absent: the names that the project has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdomains: Option<NameChange>,
}

/// What absent parts are carried forward from: `{"release": "current"}`, `{"release": "empty"}` or
/// `{"release_id": "rel_.."}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    Release(Anchor),
    ReleaseId(ReleaseId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    Current,
    Empty,
}

/// Paths are canonical: relative, NFC, without empty or dot segments.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteChange {
    /// The whole site.
    Replace(BTreeMap<String, Content>),
    /// Only these paths. No path is in both lists.
    Patch { put: BTreeMap<String, Content>, delete: Vec<String> },
}

/// Content by reference; its bytes are in the project's store by the time of the commit.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Content {
    pub sha256: Sha256Hex,
    pub size: u64,
    pub content_type: String,
}

impl Spec {
    /// Every path that brings content.
    pub fn contents(&self) -> impl Iterator<Item = (&String, &Content)> {
        self.site.iter().flat_map(|site| match site {
            SiteChange::Replace(files) => files,
            SiteChange::Patch { put, .. } => put,
        })
    }

    /// Where a content reference is in the spec, for errors.
    pub fn resource(&self, path: &str) -> String {
        match self.site {
            Some(SiteChange::Patch { .. }) => format!("site.patch.put[{path:?}]"),
            _ => format!("site.replace[{path:?}]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_normal_form_reads_back_what_it_writes() {
        let spec = json!({
            "project": "prj_0123456789abcdef0123456789abcdef",
            "base": {"release": "current"},
            "site": {"patch": {"put": {"a.txt": {
                "sha256": "0".repeat(64), "size": 1, "content_type": "text/plain"}},
                "delete": ["b.txt"]}},
            "subdomains": {"set": ["shop"]},
        });
        let read: Spec = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), spec);
        assert_eq!(read.contents().count(), 1);
        let pinned = json!({"release_id": "rel_0123456789abcdef0123456789abcdef"});
        assert!(matches!(serde_json::from_value(pinned).unwrap(), Base::ReleaseId(_)));
    }
}
