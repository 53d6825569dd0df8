//! Namespaces in figures. What they keep and who listens is counted by the sweep, which comes by every slot anyway, so the figures are
//! those of its last round. Namespaces are those of the configuration; beyond the first of them they share one row.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{Hub, SlotState};
use crate::log::NamespaceId;

/// Namespaces with a row of their own; all others share the last one.
const ROWS: usize = 64;
/// The name of that one.
const OTHERS: &str = "(others)";

/// What one namespace keeps on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Kept {
    channels: u64,
    listened: u64,
    messages: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Published {
    messages: AtomicU64,
    bytes: AtomicU64,
}

/// The counts of all namespaces.
#[derive(Debug)]
pub(super) struct Census {
    published: Box<[Published]>,
    /// Of the last round, and of the one under way.
    rounds: Mutex<[Vec<Kept>; 2]>,
}

/// One namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceSums {
    /// Its name.
    pub name: String,
    /// Messages that were published to it on this node and kept, since the start.
    pub published: u64,
    /// Their payloads' bytes.
    pub published_bytes: u64,
    /// Channels with state, as of the sweep's last round.
    pub channels: u64,
    /// Of these, those that somebody on this node listens to.
    pub listened: u64,
    /// Messages kept.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Default for Census {
    fn default() -> Self {
        let rows = || vec![Kept::default(); ROWS + 1];
        Self { published: (0..=ROWS).map(|_| Published::default()).collect(), rounds: Mutex::new([rows(), rows()]) }
    }
}

const fn row(namespace: NamespaceId) -> usize {
    let at = namespace.0 as usize;
    if at < ROWS { at } else { ROWS }
}

impl Census {
    /// A message was kept.
    #[inline]
    pub(super) fn published(&self, namespace: NamespaceId, bytes: u64) {
        let published = &self.published[row(namespace)];
        published.messages.fetch_add(1, Ordering::Relaxed);
        published.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The sweep has come by all slots.
    pub(super) fn end_round(&self) {
        let mut rounds = self.rounds.lock();
        rounds.swap(0, 1);
        rounds[1].fill(Kept::default());
    }
}

impl Hub {
    /// Counts the channels of one slot, which the sweep holds.
    pub(super) fn count_slot(&self, state: &SlotState) {
        let mut rounds = self.census.rounds.lock();
        for (key, namespace, messages, bytes) in state.log.kept() {
            let kept = &mut rounds[1][row(namespace)];
            kept.channels += 1;
            kept.listened += u64::from(state.listeners(key).is_some_and(|listeners| !listeners.is_empty()));
            kept.messages += messages;
            kept.bytes += bytes;
        }
    }

    /// Every namespace of the configuration, and what the others are together if there are any.
    #[must_use]
    pub fn namespace_sums(&self) -> Vec<NamespaceSums> {
        let mut named: Vec<(String, usize)> = self.rules().names().map(|(name, id)| (name.to_owned(), row(id))).collect();
        let has_others = named.iter().any(|(_, row)| *row == ROWS);
        named.retain(|(_, row)| *row < ROWS);
        named.extend(has_others.then(|| (OTHERS.to_owned(), ROWS)));
        let rounds = self.census.rounds.lock();
        let sums = named.into_iter().map(|(name, row)| {
            let (kept, published) = (rounds[0][row], &self.census.published[row]);
            NamespaceSums {
                name,
                published: published.messages.load(Ordering::Relaxed),
                published_bytes: published.bytes.load(Ordering::Relaxed),
                channels: kept.channels,
                listened: kept.listened,
                messages: kept.messages,
                bytes: kept.bytes,
            }
        });
        sums.collect()
    }
}
