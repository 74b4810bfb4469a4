//! Uploading what the server does not have.
//!
//! One content plan names everything that is missing and gives a presigned URL for each. Bytes go there by
//! PUT with their SHA-256, the server is told, and at the end the plan is committed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::stream::{self, TryStreamExt};
use serde_json::{Value, json};
use types::Sha256Hex;

use super::bundle::Content;
use super::{Progress, Source};
use crate::answer::text_of;
use crate::{Call, Client, ClientError, LocalError, encode};

const UPLOADS_AT_ONCE: usize = 8;
const ATTEMPTS_MAX: u32 = 3;
/// Of minutes each.
const COMMITS_MAX: usize = 100;
/// Up to here a file is read before it is sent, so that what is sent is what was read.
const IN_MEMORY_BYTES_MAX: u64 = 8 * 1024 * 1024;
const CHECKSUM: &str = "x-amz-checksum-sha256";
const TEXT_CHARS_MAX: usize = 200;

/// Uploads the content of those digests that the project does not have yet.
///
/// # Errors
/// `CONTENT_UPLOAD_FAILED` when bytes cannot be brought to the store; answers of the server as they are.
pub(crate) async fn upload(
    client: &Client,
    anon_key: &str,
    wanted: &BTreeMap<&str, &Content>,
    progress: Progress<'_>,
) -> Result<(), ClientError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let entries: Vec<Value> = wanted
        .iter()
        .map(|(sha256, content)| {
            let mut entry = json!({ "sha256": sha256, "size": content.size });
            if let Some(content_type) = &content.content_type {
                entry["content_type"] = json!(content_type);
            }
            entry
        })
        .collect();
    let plan = Call::new("content.plans.create").anon_key(anon_key).json(json!({ "content": entries }));
    let plan = client.call(plan).await?;
    let plan_id = text_of(&plan, "plan_id")?;
    let sessions = plan["missing"].as_array().map(Vec::as_slice).unwrap_or_default();
    if sessions.is_empty() {
        return Ok(());
    }
    let (done, total) = (AtomicUsize::new(0), sessions.len());
    stream::iter(sessions.iter().map(Ok))
        .try_for_each_concurrent(UPLOADS_AT_ONCE, |session| {
            let done = &done;
            async move {
                let sha256 = text_of(session, "sha256")?;
                let content = wanted.get(sha256).ok_or_else(|| unasked(sha256))?;
                upload_one(client, anon_key, session, sha256, content).await?;
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                progress(json!({ "type": "content.upload.done", "path": content.label, "sha256": sha256,
                                 "bytes": content.size, "done": done, "total": total }));
                Ok::<(), ClientError>(())
            }
        })
        .await?;
    commit(client, anon_key, plan_id).await
}

/// What a plan's commit takes over may be large: while the server is at it, it is asked again.
async fn commit(client: &Client, anon_key: &str, plan_id: &str) -> Result<(), ClientError> {
    for _ in 0..COMMITS_MAX {
        let commit = Call::new("content.plans.commit").path("id", plan_id).anon_key(anon_key);
        match client.call(commit).await {
            Err(error) if error.code() == "UPLOAD_COMPLETING" => {
                tokio::time::sleep(client.timing.upload_pause).await;
            }
            done => return done.map(drop),
        }
    }
    Err(LocalError::new("CONTENT_UPLOAD_FAILED", "the server does not get done with what was uploaded")
        .into())
}

async fn upload_one(
    client: &Client,
    anon_key: &str,
    session: &Value,
    sha256: &str,
    content: &Content,
) -> Result<(), ClientError> {
    let url = match session["parts"].as_array().map(Vec::as_slice) {
        Some([part]) => text_of(part, "url")?,
        _ => return Err(failed(content, "the server did not give one URL for it").into()),
    };
    let mut attempt = 1;
    while let Err(error) = put(client, url, sha256, content).await {
        if attempt == ATTEMPTS_MAX || !error.again {
            return Err(error.error.into());
        }
        tokio::time::sleep(client.timing.upload_pause * attempt).await;
        attempt += 1;
    }
    if client.is_session() {
        // The plan's commit takes everything over; a workflow may call nothing else.
        return Ok(());
    }
    let upload_id = text_of(session, "upload_id")?;
    client.upload_complete(anon_key, upload_id).await?;
    Ok(())
}

struct PutError {
    error: LocalError,
    /// Worth another try: the network, an expired signature, a fault of the store.
    again: bool,
}

async fn put(client: &Client, url: &str, sha256: &str, content: &Content) -> Result<(), PutError> {
    let fatal = |error| PutError { error, again: false };
    let body = body(content).await.map_err(fatal)?;
    let mut request = client.http.put(url).header("content-length", content.size).body(body);
    if let Some(value) = checksum_header(url, sha256).map_err(fatal)? {
        request = request.header(CHECKSUM, value);
    }
    let lost = |error: reqwest::Error| PutError { error: failed(content, &error.to_string()), again: true };
    let response = request.send().await.map_err(lost)?;
    let status = response.status().as_u16();
    if (200..300).contains(&status) {
        return Ok(());
    }
    let text: String = response.text().await.unwrap_or_default().chars().take(TEXT_CHARS_MAX).collect();
    let error = failed(content, &format!("the store answered {status}: {text}")).detail("http", status);
    Err(PutError { error, again: status == 403 || status >= 500 })
}

async fn body(content: &Content) -> Result<reqwest::Body, LocalError> {
    let path = match &content.source {
        Source::Bytes(bytes) => return Ok(bytes.clone().into()),
        Source::File(path) => path,
    };
    let unreadable = |error: std::io::Error| failed(content, &error.to_string());
    if content.size > IN_MEMORY_BYTES_MAX {
        return Ok(tokio::fs::File::open(path).await.map_err(unreadable)?.into());
    }
    let bytes = tokio::fs::read(path).await.map_err(unreadable)?;
    if bytes.len() as u64 != content.size {
        return Err(failed(content, "the file changed while it was being deployed"));
    }
    Ok(bytes.into())
}

/// The header's value, unless the URL carries the checksum already.
fn checksum_header(url: &str, sha256: &str) -> Result<Option<String>, LocalError> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let name = |pair: &str| pair.split('=').next().unwrap_or(pair).to_owned();
    if query.split('&').map(name).any(|name| name == CHECKSUM || name == encode(CHECKSUM)) {
        return Ok(None);
    }
    let digest: Sha256Hex = sha256.parse().map_err(|_| unasked(sha256))?;
    Ok(Some(STANDARD.encode(digest.to_bytes())))
}

fn failed(content: &Content, why: &str) -> LocalError {
    LocalError::new("CONTENT_UPLOAD_FAILED", format!("{} was not uploaded: {why}", content.label))
        .hint("Run the deploy again: what is uploaded already is not sent twice.")
        .detail("path", content.label.as_str())
}

fn unasked(sha256: &str) -> LocalError {
    LocalError::new(
        "CONTENT_UPLOAD_FAILED",
        format!("the server asks for content that is not ours: {sha256}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_sent_unless_the_url_has_it() {
        let sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let sent = checksum_header("http://s3/a?X-Amz-SignedHeaders=x-amz-checksum-sha256", sha256).unwrap();
        assert_eq!(sent.as_deref(), Some("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="));
        assert_eq!(checksum_header("http://s3/a?b=1&x-amz-checksum-sha256=47DE", sha256).unwrap(), None);
        assert!(checksum_header("http://s3/a", "zz").is_err());
    }
}
