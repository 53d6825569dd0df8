//! How long who is sent away waits.

use std::time::Duration;

use crate::close::CloseReason;

/// Most that the holders of a token wait which expired: enough that those who got theirs together do not come together.
const FRESH_TOKEN: Duration = Duration::from_secs(1);

/// How long a client that is sent away for this reason should wait before it comes back; `hint` is what others wait.
pub fn retry_after(reason: CloseReason, hint: impl FnOnce() -> Duration) -> Duration {
    match reason {
        // Nothing is wrong with this node: whoever has a fresh token is welcome at once.
        CloseReason::TokenExpired => rand::random_range(Duration::ZERO..=FRESH_TOKEN),
        _ => hint(),
    }
}
