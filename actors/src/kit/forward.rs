//! One hop to the node that holds a claim: the same message as JSON, once, authenticated by the nodes' shared
//! secret.

use std::time::Duration;

use serde_json::Value;
use store::Peer;
use types::Problem;
use uuid::Uuid;

use super::ActorError;

/// A message for an actor of another node.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Forwarded {
    pub kind: String,
    pub entity: Uuid,
    pub request: Value,
    pub timeout: Duration,
}

/// Carries messages between nodes. A trait, so that actor tests need no socket.
#[async_trait::async_trait]
pub trait Forward: Send + Sync + 'static {
    /// The peer's answer: the reply, or what it refused.
    ///
    /// # Errors
    /// `PeerSilent` when it was not reached, `OutcomeUnknown` when it was and did not answer.
    async fn forward(&self, peer: &Peer, message: Forwarded)
    -> Result<Result<Value, ActorError>, ActorError>;

    /// Takes over a hint that would be sent now; false lets it go. Only a simulator takes them, to decide when
    /// each arrives, how often, and whether at all.
    fn hold(&self, _hint: &dyn Fn() -> Option<Forwarded>) -> bool {
        false
    }
}

/// Of a node that is alone: every peer is silent.
pub struct NoPeers;

#[async_trait::async_trait]
impl Forward for NoPeers {
    async fn forward(&self, _: &Peer, _: Forwarded) -> Result<Result<Value, ActorError>, ActorError> {
        Err(ActorError::PeerSilent)
    }
}

/// The real way: HTTP to the peer's internal listener.
pub struct HttpForward {
    client: reqwest::Client,
    secret: String,
}

impl HttpForward {
    pub const PATH: &'static str = "/internal/v1/actors";

    pub fn new(client: reqwest::Client, secret: String) -> Self {
        Self { client, secret }
    }
}

#[async_trait::async_trait]
impl Forward for HttpForward {
    async fn forward(
        &self,
        peer: &Peer,
        message: Forwarded,
    ) -> Result<Result<Value, ActorError>, ActorError> {
        let sent = self
            .client
            .post(format!("{}{}", peer.internal_url, Self::PATH))
            .bearer_auth(&self.secret)
            .timeout(message.timeout)
            .json(&message)
            .send()
            .await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(e) if e.is_connect() => return Err(ActorError::PeerSilent),
            Err(_) => return Err(ActorError::OutcomeUnknown),
        };
        if !answer.status().is_success() {
            return Err(ActorError::PeerSilent);
        }
        let outcome: Result<Value, Problem> = answer.json().await.map_err(|_| ActorError::OutcomeUnknown)?;
        Ok(outcome.map_err(ActorError::from))
    }
}
