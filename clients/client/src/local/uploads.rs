//! Uploads that were begun: one file for each, until it is complete.

use std::path::PathBuf;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::json_file;
use crate::LocalError;

/// The folder of the notes.
#[derive(Debug, Clone)]
pub struct UploadsFolder {
    path: PathBuf,
}

/// What is remembered of one upload: what it is of, the server's session, and the parts that went through.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct OpenUpload {
    /// Everything that makes it this upload and no other.
    pub of: Map<String, Value>,
    pub session: Map<String, Value>,
}

impl UploadsFolder {
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    fn file(&self, of: &Map<String, Value>) -> PathBuf {
        let name = Sha256::digest(Value::Object(of.clone()).to_string());
        self.path.join(format!("{}.json", hex::encode(&name[..16])))
    }

    /// The session of exactly that upload, if one is remembered. A note that cannot be read is none: the upload
    /// then starts over.
    pub fn find(&self, of: &Map<String, Value>) -> Option<Map<String, Value>> {
        let note = json_file::read(&self.file(of)).ok()??;
        let note: OpenUpload = serde_json::from_value(note.into()).ok()?;
        (note.of == *of).then_some(note.session)
    }

    /// # Errors
    /// `LOCAL_FILE`.
    pub fn keep(&self, of: &Map<String, Value>, session: &Map<String, Value>) -> Result<(), LocalError> {
        let note = Map::from_iter([
            ("of".to_owned(), Value::Object(of.clone())),
            ("session".to_owned(), Value::Object(session.clone())),
        ]);
        json_file::replace(&self.file(of), &note)
    }

    /// Forgets an upload that has ended. What stays is only in the way, not wrong.
    pub fn forget(&self, of: &Map<String, Value>) {
        let _ = std::fs::remove_file(self.file(of));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::local::Scratch;

    fn fields(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn only_the_same_upload_is_gone_on_with() {
        let scratch = Scratch::new();
        let folder = UploadsFolder::at(scratch.0.join("uploads"));
        let (one, other) =
            (fields(json!({ "key": "a", "size": 1 })), fields(json!({ "key": "a", "size": 2 })));
        let session = fields(json!({ "upload_id": "upl_1" }));
        assert_eq!(folder.find(&one), None);
        folder.keep(&one, &session).unwrap();
        assert_eq!((folder.find(&one), folder.find(&other)), (Some(session), None));
        folder.forget(&one);
        assert_eq!(folder.find(&one), None);
    }
}
