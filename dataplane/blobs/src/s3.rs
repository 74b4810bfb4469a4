//! Any S3, path-style.

use std::error::Error;
use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::head_object::HeadObjectError;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::StreamExt;

use crate::{BlobError, BlobStream, Blobs, Part, PartGrant, PutGrant};

mod parts;

const CONNECT_SECS_MAX: u64 = 5;
const READ_SECS_MAX: u64 = 60;
/// Joining and copying moves gigabytes within the store before it answers.
const MOVE_SECS_MAX: u64 = 900;
/// What S3 copies in one call.
const COPY_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;
const CHECKSUM: &str = "x-amz-checksum-sha256";

/// A bucket of an S3 server.
#[derive(Debug, Clone)]
pub struct S3Blobs {
    client: Client,
    bucket: String,
    copy_bytes_max: u64,
}

impl S3Blobs {
    /// Makes no call. `endpoint` is the address that presigned URLs carry, so clients must be able to reach
    /// it.
    pub fn new(endpoint: &str, region: &str, bucket: &str, access: &str, secret: &str) -> Self {
        let timeouts = timeouts(READ_SECS_MAX);
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(endpoint)
            .region(Region::new(region.to_owned()))
            .credentials_provider(Credentials::new(access, secret, None, None, "run402"))
            .force_path_style(true)
            .timeout_config(timeouts)
            // Otherwise presigned URLs would demand a CRC32 that no client sends.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .build();
        Self { client: Client::from_conf(config), bucket: bucket.to_owned(), copy_bytes_max: COPY_BYTES_MAX }
    }

    /// Copies larger objects in pieces of this size, for stores that copy less at once than S3.
    pub fn with_copy_bytes_max(mut self, copy_bytes_max: u64) -> Self {
        self.copy_bytes_max = copy_bytes_max.max(1);
        self
    }
}

#[async_trait::async_trait]
impl Blobs for S3Blobs {
    async fn presign_put(&self, grant: &PutGrant) -> Result<String, BlobError> {
        let during = "presign an upload";
        let config =
            PresigningConfig::expires_in(grant.ttl).map_err(|e| BlobError::unavailable(during, e))?;
        let length = i64::try_from(grant.size_bytes).map_err(|e| BlobError::unavailable(during, e))?;
        let checksum = grant.sha256.as_ref().map(|sha256| STANDARD.encode(sha256.to_bytes()));
        // Signed, so that more bytes are refused at the door. Not for empty objects: some clients send no
        // length with those.
        let length = (length > 0).then_some(length);
        let put = self.client.put_object().bucket(&self.bucket).key(&grant.key).set_content_length(length);
        let signed = put
            .customize()
            .mutate_request(move |request| {
                // In the query rather than in a signed header: S3 verifies it all the same, and clients that
                // know nothing of checksums need not send one.
                let Some(checksum) = &checksum else { return };
                let joint = if request.uri().contains('?') { '&' } else { '?' };
                let uri = format!("{}{joint}{CHECKSUM}={}", request.uri(), encode(checksum));
                if let Err(e) = request.set_uri(uri) {
                    tracing::error!(error = %e, "a URL of our own making is not one");
                }
            })
            .presigned(config)
            .await
            .map_err(|e| failed(during, e))?;
        Ok(signed.uri().to_owned())
    }

    async fn head(&self, key: &str) -> Result<Option<u64>, BlobError> {
        match self.client.head_object().bucket(&self.bucket).key(key).send().await {
            Ok(found) => Ok(found.content_length().and_then(|n| u64::try_from(n).ok())),
            Err(SdkError::ServiceError(e)) if is_absent(e.err()) || e.raw().status().as_u16() == 404 => {
                Ok(None)
            }
            Err(e) => Err(failed("look for an object", e)),
        }
    }

    async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<BlobStream, BlobError> {
        let range = range.map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let sent = self.client.get_object().bucket(&self.bucket).key(key).set_range(range).send().await;
        let body = match sent {
            Ok(found) => found.body,
            Err(SdkError::ServiceError(e)) if e.raw().status().as_u16() == 404 => {
                return Err(BlobError::NotFound);
            }
            Err(e) => return Err(failed("read an object", e)),
        };
        let parts = futures::stream::unfold(body, |mut body| async move {
            let part = body.next().await?;
            Some((part.map_err(|e| BlobError::unavailable("read an object", e)), body))
        });
        Ok(parts.boxed())
    }

    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BlobError> {
        let body = ByteStream::from(bytes);
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(body);
        put.send().await.map(drop).map_err(|e| failed("write an object", e))
    }

    async fn copy(&self, from: &str, to: &str, size_bytes: u64) -> Result<(), BlobError> {
        if size_bytes > self.copy_bytes_max {
            return self.copy_in_parts(from, to, size_bytes).await;
        }
        let source = format!("{}/{from}", self.bucket);
        let copy = self.client.copy_object().bucket(&self.bucket).copy_source(source).key(to);
        match copy.customize().config_override(patient()).send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(e)) if e.raw().status().as_u16() == 404 => Err(BlobError::NotFound),
            Err(e) => Err(failed("copy an object", e)),
        }
    }

    async fn delete(&self, key: &str) -> Result<(), BlobError> {
        match self.client.delete_object().bucket(&self.bucket).key(key).send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(e)) if e.raw().status().as_u16() == 404 => Ok(()),
            Err(e) => Err(failed("delete an object", e)),
        }
    }

    async fn parts_begin(&self, key: &str) -> Result<String, BlobError> {
        self.begin(key).await
    }

    async fn presign_part(&self, grant: &PartGrant) -> Result<String, BlobError> {
        self.part_url(grant).await
    }

    async fn parts_list(&self, key: &str, upload: &str) -> Result<Vec<Part>, BlobError> {
        self.list(key, upload).await
    }

    async fn parts_join(&self, key: &str, upload: &str, parts: &[Part]) -> Result<(), BlobError> {
        self.join(key, upload, parts).await
    }

    async fn parts_abort(&self, key: &str, upload: &str) -> Result<(), BlobError> {
        self.abort(key, upload).await
    }
}

fn timeouts(read_secs: u64) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(CONNECT_SECS_MAX))
        .read_timeout(Duration::from_secs(read_secs))
        .build()
}

/// For calls that move many bytes.
fn patient() -> aws_sdk_s3::config::Builder {
    aws_sdk_s3::Config::builder().timeout_config(timeouts(MOVE_SECS_MAX))
}

fn is_absent(error: &HeadObjectError) -> bool {
    error.is_not_found()
}

/// Faults of the store and of the way to it are worth another try; refusals are not.
fn failed<E, R>(during: &'static str, error: SdkError<E, R>) -> BlobError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    if let SdkError::ServiceError(e) = &error {
        let code = e.err().code().unwrap_or("an unnamed error").to_owned();
        let transient = ["InternalError", "SlowDown", "ServiceUnavailable", "RequestTimeout"];
        if !transient.contains(&code.as_str()) {
            return BlobError::Refused { during, code };
        }
    }
    BlobError::unavailable(during, error)
}

/// Percent-encodes the letters of base64 that mean something in a query.
fn encode(base64: &str) -> String {
    base64.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
}

#[cfg(test)]
mod tests {
    use types::{OsEntropy, UploadId};

    use super::*;

    // The client sends no checksum header when, and only when, the query has this parameter.
    #[tokio::test]
    async fn a_presigned_url_carries_the_checksum_and_no_demand_for_headers() {
        let blobs = S3Blobs::new("http://127.0.0.1:9", "us-east-1", "run402", "key", "secret");
        let sha256: types::Sha256Hex =
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad".parse().unwrap();
        let key = crate::staging_key(UploadId::new(&OsEntropy), &sha256);
        let grant = PutGrant { key, size_bytes: 3, sha256: None, ttl: Duration::from_secs(60) };
        let plain = blobs.presign_put(&grant).await.unwrap();
        assert!(plain.starts_with("http://127.0.0.1:9/run402/_staging/upl_"), "{plain}");
        assert!(plain.contains("X-Amz-SignedHeaders=content-length%3Bhost"), "{plain}");
        assert!(!plain.contains("checksum"), "{plain}");
        let bound = blobs.presign_put(&PutGrant { sha256: Some(sha256), ..grant }).await.unwrap();
        assert!(
            bound.contains("x-amz-checksum-sha256=ungWv48Bz%2BpBQUDeXa4iI7ADYaOWF3qctBD%2FYfIAFa0%3D"),
            "{bound}"
        );
    }
}
