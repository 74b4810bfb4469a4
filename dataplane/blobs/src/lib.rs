//! Content-addressed storage on S3-compatible buckets.
//!
//! Bytes arrive under `_staging/<upload>/<sha256>` by a presigned PUT, are hashed as a stream, and are then
//! copied to `_cas/<first two digits>/<rest>`, which is never written twice with different bytes. Keys are
//! flat and hashed, so no name that a client chose reaches the object store.
//!
//! Failure story: a verified object whose row was never committed is garbage, nothing more; a row is
//! committed only after the bytes were seen in their final place.

mod content;
mod error;
mod key;
mod s3;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use types::Sha256Hex;

pub use content::{Checked, discard, fits, promote, read_all, verify};
pub use error::BlobError;
pub use key::{cas_key, staging_key};
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

    /// Copies within the store.
    async fn copy(&self, from: &str, to: &str) -> Result<(), BlobError>;

    /// Deletes an object. Deleting what is not there is fine.
    async fn delete(&self, key: &str) -> Result<(), BlobError>;

    /// Answers when the store does.
    async fn ping(&self) -> Result<(), BlobError> {
        self.head("_run402/ping").await.map(drop)
    }
}
