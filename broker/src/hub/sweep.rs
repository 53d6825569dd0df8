//! Letting go of what is too old: messages past their age, and channels nobody needs.

use super::Hub;
use crate::log::SLOTS;

impl Hub {
    /// Sweeps `count` slots from `first` on, wrapping. Each slot is locked once and briefly.
    pub fn sweep(&self, first: u16, count: u16) {
        for step in 0..count {
            let number = (first as usize + step as usize) % SLOTS as usize;
            self.sweep_slot(number);
            if number + 1 == usize::from(SLOTS) {
                self.census.end_round();
            }
        }
    }

    fn sweep_slot(&self, number: usize) {
        let mut evicted = Vec::new();
        let mut idle = Vec::new();
        {
            let mut place = self.slots[number].lock();
            let Some(state) = place.as_mut() else { return };
            let before = state.log.stats();
            state.log.expire(self.clock.now(), &mut evicted, &mut idle);
            for key in idle {
                if state.listeners(key).is_some_and(|listeners| !listeners.is_empty()) {
                    continue;
                }
                if state.part.as_ref().is_some_and(|part| !part.may_close(&state.log.channel(key).name)) {
                    continue;
                }
                self.close(state, key);
            }
            self.totals.book(&before, &state.log.stats());
            self.count_slot(state);
        }
        self.free(evicted);
    }
}
