//! What Stripe tells us: checked, stored as it came, acknowledged. What it means is found out afterwards.

use billing::stripe::event::Event;
use billing::stripe::signature;
use store::stripe_events::{NewEvent, Via, event_store};
use types::{Code, Problem, kill_point};

use crate::Plane;
use crate::tiers::down;

impl Plane {
    /// Takes a delivery. Durable once this returns: a repeat of it counts, and does nothing else.
    ///
    /// # Errors
    /// `WEBHOOK_SIGNATURE_INVALID`, `BAD_REQUEST` for what is signed and no event, `STRIPE_NOT_CONFIGURED`;
    /// `UNAVAILABLE` when it could not be stored: Stripe delivers it again.
    pub async fn stripe_webhook(&self, header: Option<&str>, body: &[u8]) -> Result<(), Problem> {
        let cards = self.cards()?;
        // Stripe's time, which a lab's moved clock is not.
        let now = self.deps().wall.now();
        signature::verify(header.unwrap_or_default(), body, &cards.webhook_secrets, now.timestamp())
            .map_err(|e| Problem::new(Code::WebhookSignatureInvalid, e.to_string()))?;
        let event = Event::parse(body).map_err(|e| Problem::new(Code::BadRequest, e.to_string()))?;
        let stored = NewEvent {
            id: &event.id,
            kind: &event.kind,
            livemode: event.livemode,
            said_at: event.said_at,
            body,
        };
        event_store(&self.deps().store, &stored, Via::Webhook, now).await.map_err(down)?;
        kill_point!("card.event.stored");
        Ok(())
    }
}
