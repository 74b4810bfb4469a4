//! A release spec in its one normal form: what is stored with a plan, and what its digest is made of.
//!
//! Reading what clients send, in all its spellings, is `plane`'s business.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use store::content::AssetChange;
use store::releases::{NameChange, Route, Trigger};
use types::{ProjectId, ReleaseId, Sha256Hex};

/// What a release shall be, on top of what.
///
/// # Source
/// Wire contract 02 section 4.1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub project: ProjectId,
    pub base: Base,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<SecretChange>,
    /// Absent: the base's functions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub functions: Option<FunctionChange>,
    /// Absent: the base's site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteChange>,
    /// Absent: the names that the project has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subdomains: Option<NameChange>,
    /// Blobs that come and go when the release goes live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assets: Option<AssetChange>,
    /// The whole table, sorted. Absent: the base's routes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routes: Option<Vec<Route>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// What absent parts are carried forward from: `{"release": "current"}`, `{"release": "empty"}` or
/// `{"release_id": "rel_.."}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Base {
    Release(Anchor),
    ReleaseId(ReleaseId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    Current,
    Empty,
}

/// What happens to the project's database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// In the order in which new ones run; ids are unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub migrations: Vec<Migration>,
    /// An authorisation manifest, as the author wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<Value>,
    /// Requests of the project's data go on while migrations run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub zero_downtime: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    pub id: String,
    /// The author's; compared as it is.
    pub checksum: String,
    pub sql_ref: Content,
    pub transaction: Transaction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transaction {
    Required,
    None,
}

/// Keys only: values never travel in a spec. Sorted and disjoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretChange {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub require: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delete: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FunctionChange {
    /// Exactly these functions.
    Replace(BTreeMap<String, FunctionSpec>),
    /// Only these. No name is in both.
    Patch { set: BTreeMap<String, FunctionSpec>, delete: Vec<String> },
}

/// A function, or what changes of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<i32>,
    /// Some(None) takes a schedule away.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub schedule: Option<Option<String>>,
    /// In place of a schedule, sorted by id. An empty list takes them away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggers: Option<Vec<Trigger>>,
}

/// A field that is there, even if it is null.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(d).map(Some)
}

/// A function's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    File(Content),
    /// `entrypoint` is one of the files.
    Files {
        files: BTreeMap<String, Content>,
        entrypoint: String,
        /// npm packages by name, with the version of each.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        packages: BTreeMap<String, String>,
    },
}

/// Paths are canonical: relative, NFC, without empty or dot segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SiteChange {
    /// The whole site.
    Replace(BTreeMap<String, Content>),
    /// Only these paths. No path is in both lists.
    Patch { put: BTreeMap<String, Content>, delete: Vec<String> },
}

/// Something to look at once the release is live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    /// A path of the site; none is no look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    pub method: String,
    pub status: u16,
}

/// Content by reference; its bytes are in the project's store by the time of the commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    pub sha256: Sha256Hex,
    pub size: u64,
    pub content_type: String,
}

/// A reference and where it stands in the spec, for errors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed<'a> {
    pub place: String,
    pub content: &'a Content,
}

impl Spec {
    /// Every content that must be there before the spec can be carried out: its digest, its size and its place.
    pub fn needs(&self) -> Vec<(&Sha256Hex, u64, String)> {
        let referred =
            self.contents().into_iter().map(|one| (&one.content.sha256, one.content.size, one.place));
        let assets = self.assets.iter().flat_map(|change| &change.put);
        referred
            .chain(assets.map(|put| (&put.sha256, put.size, format!("assets.put[{:?}]", put.key))))
            .collect()
    }

    /// Every content reference of the release. Blobs are none of it.
    pub fn contents(&self) -> Vec<Placed<'_>> {
        let placed = |place: String, content| Placed { place, content };
        let mut all = Vec::new();
        for migration in self.database.iter().flat_map(|database| &database.migrations) {
            all.push(placed(format!("database.migrations.{}", migration.id), &migration.sql_ref));
        }
        let (prefix, functions) = match &self.functions {
            Some(FunctionChange::Replace(all)) => ("functions.replace", Some(all)),
            Some(FunctionChange::Patch { set, .. }) => ("functions.patch.set", Some(set)),
            None => ("", None),
        };
        for (name, function) in functions.into_iter().flatten() {
            match &function.source {
                Some(Source::File(content)) => all.push(placed(format!("{prefix}.{name}.source"), content)),
                Some(Source::Files { files, .. }) => all.extend(
                    files.iter().map(|(path, c)| placed(format!("{prefix}.{name}.files[{path:?}]"), c)),
                ),
                None => {}
            }
        }
        let (prefix, files) = match &self.site {
            Some(SiteChange::Replace(files)) => ("site.replace", Some(files)),
            Some(SiteChange::Patch { put, .. }) => ("site.patch.put", Some(put)),
            None => ("", None),
        };
        let files = files.into_iter().flatten();
        all.extend(files.map(|(path, content)| placed(format!("{prefix}[{path:?}]"), content)));
        all
    }

    /// Whether the project's database has a part in it.
    pub fn touches_database(&self) -> bool {
        self.database.as_ref().is_some_and(|d| !d.migrations.is_empty() || d.expose.is_some())
    }

    pub fn migrations(&self) -> &[Migration] {
        self.database.as_ref().map_or(&[], |database| &database.migrations)
    }

    /// Keys of secrets that must be there, and keys that go.
    pub fn secret_keys(&self) -> (&[String], &[String]) {
        self.secrets.as_ref().map_or((&[], &[]), |change| (&change.require, &change.delete))
    }

    /// Names of functions that are routed to.
    pub fn routed(&self) -> BTreeSet<&str> {
        self.routes.iter().flatten().map(|route| route.target.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_normal_form_reads_back_what_it_writes() {
        let file = json!({"sha256": "0".repeat(64), "size": 1, "content_type": "text/plain"});
        let spec = json!({
            "project": "prj_0123456789abcdef0123456789abcdef",
            "base": {"release": "current"},
            "database": {"migrations": [{"id": "001", "checksum": "c", "sql_ref": file, "transaction": "none"}],
                "expose": {"version": "1"}, "zero_downtime": true},
            "secrets": {"require": ["A"], "delete": ["B"]},
            "functions": {"patch": {"set": {"api": {"runtime": "node22", "source": {"file": file},
                "schedule": null}}, "delete": ["old"]}},
            "site": {"patch": {"put": {"a.txt": file}, "delete": ["b.txt"]}},
            "subdomains": {"set": ["shop"]},
            "assets": {"put": [{"key": "a.js", "sha256": "1".repeat(64), "size": 2, "content_type": "text/javascript",
                "visibility": "public", "immutable": true}], "delete": ["b.js"]},
            "routes": [{"pattern": "/api/*", "methods": ["GET"], "target": "api"}],
            "checks": [{"name": "up", "path": "/", "method": "GET", "status": 200}],
        });
        let read: Spec = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), spec);
        let places: Vec<String> = read.contents().into_iter().map(|placed| placed.place).collect();
        let expected =
            ["database.migrations.001", "functions.patch.set.api.source", "site.patch.put[\"a.txt\"]"];
        assert_eq!(places, expected);
        let pinned = json!({"release_id": "rel_0123456789abcdef0123456789abcdef"});
        assert!(matches!(serde_json::from_value(pinned).unwrap(), Base::ReleaseId(_)));
    }

    #[test]
    fn a_schedule_that_is_taken_away_is_not_one_that_stays() {
        let read = |value| serde_json::from_value::<FunctionSpec>(value).unwrap().schedule;
        assert_eq!(read(json!({})), None);
        assert_eq!(read(json!({ "schedule": null })), Some(None));
        assert_eq!(read(json!({ "schedule": "0 * * * *" })), Some(Some("0 * * * *".to_owned())));
    }
}
