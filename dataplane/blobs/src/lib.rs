//! Content-addressed storage on S3-compatible buckets.
//!
//! Bytes arrive under `_staging/<upload>/<sha256>` by a presigned PUT, are hashed as a stream, and are then
//! copied to `_cas/<first two digits>/<rest>`, which is never written twice with different bytes. Keys are
//! flat and hashed, so no name that a client chose reaches the object store.
//!
//! What is too large for one PUT comes in parts ([`Layout`] says which), which the store joins under the
//! staging key before they are hashed.
//!
//! Failure story: a verified object whose row was never committed is garbage, nothing more; a row is
//! committed only after the bytes were seen in their final place.

mod content;
mod error;
mod key;
mod parts;
mod s3;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use types::Sha256Hex;

pub use content::{
    Checked, discard, exactly, fits, parts_discard, promote, read_all, read_content, verify, whole,
};
pub use error::BlobError;
pub use key::{blob_staging_key, cas_key, staging_key};
pub use parts::{Layout, PART_BYTES, PARTS_MAX, Span};
pub use s3::S3Blobs;

/// The bytes of an object, as they arrive.
pub type BlobStream = BoxStream<'static, Result<Bytes, BlobError>>;

/// The right to put one object, handed to somebody who has no credentials.
#[derive(Debug, Clone)]
pub struct PutGrant {
    pub key: String,
    /// Exactly so many bytes: the URL is no good for more or fewer (except that of an empty object, which is
    /// not bound).
    pub size_bytes: u64,
    /// Bound to the URL as the query parameter `x-amz-checksum-sha256`, so that clients send no header for
    /// it.
    pub sha256: Option<Sha256Hex>,
    pub ttl: Duration,
}

/// The right to put one part of an object.
#[derive(Debug, Clone)]
pub struct PartGrant {
    pub key: String,
    /// The store's name for the upload.
    pub upload: String,
    /// From 1.
    pub number: i32,
    /// Exactly so many bytes.
    pub size_bytes: u64,
    pub ttl: Duration,
}

/// A part that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub number: i32,
    pub size_bytes: u64,
    /// As the store writes it, with its quotes; some stores do not list it.
    pub etag: Option<String>,
}

/// The object store.
#[async_trait::async_trait]
pub trait Blobs: Send + Sync + 'static {
    /// An absolute URL that takes the bytes by PUT without any authentication header. Makes no call.
    async fn presign_put(&self, grant: &PutGrant) -> Result<String, BlobError>;

    /// The object's size in bytes, if it exists.
    async fn head(&self, key: &str) -> Result<Option<u64>, BlobError>;

    /// The object's bytes, or those of `range`, which must not be empty.
    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<BlobStream, BlobError>;

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BlobError>;

    /// Copies an object of that size within the store.
    async fn copy(&self, from: &str, to: &str, size_bytes: u64) -> Result<(), BlobError>;

    /// Begins an upload in parts; answers the store's name for it.
    async fn parts_begin(&self, key: &str) -> Result<String, BlobError>;

    /// An absolute URL that takes one part by PUT. Makes no call.
    async fn presign_part(&self, grant: &PartGrant) -> Result<String, BlobError>;

    /// The parts that have arrived, by number. None for an upload that has ended, or an error: stores differ.
    async fn parts_list(&self, key: &str, upload: &str) -> Result<Vec<Part>, BlobError>;

    /// Makes the parts, in the order of their numbers, one object under `key`.
    async fn parts_join(&self, key: &str, upload: &str, parts: &[Part]) -> Result<(), BlobError>;

    /// Gives an upload in parts up. One that has ended is fine.
    async fn parts_abort(&self, key: &str, upload: &str) -> Result<(), BlobError>;

    /// Deletes an object. Deleting what is not there is fine.
    async fn delete(&self, key: &str) -> Result<(), BlobError>;

    /// Answers when the store does.
    async fn ping(&self) -> Result<(), BlobError> {
        self.head("_run402/ping").await.map(drop)
    }
}
