//! A log with more than one writer over time: copying it, taking records from outside, opening epochs, leaving a branch.
//!
//! The home appends; a follower holds every record; an edge holds single channels, and its indices have holes where the
//! others' records are. All three are read by the same code.

use std::sync::Arc;
use std::time::Duration;

use super::copy::{ChannelState, Floor, Record};
use super::cursor::SlotCursor;
use super::dedupe::Dedupe;
use super::entry::{Adopted, Entry};
use super::line::{Line, Place};
use super::pos::{Epoch, Pos};
use super::slot::{Appended, ChannelKey, Pending, SlotLog, Waiting};
use crate::clock::Moment;

/// Epochs whose beginning is uncertain, and branches that are covered, that one log remembers.
const REMEMBERED_MAX: usize = 64;

/// What a line with several writers carries besides its records.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Where epochs begin before which something acknowledged may be lost; ascending.
    pub(super) uncertain: Vec<u64>,
    /// Other branches that are part of this line, by their last positions; one for each epoch.
    pub(super) covered: Vec<Pos>,
    /// When the newest message that came from outside was accepted.
    newest: Duration,
}

/// State of channels from another node, to take over.
#[derive(Debug)]
pub struct Copied {
    /// The lineage, up to where the state is committed.
    pub line: Line,
    /// What is held beyond this index is of another branch, and goes.
    pub fork: u64,
    /// The channels.
    pub channels: Vec<(ChannelKey, ChannelState)>,
    /// With a copy of the whole slot: what is known of closed channels.
    pub floors: Option<Vec<Floor>>,
    /// Where uncertain epochs begin.
    pub uncertain: Vec<u64>,
    /// Branches that are part of the line.
    pub covered: Vec<Pos>,
}

impl SlotLog {
    /// From now on others write this line too: a cursor may be ahead of it.
    pub fn share(&mut self) {
        self.shared.get_or_insert_default();
    }

    /// Begins a new line, on which nothing of before is known. Every cursor of before gets a gap.
    pub fn renew(&mut self, epoch: Epoch, now: Moment, evicted: &mut Vec<Arc<Entry>>) {
        self.leave_branch(0, evicted);
        self.line = Line::begin(epoch);
        self.commit = self.line.head().idx;
        self.floors.clear();
        self.shared = Some(Box::default());
        let start = self.commit;
        self.each_channel(now, |channel, now| {
            let state =
                ChannelState { floor: start, inherited: start, last: start, ..channel.state(u64::MAX, Moment { mono: now, unix_ms: 0 }) };
            channel.restore(&ChannelState { keep: 0, offset: 0, cleared_at: 0, ..state }, now, &mut Vec::new());
        });
    }

    /// Opens an epoch on this line, to be written by this node. Returns the record.
    pub fn open_epoch(&mut self, epoch: Epoch, is_uncertain: bool) -> Record {
        let pos = self.line.open(epoch);
        let record = Record::Open { idx: pos.idx, epoch, is_uncertain };
        self.note_control(&record);
        self.wait(record.clone());
        record
    }

    /// Appends the record that says: these branches are part of this line up to these positions.
    pub fn append_cover(&mut self, ends: Vec<Pos>) -> Record {
        let pos = self.line.advance();
        let record = Record::Cover { idx: pos.idx, ends };
        self.note_control(&record);
        self.wait(record.clone());
        record
    }

    /// Whether the record that first stood here is part of this line, as itself or as a copy.
    #[must_use]
    pub fn includes(&self, birth: Pos) -> bool {
        let is_covered = |shared: &Shared| shared.covered.iter().any(|end| end.epoch == birth.epoch && birth.idx <= end.idx);
        matches!(self.line.place(birth), Place::On(_)) || self.shared.as_ref().is_some_and(|shared| is_covered(shared))
    }

    /// Appends a copy of another branch's message, unless its publish id is known here already.
    ///
    /// # Panics
    /// When the channel is not open.
    pub fn adopt(&mut self, key: ChannelKey, entry: &Entry, now: Moment, dedupe_room: usize) -> Option<Appended> {
        let mono = self.tick(now);
        let id = entry.publish_id();
        let life = self.channels[key.at()].life;
        if id.as_ref().is_some_and(|id| self.dedupe.find(life, id, mono).is_some()) {
            return None;
        }
        let pos = self.line.advance();
        let channel = &mut self.channels[key.at()];
        channel.appended += 1;
        channel.pending += 1;
        let offset = channel.appended;
        if let Some(id) = &id {
            self.dedupe.remember(life, id, (pos.idx, offset), mono, dedupe_room);
            channel.ids_until = channel.ids_until.max(mono.saturating_add(Dedupe::window(id)));
        }
        let via = (entry.birth() != entry.pos).then_some(entry.pos);
        let adopted = Adopted { birth: Some(entry.birth()), via, late: true };
        // It lives as long as it would have: order of ages within a channel is that of `accepted`, so that is now.
        let accepted = Moment { mono, unix_ms: entry.accepted.unix_ms };
        let expires = entry.expires.max(mono);
        let entry =
            Entry { pos, offset, channel: channel.name.clone(), accepted, expires, adopted: Some(Box::new(adopted)), ..entry.clone() };
        let id = entry.id.clone();
        self.pending.push_back(Pending { key, life, record: Waiting::Message(Arc::new(entry)) });
        Some(Appended { pos, offset, id, duplicate: false })
    }

    /// Takes the next record of the line from outside; it waits for its commit. `key` is its channel's. With room for
    /// publish ids they are remembered, as a follower must. `false`, and nothing done, when it cannot be the next one.
    ///
    /// # Panics
    /// When the channel is not open.
    pub fn accept(&mut self, key: Option<ChannelKey>, record: Record, now: Moment, dedupe_room: Option<usize>) -> bool {
        let mono = self.tick(now);
        let idx = record.idx();
        if idx <= self.line.head().idx {
            return false;
        }
        match (record, key) {
            (Record::Message(entry), Some(key)) => {
                if entry.pos.epoch != self.line.epoch() {
                    return false;
                }
                self.line.skip_to(idx);
                let newest = self.shared.get_or_insert_default().newest;
                let channel = &mut self.channels[key.at()];
                channel.appended = entry.offset;
                channel.pending += 1;
                if let (Some(room), Some(id)) = (dedupe_room, entry.publish_id()) {
                    self.dedupe.remember(channel.life, &id, (idx, entry.offset), mono, room);
                    channel.ids_until = channel.ids_until.max(mono.saturating_add(Dedupe::window(&id)));
                }
                // Clocks of two nodes tick apart: ages must still ascend with indices, and lie in the past.
                let mut entry = Arc::unwrap_or_clone(entry);
                let accepted = entry.accepted.mono.max(newest).min(mono);
                entry.expires = accepted.saturating_add(entry.expires.saturating_sub(entry.accepted.mono));
                entry.accepted.mono = accepted;
                entry.channel = channel.name.clone();
                let entry = Arc::new(entry);
                self.shared.get_or_insert_default().newest = accepted;
                self.pending.push_back(Pending { key, life: channel.life, record: Waiting::Message(entry) });
            }
            (Record::Clear { .. }, Some(key)) => {
                self.line.skip_to(idx);
                let channel = &mut self.channels[key.at()];
                channel.pending += 1;
                self.pending.push_back(Pending { key, life: channel.life, record: Waiting::Clear(idx) });
            }
            (Record::Open { epoch, .. }, _) if epoch <= self.line.epoch() => return false,
            (record @ Record::Open { .. }, _) => {
                let Record::Open { epoch, .. } = record else { return false };
                self.line.skip_to(idx - 1);
                self.line.open(epoch);
                self.note_control(&record);
                self.wait(record);
            }
            (record @ Record::Cover { .. }, _) => {
                self.line.skip_to(idx);
                self.note_control(&record);
                self.wait(record);
            }
            (Record::Message(_) | Record::Clear { .. }, None) => return false,
        }
        true
    }

    /// Nothing of what is held here changed up to this index: head and commit move there.
    pub fn pass(&mut self, idx: u64) {
        if self.pending.is_empty() && idx > self.commit {
            self.line.skip_to(idx);
            self.commit = idx;
        }
    }

    /// Appended records that are not committed, after an index.
    pub fn uncommitted(&self, after: u64) -> Vec<Record> {
        let start = self.pending.partition_point(|waiting| waiting.idx() <= after);
        self.pending.range(start..).map(|waiting| self.record(waiting)).collect()
    }

    /// State of a channel for another node, which holds an exact copy up to `keep` (0 for none). With `ids` for a follower.
    ///
    /// # Panics
    /// When the channel is not open.
    #[must_use]
    pub fn channel_state(&self, key: ChannelKey, keep: u64, with_ids: bool, now: Moment) -> ChannelState {
        let channel = &self.channels[key.at()];
        let mut state = channel.state(keep, now);
        if with_ids {
            state.ids = self.dedupe.of(channel.life, now.mono).into_iter().filter(|known| known.idx <= self.commit).collect();
        }
        state
    }

    /// What closed channels may have lost, by namespace.
    #[must_use]
    pub fn closed_floors(&self) -> Vec<Floor> {
        self.floors.iter().map(|(namespace, idx)| Floor { namespace: *namespace, idx: *idx }).collect()
    }

    /// Where epochs begin before which something acknowledged may be lost.
    #[must_use]
    pub fn uncertain(&self) -> &[u64] {
        self.shared.as_ref().map_or(&[], |shared| &shared.uncertain)
    }

    /// Other branches that are part of this line, by their last positions.
    #[must_use]
    pub fn covered(&self) -> &[Pos] {
        self.shared.as_ref().map_or(&[], |shared| &shared.covered)
    }

    /// Whether a reader who has read up to here is still to be told that something may be lost.
    #[must_use]
    pub fn is_uncertain_after(&self, idx: u64) -> bool {
        self.uncertain().iter().any(|opened| idx < *opened && *opened <= self.commit)
    }

    /// Whether a listener's position is of a branch that this line left, so that it must join again with its cursor.
    #[must_use]
    pub fn is_off(&self, pos: Pos) -> bool {
        match self.line.place(pos) {
            Place::On(_) => false,
            Place::Past(_) => pos.epoch != self.line.epoch(),
            Place::Off => true,
        }
    }

    /// Whether a cursor knows an epoch that this log has not heard of yet: it should be asked again in a moment.
    #[must_use]
    pub fn is_behind(&self, cursor: &SlotCursor) -> bool {
        self.shared.is_some() && cursor.main.epoch > self.line.epoch()
    }

    /// All messages held beyond an index, committed or not, in order.
    #[must_use]
    pub fn beyond(&self, idx: u64) -> Vec<Arc<Entry>> {
        let kept = self.channels.iter().flat_map(|(_, channel)| channel.beyond(idx).cloned());
        let waiting = self.pending.iter().filter_map(|waiting| match &waiting.record {
            Waiting::Message(entry) if entry.pos.idx > idx => Some(Arc::clone(entry)),
            _ => None,
        });
        let mut all: Vec<Arc<Entry>> = kept.chain(waiting).collect();
        all.sort_unstable_by_key(|entry| entry.pos.idx);
        all
    }

    /// Takes over the state of channels as another node has it. What is not committed here and lies on the same line stays.
    pub fn restore(&mut self, copied: Copied, now: Moment, dedupe_room: usize, evicted: &mut Vec<Arc<Entry>>) {
        let mono = self.tick(now);
        self.leave_branch(copied.fork, evicted);
        // What is waiting and lies in the state is committed by it.
        self.pending.retain(|waiting| waiting.idx() > copied.line.head().idx);
        if self.line.head().idx <= copied.line.head().idx || copied.fork < copied.line.head().idx {
            self.line = copied.line.clone();
            self.pending.clear();
        }
        self.commit = copied.line.head().idx;
        if let Some(floors) = &copied.floors {
            self.forget_unlisted(&copied.channels, floors, now, evicted);
        }
        for (key, state) in copied.channels {
            let life = self.channels[key.at()].life;
            self.change(key, life, |channel| channel.restore(&state, mono, evicted));
            let of_entries =
                state.entries.iter().filter_map(|entry| Some((entry.publish_id()?, entry.pos.idx, entry.offset, entry.accepted.mono)));
            let known = state.ids.iter().map(|known| (known.id.clone(), known.idx, known.offset, mono.saturating_sub(known.age)));
            if copied.floors.is_some() {
                for (id, idx, offset, at) in of_entries.chain(known) {
                    if mono.saturating_sub(at) < Dedupe::window(&id) && self.dedupe.find(life, &id, mono).is_none() {
                        self.dedupe.remember_since(life, &id, (idx, offset), at, mono, dedupe_room);
                        let channel = &mut self.channels[key.at()];
                        channel.ids_until = channel.ids_until.max(at.saturating_add(Dedupe::window(&id)));
                    }
                }
            }
        }
        self.recount_pending();
        if let Some(floors) = copied.floors {
            self.floors = floors.into_iter().map(|floor| (floor.namespace, floor.idx)).collect();
        }
        let shared = self.shared.get_or_insert_default();
        shared.uncertain = copied.uncertain;
        shared.covered = copied.covered;
    }

    /// Channels that the whole slot's copy does not name are what they would be if they were opened now.
    fn forget_unlisted(&mut self, listed: &[(ChannelKey, ChannelState)], floors: &[Floor], now: Moment, evicted: &mut Vec<Arc<Entry>>) {
        let start = self.line.segments()[0].start;
        let listed: std::collections::BTreeSet<ChannelKey> = listed.iter().map(|(key, _)| *key).collect();
        let open = self.channels.iter().map(|(at, channel)| (ChannelKey::of(at), channel.life, channel.namespace));
        let others: Vec<_> = open.filter(|(key, ..)| !listed.contains(key)).collect();
        for (key, life, namespace) in others {
            let floor = floors.iter().find(|floor| floor.namespace == namespace).map_or(start, |floor| floor.idx);
            self.change(key, life, |channel| {
                let state = ChannelState { floor, inherited: floor, last: floor, offset: 0, cleared_at: 0, ..channel.state(u64::MAX, now) };
                channel.restore(&ChannelState { keep: 0, ..state }, now.mono, evicted);
            });
        }
    }

    /// What is not committed goes; the line ends with the commit.
    pub fn drop_uncommitted(&mut self) {
        self.leave_branch(self.commit, &mut Vec::new());
    }

    fn leave_branch(&mut self, fork: u64, evicted: &mut Vec<Arc<Entry>>) {
        if self.line.head().idx <= fork {
            return;
        }
        self.pending.retain(|waiting| waiting.idx() <= fork);
        self.dedupe.cut(fork);
        self.commit = self.commit.min(fork);
        let keys: Vec<(ChannelKey, u64)> = self.channels.iter().map(|(at, channel)| (ChannelKey::of(at), channel.life)).collect();
        for (key, life) in keys {
            self.change(key, life, |channel| channel.cut(fork, evicted));
        }
        self.line = self.line.upto(fork);
        self.recount_pending();
    }

    /// What each channel has waiting, after some of it went.
    fn recount_pending(&mut self) {
        self.channels.iter_mut().for_each(|(_, channel)| channel.pending = 0);
        for waiting in &self.pending {
            let Some(channel) = self.channels.get_mut(waiting.key.at()).filter(|channel| channel.life == waiting.life) else { continue };
            channel.pending += 1;
            if let Waiting::Message(entry) = &waiting.record {
                channel.appended = entry.offset;
            }
        }
    }

    fn each_channel(&mut self, now: Moment, mut how: impl FnMut(&mut super::channel::Channel, Duration)) {
        let now = self.tick(now);
        let keys: Vec<(ChannelKey, u64)> = self.channels.iter().map(|(at, channel)| (ChannelKey::of(at), channel.life)).collect();
        for (key, life) in keys {
            self.change(key, life, |channel| how(channel, now));
        }
    }

    /// The slot's own records are known as soon as they are here.
    fn note_control(&mut self, record: &Record) {
        let shared = self.shared.get_or_insert_default();
        match record {
            Record::Open { idx, is_uncertain: true, .. } => {
                shared.uncertain.push(*idx);
                let over = shared.uncertain.len().saturating_sub(REMEMBERED_MAX);
                shared.uncertain.drain(..over);
            }
            Record::Cover { ends, .. } => {
                for end in ends {
                    match shared.covered.iter_mut().find(|known| known.epoch == end.epoch) {
                        Some(known) => known.idx = known.idx.max(end.idx),
                        None => shared.covered.push(*end),
                    }
                }
                let over = shared.covered.len().saturating_sub(REMEMBERED_MAX);
                shared.covered.drain(..over);
            }
            _ => {}
        }
    }

    fn wait(&mut self, record: Record) {
        // Lives start at 1, so no channel has this one.
        self.pending.push_back(Pending { key: ChannelKey::of(0), life: 0, record: Waiting::Control(Box::new(record)) });
    }

    fn record(&self, waiting: &Pending) -> Record {
        match &waiting.record {
            Waiting::Message(entry) => Record::Message(Arc::clone(entry)),
            Waiting::Control(record) => Record::clone(record),
            Waiting::Clear(idx) => Record::Clear { idx: *idx, channel: self.channels[waiting.key.at()].name.clone() },
        }
    }
}
