//! Blobs: uploads of them, lists, reads, deletion, signed addresses, and what a visitor is shown.
//!
//! The anon key may do all of it: published clients send nothing else.
//!
//! # Source
//! Wire contract 02 sections 2 and 10.4.

mod address;
mod diagnose;
mod exif;
mod key;
mod put;
mod serve;
mod sign;

use std::time::Duration;

use blobs::{Layout, PartGrant, PutGrant};
use chrono::{DateTime, TimeDelta, Utc};
use store::content::{self, BlobName, Multipart, UploadState};
use types::{Code, Problem, ProjectId, Sha256Hex, UploadId, content_type};

use crate::Plane;
use crate::caller::Caller;
use crate::content::{UPLOAD_HOURS, URL_MINUTES, room, storage_problem, url_expiry};
use crate::keys::store_problem;

pub use address::{AssetRef, immutable_path};
pub use diagnose::Diagnosis;
pub(crate) use key::blob_key;
pub use key::key_of_path;
pub use put::{ASSET_BYTES_MAX, NewAsset, PutAsset};
pub use sign::SignedUrl;
pub use store::content::{Blob, Upload, Visibility};

/// The largest object that S3 keeps.
pub const BLOB_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024 * 1024;
/// Blobs in one page of a list.
const PAGE_MAX: u64 = 1_000;
const PAGE_DEFAULT: u64 = 100;

/// A blob that somebody wants to upload.
#[derive(Debug, Clone)]
pub struct NewBlob {
    pub key: String,
    pub size_bytes: u64,
    pub content_type: Option<String>,
    pub visibility: Visibility,
    pub immutable: bool,
    pub sha256: Option<Sha256Hex>,
}

/// Where to put a blob's bytes.
#[derive(Debug, Clone)]
pub struct BlobSession {
    pub upload: Upload,
    pub layout: Layout,
    /// One for each part, in order.
    pub urls: Vec<String>,
    pub expires_at: DateTime<Utc>,
}

/// A page of blobs.
#[derive(Debug, Clone)]
pub struct BlobPage {
    pub blobs: Vec<Blob>,
    /// The key after which the next page starts.
    pub next: Option<String>,
}

impl Plane {
    /// Opens the upload of a blob.
    ///
    /// # Errors
    /// `UNAUTHORIZED`; the lifecycle's refusals; `INVALID_STORAGE_KEY`, `BAD_REQUEST`; `STORAGE_LIMIT_EXCEEDED`
    /// when it could never fit; `STORAGE_UNAVAILABLE`.
    pub async fn blob_upload(&self, caller: &Caller, new: NewBlob) -> Result<BlobSession, Problem> {
        let project = self.project_key(caller).await?.project;
        self.data_call(project).await?;
        let key = blob_key(&new.key)?;
        let kind = new.content_type.clone().unwrap_or_else(|| content_type(&key).to_owned());
        check(&new, &kind)?;
        let lease = self.content_gate(project).await?;
        let room = room(&lease);
        if new.size_bytes > room.bytes_max {
            return Err(self.no_room(project, room, 0).await);
        }
        let name = BlobName { key, visibility: new.visibility, immutable: new.immutable };
        let (deps, now) = (self.deps(), self.now());
        let id = UploadId::new(&*deps.entropy);
        let mut upload = Upload {
            id,
            project,
            content_plan: None,
            sha256: new.sha256,
            size_bytes: new.size_bytes,
            content_type: Some(kind),
            blob: Some(name),
            multipart: None,
            staging_key: blobs::blob_staging_key(id),
            state: UploadState::Open,
            created_at: now,
            expires_at: now + TimeDelta::hours(UPLOAD_HOURS),
        };
        let (layout, urls) = self.blob_urls(&mut upload).await?;
        let mut tx = deps.store.begin().await.map_err(store_problem)?;
        content::upload_create(&mut tx, &upload).await.map_err(store_problem)?;
        tx.commit().await.map_err(store_problem)?;
        Ok(BlobSession { upload, layout, urls, expires_at: url_expiry(now) })
    }

    /// The parts of an upload and their URLs. Begins an upload in parts in the object store; one whose row is
    /// never written is the store's to expire.
    async fn blob_urls(&self, upload: &mut Upload) -> Result<(Layout, Vec<String>), Problem> {
        let store = &*self.deps().blobs;
        let ttl = Duration::from_secs(URL_MINUTES.unsigned_abs() * 60);
        if upload.size_bytes <= self.config().single_put_bytes_max {
            let grant = PutGrant {
                key: upload.staging_key.clone(),
                size_bytes: upload.size_bytes,
                sha256: upload.sha256.clone(),
                ttl,
            };
            let url = store.presign_put(&grant).await.map_err(storage_problem)?;
            return Ok((Layout::single(upload.size_bytes), vec![url]));
        }
        let layout = Layout::in_parts(upload.size_bytes);
        let id = store.parts_begin(&upload.staging_key).await.map_err(storage_problem)?;
        let mut urls = Vec::new();
        for span in layout.spans() {
            let grant = PartGrant {
                key: upload.staging_key.clone(),
                upload: id.clone(),
                number: span.number,
                size_bytes: span.end + 1 - span.start,
                ttl,
            };
            urls.push(store.presign_part(&grant).await.map_err(storage_problem)?);
        }
        upload.multipart = Some(Multipart { id, part_size_bytes: layout.part_size_bytes });
        Ok((layout, urls))
    }

    /// What a finished upload became: none when it was content for a deploy.
    ///
    /// # Errors
    /// `UNAVAILABLE` and its kin.
    pub async fn upload_asset(&self, upload: &Upload) -> Result<Option<AssetRef>, Problem> {
        let (Some(name), Some(sha256)) = (&upload.blob, &upload.sha256) else { return Ok(None) };
        let kind = upload.content_type.clone().unwrap_or_else(|| content_type(&name.key).to_owned());
        let hosts = self.asset_hosts(upload.project).await?;
        Ok(Some(AssetRef::new(&hosts, name.clone(), sha256, (upload.size_bytes, kind))))
    }

    /// Blobs by key. `prefix` is a start of keys, as it is; `limit` is brought between 1 and 1,000.
    ///
    /// # Errors
    /// `UNAUTHORIZED`.
    pub async fn blob_list(
        &self,
        caller: &Caller,
        prefix: &str,
        after: Option<&str>,
        limit: Option<u64>,
    ) -> Result<BlobPage, Problem> {
        let project = self.project_key(caller).await?.project;
        self.data_call(project).await?;
        let limit = limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
        let wanted = i64::try_from(limit).unwrap_or(i64::MAX) + 1;
        let found = content::blob_list(&self.deps().store, project, (prefix, after), wanted).await;
        let mut blobs = found.map_err(store_problem)?;
        let more = blobs.len() as u64 > limit;
        blobs.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next = blobs.last().filter(|_| more).map(|blob| blob.key.clone());
        Ok(BlobPage { blobs, next })
    }

    /// Deletes a blob. What it alone referred to does not count any more; addresses of immutable versions go
    /// on showing what they showed.
    ///
    /// # Errors
    /// `UNAUTHORIZED`; `BLOB_NOT_FOUND`.
    pub async fn blob_delete(&self, caller: &Caller, key: &str) -> Result<(), Problem> {
        let project = self.project_key(caller).await?.project;
        self.data_call(project).await?;
        let mut tx = self.deps().store.begin().await.map_err(store_problem)?;
        let gone = content::blob_delete(&mut tx, project, key, self.now()).await.map_err(store_problem)?;
        tx.commit().await.map_err(store_problem)?;
        if gone { Ok(()) } else { Err(not_found(key)) }
    }

    pub(crate) async fn blob_of(&self, project: ProjectId, key: &str) -> Result<Blob, Problem> {
        let found = content::blob_find(&self.deps().store, project, key).await.map_err(store_problem)?;
        found.ok_or_else(|| not_found(key))
    }
}

fn check(new: &NewBlob, kind: &str) -> Result<(), Problem> {
    let bad = |message: &str| Err(Problem::new(Code::BadRequest, message));
    if new.size_bytes > BLOB_BYTES_MAX {
        return bad("size_bytes: a blob has at most 5 TiB");
    }
    if new.immutable && new.sha256.is_none() {
        return bad("sha256: an immutable blob is announced with its SHA-256");
    }
    if !crate::deploy::is_content_type(kind) {
        return bad("content_type: this is not a media type");
    }
    Ok(())
}

pub(crate) fn not_found(key: &str) -> Problem {
    Problem::new(Code::BlobNotFound, format!("no blob {key:?}"))
}
