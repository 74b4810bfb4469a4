//! Stripe as the world has it: a node's way there, and what waits to be delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use billing::stripe::wire::{Question, Wire};
use billing::stripe::{CardError, Cards, CardsConfig};
use serde_json::Value;
use stripe_fake::StripeModel;
use types::kill_points::awaited;

const WEBHOOK_SECRET: &str = "whsec_sim";
/// How often the reconciler asks.
pub(crate) const RECONCILE_SECS: u64 = 60;

/// The Stripe of a world.
pub(crate) struct Stripe {
    pub model: Arc<StripeModel>,
    /// Events that no delivery of was taken yet.
    pub waiting: Vec<String>,
    /// All others. They may be delivered again.
    pub gone: Vec<String>,
}

/// A node's way there: dark once the node is dead, and each answer is a place to die at.
struct NodeStripe {
    model: Arc<StripeModel>,
    alive: Arc<AtomicBool>,
}

impl Stripe {
    pub fn new(world: (Arc<dyn types::Clock>, Arc<dyn types::Entropy>)) -> Self {
        let model = Arc::new(StripeModel::new(world.0, world.1, WEBHOOK_SECRET));
        Self { model, waiting: Vec::new(), gone: Vec::new() }
    }

    /// What something made Stripe say waits to be delivered. Whether it said anything.
    pub fn says(&mut self, event: Option<String>) -> bool {
        let said = event.is_some();
        self.waiting.extend(event);
        said
    }

    /// The account as a node is configured for it.
    pub fn cards(&self, alive: Arc<AtomicBool>) -> Cards {
        let config = CardsConfig {
            secret_key: "sk_test_sim".into(),
            webhook_secrets: vec![WEBHOOK_SECRET.into()],
            account: None,
            api_base: None,
            reconcile_secs: RECONCILE_SECS,
            platform: "sim".to_owned(),
        };
        Cards::over(Arc::new(NodeStripe { model: self.model.clone(), alive }), config)
    }
}

impl std::fmt::Debug for NodeStripe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NodeStripe")
    }
}

#[async_trait]
impl Wire for NodeStripe {
    async fn ask(&self, question: &Question) -> Result<Value, CardError> {
        if !self.alive.load(Ordering::SeqCst) {
            return Err(CardError::Unknown("the node is dead".to_owned()));
        }
        let answer = self.model.ask(&question.path, question.pairs(), question.key.as_deref());
        awaited("stripe.answer");
        match answer {
            None => Err(CardError::Unknown("lost".to_owned())),
            Some((200, body)) => Ok(body),
            Some((status, body)) => {
                Err(CardError::of_status(status, body["error"]["message"].as_str().unwrap_or_default()))
            }
        }
    }
}
