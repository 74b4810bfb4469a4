//! The way between nodes, and hints on their way: each may be late, lost or repeated.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use actors::Actors;
use actors::kit::{ActorError, Forward, Forwarded};
use async_trait::async_trait;
use serde_json::Value;
use store::Peer;
use types::NodeId;

use crate::dice::Dice;
use crate::stage::Stage;

/// Hints that wait at most; more are lost.
const HELD_MAX: usize = 200;
/// The same hint waits at most this often.
const SAME_MAX: usize = 2;

/// A hint that waits.
#[derive(Debug, Clone)]
pub(crate) struct Hint {
    pub node: usize,
    pub message: Forwarded,
}

struct State {
    peers: BTreeMap<uuid::Uuid, (usize, Actors)>,
    held: Vec<Hint>,
    dice: Dice,
    unreliable: bool,
}

/// All messages of a world.
pub(crate) struct Post {
    stage: Arc<Stage>,
    state: Mutex<State>,
}

/// A node's access to it.
pub(crate) struct PostOf {
    pub post: Arc<Post>,
    pub node: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Arrives,
    /// It does not arrive.
    Lost,
    /// It arrives, and its answer does not.
    Unanswered,
    /// It arrives twice.
    Repeated,
}

impl Post {
    pub fn new(stage: Arc<Stage>, dice: Dice) -> Arc<Self> {
        let state = State { peers: BTreeMap::new(), held: Vec::new(), dice, unreliable: true };
        Arc::new(Self { stage, state: Mutex::new(state) })
    }

    pub fn join(&self, id: NodeId, node: usize, actors: Actors) {
        self.lock().peers.insert(id.0, (node, actors));
    }

    /// A node is gone, and the hints that it was to deliver with it.
    pub fn leave(&self, id: NodeId, node: usize) {
        let mut state = self.lock();
        state.peers.remove(&id.0);
        state.held.retain(|hint| hint.node != node);
    }

    pub fn rely(&self) {
        self.lock().unreliable = false;
    }

    /// Takes the hint at a place, in an order that does not depend on who was quicker.
    pub fn take(&self, place: impl FnOnce(usize) -> usize) -> Option<Hint> {
        let mut state = self.lock();
        if state.held.is_empty() {
            return None;
        }
        state.held.sort_by(|a, b| {
            let key = |hint: &Hint| (hint.node, hint.message.kind.clone(), hint.message.entity);
            key(a)
                .cmp(&key(b))
                .then_with(|| a.message.request.to_string().cmp(&b.message.request.to_string()))
        });
        let at = place(state.held.len());
        Some(state.held.remove(at))
    }

    pub fn waiting(&self) -> usize {
        self.lock().held.len()
    }

    fn fate(&self) -> Fate {
        let mut state = self.lock();
        if !state.unreliable {
            return Fate::Arrives;
        }
        match state.dice.below(100) {
            0..8 => Fate::Lost,
            8..14 => Fate::Unanswered,
            14..22 => Fate::Repeated,
            _ => Fate::Arrives,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Forward for PostOf {
    async fn forward(
        &self,
        peer: &Peer,
        message: Forwarded,
    ) -> Result<Result<Value, ActorError>, ActorError> {
        let found = self.post.lock().peers.get(&peer.node.0).cloned();
        let Some((node, actors)) = found else { return Err(ActorError::PeerSilent) };
        let fate = self.post.fate();
        if fate == Fate::Lost {
            return Err(ActorError::PeerSilent);
        }
        let _acting = self.post.stage.enter(node);
        let mut answer = actors.answer_forwarded(message.clone()).await;
        if fate == Fate::Repeated {
            answer = actors.answer_forwarded(message).await;
        }
        if fate == Fate::Unanswered || !self.post.stage.is_alive(node) {
            return Err(ActorError::OutcomeUnknown);
        }
        Ok(answer.map_err(ActorError::from))
    }

    fn hold(&self, hint: &dyn Fn() -> Option<Forwarded>) -> bool {
        let Some(message) = hint() else { return true };
        let mut state = self.post.lock();
        let same = |held: &&Hint| {
            held.node == self.node
                && held.message.entity == message.entity
                && held.message.kind == message.kind
        };
        if state.held.iter().filter(same).count() < SAME_MAX && state.held.len() < HELD_MAX {
            state.held.push(Hint { node: self.node, message });
        }
        true
    }
}
