//! The one token we take, per network. The address is pinned: another token of the same name is another
//! token (A37).

use types::{Network, Wallet};

use crate::evm;

/// USDC on one network, with the name and version of its EIP-712 domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    pub address: Wallet,
    /// Differs between the networks: "USD Coin" on Base, "USDC" on Base Sepolia.
    pub name: &'static str,
    pub version: &'static str,
}

/// # Source
/// Wire contract 01 section 3.2.
static BASE: Asset = Asset {
    address: Wallet(alloy::hex!("833589fCD6eDb6E08f4c7C32D4f71b54bdA02913")),
    name: "USD Coin",
    version: "2",
};
static BASE_SEPOLIA: Asset = Asset {
    address: Wallet(alloy::hex!("036CbD53842c5426634e7929541eC2318f3dCF7e")),
    name: "USDC",
    version: "2",
};

pub fn usdc(network: Network) -> &'static Asset {
    match network {
        Network::Base => &BASE,
        Network::BaseSepolia => &BASE_SEPOLIA,
    }
}

/// The EIP-55 spelling of an address, the one that offers carry.
pub fn checksummed(wallet: Wallet) -> String {
    evm::checksummed(wallet)
}
