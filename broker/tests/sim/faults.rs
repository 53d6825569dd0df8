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
    /// Histories are short in number or time, and channels are closed when they have been idle.
    pub(crate) short: bool,
    /// Nodes give up histories for want of memory.
    pub(crate) pressure: bool,
    /// Channels are emptied.
    pub(crate) clear: bool,
    /// Some publishers insist on two copies.
    pub(crate) insist: bool,
    /// Connections that carry less than they are given.
    pub(crate) narrow: bool,
    /// Clocks jump ahead.
    pub(crate) jump: bool,
    /// Bounds are small.
    pub(crate) tight: bool,
}

impl Faults {
    /// A random choice.
    pub(crate) fn choose(chance: &mut Chance) -> Self {
        let mut one = || chance.once_in(2);
        let some = Self {
            crash: one(),
            silent_crash: one(),
            cut: one(),
            one_way: one(),
            pause: one(),
            reset: one(),
            slow: one(),
            drain: one(),
            double: one(),
            insist: one(),
            narrow: one(),
            jump: one(),
            tight: one(),
            ..Self::none()
        };
        // What may have left a history is not missed, so that most runs keep everything.
        if !chance.once_in(3) {
            return some;
        }
        let mut one = || chance.once_in(2);
        Self { short: one(), pressure: one(), clear: one(), ..some }
    }

    /// Nothing happens by itself.
    pub(crate) fn none() -> Self {
        Self {
            crash: false,
            silent_crash: false,
            cut: false,
            one_way: false,
            pause: false,
            reset: false,
            slow: false,
            drain: false,
            double: false,
            short: false,
            pressure: false,
            clear: false,
            insist: false,
            narrow: false,
            jump: false,
            tight: false,
        }
    }

    /// Whether messages leave histories otherwise than with their holders.
    pub(crate) fn forgets(&self) -> bool {
        self.short || self.pressure || self.clear
    }

    /// Whether nodes may take each other for dead while both live.
    pub(crate) fn divides(&self) -> bool {
        self.cut || self.one_way || self.silent_crash || self.pause || self.reset || self.slow || self.narrow || self.jump
    }
}
