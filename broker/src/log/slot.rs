//! One slot's log: the only place where a message gets its position.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use super::channel::Channel;
use super::copy::Record;
use super::dedupe::{Dedupe, Life};
use super::entry::{Entry, Waited, message_id};
use super::line::Line;
use super::pos::{Epoch, Pos, Slot};
use super::retention::{NamespaceId, Retention};
use super::shared::Shared;
use super::trail::Trail;
use crate::clock::Moment;
use crate::message::{ChannelName, Draft, MessageId, PublishId};

/// How long an idle channel is left alone when it was not closed (somebody listens), before it is named again.
const IDLE_AGAIN: Duration = Duration::from_secs(30);
/// Least time between two looks at one channel, so that a sweep ends and a busy channel is not looked at for each message.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// An open channel within its slot. Valid until the channel is closed; then another channel may get the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelKey(u32);

impl ChannelKey {
    /// Its number: small and dense, fit for a table.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }

    /// The key of a place in the slab, which holds fewer than 2^32.
    pub(super) fn of(at: usize) -> Self {
        Self(at as u32)
    }

    pub(super) fn at(self) -> usize {
        self.0 as usize
    }
}

/// What became of a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its position; for a duplicate that of the first one, which may not be committed yet either.
    pub pos: Pos,
    /// The channel's own count; for a duplicate that of the first one.
    pub offset: u64,
    /// The id that subscribers see.
    pub id: MessageId,
    /// Whether it was published before, so that nothing was appended now.
    pub duplicate: bool,
    /// What its cursor says besides its position.
    pub trail: Trail,
}

/// What is known of an open channel, as far as it is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelStats {
    /// Its name.
    pub name: ChannelName,
    /// Offset of its newest message; 0 when it had none in this life.
    pub offset: u64,
    /// Index of its newest message, kept or not; its first floor when it had none in this life.
    pub last: u64,
    /// Who has read up to this index has missed no message that is lost.
    pub floor: u64,
    /// Messages kept, as of the last sweep.
    pub entries: u64,
    /// What they cost, in bytes.
    pub bytes: u64,
}

/// Totals of a slot. Cheap to ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotStats {
    /// Open channels.
    pub channels: u64,
    /// Messages kept.
    pub entries: u64,
    /// What they cost, in bytes.
    pub bytes: u64,
    /// Publish ids in memory.
    pub dedupe_ids: u64,
    /// Publish ids given up before their time for want of room, ever.
    pub dedupe_shortened_total: u64,
}

/// The log of one slot. Its owner keeps it under one short lock and tells it the time.
#[derive(Debug)]
pub struct SlotLog {
    slot: Slot,
    pub(super) line: Line,
    pub(super) commit: u64,
    /// The latest moment it was told; times that are handed in a little out of order count as this one.
    clock: Duration,
    pub(super) channels: Slab<Channel>,
    lives: Life,
    /// Appended and not committed, in order.
    pub(super) pending: VecDeque<Pending>,
    /// Every open channel once, by when it is looked at next.
    due: BTreeSet<(Duration, ChannelKey)>,
    /// Up to where closed channels of a namespace may have lost messages; one row per namespace.
    pub(super) floors: Vec<(NamespaceId, u64)>,
    pub(super) dedupe: Dedupe,
    entries: u64,
    bytes: u64,
    /// What only a line with more than one writer needs; nothing of it on a node alone.
    pub(super) shared: Option<Box<Shared>>,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) key: ChannelKey,
    pub(super) life: Life,
    pub(super) record: Waiting,
}

/// A record that waits for its commit.
#[derive(Debug)]
pub(super) enum Waiting {
    Message(Arc<Entry>),
    Clear(u64),
    /// It belongs to no channel.
    Control(Box<Record>),
}

impl SlotLog {
    /// An empty log whose first record opens this epoch at index 1: head and commit stand there.
    #[must_use]
    pub fn new(slot: Slot, epoch: Epoch) -> Self {
        let line = Line::begin(epoch);
        Self {
            slot,
            commit: line.head().idx,
            line,
            clock: Duration::ZERO,
            channels: Slab::new(),
            lives: 0,
            pending: VecDeque::new(),
            due: BTreeSet::new(),
            floors: Vec::new(),
            dedupe: Dedupe::new(),
            entries: 0,
            bytes: 0,
            shared: None,
        }
    }

    /// Which slot it is.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// The epoch that is being written.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.line.epoch()
    }

    /// Position of the last record.
    #[must_use]
    pub fn head(&self) -> Pos {
        self.line.head()
    }

    /// Position of the last committed record: as far as anybody may read.
    #[must_use]
    pub fn commit(&self) -> Pos {
        self.line.pos(self.commit)
    }

    /// Its lineage.
    #[must_use]
    pub fn line(&self) -> &Line {
        &self.line
    }

    /// Opens a channel that is not open. Cursors from before the last close of any channel of its namespace get
    /// [`GapReason::Unknown`](super::GapReason::Unknown) there, since it may have been this one.
    pub fn open_channel(&mut self, name: ChannelName, namespace: NamespaceId, retention: Retention, now: Moment) -> ChannelKey {
        let now = self.tick(now);
        let start = self.line.segments()[0].start;
        let floor = self.floors.iter().find(|(known, _)| *known == namespace).map_or(start, |(_, floor)| *floor);
        self.lives += 1;
        let mut channel = Channel::open(name, namespace, retention, floor, self.lives);
        channel.due = now;
        let key = ChannelKey::of(self.channels.insert(channel));
        self.due.insert((now, key));
        key
    }

    /// Gives a draft its position, unless it was published before. It is seen by nobody until it is committed.
    ///
    /// `dedupe_room`: how many more publish ids the node may remember; 0 makes this slot give up its own oldest ones.
    ///
    /// # Panics
    /// When the channel is not open.
    #[inline]
    pub fn append(&mut self, key: ChannelKey, draft: Draft, now: Moment, dedupe_room: usize) -> Appended {
        self.append_after(Waited::NONE, key, draft, now, dedupe_room)
    }

    /// As [`SlotLog::append`], for a draft that was on its way for so long.
    ///
    /// # Panics
    /// As [`SlotLog::append`].
    pub fn append_after(&mut self, waited: Waited, key: ChannelKey, draft: Draft, now: Moment, dedupe_room: usize) -> Appended {
        let mono = self.tick(now);
        let channel = &mut self.channels[key.at()];
        debug_assert_eq!(channel.name, draft.channel, "a draft goes to its own channel");
        if let Some(id) = &draft.id
            && let Some(first) = self.dedupe.find(channel.life, id, mono)
        {
            let pos = self.line.pos(first.idx);
            let id = message_id(Some(id), self.slot, pos.epoch, pos.idx);
            return Appended { pos, offset: first.offset, id, duplicate: true, trail: self.trail_of(pos.epoch) };
        }
        let pos = self.line.advance();
        channel.appended += 1;
        channel.pending += 1;
        let offset = channel.appended;
        if let Some(id) = &draft.id {
            self.dedupe.remember(channel.life, id, (pos.idx, offset), mono, dedupe_room);
            channel.ids_until = channel.ids_until.max(mono.saturating_add(Dedupe::window(id)));
        }
        let id = message_id(draft.id.as_ref(), self.slot, pos.epoch, pos.idx);
        let expires = channel.expiry(mono, draft.ttl);
        let name = channel.name.clone();
        let life = channel.life;
        let trail = self.trail(expires.saturating_sub(mono), mono);
        let entry = Entry {
            slot: self.slot,
            pos,
            channel: name,
            offset,
            id: id.clone(),
            event: draft.event,
            payload: draft.payload,
            headers: draft.headers,
            accepted: Moment { mono, ..now },
            waited,
            expires,
            adopted: None,
            trail: trail.clone(),
        };
        self.pending.push_back(Pending { key, life, record: Waiting::Message(Arc::new(entry)) });
        Appended { pos, offset, id, duplicate: false, trail }
    }

    /// Whether a publish of this id is in the log, committed or not, and still remembered: to append it again appends nothing.
    ///
    /// # Panics
    /// When the channel is not open.
    #[must_use]
    pub fn is_known(&self, key: ChannelKey, id: &PublishId, now: Moment) -> bool {
        self.dedupe.find(self.channels[key.at()].life, id, self.clock.max(now.mono)).is_some()
    }

    /// Commits all records up to this index. Messages are pushed to `committed` in order, for delivery; those that leave
    /// a history by it are pushed to `evicted`, to be freed outside the lock. A message that is not kept at all (history
    /// size 0, or its own life is over) is in `committed` only.
    pub fn commit_to(
        &mut self,
        upto: u64,
        now: Moment,
        committed: &mut impl Extend<(ChannelKey, Arc<Entry>)>,
        evicted: &mut Vec<Arc<Entry>>,
    ) {
        let now = self.tick(now);
        debug_assert!(upto <= self.line.head().idx, "only what was appended can be committed");
        self.commit = self.commit.max(upto.min(self.line.head().idx));
        while self.pending.front().is_some_and(|next| next.idx() <= self.commit) {
            let Some(Pending { key, life, record }) = self.pending.pop_front() else { break };
            self.change(key, life, |channel| {
                match &record {
                    Waiting::Message(entry) => channel.keep(entry, now, evicted),
                    Waiting::Clear(idx) => channel.clear(*idx, now, evicted),
                    Waiting::Control(_) => return,
                }
                channel.pending -= 1;
            });
            if let Waiting::Message(entry) = record {
                committed.extend([(key, entry)]);
            }
        }
    }

    /// Frees at least `bytes` by giving up the oldest messages of the slot, whatever their channel; readers that still
    /// wanted them get a gap. `false` when it does not hold as many: then it gives up none.
    pub fn make_room(&mut self, bytes: u64, evicted: &mut Vec<Arc<Entry>>) -> bool {
        let Some(wanted) = self.bytes.checked_sub(bytes) else { return false };
        while self.bytes > wanted {
            let oldest = self.channels.iter().filter_map(|(at, channel)| Some((channel.oldest()?, at, channel.life))).min();
            let Some((_, at, life)) = oldest else { break };
            self.change(ChannelKey::of(at), life, |channel| channel.give_up_oldest(evicted));
        }
        self.bytes <= wanted
    }

    /// Appends the record that empties a channel, and returns its position. It takes effect when it is committed, also on
    /// messages that were appended before it and not committed yet.
    ///
    /// # Panics
    /// When the channel is not open.
    pub fn clear(&mut self, key: ChannelKey) -> Pos {
        let channel = &mut self.channels[key.at()];
        channel.pending += 1;
        let pos = self.line.advance();
        self.pending.push_back(Pending { key, life: channel.life, record: Waiting::Clear(pos.idx) });
        pos
    }

    /// Frees what is too old, into `evicted`, and names channels that may be closed, in `idle`. A channel that is not
    /// closed then is named again later. Reads do not wait for a sweep: what is expired is never read.
    pub fn expire(&mut self, now: Moment, evicted: &mut Vec<Arc<Entry>>, idle: &mut Vec<ChannelKey>) {
        let now = self.tick(now);
        self.dedupe.rotate(now);
        while let Some(&(due, key)) = self.due.first()
            && due <= now
        {
            let life = self.channels[key.at()].life;
            self.change(key, life, |channel| channel.trim(now, evicted));
            let channel = &self.channels[key.at()];
            let next = if channel.may_close(now) {
                idle.push(key);
                now.saturating_add(IDLE_AGAIN)
            } else {
                channel.next_due().max(now.saturating_add(LOOK_AGAIN))
            };
            self.look_at(key, next);
            if next == due {
                // The end of time: nothing moves any more.
                break;
            }
        }
    }

    /// Forgets an idle channel. What is remembered is up to where its namespace may have lost messages in this slot.
    ///
    /// # Panics
    /// When the channel is not open.
    pub fn close_channel(&mut self, key: ChannelKey) -> ChannelName {
        let channel = self.channels.remove(key.at());
        debug_assert!(channel.may_close(self.clock), "closing it would lose messages or ids");
        self.due.remove(&(channel.due, key));
        self.entries -= channel.len() as u64;
        self.bytes -= channel.bytes();
        let floor = channel.last.max(channel.floor());
        match self.floors.iter_mut().find(|(namespace, _)| *namespace == channel.namespace) {
            Some((_, known)) => *known = floor.max(*known),
            None => self.floors.push((channel.namespace, floor)),
        }
        channel.name
    }

    /// Whether a channel holds nothing that closing it would lose.
    ///
    /// # Panics
    /// When the channel is not open.
    #[must_use]
    pub fn may_close(&self, key: ChannelKey) -> bool {
        self.channels[key.at()].may_close(self.clock)
    }

    /// What is known of a channel.
    ///
    /// # Panics
    /// When the channel is not open.
    #[must_use]
    pub fn channel(&self, key: ChannelKey) -> ChannelStats {
        let channel = &self.channels[key.at()];
        ChannelStats {
            name: channel.name.clone(),
            offset: channel.offset,
            last: channel.last,
            floor: channel.floor(),
            entries: channel.len() as u64,
            bytes: channel.bytes(),
        }
    }

    /// How many messages a channel keeps for who has read up to this index and listens: of one that conflates the newest at most.
    ///
    /// # Panics
    /// When the channel is not open.
    #[must_use]
    pub fn kept_after(&self, key: ChannelKey, after: u64) -> u64 {
        self.channels[key.at()].kept_after(after)
    }

    /// Every open channel with its namespace, and the messages and bytes that it keeps.
    pub fn kept(&self) -> impl Iterator<Item = (ChannelKey, NamespaceId, u64, u64)> {
        self.channels.iter().map(|(at, channel)| (ChannelKey::of(at), channel.namespace, channel.len() as u64, channel.bytes()))
    }

    /// Totals of the slot.
    #[must_use]
    pub fn stats(&self) -> SlotStats {
        SlotStats {
            channels: self.channels.len() as u64,
            entries: self.entries,
            bytes: self.bytes,
            dedupe_ids: self.dedupe.len() as u64,
            dedupe_shortened_total: self.dedupe.shortened(),
        }
    }

    /// The slot's own time: never back, so that ages ascend with indices.
    pub(super) fn tick(&mut self, now: Moment) -> Duration {
        self.clock = self.clock.max(now.mono);
        self.clock
    }

    /// Changes a channel's history; totals and the time of the next look follow. A channel closed before its time has
    /// none to change.
    pub(super) fn change(&mut self, key: ChannelKey, life: Life, how: impl FnOnce(&mut Channel)) {
        let Some(channel) = self.channels.get_mut(key.at()).filter(|channel| channel.life == life) else { return };
        let (entries, bytes) = (channel.len() as u64, channel.bytes());
        how(channel);
        self.entries = self.entries - entries + channel.len() as u64;
        self.bytes = self.bytes - bytes + channel.bytes();
        let next = channel.next_due();
        if next < channel.due {
            self.look_at(key, next);
        }
    }

    fn look_at(&mut self, key: ChannelKey, next: Duration) {
        let channel = &mut self.channels[key.at()];
        self.due.remove(&(channel.due, key));
        channel.due = next;
        self.due.insert((next, key));
    }
}

impl Pending {
    pub(super) fn idx(&self) -> u64 {
        match &self.record {
            Waiting::Message(entry) => entry.pos.idx,
            Waiting::Clear(idx) => *idx,
            Waiting::Control(record) => record.idx(),
        }
    }

    pub(super) fn message(&self) -> Option<&Arc<Entry>> {
        if let Waiting::Message(entry) = &self.record { Some(entry) } else { None }
    }
}

#[cfg(test)]
mod tests;
