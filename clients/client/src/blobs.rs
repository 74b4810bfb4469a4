//! Blobs: an upload that goes on after a cut, a download into a file, waiting for fresh bytes.

use std::path::Path;
use std::time::Duration;

use futures::stream::{self, TryStreamExt};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use crate::answer::text_of;
use crate::deploy::Progress;
use crate::local::UploadsFolder;
use crate::{Call, Client, ClientError, LocalError};

const PARTS_AT_ONCE: usize = 4;
const ATTEMPTS_MAX: u32 = 3;
const CHUNK_BYTES: usize = 256 * 1024;
const TEXT_CHARS_MAX: usize = 200;
/// The end of the largest object that there can be takes hours.
const COMPLETE_WAIT_MAX: Duration = Duration::from_secs(6 * 3600);
/// Between two looks at an address; doubled up to a second.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a file shall be as a blob.
#[derive(Debug, Clone)]
pub struct NewBlob<'a> {
    pub key: &'a str,
    pub content_type: Option<&'a str>,
    /// `public` or `private`.
    pub visibility: &'a str,
    pub immutable: bool,
}

/// One part of an upload.
#[derive(Debug, Clone)]
struct Part {
    number: u64,
    url: String,
    start: u64,
    length: u64,
}

impl Client {
    /// Uploads a file. With a folder for notes it goes on where an earlier call for the same bytes was cut off.
    /// The answer is the server's: the blob with its addresses.
    ///
    /// # Errors
    /// `BAD_FILE`; `BLOB_UPLOAD_FAILED` when bytes cannot be brought to the store; answers of the server.
    pub async fn blob_put(
        &self,
        anon_key: &str,
        file: &Path,
        new: &NewBlob<'_>,
        notes: Option<&UploadsFolder>,
        progress: Progress<'_>,
    ) -> Result<Value, ClientError> {
        let (size, sha256) = fingerprint(file).await?;
        let of = identity(self.base(), anon_key, new, size, &sha256);
        let (session, arrived) = match notes.and_then(|notes| notes.find(&of)) {
            Some(session) => match self.blob_resume(anon_key, &session).await? {
                Some(arrived) => (session, arrived),
                None => (self.blob_begin(anon_key, new, size, &sha256).await?, Vec::new()),
            },
            None => (self.blob_begin(anon_key, new, size, &sha256).await?, Vec::new()),
        };
        if let Some(notes) = notes {
            notes.keep(&of, &session)?;
        }
        let session = Value::Object(session);
        let parts = parts_of(&session, size)?;
        let missing: Vec<&Part> = parts
            .iter()
            .filter(|part| {
                !arrived.iter().any(|(number, size)| *number == part.number && *size == part.length)
            })
            .collect();
        progress(json!({ "type": "blob.upload.started", "key": new.key, "bytes": size,
                         "parts": parts.len(), "resumed": parts.len() - missing.len() }));
        stream::iter(missing.into_iter().map(Ok))
            .try_for_each_concurrent(PARTS_AT_ONCE, |part| async move {
                self.part_put(file, part).await?;
                progress(json!({ "type": "blob.upload.part", "key": new.key, "part_number": part.number,
                                 "bytes": part.length }));
                Ok::<(), ClientError>(())
            })
            .await?;
        let id = text_of(&session, "upload_id")?;
        let done = self.upload_complete(anon_key, id).await;
        if let Some(notes) = notes
            && !done.as_ref().is_err_and(is_passing)
        {
            // Complete, or of no further use.
            notes.forget(&of);
        }
        done
    }

    /// Ends an upload. While the server says that it is at work, or no answer comes, it is asked again: that waits
    /// for the same work.
    pub(crate) async fn upload_complete(&self, anon_key: &str, id: &str) -> Result<Value, ClientError> {
        let started = tokio::time::Instant::now();
        loop {
            let complete = Call::new("storage.uploads.complete").path("id", id).anon_key(anon_key);
            let done = self.call(complete.json(json!({}))).await;
            let again = match &done {
                Err(ClientError::Network { source, .. }) => source.is_timeout(),
                Err(error) => error.code() == "UPLOAD_COMPLETING",
                Ok(_) => false,
            };
            if !again || started.elapsed() > COMPLETE_WAIT_MAX {
                return done;
            }
            tokio::time::sleep(self.timing.upload_pause).await;
        }
    }

    async fn blob_begin(
        &self,
        anon_key: &str,
        new: &NewBlob<'_>,
        size: u64,
        sha256: &str,
    ) -> Result<Map<String, Value>, ClientError> {
        let mut body = json!({
            "key": new.key,
            "size_bytes": size,
            "visibility": new.visibility,
            "immutable": new.immutable,
            "sha256": sha256,
        });
        if let Some(content_type) = new.content_type {
            body["content_type"] = content_type.into();
        }
        let begun = self.call(Call::new("storage.uploads.create").anon_key(anon_key).json(body)).await?;
        match begun {
            Value::Object(session) => Ok(session),
            _ => Err(LocalError::new("BAD_RESPONSE", "the server began no upload").into()),
        }
    }

    /// The parts that have arrived, or none when the session takes no bytes any more.
    async fn blob_resume(
        &self,
        anon_key: &str,
        session: &Map<String, Value>,
    ) -> Result<Option<Vec<(u64, u64)>>, ClientError> {
        let Some(id) = session.get("upload_id").and_then(Value::as_str) else { return Ok(None) };
        let asked = self.call(Call::new("storage.uploads.get").path("id", id).anon_key(anon_key)).await;
        let status = match asked {
            Ok(status) if status["status"] == "active" => status,
            Ok(_) => return Ok(None),
            Err(ClientError::Refused(refusal)) if refusal.status == 404 => return Ok(None),
            Err(error) => return Err(error),
        };
        let parts = status["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let read = |part: &Value| Some((part["part_number"].as_u64()?, part["size_bytes"].as_u64()?));
        Ok(Some(parts.iter().filter_map(read).collect()))
    }

    async fn part_put(&self, file: &Path, part: &Part) -> Result<(), ClientError> {
        let mut attempt = 1;
        loop {
            let (error, again) = match self.part_put_once(file, part).await {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            if attempt == ATTEMPTS_MAX || !again {
                return Err(error.into());
            }
            tokio::time::sleep(self.timing.upload_pause * attempt).await;
            attempt += 1;
        }
    }

    /// The error, and whether it is worth another try.
    async fn part_put_once(&self, file: &Path, part: &Part) -> Result<(), (LocalError, bool)> {
        let unreadable = |error: std::io::Error| (bad_file(file, &error), false);
        let mut source = tokio::fs::File::open(file).await.map_err(unreadable)?;
        source.seek(std::io::SeekFrom::Start(part.start)).await.map_err(unreadable)?;
        let pieces = stream::try_unfold(source.take(part.length), |mut source| async move {
            let mut piece = vec![0; CHUNK_BYTES];
            let read = source.read(&mut piece).await?;
            piece.truncate(read);
            Ok::<_, std::io::Error>((read > 0).then_some((piece, source)))
        });
        let request = self.http.put(&part.url).header("content-length", part.length);
        let request = match part.length {
            0 => request.body(Vec::new()),
            _ => request.body(reqwest::Body::wrap_stream(pieces)),
        };
        let lost = |error: reqwest::Error| (failed(part, &error.to_string()), true);
        let response = request.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(());
        }
        let text: String = response.text().await.unwrap_or_default().chars().take(TEXT_CHARS_MAX).collect();
        let error = failed(part, &format!("the store answered {status}: {text}")).detail("http", status);
        Err((error, status >= 500))
    }

    /// Reads a blob into a file; says how many bytes. The file is as it was unless all of them came.
    ///
    /// # Errors
    /// `BAD_FILE`; answers of the server as they are.
    pub async fn blob_get(&self, anon_key: &str, key: &str, to: &Path) -> Result<Value, ClientError> {
        let call = Call::new("storage.blobs.get").path("key", key).anon_key(anon_key);
        let mut response = self.open(call).await?;
        let header = |name: &str| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let (sha256, content_type) = (header("x-run402-sha256"), header("content-type"));
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let beside = to.with_file_name(format!(".{name}.part"));
        let unwritable = |error: std::io::Error| bad_file(to, &error);
        let mut file = tokio::fs::File::create(&beside).await.map_err(unwritable)?;
        let (mut size, mut hash) = (0_u64, Sha256::new());
        let lost = |source| ClientError::Network { during: format!("reading {key}"), source };
        while let Some(piece) = response.chunk().await.map_err(lost)? {
            size += piece.len() as u64;
            hash.update(&piece);
            file.write_all(&piece).await.map_err(unwritable)?;
        }
        file.sync_all().await.map_err(unwritable)?;
        let found = hex::encode(hash.finalize());
        if sha256.as_ref().is_some_and(|sha256| *sha256 != found) {
            let _ = tokio::fs::remove_file(&beside).await;
            let message = "the bytes that came are not those that the server announced";
            return Err(LocalError::new("SHA256_MISMATCH", message).into());
        }
        tokio::fs::rename(&beside, to).await.map_err(unwritable)?;
        Ok(json!({ "key": key, "path": to.display().to_string(), "size_bytes": size, "sha256": found,
                   "content_type": content_type }))
    }

    /// Looks at a public address until it shows the bytes of that digest. The answer is the last look, with
    /// `fresh`.
    ///
    /// # Errors
    /// `CDN_NOT_FRESH` when the time is over.
    pub async fn blob_wait_fresh(
        &self,
        anon_key: &str,
        url: &str,
        sha256: &str,
        wait_max: Duration,
    ) -> Result<Value, ClientError> {
        let started = tokio::time::Instant::now();
        let mut pause = LOOK_PAUSE;
        loop {
            let look = Call::new("storage.blobs.diagnose").query("url", url).anon_key(anon_key);
            // Any failure may pass, as for the published client: the end of the wait decides.
            let looked = self.call(look).await;
            if let Ok(mut found) = looked
                && found["observedSha256"] == sha256
            {
                found["fresh"] = true.into();
                return Ok(found);
            }
            if started.elapsed() + pause > wait_max {
                let message = format!("{url} does not show {sha256} yet");
                return Err(LocalError::new("CDN_NOT_FRESH", message).detail("url", url).into());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LOOK_PAUSE_MAX);
        }
    }
}

/// Size and SHA-256 of a file.
async fn fingerprint(file: &Path) -> Result<(u64, String), LocalError> {
    let bad = |error: std::io::Error| bad_file(file, &error);
    let mut source = tokio::fs::File::open(file).await.map_err(bad)?;
    let (mut size, mut hash) = (0, Sha256::new());
    let mut piece = vec![0; CHUNK_BYTES];
    loop {
        let read = source.read(&mut piece).await.map_err(bad)?;
        if read == 0 {
            return Ok((size, hex::encode(hash.finalize())));
        }
        size += read as u64;
        hash.update(&piece[..read]);
    }
}

/// What must be the same for an upload to be gone on with. The key itself is not written down.
fn identity(base: &str, anon_key: &str, new: &NewBlob<'_>, size: u64, sha256: &str) -> Map<String, Value> {
    let value = json!({
        "base": base,
        "project_key": hex::encode(Sha256::digest(anon_key)),
        "key": new.key,
        "content_type": new.content_type,
        "visibility": new.visibility,
        "immutable": new.immutable,
        "size_bytes": size,
        "sha256": sha256,
    });
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn parts_of(session: &Value, size: u64) -> Result<Vec<Part>, LocalError> {
    let bad = || LocalError::new("BAD_RESPONSE", "the server's upload has no usable parts");
    let parts = session["parts"].as_array().ok_or_else(bad)?;
    let read = |part: &Value| {
        let (start, end) = (part["byte_start"].as_u64()?, part["byte_end"].as_u64()?);
        let length = if size == 0 { 0 } else { (end + 1).checked_sub(start)? };
        Some(Part {
            number: part["part_number"].as_u64()?,
            url: part["url"].as_str()?.to_owned(),
            start,
            length,
        })
    };
    let parts: Vec<Part> = parts.iter().map(|part| read(part).ok_or_else(bad)).collect::<Result<_, _>>()?;
    let covered: u64 = parts.iter().map(|part| part.length).sum();
    if parts.is_empty() || covered != size { Err(bad()) } else { Ok(parts) }
}

/// Whether the same upload may still be ended: an answer was lost, or the server or its store has a bad moment.
fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Network { .. } => true,
        ClientError::Refused(refusal) => refusal.status >= 500 || error.code() == "UPLOAD_COMPLETING",
        _ => false,
    }
}

fn failed(part: &Part, why: &str) -> LocalError {
    LocalError::new("BLOB_UPLOAD_FAILED", format!("part {} was not uploaded: {why}", part.number))
        .hint("Run the same command again: what is uploaded already is not sent twice.")
}

fn bad_file(file: &Path, error: &std::io::Error) -> LocalError {
    LocalError::new("BAD_FILE", format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_file_or_are_refused() {
        let part = |n: u64, start: u64, end: u64| json!({ "part_number": n, "url": "http://s3/x", "byte_start": start, "byte_end": end });
        let lengths = |session: Value, size| -> Option<Vec<u64>> {
            Some(parts_of(&session, size).ok()?.iter().map(|part| part.length).collect())
        };
        assert_eq!(lengths(json!({ "parts": [part(1, 0, 9), part(2, 10, 14)] }), 15), Some(vec![10, 5]));
        assert_eq!(lengths(json!({ "parts": [part(1, 0, 0)] }), 0), Some(vec![0]));
        assert_eq!(lengths(json!({ "parts": [part(1, 0, 9)] }), 15), None);
        assert_eq!(lengths(json!({ "parts": [] }), 0), None);
        assert_eq!(lengths(json!({}), 1), None);
    }
}
