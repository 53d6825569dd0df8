//! Everything one shard owns. Only its thread touches it, so nothing here is locked or shared.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use slab::Slab;
use tokio_util::sync::CancellationToken;

use super::behind::Behind;
use super::cache::EncodeCache;
use super::ring::{LocalChannel, VACANT};
use super::session::{Listener, Place};
use super::unsent::Unsent;
use super::wheel::Wheel;
use crate::control::Register;
use crate::error::Result;
use crate::hub::{Hub, Item};
use crate::journal::{Journal, SessionId, What};
use crate::message::ChannelName;
use crate::metrics::{Front, Metrics};

/// Ticks are seconds.
pub(super) const TICK: std::time::Duration = std::time::Duration::from_secs(1);
/// Ticks in which a client may answer our last word.
pub(super) const LAST_WORD_TICKS: u32 = 2;
/// Ticks for what is under way when a stay ends: longer than a publish usually waits for room.
pub(super) const FINISH_TICKS: u32 = 4;
/// Encodings kept for those who read the log.
const ENCODE_CACHE_BYTES: usize = 2 << 20;

pub(super) struct State {
    pub(super) number: usize,
    pub(super) hub: Arc<Hub>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) bounds: super::Bounds,
    pub(super) channels: Slab<LocalChannel>,
    by_name: HashMap<ChannelName, u32, RandomState>,
    pub(super) listeners: Slab<Listener>,
    /// Channels with something to walk.
    pub(super) walking: VecDeque<u32>,
    /// Sessions that read the log. A key may be stale; the session's own flag decides.
    pub(super) behind: VecDeque<u32>,
    /// Who is not caught up, and since when.
    pub(super) late: Behind,
    /// Taken from the inbox, not yet in a ring.
    pub(super) taken: VecDeque<Item>,
    pub(super) taking: Vec<Item>,
    pub(super) missed: Vec<u32>,
    pub(super) ring_bytes: usize,
    /// What the unsent rests of all sessions hold.
    pub(super) unsent: Rc<Unsent>,
    pub(super) cache: EncodeCache,
    pub(super) wheel: Wheel,
    pub(super) tick: u32,
    /// How the cluster was at the last tick, and whether somebody who asked is still to be told.
    pub(super) is_degraded: bool,
    pub(super) owes_cluster: bool,
    pub(super) scratch: Vec<u8>,
    /// What a client said last, and what it is answered; all conversations share them.
    pub(super) input: Vec<u8>,
    pub(super) said: Vec<u8>,
    pub(super) draining: CancellationToken,
    pub(super) journal: Journal,
    pub(super) register: Register,
}

impl State {
    pub(super) fn new(number: usize, rooms: super::Rooms, bounds: super::Bounds) -> Self {
        let super::Rooms { hub, metrics, journal, register, draining } = rooms;
        let ticks = bounds.heartbeat_max.as_secs().clamp(u64::from(FINISH_TICKS), 3600) as usize;
        Self {
            number,
            hub,
            metrics,
            bounds,
            channels: Slab::new(),
            by_name: HashMap::default(),
            listeners: Slab::new(),
            walking: VecDeque::new(),
            behind: VecDeque::new(),
            late: Behind::default(),
            taken: VecDeque::new(),
            taking: Vec::new(),
            missed: Vec::new(),
            ring_bytes: 0,
            unsent: Rc::default(),
            cache: EncodeCache::new(ENCODE_CACHE_BYTES),
            wheel: Wheel::new(ticks),
            tick: 0,
            is_degraded: false,
            owes_cluster: false,
            scratch: Vec::new(),
            input: Vec::new(),
            said: Vec::new(),
            draining,
            journal,
            register,
        }
    }

    /// Tells what happened to a session.
    pub(super) fn tell(&self, session: SessionId, front: Front, what: What) {
        self.journal.tell(session, front, what, self.hub.clock().now().unix_ms);
    }

    /// Puts a listener into every channel, each made and registered with the hub when the shard did not have it yet.
    /// From then on everything committed on them reaches the shard.
    pub(super) fn listen(&mut self, key: u32, channels: &[ChannelName]) -> Result<()> {
        for name in channels {
            let local = self.local(name)?;
            let channel = &mut self.channels[local as usize];
            let place = channel.listeners.len() as u32;
            channel.listeners.push(key);
            if let Some(listener) = self.listeners.get_mut(key as usize) {
                listener.places().push(Place { local, place });
            }
            if !name.is_internal() {
                self.metrics.shard(self.number).listeners_joined(1);
            }
        }
        Ok(())
    }

    /// The shard's own number for a channel that somebody listens to here.
    pub(super) fn local_of(&self, name: &ChannelName) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    fn local(&mut self, name: &ChannelName) -> Result<u32> {
        if let Some(local) = self.by_name.get(name) {
            return Ok(*local);
        }
        loop {
            let channel = self.hub.open(name)?;
            let entry = self.channels.vacant_entry();
            let local = entry.key() as u32;
            // The handle may have died since it was opened: then there is a newer one to open.
            if let Some(base) = self.hub.listen(&channel, self.number, local) {
                self.by_name.insert(channel.name.clone(), local);
                entry.insert(LocalChannel::new(channel, base));
                return Ok(local);
            }
        }
    }

    /// Takes a listener out of all its channels and out of the shard.
    pub(super) fn remove(&mut self, key: u32) -> Option<Listener> {
        let mut listener = self.listeners.try_remove(key as usize)?;
        if let Listener::Session(session) = &mut listener {
            self.late.leave(key, session, self.metrics.shard(self.number));
        }
        let places = std::mem::take(listener.places());
        for place in places {
            self.leave(place);
        }
        Some(listener)
    }

    /// Takes a listener out of one channel.
    pub(super) fn leave(&mut self, Place { local, place }: Place) {
        let Some(channel) = self.channels.get_mut(local as usize) else { return };
        if !channel.channel.name.is_internal() {
            self.metrics.shard(self.number).listeners_left(1);
        }
        // Only marked: a walk that is halfway round must not skip the one who would move here.
        channel.listeners[place as usize] = VACANT;
        channel.vacant += 1;
        if channel.vacant == channel.listeners.len() {
            self.close_channel(local);
        } else if channel.vacant * 4 > channel.listeners.len() && channel.hand == 0 {
            self.compact(local);
        }
    }

    fn close_channel(&mut self, local: u32) {
        let mut channel = self.channels.remove(local as usize);
        self.by_name.remove(&channel.channel.name);
        self.hub.leave(&channel.channel, self.number);
        let newest = channel.newest;
        let freed = channel.reset(newest);
        self.free(freed);
        // A number in `walking` may now be stale; the walk checks.
    }

    /// Closes up the free places. Keeps the order, so that a walk's count of visits stays right.
    pub(super) fn compact(&mut self, local: u32) {
        let Some(channel) = self.channels.get_mut(local as usize) else { return };
        channel.listeners.retain(|key| *key != VACANT);
        channel.vacant = 0;
        for (place, key) in channel.listeners.iter().enumerate() {
            if let Some(listener) = self.listeners.get_mut(*key as usize)
                && let Some(known) = listener.places().iter_mut().find(|known| known.local == local)
            {
                known.place = place as u32;
            }
        }
    }

    /// Books entries that left a ring: publishers who wait for room may go on.
    pub(super) fn free(&mut self, (entries, cost): (usize, usize)) {
        if entries > 0 {
            self.ring_bytes = self.ring_bytes.saturating_sub(cost);
            self.hub.inbox(self.number).done(entries);
        }
    }

    /// Takes what is in the inbox and lays it into the rings, as far as they may grow. `false` when the inbox was not
    /// looked into, because something taken earlier still waits: then the shard must not sleep.
    pub(super) fn take_inbox(&mut self) -> bool {
        let inbox = self.hub.inbox(self.number).clone();
        // What waits here is taken only when there is room for it: the inbox is the bound.
        let looked = self.taken.is_empty();
        if looked {
            inbox.drain(&mut self.taking, &mut self.missed);
            self.book_arrivals();
            self.taken.extend(self.taking.drain(..));
            // Before anything is laid into a ring: a session on several channels must not get past what was missed.
            self.take_missed();
        }
        while self.ring_bytes < self.bounds.ring_bytes || self.walking.is_empty() {
            let Some(Item { local, entry }) = self.taken.pop_front() else { break };
            // The number may be that of a channel that closed, or of another one since.
            let Some(channel) = self.channels.get_mut(local as usize).filter(|channel| channel.channel.name.is_same(&entry.channel)) else {
                inbox.done(1);
                continue;
            };
            if entry.pos.idx <= channel.newest {
                inbox.done(1);
                continue;
            }
            self.ring_bytes += entry.cost() as usize;
            channel.push(entry);
            if !channel.queued {
                channel.queued = true;
                self.walking.push_back(local);
            }
        }
        looked
    }

    /// How long what was just taken was on its way here: one look at the clock for all of it.
    fn book_arrivals(&self) {
        if !self.taking.is_empty() {
            let (now, shard) = (self.hub.clock().mono(), self.metrics.shard(self.number));
            for item in &self.taking {
                shard.taken(now.saturating_sub(item.entry.asked()));
            }
        }
    }

    /// Channels of which entries did not fit into the inbox: forget what is here, everyone reads the log.
    fn take_missed(&mut self) {
        for local in std::mem::take(&mut self.missed) {
            let Some(channel) = self.channels.get_mut(local as usize) else { continue };
            let Some(base) = self.hub.listen_again(&channel.channel, self.number) else { continue };
            // What was pushed before lies in the log, or on a branch that the line has left.
            let waiting = self.taken.len();
            self.taken.retain(|item| item.local != local);
            self.hub.inbox(self.number).done(waiting - self.taken.len());
            let freed = channel.reset(base);
            let listeners = channel.listeners.clone();
            self.free(freed);
            for key in listeners {
                if key != VACANT {
                    self.fall_behind(key);
                }
            }
        }
    }

    /// Lets a session read the log, or tells a watch that there is something to read.
    pub(super) fn fall_behind(&mut self, key: u32) {
        match self.listeners.get_mut(key as usize) {
            Some(Listener::Session(session)) if !session.behind && session.ended.is_none() => {
                session.behind = true;
                let falls = self.late.enter(key, session, self.tick, self.metrics.shard(self.number));
                let (id, front) = (session.id, session.encoder.front());
                let is_blocked = session.rest.is_some();
                // While it is blocked its own task puts it into the queue, once the socket drained.
                if !is_blocked {
                    self.behind.push_back(key);
                }
                if falls {
                    self.tell(id, front, What::FellBehind);
                }
            }
            Some(Listener::Watch(watch)) => raise(watch),
            _ => {}
        }
    }
}

/// Wakes a watch, once however often it is raised.
pub(super) fn raise(watch: &mut super::session::Watch) {
    if !std::mem::replace(&mut watch.raised, true)
        && let Some(waker) = watch.waker.take()
    {
        waker.wake();
    }
}

/// The shard's state behind one door, so that no borrow outlives a step.
pub(super) struct Cell {
    state: RefCell<State>,
    torn: CancellationToken,
}

impl Cell {
    pub(super) fn new(state: State) -> Self {
        Self { state: RefCell::new(state), torn: CancellationToken::new() }
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.borrow_mut();
        let torn = Torn(&self.torn);
        let outcome = act(&mut state);
        // Reached only when nothing panicked.
        std::mem::forget(torn);
        outcome
    }

    /// Cancelled when a step panicked: the state may be half changed and nobody may go on with it, whichever task it was.
    pub(super) fn torn(&self) -> &CancellationToken {
        &self.torn
    }
}

/// Dropped by a panic only.
struct Torn<'a>(&'a CancellationToken);

impl Drop for Torn<'_> {
    fn drop(&mut self) {
        self.0.cancel();
    }
}
