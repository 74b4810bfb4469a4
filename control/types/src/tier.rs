//! The three tiers. Their prices and limits are in `billing::price_table`.

use std::{fmt, str::FromStr};

/// Ordered from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    Prototype,
    Hobby,
    Team,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown tier")]
pub struct BadTier;

impl Tier {
    pub const ALL: [Self; 3] = [Self::Prototype, Self::Hobby, Self::Team];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prototype => "prototype",
            Self::Hobby => "hobby",
            Self::Team => "team",
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Tier {
    type Err = BadTier;
    fn from_str(text: &str) -> Result<Self, BadTier> {
        Self::ALL.into_iter().find(|t| t.as_str() == text).ok_or(BadTier)
    }
}
