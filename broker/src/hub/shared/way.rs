//! The way of a publish to the node that orders its channel: while it is full publishers wait, as they do for shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::{Hub, Shared};
use crate::cluster::core::frame::Ask;
use crate::error::{Error, ErrorCode, Result};
use crate::log::Slot;

/// Bytes of publishes that are not answered, in all slots together: more than are under way in a second even on a fast network, and as
/// many as may come meanwhile wait at their publishers.
pub const ASKED_BYTES_MAX: u64 = 64 << 20;
/// What a publish costs besides its payload.
const ASKED_FIXED_BYTES: u64 = 256;

/// What is on its way, and who waits for room.
#[derive(Debug, Default)]
pub(super) struct Way {
    bytes: AtomicU64,
    /// Told whenever there may be room where there was none.
    changed: Notify,
}

/// One publish on its way: it takes room until it is answered.
#[derive(Debug)]
pub(super) struct OnItsWay {
    way: Arc<Way>,
    bytes: u64,
}

impl Way {
    pub(super) fn enter(self: &Arc<Self>, ask: &Ask) -> OnItsWay {
        let payload = if let Ask::Publish(draft) = ask { draft.payload.bytes().len() as u64 } else { 0 };
        let bytes = payload + ASKED_FIXED_BYTES;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        OnItsWay { way: self.clone(), bytes }
    }

    /// There may be room now.
    pub(super) fn changed(&self) {
        self.changed.notify_waiters();
    }

    fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < ASKED_BYTES_MAX
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let before = self.way.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        if before >= ASKED_BYTES_MAX && before - self.bytes < ASKED_BYTES_MAX {
            self.way.changed();
        }
    }
}

impl Shared {
    /// Whether a publish to this slot may go on its way: not too much is, and the connection to the node that orders it is not full.
    fn has_way(&self, slot: Slot) -> bool {
        let home = self.view.read().place(slot).map(|place| place.home);
        self.way.has_room() && home.is_none_or(|home| home == self.me || !self.peers.is_full(home))
    }
}

impl Hub {
    /// Whether a publish to this slot may go on its way to the node that orders it. Always, on a node that is alone.
    #[must_use]
    pub fn has_way(&self, slot: Slot) -> bool {
        self.shared().is_none_or(|shared| shared.has_way(slot))
    }

    /// Waits until it may, at most `limit` long. Returns how long it took.
    ///
    /// # Errors
    /// `overloaded` when it might not in time.
    pub async fn way(&self, slot: Slot, limit: Duration) -> Result<Option<Duration>> {
        let Some(shared) = self.shared().filter(|shared| !shared.has_way(slot)) else { return Ok(None) };
        let began = self.clock.mono();
        let wait = async {
            loop {
                let changed = shared.way.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if shared.has_way(slot) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, wait).await.map_err(|_| {
            let why = format!("too much has waited for {limit:?} for the node that orders this channel (limits.publish_wait)");
            Error::new(ErrorCode::Overloaded, why)
        })?;
        Ok(Some(self.clock.mono() - began))
    }
}
