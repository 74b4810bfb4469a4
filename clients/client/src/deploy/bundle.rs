//! A release spec and the bytes that it names.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use types::{Sha256Hex, content_type};

use crate::LocalError;

const CHUNK_BYTES: usize = 256 * 1024;

/// Where bytes are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    Bytes(Vec<u8>),
}

/// One piece of content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub source: Source,
    pub size: u64,
    pub content_type: Option<String>,
    /// For people: the first path it was found under.
    pub label: String,
}

/// A release spec as it goes on the wire, and the content that it names. Equal bytes are kept once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    pub(crate) spec: Map<String, Value>,
    pub(crate) content: BTreeMap<String, Content>,
}

impl Bundle {
    pub(crate) fn new(project_id: &str) -> Self {
        let spec = Map::from_iter([("project".to_owned(), json!(project_id))]);
        Self { spec, content: BTreeMap::new() }
    }

    /// The whole site from files, as `walk` gives them. Reads every byte: run it where blocking is allowed.
    ///
    /// # Errors
    /// `BAD_FILE` when a file cannot be read.
    pub fn from_files(project_id: &str, files: Vec<(String, PathBuf)>) -> Result<Self, LocalError> {
        let mut bundle = Self::new(project_id);
        let mut site = Map::new();
        for (path, file) in files {
            let reference = bundle.add(&path, Source::File(file), Some(content_type(&path)))?;
            site.insert(path, reference);
        }
        bundle.spec.insert("site".to_owned(), json!({ "replace": site }));
        Ok(bundle)
    }

    /// The spec as it goes on the wire.
    pub fn spec(&self) -> &Map<String, Value> {
        &self.spec
    }

    /// How many paths the spec puts on the site.
    pub fn site_files(&self) -> usize {
        let site = self.spec.get("site");
        let paths = site.and_then(|site| site.get("replace").or_else(|| site.pointer("/patch/put")));
        paths.and_then(Value::as_object).map_or(0, Map::len)
    }

    /// Takes content in and returns the reference that stands for it in the spec.
    pub(crate) fn add(
        &mut self,
        label: &str,
        source: Source,
        content_type: Option<&str>,
    ) -> Result<Value, LocalError> {
        let (sha256, size) = measure(&source)?;
        let content_type = content_type.map(str::to_owned);
        let mut reference = json!({ "sha256": sha256, "size": size });
        if let Some(content_type) = &content_type {
            reference["contentType"] = json!(content_type);
        }
        let label = label.to_owned();
        self.content.entry(sha256.to_string()).or_insert(Content { source, size, content_type, label });
        Ok(reference)
    }
}

fn measure(source: &Source) -> Result<(Sha256Hex, u64), LocalError> {
    match source {
        Source::Bytes(bytes) => Ok((Sha256Hex::from_bytes(Sha256::digest(bytes).into()), bytes.len() as u64)),
        Source::File(path) => measure_file(path),
    }
}

fn measure_file(path: &Path) -> Result<(Sha256Hex, u64), LocalError> {
    let bad = |error| LocalError::new("BAD_FILE", format!("cannot read {}: {error}", path.display()));
    let mut file = File::open(path).map_err(bad)?;
    let (mut hasher, mut size) = (Sha256::new(), 0_u64);
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = file.read(&mut chunk).map_err(bad)?;
        if read == 0 {
            return Ok((Sha256Hex::from_bytes(hasher.finalize().into()), size));
        }
        hasher.update(&chunk[..read]);
        size += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::Scratch;

    #[test]
    fn a_directory_becomes_the_whole_site_and_equal_files_one_content() {
        let scratch = Scratch::new();
        for (name, text) in [("index.html", "hello world"), ("copy.txt", "hello world"), ("empty", "")] {
            std::fs::write(scratch.0.join(name), text).unwrap();
        }
        let bundle = Bundle::from_files("prj_9", super::super::walk(&scratch.0).unwrap()).unwrap();
        let hello = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9";
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(
            Value::Object(bundle.spec.clone()),
            json!({ "project": "prj_9", "site": { "replace": {
                "copy.txt": { "sha256": hello, "size": 11, "contentType": "text/plain; charset=utf-8" },
                "empty": { "sha256": empty, "size": 0, "contentType": "application/octet-stream" },
                "index.html": { "sha256": hello, "size": 11, "contentType": "text/html; charset=utf-8" },
            }}})
        );
        assert_eq!((bundle.content.len(), bundle.site_files()), (2, 3));
        assert_eq!(bundle.content[hello].label, "copy.txt");
    }

    #[test]
    fn a_file_that_went_away_is_named() {
        let gone = vec![("a.html".to_owned(), PathBuf::from("/nonexistent/a.html"))];
        let error = Bundle::from_files("prj_9", gone).unwrap_err();
        assert_eq!(error.code, "BAD_FILE");
        assert!(error.message.contains("/nonexistent/a.html"));
    }
}
