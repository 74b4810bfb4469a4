//! What is done with content, whatever the store is.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};
use types::Sha256Hex;

use crate::{BlobError, BlobStream, Blobs, cas_key};

const COPY_CHECKS_MAX: usize = 10;
const COPY_CHECK_PAUSE: Duration = Duration::from_millis(50);
/// A read that broke off, or brought other bytes, is worth one more.
const READ_ATTEMPTS_MAX: usize = 2;
const TOO_LARGE: &str = "EntityTooLarge";

/// What the bytes of an object really are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub sha256: Sha256Hex,
    pub size_bytes: u64,
}

/// Hashes an object as a stream, in constant memory.
///
/// # Errors
/// `NotFound` when it was never uploaded.
pub async fn verify(blobs: &dyn Blobs, key: &str) -> Result<Checked, BlobError> {
    let mut bytes = blobs.get(key, None).await?;
    let mut hash = Sha256::new();
    let mut size_bytes = 0;
    while let Some(part) = bytes.try_next().await? {
        size_bytes += part.len() as u64;
        hash.update(&part);
    }
    Ok(Checked { sha256: Sha256Hex::from_bytes(hash.finalize().into()), size_bytes })
}

/// Copies a verified object to its final place, unless it is there already. Safe to repeat. The staged copy
/// stays until [`discard`], so that a crash before the row is committed can be made good.
///
/// # Errors
/// `NotFound` when the staged copy is gone and the final place is empty.
pub async fn promote(blobs: &dyn Blobs, staged: &str, content: &Checked) -> Result<(), BlobError> {
    let key = cas_key(&content.sha256);
    if fits(blobs, content).await? {
        return Ok(());
    }
    blobs.copy(staged, &key, content.size_bytes).await?;
    // A store that writes in place shows the middle of a copy that somebody else makes of the same object.
    for _ in 0..COPY_CHECKS_MAX {
        if fits(blobs, content).await? {
            return Ok(());
        }
        tokio::time::sleep(COPY_CHECK_PAUSE).await;
    }
    Err(BlobError::unavailable("check the copy", "it has another size than the original"))
}

/// Whether the final place holds an object of the right size.
///
/// # Errors
/// `Unavailable` or `Refused` of the store.
pub async fn fits(blobs: &dyn Blobs, content: &Checked) -> Result<bool, BlobError> {
    Ok(blobs.head(&cas_key(&content.sha256)).await? == Some(content.size_bytes))
}

/// Deletes what nobody needs any more. A failure leaves garbage and is only logged.
pub async fn discard(blobs: &dyn Blobs, key: &str) {
    if let Err(e) = blobs.delete(key).await {
        tracing::warn!(key, error = &e as &dyn std::error::Error, "object not deleted");
    }
}

/// Gives an upload in parts up. A failure leaves garbage and is only logged.
pub async fn parts_discard(blobs: &dyn Blobs, key: &str, upload: &str) {
    if let Err(e) = blobs.parts_abort(key, upload).await {
        tracing::debug!(key, error = &e as &dyn std::error::Error, "upload in parts not given up");
    }
}

/// Reads a whole object into memory.
///
/// # Errors
/// `Refused` when it has more than `size_max` bytes.
pub async fn read_all(blobs: &dyn Blobs, key: &str, size_max: usize) -> Result<Bytes, BlobError> {
    let mut stream = blobs.get(key, None).await?;
    let mut all = BytesMut::new();
    while let Some(part) = stream.try_next().await? {
        if all.len() + part.len() > size_max {
            return Err(BlobError::Refused { during: "read an object", code: TOO_LARGE.to_owned() });
        }
        all.extend_from_slice(&part);
    }
    Ok(all.freeze())
}

/// Reads content into memory: these bytes or none. What else the store gives under that name is not content.
///
/// # Errors
/// `Unavailable`, also for other bytes; `NotFound`, `Refused`.
pub async fn read_content(blobs: &dyn Blobs, content: &Checked) -> Result<Bytes, BlobError> {
    let size_max = usize::try_from(content.size_bytes).unwrap_or(usize::MAX);
    let mut attempt = 1;
    loop {
        let found = match read_all(blobs, &cas_key(&content.sha256), size_max).await {
            Ok(bytes) if is_content(&bytes, content) => return Ok(bytes),
            Ok(_) => other_bytes(),
            // More than announced: other bytes as well.
            Err(BlobError::Refused { code, .. }) if code == TOO_LARGE => other_bytes(),
            Err(e @ BlobError::Unavailable { .. }) => e,
            Err(e) => return Err(e),
        };
        if attempt == READ_ATTEMPTS_MAX {
            return Err(found);
        }
        attempt += 1;
    }
}

fn is_content(bytes: &[u8], content: &Checked) -> bool {
    bytes.len() as u64 == content.size_bytes && Sha256::digest(bytes)[..] == content.sha256.to_bytes()
}

fn other_bytes() -> BlobError {
    BlobError::unavailable("read content", "the store gave other bytes than were put")
}

/// A stream of a whole object that ends well only if these were its bytes: the last piece is held back until the
/// digest is known. Whoever reads it sees an error instead of an end.
pub fn whole(stream: BlobStream, content: Checked) -> BlobStream {
    struct Reading {
        stream: BlobStream,
        hash: Sha256,
        left: u64,
        content: Checked,
    }
    let reading = Reading { stream, hash: Sha256::new(), left: content.size_bytes, content };
    futures::stream::try_unfold(Some(reading), |reading| async move {
        let Some(mut reading) = reading else { return Ok(None) };
        let Some(piece) = reading.stream.try_next().await? else {
            return if reading.left == 0 { Ok(None) } else { Err(other_bytes()) };
        };
        let length = piece.len() as u64;
        reading.hash.update(&piece);
        if length < reading.left {
            reading.left -= length;
            return Ok(Some((piece, Some(reading))));
        }
        let same = reading.hash.finalize()[..] == reading.content.sha256.to_bytes();
        if length > reading.left || !same { Err(other_bytes()) } else { Ok(Some((piece, None))) }
    })
    .boxed()
}

/// A stream of so many bytes of an object: fewer or more are an error, before the last piece is handed out. Which
/// bytes they are nobody can tell from a part.
pub fn exactly(stream: BlobStream, bytes: u64) -> BlobStream {
    futures::stream::try_unfold((stream, bytes), |(mut stream, left)| async move {
        let Some(piece) = stream.try_next().await? else {
            return if left == 0 { Ok(None) } else { Err(other_bytes()) };
        };
        match left.checked_sub(piece.len() as u64) {
            Some(left) => Ok(Some((piece, (stream, left)))),
            None => Err(other_bytes()),
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(bytes: &[u8]) -> Checked {
        let sha256 = Sha256Hex::from_bytes(Sha256::digest(bytes).into());
        Checked { sha256, size_bytes: bytes.len() as u64 }
    }

    fn pieces(all: &[&'static str]) -> BlobStream {
        let all: Vec<Result<Bytes, BlobError>> = all.iter().map(|text| Ok(Bytes::from(*text))).collect();
        futures::stream::iter(all).boxed()
    }

    /// What arrives before the end or the error, and whether it ended well.
    async fn read(mut stream: BlobStream) -> (String, bool) {
        let mut text = String::new();
        loop {
            match stream.try_next().await {
                Ok(Some(piece)) => text.push_str(std::str::from_utf8(&piece).unwrap()),
                Ok(None) => return (text, true),
                Err(_) => return (text, false),
            }
        }
    }

    // I01. Goal: other bytes never look complete. Method: right, wrong, short and long ones in several pieces.
    #[tokio::test]
    async fn a_stream_of_other_bytes_does_not_end_well() {
        let good = || content(b"hello world");
        for right in [&["hello world"][..], &["hello", " ", "world"], &["", "hello world"]] {
            assert_eq!(read(whole(pieces(right), good())).await, ("hello world".to_owned(), true));
            assert!(read(exactly(pieces(right), 11)).await.1);
        }
        assert_eq!(read(whole(pieces(&["hello", " worle"]), good())).await, ("hello".to_owned(), false));
        assert_eq!(read(whole(pieces(&["hello", " worl"]), good())).await, ("hello worl".to_owned(), false));
        assert_eq!(read(whole(pieces(&["hello", " world!"]), good())).await, ("hello".to_owned(), false));
        assert_eq!(read(whole(pieces(&[]), content(b""))).await, (String::new(), true));
        assert!(!read(exactly(pieces(&["hello"]), 6)).await.1);
        assert_eq!(read(exactly(pieces(&["hello", "!"]), 5)).await, ("hello".to_owned(), false));
    }
}
