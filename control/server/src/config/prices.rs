//! `[prices]`: which networks pay for which tier.

use types::Network;

use super::reader::Section;

#[derive(Debug, Default)]
pub struct PricesConfig {
    /// Every tier is payable on exactly these networks, in this order; the built-in table when absent.
    pub every_tier_on: Option<Vec<Network>>,
}

impl PricesConfig {
    pub(super) fn read(section: Option<Section<'_>>) -> Option<Self> {
        let Some(mut s) = section else { return Some(Self::default()) };
        let every_tier_on =
            s.optional("every_tier_on", "a list such as [\"eip155:84532\"]: test money then buys everything");
        s.finish();
        Some(Self { every_tier_on: every_tier_on? })
    }
}
