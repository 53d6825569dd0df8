//! What would go with this node.

use super::Hub;
use crate::cluster::core::Replica;
use crate::log::SlotLog;

impl Hub {
    /// Whether this node has slots that it must hand over, or copies that nobody took over yet.
    #[must_use]
    pub fn holds_slots(&self) -> bool {
        self.any(|replica, _| replica.holds())
    }

    /// Whether there are messages in them.
    #[must_use]
    pub fn holds_messages(&self) -> bool {
        self.any(|replica, log| replica.holds() && (log.stats().entries > 0 || replica.orphans().next().is_some()))
    }

    fn any(&self, is_one: impl Fn(&Replica, &SlotLog) -> bool) -> bool {
        let mut any = false;
        self.tell_all(|state, _| any |= state.part.as_ref().is_some_and(|part| is_one(&part.replica, &state.log)));
        any
    }
}
