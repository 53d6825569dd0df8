//! A rate: so much a second on average, and two seconds' worth at once.

use std::time::Duration;

/// How much may come at once, in seconds of the rate.
const BURST_SECONDS: u64 = 2;
const NANOS: u128 = 1_000_000_000;

/// A bucket that fills at its rate and is emptied by what is done. It takes the time and starts nothing.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// A second; 0 for no bound.
    rate: u64,
    /// When it will be full again: what is missing until then is what was taken, so one number is all there is to keep.
    full_at: Duration,
}

impl Bucket {
    /// A full bucket for so much a second; 0 for no bound.
    #[must_use]
    pub fn new(rate: u64) -> Self {
        Self { rate, full_at: Duration::ZERO }
    }

    /// Takes so much at the time `now`.
    ///
    /// # Errors
    /// How long until there is enough. What is larger than the bucket itself passes when that is full.
    pub fn take(&mut self, amount: u64, now: Duration) -> Result<(), Duration> {
        self.look(amount, now)?;
        if self.rate > 0 {
            self.full_at = self.full_at.max(now).saturating_add(self.time_for(amount));
        }
        Ok(())
    }

    /// Whether so much could be taken now; nothing is.
    ///
    /// # Errors
    /// As [`Bucket::take`].
    pub fn look(&self, amount: u64, now: Duration) -> Result<(), Duration> {
        if self.rate == 0 {
            return Ok(());
        }
        let burst = Duration::from_secs(BURST_SECONDS);
        // With this taken, it may lack as much as it holds; or anything, when it is full.
        let lacking = self.full_at.saturating_sub(now) + self.time_for(amount).min(burst);
        if lacking > burst { Err(lacking - burst) } else { Ok(()) }
    }

    /// When nothing will be missing, unless more is taken.
    #[must_use]
    pub fn full_at(&self) -> Duration {
        self.full_at
    }

    /// How long it takes to fill by so much.
    fn time_for(&self, amount: u64) -> Duration {
        let nanos = u128::from(amount) * NANOS / u128::from(self.rate);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn two_seconds_worth_may_come_at_once_and_then_as_much_as_the_rate() {
        let mut bucket = Bucket::new(10);
        assert_eq!((0..100).filter(|_| bucket.take(1, at(5000)).is_ok()).count(), 20);
        assert_eq!(bucket.take(1, at(5000)), Err(at(100)), "and says when");
        assert_eq!(bucket.take(1, at(5099)), Err(at(1)));
        assert_eq!(bucket.take(1, at(5100)), Ok(()));
        assert_eq!(bucket.take(5, at(5200)), Err(at(400)));
        // Nothing is saved up past what it holds.
        assert_eq!((0..100).filter(|_| bucket.take(1, at(1_000_000)).is_ok()).count(), 20);
    }

    #[test]
    fn over_a_long_time_no_more_passes_than_the_rate() {
        let mut bucket = Bucket::new(7);
        let passed = (0..100_000).filter(|ms| bucket.take(1, at(*ms)).is_ok()).count();
        assert!((700..=714).contains(&passed), "{passed} in 100 s");
    }

    #[test]
    fn what_is_larger_than_the_bucket_passes_when_it_is_full_and_is_paid_for() {
        let mut bucket = Bucket::new(100);
        assert_eq!(bucket.take(1000, at(0)), Ok(()));
        assert_eq!(bucket.take(1, at(0)), Err(at(8010)));
        assert_eq!(bucket.take(1, at(8010)), Ok(()));
    }

    #[test]
    fn a_look_takes_nothing_and_says_what_taking_would() {
        let mut bucket = Bucket::new(10);
        assert!((0..1000).all(|_| bucket.look(20, at(0)).is_ok()));
        bucket.take(15, at(0)).unwrap();
        assert_eq!((bucket.look(5, at(0)), bucket.look(6, at(0)), bucket.take(6, at(0))), (Ok(()), Err(at(100)), Err(at(100))));
        bucket.take(5, at(0)).unwrap();
        assert_eq!(bucket.look(0, at(0)), Ok(()), "nothing always passes, but behind what was larger than the bucket");
        bucket.take(1000, at(10_000)).unwrap();
        assert_eq!(bucket.look(0, at(10_000)), Err(at(98_000)));
    }

    #[test]
    fn without_a_rate_everything_passes() {
        let mut bucket = Bucket::new(0);
        assert!((0..1000).all(|_| bucket.take(u64::MAX, at(0)).is_ok()));
        let mut tiny = Bucket::new(1);
        assert_eq!(tiny.take(u64::MAX, at(0)), Ok(()));
        assert!(tiny.take(1, at(1)).is_err());
    }
}
