//! Tokens are looked at once, and once more where the issuer's keys may have come meanwhile.

use super::Gate;
use crate::limits;

/// Which look it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// At what just came.
    First,
    /// At what was refused for a key that was not known, after the set was fetched.
    Again,
}

impl Gate {
    /// Asks for the key set and waits for it, for a moment. `true` when it came: [`Look::Again`]. If not, the refusal stands, and is charged to
    /// where the token came from.
    pub async fn learn_keys(&self, from: Option<limits::Caller<'_>>) -> bool {
        if self.0.book.load().set_url().is_none() {
            return false;
        }
        let came = self.0.sets.learn(self.0.clock.mono()).await;
        if !came {
            self.charge_failure(from);
        }
        came
    }
}
