//! Blobs: uploads of them, the list, bytes, deletion, signed addresses, diagnosis.

use axum::extract::{OriginalUri, Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, StatusCode, Uri};
use plane::Plane;
use plane::blob::{AssetRef, BlobSession, Diagnosis, NewBlob, Visibility, key_of_path};
use serde::Deserialize;
use serde_json::{Value, json};
use types::{Code, Sha256Hex, rfc3339};

use super::sites::{conditions, response};
use crate::app::AppState;
use crate::extract::{Body, Who};
use crate::problem::ApiProblem;

/// What CDN-aware clients are told: this server needs no invalidation.
const CDN_VERSION: &str = "blob-gateway-v2";
const BLOB: &str = "/storage/v1/blob/";
const SIGN: &str = "/sign";

pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/storage/v1/uploads", post(upload))
        .route("/storage/v1/blobs", get(list))
        .route("/storage/v1/blobs/diagnose", get(diagnose))
        .route("/storage/v1/blob/{*key}", get(bytes).delete(delete).post(sign))
        .route("/storage/v1/signed/{token}", get(signed))
}

#[derive(Deserialize)]
struct UploadRequest {
    key: String,
    size_bytes: u64,
    content_type: Option<String>,
    visibility: Option<String>,
    immutable: Option<bool>,
    sha256: Option<Sha256Hex>,
}

#[derive(Deserialize)]
struct ListQuery {
    prefix: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
struct DiagnoseQuery {
    url: Option<String>,
}

#[derive(Deserialize)]
struct SignRequest {
    ttl_seconds: Option<i64>,
}

/// `POST /storage/v1/uploads`
async fn upload(
    State(plane): State<Plane>,
    Who(caller): Who,
    body: Body,
) -> Result<(StatusCode, Json<Value>), ApiProblem> {
    let asked: UploadRequest = body.json()?;
    let new = NewBlob {
        key: asked.key,
        size_bytes: asked.size_bytes,
        content_type: asked.content_type.filter(|kind| !kind.is_empty()),
        visibility: visibility(asked.visibility.as_deref())?,
        immutable: asked.immutable.unwrap_or(false),
        sha256: asked.sha256,
    };
    Ok((StatusCode::CREATED, Json(session_view(&plane.blob_upload(&caller, new).await?))))
}

fn visibility(asked: Option<&str>) -> Result<Visibility, ApiProblem> {
    let Some(asked) = asked else { return Ok(Visibility::Public) };
    let known = Visibility::ALL.into_iter().find(|known| known.as_str() == asked);
    known.ok_or_else(|| ApiProblem::new(Code::BadRequest, "visibility: public or private"))
}

/// `GET /storage/v1/blobs`
async fn list(
    State(plane): State<Plane>,
    Who(caller): Who,
    Query(ListQuery { prefix, limit, cursor }): Query<ListQuery>,
) -> Result<Json<Value>, ApiProblem> {
    let bad = |what: &str| ApiProblem::new(Code::BadRequest, what);
    let limit = limit.filter(|limit| !limit.is_empty()).map(|limit| limit.parse::<u64>()).transpose();
    let limit = limit.map_err(|_| bad("limit is not a number"))?;
    let after = cursor.filter(|cursor| !cursor.is_empty()).map(|cursor| read_cursor(&cursor));
    let after = after.map(|read| read.ok_or_else(|| bad("this is not a cursor of ours"))).transpose()?;
    let page =
        plane.blob_list(&caller, prefix.as_deref().unwrap_or_default(), after.as_deref(), limit).await?;
    let blobs: Vec<Value> = page
        .blobs
        .iter()
        .map(|blob| {
            json!({
                "key": blob.key,
                "size_bytes": blob.size_bytes,
                "content_type": blob.content_type,
                "visibility": blob.visibility.as_str(),
                "immutable": blob.immutable,
                "sha256": blob.sha256,
                "immutable_suffix": &blob.sha256.as_str()[..8],
                "metadata": blob.metadata,
                "created_at": rfc3339(blob.created_at),
                "updated_at": rfc3339(blob.updated_at),
            })
        })
        .collect();
    Ok(Json(json!({ "blobs": blobs, "next_cursor": page.next.map(|key| URL_SAFE_NO_PAD.encode(key)) })))
}

/// `GET /storage/v1/blob/{key}`
async fn bytes(
    State(plane): State<Plane>,
    Who(caller): Who,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
) -> Result<Response, ApiProblem> {
    let answer = plane.blob_get(&caller, &key_of(&uri)?, &conditions(&headers)).await?;
    Ok(response(answer))
}

/// `DELETE /storage/v1/blob/{key}`
async fn delete(
    State(plane): State<Plane>,
    Who(caller): Who,
    OriginalUri(uri): OriginalUri,
) -> Result<Json<Value>, ApiProblem> {
    let key = key_of(&uri)?;
    plane.blob_delete(&caller, &key).await?;
    Ok(Json(json!({ "status": "ok", "key": key })))
}

/// `POST /storage/v1/blob/{key}/sign`. A key may have slashes, so its end cannot be a route.
async fn sign(
    State(plane): State<Plane>,
    Who(caller): Who,
    OriginalUri(uri): OriginalUri,
    body: Body,
) -> Result<Json<Value>, ApiProblem> {
    let raw = raw_key(&uri).strip_suffix(SIGN);
    let raw = raw.ok_or_else(|| ApiProblem::new(Code::NotFound, "POST only signs: add /sign"))?;
    let SignRequest { ttl_seconds } = body.json()?;
    let signed = plane.blob_sign(&caller, &key_of_path(raw)?, ttl_seconds).await?;
    Ok(Json(json!({
        "signed_url": signed.url,
        "expires_at": rfc3339(signed.expires_at),
        "expires_in": signed.expires_in_secs,
    })))
}

/// `GET /storage/v1/signed/{token}`
async fn signed(
    State(plane): State<Plane>,
    Who(caller): Who,
    Path(token): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiProblem> {
    Ok(response(plane.blob_signed(&caller, &token, &conditions(&headers)).await?))
}

/// `GET /storage/v1/blobs/diagnose`
async fn diagnose(
    State(plane): State<Plane>,
    Who(caller): Who,
    Query(DiagnoseQuery { url }): Query<DiagnoseQuery>,
) -> Result<Json<Value>, ApiProblem> {
    let url = url.ok_or_else(|| ApiProblem::new(Code::BadRequest, "name the url"))?;
    Ok(Json(diagnosis_view(&plane.blob_diagnose(&caller, &url).await?)))
}

/// Still encoded: what a router has decoded once would be decoded twice.
fn raw_key(uri: &Uri) -> &str {
    uri.path().strip_prefix(BLOB).unwrap_or_default()
}

fn key_of(uri: &Uri) -> Result<String, ApiProblem> {
    Ok(key_of_path(raw_key(uri))?)
}

fn read_cursor(text: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

pub(super) fn mode(upload: &plane::blob::Upload) -> &'static str {
    if upload.multipart.is_some() { "multipart" } else { "single" }
}

/// # Source
/// Wire contract 02 section 2.1.
fn session_view(session: &BlobSession) -> Value {
    let parts: Vec<Value> = session
        .layout
        .spans()
        .zip(&session.urls)
        .map(|(span, url)| {
            json!({
                "part_number": span.number,
                "url": url,
                "byte_start": span.start,
                "byte_end": span.end,
            })
        })
        .collect();
    json!({
        "upload_id": session.upload.id,
        "key": session.upload.blob.as_ref().map(|blob| &blob.key),
        "mode": mode(&session.upload),
        "part_count": session.layout.count(),
        "part_size_bytes": session.layout.part_size_bytes,
        "parts": parts,
        "expires_at": rfc3339(session.expires_at),
    })
}

/// # Source
/// Wire contract 02 section 2.4.
pub(crate) fn asset_view(asset: &AssetRef) -> Value {
    json!({
        "key": asset.name.key,
        "size_bytes": asset.size_bytes,
        "content_type": asset.content_type,
        "sha256": asset.sha256,
        "visibility": asset.name.visibility.as_str(),
        "immutable": asset.name.immutable,
        "immutable_suffix": asset.suffix(),
        "url": asset.url,
        "immutable_url": asset.immutable_url,
        "cdn_url": asset.cdn_url,
        "cdn_immutable_url": asset.cdn_immutable_url,
        "etag": asset.etag(),
        "sri": asset.sri(),
        "content_digest": asset.content_digest(),
        "cache_kind": asset.cache_kind(),
        "cdn": {
            "version": CDN_VERSION,
            "invalidationId": null,
            "invalidationStatus": null,
            "ready": true,
            "hint": null,
        },
    })
}

/// # Source
/// Wire contract 02 section 2.9.
fn diagnosis_view(found: &Diagnosis) -> Value {
    json!({
        "projectId": found.project,
        "key": found.key,
        "canonicalUrl": found.canonical_url,
        "expectedSha256": found.expected_sha256,
        "observedSha256": found.observed_sha256,
        "vantage": "gateway-us-east-1",
        "probeMethod": "GET_RANGE_0_0",
        "acceptEncoding": "identity",
        "observedAt": rfc3339(found.observed_at),
        "probeMayHaveWarmedCache": true,
        "pathKind": found.path_kind,
        "cache": { "xCache": null, "ageSeconds": null, "cacheKind": found.cache_kind },
        "invalidation": { "id": null, "status": null },
        "hint": found.hint,
    })
}
