//! Uploads in parts, and copies of what is too large for one.

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};

use super::{S3Blobs, failed, patient};
use crate::{BlobError, Part, PartGrant};

impl S3Blobs {
    pub(super) async fn begin(&self, key: &str) -> Result<String, BlobError> {
        let during = "begin an upload in parts";
        let begun = self.client.create_multipart_upload().bucket(&self.bucket).key(key).send().await;
        let begun = begun.map_err(|e| failed(during, e))?;
        begun.upload_id.ok_or_else(|| BlobError::unavailable(during, "the store gave it no name"))
    }

    pub(super) async fn part_url(&self, grant: &PartGrant) -> Result<String, BlobError> {
        let during = "presign a part";
        let config =
            PresigningConfig::expires_in(grant.ttl).map_err(|e| BlobError::unavailable(during, e))?;
        let length = i64::try_from(grant.size_bytes).map_err(|e| BlobError::unavailable(during, e))?;
        let part = self.client.upload_part().bucket(&self.bucket).key(&grant.key).upload_id(&grant.upload);
        let signed = part.part_number(grant.number).content_length(length).presigned(config).await;
        Ok(signed.map_err(|e| failed(during, e))?.uri().to_owned())
    }

    pub(super) async fn list(&self, key: &str, upload: &str) -> Result<Vec<Part>, BlobError> {
        let during = "list parts";
        let ask = self.client.list_parts().bucket(&self.bucket).key(key).upload_id(upload);
        let mut pages = ask.into_paginator().send();
        let mut parts = Vec::new();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(SdkError::ServiceError(e)) if e.raw().status().as_u16() == 404 => {
                    return Err(BlobError::NotFound);
                }
                Err(e) => return Err(failed(during, e)),
            };
            parts.extend(page.parts.unwrap_or_default().into_iter().filter_map(|part| {
                let size_bytes = u64::try_from(part.size?).ok()?;
                Some(Part { number: part.part_number?, size_bytes, etag: part.e_tag })
            }));
        }
        parts.sort_by_key(|part| part.number);
        Ok(parts)
    }

    pub(super) async fn join(&self, key: &str, upload: &str, parts: &[Part]) -> Result<(), BlobError> {
        let parts = parts
            .iter()
            .map(|part| {
                CompletedPart::builder().part_number(part.number).set_e_tag(part.etag.clone()).build()
            })
            .collect();
        let whole = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let join = self.client.complete_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload);
        match join.multipart_upload(whole).customize().config_override(patient()).send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(e)) if e.raw().status().as_u16() == 404 => Err(BlobError::NotFound),
            Err(e) => Err(failed("join parts", e)),
        }
    }

    pub(super) async fn abort(&self, key: &str, upload: &str) -> Result<(), BlobError> {
        let abort = self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload);
        match abort.send().await {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(e)) if e.raw().status().as_u16() == 404 => Ok(()),
            Err(e) => Err(failed("give an upload in parts up", e)),
        }
    }

    /// Piece by piece. A piece that fails gives the whole copy up, so that no store keeps pieces for ever.
    pub(super) async fn copy_in_parts(&self, from: &str, to: &str, size_bytes: u64) -> Result<(), BlobError> {
        let upload = self.begin(to).await?;
        let copied = match self.copy_pieces(from, to, &upload, size_bytes).await {
            Ok(pieces) => self.join(to, &upload, &pieces).await,
            Err(e) => Err(e),
        };
        if copied.is_err() {
            crate::parts_discard(self, to, &upload).await;
        }
        copied
    }

    async fn copy_pieces(
        &self,
        from: &str,
        to: &str,
        upload: &str,
        size_bytes: u64,
    ) -> Result<Vec<Part>, BlobError> {
        let mut pieces = Vec::new();
        let (mut start, mut number) = (0, 1);
        while start < size_bytes {
            let end = (start + self.copy_bytes_max).min(size_bytes);
            let piece = self.client.upload_part_copy().bucket(&self.bucket).key(to).upload_id(upload);
            let piece = piece
                .part_number(number)
                .copy_source(format!("{}/{from}", self.bucket))
                .copy_source_range(format!("bytes={start}-{}", end - 1))
                .customize()
                .config_override(patient())
                .send()
                .await;
            let piece = match piece {
                Ok(piece) => piece,
                Err(SdkError::ServiceError(e)) if e.raw().status().as_u16() == 404 => {
                    return Err(BlobError::NotFound);
                }
                Err(e) => return Err(failed("copy a piece of an object", e)),
            };
            let etag = piece.copy_part_result.and_then(|result| result.e_tag);
            pieces.push(Part { number, size_bytes: end - start, etag });
            (start, number) = (end, number + 1);
        }
        Ok(pieces)
    }
}
