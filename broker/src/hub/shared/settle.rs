//! A reader waits a moment for what this node holds already.

use std::time::Duration;

use super::Hub;
use crate::log::Slot;

/// How often, and how many times, a reader looks whether what is held is committed.
const SETTLE_LOOK: Duration = Duration::from_millis(2);
const SETTLE_LOOKS: usize = 50;

impl Hub {
    /// Waits a moment until what this node holds of a slot is committed here too: a copy hears of a commit a little after the
    /// publisher, who may ask here next.
    pub async fn settle(&self, slot: Slot) {
        if !self.is_shared() {
            return;
        }
        let head = self.with_slot(slot, |state| state.log.head().idx);
        for _ in 0..SETTLE_LOOKS {
            if self.commit(slot).idx >= head {
                return;
            }
            tokio::time::sleep(SETTLE_LOOK).await;
        }
    }
}
