//! Where names and times come from.

use std::sync::Arc;

use serde_json::{Value, json};
use types::{Clock, Entropy};

#[derive(Clone)]
pub(crate) struct Source {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl Source {
    /// A name such as Stripe gives, with a prefix.
    pub fn name(&self, prefix: &str) -> String {
        format!("{prefix}_fake_{}", hex::encode(&self.entropy.secret()[..12]))
    }

    /// In seconds.
    pub fn now(&self) -> i64 {
        self.clock.now().timestamp()
    }

    /// The envelope of an event.
    pub fn event(&self, kind: &str, object: Value) -> Value {
        json!({
            "id": self.name("evt"), "object": "event", "api_version": "2026-01-28.clover", "livemode": false,
            "created": self.now(), "type": kind, "data": { "object": object },
            "pending_webhooks": 1, "request": { "id": null, "idempotency_key": null },
        })
    }
}
