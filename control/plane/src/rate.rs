//! How often somebody may ask: a token bucket per key, in memory, of this server alone.
//!
//! A bucket is one number: when it would be empty of debt. A bucket without debt is like none, so it is dropped,
//! and memory is bounded by those who ask right now.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Buckets of one kind for many keys.
pub(crate) struct Rates<K> {
    /// One request's share of a second.
    share: Duration,
    /// How much debt a key may have: a burst of so many shares.
    debt_max: Duration,
    keys_max: usize,
    buckets: Mutex<Buckets<K>>,
}

struct Buckets<K> {
    /// When each key's debt is paid off.
    paid_at: HashMap<K, Instant>,
    swept_at: Instant,
}

/// Sweeping looks at every bucket, so it is not done more often.
const SWEEP_EVERY: Duration = Duration::from_millis(500);

impl<K: Eq + Hash> Rates<K> {
    /// `per_sec` requests a second, and `burst` at once after a rest; at most `keys_max` keys in debt.
    pub fn new(per_sec: u32, burst: u32, keys_max: usize) -> Self {
        Self::every(Duration::from_secs(1) / per_sec.max(1), burst, keys_max)
    }

    /// One request in each `share` of time, and `burst` at once after a rest; at most `keys_max` keys in debt.
    pub fn every(share: Duration, burst: u32, keys_max: usize) -> Self {
        let buckets = Buckets { paid_at: HashMap::new(), swept_at: Instant::now() };
        Self { share, debt_max: share * burst.max(1), keys_max, buckets: Mutex::new(buckets) }
    }

    /// Lets one request pass.
    ///
    /// # Errors
    /// The whole seconds after which it may pass, at least one.
    pub fn admit(&self, key: K) -> Result<(), u64> {
        self.admit_at(key, Instant::now())
    }

    fn admit_at(&self, key: K, now: Instant) -> Result<(), u64> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = buckets.paid_at.len() >= self.keys_max && !buckets.paid_at.contains_key(&key);
        if is_full && now.saturating_duration_since(buckets.swept_at) >= SWEEP_EVERY {
            buckets.swept_at = now;
            buckets.paid_at.retain(|_, paid_at| *paid_at > now);
        }
        if is_full && buckets.paid_at.len() >= self.keys_max {
            return Err(1);
        }
        let paid_at = buckets.paid_at.get(&key).copied().unwrap_or(now).max(now) + self.share;
        let over = paid_at.saturating_duration_since(now).saturating_sub(self.debt_max);
        if !over.is_zero() {
            return Err(over.as_secs_f64().ceil().max(1.0) as u64);
        }
        buckets.paid_at.insert(key, paid_at);
        Ok(())
    }
}

/// Who asks, as far as an address tells: one host, or the network of 64 bits that an IPv6 customer has to himself.
/// None for this machine.
pub(crate) fn client_network(ip: &str) -> Option<IpAddr> {
    match ip.parse::<IpAddr>().ok()?.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V6(ip) => {
            let network = ip.to_bits() & !u128::from(u64::MAX);
            Some(std::net::Ipv6Addr::from_bits(network).into())
        }
        v4 => Some(v4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_the_rate_does_and_keys_do_not_share() {
        let rates = Rates::new(100, 100, 1_000);
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!((0..150).filter(|_| rates.admit_at("a", start).is_ok()).count(), 100);
        assert_eq!(rates.admit_at("a", start), Err(1));
        assert_eq!(rates.admit_at("b", start), Ok(()));
        // A second later 100 more, and no more than that.
        assert_eq!((0..150).filter(|_| rates.admit_at("a", at(1_000)).is_ok()).count(), 100);
        // Ten seconds at twice the rate: half of them pass.
        let asked = (0..2_000).filter(|n| rates.admit_at("c", at(5 * n)).is_ok()).count();
        assert!((1_099..=1_101).contains(&asked), "{asked}");
    }

    // I-like flood: keys without end cost no memory without end.
    #[test]
    fn memory_is_bounded_by_who_asks_right_now() {
        let rates = Rates::new(100, 100, 1_000);
        let start = Instant::now();
        for n in 0..100_000_u64 {
            let _ = rates.admit_at(n, start + Duration::from_millis(n / 10));
            assert!(rates.buckets.lock().unwrap().paid_at.len() <= 1_000);
        }
        assert_eq!(rates.admit_at(7, start + Duration::from_secs(60)), Ok(()), "later there is room again");
    }

    #[test]
    fn an_ipv6_customer_is_one_client_and_this_machine_none() {
        assert_eq!(client_network("2001:db8::1"), client_network("2001:db8::ffff:1"));
        assert_ne!(client_network("2001:db8:0:1::1"), client_network("2001:db8:0:2::1"));
        assert_eq!(client_network("::ffff:192.0.2.1"), client_network("192.0.2.1"));
        for local in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "unknown"] {
            assert_eq!(client_network(local), None, "{local}");
        }
    }
}
