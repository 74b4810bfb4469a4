//! `[prices]`: which networks pay for what, what a tier or an image costs, and how often a project may ask.

use types::{Network, Tier, UsdMicros};

use super::reader::Section;

/// Above this a price is more likely a slip of units than a price.
const PRICE_MICROS_MAX: u64 = 100_000_000_000;
const REQUESTS_PER_SEC_MAX: u64 = 1_000_000;

#[derive(Debug, Default)]
pub struct PricesConfig {
    /// Tiers and images are payable on exactly these networks, in this order; the built-in table when absent.
    pub every_tier_on: Option<Vec<Network>>,
    /// Prices other than the built-in ones. Every node of an installation must have the same.
    pub tiers: Vec<(Tier, UsdMicros)>,
    /// An image's price, unless it is the built-in one.
    pub image: Option<UsdMicros>,
    /// Requests a second of one project on each node, unless it is the built-in number.
    pub project_requests_per_sec: Option<u32>,
}

impl PricesConfig {
    pub(super) fn read(section: Option<Section<'_>>) -> Option<Self> {
        let Some(mut s) = section else { return Some(Self::default()) };
        let every_tier_on =
            s.optional("every_tier_on", "a list such as [\"eip155:84532\"]: test money then buys everything");
        let tiers = [(Tier::Prototype, "prototype"), (Tier::Hobby, "hobby"), (Tier::Team, "team")];
        let tiers = tiers.map(|(tier, name)| match s.section_if_there(name) {
            Some(section) => read_price(section).map(|price| Some((tier, price))),
            None => Some(None),
        });
        let image = match s.section_if_there("image") {
            Some(section) => read_price(section).map(Some),
            None => Some(None),
        };
        let write = "1 to 1000000 requests a second";
        let rate = s.optional::<u64>("project_requests_per_sec", write);
        let usable = rate.flatten().is_none_or(|rate| (1..=REQUESTS_PER_SEC_MAX).contains(&rate));
        s.check(usable, "project_requests_per_sec", || write.to_owned());
        s.finish();
        let tiers = tiers.into_iter().collect::<Option<Vec<_>>>()?;
        let tiers = tiers.into_iter().flatten().collect();
        Some(Self {
            every_tier_on: every_tier_on?,
            tiers,
            image: image?,
            project_requests_per_sec: rate?.and_then(|rate| rate.try_into().ok()),
        })
    }
}

fn read_price(mut s: Section<'_>) -> Option<UsdMicros> {
    let write = "millionths of a dollar, 1 to 100000000000: $5 is 5000000";
    let price = s.required::<u64>("price_micros", write);
    let usable = price.is_none_or(|price| (1..=PRICE_MICROS_MAX).contains(&price));
    s.check(usable, "price_micros", || write.to_owned());
    s.finish();
    price?.try_into().ok().map(UsdMicros)
}
