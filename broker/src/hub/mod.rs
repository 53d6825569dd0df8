//! Who listens on this node, and the one place where log and listeners meet.
//!
//! Every channel belongs to one of 16,384 slots; a slot is one log and the listeners of its channels under one short
//! lock. Appending, giving the position and handing on happen together under it, and so do joining and replaying:
//! that is why history runs into live without a gap, a double or a second queue. This room knows no socket, no HTTP
//! and no session. Order of locks: slot, then the map of names or an inbox; never two slots.

mod append;
mod bounds;
mod census;
mod channel;
mod deliver;
mod everywhere;
mod figures;
mod inbox;
mod listen;
mod listeners;
pub mod namespace;
mod presence;
mod query;
mod rules;
mod shared;
mod signal;
mod sweep;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};
use dashmap::DashMap;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::oneshot;

pub use append::{CommitRule, Placed, Receipt, Way};
pub use bounds::Bounds;
pub use census::NamespaceSums;
pub use channel::Channel;
pub use everywhere::{Row, Rows, Told, Wanted};
pub use figures::{Lag, SlotSums};
pub use inbox::{Inbox, Item};
pub use listen::{JoinedSlot, ReadOn, SlotRead};
pub use presence::{Ear, Present, WHO_LIMIT};
pub use query::ChannelStats;
pub use rules::{RuleBook, Rules};
pub use shared::{ASKED_BYTES_MAX, ATTEND_LIMIT, Attendance, LinkId, Peers, Sent, Shared};
pub use signal::Signal;

use crate::clock::{Clock, Moment};
use crate::error::{Error, ErrorCode, Result};
use crate::log::{ChannelKey, Entry, Epoch, Pos, SLOTS, Slot, SlotLog, SlotStats};
use crate::message::ChannelName;
use crate::metrics::Metrics;
use census::Census;
use listeners::Listeners;
use presence::Presence;
use shared::Part;

/// One slot: its log, and who listens to its channels.
struct SlotState {
    log: SlotLog,
    /// By channel key; grows with the log's own slab.
    listeners: Vec<Option<Box<Listeners>>>,
    /// Publishers waiting for a commit, in index order.
    waiting: Vec<(u64, oneshot::Sender<()>)>,
    /// Its part in the cluster; none on a node that is alone.
    part: Option<Box<Part>>,
}

impl SlotState {
    fn listeners(&self, key: ChannelKey) -> Option<&Listeners> {
        self.listeners.get(key.number() as usize)?.as_deref()
    }

    fn listeners_mut(&mut self, key: ChannelKey) -> &mut Listeners {
        let index = key.number() as usize;
        if self.listeners.len() <= index {
            self.listeners.resize_with(index + 1, || None);
        }
        self.listeners[index].get_or_insert_default()
    }

    /// `true` when nobody listens to it.
    fn drop_listeners_if_none(&mut self, key: ChannelKey) -> bool {
        let Some(place) = self.listeners.get_mut(key.number() as usize) else { return true };
        if place.as_ref().is_some_and(|listeners| listeners.is_empty()) {
            *place = None;
        }
        place.is_none()
    }
}

/// All slots of this node and the way from a name to its channel.
pub struct Hub {
    slots: Box<[Mutex<Option<Box<SlotState>>>]>,
    channels: DashMap<ChannelName, Arc<Channel>, RandomState>,
    rules: ArcSwap<RuleBook>,
    inboxes: Vec<Arc<Inbox>>,
    bounds: bounds::Current,
    epoch: Epoch,
    commit_rule: CommitRule,
    clock: Clock,
    metrics: Arc<Metrics>,
    totals: Totals,
    census: Census,
    /// A part of the cluster may go on without this node.
    is_degraded: AtomicBool,
    presence: Presence,
    /// Where the next search for room in the histories begins.
    history_hand: AtomicUsize,
}

/// Sums over all slots, kept beside them so that reading them takes no lock.
#[derive(Default)]
struct Totals {
    channels: AtomicUsize,
    channels_silent: AtomicUsize,
    history_bytes: AtomicU64,
    history_messages: AtomicU64,
    dedupe_ids: AtomicU64,
    dedupe_shortened: AtomicU64,
}

impl Totals {
    /// Books what a slot became from what it was. The sums wrap on the way when a slot shrank, and come out right.
    fn book(&self, before: &SlotStats, after: &SlotStats) {
        let add = |sum: &AtomicU64, before: u64, after: u64| {
            if before != after {
                sum.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
            }
        };
        add(&self.history_bytes, before.bytes, after.bytes);
        add(&self.history_messages, before.entries, after.entries);
        add(&self.dedupe_ids, before.dedupe_ids, after.dedupe_ids);
        add(&self.dedupe_shortened, before.dedupe_shortened_total, after.dedupe_shortened_total);
    }
}

/// The sums over all slots, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubTotals {
    /// Channels with state.
    pub channels: usize,
    /// Of these, those that nobody ever published to.
    pub channels_silent: usize,
    /// Bytes of all histories.
    pub history_bytes: u64,
    /// Messages in all histories.
    pub history_messages: u64,
    /// Publish ids remembered.
    pub dedupe_ids: u64,
    /// How often ids were forgotten before their time.
    pub dedupe_shortened: u64,
}

impl Hub {
    /// A hub whose slots all belong to `epoch`, delivering to one inbox per shard.
    #[must_use]
    pub fn new(
        rules: RuleBook,
        inboxes: Vec<Arc<Inbox>>,
        bounds: Bounds,
        epoch: Epoch,
        commit_rule: CommitRule,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            slots: (0..SLOTS).map(|_| Mutex::new(None)).collect(),
            channels: DashMap::with_hasher(RandomState::default()),
            rules: ArcSwap::from_pointee(rules),
            inboxes,
            bounds: bounds::Current::new(bounds),
            epoch,
            commit_rule,
            clock,
            metrics,
            totals: Totals::default(),
            census: Census::default(),
            is_degraded: AtomicBool::new(false),
            presence: Presence::new(),
            history_hand: AtomicUsize::new(0),
        }
    }

    /// The clock all rooms of this node share.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The rules of every namespace, as of now.
    #[must_use]
    pub fn rules(&self) -> Guard<Arc<RuleBook>> {
        self.rules.load()
    }

    /// Other rules and bounds from now on. Channels that there are keep their history; what is over a lower bound leaves as
    /// room is asked for.
    pub fn exchange(&self, namespaces: &namespace::Namespaces, bounds: Bounds) {
        self.rules.rcu(|now| now.changed_to(namespaces));
        self.bounds.set(bounds);
    }

    fn bounds(&self) -> Bounds {
        self.bounds.get()
    }

    /// Whether a part of the cluster may go on without this node, so that what is published there comes late. Never on a node alone.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.is_degraded.load(Ordering::Relaxed)
    }

    /// Says so. Listeners that asked for it are told within a second.
    pub fn set_degraded(&self, is_degraded: bool) {
        self.is_degraded.store(is_degraded, Ordering::Relaxed);
    }

    /// The inbox of one shard.
    #[must_use]
    pub fn inbox(&self, shard: usize) -> &Arc<Inbox> {
        &self.inboxes[shard]
    }

    /// The inboxes of all shards, in the order of their numbers.
    pub fn inboxes(&self) -> impl Iterator<Item = &Inbox> {
        self.inboxes.iter().map(|inbox| &**inbox)
    }

    /// The sums over all slots.
    #[must_use]
    pub fn totals(&self) -> HubTotals {
        HubTotals {
            channels: self.totals.channels.load(Ordering::Relaxed),
            channels_silent: self.totals.channels_silent.load(Ordering::Relaxed),
            history_bytes: self.totals.history_bytes.load(Ordering::Relaxed),
            history_messages: self.totals.history_messages.load(Ordering::Relaxed),
            dedupe_ids: self.totals.dedupe_ids.load(Ordering::Relaxed),
            dedupe_shortened: self.totals.dedupe_shortened.load(Ordering::Relaxed),
        }
    }

    /// The position of the newest committed record of a slot: where someone who joins live stands.
    #[must_use]
    pub fn commit(&self, slot: Slot) -> Pos {
        self.with_slot(slot, |state| state.log.commit())
    }

    /// The channel of this name for who listens to it, made when there is none. Listening is cheap and open to many, so the
    /// channels that it makes have a bound of their own: it cannot use up those of publishers.
    ///
    /// # Errors
    /// `overloaded` when there are as many channels as the bounds allow.
    pub fn open(&self, name: &ChannelName) -> Result<Arc<Channel>> {
        if let Some(channel) = self.find(name) {
            return Ok(channel);
        }
        if self.totals.channels_silent.load(Ordering::Relaxed) >= self.bounds().channels_silent {
            return Err(Error::new(
                ErrorCode::Overloaded,
                format!(
                    "as many channels are listened to that nobody has published to as this broker keeps ({}, limits.channels_silent)",
                    self.bounds().channels_silent
                ),
            ));
        }
        self.make(name)
    }

    /// As [`Hub::open`], for who is about to publish to it.
    ///
    /// # Errors
    /// As [`Hub::open`].
    fn open_to_publish(&self, name: &ChannelName) -> Result<Arc<Channel>> {
        self.find(name).map_or_else(|| self.make(name), Ok)
    }

    fn make(&self, name: &ChannelName) -> Result<Arc<Channel>> {
        if self.totals.channels.load(Ordering::Relaxed) >= self.bounds().channels {
            return Err(self.too_many_channels());
        }
        let slot = Slot::of(name);
        let now = self.clock.now();
        Ok(self.with_slot(slot, |state| {
            let channel = self.open_in(&mut state.log, slot, name, now);
            if let Some(part) = &mut state.part {
                part.open.insert(channel.key);
            }
            channel
        }))
    }

    /// As [`Hub::open`], under the slot's lock and whatever the bound.
    fn open_in(&self, log: &mut SlotLog, slot: Slot, name: &ChannelName, now: Moment) -> Arc<Channel> {
        // Looked up again under the slot's lock: only here are names added and removed.
        let place = match self.channels.entry(name.clone()) {
            dashmap::Entry::Occupied(known) => return known.get().clone(),
            dashmap::Entry::Vacant(place) => place,
        };
        let book = self.rules();
        let (namespace, rules) = book.of(name);
        let key = log.open_channel(name.clone(), namespace, rules.retention, now);
        if rules.conflates {
            log.conflate(key);
        }
        let channel = Arc::new(Channel::new(name.clone(), slot, key, namespace, rules));
        place.insert(channel.clone());
        self.totals.channels.fetch_add(1, Ordering::Relaxed);
        self.totals.channels_silent.fetch_add(1, Ordering::Relaxed);
        channel
    }

    /// Something was published to the channel: it counts as silent no longer.
    fn speak(&self, channel: &Channel) {
        if channel.speak() {
            self.totals.channels_silent.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn too_many_channels(&self) -> Error {
        Error::new(
            ErrorCode::Overloaded,
            format!("there are as many channels as this broker keeps ({}, limits.channels)", self.bounds().channels),
        )
    }

    /// The channel of this name, if it has state.
    #[must_use]
    pub fn find(&self, name: &ChannelName) -> Option<Arc<Channel>> {
        self.channels.get(name).map(|channel| channel.clone())
    }

    fn with_slot<T>(&self, slot: Slot, act: impl FnOnce(&mut SlotState) -> T) -> T {
        let mut place = self.slots[usize::from(slot.number())].lock();
        let state = place.get_or_insert_with(|| {
            let log = SlotLog::new(slot, self.epoch);
            let part = match &self.commit_rule {
                CommitRule::Shared(shared) => Some(Box::new(Part::new(shared, slot))),
                CommitRule::AtOnce | CommitRule::Later(_) => None,
            };
            Box::new(SlotState { log, listeners: Vec::new(), waiting: Vec::new(), part })
        });
        let before = state.log.stats();
        let outcome = act(state);
        self.totals.book(&before, &state.log.stats());
        outcome
    }

    /// Acts on a channel under its slot's lock. `None` when the handle died: look the name up again.
    fn with_channel<T>(&self, channel: &Channel, act: impl FnOnce(&mut SlotState) -> T) -> Option<T> {
        self.with_slot(channel.slot, |state| (!channel.is_dead()).then(|| act(state)))
    }

    /// Forgets a channel, under its slot's lock; its handles are dead from now on.
    fn close(&self, state: &mut SlotState, key: ChannelKey) {
        let name = state.log.close_channel(key);
        if let Some(part) = &mut state.part {
            part.open.remove(&key);
        }
        if let Some((_, channel)) = self.channels.remove(&name) {
            channel.bury();
            self.totals.channels.fetch_sub(1, Ordering::Relaxed);
            self.speak(&channel);
        }
    }

    /// Counts what left the histories and frees it. Not under the lock: freeing is work.
    fn free(&self, evicted: Vec<Arc<Entry>>) {
        if !evicted.is_empty() {
            self.metrics.evicted(evicted.len() as u64);
        }
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("epoch", &self.epoch).field("totals", &self.totals()).finish_non_exhaustive()
    }
}
