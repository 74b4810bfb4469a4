//! Prices, quotes, the double-entry ledger, leases; knows no block.
//!
//! Everything here is a pure function of plain values, so that a reviewer can check money by reading: what is
//! for sale ([`PriceTable`]), what a purchase does to a lease ([`lease`]), when it
//! lapses ([`lapse`]), and which transfers it makes
//! ([`legs`]).

pub mod card_legs;
pub mod image_legs;
pub mod lapse;
pub mod lease;
pub mod legs;
mod price_table;
pub mod stripe;

pub use price_table::{ImageOffer, Limits, Offer, PriceTable};
