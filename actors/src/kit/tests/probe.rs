//! A kind that does what it is told, and a network between nodes that loses and repeats what it is told to.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde::{Deserialize, Serialize};
use store::{Fence, Peer};
use types::{Code, NodeId, Problem};
use uuid::Uuid;

use crate::Deps;
use crate::kit::{ActorError, Forward, Forwarded, Handle, Kind, Limits};

pub struct Probe;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key(pub Uuid);

impl Key {
    /// Loading it is refused.
    pub const UNLOADABLE: Self = Self(Uuid::max());
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Counts in memory.
    Touch,
    /// Does something once per name, however often it is asked.
    Once(String),
    /// Commits under the fence.
    Write,
    Panic,
    /// Takes this long, and lets others run.
    Sleep(Duration),
    /// Takes this long, and keeps its thread.
    Block(Duration),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Told {
    pub node: NodeId,
    pub epoch: i64,
    pub touched: u32,
    pub effects: usize,
}

pub struct ProbeState {
    fence: Fence,
    touched: u32,
    done: Vec<String>,
}

impl Kind for Probe {
    const NAME: &'static str = "probe";
    type Key = Key;
    type Request = Ask;
    type Reply = Told;
    type State = ProbeState;

    fn entity(key: Key) -> Uuid {
        key.0
    }

    fn key(entity: Uuid) -> Key {
        Key(entity)
    }

    async fn load(_: &Arc<Deps>, key: Key, fence: Fence) -> Result<ProbeState, ActorError> {
        if key == Key::UNLOADABLE {
            return Err(Problem::new(Code::NotFound, "cannot be loaded").into());
        }
        Ok(ProbeState { fence, touched: 0, done: Vec::new() })
    }

    async fn handle(deps: &Arc<Deps>, state: &mut ProbeState, request: Ask) -> Result<Told, ActorError> {
        match request {
            Ask::Touch => {}
            Ask::Once(name) if !state.done.contains(&name) => state.done.push(name),
            Ask::Once(_) => {}
            Ask::Write => deps.store.fenced(&state.fence).await?.commit().await?,
            Ask::Panic => panic!("told to"),
            Ask::Sleep(time) => tokio::time::sleep(time).await,
            Ask::Block(time) => std::thread::sleep(time),
        }
        state.touched += 1;
        let (epoch, touched) = (state.fence.epoch, state.touched);
        Ok(Told { node: deps.node, epoch, touched, effects: state.done.len() })
    }
}

struct Root;

impl Actor for Root {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// Probes on the node of `deps`.
pub async fn probes(deps: &Arc<Deps>, limits: Limits, peers: Arc<Peers>) -> Handle<Probe> {
    let (root, _) = Actor::spawn(None, Root, ()).await.unwrap();
    Handle::start(root.get_cell(), deps.clone(), limits, peers).await.unwrap()
}

/// What happens to a message between nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Arrives,
    ArrivesTwice,
    /// It arrives, and its answer does not.
    AnswerLost,
    Lost,
}

/// The nodes of a test, and the wire between them.
pub struct Peers {
    nodes: Mutex<HashMap<NodeId, Handle<Probe>>>,
    fate: Mutex<Fate>,
    sent: AtomicU32,
}

impl Peers {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { nodes: Mutex::default(), fate: Mutex::new(Fate::Arrives), sent: AtomicU32::new(0) })
    }

    pub fn none() -> Arc<Self> {
        Self::new()
    }

    pub fn join(&self, node: NodeId, probes: Handle<Probe>) {
        self.nodes.lock().unwrap().insert(node, probes);
    }

    pub fn henceforth(&self, fate: Fate) {
        *self.fate.lock().unwrap() = fate;
    }

    pub fn sent(&self) -> u32 {
        self.sent.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl Forward for Peers {
    async fn forward(
        &self,
        peer: &Peer,
        message: Forwarded,
    ) -> Result<Result<serde_json::Value, ActorError>, ActorError> {
        self.sent.fetch_add(1, Ordering::SeqCst);
        let there = self.nodes.lock().unwrap().get(&peer.node).cloned();
        let fate = *self.fate.lock().unwrap();
        let Some(there) = there.filter(|_| fate != Fate::Lost) else { return Err(ActorError::PeerSilent) };
        let text = serde_json::to_string(&message).unwrap();
        let deliver = async || {
            let message: Forwarded = serde_json::from_str(&text).unwrap();
            assert_eq!(message.kind, Probe::NAME);
            let request = serde_json::from_value(message.request).unwrap();
            let told = there.call_here(Probe::key(message.entity), request, message.timeout).await;
            told.map(|told| serde_json::to_value(told).unwrap())
        };
        let answer = deliver().await;
        match fate {
            Fate::ArrivesTwice => Ok(deliver().await),
            Fate::AnswerLost => Err(ActorError::OutcomeUnknown),
            Fate::Arrives | Fate::Lost => Ok(answer),
        }
    }
}
