//! What every actor may use.

use std::sync::{Arc, OnceLock};

use store::cells::Cells;
use store::{MasterKey, Store};
use types::{Clock, Entropy, NodeId, ShiftedClock};

use crate::meter::Meter;
use crate::{Actors, Chains};

pub struct Deps {
    pub store: Store,
    pub node: NodeId,
    /// The platform's time: leases, plans and everything else that is ours ages by it.
    pub clock: Arc<dyn Clock>,
    /// The time that the world outside shares: signatures and transactions are judged by it. The same as
    /// `clock`, unless that was moved.
    pub wall: Arc<dyn Clock>,
    /// `clock` once more where it may be moved: in a lab.
    pub movable: Option<Arc<ShiftedClock>>,
    pub entropy: Arc<dyn Entropy>,
    pub master_key: MasterKey,
    pub chains: Chains,
    /// The Postgres servers that hold tenant databases.
    pub cells: Cells,
    /// The end users of all projects.
    pub users: users::Users,
    /// Mail is kept in the control database instead of sent: in a lab. Without it there is no mail.
    pub captures_mail: bool,
    pub blobs: Arc<dyn blobs::Blobs>,
    /// Builds and runs functions; none where functions do not run.
    pub functions: Option<Arc<crate::functions::FunctionHost>>,
    /// The Stripe account that cards pay to; none where cards are not taken.
    pub cards: Option<Arc<billing::stripe::Cards>>,
    /// Who makes images and reads texts; none unless the operator named a provider.
    pub ai: Option<AiDeps>,
    /// API calls on their way to the database.
    pub meter: Meter,
    /// Prices and limits; the quote is a function of it.
    pub prices: billing::PriceTable,
    /// Builds the public URLs of sites, such as `http://my-app.localhost:4020`.
    pub hosts: sites::Hosts,
    /// Asks about tenants' own domains; none where they are not taken.
    pub dns: Option<sites::Dns>,
    /// Where certificates come from; none where TLS is somebody else's.
    pub acme: Option<sites::Acme>,
    /// Set once all directories run; actors use it to call down the list.
    pub actors: OnceLock<Actors>,
}

/// The AI provider, and what the operator decided about it.
#[derive(Clone)]
pub struct AiDeps {
    pub provider: Arc<dyn ai::Provider>,
    /// Within it a call of the provider has ended.
    pub timeout: std::time::Duration,
    /// Words a month that the translation add-on includes for a project.
    pub translated_words: i64,
}

impl Deps {
    /// The other actors.
    ///
    /// # Panics
    /// Before `Actors::start` has returned, when no message can have been sent yet.
    pub fn actors(&self) -> &Actors {
        self.actors.get().expect("actors are started before the first message")
    }
}
