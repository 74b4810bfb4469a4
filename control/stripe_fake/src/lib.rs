//! A stateful stand-in for Stripe's wire: checkout sessions, payment intents, events, genuine signatures, and
//! faults on demand. The lab runs it so that card flows work offline; tests drive it by its methods.
//!
//! It keeps what matters of the real one: idempotency keys (same key, same answer; other parameters, an error),
//! events that outlive their deliveries, at-least-once webhooks, cumulative refunds, disputes with stages.

mod model;
mod pages;
mod source;
mod state;
mod webhooks;
mod wire;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use tokio::net::TcpListener;
use types::{Clock, OsEntropy, SystemClock};

use source::Source;
use state::State;

pub use model::{Paid, StripeModel};

/// How the fake is started.
#[derive(Debug, Clone)]
pub struct FakeConfig {
    pub listen: SocketAddr,
    /// The webhook endpoint's signing secret.
    pub webhook_secret: String,
    /// Where webhooks go; none until it is known.
    pub webhook_url: Option<String>,
}

/// What goes wrong with the next call of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This status, and nothing is done.
    Status(u16),
    /// It is done, and the connection breaks before the answer.
    LostAnswer,
    /// The connection breaks before anything is done.
    Reset,
}

/// A running fake. Ends when dropped.
pub struct StripeFake {
    shared: Arc<Shared>,
    address: SocketAddr,
    server: tokio::task::JoinHandle<()>,
}

pub(crate) struct Shared {
    state: Mutex<State>,
    http: reqwest::Client,
    secret: String,
    base: String,
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StripeFake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl StripeFake {
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(config: FakeConfig) -> std::io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let source = Source { clock: Arc::new(SystemClock), entropy: Arc::new(OsEntropy) };
        let shared = Arc::new(Shared {
            state: Mutex::new(State { webhook_url: config.webhook_url, ..State::new(source) }),
            http: reqwest::Client::builder().no_proxy().build().map_err(std::io::Error::other)?,
            secret: config.webhook_secret,
            base: format!("http://{address}"),
        });
        let router = wire::routes().merge(pages::routes()).with_state(shared.clone());
        let server = tokio::spawn(async move {
            if let Err(e) = axum::serve(listener, router).await {
                tracing::error!(error = %e, "the stand-in for Stripe ended");
            }
        });
        Ok(Self { shared, address, server })
    }

    /// `http://127.0.0.1:<port>`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends webhooks there from now on.
    pub fn set_webhook_url(&self, url: &str) {
        self.shared.state().webhook_url = Some(url.to_owned());
    }

    /// The session of one of our quotes.
    pub fn session_of(&self, reference: &str) -> Option<String> {
        let state = self.shared.state();
        let mut found = state.sessions.values().filter(|s| s.reference == reference);
        found.next().map(|s| s.id.clone())
    }

    /// How many sessions, and how many payments that succeeded, there are.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.shared.state();
        let paid = state.intents.values().filter(|i| i.status == "succeeded").count();
        (state.sessions.len(), paid)
    }

    /// The customer pays at once.
    pub fn pay(&self, session: &str) {
        webhooks::send(&self.shared, |state| state.complete(session, "paid"));
    }

    /// The customer chooses a method whose money comes later.
    pub fn pay_later(&self, session: &str) {
        webhooks::send(&self.shared, |state| state.complete(session, "unpaid"));
    }

    /// The money that was to come later has come, or has not.
    pub fn settle(&self, session: &str, good: Settled) {
        webhooks::send(&self.shared, |state| state.settle(session, good));
    }

    /// Refunds cents of a session's payment.
    pub fn refund(&self, session: &str, cents: i64) {
        webhooks::send(&self.shared, |state| {
            let intent = state.intent_of(session)?;
            state.refund(&intent, cents)
        });
    }

    /// The cardholder disputes cents of a session's payment; the dispute's id.
    pub fn dispute(&self, session: &str, cents: i64) -> String {
        let id = self.shared.state().source.name("dp");
        webhooks::send(&self.shared, |state| {
            let intent = state.intent_of(session)?;
            state.dispute(&id, &intent, cents)
        });
        id
    }

    /// Moves a dispute on: `under_review`, `won`, `lost`.
    pub fn dispute_update(&self, dispute: &str, status: &str) {
        webhooks::send(&self.shared, |state| state.dispute_update(dispute, status));
    }

    /// Any event at all.
    pub fn emit(&self, event: Value) {
        webhooks::send(&self.shared, |state| state.emit(event));
    }

    /// Cards that were saved are declined from now on, or taken.
    pub fn decline_saved_cards(&self, decline: Declined) {
        self.shared.state().decline = decline == Declined::Yes;
    }

    /// The next calls of the API go wrong, one fault each.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.state().faults.extend(faults);
    }

    /// Keeps deliveries back. Events are listed all the same.
    pub fn hold(&self) {
        self.shared.state().held = Some(VecDeque::new());
    }

    /// Keeps deliveries back, and lists no events from now on: nobody hears of anything but from the test.
    pub fn go_silent(&self) {
        let mut state = self.shared.state();
        (state.held, state.unlisted) = (Some(VecDeque::new()), true);
    }

    /// The bodies that were kept back, oldest first; later ones are delivered again.
    pub fn take_held(&self) -> Vec<String> {
        self.shared.state().held.take().unwrap_or_default().into()
    }

    /// The `Stripe-Signature` header of a body, made now.
    pub fn sign(&self, body: &str) -> String {
        webhooks::sign(&self.shared.secret, SystemClock.now().timestamp(), body)
    }

    /// The same made at another time.
    pub fn sign_at(&self, at_secs: i64, body: &str) -> String {
        webhooks::sign(&self.shared.secret, at_secs, body)
    }
}

/// How money that comes later ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Paid,
    Failed,
}

/// Whether saved cards are declined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declined {
    Yes,
    No,
}
