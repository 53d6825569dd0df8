//! Counting without a price: plain loads and stores where one thread writes, atomic additions where several do.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// How many threads write the cells of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writers {
    /// Exactly one: adding is a load and a store, without a locked instruction.
    One,
    /// Any number: adding is one atomic read-modify-write.
    Many,
}

/// A count that anyone may read at any time.
#[derive(Debug, Default)]
pub(super) struct Cell(AtomicU64);

impl Cell {
    /// Adds `n`; wraps after 2⁶⁴, which a scraper sees as a restart.
    #[inline]
    pub(super) fn add(&self, writers: Writers, n: u64) {
        match writers {
            Writers::One => self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed),
            Writers::Many => {
                self.0.fetch_add(n, Relaxed);
            }
        }
    }

    /// Replaces the value: for gauges.
    #[inline]
    pub(super) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The value as some writer left it.
    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the buckets in microseconds, six a decade from 50 µs to 10 s: fine enough that a quantile read off
/// them is within a fifth of the truth.
pub(super) const BOUNDS_MICROS: [u64; 33] = [
    50, 70, 100, 150, 200, 300, 500, 700, 1_000, 1_500, 2_000, 3_000, 5_000, 7_000, 10_000, 15_000, 20_000, 30_000, 50_000, 70_000,
    100_000, 150_000, 200_000, 300_000, 500_000, 700_000, 1_000_000, 1_500_000, 2_000_000, 3_000_000, 5_000_000, 7_000_000, 10_000_000,
];

/// A histogram of durations with fixed buckets and no memory that grows: a library histogram would keep every sample
/// until the next scrape.
#[derive(Debug)]
pub(super) struct Durations {
    /// One per bound, and a last one for everything above.
    buckets: [Cell; BOUNDS_MICROS.len() + 1],
    sum_micros: Cell,
}

impl Default for Durations {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Cell::default()), sum_micros: Cell::default() }
    }
}

impl Durations {
    /// Counts `weight` observations of the same duration.
    #[inline]
    pub(super) fn observe(&self, writers: Writers, took: Duration, weight: u64) {
        let micros = took.as_micros() as u64;
        self.buckets[BOUNDS_MICROS.partition_point(|bound| *bound < micros)].add(writers, weight);
        self.sum_micros.add(writers, micros.wrapping_mul(weight));
    }
}

/// The sum of several histograms, as it is shown.
#[derive(Debug, Default, PartialEq)]
pub(super) struct DurationsSum {
    /// How many observations are at most as long as each bound, and last how many there are.
    pub(super) cumulative: Vec<u64>,
    /// All durations together.
    pub(super) sum: Duration,
}

impl DurationsSum {
    /// Adds up. The last count is made of the buckets, so that both always agree although writers do not stop.
    pub(super) fn of<'a>(parts: impl Iterator<Item = &'a Durations>) -> Self {
        let mut cumulative = vec![0_u64; BOUNDS_MICROS.len() + 1];
        let mut micros = 0_u64;
        for part in parts {
            for (total, bucket) in cumulative.iter_mut().zip(&part.buckets) {
                *total = total.wrapping_add(bucket.get());
            }
            micros = micros.wrapping_add(part.sum_micros.get());
        }
        let mut below = 0_u64;
        for total in &mut cumulative {
            below = below.wrapping_add(*total);
            *total = below;
        }
        Self { cumulative, sum: Duration::from_micros(micros) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_on_a_bound_belongs_to_that_bucket() {
        let durations = Durations::default();
        durations.observe(Writers::One, Duration::from_micros(50), 2);
        durations.observe(Writers::Many, Duration::from_micros(51), 3);
        durations.observe(Writers::One, Duration::from_secs(60), 1);
        let sum = DurationsSum::of([&durations].into_iter());
        assert_eq!(&sum.cumulative[..2], &[2, 5]);
        assert_eq!(&sum.cumulative[BOUNDS_MICROS.len() - 1..], &[5, 6]);
        assert_eq!(sum.sum, Duration::from_micros(2 * 50 + 3 * 51 + 60_000_000));
    }

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS_MICROS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn many_writers_lose_nothing() {
        let cell = Cell::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| cell.add(Writers::Many, 1)));
            }
        });
        assert_eq!(cell.get(), 4_000);
    }
}
