//! An object store in memory that can be told to fail.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use blobs::{BlobError, BlobStream, Blobs, Part, PartGrant, PutGrant};
use bytes::Bytes;
use futures::StreamExt;

/// See the module.
#[derive(Default)]
pub(super) struct Contents {
    objects: Mutex<HashMap<String, Bytes>>,
    slow_deletions: Mutex<Duration>,
    /// What the test calls an object, by key.
    roles: Mutex<HashMap<String, String>>,
    /// Roles of what was read or deleted, in order.
    calls: Mutex<Vec<String>>,
    fault: Mutex<Option<(String, StoreFault)>>,
}

/// What the store does instead of what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StoreFault {
    Away,
    Lost,
    BreaksOff,
    Short,
    Other,
    More,
    /// Does it and says that it did not: of deletions only.
    DoneButAway,
}

impl StoreFault {
    pub const OF_READS: [Self; 6] =
        [Self::Away, Self::Lost, Self::BreaksOff, Self::Short, Self::Other, Self::More];
}

fn away() -> BlobError {
    BlobError::Unavailable { during: "test", source: "ordered by the test".into() }
}

impl Contents {
    /// From now on a deletion takes that long, before and after it happens.
    pub fn slow_deletions(&self, each: Duration) {
        *self.slow_deletions.lock().unwrap() = each;
    }

    pub fn call_it(&self, key: &str, role: &str) {
        self.roles.lock().unwrap().insert(key.to_owned(), role.to_owned());
    }

    /// The roles that were asked for since the last look, each once.
    pub fn asked(&self) -> Vec<String> {
        let mut asked: Vec<String> = std::mem::take(&mut *self.calls.lock().unwrap());
        let mut seen = std::collections::HashSet::new();
        asked.retain(|role| seen.insert(role.clone()));
        asked
    }

    /// From now on this is what becomes of a read or deletion of that role.
    pub fn break_at(&self, fault: Option<(&str, StoreFault)>) {
        *self.fault.lock().unwrap() = fault.map(|(role, fault)| (role.to_owned(), fault));
    }

    fn fault(&self, verb: &str, key: &str) -> Option<StoreFault> {
        let role = self.roles.lock().unwrap().get(key).cloned().unwrap_or_else(|| key.to_owned());
        let role = format!("{verb} {role}");
        self.calls.lock().unwrap().push(role.clone());
        let fault = self.fault.lock().unwrap();
        fault.as_ref().filter(|(at, _)| *at == role).map(|(_, fault)| *fault)
    }
}

#[async_trait::async_trait]
impl Blobs for Contents {
    async fn presign_put(&self, _: &PutGrant) -> Result<String, BlobError> {
        Err(BlobError::NotFound)
    }
    async fn head(&self, key: &str) -> Result<Option<u64>, BlobError> {
        Ok(self.objects.lock().unwrap().get(key).map(|bytes| bytes.len() as u64))
    }
    async fn get(&self, key: &str, _: Option<Range<u64>>) -> Result<BlobStream, BlobError> {
        let fault = self.fault("get", key);
        let bytes = self.objects.lock().unwrap().get(key).cloned().ok_or(BlobError::NotFound)?;
        let half = bytes.slice(..bytes.len() / 2);
        let pieces = match fault {
            None | Some(StoreFault::DoneButAway) => vec![Ok(bytes)],
            Some(StoreFault::Away) => return Err(away()),
            Some(StoreFault::Lost) => return Err(BlobError::NotFound),
            Some(StoreFault::BreaksOff) => vec![Ok(half), Err(away())],
            Some(StoreFault::Short) => vec![Ok(half)],
            Some(StoreFault::Other) => {
                let mut other = bytes.to_vec();
                other[0] ^= 1;
                vec![Ok(other.into())]
            }
            Some(StoreFault::More) => vec![Ok(bytes), Ok(Bytes::from_static(b" "))],
        };
        Ok(futures::stream::iter(pieces).boxed())
    }
    async fn put(&self, key: &str, bytes: Bytes) -> Result<(), BlobError> {
        self.objects.lock().unwrap().insert(key.to_owned(), bytes);
        Ok(())
    }
    async fn copy(&self, from: &str, to: &str, _: u64) -> Result<(), BlobError> {
        let mut all = self.objects.lock().unwrap();
        let bytes = all.get(from).cloned().ok_or(BlobError::NotFound)?;
        all.insert(to.to_owned(), bytes);
        Ok(())
    }
    async fn parts_begin(&self, _: &str) -> Result<String, BlobError> {
        Err(BlobError::NotFound)
    }
    async fn presign_part(&self, _: &PartGrant) -> Result<String, BlobError> {
        Err(BlobError::NotFound)
    }
    async fn parts_list(&self, _: &str, _: &str) -> Result<Vec<Part>, BlobError> {
        Err(BlobError::NotFound)
    }
    async fn parts_join(&self, _: &str, _: &str, _: &[Part]) -> Result<(), BlobError> {
        Err(BlobError::NotFound)
    }
    async fn parts_abort(&self, _: &str, _: &str) -> Result<(), BlobError> {
        Ok(())
    }
    async fn delete(&self, key: &str) -> Result<(), BlobError> {
        let fault = self.fault("delete", key);
        if fault == Some(StoreFault::Away) {
            return Err(away());
        }
        let slow = *self.slow_deletions.lock().unwrap();
        tokio::time::sleep(slow).await;
        self.objects.lock().unwrap().remove(key);
        tokio::time::sleep(slow).await;
        if fault == Some(StoreFault::DoneButAway) { Err(away()) } else { Ok(()) }
    }
}
