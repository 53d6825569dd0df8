//! What would go with this node.

use super::Hub;
use crate::cluster::core::Replica;
use crate::log::SlotLog;

impl Hub {
    /// Whether this node has slots that it must hand over, or copies that nobody took over yet.
    #[must_use]
    pub fn holds_slots(&self) -> bool {
        let mut holds = false;
        self.each_held(|_, _| holds = true);
        holds
    }

    /// Whether there are messages in them, or are about to be.
    #[must_use]
    pub fn holds_messages(&self) -> bool {
        let mut holds = false;
        self.each_held(|replica, log| {
            holds |= log.stats().entries > 0 || log.commit().idx < log.head().idx || replica.orphans().next().is_some();
        });
        holds
    }

    /// Messages that no other node has acknowledged.
    #[must_use]
    pub fn held_alone(&self) -> usize {
        let mut count = 0;
        self.each_held(|replica, log| {
            count += replica.alone_after().map_or(0, |idx| log.beyond(idx).len()) + replica.orphans().count();
        });
        count
    }

    fn each_held(&self, mut see: impl FnMut(&Replica, &SlotLog)) {
        self.tell_all(|state, _| {
            if let Some(part) = state.part.as_ref().filter(|part| part.replica.holds()) {
                see(&part.replica, &state.log);
            }
        });
    }
}
