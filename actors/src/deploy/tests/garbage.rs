//! Content that nobody refers to, and an upload of the same bytes at that moment.

use std::time::Duration;

use blobs::{Blobs, Checked, cas_key, fits};
use bytes::Bytes;
use chrono::TimeDelta;
use sha2::{Digest, Sha256};
use store::content::{
    self, BlobName, BlobWrite, Room, Taken, Visibility, blob_delete, blob_put, content_due_list,
    content_due_put,
};
use types::Sha256Hex;

use super::kit::Site;
use crate::deploy::garbage_sweep;
use crate::testing::{Node, eventually};

const ROOM: Room = Room { bytes_max: 1 << 20 };

/// Puts a blob as the end of an upload does: bytes in their place, the row's lock, a look, the commit. Again when a
/// sweep was faster.
pub(super) async fn put(site: &Site, bytes: &Bytes) -> Sha256Hex {
    let (store, blobs) = (&site.world.store, &*site.contents);
    let sha256 = Sha256Hex::from_bytes(Sha256::digest(bytes).into());
    let content = Checked { sha256: sha256.clone(), size_bytes: bytes.len() as u64 };
    let name = BlobName { key: "a".into(), visibility: Visibility::Public, immutable: false };
    for _ in 0..20 {
        if !fits(blobs, &content).await.unwrap() {
            blobs.put(&cas_key(&sha256), bytes.clone()).await.unwrap();
        }
        tokio::task::yield_now().await;
        let now = site.world.now();
        let mut tx = store.begin().await.unwrap();
        content::content_lock(&mut tx, &sha256, content.size_bytes, now).await.unwrap();
        if !fits(blobs, &content).await.unwrap() {
            continue;
        }
        let write = BlobWrite {
            project: site.project,
            name: &name,
            sha256: &sha256,
            size_bytes: content.size_bytes,
            content_type: "text/plain",
            room: ROOM,
            now,
        };
        assert!(matches!(blob_put(&mut tx, &write).await.unwrap(), Taken::New | Taken::Before));
        tx.commit().await.unwrap();
        return sha256;
    }
    panic!("the bytes do not stay in their place");
}

pub(super) async fn delete(site: &Site) {
    let mut tx = site.world.store.begin().await.unwrap();
    assert!(blob_delete(&mut tx, site.project, "a", site.world.now()).await.unwrap());
    tx.commit().await.unwrap();
}

async fn rows(site: &mut Site) -> i64 {
    site.count("content_objects").await
}

// I01, E08. Goal: bytes that are referred to are there. Method: give content up, let a day pass, and sweep while the
// same bytes are put again; many times, with a store that takes its time over a deletion.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_sweep_never_takes_bytes_that_are_taken_over_at_that_moment() {
    let (mut site, node): (Site, Node) = Site::start().await;
    site.contents.slow_deletions(Duration::from_millis(3));
    let bytes = Bytes::from_static(b"again and again");
    let mut swept = 0;
    for round in 0..40_u64 {
        let sha256 = put(&site, &bytes).await;
        delete(&site).await;
        site.world.clock.advance(TimeDelta::hours(25));
        let late = async {
            tokio::time::sleep(Duration::from_micros(round * 200)).await;
            put(&site, &bytes).await
        };
        let (gone, held) = tokio::join!(garbage_sweep(&node.deps), late);
        swept += gone.unwrap();
        assert_eq!(held, sha256);
        let there = site.contents.head(&cas_key(&sha256)).await.unwrap();
        assert_eq!(there, Some(bytes.len() as u64), "round {round}: it is held, so it is there");
        assert_eq!(rows(&mut site).await, 1);
        delete(&site).await;
    }
    assert!(swept > 0, "no sweep was ever first");
    node.stop().await;
}

// E08. Goal: nobody's bytes go, and only after their day. Method: content that is held, given up, and never had a row.
#[tokio::test]
async fn a_sweep_takes_what_is_due_and_nobodys() {
    let (mut site, node) = Site::start().await;
    let sha256 = put(&site, &Bytes::from_static(b"given up")).await;
    // A process died between the bytes and their row.
    let lost = Sha256Hex::from_bytes(Sha256::digest(b"never taken").into());
    site.contents.put(&cas_key(&lost), Bytes::from_static(b"never taken")).await.unwrap();
    let mut tx = site.world.store.begin().await.unwrap();
    let announced = [sha256.clone(), lost.clone()];
    content_due_put(&mut tx, &announced, content::due_at(site.world.now())).await.unwrap();
    tx.commit().await.unwrap();
    let there =
        async |site: &Site, sha256: &Sha256Hex| site.contents.head(&cas_key(sha256)).await.unwrap().is_some();
    assert_eq!(garbage_sweep(&node.deps).await.unwrap(), 0);
    site.world.clock.advance(TimeDelta::hours(25));
    // The schedule may be faster than this test.
    assert!(
        eventually(async || {
            garbage_sweep(&node.deps).await.unwrap();
            !there(&site, &lost).await
        })
        .await
    );
    assert!(there(&site, &sha256).await, "held");
    assert_eq!(rows(&mut site).await, 1);

    delete(&site).await;
    garbage_sweep(&node.deps).await.unwrap();
    assert!(there(&site, &sha256).await, "kept for a day");
    site.world.clock.advance(TimeDelta::hours(25));
    assert_eq!(garbage_sweep(&node.deps).await.unwrap(), 1);
    assert!(!there(&site, &sha256).await);
    assert_eq!(rows(&mut site).await, 0);
    assert_eq!(content_due_list(&site.world.store, site.world.now(), 10).await.unwrap(), []);
    assert_eq!(put(&site, &Bytes::from_static(b"given up")).await, sha256, "and may come back");
    node.stop().await;
}
