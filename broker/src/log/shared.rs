//! A log with more than one writer over time: copying it, taking records from outside, opening epochs, leaving a branch.
//!
//! The home appends; a follower holds every record; an edge holds single channels, and its indices have holes where the
//! others' records are. All three are read by the same code.

use std::sync::Arc;
use std::time::Duration;

use super::copy::{ChannelState, Floor, Lack, Lost, LostAt, LostOf, Record};
use super::cursor::SlotCursor;
use super::dedupe::Dedupe;
use super::entry::{Adopted, Entry, Waited};
use super::line::{Line, Place};
use super::pos::{Epoch, Pos};
use super::slot::{Appended, ChannelKey, Pending, SlotLog, Waiting};
use super::trail::{Fresh, Trail};
use crate::clock::Moment;

/// Epochs whose beginning is uncertain, branches that are covered and what they had lost, that one log remembers.
const REMEMBERED_MAX: usize = 64;
/// Losses that one record names; if there are more, anything may be lost.
const LOST_MAX: usize = 32;

/// What a line with several writers carries besides its records.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Where epochs begin before which something acknowledged may be lost; ascending.
    pub(super) uncertain: Vec<u64>,
    /// Other branches that are part of this line.
    pub(super) covered: Vec<Covered>,
    /// What these had lost; ascending by where that is said.
    pub(super) lost: Vec<LostAt>,
    /// The trail of what is being written.
    pub(super) fresh: Option<Fresh>,
    /// A mistake to make, for tests of the simulator.
    #[cfg(debug_assertions)]
    pub(super) has_no_trails: bool,
    /// When the newest message that came from outside was accepted.
    newest: Duration,
}

/// A stretch of another branch that is part of the line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Covered {
    /// Index of the record that says so.
    pub(super) at: u64,
    /// The last position of the stretch.
    pub(super) end: Pos,
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
    /// What these had lost.
    pub lost: Vec<LostAt>,
}

impl SlotLog {
    /// From now on others write this line too: a cursor may be ahead of it.
    pub fn share(&mut self) {
        self.shared.get_or_insert_default();
    }

    /// Begins a new line, on which nothing of before is known. Every cursor of before gets a gap; what was before may live
    /// elsewhere and come back if that `is_uncertain`.
    pub fn renew(&mut self, epoch: Epoch, is_uncertain: bool, now: Moment, evicted: &mut Vec<Arc<Entry>>) {
        self.leave_branch(0, evicted);
        self.line = Line::begin(epoch);
        self.commit = self.line.head().idx;
        self.floors.clear();
        let start = self.commit;
        let uncertain = if is_uncertain { vec![start] } else { Vec::new() };
        self.shared = Some(Box::new(Shared { uncertain, ..Shared::default() }));
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
        let record = Record::Cover { idx: pos.idx, ends, lost: Vec::new() };
        self.note_control(&record);
        self.wait(record.clone());
        record
    }

    /// Appends the record that says: this was lost on other branches. It comes before what is left of them: who has read that counts as
    /// one who has read the branch.
    pub fn append_lost(&mut self, lost: Vec<Lost>) -> Record {
        let pos = self.line.advance();
        let record = Record::Cover { idx: pos.idx, ends: Vec::new(), lost };
        self.note_control(&record);
        self.wait(record.clone());
        record
    }

    /// Whether the record that first stood here is part of this line, as itself or as a copy.
    #[must_use]
    pub fn includes(&self, birth: Pos) -> bool {
        let is_part = |covered: &Covered| covered.end.epoch == birth.epoch && birth.idx <= covered.end.idx;
        let is_covered = |shared: &Shared| shared.covered.iter().any(is_part);
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
        // Order of ages within a channel is that of `accepted`, so that is now. Its life begins anew: those who did not hear of it
        // have the time they always have. Only a life that its publisher gave it is not made longer.
        let accepted = Moment { mono, unix_ms: entry.accepted.unix_ms };
        let expires = if channel.is_short(entry) { entry.expires.max(mono) } else { channel.expiry(mono, None) };
        let channel = channel.name.clone();
        let trail = self.trail(expires.saturating_sub(mono), mono);
        let entry = Entry {
            pos,
            offset,
            channel,
            accepted,
            waited: Waited::NONE,
            expires,
            adopted: Some(Box::new(adopted)),
            trail: trail.clone(),
            ..entry.clone()
        };
        let id = entry.id.clone();
        self.pending.push_back(Pending { key, life, record: Waiting::Message(Arc::new(entry)) });
        Some(Appended { pos, offset, id, duplicate: false, trail })
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
                let trail = self.trail(entry.expires.saturating_sub(entry.accepted.mono), mono);
                let channel = &mut self.channels[key.at()];
                channel.appended = entry.offset;
                channel.pending += 1;
                if let (Some(room), Some(id)) = (dedupe_room, entry.publish_id()) {
                    self.dedupe.remember(channel.life, &id, (idx, entry.offset), mono, room);
                    channel.ids_until = channel.ids_until.max(mono.saturating_add(Dedupe::window(&id)));
                }
                let mut entry = Arc::unwrap_or_clone(entry);
                let accepted = accepted_here(&entry, newest, mono);
                accept_at(&mut entry, accepted);
                entry.channel = channel.name.clone();
                entry.trail = trail;
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

    /// Other branches that are part of this line as far as it is committed, by their last positions.
    #[must_use]
    pub fn covered(&self) -> Vec<Pos> {
        let covered = self.shared.iter().flat_map(|shared| &shared.covered);
        covered.filter(|covered| covered.at <= self.commit).map(|covered| covered.end).collect()
    }

    /// What the branches that are part of this line had lost, as far as it is committed.
    #[must_use]
    pub fn lost(&self) -> Vec<LostAt> {
        let lost = self.shared.iter().flat_map(|shared| &shared.lost);
        lost.filter(|lost| lost.at <= self.commit).cloned().collect()
    }

    /// What has left this log of what it held beyond an index: a line that takes the rest over cannot have it.
    #[must_use]
    pub fn lost_beyond(&self, idx: u64) -> Vec<Lost> {
        // A line holds nothing before its first record.
        let idx = idx.max(self.line.segments()[0].start);
        let closed = self.floors.iter().filter(|(_, floor)| *floor > idx);
        let mut lost: Vec<Lost> =
            closed.map(|(namespace, floor)| Lost { of: LostOf::Namespace(*namespace), upto: self.line.pos(*floor) }).collect();
        for (_, channel) in self.channels.iter().filter(|(_, channel)| channel.floor() > idx) {
            add_lost(&mut lost, Lost { of: LostOf::Channel(channel.name.clone()), upto: self.line.pos(channel.floor()) });
        }
        // What this line tells its own readers, those of the other one are to be told as well.
        for uncertain in self.uncertain().iter().filter(|opened| **opened > idx) {
            add_lost(&mut lost, Lost { of: LostOf::Anything, upto: self.line.pos(*uncertain) });
        }
        for told in self.shared.iter().flat_map(|shared| &shared.lost).filter(|lost| lost.at > idx) {
            add_lost(&mut lost, told.lost.clone());
        }
        lost
    }

    /// Whether a message's end is a loss to those who have not got it: its publisher did not ask for it.
    #[must_use]
    pub fn is_missed(&self, key: Option<ChannelKey>, entry: &Entry) -> bool {
        key.is_none_or(|key| !self.channels[key.at()].is_short(entry))
    }

    /// What behind an index this line says of messages of a channel that other branches had lost. What this cursor has read there is
    /// left out.
    pub(super) fn lost_after<'a>(
        &'a self,
        key: ChannelKey,
        after: u64,
        cursor: Option<&'a SlotCursor>,
    ) -> impl Iterator<Item = &'a LostAt> + 'a {
        let channel = &self.channels[key.at()];
        let is_its = move |of: &LostOf| match of {
            LostOf::Channel(name) => *name == channel.name,
            LostOf::Namespace(namespace) => *namespace == channel.namespace,
            LostOf::Anything => true,
        };
        let has_read =
            move |upto: Pos| cursor.is_some_and(|cursor| cursor.positions().any(|seen| seen.epoch == upto.epoch && seen.idx >= upto.idx));
        let all = self.shared.iter().flat_map(|shared| &shared.lost).filter(move |lost| after < lost.at && lost.at <= self.commit);
        all.filter(move |LostAt { lost, .. }| is_its(&lost.of) && !has_read(lost.upto))
    }

    /// Whether a reader of a channel who has read up to here is still to be told that something of it is lost.
    ///
    /// # Panics
    /// When the channel is not open.
    #[must_use]
    pub fn is_lost_after(&self, key: ChannelKey, idx: u64) -> bool {
        self.lost_after(key, idx, None).next().is_some()
    }

    /// Whether between two indices this line says that something is lost.
    pub(crate) fn tells_loss(&self, after: u64, upto: u64) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.lost.iter().any(|lost| after < lost.at && lost.at <= upto))
    }

    /// Whether a reader who has read up to here is still to be told that something may be lost.
    #[must_use]
    pub fn is_uncertain_after(&self, idx: u64) -> bool {
        self.uncertain().iter().any(|opened| idx < *opened && *opened <= self.commit)
    }

    /// Whether the line began anew while what was before may live elsewhere.
    pub(super) fn is_uncertain_at_all(&self) -> bool {
        self.uncertain().first() == Some(&self.line.segments()[0].start)
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

    /// What a copy lacks that holds everything up to an index; `None` when nothing is kept here that it has not.
    #[must_use]
    pub fn lack(&self, idx: u64) -> Option<Lack> {
        let beyond = self.head().idx.saturating_sub(idx);
        if beyond == 0 {
            return None;
        }
        let waiting = self.pending.range(self.pending.partition_point(|waiting| waiting.idx() <= idx)..);
        let kept = self.channels.iter().filter_map(|(_, channel)| channel.beyond(idx).next());
        let oldest_kept = kept.min_by_key(|entry| entry.pos.idx);
        let oldest = oldest_kept.or_else(|| waiting.clone().find_map(Pending::message)).map(|entry| entry.accepted.mono);
        // Of a line as long as the slot has lived no more than this is still here to be had.
        let records = beyond.min(self.stats().entries + waiting.count() as u64);
        (records > 0).then_some(Lack { records, oldest })
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
        let mut newest = self.shared.get_or_insert_default().newest;
        for (key, mut state) in copied.channels {
            self.mark_trails(&mut state.entries);
            let kept = self.channels[key.at()].accepted_before(state.keep);
            newest = newest.max(order_ages(&mut state.entries, kept, mono));
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
        shared.newest = newest;
        shared.uncertain = copied.uncertain;
        // They are part of the state, so whoever has read up to there has read what they say. What is not committed is not in it.
        let at = copied.line.head().idx;
        let waiting = shared.covered.extract_if(.., |covered| covered.at > at).collect::<Vec<_>>();
        shared.covered = copied.covered.into_iter().map(|end| Covered { at, end }).chain(waiting).collect();
        let waiting = shared.lost.extract_if(.., |lost| lost.at > at).collect::<Vec<_>>();
        shared.lost = copied.lost.into_iter().chain(waiting).collect();
        shared.fresh = None;
    }

    /// Messages from another node come without their trails.
    fn mark_trails(&self, entries: &mut [Arc<Entry>]) {
        let mut last: Option<(Epoch, Trail)> = None;
        for entry in entries {
            let epoch = entry.pos.epoch;
            let (_, trail) = match last.take_if(|(known, _)| *known == epoch) {
                Some(known) => last.insert(known),
                None => last.insert((epoch, self.trail_of(epoch))),
            };
            if entry.trail != *trail {
                Arc::make_mut(entry).trail = trail.clone();
            }
        }
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
        if let Some(shared) = &mut self.shared {
            shared.uncertain.retain(|opened| *opened <= fork);
            shared.covered.retain(|covered| covered.at <= fork);
            shared.lost.retain(|lost| lost.at <= fork);
            shared.fresh = None;
        }
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
            Record::Cover { idx, ends, lost } => {
                shared.covered.extend(ends.iter().map(|end| Covered { at: *idx, end: *end }));
                shared.fresh = None;
                let over = shared.covered.len().saturating_sub(REMEMBERED_MAX);
                shared.covered.drain(..over);
                shared.lost.extend(lost.iter().map(|lost| LostAt { at: *idx, lost: lost.clone() }));
                // What there is no room for is told in other words.
                while shared.lost.len() > REMEMBERED_MAX {
                    let at = shared.lost.remove(0).at;
                    if let Err(place) = shared.uncertain.binary_search(&at) {
                        shared.uncertain.insert(place, at);
                    }
                }
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

/// When a message of another node was accepted, in this node's time. Clocks of two nodes tick apart: ages must still ascend with indices,
/// and lie in the past.
fn accepted_here(entry: &Entry, newest: Duration, now: Duration) -> Duration {
    entry.accepted.mono.max(newest).min(now)
}

/// Moves a message's life, which stays as long.
fn accept_at(entry: &mut Entry, accepted: Duration) {
    entry.expires = accepted.saturating_add(entry.expires.saturating_sub(entry.accepted.mono));
    entry.accepted.mono = accepted;
}

/// Makes ages of one channel's messages ascend behind one that was accepted at `newest`. Returns when the last one was.
fn order_ages(entries: &mut [Arc<Entry>], newest: Duration, now: Duration) -> Duration {
    entries.iter_mut().fold(newest, |newest, entry| {
        let accepted = accepted_here(entry, newest, now);
        if accepted != entry.accepted.mono {
            accept_at(Arc::make_mut(entry), accepted);
        }
        accepted
    })
}

/// Adds what is lost to what is known to be; of one branch's stretch the last says it all.
pub fn add_lost(known: &mut Vec<Lost>, more: Lost) {
    let has_room = known.len() < LOST_MAX || more.of == LostOf::Anything;
    match known.iter_mut().find(|lost| lost.of == more.of && lost.upto.epoch == more.upto.epoch) {
        Some(lost) => lost.upto.idx = lost.upto.idx.max(more.upto.idx),
        None if has_room => known.push(more),
        None => add_lost(known, Lost { of: LostOf::Anything, ..more }),
    }
}

#[cfg(test)]
mod tests;
