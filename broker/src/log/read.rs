//! Reading a slot's log: where a listener starts, and pages of what follows. Nothing here changes anything.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::channel::View;
use super::copy::{LostAt, LostOf};
use super::cursor::{SLOT_POSITIONS_MAX, SlotCursor};
use super::entry::Entry;
use super::gap::{Gap, GapReason};
use super::pos::Pos;
use super::slot::{ChannelKey, SlotLog};
use crate::clock::Moment;

/// From where a listener wants to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// From now on.
    Live,
    /// From the oldest message kept.
    Earliest,
    /// The newest messages of each channel, at most this many, and from there on.
    Last(u32),
    /// After what this cursor of the same slot has seen.
    After(SlotCursor),
}

/// How much one page holds. At least one message is always given, however large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// Most messages.
    pub entries: usize,
    /// Most bytes, as [`Entry::size`] counts them.
    pub bytes: usize,
}

/// Where a listener starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The listener's position before its first message: everything it will not get lies at or before it, or before what
    /// `from` says of the channel.
    pub after: Pos,
    /// Per channel, in the order they were given: the index to read on from, not below `after`.
    pub from: SmallVec<[u64; 1]>,
    /// Branches the listener has seen besides; part of its cursor from now on.
    pub extras: Vec<Pos>,
    /// Whether these say more than the messages of this line do: see [`SlotLog::is_own`].
    pub is_own: bool,
    /// What it has missed, at most one gap per channel, to be told before anything else.
    pub gaps: SmallVec<[(ChannelKey, Gap); 1]>,
    /// Whether it gave a cursor and has missed nothing.
    pub recovered: bool,
}

/// A stretch of some channels' messages.
#[derive(Clone, Debug)]
pub struct Page {
    /// Messages in the order of their positions.
    pub entries: Vec<Arc<Entry>>,
    /// What was lost up to `upto`, to be told before the entries. At most one per channel, and only once if reading goes
    /// on from `upto`.
    pub gaps: SmallVec<[(ChannelKey, Gap); 1]>,
    /// Everything of these channels up to here is in this page or lay before it. Read on from the larger of this index
    /// and the one that was given for the channel.
    pub upto: Pos,
    /// Whether the page ends at the commit: nothing committed is left to read.
    pub at_head: bool,
}

/// Who reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    /// Where it stands, if that says more than the indices it reads from.
    pub(super) cursor: Option<&'a SlotCursor>,
    /// Whether channels that conflate do so for it.
    pub(super) is_listener: bool,
}

impl SlotLog {
    /// Where a listener of these channels starts. From there on [`SlotLog::read`] gives it everything that is committed.
    ///
    /// With a cursor, what was missed is told by gaps: all channels when the cursor's epoch is not of this log (replay
    /// begins with the oldest message kept) or it points past the end (nothing is replayed), else each channel that lost
    /// something after it or was cleared since.
    ///
    /// # Panics
    /// When one of the channels is not open.
    #[must_use]
    pub fn join(&self, channels: &[ChannelKey], start: &Start, now: Moment) -> Joined {
        match start {
            Start::Live => self.join_at(channels.iter().map(|_| self.commit().idx).collect()),
            Start::Earliest => self.join_at(channels.iter().map(|key| self.before_oldest(*key, now)).collect()),
            Start::Last(count) => self.join_at(channels.iter().map(|key| self.before_newest(*key, *count, now)).collect()),
            Start::After(cursor) => self.join_after(channels, cursor, now),
        }
    }

    fn join_after(&self, channels: &[ChannelKey], cursor: &SlotCursor, now: Moment) -> Joined {
        debug_assert_eq!(cursor.slot, self.slot(), "a cursor is resolved by its own slot's log");
        let ahead = cursor.positions().filter(|pos| pos.epoch == self.epoch() && pos.idx > self.commit().idx).max_by_key(|pos| pos.idx);
        if ahead.is_some() && self.shared.is_none() {
            // Nobody was ever given such a position, so it tells nothing.
            let joined = self.join_at(channels.iter().map(|_| self.commit().idx).collect());
            return Joined { gaps: self.gaps(channels, GapReason::Unknown, now), ..joined };
        }
        let Some(SlotCursor { mut main, mut extras, .. }) = self.line().resolve(cursor) else {
            let joined = self.join_at(channels.iter().map(|key| self.before_oldest(*key, now)).collect());
            // On a line with several writers it may come back to where it was: that is not forgotten.
            let seen = cursor.positions().filter(|_| self.shared.is_some());
            let extras: Vec<Pos> = seen.chain(joined.extras.iter().copied()).take(SLOT_POSITIONS_MAX - 1).collect();
            let is_own = !extras.is_empty();
            // All of its branch was taken over, so that it finds what it lacks here: nothing has to be said of a channel that
            // has lost nothing.
            let is_whole = |key: &ChannelKey| {
                let has_lost = self.lost_after(*key, 0, Some(cursor)).next().is_some();
                !has_lost && self.channels[key.at()].view(now).floor <= self.line().segments()[0].start
            };
            let includes = cursor.positions().any(|pos| self.includes(pos));
            let reason = if self.is_uncertain_at_all() { GapReason::Failover } else { GapReason::Restart };
            let gaps: SmallVec<_> = self.gaps(channels, reason, now).into_iter().filter(|(key, _)| !includes || !is_whole(key)).collect();
            return Joined { recovered: gaps.is_empty(), gaps, extras, is_own, ..joined };
        };
        if let Some(ahead) = ahead {
            // Another node has come further on the same line: what lies between is on its way and known to the listener.
            extras.retain(|extra| extra.epoch != ahead.epoch);
            main = ahead;
        }
        let mut gaps = SmallVec::new();
        let mut from = SmallVec::new();
        for key in channels {
            let channel = &self.channels[key.at()];
            let floor = channel.view(now).floor;
            if main.idx < floor || channel.is_cleared_since(main.idx) {
                gaps.push((*key, self.gap(channel.gap_reason(main.idx, floor), floor)));
            }
            from.push(main.idx.max(floor));
        }
        let is_lost = |key: &ChannelKey| self.lost_after(*key, main.idx, Some(cursor)).next().is_some();
        let recovered = gaps.is_empty() && !self.is_uncertain_after(main.idx) && !channels.iter().any(is_lost);
        let resolved = SlotCursor { slot: self.slot(), main, extras };
        Joined { after: main, from, is_own: self.is_own(&resolved), extras: resolved.extras, gaps, recovered }
    }

    /// A join without a cursor.
    fn join_at(&self, from: SmallVec<[u64; 1]>) -> Joined {
        let SlotCursor { main, extras, .. } = self.cursor(from.iter().copied().min().unwrap_or(self.commit().idx));
        Joined { after: main, from, extras, is_own: false, gaps: SmallVec::new(), recovered: false }
    }

    /// The messages of these channels after the index given with each, committed and not expired, merged by position.
    ///
    /// # Panics
    /// When one of the channels is not open.
    #[must_use]
    pub fn read(&self, from: &[(ChannelKey, u64)], limit: PageLimit, now: Moment) -> Page {
        self.page(Reader { cursor: None, is_listener: false }, from, limit, now)
    }

    /// As [`SlotLog::read`], for who stands at this cursor: it is not told of the loss of what it has read on another branch.
    ///
    /// # Panics
    /// When one of the channels is not open.
    #[must_use]
    pub fn read_as(&self, cursor: &SlotCursor, from: &[(ChannelKey, u64)], limit: PageLimit, now: Moment) -> Page {
        self.page(Reader { cursor: Some(cursor), is_listener: false }, from, limit, now)
    }

    /// As [`SlotLog::read`], for any reader.
    pub(super) fn page(&self, reader: Reader<'_>, from: &[(ChannelKey, u64)], limit: PageLimit, now: Moment) -> Page {
        let Reader { cursor, is_listener } = reader;
        let views: SmallVec<[View<'_>; 1]> = from.iter().map(|(key, _)| self.channels[key.at()].view(now)).collect();
        let conflates = |key: &ChannelKey| is_listener && self.channels[key.at()].conflates;
        let begin = |view: &View<'_>, key, after| if conflates(key) { view.after_passed_over(after) } else { after };
        let mut feeds: SmallVec<[_; 1]> =
            views.iter().zip(from).map(|(view, (key, after))| view.after(begin(view, key, *after)).peekable()).collect();
        let mut next: BinaryHeap<_> =
            feeds.iter_mut().enumerate().filter_map(|(nth, feed)| Some(Reverse((feed.peek()?.pos.idx, nth)))).collect();

        let mut entries: Vec<Arc<Entry>> = Vec::new();
        let mut bytes = 0;
        let mut upto = self.commit();
        while let Some(Reverse((_, nth))) = next.pop() {
            let Some(entry) = feeds[nth].peek() else { continue };
            let size = entry.size() as usize;
            if let Some(last) = entries.last()
                && (entries.len() >= limit.entries || bytes + size > limit.bytes)
            {
                upto = last.pos;
                break;
            }
            bytes += size;
            entries.extend(feeds[nth].next().cloned());
            next.extend(feeds[nth].peek().map(|following| Reverse((following.pos.idx, nth))));
        }

        let place = self.telling_place(cursor, from, &mut entries, &mut upto);

        // A loss is told where it lies. Told earlier, it would be told again by every page up to there; and a reader who
        // leaves between is told when it comes back.
        let is_lost = |view: &View<'_>, after: u64| after < view.floor && view.floor <= upto.idx;
        let gaps = views.iter().zip(from).filter_map(|(view, (key, after))| {
            let channel = &self.channels[key.at()];
            let lost = is_lost(view, *after).then(|| channel.gap_reason(*after, view.floor));
            if conflates(key) {
                let (reason, oldest) = view.passed_over(*after, upto.idx, lost)?;
                return Some((*key, self.gap(reason, oldest)));
            }
            Some((*key, self.gap(lost?, view.floor)))
        });
        let mut gaps: SmallVec<[(ChannelKey, Gap); 1]> = gaps.collect();
        if let Some(place) = place {
            for (key, _) in from.iter().filter(|(_, after)| *after < place) {
                let Some(reason) = self.loss_told_at(place, *key, cursor) else { continue };
                let gap = self.gap(reason, place);
                match gaps.iter_mut().find(|(gapped, _)| gapped == key) {
                    Some((_, known)) if known.oldest.idx >= place => known.reason = gap.reason,
                    Some((_, known)) => *known = gap,
                    None => gaps.push((*key, gap)),
                }
            }
        }
        Page { entries, gaps, upto, at_head: upto == self.commit() }
    }

    /// Where the line tells that something is lost, if the page ends behind it: an epoch begins before which something may be, or a
    /// branch was taken over without it. A page ends before such a place when it holds messages before it: first they, then the gap.
    fn telling_place(
        &self,
        cursor: Option<&SlotCursor>,
        from: &[(ChannelKey, u64)],
        entries: &mut Vec<Arc<Entry>>,
        upto: &mut Pos,
    ) -> Option<u64> {
        let shared = self.shared.as_ref().filter(|shared| !shared.uncertain.is_empty() || !shared.lost.is_empty())?;
        let after = from.iter().map(|(_, after)| *after).min()?;
        let lost = from.iter().flat_map(|(key, after)| self.lost_after(*key, *after, cursor)).map(|lost| lost.at);
        let places = shared.uncertain.iter().copied().chain(lost).filter(|place| after < *place && *place <= upto.idx);
        let mut places: SmallVec<[u64; 4]> = places.collect();
        places.sort_unstable();
        places.dedup();
        let mut places = places.into_iter();
        let first = places.next()?;
        let is_before = entries.first().is_some_and(|entry| entry.pos.idx < first);
        let end = if is_before { Some(first) } else { places.next() };
        if let Some(end) = end {
            entries.retain(|entry| entry.pos.idx < end);
            *upto = self.line().pos(end - 1);
        }
        (!is_before).then_some(first)
    }

    /// What a reader of a channel with this cursor is told at such a place.
    fn loss_told_at(&self, place: u64, key: ChannelKey, cursor: Option<&SlotCursor>) -> Option<GapReason> {
        if self.uncertain().contains(&place) {
            return Some(GapReason::Failover);
        }
        let reason = |lost: &LostAt| if lost.lost.of == LostOf::Anything { GapReason::Failover } else { GapReason::Window };
        self.lost_after(key, place - 1, cursor).take_while(|lost| lost.at == place).map(reason).next()
    }

    /// A channel's messages before an index (all without one), newest first.
    ///
    /// # Panics
    /// When the channel is not open.
    #[must_use]
    pub fn read_back(&self, key: ChannelKey, before: Option<u64>, limit: PageLimit, now: Moment) -> Vec<Arc<Entry>> {
        let mut entries: Vec<Arc<Entry>> = Vec::new();
        let mut bytes = 0;
        for entry in self.channels[key.at()].view(now).before(before.unwrap_or(u64::MAX)) {
            bytes += entry.size() as usize;
            if !entries.is_empty() && (entries.len() >= limit.entries || bytes > limit.bytes) {
                break;
            }
            entries.push(Arc::clone(entry));
        }
        entries
    }

    /// The latest index after which all kept messages of a channel follow.
    fn before_oldest(&self, key: ChannelKey, now: Moment) -> u64 {
        let view = self.channels[key.at()].view(now);
        view.after(0).next().map_or(self.commit().idx, |oldest| oldest.pos.idx - 1)
    }

    /// The latest index after which the newest `count` kept messages of a channel follow.
    fn before_newest(&self, key: ChannelKey, count: u32, now: Moment) -> u64 {
        let newest = self.channels[key.at()].view(now).before(u64::MAX).take(count as usize);
        newest.last().map_or(self.commit().idx, |oldest| oldest.pos.idx - 1)
    }

    fn gaps(&self, channels: &[ChannelKey], reason: GapReason, now: Moment) -> SmallVec<[(ChannelKey, Gap); 1]> {
        channels.iter().map(|key| (*key, self.gap(reason, self.channels[key.at()].view(now).floor))).collect()
    }

    fn gap(&self, reason: GapReason, floor: u64) -> Gap {
        Gap { reason, oldest: self.line().pos(floor) }
    }
}
