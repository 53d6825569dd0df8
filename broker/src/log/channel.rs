//! One channel's history: committed messages in order, and what is known of those that left.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::copy::ChannelState;
use super::dedupe::Life;
use super::entry::Entry;
use super::gap::GapReason;
use super::retention::{NamespaceId, Retention};
use crate::clock::Moment;
use crate::message::ChannelName;

/// The state of one open channel. Times are monotonic, indices are those of the slot's line.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: ChannelName,
    pub(super) namespace: NamespaceId,
    /// Told apart from the channel that had the same key before.
    pub(super) life: Life,
    /// Offset of the newest appended message, committed or not.
    pub(super) appended: u64,
    /// Offset of the newest committed message.
    pub(super) offset: u64,
    /// Index of the newest committed message; the inherited floor while there is none.
    pub(super) last: u64,
    /// Appended records that are not committed yet.
    pub(super) pending: u32,
    /// Until when one of its publish ids is remembered: as long it must stay open, since ids belong to its life.
    pub(super) ids_until: Duration,
    /// When the slot looks at it next; kept here so that the slot finds its row.
    pub(super) due: Duration,
    /// Listeners that are behind get the newest message only.
    pub(super) conflates: bool,
    retention: Retention,
    /// Ascending by index, and by `accepted`. Those with a shorter life of their own may have expired in the middle.
    entries: VecDeque<Arc<Entry>>,
    /// When the first of them expires, kept here because it lies far away when a message comes; the end of time for none.
    front_expires: Duration,
    bytes: u64,
    /// The highest index of a message that is lost: who has read up to here has missed nothing that is not kept.
    floor: u64,
    /// The floor it was opened with, for lack of knowledge.
    inherited: u64,
    /// Index of the newest clear.
    cleared_at: u64,
    /// When its newest record was committed. Not when it was accepted: cursors are made of what is committed.
    active: Option<Duration>,
    /// A time before which no message expires by a life of its own.
    short_next: Duration,
}

/// A channel as a reader sees it at one moment, which may be ahead of the sweep.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    channel: &'a Channel,
    now: Moment,
    /// Entries at the front that are expired but not swept.
    skip: usize,
    /// [`Channel::floor`] as if they were.
    pub(super) floor: u64,
}

impl Channel {
    pub(super) fn open(name: ChannelName, namespace: NamespaceId, retention: Retention, floor: u64, life: Life) -> Self {
        Self {
            name,
            namespace,
            life,
            appended: 0,
            offset: 0,
            last: floor,
            pending: 0,
            ids_until: Duration::ZERO,
            due: Duration::MAX,
            conflates: false,
            retention,
            entries: VecDeque::new(),
            front_expires: Duration::MAX,
            bytes: 0,
            floor,
            inherited: floor,
            cleared_at: 0,
            active: None,
            short_next: Duration::MAX,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    /// Index of the oldest message kept.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.pos.idx)
    }

    /// When the newest message kept up to an index was accepted.
    pub(super) fn accepted_before(&self, idx: u64) -> Duration {
        let count = self.entries.partition_point(|entry| entry.pos.idx <= idx);
        count.checked_sub(1).map_or(Duration::ZERO, |at| self.entries[at].accepted.mono)
    }

    /// Gives up the oldest message, for want of room.
    pub(super) fn give_up_oldest(&mut self, evicted: &mut Vec<Arc<Entry>>) {
        self.evict_front(evicted);
    }

    /// Whether a message's end is no loss to anybody.
    pub(super) fn is_short(&self, entry: &Entry) -> bool {
        is_short(entry, self.retention.ttl)
    }

    /// When a message accepted now expires, if it asks for a life of its own.
    pub(super) fn expiry(&self, accepted: Duration, own: Option<Duration>) -> Duration {
        accepted.saturating_add(own.map_or(self.retention.ttl, |own| own.min(self.retention.ttl)))
    }

    /// Takes a message that was committed, and hands out what it displaces.
    pub(super) fn keep(&mut self, entry: &Arc<Entry>, now: Duration, evicted: &mut Vec<Arc<Entry>>) {
        debug_assert!(entry.pos.idx > self.last, "commits come in order");
        self.last = entry.pos.idx;
        self.offset = entry.offset;
        self.active = Some(now);
        let is_short = is_short(entry, self.retention.ttl);
        if is_short && entry.expires <= now {
            return;
        }
        if self.retention.size == 0 {
            self.floor = entry.pos.idx;
            return;
        }
        if is_short {
            self.short_next = self.short_next.min(entry.expires);
        }
        self.bytes += entry.cost();
        if self.entries.is_empty() {
            self.front_expires = entry.expires;
        }
        self.entries.push_back(Arc::clone(entry));
        self.trim(now, evicted);
    }

    /// Forgets all messages; `idx` is that of the record that says so.
    pub(super) fn clear(&mut self, idx: u64, now: Duration, evicted: &mut Vec<Arc<Entry>>) {
        self.cleared_at = idx;
        self.active = Some(now);
        // What expired unnoticed so far is not lost by the clear; who missed nothing else has no gap.
        self.trim(now, evicted);
        if let Some(newest) = self.entries.back() {
            self.floor = newest.pos.idx;
        }
        self.bytes = 0;
        self.short_next = Duration::MAX;
        self.front_expires = Duration::MAX;
        evicted.extend(self.entries.drain(..));
    }

    /// Hands out what is past a bound: expired messages, then the oldest.
    pub(super) fn trim(&mut self, now: Duration, evicted: &mut Vec<Arc<Entry>>) {
        // First those whose own life is over: what goes at the front after that is a loss.
        if self.short_next <= now {
            self.evict_short(now, evicted);
        }
        while !self.entries.is_empty() && self.front_expires <= now {
            self.evict_front(evicted);
        }
        while self.entries.len() > self.retention.size as usize || self.bytes > self.retention.bytes {
            self.evict_front(evicted);
        }
        // A burst must not hold its room for ever.
        if self.entries.len() * 4 < self.entries.capacity() && self.entries.capacity() > 64 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    /// When something is to be done next: a message expires, or the channel may be closed.
    pub(super) fn next_due(&self) -> Duration {
        if self.entries.is_empty() { self.quiet_until() } else { self.front_expires.min(self.short_next) }
    }

    /// Whether nothing is lost when its state is: no messages, no remembered ids, and no cursor younger than the ttl
    /// that could meet the floor it leaves behind.
    pub(super) fn may_close(&self, now: Duration) -> bool {
        self.entries.is_empty() && self.pending == 0 && self.quiet_until() <= now
    }

    /// Why a reader who has read up to `after` is missing messages.
    pub(super) fn gap_reason(&self, after: u64, floor: u64) -> GapReason {
        if self.is_cleared_since(after) {
            GapReason::Cleared
        } else if floor == self.inherited {
            GapReason::Unknown
        } else {
            GapReason::Window
        }
    }

    pub(super) fn is_cleared_since(&self, after: u64) -> bool {
        after < self.cleared_at
    }

    pub(super) fn view(&self, now: Moment) -> View<'_> {
        // Accepted times ascend, so those that lived as long as any may stand at the front only.
        let expired = self.entries.iter().take_while(|entry| entry.is_expired(now));
        let (mut skip, mut floor) = (0, self.floor);
        for entry in expired {
            skip += 1;
            if !is_short(entry, self.retention.ttl) {
                floor = entry.pos.idx;
            }
        }
        View { channel: self, now, skip, floor }
    }

    /// The oldest state from which everything after `keep` can be told; see [`ChannelState`].
    pub(super) fn state(&self, keep: u64, now: Moment) -> ChannelState {
        let view = self.view(now);
        ChannelState {
            name: self.name.clone(),
            keep,
            floor: view.floor,
            inherited: self.inherited,
            cleared_at: self.cleared_at,
            offset: self.offset,
            last: self.last,
            idle: self.active.map(|at| now.mono.saturating_sub(at)),
            entries: view.after(keep).cloned().collect(),
            ids: Vec::new(),
        }
    }

    /// Takes over what another node knows of the channel; of its own messages those up to `keep` stay.
    pub(super) fn restore(&mut self, state: &ChannelState, now: Duration, evicted: &mut Vec<Arc<Entry>>) {
        self.cut(state.keep, evicted);
        let is_exact = state.keep > 0;
        self.floor = if is_exact { self.floor.max(state.floor) } else { state.floor };
        self.inherited = if is_exact { self.inherited.max(state.inherited) } else { state.inherited };
        self.cleared_at = if is_exact { self.cleared_at.max(state.cleared_at) } else { state.cleared_at };
        (self.offset, self.appended, self.last) = (state.offset, state.offset, state.last);
        self.active = state.idle.map(|idle| now.saturating_sub(idle));
        while self.entries.front().is_some_and(|oldest| oldest.pos.idx <= self.floor) {
            self.evict_front(evicted);
        }
        for entry in &state.entries {
            if self.retention.size == 0 {
                self.floor = self.floor.max(entry.pos.idx);
                continue;
            }
            self.bytes += entry.cost();
            if is_short(entry, self.retention.ttl) {
                self.short_next = self.short_next.min(entry.expires);
            }
            self.entries.push_back(Arc::clone(entry));
        }
        self.note_front();
        self.trim(now, evicted);
    }

    /// Forgets everything after an index.
    pub(super) fn cut(&mut self, idx: u64, evicted: &mut Vec<Arc<Entry>>) {
        while self.entries.back().is_some_and(|newest| newest.pos.idx > idx) {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= entry.cost();
                evicted.push(entry);
            }
        }
        self.note_front();
        self.floor = self.floor.min(idx);
        self.cleared_at = self.cleared_at.min(idx);
        self.inherited = self.inherited.min(idx);
        self.last = self.last.min(idx);
        self.appended = self.offset;
    }

    /// Kept messages after an index.
    pub(super) fn beyond(&self, idx: u64) -> impl Iterator<Item = &Arc<Entry>> {
        let start = self.entries.partition_point(|entry| entry.pos.idx <= idx);
        self.entries.range(start..)
    }

    /// How many messages kept after an index are still to be read by a listener.
    pub(super) fn kept_after(&self, idx: u64) -> u64 {
        let count = self.entries.len() - self.entries.partition_point(|entry| entry.pos.idx <= idx);
        if self.conflates { count.min(1) as u64 } else { count as u64 }
    }

    fn quiet_until(&self) -> Duration {
        let quiet = self.active.map_or(Duration::ZERO, |at| at.saturating_add(self.retention.ttl.saturating_mul(2)));
        quiet.max(self.ids_until)
    }

    fn note_front(&mut self) {
        self.front_expires = self.entries.front().map_or(Duration::MAX, |entry| entry.expires);
    }

    /// The one way out at the front: a message that goes before its own time is lost, and the floor says so. A copy may hold older ones
    /// than its floor for a moment, which takes nothing from what it says.
    fn evict_front(&mut self, evicted: &mut Vec<Arc<Entry>>) {
        let Some(entry) = self.entries.pop_front() else { return };
        self.note_front();
        self.bytes -= entry.cost();
        self.floor = self.floor.max(entry.pos.idx);
        evicted.push(entry);
    }

    /// Takes out those whose own life is over, wherever they stand, without a loss.
    fn evict_short(&mut self, now: Duration, evicted: &mut Vec<Arc<Entry>>) {
        let ttl = self.retention.ttl;
        let (mut next, mut bytes) = (Duration::MAX, 0);
        self.entries.retain(|entry| {
            if !is_short(entry, ttl) {
                return true;
            }
            if entry.expires <= now {
                bytes += entry.cost();
                evicted.push(Arc::clone(entry));
                return false;
            }
            next = next.min(entry.expires);
            true
        });
        self.note_front();
        self.bytes -= bytes;
        self.short_next = next;
    }
}

impl<'a> View<'a> {
    /// Messages after an index, oldest first.
    pub(super) fn after(self, idx: u64) -> impl Iterator<Item = &'a Arc<Entry>> {
        let entries = &self.channel.entries;
        let start = entries.partition_point(|entry| entry.pos.idx <= idx).max(self.skip);
        entries.range(start..).filter(move |entry| !entry.is_expired(self.now))
    }

    /// Messages before an index, newest first.
    pub(super) fn before(self, idx: u64) -> impl Iterator<Item = &'a Arc<Entry>> {
        let entries = &self.channel.entries;
        let end = entries.partition_point(|entry| entry.pos.idx < idx).max(self.skip);
        entries.range(self.skip..end).rev().filter(move |entry| !entry.is_expired(self.now))
    }
}

/// Whether its publisher gave it a shorter life than the namespace: then its end is no loss to anybody.
fn is_short(entry: &Entry, ttl: Duration) -> bool {
    entry.expires < entry.accepted.mono.saturating_add(ttl)
}
