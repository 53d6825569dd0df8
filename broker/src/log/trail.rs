//! What a message's own cursor says besides its position: from where its line came.
//!
//! A position alone means something only to nodes that have heard of its epoch. With the ends of what was there before, a
//! node that has not finds a place on its own line to go on from, and remembers the rest. What is said is true of everybody
//! who has read the line up to the message, whoever that is: so one text serves all.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::cursor::{CursorText, SlotCursor};
use super::entry::{Adopted, Entry};
use super::line::{Place, knows, raise};
use super::pos::{Epoch, Pos};
use super::shared::Covered;
use super::slot::SlotLog;

/// Most ends of stretches before the message's own, and most ends of branches that its line took over.
pub const TRAIL_STRETCHES_MAX: usize = 3;
/// See [`TRAIL_STRETCHES_MAX`].
pub const TRAIL_BRANCHES_MAX: usize = 3;

/// How long messages of an epoch carry a trail, counted from its first, unless their channel keeps them longer: after that
/// every node has heard of the epoch, and what a node kept that has not is too old to be missed.
const TRAIL_AGE: Duration = Duration::from_secs(15 * 60);

/// Ends of the stretches before a message's own, newest first, then of branches that are part of its line. Nothing on a line
/// with one stretch, which costs nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trail(Option<Arc<SmallVec<[Pos; TRAIL_STRETCHES_MAX]>>>);

impl Trail {
    /// No trail.
    pub const NONE: Self = Self(None);

    /// A trail of these positions; of one epoch only the last counts.
    #[must_use]
    pub fn of(positions: impl IntoIterator<Item = Pos>) -> Self {
        let mut ends: SmallVec<[Pos; TRAIL_STRETCHES_MAX]> = SmallVec::new();
        for pos in positions {
            match ends.iter_mut().find(|end| end.epoch == pos.epoch) {
                Some(end) => end.idx = end.idx.max(pos.idx),
                None => ends.push(pos),
            }
        }
        Self((!ends.is_empty()).then(|| Arc::new(ends)))
    }

    /// Its positions.
    #[must_use]
    pub fn ends(&self) -> &[Pos] {
        self.0.as_ref().map_or(&[], |ends| ends)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }
}

/// The trail of the epoch that is being written, made once for all its messages, and anew when a branch is taken over.
#[derive(Debug)]
pub(super) struct Fresh {
    epoch: Epoch,
    since: Duration,
    trail: Trail,
}

impl SlotLog {
    /// The trail of the message that is appended now and lives so long.
    pub(super) fn trail(&mut self, life: Duration, now: Duration) -> Trail {
        // A node alone has one stretch.
        if self.shared.is_none() { Trail::NONE } else { self.fresh_trail(life, now) }
    }

    fn fresh_trail(&mut self, life: Duration, now: Duration) -> Trail {
        if self.has_no_trails() {
            return Trail::NONE;
        }
        let epoch = self.line.epoch();
        let Some(shared) = &mut self.shared else { return Trail::NONE };
        let known = shared.fresh.take_if(|fresh| fresh.epoch == epoch);
        let fresh = known.unwrap_or_else(|| {
            let branches = shared.covered.iter().rev().map(|covered| covered.end).take(TRAIL_BRANCHES_MAX);
            let trail = Trail::of(self.line.ends_before(epoch).take(TRAIL_STRETCHES_MAX).chain(branches));
            Fresh { epoch, since: now, trail }
        });
        let fresh = shared.fresh.insert(fresh);
        if now.saturating_sub(fresh.since) < TRAIL_AGE.max(life) { fresh.trail.clone() } else { Trail::NONE }
    }

    /// The trail of a record of this epoch, as far as it follows from the line alone.
    #[must_use]
    pub fn trail_of(&self, epoch: Epoch) -> Trail {
        let ends = self.line.ends_before(epoch).take(TRAIL_STRETCHES_MAX);
        if self.has_no_trails() { Trail::NONE } else { Trail::of(ends) }
    }

    /// Makes messages say nothing but their positions: a mistake that the simulator must find.
    #[cfg(debug_assertions)]
    #[doc(hidden)]
    pub fn lose_trails(&mut self) {
        self.shared.get_or_insert_default().has_no_trails = true;
    }

    /// Never in a release build.
    fn has_no_trails(&self) -> bool {
        #[cfg(debug_assertions)]
        return self.shared.as_ref().is_some_and(|shared| shared.has_no_trails);
        #[cfg(not(debug_assertions))]
        false
    }

    /// Where who has read up to this index may go on, on any node: the position, and its trail.
    #[must_use]
    pub fn cursor(&self, idx: u64) -> SlotCursor {
        let main = self.line.pos(idx);
        let mut cursor = SlotCursor::new(self.slot(), main);
        if self.shared.is_some() {
            cursor.extras = self.line.ends_before(main.epoch).take(TRAIL_STRETCHES_MAX).collect();
        }
        cursor
    }

    /// Whether a cursor that was resolved here says more than the messages of this line do: it knows a branch that is no part
    /// of the line up to there. Then its listener must be told its own cursor instead of theirs.
    #[must_use]
    pub fn is_own(&self, cursor: &SlotCursor) -> bool {
        cursor.extras.iter().any(|extra| !self.is_told(cursor.main.idx, *extra))
    }

    /// Forgets the branches by which a cursor is its listener's own.
    pub fn disown(&self, cursor: &mut SlotCursor) {
        let main = cursor.main.idx;
        cursor.extras.retain(|extra| self.is_told(main, *extra));
    }

    /// Whether who has read the line up to `main` has seen everything up to that position, too.
    fn is_told(&self, main: u64, pos: Pos) -> bool {
        let is_part = |covered: &Covered| covered.at <= main && covered.end.epoch == pos.epoch && pos.idx <= covered.end.idx;
        matches!(self.line.place(pos), Place::On(_)) || self.shared.as_ref().is_some_and(|shared| shared.covered.iter().any(is_part))
    }
}

impl Entry {
    /// Its own cursor: where anybody goes on who has read its line up to it. Who was given a message of a branch that was taken over has
    /// read the branch up to there, too, though the line says so only behind the last one.
    #[must_use]
    pub fn slot_cursor(&self) -> SlotCursor {
        let mut cursor = SlotCursor { slot: self.slot, main: self.pos, extras: self.trail.ends().to_vec() };
        for origin in self.adopted.as_deref().into_iter().flat_map(Adopted::origins) {
            raise(&mut cursor, 0, origin);
        }
        cursor
    }

    /// The text of its own cursor.
    #[must_use]
    pub fn cursor(&self) -> CursorText {
        match (&self.adopted, self.trail.ends()) {
            (Some(_), _) => CursorText::after(self.slot_cursor()),
            (None, []) => CursorText::of(self.slot, self.pos),
            (None, ends) => CursorText::trailing(self.slot, self.pos, ends),
        }
    }
}

impl SlotCursor {
    /// Whether its listener has got a message of the line on which it was resolved.
    #[must_use]
    pub fn has_seen(&self, entry: &Entry) -> bool {
        let mut origins = entry.adopted.as_deref().into_iter().flat_map(Adopted::origins);
        entry.pos.idx <= self.main.idx || origins.any(|origin| knows(self, origin))
    }

    /// Moves past a message that its listener was given.
    pub fn pass(&mut self, entry: &Entry) {
        for origin in entry.adopted.as_deref().into_iter().flat_map(Adopted::origins) {
            raise(self, 0, origin);
        }
        // Behind the branches that only this listener saw, and before older hints.
        let is_of = |extra: &Pos| entry.trail.ends().iter().any(|end| end.epoch == extra.epoch);
        let at = self.extras.iter().position(is_of).unwrap_or(self.extras.len());
        for end in entry.trail.ends().iter().rev() {
            raise(self, at, *end);
        }
        self.main = entry.pos;
    }
}

#[cfg(test)]
mod tests;
