//! The rules that hold after every step, checked on what changed since the step before.
//!
//! It keeps its own account of the books: balances follow from the transfers that it read, never from the columns.

mod books;
mod rows;
mod rules;

use chain::scan::Sighting as Shown;
use store::Store;
use store::simulation::{Mark, changes};

use self::books::Books;
use self::rows::Changes;
use crate::Fault;
use crate::memory::Memory;

/// How much of everything there is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    pub transfers: usize,
    pub purchases: usize,
    pub credited: usize,
    pub reversed: usize,
}

#[derive(Default)]
pub(crate) struct Oracle {
    mark: Mark,
    books: Books,
}

impl Oracle {
    /// Reads what changed and checks it.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub async fn look(&mut self, store: &Store, memory: &Memory) -> Result<(), Fault> {
        let read = changes(store, &mut self.mark).await?;
        let read: Changes =
            serde_json::from_value(read).map_err(|e| Fault::of("the books cannot be read", &e))?;
        let credited = self.books.take(read)?;
        rules::check(&self.books, &credited, memory)
    }

    /// Payments that have not ended, in words.
    pub fn open(&self) -> Vec<String> {
        let open = self.books.payments.values().filter(|payment| payment.open());
        open.map(|payment| format!("a payment of {} is {}", payment.amount_micros, payment.state)).collect()
    }

    /// Compares the books with all money that the chain shows.
    ///
    /// # Errors
    /// The first difference.
    pub fn against(&self, shown: &[Shown]) -> Result<(), Fault> {
        rules::against(&self.books, shown)
    }

    /// A fact on record from one of these sources, by chance.
    pub fn some_fact(&self, sources: &[&'static str], chance: u64) -> Option<(&'static str, String)> {
        let named = |source: &str| sources.iter().copied().find(|s| *s == source);
        let transfers = self.books.transfers.values();
        let facts: Vec<_> = transfers.filter_map(|t| Some((named(&t.source)?, &t.source_id))).collect();
        let at = usize::try_from(chance % facts.len().max(1) as u64).ok()?;
        facts.get(at).map(|(source, id)| (*source, (*id).clone()))
    }

    /// The state of the books without a name in it.
    pub fn summary(&self) -> String {
        self.books.summary()
    }

    pub fn counts(&self) -> Counts {
        Counts {
            transfers: self.books.transfers.len(),
            purchases: self.books.purchases.values().filter(|bought| bought.action != "revoke").count(),
            credited: self.books.payments.values().filter(|payment| payment.credited()).count(),
            reversed: self.books.purchases.values().filter(|bought| bought.action == "revoke").count(),
        }
    }
}
