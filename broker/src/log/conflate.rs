//! Channels that conflate: a listener that is behind gets the newest message, and is told that those before it were passed over.
//!
//! That is a way to listen and not a way to keep: who asks for the history gets all of it, and so do listeners that keep up,
//! who never read the log. Of everything it was not given a listener hears in **one** gap, told right before the newest message,
//! whether it was passed over or had left the history.

use std::sync::Arc;

use super::channel::View;
use super::cursor::SlotCursor;
use super::entry::Entry;
use super::gap::GapReason;
use super::read::{Joined, Page, PageLimit, Reader, Start};
use super::slot::{ChannelKey, SlotLog};
use crate::clock::Moment;

impl SlotLog {
    /// From now on listeners of this channel that are behind get its newest message only.
    ///
    /// # Panics
    /// When the channel is not open.
    pub fn conflate(&mut self, key: ChannelKey) {
        self.channels[key.at()].conflates = true;
    }

    /// As [`SlotLog::read`], for listeners; with the cursor of one that stands by itself as [`SlotLog::read_as`].
    ///
    /// # Panics
    /// When one of the channels is not open.
    #[must_use]
    pub fn follow(&self, cursor: Option<&SlotCursor>, from: &[(ChannelKey, u64)], limit: PageLimit, now: Moment) -> Page {
        self.page(Reader { cursor, is_listener: true }, from, limit, now)
    }

    /// As [`SlotLog::join`], for who goes on with [`SlotLog::follow`].
    ///
    /// # Panics
    /// When one of the channels is not open.
    #[must_use]
    pub fn join_to_follow(&self, channels: &[ChannelKey], start: &Start, now: Moment) -> Joined {
        let mut joined = self.join(channels, start, now);
        for (nth, key) in channels.iter().enumerate().filter(|(_, key)| self.channels[key.at()].conflates) {
            let view = self.channels[key.at()].view(now);
            let after = joined.after.idx;
            let told = joined.gaps.iter().position(|(gapped, _)| gapped == key);
            match (start, told) {
                // Told with what is passed over, when it is read: one gap for both.
                (Start::After(_), Some(at)) if joined.gaps[at].1.reason == GapReason::Window && view.after_passed_over(after) > after => {
                    joined.gaps.remove(at);
                    joined.from[nth] = after;
                }
                (Start::After(_), None) => joined.recovered &= view.passed_over(joined.from[nth], u64::MAX, None).is_none(),
                // Who was told of a gap expects nothing from before, and who just comes has missed nothing.
                _ => joined.from[nth] = view.after_passed_over(joined.from[nth]),
            }
        }
        joined
    }
}

impl<'a> View<'a> {
    /// Behind which index one goes on who has read up to `after`: right before the newest message, if that is further.
    pub(super) fn after_passed_over(self, after: u64) -> u64 {
        self.newest().map_or(after, |newest| after.max(newest.pos.idx - 1))
    }

    /// Why one who has read up to `after` and goes on behind [`View::after_passed_over`] is not given everything up to `upto`, and
    /// from where on it is; `lost` is why it would not be otherwise. `None` when nothing is missing.
    pub(super) fn passed_over(self, after: u64, upto: u64, lost: Option<GapReason>) -> Option<(GapReason, u64)> {
        let begin = self.after_passed_over(after);
        if begin == after {
            // Nothing newer is kept, so that whatever left is lost.
            return lost.map(|reason| (reason, self.floor));
        }
        let is_next_passed = || self.after(after).next().is_some_and(|next| next.pos.idx <= begin.min(upto));
        match lost {
            // What was cleared, or may never have been seen here, is more than passed over.
            Some(reason) if reason != GapReason::Window => Some((reason, begin)),
            Some(_) => Some((GapReason::Conflated, begin)),
            None => is_next_passed().then_some((GapReason::Conflated, begin)),
        }
    }

    fn newest(self) -> Option<&'a Arc<Entry>> {
        self.before(u64::MAX).next()
    }
}
