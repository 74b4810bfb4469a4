//! A blob put whole, in one request, by a function of the project.

use bytes::Bytes;
use chrono::TimeDelta;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use store::content::{self, BlobName, Upload, UploadState};
use types::{Code, Problem, ProjectId, Sha256Hex, UploadId, content_type};

use super::exif::{Stripped, strip};
use super::{AssetRef, Visibility, blob_key};
use crate::Plane;
use crate::caller::Caller;
use crate::content::{UPLOAD_HOURS, room, storage_problem};
use crate::keys::store_problem;

/// # Source
/// Wire contract 03 section 6.2.
pub const ASSET_BYTES_MAX: usize = 25 << 20;
const METADATA_BYTES_MAX: usize = 4_096;

/// What is said of the bytes.
#[derive(Debug, Clone)]
pub struct NewAsset {
    pub key: String,
    pub content_type: Option<String>,
    pub visibility: Visibility,
    pub immutable: bool,
    /// Only when it is asked for.
    pub strips_exif: bool,
    pub metadata: Option<Map<String, Value>>,
}

/// A blob as it was put.
#[derive(Debug, Clone)]
pub struct PutAsset {
    pub asset: AssetRef,
    pub metadata: Option<Map<String, Value>>,
    /// It is a picture and has no Exif now, because that was asked for.
    pub is_stripped: bool,
}

impl Plane {
    /// The project of a service key that may put a blob now: asked before the bytes are read.
    ///
    /// # Errors
    /// `UNAUTHORIZED`, `FORBIDDEN`; `RATE_LIMITED`, `QUOTA_EXCEEDED`; the lifecycle's refusals.
    pub async fn asset_putter(&self, caller: &Caller) -> Result<ProjectId, Problem> {
        let project = self.service_project(caller).await?;
        self.data_call(project).await?;
        self.content_gate(project).await?;
        Ok(project)
    }

    /// Puts a blob. The same again changes nothing.
    ///
    /// # Errors
    /// `INVALID_STORAGE_KEY`, `BAD_REQUEST`; `BLOB_ADDRESS_TAKEN`; `STORAGE_LIMIT_EXCEEDED`;
    /// `STORAGE_UNAVAILABLE`.
    ///
    /// # Source
    /// Wire contract 03 section 6.2.
    pub async fn asset_put(
        &self,
        project: ProjectId,
        new: NewAsset,
        bytes: Bytes,
    ) -> Result<PutAsset, Problem> {
        let key = blob_key(&new.key)?;
        let kind = new.content_type.clone().unwrap_or_else(|| content_type(&key).to_owned());
        check(&new, &kind, &bytes)?;
        let (bytes, is_stripped) = if new.strips_exif { stripped(bytes)? } else { (bytes, false) };
        let name = BlobName { key, visibility: new.visibility, immutable: new.immutable };
        let upload = self.asset_upload(project, name, kind, &bytes).await?;
        let put = self.deps().blobs.put(&upload.staging_key, bytes).await;
        put.map_err(storage_problem)?;
        let room = room(&self.content_gate(project).await?);
        let sha256 = self.upload_take(&upload, &[], room).await?;
        let metadata = new.metadata.clone().map(Value::from);
        let key = upload.blob.as_ref().map_or("", |name| name.key.as_str());
        let described =
            content::blob_describe(&self.deps().store, (project, key, &sha256), metadata.as_ref());
        described.await.map_err(store_problem)?;
        let asset = self.upload_asset(&Upload { sha256: Some(sha256), ..upload }).await?;
        let asset = asset.ok_or_else(|| Problem::new(Code::Internal, "an upload of a blob names none"))?;
        Ok(PutAsset { asset, metadata: new.metadata, is_stripped })
    }

    /// The upload that an ordinary client would have opened.
    async fn asset_upload(
        &self,
        project: ProjectId,
        name: BlobName,
        kind: String,
        bytes: &Bytes,
    ) -> Result<Upload, Problem> {
        let (deps, now) = (self.deps(), self.now());
        let id = UploadId::new(&*deps.entropy);
        let upload = Upload {
            id,
            project,
            content_plan: None,
            sha256: Some(Sha256Hex::from_bytes(Sha256::digest(bytes).into())),
            size_bytes: bytes.len() as u64,
            content_type: Some(kind),
            blob: Some(name),
            multipart: None,
            staging_key: blobs::blob_staging_key(id),
            state: UploadState::Open,
            created_at: now,
            expires_at: now + TimeDelta::hours(UPLOAD_HOURS),
        };
        let mut tx = deps.store.begin().await.map_err(store_problem)?;
        content::upload_create(&mut tx, &upload).await.map_err(store_problem)?;
        tx.commit().await.map_err(store_problem)?;
        Ok(upload)
    }
}

fn check(new: &NewAsset, kind: &str, bytes: &Bytes) -> Result<(), Problem> {
    let bad = |message: &str| Err(Problem::new(Code::BadRequest, message));
    if bytes.is_empty() {
        return bad("the body is empty: an asset has at least one byte");
    }
    if !crate::deploy::is_content_type(kind) {
        return bad("Content-Type: this is not a media type");
    }
    let Some(metadata) = &new.metadata else { return Ok(()) };
    let text = Value::from(metadata.clone()).to_string();
    // Postgres has no place for a NUL.
    if text.len() > METADATA_BYTES_MAX || text.contains("\\u0000") {
        return bad("x-run402-asset-metadata: at most 4096 bytes without NUL characters are allowed");
    }
    if metadata.values().any(|value| value.is_object() || value.is_array()) {
        return bad("x-run402-asset-metadata: a flat object is needed, without objects or lists in it");
    }
    Ok(())
}

/// A broken picture is refused, because whoever asks for this relies on it. What has no Exif that is known here stays.
fn stripped(bytes: Bytes) -> Result<(Bytes, bool), Problem> {
    match strip(&bytes) {
        Stripped::Clean(clean) => Ok((clean, true)),
        Stripped::Other => Ok((bytes, false)),
        Stripped::Broken => Err(Problem::new(
            Code::BadRequest,
            "the picture is broken, so its Exif cannot be taken out: send a whole one, or keep its Exif",
        )),
    }
}
