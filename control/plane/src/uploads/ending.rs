//! Ends of large uploads. To hash and to copy many gigabytes takes longer than a request may, so it goes on without
//! the request that asked for it, and whoever asks again waits for the same end.
//!
//! Nothing of it is durable, and nothing needs to be: until its row is committed an upload is open, so after a crash
//! the next request starts over. On two nodes at once it is done twice, and committed once.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use store::content::{Room, Upload, UploadState};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use types::{Code, Mutation, Problem, Sha256Hex, UploadId};

use super::SentPart;
use crate::Plane;

/// Smaller ones end within their request: there are many of them, and each is quick.
pub(super) const QUICK_BYTES_MAX: u64 = 8 << 20;
/// Large uploads that one node ends at once.
const AT_ONCE: usize = 16;
const ASK_AGAIN_SECS: u64 = 2;

type Ending = Shared<BoxFuture<'static, Result<Sha256Hex, Problem>>>;

/// What this node is ending.
pub(crate) struct Endings {
    under_way: Mutex<HashMap<UploadId, Ending>>,
    places: Arc<Semaphore>,
}

impl Default for Endings {
    fn default() -> Self {
        Self { under_way: Mutex::default(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Endings {
    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Ending>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets an ending however it ended, a panic included.
struct Forget(Plane, UploadId);

impl Drop for Forget {
    fn drop(&mut self) {
        self.0.inner.endings.lock().remove(&self.1);
    }
}

impl Plane {
    /// Waits for the end of uploads as long as clients wait for an answer, then says that they are under way.
    pub(crate) async fn in_completion_time<T>(
        &self,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let limit = Duration::from_secs(self.config().completion_wait_secs);
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(completing()))
    }

    /// Verifies an upload and gives its bytes to the project: see the order in [`super`]. Of several calls for a
    /// large one the first counts. Dropping the call does not end it.
    pub(crate) async fn upload_take(
        &self,
        upload: &Upload,
        sent: &[SentPart],
        room: Room,
    ) -> Result<Sha256Hex, Problem> {
        if upload.size_bytes <= QUICK_BYTES_MAX || upload.state != UploadState::Open {
            return self.upload_take_now(upload, sent, room).await;
        }
        let endings = &self.inner.endings;
        let known = endings.lock().get(&upload.id).cloned();
        if let Some(known) = known {
            return known.await;
        }
        let place = endings.places.clone().acquire_owned().await;
        let place = place.map_err(|_| Problem::new(Code::Unavailable, "the server is stopping"))?;
        self.ending(upload, sent, (room, place)).await
    }

    fn ending(&self, upload: &Upload, sent: &[SentPart], with: (Room, OwnedSemaphorePermit)) -> Ending {
        let id = upload.id;
        // Held until it is noted, so that it is not forgotten before.
        let mut under_way = self.inner.endings.lock();
        if let Some(known) = under_way.get(&id) {
            return known.clone();
        }
        let (plane, upload, sent) = (self.clone(), upload.clone(), sent.to_vec());
        let task = tokio::spawn(async move {
            let (room, _place) = with;
            let _forget = Forget(plane.clone(), id);
            plane.upload_take_now(&upload, &sent, room).await
        });
        let broken = || Problem::new(Code::Internal, "the server failed").mutation(Mutation::Unknown);
        let ending = async move { task.await.unwrap_or_else(|_| Err(broken())) }.boxed().shared();
        under_way.insert(id, ending.clone());
        ending
    }
}

fn completing() -> Problem {
    Problem::new(Code::UploadCompleting, "the bytes are being checked and put in their place")
        .mutation(Mutation::Unknown)
        .extra("retry_after", ASK_AGAIN_SECS)
}
