//! Stripe's wire: what we ask it ([`Cards`]), whether a webhook is genuine ([`signature`]), and what an event
//! says ([`event`]). Decides nothing about money: amounts come from our own quotes.

pub mod api;
pub mod balance;
pub mod event;
pub mod quote;
pub mod signature;
pub mod wire;

pub use api::{CardError, Cards, CardsConfig, SavedCard, Session, SessionAsked};
