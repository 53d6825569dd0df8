//! What lies between two processes: a connection that keeps the order, delays, blocks and breaks.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tidings::cluster::core::{Beat, Frame};
use tidings::log::{Entry, Record, Slot};
use tidings::presence;

/// Frames that wait on one connection before senders are told to hold back, and below which there is room again.
pub(crate) const FULL: usize = 24;
pub(crate) const ROOM: usize = 6;

/// One direction of the connections between two nodes. Each queue tells when what is in it arrives.
#[derive(Default)]
pub(crate) struct Pipe {
    /// When each was sent, too.
    pub(crate) beats: VecDeque<(u64, u64, Beat)>,
    pub(crate) frames: VecDeque<(u64, Slot, Frame)>,
    pub(crate) presence: VecDeque<(u64, presence::Frame)>,
    /// How long one frame takes, in ms, and when there is room for the next one.
    pub(crate) pace: u64,
    pub(crate) free_at: u64,
    /// Whose senders were told to hold back.
    pub(crate) behind: BTreeSet<Slot>,
    /// Nothing arrives, nothing is refused: a black hole.
    pub(crate) is_blocked: bool,
    pub(crate) blocked_since: u64,
}

impl Pipe {
    /// What is under way is lost.
    pub(crate) fn reset(&mut self) {
        self.beats.clear();
        self.frames.clear();
        self.presence.clear();
        self.behind.clear();
    }
}

/// Times in a frame belong to the sender's clock: each entry is made anew with the receiver's.
pub(crate) fn shift(frame: Frame, from: Duration, to: Duration) -> Frame {
    let entry = |entry: Arc<Entry>| {
        let mut entry = Arc::unwrap_or_clone(entry);
        let age = from.saturating_sub(entry.accepted.mono);
        let life = entry.expires.saturating_sub(entry.accepted.mono);
        entry.accepted.mono = to.saturating_sub(age);
        entry.expires = entry.accepted.mono + life;
        Arc::new(entry)
    };
    let record = |record| match record {
        Record::Message(message) => Record::Message(entry(message)),
        other => other,
    };
    match frame {
        Frame::Forward(mut forward) => {
            forward.since = to.saturating_sub(from.saturating_sub(forward.since));
            Frame::Forward(forward)
        }
        Frame::Stream(mut stream) => {
            stream.records = stream.records.into_iter().map(record).collect();
            Frame::Stream(stream)
        }
        Frame::Sync(mut sync) => {
            sync.tail = sync.tail.into_iter().map(record).collect();
            for state in &mut sync.channels {
                state.entries = std::mem::take(&mut state.entries).into_iter().map(entry).collect();
            }
            Frame::Sync(sync)
        }
        Frame::Offer(mut offer) => {
            offer.run = offer.run.into_iter().map(entry).collect();
            Frame::Offer(offer)
        }
        other => other,
    }
}
