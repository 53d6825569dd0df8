//! A channel's handle: what the process-wide map gives for a name.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::rules::Rules;
use crate::log::{ChannelKey, NamespaceId, Slot};
use crate::message::ChannelName;

/// Where a channel lives. Whoever holds one skips the map and the hash; a handle that died is looked up again.
#[derive(Debug)]
pub struct Channel {
    /// The name; entries of the channel carry clones of this very value.
    pub name: ChannelName,
    /// The slot that orders it.
    pub slot: Slot,
    /// The channel within its slot.
    pub key: ChannelKey,
    /// The namespace whose rules apply.
    pub namespace: NamespaceId,
    /// Whether messages are kept for those who come later; without history only a short tail is, for those who listen now.
    pub has_history: bool,
    /// Whether listeners that are behind get the newest message only.
    pub conflates: bool,
    /// Set under the slot's lock when the channel's state is given up.
    dead: AtomicBool,
    /// Nobody has published to it yet. Changed under the slot's lock.
    silent: AtomicBool,
    /// One bit per shard with listeners. Only a hint for publishers that wait for room; the truth is in the slot.
    interested: AtomicU64,
}

impl Channel {
    pub(super) fn new(name: ChannelName, slot: Slot, key: ChannelKey, namespace: NamespaceId, rules: &Rules) -> Self {
        Self {
            name,
            slot,
            key,
            namespace,
            has_history: rules.has_history,
            conflates: rules.conflates,
            dead: AtomicBool::new(false),
            silent: AtomicBool::new(true),
            interested: AtomicU64::new(0),
        }
    }

    /// Whether the state behind this handle was given up. Only under the slot's lock is the answer lasting.
    pub(super) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    pub(super) fn bury(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// Whether nobody has published to it yet.
    pub(super) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }

    /// Somebody publishes to it. Says whether that is the first time.
    pub(super) fn speak(&self) -> bool {
        self.is_silent() && self.silent.swap(false, Ordering::Relaxed)
    }

    /// The shards that listen, as bits.
    pub(super) fn interested(&self) -> u64 {
        self.interested.load(Ordering::Relaxed)
    }

    pub(super) fn set_interested(&self, shard: usize, listens: bool) {
        if listens {
            self.interested.fetch_or(1 << shard, Ordering::Relaxed);
        } else {
            self.interested.fetch_and(!(1 << shard), Ordering::Relaxed);
        }
    }
}
