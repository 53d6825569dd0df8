//! A slot's line: which epoch wrote which stretch of it, and how a client's positions relate to it.
//!
//! A takeover ends one stretch and begins the next; the indices go on. Two nodes that were cut off from each other may
//! have written different stretches after a common one. Then a line takes over ("adopts") the entries of the other, as
//! copies that remember where they stood, and a client that saw them there must not get them twice. Everything here is a
//! pure rule about positions; a node alone has one stretch and needs hardly any of it.

use smallvec::{SmallVec, smallvec};

use super::cursor::{SLOT_POSITIONS_MAX, SlotCursor};
use super::entry::Adopted;
use super::pos::{Epoch, Pos};

/// Most stretches a line remembers; positions of older epochs are unknown to it.
pub const LINEAGE_MAX: usize = 32;

/// A stretch of the line: it reaches up to the next one's start, or to the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Who wrote it.
    pub epoch: Epoch,
    /// Index of its first record, which opens the epoch.
    pub start: u64,
}

/// The lineage of a slot's log and its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Ascending by epoch and start, never empty, at most [`LINEAGE_MAX`].
    segments: SmallVec<[Segment; 1]>,
    head: u64,
}

/// How a position relates to a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It lies on the line.
    On(u64),
    /// Its epoch was left at this index, before it: the rest is another branch.
    Past(u64),
    /// Its epoch is none of the line's.
    Off,
}

/// Whether a client gets an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has read past it; nothing changed.
    Behind,
    /// It saw the entry on another branch; its cursor moved on.
    Seen,
    /// It gets the entry; its cursor moved on.
    Deliver,
}

/// A verdict and its price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The verdict.
    pub verdict: Verdict,
    /// Extras that the cursor had no room for any more, each a possible duplicate: to be counted.
    pub dropped: usize,
}

impl Line {
    /// A new line: the record that opens its first epoch takes index 1.
    #[must_use]
    pub fn begin(epoch: Epoch) -> Self {
        Self { segments: smallvec![Segment { epoch, start: 1 }], head: 1 }
    }

    /// A line as it was told by another node; `None` when it could not have come about.
    #[must_use]
    pub fn told(segments: &[Segment], head: u64) -> Option<Self> {
        let (first, last) = (segments.first()?, segments.last()?);
        let ascends = segments.windows(2).all(|pair| pair[0].epoch < pair[1].epoch && pair[0].start < pair[1].start);
        let is_sound = ascends && first.start > 0 && last.start <= head && segments.len() <= LINEAGE_MAX;
        is_sound.then(|| Self { segments: segments.into(), head })
    }

    /// The part of the line up to an index.
    #[must_use]
    pub fn upto(&self, idx: u64) -> Self {
        let count = self.segments.partition_point(|segment| segment.start <= idx).max(1);
        let segments: SmallVec<[Segment; 1]> = self.segments[..count].into();
        Self { head: idx.clamp(segments[count - 1].start, self.head.max(1)), segments }
    }

    /// Moves the head forward, past records that are not held here.
    pub(super) fn skip_to(&mut self, idx: u64) {
        self.head = self.head.max(idx);
    }

    /// Opens the next epoch; its first record takes an index. Returns that position.
    pub fn open(&mut self, epoch: Epoch) -> Pos {
        debug_assert!(epoch > self.epoch(), "epochs only grow along a line");
        self.head += 1;
        if self.segments.len() == LINEAGE_MAX {
            self.segments.remove(0);
        }
        self.segments.push(Segment { epoch, start: self.head });
        self.head()
    }

    /// Takes the next index.
    pub(super) fn advance(&mut self) -> Pos {
        self.head += 1;
        self.head()
    }

    /// The epoch that is being written.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.segments[self.segments.len() - 1].epoch
    }

    /// The position of the last record.
    #[must_use]
    pub fn head(&self) -> Pos {
        Pos { epoch: self.epoch(), idx: self.head }
    }

    /// Its stretches, oldest first.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The position with this index: the same record under the epoch that wrote it, as far back as the lineage goes.
    #[must_use]
    pub fn pos(&self, idx: u64) -> Pos {
        let after = self.segments.partition_point(|segment| segment.start <= idx);
        Pos { epoch: self.segments[after.saturating_sub(1)].epoch, idx }
    }

    /// The last index of an epoch's stretch; `None` when the epoch is not part of the line.
    #[must_use]
    pub fn end(&self, epoch: Epoch) -> Option<u64> {
        let at = self.segments.iter().position(|segment| segment.epoch == epoch)?;
        Some(self.segments.get(at + 1).map_or(self.head, |next| next.start - 1))
    }

    /// The last positions of the stretches before an epoch's own, newest first; none when it is not part of the line.
    pub fn ends_before(&self, epoch: Epoch) -> impl Iterator<Item = Pos> {
        let at = self.segments.iter().position(|segment| segment.epoch == epoch).unwrap_or(0);
        self.segments[..=at].windows(2).rev().map(|pair| Pos { epoch: pair[0].epoch, idx: pair[1].start - 1 })
    }

    /// How a position relates to this line.
    #[must_use]
    pub fn place(&self, pos: Pos) -> Place {
        match self.end(pos.epoch) {
            Some(end) if pos.idx <= end => Place::On(pos.idx),
            Some(end) => Place::Past(end),
            None => Place::Off,
        }
    }

    /// The same knowledge seen from this line: main is the furthest index known to lie on it, extras are what it does
    /// not say. `None` when no position touches the line. Resolving again changes nothing.
    #[must_use]
    pub fn resolve(&self, cursor: &SlotCursor) -> Option<SlotCursor> {
        let on_line = |pos| match self.place(pos) {
            Place::On(idx) | Place::Past(idx) => Some(idx),
            Place::Off => None,
        };
        let main = self.pos(cursor.positions().filter_map(on_line).max()?);
        let mut extras: Vec<Pos> = Vec::new();
        for pos in cursor.positions() {
            let is_known = |known: &Pos| known.epoch == pos.epoch && known.idx >= pos.idx;
            if is_known(&main) || extras.iter().any(is_known) {
                continue;
            }
            // What a longer prefix of the same branch says already is not said twice.
            extras.retain(|known| known.epoch != pos.epoch);
            extras.push(pos);
        }
        extras.truncate(SLOT_POSITIONS_MAX - 1);
        Some(SlotCursor { slot: cursor.slot, main, extras })
    }

    /// Decides about the next entry of this line for a client with this (resolved) cursor, and moves the cursor past it.
    /// Entries come in the order of their indices.
    pub fn admit(&self, cursor: &mut SlotCursor, pos: Pos, adopted: Option<&Adopted>) -> Admission {
        if pos.idx <= cursor.main.idx {
            return Admission { verdict: Verdict::Behind, dropped: 0 };
        }
        // Nearly all entries were written where they stand, and nearly all clients have seen one branch only.
        if adopted.is_none() && cursor.extras.is_empty() {
            return Admission { verdict: Verdict::Deliver, dropped: self.move_to(cursor, pos) };
        }
        // It knows the position itself when this node has only now come to where the client was elsewhere.
        let is_known = knows(cursor, pos);
        let Some(adopted) = adopted else {
            let verdict = if is_known { Verdict::Seen } else { Verdict::Deliver };
            return Admission { verdict, dropped: self.move_to(cursor, pos) };
        };
        let origins = adopted.origins();
        let is_seen = is_known || origins.clone().any(|origin| knows(cursor, origin));
        let mut dropped = self.move_to(cursor, pos);
        for origin in origins {
            dropped += raise(cursor, 0, origin);
        }
        Admission { verdict: if is_seen { Verdict::Seen } else { Verdict::Deliver }, dropped }
    }

    /// Moves a cursor past a record that says: everything up to these positions of other branches is in this line now.
    /// Returns how many extras there was no room for.
    pub fn cover(&self, cursor: &mut SlotCursor, pos: Pos, ends: &[Pos]) -> usize {
        if pos.idx <= cursor.main.idx {
            return 0;
        }
        self.move_to(cursor, pos) + ends.iter().map(|end| raise(cursor, 0, *end)).sum::<usize>()
    }

    /// The last index up to which both lines hold the same records; 0 when they share none that both remember.
    #[must_use]
    pub fn common_prefix(&self, other: &Self) -> u64 {
        // An epoch is written by one process only, so what both have of the newest shared one is the same.
        let shared = self.segments.iter().rev().find_map(|segment| Some((self.end(segment.epoch)?, other.end(segment.epoch)?)));
        shared.map_or(0, |(mine, theirs)| mine.min(theirs))
    }

    /// Moves main; the ends of the stretches that are left behind stay as hints, for lines that go another way from there.
    fn move_to(&self, cursor: &mut SlotCursor, pos: Pos) -> usize {
        let mut dropped = 0;
        for pair in self.segments.windows(2) {
            if cursor.main.idx < pair[1].start && pair[1].start <= pos.idx {
                // Behind all branches and before older hints: what falls off is the oldest hint.
                let hints = cursor.extras.iter().position(|extra| matches!(self.place(*extra), Place::On(_)));
                let at = hints.unwrap_or(cursor.extras.len());
                dropped += raise(cursor, at, Pos { epoch: pair[0].epoch, idx: pair[1].start - 1 });
            }
        }
        cursor.main = pos;
        dropped
    }
}

/// Whether a branch was seen up to here.
pub(super) fn knows(cursor: &SlotCursor, origin: Pos) -> bool {
    cursor.extras.iter().any(|seen| seen.epoch == origin.epoch && seen.idx >= origin.idx)
}

/// Notes that a branch was seen up to here; a new one takes place `at` among the extras. Returns how many fell off.
pub(super) fn raise(cursor: &mut SlotCursor, at: usize, pos: Pos) -> usize {
    if let Some(known) = cursor.extras.iter_mut().find(|known| known.epoch == pos.epoch) {
        known.idx = known.idx.max(pos.idx);
        return 0;
    }
    cursor.extras.insert(at, pos);
    let dropped = cursor.extras.len().saturating_sub(SLOT_POSITIONS_MAX - 1);
    cursor.extras.truncate(SLOT_POSITIONS_MAX - 1);
    dropped
}

#[cfg(test)]
mod tests;
