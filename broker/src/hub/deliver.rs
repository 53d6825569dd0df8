//! Handing a committed entry to everyone on this node who listens to its channel.

use std::sync::Arc;

use super::{Hub, SlotState};
use crate::log::{ChannelKey, Entry};

impl Hub {
    /// One push per interested shard, one raised signal per pull. Runs under the slot's lock, which is what makes the
    /// order of an inbox the order of the log. Returns the shards to tell, as bits.
    pub(super) fn deliver(&self, state: &mut SlotState, key: ChannelKey, entry: Arc<Entry>) -> u64 {
        let Some(Some(listeners)) = state.listeners.get_mut(key.number() as usize) else { return 0 };
        let mut told = 0;
        for listener in &mut listeners.shards {
            // After a miss nothing more is pushed: what a shard holds of a channel has no holes.
            if listener.missed {
                continue;
            }
            if entry.adopted.is_some() {
                // Some listeners may have seen it on the branch it comes from; the log tells them apart.
                self.inboxes[listener.shard].miss(listener.local);
                listener.missed = true;
                told |= 1 << listener.shard;
                continue;
            }
            listener.missed = !self.inboxes[listener.shard].push(listener.local, entry.clone());
            if listener.missed {
                self.metrics.shard(listener.shard).inbox_overflowed();
            }
            told |= 1 << listener.shard;
        }
        listeners.signals.raise();
        told
    }

    /// Sends every listener of a slot to the log: what was pushed before may be of a branch that the line has left. Returns the
    /// shards to tell, as bits.
    pub(super) fn send_to_the_log(&self, state: &mut SlotState) -> u64 {
        let mut told = 0;
        for listeners in state.listeners.iter_mut().flatten() {
            for listener in &mut listeners.shards {
                if !std::mem::replace(&mut listener.missed, true) {
                    self.inboxes[listener.shard].miss(listener.local);
                }
                told |= 1 << listener.shard;
            }
            listeners.signals.raise();
        }
        told
    }

    /// Wakes the shards whose bits are set. Outside the lock: waking is a system call when the shard sleeps.
    pub(super) fn tell(&self, mut shards: u64) {
        while shards != 0 {
            let shard = shards.trailing_zeros() as usize;
            shards &= shards - 1;
            self.inboxes[shard].tell();
        }
    }
}
