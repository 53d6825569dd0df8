//! Who listens to one channel on this node: shards, each with any number of sessions, and pulls outside the shards.

use smallvec::SmallVec;

use super::signal::Signals;

/// A shard that has sessions on the channel.
#[derive(Debug)]
pub(super) struct ShardListener {
    pub(super) shard: usize,
    /// The shard's own number for the channel.
    pub(super) local: u32,
    /// The inbox was full: nothing is pushed until the shard has read the log.
    pub(super) missed: bool,
}

/// The listeners of one channel, kept under its slot's lock.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    pub(super) shards: SmallVec<[ShardListener; 2]>,
    pub(super) signals: Signals,
}

impl Listeners {
    pub(super) fn is_empty(&self) -> bool {
        self.shards.is_empty() && self.signals.is_empty()
    }
}
