//! One channel on one shard: who listens, and the messages not yet everywhere delivered.
//!
//! The ring holds *every* committed entry of the channel with `base < idx ≤ newest`, so a session whose position is at
//! least `base` can be served from it, and any other must read the log. Nothing else decides; in particular nothing is
//! taken from the ring because a session was visited, only because a whole lap delivered it: a session that got less than
//! there is, for want of room in one write, holds back what it lacks.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::cache::encode;
use super::encoder::{Encoder, Form};
use crate::hub::Channel;
use crate::log::{Entry, Pos};

/// A free place among the listeners, kept until the next lap so that a walk in progress skips nobody.
pub(super) const VACANT: u32 = u32::MAX;

#[derive(Debug)]
struct RingItem {
    entry: Arc<Entry>,
    /// Encoded on first need, once per wire form.
    forms: SmallVec<[(Form, Bytes); 1]>,
}

/// The bytes a session at `after` gets, kept because long runs of sessions stand at the same place.
#[derive(Debug, Clone)]
pub(super) struct Joined {
    after: u64,
    form: Form,
    pub(super) bytes: Bytes,
    pub(super) upto: Pos,
    /// Index of the first item in the ring and how many.
    pub(super) first: usize,
    pub(super) count: usize,
}

#[derive(Debug)]
pub(super) struct LocalChannel {
    pub(super) channel: Arc<Channel>,
    ring: VecDeque<RingItem>,
    /// Index of the newest entry that is here; `base` when there is none.
    pub(super) newest: u64,
    /// Everything up to here is in nobody's ring any more.
    pub(super) base: u64,
    /// Keys of listeners, or [`VACANT`].
    pub(super) listeners: Vec<u32>,
    pub(super) vacant: usize,
    /// The next listener to visit.
    pub(super) hand: usize,
    /// Visits until everyone has seen what is here now.
    pub(super) unvisited: usize,
    /// The newest index when the current lap began: a finished lap has delivered everything up to it.
    lap_newest: u64,
    /// How far the session came that got least in the current lap, of those whose write had no room for all.
    lap_least: u64,
    /// Whether it stands in the queue of channels to walk.
    pub(super) queued: bool,
    /// At most one for each wire form: where clients of several fronts stand side by side, each finds its own.
    joined: SmallVec<[Joined; 1]>,
}

impl LocalChannel {
    pub(super) fn new(channel: Arc<Channel>, base: u64) -> Self {
        Self {
            channel,
            ring: VecDeque::new(),
            newest: base,
            base,
            listeners: Vec::new(),
            vacant: 0,
            hand: 0,
            unvisited: 0,
            lap_newest: 0,
            lap_least: u64::MAX,
            queued: false,
            joined: SmallVec::new(),
        }
    }

    /// Takes a newly committed entry; everyone must be visited again.
    pub(super) fn push(&mut self, entry: Arc<Entry>) {
        debug_assert!(entry.pos.idx > self.newest, "entries of a channel come in index order");
        self.newest = entry.pos.idx;
        self.ring.push_back(RingItem { entry, forms: SmallVec::new() });
        self.unvisited = self.listeners.len();
    }

    /// A visited session got less than there is, only up to `upto`: everyone is visited once more, and nothing after that
    /// leaves the ring with this lap.
    pub(super) fn visit_all_again(&mut self, upto: u64) {
        self.unvisited = self.listeners.len();
        self.lap_least = self.lap_least.min(upto);
    }

    /// Forgets everything up to `base`, because there may be holes or nobody needs it. Returns (entries, cost) freed.
    pub(super) fn reset(&mut self, base: u64) -> (usize, usize) {
        self.joined.clear();
        self.base = base;
        self.newest = base;
        let freed = (self.ring.len(), self.ring.iter().map(|item| item.entry.cost() as usize).sum());
        self.ring.clear();
        freed
    }

    /// The entries after `after`. The caller has checked that `after ≥ base`.
    pub(super) fn after(&self, after: u64) -> impl Iterator<Item = &Arc<Entry>> {
        self.ring.range(self.first_after(after)..).map(|item| &item.entry)
    }

    fn first_after(&self, after: u64) -> usize {
        // Nearly always all or only the newest are wanted; else halve.
        match self.ring.front() {
            Some(front) if front.entry.pos.idx > after => 0,
            _ => self.ring.partition_point(|item| item.entry.pos.idx <= after),
        }
    }

    /// Everything after `after` in this form of the encoder's, about `bytes_max` at most but at least one message. `None` when
    /// there is nothing. The caller has checked that `after ≥ base`.
    pub(super) fn joined(&mut self, after: u64, (form, encoder): (Form, &dyn Encoder), bytes_max: usize) -> Option<&Joined> {
        let newest = self.newest;
        let fits =
            |known: &Joined| known.after == after && known.form == form && (known.upto.idx == newest || known.bytes.len() >= bytes_max);
        let known = self.joined.iter().position(|known| known.form == form);
        let at = match known {
            Some(at) if fits(&self.joined[at]) => at,
            Some(at) => {
                self.joined[at] = self.join(after, (form, encoder), bytes_max)?;
                at
            }
            None => {
                let joined = self.join(after, (form, encoder), bytes_max)?;
                self.joined.push(joined);
                self.joined.len() - 1
            }
        };
        self.joined.get(at)
    }

    fn join(&mut self, after: u64, (form, encoder): (Form, &dyn Encoder), bytes_max: usize) -> Option<Joined> {
        let first = self.first_after(after);
        let mut upto = self.ring.get(first)?.entry.pos;
        let (mut count, mut size) = (0, 0);
        for item in self.ring.range_mut(first..) {
            size += item.form(form, encoder).len();
            upto = item.entry.pos;
            count += 1;
            if size >= bytes_max {
                break;
            }
        }
        let mut encoded = self.ring.range_mut(first..first + count).map(|item| item.form(form, encoder));
        let bytes = if count == 1 {
            encoded.next()?.clone()
        } else {
            // Of its very size: a session whose socket is full keeps the end of it, and with it all of it.
            let mut bytes = Vec::with_capacity(size);
            encoded.for_each(|message| bytes.extend_from_slice(message));
            bytes.into()
        };
        Some(Joined { after, form, bytes, upto, first, count })
    }

    /// One message of the ring in the encoder's form, by its index in the line.
    pub(super) fn encoded(&mut self, idx: u64, encoder: &dyn Encoder) -> Option<&Bytes> {
        let at = self.first_after(idx.checked_sub(1)?);
        let item = self.ring.get_mut(at).filter(|item| item.entry.pos.idx == idx)?;
        Some(item.form(encoder.form(), encoder))
    }

    /// The entries of a joined run.
    pub(super) fn run(&self, first: usize, count: usize) -> impl Iterator<Item = &Entry> {
        self.ring.range(first.min(self.ring.len())..(first + count).min(self.ring.len())).map(|item| &*item.entry)
    }

    /// The hand came round. What was here when it last did has reached everyone who could take it. Returns (entries,
    /// cost) freed.
    pub(super) fn finish_lap(&mut self) -> (usize, usize) {
        self.hand = 0;
        let delivered = self.lap_newest.min(std::mem::replace(&mut self.lap_least, u64::MAX));
        self.lap_newest = self.newest;
        self.trim(delivered)
    }

    /// Everyone who could take it has everything: nothing needs to stay.
    pub(super) fn finish_walk(&mut self) -> (usize, usize) {
        // Between walks the listeners may be closed up at any time, so the hand must not stand in the middle of them.
        self.hand = 0;
        // Whoever got less than all once was visited again since.
        self.lap_least = u64::MAX;
        self.lap_newest = self.newest;
        self.trim(self.lap_newest)
    }

    fn trim(&mut self, upto: u64) -> (usize, usize) {
        let mut freed = (0, 0);
        while let Some(item) = self.ring.front()
            && item.entry.pos.idx <= upto
        {
            self.base = item.entry.pos.idx;
            freed.0 += 1;
            freed.1 += item.entry.cost() as usize;
            self.ring.pop_front();
            self.joined.clear();
        }
        freed
    }
}

impl RingItem {
    fn form(&mut self, form: Form, encoder: &dyn Encoder) -> &Bytes {
        let at = self.forms.iter().position(|(known, _)| *known == form).unwrap_or_else(|| {
            self.forms.push((form, encode(encoder, &self.entry)));
            self.forms.len() - 1
        });
        &self.forms[at].1
    }
}

#[cfg(test)]
mod tests;
