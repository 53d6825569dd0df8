//! The other nodes as the hub sees them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::core::{Event, Frame};
use super::letter::Letter;
use super::link::Purpose;
use super::mesh::{Mesh, Posted};
use crate::clock::Clock;
use crate::hub::{LinkId, Peers, Sent};
use crate::log::{Slot, Tag};

/// What happened in slots, since the start.
#[derive(Debug, Default)]
pub(super) struct Happened {
    /// Epochs opened here.
    pub opened: AtomicU64,
    /// Those of them before which something acknowledged may be lost.
    pub uncertain: AtomicU64,
    /// Epochs sealed here for another node.
    pub sealed: AtomicU64,
    /// Times a home went on without its follower.
    pub solo: AtomicU64,
    /// Copies that became complete.
    pub counted: AtomicU64,
    /// Messages of other branches taken over.
    pub adopted: AtomicU64,
    /// Messages of other branches that were lost.
    pub orphans_lost: AtomicU64,
    /// Frames that carried a message to another node.
    pub carried: AtomicU64,
}

/// Carries what slots say to their parts on other nodes.
#[derive(Debug)]
pub(super) struct Wires {
    pub(super) mesh: Mesh<Letter>,
    pub(super) clock: Clock,
    pub(super) happened: Happened,
}

/// Whether a frame holds messages, and is no word about them.
fn carries(frame: &Frame) -> bool {
    match frame {
        Frame::Forward(_) | Frame::Offer(_) => true,
        Frame::Stream(stream) => !stream.records.is_empty(),
        Frame::Sync(sync) => !sync.tail.is_empty() || sync.channels.iter().any(|state| !state.entries.is_empty()),
        _ => false,
    }
}

impl Peers for Wires {
    fn send(&self, to: Tag, over: LinkId, slot: Slot, frame: Frame) -> Sent {
        if carries(&frame) {
            self.happened.carried.fetch_add(1, Ordering::Relaxed);
        }
        match self.mesh.post(to, Purpose::Live, Some(over), Letter::Slot(slot, frame, self.clock)) {
            Posted::Queued => Sent::Queued,
            Posted::Behind => Sent::Behind,
            Posted::Closed => Sent::Lost,
        }
    }

    fn connected(&self) -> Vec<(Tag, LinkId)> {
        self.mesh.connected(Purpose::Live)
    }

    fn happened(&self, slot: Slot, event: &Event) {
        let count = |counter: &AtomicU64, by: usize| {
            counter.fetch_add(by as u64, Ordering::Relaxed);
        };
        match event {
            Event::Opened { epoch, is_uncertain, is_forced } => {
                count(&self.happened.opened, 1);
                count(&self.happened.uncertain, usize::from(*is_uncertain));
                if *is_uncertain || *is_forced {
                    tracing::warn!(%slot, ?epoch, is_uncertain, is_forced, "a slot was taken over without its last owner's word");
                } else {
                    tracing::debug!(%slot, ?epoch, "a slot is owned here now");
                }
            }
            Event::Sealed { successor } => {
                count(&self.happened.sealed, 1);
                tracing::debug!(%slot, successor = format!("{:x}", successor.get()), "a slot was handed over");
            }
            Event::Solo => count(&self.happened.solo, 1),
            Event::Counted { .. } => count(&self.happened.counted, 1),
            Event::Adopted { count: messages } => {
                count(&self.happened.adopted, *messages);
                tracing::info!(%slot, messages, "messages of another branch were taken over");
            }
            Event::OrphansLost { count: messages } => {
                count(&self.happened.orphans_lost, *messages);
                tracing::warn!(%slot, messages, "messages of another branch were lost before they could be taken over");
            }
        }
    }
}
