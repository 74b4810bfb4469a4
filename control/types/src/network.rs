//! The chains we know, by their CAIP-2 names.

use std::{fmt, str::FromStr};

/// A chain that USDC payments may arrive on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    Base,
    BaseSepolia,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown network")]
pub struct BadNetwork;

impl Network {
    pub const ALL: [Self; 2] = [Self::Base, Self::BaseSepolia];

    /// EIP-155 chain id.
    pub fn chain_id(self) -> u64 {
        match self {
            Self::Base => 8453,
            Self::BaseSepolia => 84532,
        }
    }

    /// `eip155:<chain id>`, the spelling of x402 version 2 and of our tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Base => "eip155:8453",
            Self::BaseSepolia => "eip155:84532",
        }
    }

    /// The spelling of x402 version 1.
    pub fn v1_name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::BaseSepolia => "base-sepolia",
        }
    }

    /// Money of a test network never mixes with cash.
    pub fn is_test(self) -> bool {
        self == Self::BaseSepolia
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Network {
    type Err = BadNetwork;
    fn from_str(text: &str) -> Result<Self, BadNetwork> {
        Self::ALL.into_iter().find(|n| n.as_str() == text).ok_or(BadNetwork)
    }
}
