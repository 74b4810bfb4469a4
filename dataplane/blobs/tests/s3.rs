//! The adapter against the S3 server that the lab embeds, over its own listener.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::net::Ipv4Addr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blobs::{
    BlobError, Blobs, Checked, PutGrant, S3Blobs, cas_key, fits, promote, read_all, staging_key, verify,
};
use futures::TryStreamExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use sha2::{Digest, Sha256};
use types::{OsEntropy, Sha256Hex, UploadId};

const BUCKET: &str = "run402";
const CHECKSUM: &str = "x-amz-checksum-sha256";

struct Server {
    blobs: S3Blobs,
    _root: tempfile::TempDir,
}

async fn serve() -> Server {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join(BUCKET)).unwrap();
    let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root.path()).unwrap());
    builder.set_auth(SimpleAuth::from_single("key".to_owned(), "secret".to_owned()));
    let service = builder.build();
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let connections = Builder::new(TokioExecutor::new());
                let _ = connections.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    let blobs = S3Blobs::new(&format!("http://{address}"), "us-east-1", BUCKET, "key", "secret");
    Server { blobs, _root: root }
}

fn sha256(bytes: &[u8]) -> Sha256Hex {
    Sha256Hex::from_bytes(Sha256::digest(bytes).into())
}

struct Granted {
    key: String,
    url: String,
}

/// A presigned URL for `bytes`, as a content session hands it out.
async fn grant(blobs: &S3Blobs, bytes: &[u8], bind_checksum: bool) -> Granted {
    let sha256 = sha256(bytes);
    let key = staging_key(UploadId::new(&OsEntropy), &sha256);
    let grant = PutGrant {
        key: key.clone(),
        size_bytes: bytes.len() as u64,
        sha256: bind_checksum.then_some(sha256),
        ttl: Duration::from_secs(60),
    };
    Granted { key, url: blobs.presign_put(&grant).await.unwrap() }
}

/// PUTs without any credentials; with the checksum header when the URL has no such parameter and the caller
/// wants one.
async fn put(url: &str, bytes: &[u8], checksum_of: Option<&[u8]>) -> reqwest::Response {
    let mut request = reqwest::Client::new().put(url).body(bytes.to_vec());
    if let Some(of) = checksum_of {
        request = request.header(CHECKSUM, STANDARD.encode(Sha256::digest(of)));
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn a_presigned_put_works_with_and_without_the_checksum_header() {
    let server = serve().await;
    let bytes = b"<h1>hello</h1>".as_slice();
    for (bound, header) in [(true, false), (false, true), (false, false), (true, true)] {
        let granted = grant(&server.blobs, bytes, bound).await;
        let answer = put(&granted.url, bytes, header.then_some(bytes)).await;
        assert!(answer.status().is_success(), "{bound} {header}: {}", answer.text().await.unwrap());
        assert!(answer.headers().contains_key("etag"));
        // Putting the same part again is fine.
        assert!(put(&granted.url, bytes, header.then_some(bytes)).await.status().is_success());
        let content = verify(&server.blobs, &granted.key).await.unwrap();
        assert_eq!(content, Checked { sha256: sha256(bytes), size_bytes: bytes.len() as u64 });
    }
}

// I01: wrong bytes, another key, another method, a larger size, no signature.
#[tokio::test]
async fn a_presigned_put_is_good_for_one_object_only() {
    let server = serve().await;
    let bytes = b"right".as_slice();
    let granted = grant(&server.blobs, bytes, false).await;
    let refused = put(&granted.url, b"wrong", Some(bytes)).await;
    assert!(refused.status().is_client_error(), "{}", refused.status());
    let larger = put(&granted.url, b"right and more", None).await;
    assert!(larger.status().is_client_error(), "{}", larger.status());
    let elsewhere = granted.url.replacen("_staging", "_cas", 1);
    assert_eq!(put(&elsewhere, bytes, None).await.status(), 403);
    let read = reqwest::get(&granted.url).await.unwrap();
    assert_eq!(read.status(), 403);
    let bare = granted.url.split('?').next().unwrap();
    assert!(put(bare, bytes, None).await.status().is_client_error());
    // This server keeps what it refused; what counts is that it cannot pass for the content.
    match verify(&server.blobs, &granted.key).await {
        Ok(staged) => assert_ne!(staged.sha256, sha256(bytes)),
        Err(e) => assert!(matches!(e, BlobError::NotFound), "{e:?}"),
    }
}

#[tokio::test]
async fn verification_sees_what_the_bytes_really_are() {
    let server = serve().await;
    let granted = grant(&server.blobs, b"12345", false).await;
    assert!(put(&granted.url, b"54321", None).await.status().is_success());
    let content = verify(&server.blobs, &granted.key).await.unwrap();
    assert_eq!(content.sha256, sha256(b"54321"));
    let absent = verify(&server.blobs, "_staging/none/none").await.unwrap_err();
    assert!(matches!(absent, BlobError::NotFound), "{absent:?}");
}

#[tokio::test]
async fn promotion_is_idempotent_and_survives_the_staged_copy() {
    let server = serve().await;
    let bytes = vec![7; 300_000];
    let granted = grant(&server.blobs, &bytes, true).await;
    assert!(put(&granted.url, &bytes, None).await.status().is_success());
    let content = verify(&server.blobs, &granted.key).await.unwrap();
    assert!(!fits(&server.blobs, &content).await.unwrap());
    promote(&server.blobs, &granted.key, &content).await.unwrap();
    promote(&server.blobs, &granted.key, &content).await.unwrap();
    server.blobs.delete(&granted.key).await.unwrap();
    server.blobs.delete(&granted.key).await.unwrap();
    assert!(fits(&server.blobs, &content).await.unwrap());
    // Already there, so the staged copy is not needed any more.
    promote(&server.blobs, &granted.key, &content).await.unwrap();
    let key = cas_key(&content.sha256);
    assert_eq!(read_all(&server.blobs, &key, bytes.len()).await.unwrap(), bytes);
    assert!(read_all(&server.blobs, &key, bytes.len() - 1).await.is_err());
    server.blobs.delete(&key).await.unwrap();
    let gone = promote(&server.blobs, &granted.key, &content).await.unwrap_err();
    assert!(matches!(gone, BlobError::NotFound), "{gone:?}");
}

#[tokio::test]
async fn ranges_and_empty_objects_are_read_exactly() {
    let server = serve().await;
    server.blobs.put("_cas/aa/ten", bytes::Bytes::from_static(b"0123456789")).await.unwrap();
    for (range, expected) in [(0..1, "0"), (2..5, "234"), (9..10, "9"), (0..10, "0123456789")] {
        let parts = server.blobs.get("_cas/aa/ten", Some(range)).await.unwrap();
        let read: Vec<bytes::Bytes> = parts.try_collect().await.unwrap();
        assert_eq!(read.concat(), expected.as_bytes());
    }
    let granted = grant(&server.blobs, b"", true).await;
    let answer = put(&granted.url, b"", None).await;
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    let empty = verify(&server.blobs, &granted.key).await.unwrap();
    assert_eq!(empty, Checked { sha256: sha256(b""), size_bytes: 0 });
    promote(&server.blobs, &granted.key, &empty).await.unwrap();
}

#[tokio::test]
async fn a_store_that_is_away_is_told_apart_from_an_absent_object() {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let away = S3Blobs::new(&format!("http://{address}"), "us-east-1", BUCKET, "key", "secret");
    assert!(matches!(away.head("x").await.unwrap_err(), BlobError::Unavailable { .. }));
    let server = serve().await;
    assert_eq!(server.blobs.head("x").await.unwrap(), None);
}

// I01. Goal: a URL is good until its time is over, and while it is, for the same bytes again. Method: one that lives
// for two seconds, used twice, and then until it is refused.
#[tokio::test]
async fn a_presigned_url_is_reusable_until_it_expires() {
    let server = serve().await;
    let bytes = b"in time";
    let sha256 = Sha256Hex::from_bytes(Sha256::digest(bytes).into());
    let key = staging_key(UploadId::new(&OsEntropy), &sha256);
    let ttl = Duration::from_secs(2);
    let grant =
        PutGrant { key: key.clone(), size_bytes: bytes.len() as u64, sha256: Some(sha256.clone()), ttl };
    let url = server.blobs.presign_put(&grant).await.unwrap();
    for _ in 0..2 {
        assert!(put(&url, bytes, None).await.status().is_success());
    }
    assert_eq!(verify(&server.blobs, &key).await.unwrap().sha256, sha256);
    let mut last = 200;
    for _ in 0..100 {
        last = put(&url, bytes, None).await.status().as_u16();
        if last >= 400 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(last, 403, "refused as what it is");
    assert_eq!(verify(&server.blobs, &key).await.unwrap().sha256, sha256, "what was put in time stays");
}
