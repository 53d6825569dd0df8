//! Time as the broker uses it: one monotonic count for deadlines and latency, one wall clock for people.
//!
//! Logic never asks for the time; it is handed a [`Moment`]. Shells take it from a [`Clock`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A point in time: both clocks read together.
///
/// Order, epochs and retention use `mono` only, so a jumping wall clock changes nothing but what people read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Time since the broker's clock was made; never goes back.
    pub mono: Duration,
    /// Milliseconds since 1970-01-01 UTC, for display only.
    pub unix_ms: u64,
}

/// Reads both clocks. Cheap to copy; all rooms of one node share the same origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose `mono` starts at zero now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Both clocks, now.
    #[must_use]
    pub fn now(&self) -> Moment {
        let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        Moment { mono: self.mono(), unix_ms }
    }

    /// The monotonic clock alone: half the price of [`Clock::now`].
    #[must_use]
    pub fn mono(&self) -> Duration {
        self.origin.elapsed()
    }
}
