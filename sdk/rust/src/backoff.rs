//! When to try again.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);

/// Waits that double up to a bound, each shortened at random so that many clients of one broker do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    ceiling: Duration,
    longest: Duration,
}

impl Backoff {
    /// Between the tries of one call, whose patience is short.
    pub(crate) fn of_a_call() -> Self {
        Self { ceiling: FIRST, longest: Duration::from_secs(2) }
    }

    /// Between the tries of a subscription, which never gives up and must not knock at a broker that is away for hours.
    pub(crate) fn of_a_subscription() -> Self {
        Self { ceiling: FIRST, longest: Duration::from_secs(10) }
    }

    /// The next wait: between half of it and all of it.
    pub(crate) fn next(&mut self) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = (ceiling * 2).min(self.longest);
        ceiling.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Begins again with the shortest wait: something succeeded.
    pub(crate) fn reset(&mut self) {
        self.ceiling = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_stay_there() {
        for mut backoff in [Backoff::of_a_call(), Backoff::of_a_subscription()] {
            let longest = backoff.longest;
            let waits: Vec<_> = (0..16).map(|_| backoff.next()).collect();
            assert!(waits[0] <= FIRST && waits[0] >= FIRST / 2);
            assert!(waits[10..].iter().all(|wait| (longest / 2..=longest).contains(wait)), "{waits:?}");
            backoff.reset();
            assert!(backoff.next() <= FIRST);
        }
    }
}
