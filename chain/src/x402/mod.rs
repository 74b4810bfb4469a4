//! x402, versions 1 and 2, scheme `exact` over EIP-3009: what is offered, what is presented, and whether
//! they agree.
//!
//! [`Offer`] is ours; [`wire`] is how it and the answers to it travel; [`verify`] decides. Nothing here
//! moves money: a payment counts when [`crate::scan`] finds it on the chain.

pub mod facilitate;
pub mod identifier;
pub mod verify;
pub mod wire;

use types::{Network, UsdMicros, Wallet};

use crate::asset::{self, Asset};

/// The only scheme we take.
pub const SCHEME: &str = "exact";

/// One way to pay for one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    pub network: Network,
    pub amount: UsdMicros,
    pub pay_to: Wallet,
    /// Positive; 300 at most, or later clients refuse the offer.
    pub max_timeout_secs: u32,
}

impl Offer {
    pub fn asset(&self) -> &'static Asset {
        asset::usdc(self.network)
    }
}
