//! What is for sale, at what price, on which networks, and what it allows.

use chrono::TimeDelta;
use types::{Network, Tier, UsdMicros};

const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;

/// What a tier allows. Pooled over all projects of an account unless it says otherwise.
///
/// # Source
/// Wire contract 01 section 5.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub storage_bytes: i64,
    /// Per lease.
    pub api_calls: i64,
    pub functions: i64,
    pub function_timeout_secs: i64,
    pub function_memory_mb: i64,
    pub secrets: i64,
    pub scheduled_functions: i64,
    pub schedule_interval_min_secs: i64,
    pub emails_per_day: i64,
    /// Unique recipients per lease.
    pub email_recipients: i64,
}

/// A tier as it is sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    pub tier: Tier,
    pub price: UsdMicros,
    pub lease_days: i64,
    /// Where it can be paid, in the order they are offered: clients without a known balance take the first.
    pub networks: Vec<Network>,
    pub limits: Limits,
}

impl Offer {
    /// How long one purchase lasts.
    pub fn term(&self) -> TimeDelta {
        TimeDelta::days(self.lease_days)
    }

    /// Test money buys this.
    pub fn takes_test_money(&self) -> bool {
        self.networks.iter().any(|network| network.is_test())
    }

    /// Cash buys this.
    pub fn takes_cash(&self) -> bool {
        self.networks.iter().any(|network| !network.is_test())
    }

    /// `Prototype tier, 7-day lease`
    pub fn long_description(&self) -> String {
        format!("{} tier, {}-day lease", capitalised(self.tier), self.lease_days)
    }

    /// `Prototype tier, 7 days`
    pub fn description(&self) -> String {
        format!("{} tier, {} days", capitalised(self.tier), self.lease_days)
    }
}

/// An image as it is sold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOffer {
    pub price: UsdMicros,
    /// Where it can be paid, in the order they are offered.
    pub networks: Vec<Network>,
}

impl ImageOffer {
    /// Test money buys this.
    pub fn takes_test_money(&self) -> bool {
        self.networks.iter().any(|network| network.is_test())
    }
}

/// Everything that is for sale. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceTable {
    offers: [Offer; 3],
    pub image: ImageOffer,
    /// Requests a second that one project may make.
    pub project_requests_per_sec: u32,
}

impl Default for PriceTable {
    /// Prototype and images on Base Sepolia then Base; hobby and team on Base.
    fn default() -> Self {
        use Network::{Base, BaseSepolia};
        Self {
            offers: [
                offer(Tier::Prototype, 100_000, 7, vec![BaseSepolia, Base]),
                offer(Tier::Hobby, 5_000_000, 30, vec![Base]),
                offer(Tier::Team, 20_000_000, 30, vec![Base]),
            ],
            image: ImageOffer { price: UsdMicros(30_000), networks: vec![BaseSepolia, Base] },
            project_requests_per_sec: 100,
        }
    }
}

impl PriceTable {
    /// The lab's: everything payable on Base Sepolia, and nowhere else.
    pub fn lab() -> Self {
        Self::default().on_networks(&[Network::BaseSepolia])
    }

    /// Everything payable on exactly these networks, in this order.
    pub fn on_networks(mut self, networks: &[Network]) -> Self {
        for offer in &mut self.offers {
            offer.networks = networks.to_vec();
        }
        self.image.networks = networks.to_vec();
        self
    }

    /// One tier at another price. What was offered before is still charged as it was signed.
    pub fn at_price(mut self, tier: Tier, price: UsdMicros) -> Self {
        for offer in self.offers.iter_mut().filter(|offer| offer.tier == tier) {
            offer.price = price;
        }
        self
    }

    /// Images at another price.
    pub fn images_at(mut self, price: UsdMicros) -> Self {
        self.image.price = price;
        self
    }

    /// Only networks that this server can take payments on; the order stays.
    pub fn only_networks(mut self, known: impl Fn(Network) -> bool) -> Self {
        for offer in &mut self.offers {
            offer.networks.retain(|network| known(*network));
        }
        self.image.networks.retain(|network| known(*network));
        self
    }

    pub fn offer(&self, tier: Tier) -> &Offer {
        match tier {
            Tier::Prototype => &self.offers[0],
            Tier::Hobby => &self.offers[1],
            Tier::Team => &self.offers[2],
        }
    }

    /// From least to most.
    pub fn offers(&self) -> &[Offer] {
        &self.offers
    }

    pub fn price(&self, tier: Tier) -> UsdMicros {
        self.offer(tier).price
    }

    pub fn limits(&self, tier: Tier) -> Limits {
        self.offer(tier).limits
    }

    /// No tier is sold for cash, so test credit is the only balance there is.
    pub fn test_money_only(&self) -> bool {
        self.offers.iter().all(|offer| offer.takes_test_money() && !offer.takes_cash())
    }
}

fn offer(tier: Tier, price_micros: i64, lease_days: i64, networks: Vec<Network>) -> Offer {
    Offer { tier, price: UsdMicros(price_micros), lease_days, networks, limits: limits(tier) }
}

fn limits(tier: Tier) -> Limits {
    match tier {
        Tier::Prototype => Limits {
            storage_bytes: 250 * MIB,
            api_calls: 500_000,
            functions: 15,
            function_timeout_secs: 10,
            function_memory_mb: 128,
            secrets: 10,
            scheduled_functions: 1,
            schedule_interval_min_secs: 15 * 60,
            emails_per_day: 10,
            email_recipients: 25,
        },
        Tier::Hobby => Limits {
            storage_bytes: GIB,
            api_calls: 5_000_000,
            functions: 25,
            function_timeout_secs: 30,
            function_memory_mb: 256,
            secrets: 50,
            scheduled_functions: 3,
            schedule_interval_min_secs: 5 * 60,
            emails_per_day: 50,
            email_recipients: 200,
        },
        Tier::Team => Limits {
            storage_bytes: 10 * GIB,
            api_calls: 50_000_000,
            functions: 100,
            function_timeout_secs: 60,
            function_memory_mb: 512,
            secrets: 200,
            scheduled_functions: 10,
            schedule_interval_min_secs: 60,
            emails_per_day: 500,
            email_recipients: 1000,
        },
    }
}

fn capitalised(tier: Tier) -> &'static str {
    match tier {
        Tier::Prototype => "Prototype",
        Tier::Hobby => "Hobby",
        Tier::Team => "Team",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_money_buys_only_the_prototype_unless_it_is_a_lab() {
        let table = PriceTable::default();
        assert_eq!(table.offer(Tier::Prototype).networks, [Network::BaseSepolia, Network::Base]);
        assert!(!table.offer(Tier::Hobby).takes_test_money() && !table.offer(Tier::Team).takes_test_money());
        assert!(!table.test_money_only());
        let dearer = table.clone().at_price(Tier::Hobby, UsdMicros(6_000_000));
        assert_eq!(dearer.price(Tier::Hobby), UsdMicros(6_000_000));
        assert_eq!(dearer.price(Tier::Team), table.price(Tier::Team));
        let lab = PriceTable::lab();
        assert!(lab.test_money_only());
        assert!(lab.offers().iter().all(|o| o.networks == [Network::BaseSepolia]));
    }

    #[test]
    fn more_money_never_buys_less() {
        let table = PriceTable::default();
        for pair in table.offers().windows(2) {
            let (less, more) = (&pair[0], &pair[1]);
            assert!(less.tier < more.tier && less.price < more.price && less.lease_days <= more.lease_days);
            let (a, b) = (less.limits, more.limits);
            assert!(
                a.storage_bytes < b.storage_bytes && a.api_calls < b.api_calls && a.functions < b.functions
            );
            assert!(a.schedule_interval_min_secs > b.schedule_interval_min_secs);
        }
        assert_eq!(table.limits(Tier::Prototype).storage_bytes, 262_144_000);
        assert_eq!(table.offer(Tier::Prototype).description(), "Prototype tier, 7 days");
    }
}
