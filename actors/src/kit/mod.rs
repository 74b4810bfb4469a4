//! What every actor kind shares: a keeper per entity, a directory per kind, and the way to the claim's
//! holder.
//!
//! Cast: a [`Handle`] asks its kind's directory actor for the keeper of a key. The directory supervises its
//! keepers: it starts them on demand, backs off per key when they die, caps how many live, and forgets the
//! dead. A keeper claims its entity, loads it, and then handles one request at a time: decide, write under
//! the fence, remember.
//!
//! Invariants: a keeper writes only through its fence, so two keepers of one entity cannot both commit; a
//! reply is sent only after the commit it reports; a keeper whose memory may differ from Postgres dies and is
//! loaded anew.
//!
//! Failure story: a keeper that panics, is fenced off or loses a commit ends; whoever waited is told
//! `OUTCOME_UNKNOWN` and repeats with the same key. An entity held by another node is forwarded there once.

mod directory;
mod error;
mod forward;
mod handle;
mod keeper;
#[cfg(test)]
mod tests;
pub mod watchdog;

pub use directory::{Limits, Observed};
pub use error::ActorError;
pub use forward::{Forward, Forwarded, HttpForward, NoPeers};
pub use handle::Handle;

use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;

use store::Fence;
use uuid::Uuid;

use crate::Deps;

/// A request that may cross nodes: plain data.
pub trait Wire: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + Debug + 'static {}
impl<T: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + Debug + 'static> Wire for T {}

/// One kind of actor: what it owns and how it answers.
pub trait Kind: Send + Sync + Sized + 'static {
    /// The claim's kind, the span's name, and the word in the internal path.
    const NAME: &'static str;

    type Key: Copy + Eq + Hash + Send + Sync + Debug + Display + 'static;
    type Request: Wire + Clone;
    type Reply: Wire;
    /// A copy of the entity's rows, true while the fence is the newest claim.
    type State: Send + 'static;

    /// The claim's entity.
    fn entity(key: Self::Key) -> Uuid;

    fn key(entity: Uuid) -> Self::Key;

    /// Reads the entity's rows. The claim was made before, so they cannot be moved by an earlier holder.
    fn load(
        deps: &Arc<Deps>,
        key: Self::Key,
        fence: Fence,
    ) -> impl Future<Output = Result<Self::State, ActorError>> + Send;

    /// Decides, writes, remembers: in that order.
    fn handle(
        deps: &Arc<Deps>,
        state: &mut Self::State,
        request: Self::Request,
    ) -> impl Future<Output = Result<Self::Reply, ActorError>> + Send;
}
