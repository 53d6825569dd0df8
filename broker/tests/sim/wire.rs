//! What lies between two processes: a connection that keeps the order, delays, blocks and breaks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tidings::cluster::core::{Beat, Frame};
use tidings::log::{Entry, Record, Slot};

/// What travels.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    Beat(Beat),
    Frame(Slot, Frame),
}

/// One direction of a connection.
#[derive(Default)]
pub(crate) struct Pipe {
    pub(crate) queue: VecDeque<(u64, Parcel)>,
    /// Nothing arrives, nothing is refused: a black hole.
    pub(crate) is_blocked: bool,
    pub(crate) blocked_since: u64,
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
