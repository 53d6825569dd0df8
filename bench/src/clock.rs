//! One time for all threads of a run.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

static ORIGIN: OnceLock<Instant> = OnceLock::new();

/// Microseconds since the program first asked.
pub(crate) fn micros() -> u64 {
    ORIGIN.get_or_init(Instant::now).elapsed().as_micros() as u64
}

/// Sleeps until then, if it is still to come.
pub(crate) fn sleep_until(micros_then: u64) {
    let left = micros_then.saturating_sub(micros());
    if left > 0 {
        std::thread::sleep(Duration::from_micros(left));
    }
}
