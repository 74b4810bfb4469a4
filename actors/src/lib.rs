//! Supervised, fenced owners. Postgres is the truth; an actor is a cache with a queue in front.
//!
//! Calls go down this list, hints go anywhere: deploy -> project; payment -> lease, wallet. The chain watcher
//! and the outbox relay only hint. See [`kit`] for what all kinds share.

mod account_mail;
mod card_balance;
pub mod cards;
pub mod certificates;
pub mod chain_watcher;
mod chains;
pub mod deploy;
mod deps;
pub mod domains;
pub mod functions;
pub mod images;
pub mod kit;
pub mod lease;
mod mail;
pub mod meter;
pub mod outbox_relay;
pub mod payment;
pub mod project;
pub mod recharges;
mod root;
pub mod schedule;
#[cfg(test)]
mod testing;
pub mod wallet;

pub use chains::{ChainDeps, Chains};
pub use deps::{AiDeps, Deps};
pub use root::{Actors, Started};
