//! Which faults a run may have: each run leaves some out, so that rare ones get room.

use super::chance::Chance;

/// What may happen in a run.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    pub(crate) crash: bool,
    /// A crashed host says nothing; a crashed process refuses.
    pub(crate) silent_crash: bool,
    pub(crate) cut: bool,
    pub(crate) one_way: bool,
    pub(crate) pause: bool,
    pub(crate) reset: bool,
    pub(crate) slow: bool,
    pub(crate) drain: bool,
    /// Also crashes while another node is away: then everything may be lost.
    pub(crate) double: bool,
}

impl Faults {
    /// A random choice.
    pub(crate) fn choose(chance: &mut Chance) -> Self {
        let mut one = || chance.once_in(2);
        Self {
            crash: one(),
            silent_crash: one(),
            cut: one(),
            one_way: one(),
            pause: one(),
            reset: one(),
            slow: one(),
            drain: one(),
            double: one(),
        }
    }
}
