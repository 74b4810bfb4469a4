//! What every actor may use.

use std::sync::{Arc, OnceLock};

use store::cells::Cells;
use store::{MasterKey, Store};
use types::{Clock, Entropy, NodeId};

use crate::{Actors, Chains};

pub struct Deps {
    pub store: Store,
    pub node: NodeId,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub master_key: MasterKey,
    pub chains: Chains,
    /// The Postgres servers that hold tenant databases.
    pub cells: Cells,
    pub blobs: Arc<dyn blobs::Blobs>,
    /// The Stripe account that cards pay to; none where cards are not taken.
    pub cards: Option<Arc<billing::stripe::Cards>>,
    /// Prices and limits; the quote is a function of it.
    pub prices: billing::PriceTable,
    /// Builds the public URLs of sites, such as `http://my-app.localhost:4020`.
    pub hosts: sites::Hosts,
    /// Set once all directories run; actors use it to call down the list.
    pub actors: OnceLock<Actors>,
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
