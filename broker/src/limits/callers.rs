//! How much each caller does a second: a backend by its key, a user by its tokens, over all their connections.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use super::Bucket;

/// Callers remembered at once. More of them are forgotten first whose bucket is full, as it would be without them.
const CALLERS_MAX: usize = 100_000;

/// One rate for every caller.
#[derive(Debug)]
pub struct Callers {
    /// A second; 0 for no bound.
    rate: u32,
    buckets: Mutex<HashMap<Box<str>, Bucket, RandomState>>,
}

impl Callers {
    /// So much a second for each; 0 for no bound.
    #[must_use]
    pub fn new(rate: u32) -> Self {
        Self { rate, buckets: Mutex::default() }
    }

    /// What the rate is.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// One more of this caller.
    ///
    /// # Errors
    /// How long until it may.
    pub fn take(&self, caller: &str, now: Duration) -> Result<(), Duration> {
        if self.rate == 0 {
            return Ok(());
        }
        let mut buckets = self.buckets.lock();
        if let Some(bucket) = buckets.get_mut(caller) {
            return bucket.take(1, now);
        }
        if buckets.len() >= CALLERS_MAX {
            buckets.retain(|_, bucket| !bucket.is_full(now));
            if buckets.len() >= CALLERS_MAX {
                // More callers at once than can be told apart: nobody is punished for that.
                buckets.clear();
            }
        }
        buckets.entry(caller.into()).or_insert_with(|| Bucket::new(self.rate.into())).take(1, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_a_bucket_of_its_own_and_who_rests_is_forgotten() {
        let callers = Callers::new(1);
        let passed = |caller: &str, at: u64| (0..10).filter(|_| callers.take(caller, Duration::from_secs(at)).is_ok()).count();
        assert_eq!((passed("a", 0), passed("b", 0), passed("a", 1)), (2, 2, 1));
        for number in 0..CALLERS_MAX - 2 {
            assert!(callers.take(&number.to_string(), Duration::from_secs(1)).is_ok());
        }
        assert!(callers.take("one more", Duration::from_secs(9)).is_ok());
        assert_eq!(callers.buckets.lock().len(), 1);
        assert!((0..1000).all(|_| Callers::new(0).take("a", Duration::ZERO).is_ok()));
    }
}
