//! Durations and what is said of them.

use std::time::{Duration, Instant};

/// How long each of many things took.
#[derive(Debug, Clone, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn add(&mut self, took: Duration) {
        self.0.push(took);
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The nearest rank; `share` is 0 to 1.
    pub fn at(&mut self, share: f64) -> Duration {
        self.0.sort_unstable();
        let last = self.0.len().saturating_sub(1);
        let rank = (share * last as f64).round() as usize;
        self.0.get(rank).copied().unwrap_or_default()
    }

    /// `p50 / p99` for the table.
    pub fn text(&mut self) -> String {
        let (middle, tail) = (self.at(0.5), self.at(0.99));
        format!("{middle:.1?} / {tail:.1?}")
    }
}

pub fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

/// What the kernel gave this thread of a core so far: other work on the machine does not count.
pub fn core_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    nanos.map_or_else(Duration::default, Duration::from_nanos)
}

/// Runs the contestants in turns of about `turn`, `turns` times each, and answers for each the best rate per
/// second of one core's time: what disturbs a turn can only slow it. Turns are short so that whatever else
/// the machine does touches all of them alike. Each contestant is told how often it was called before.
pub fn alternate<const N: usize>(
    turn: Duration,
    turns: usize,
    mut contestants: [&mut dyn FnMut(usize); N],
) -> [f64; N] {
    let mut rates = [0.0_f64; N];
    let mut calls = [0; N];
    for _ in 0..turns {
        for (place, contestant) in contestants.iter_mut().enumerate() {
            let (started, before, cpu) = (Instant::now(), calls[place], core_time());
            while started.elapsed() < turn {
                contestant(calls[place]);
                calls[place] += 1;
            }
            let rate = per_second(calls[place] - before, core_time() - cpu);
            rates[place] = rates[place].max(rate);
        }
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let mut latencies = Latencies::default();
        (1..=101).rev().for_each(|n| latencies.add(Duration::from_millis(n)));
        assert_eq!(
            (latencies.at(0.5), latencies.at(0.99)),
            (Duration::from_millis(51), Duration::from_millis(100))
        );
        assert_eq!(Latencies::default().at(0.99), Duration::ZERO);
    }
}
