//! Blobs on a real Postgres: quota, overwriting, deletion, addresses, races.

use std::time::Duration;

use crate::common::{Db, now};
use store::content::{
    BlobName, BlobWrite, Room, Taken, Visibility, blob_delete, blob_find, blob_list, blob_put,
    blob_version_find, content_due_list, content_lock, content_pin, due_at, project_content_bytes,
};
use store::projects::{NewProject, project_insert};
use types::{AccountId, OsEntropy, ProjectId, Sha256Hex};

const ROOM: Room = Room { bytes_max: 100 };

struct World {
    db: Db,
    project: ProjectId,
}

fn sha(n: u8) -> Sha256Hex {
    Sha256Hex::from_bytes([n; 32])
}

impl World {
    async fn fresh() -> Self {
        let db = Db::fresh().await;
        let account: AccountId = db.account(1).await;
        let project = ProjectId::new(&OsEntropy);
        let new = NewProject { id: project, account, name: "blobs".into(), public_id: "bbbbbb9".into() };
        let mut tx = db.store.begin().await.unwrap();
        project_insert(&mut tx, &new, now()).await.unwrap();
        tx.commit().await.unwrap();
        db.sql("update projects set phase = 'ready'").await.unwrap();
        Self { db, project }
    }

    async fn put(&self, key: &str, (sha256, size_bytes): (Sha256Hex, u64), immutable: bool) -> Taken {
        let name = BlobName { key: key.into(), visibility: Visibility::Public, immutable };
        let mut tx = self.db.store.begin().await.unwrap();
        content_lock(&mut tx, &sha256, size_bytes, now()).await.unwrap();
        let write = BlobWrite {
            project: self.project,
            name: &name,
            sha256: &sha256,
            size_bytes,
            content_type: "text/plain",
            room: ROOM,
            now: now(),
        };
        let taken = blob_put(&mut tx, &write).await.unwrap();
        match taken {
            Taken::New | Taken::Before => tx.commit().await.unwrap(),
            _ => tx.rollback().await.unwrap(),
        }
        taken
    }

    async fn delete(&self, key: &str) -> bool {
        let mut tx = self.db.store.begin().await.unwrap();
        let gone = blob_delete(&mut tx, self.project, key, now()).await.unwrap();
        tx.commit().await.unwrap();
        gone
    }

    /// What is counted, which must be what is held.
    async fn used(&self) -> u64 {
        let counted: i64 =
            sqlx::query_scalar("select bytes from content_usage").fetch_one(&self.db.raw).await.unwrap();
        let held = project_content_bytes(&self.db.store, self.project).await.unwrap();
        assert_eq!(held, u64::try_from(counted).unwrap());
        held
    }
}

// I01. Goal: content counts once, as long as anything refers to it. Method: overwrite, alias and delete.
#[tokio::test]
async fn what_nothing_refers_to_any_more_does_not_count() {
    let world = World::fresh().await;
    let store = &world.db.store;
    assert_eq!(world.put("a", (sha(1), 60), false).await, Taken::New);
    assert_eq!(world.put("b", (sha(1), 60), false).await, Taken::Before);
    assert_eq!(world.used().await, 60, "one content under two names");
    assert_eq!(world.put("c", (sha(2), 41), false).await, Taken::NoRoom { used_bytes: 60 });
    assert_eq!(blob_find(store, world.project, "c").await.unwrap(), None, "nothing was kept");
    assert!(world.delete("a").await && !world.delete("a").await);
    assert_eq!(world.used().await, 60);
    // At the limit a blob can still be replaced by one that fits in its place.
    assert_eq!(world.put("b", (sha(3), 100), false).await, Taken::New);
    assert_eq!(world.used().await, 100);
    assert_eq!(content_due_list(store, due_at(now()), 10).await.unwrap(), [sha(1)]);
    assert!(world.delete("b").await);
    assert_eq!(world.used().await, 0);

    // A release refers to it as well: then it stays.
    assert_eq!(world.put("d", (sha(4), 10), false).await, Taken::New);
    let mut tx = store.begin().await.unwrap();
    assert_eq!(content_pin(&mut tx, world.project, &[sha(4), sha(9)]).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert!(world.delete("d").await);
    assert_eq!(world.used().await, 10);
}

// I05. Goal: an immutable address never changes its bytes. Method: overwrite, delete, and a digest that starts alike.
#[tokio::test]
async fn an_immutable_address_keeps_what_it_was_given_for() {
    let world = World::fresh().await;
    let store = &world.db.store;
    let suffix = |n: u8| sha(n).as_str()[..8].to_owned();
    assert_eq!(world.put("logo.png", (sha(1), 10), true).await, Taken::New);
    assert_eq!(world.put("logo.png", (sha(2), 20), true).await, Taken::New);
    assert_eq!(world.put("logo.png", (sha(3), 30), false).await, Taken::New);
    assert!(world.delete("logo.png").await);
    for (n, size) in [(1, 10), (2, 20)] {
        let version =
            blob_version_find(store, world.project, ("logo.png", &suffix(n))).await.unwrap().unwrap();
        assert_eq!((version.sha256, version.size_bytes), (sha(n), size));
    }
    assert_eq!(blob_version_find(store, world.project, ("logo.png", &suffix(3))).await.unwrap(), None);
    assert_eq!(world.used().await, 30, "the mutable one is gone, the addresses count");
    let mut twin = [1; 32];
    twin[31] = 0;
    let twin = Sha256Hex::from_bytes(twin);
    assert_eq!(world.put("logo.png", (twin.clone(), 5), true).await, Taken::AddressTaken);
    assert_eq!(world.put("other.png", (twin, 5), true).await, Taken::New, "under another key it is free");
}

// I01. Goal: the limit holds, and no order of locks ends in a deadlock. Method: many writers of few keys and contents,
// and deletions among them, at a limit that a part of them reaches.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_writes_and_deletions_count_right() {
    let world = World::fresh().await;
    let work = (0..120_u32).map(|n| {
        let world = &world;
        async move {
            let (key, content) = (format!("k{}", n % 5), u8::try_from(n % 7).unwrap());
            match n % 4 {
                0 => drop(world.delete(&key).await),
                _ => drop(world.put(&key, (sha(content), 10 * u64::from(content) + 10), n % 3 == 0).await),
            }
        }
    });
    tokio::time::timeout(Duration::from_secs(60), futures::future::join_all(work)).await.unwrap();
    assert!(world.used().await <= ROOM.bytes_max);
}

#[tokio::test]
async fn pages_are_in_the_order_of_bytes_and_know_their_prefix() {
    let world = World::fresh().await;
    let keys = ["B", "a", "a-b", "a/1", "a/2", "a0", "\u{e9}", "\u{1f600}"];
    for key in keys.iter().rev() {
        world.put(key, (sha(1), 1), false).await;
    }
    let list = async |prefix: &str, after: Option<&str>, limit| {
        let page = blob_list(&world.db.store, world.project, (prefix, after), limit).await.unwrap();
        page.into_iter().map(|blob| blob.key).collect::<Vec<_>>()
    };
    assert_eq!(list("", None, 100).await, keys);
    assert_eq!(list("", Some("a/1"), 2).await, ["a/2", "a0"]);
    assert_eq!(list("a/", None, 100).await, ["a/1", "a/2"]);
    assert_eq!(list("a/", Some("a/1"), 100).await, ["a/2"]);
    assert_eq!(list("%", None, 100).await, [""; 0], "no pattern");
}
