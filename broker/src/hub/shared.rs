//! A hub whose slots are shared with other nodes: each slot has a part in the cluster beside its log, which is told what
//! happens and says what is to be done. Everything here runs under the slot's lock; nothing waits.

mod attend;
mod held;
mod settle;
mod way;
mod wishes;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::{HashSet, HashSetExt};
use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use smallvec::SmallVec;
use tokio::sync::oneshot;

pub use attend::{ATTEND_LIMIT, Attendance};
pub use way::ASKED_BYTES_MAX;
use way::{OnItsWay, Way};
use wishes::{Begun, Waiting, Wish};

use super::everywhere::{Told, Wanted};
use super::{Channel, Hub, SlotState};
use crate::clock::Moment;
use crate::cluster::core::frame::{Ask, Done, Terms};
use crate::cluster::core::{Answer, Channels, Context, Event, Figures, Frame, Input, Output, Replica, Settings, View};
use crate::error::Result;
use crate::log::{ChannelKey, Entry, NamespaceId, Record, SLOTS, Slot, SlotLog, Tag};
use crate::message::ChannelName;
use crate::metrics::Stage;

/// Of so many messages one tells how long it took: a clock for each would cost more than it is worth.
const TIMED: u64 = 8;

/// The number of a connection to another node; later ones are greater.
pub type LinkId = u64;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is on its way.
    Queued,
    /// It is, but too much waits: nothing more that can be read from the log should follow, until there is room.
    Behind,
    /// There is no such connection any more.
    Lost,
}

/// The other nodes, as the hub needs them. Called under a slot's lock: it must not wait, and not come back into the hub.
pub trait Peers: Send + Sync + std::fmt::Debug {
    /// Sends a frame over the connection of this number and no other, so that what follows a loss is not taken for what was lost.
    fn send(&self, to: Tag, over: LinkId, slot: Slot, frame: Frame) -> Sent;
    /// Whether so much waits for this process that nothing more should be said to it that can wait.
    fn is_full(&self, to: Tag) -> bool;
    /// Whether the connection of this number has room for a state. When not, [`Hub::grant_wishes`] is called once it has.
    fn takes_state(&self, to: Tag, over: LinkId) -> bool;
    /// Says something about who is on a channel, over the connection of this number. What is lost with it is said again.
    fn say_presence(&self, to: Tag, over: LinkId, frame: crate::presence::Frame);
    /// The connections that stand now.
    fn connected(&self) -> Vec<(Tag, LinkId)>;
    /// Something happened that operators may want to know.
    fn happened(&self, slot: Slot, event: &Event);
    /// A publish that came in here got its answer.
    fn answered(&self, answer: &Answer, terms: Terms);
    /// Asks all other nodes for their channels. What does not come in time is left out.
    fn channels(&self, wanted: &Wanted, limit: Duration) -> BoxFuture<'static, Vec<Told>>;
}

/// A publish that came in here.
#[derive(Debug)]
struct Asked {
    tell: oneshot::Sender<Answer>,
    terms: Terms,
    /// Of a message: its namespace, and the bytes of its payload.
    of: Option<(NamespaceId, u64)>,
    /// When; of one in several.
    at: Option<Duration>,
    _on_its_way: OnItsWay,
}

/// The hub's side of the cluster.
#[derive(Debug)]
pub struct Shared {
    me: Tag,
    settings: Settings,
    view: RwLock<Arc<View>>,
    peers: Arc<dyn Peers>,
    /// Publishes on their way.
    way: Arc<Way>,
    /// Slots whose states other nodes wait for.
    waiting: Waiting,
    /// For each slot, when its part wants to be told the time, in nanoseconds of the clock; the end of time for never.
    due: Box<[AtomicU64]>,
}

impl Shared {
    /// The other nodes.
    pub(super) fn peers(&self) -> &dyn Peers {
        &*self.peers
    }

    /// For the process `me`, which belongs to no cluster yet.
    #[must_use]
    pub fn new(me: Tag, settings: Settings, view: Arc<View>, peers: Arc<dyn Peers>) -> Self {
        let due = (0..SLOTS).map(|_| AtomicU64::new(u64::MAX)).collect();
        Self { me, settings, view: RwLock::new(view), peers, way: Arc::default(), waiting: Waiting::default(), due }
    }
}

/// One connection, as one slot knows it.
#[derive(Debug)]
struct Link {
    peer: Tag,
    id: LinkId,
    is_up: bool,
    is_behind: bool,
}

/// One slot's part in the cluster, and who waits for it.
#[derive(Debug)]
pub(super) struct Part {
    replica: Replica,
    /// All open channels.
    pub(super) open: HashSet<ChannelKey>,
    links: SmallVec<[Link; 2]>,
    /// What others want of the slot and cannot be sent yet: one wish each.
    wishes: Vec<Wish>,
    begun: Begun,
    asked: HashMap<u64, Asked>,
    last_rid: u64,
    readying: Vec<(ChannelName, oneshot::Sender<()>)>,
}

/// What is to be done once the slot's lock is given back.
#[derive(Default)]
pub(super) struct Afterwards {
    pub(super) told: u64,
    pub(super) evicted: Vec<Arc<Entry>>,
}

impl Part {
    pub(super) fn new(shared: &Shared, slot: Slot) -> Self {
        // Links are up unless they are told to be lost, so those that stand need not be told.
        let links = shared.peers.connected().into_iter().map(|(peer, id)| Link { peer, id, is_up: true, is_behind: false });
        Self {
            replica: Replica::new(shared.me, slot),
            open: HashSet::new(),
            links: links.collect(),
            wishes: Vec::new(),
            begun: Begun::default(),
            asked: HashMap::new(),
            last_rid: 0,
            readying: Vec::new(),
        }
    }

    /// The slot's part in figures.
    pub(super) fn figures(&self) -> Figures {
        self.replica.figures()
    }

    /// Who holds a copy, and how far.
    pub(super) fn copies(&self) -> impl Iterator<Item = (Tag, u64)> {
        self.replica.copies()
    }

    /// Whether an idle channel may be closed.
    pub(super) fn may_close(&self, channel: &ChannelName) -> bool {
        self.replica.may_close(channel)
    }

    fn link(&mut self, peer: Tag) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.peer == peer)
    }

    /// Lets go of lost connections to processes that are gone: each restart of a node leaves one behind.
    fn forget_links(&mut self, view: &View) {
        self.links.retain(|link| link.is_up || view.is_present(link.peer));
        self.wishes.retain(|wish| view.is_present(wish.from));
        self.begun.forget(|peer| !view.is_present(peer));
    }

    /// What is to be told of a connection: nothing when it is known or older than one that is.
    fn note_link(&mut self, peer: Tag, id: LinkId, is_up: bool) -> SmallVec<[Input; 2]> {
        let mut inputs = SmallVec::new();
        match self.links.iter_mut().find(|link| link.peer == peer) {
            Some(link) if link.id > id || link.id == id && (is_up || !link.is_up) => return inputs,
            Some(link) => {
                self.wishes.retain(|wish| wish.from != peer);
                self.begun.forget(|from| from == peer);
                if link.is_up {
                    inputs.push(Input::Link { peer, is_up: false });
                }
                *link = Link { peer, id, is_up, is_behind: false };
            }
            None => self.links.push(Link { peer, id, is_up, is_behind: false }),
        }
        if is_up {
            inputs.push(Input::Link { peer, is_up: true });
        }
        inputs
    }
}

/// The slot's channels for its replica.
struct Opener<'a> {
    hub: &'a Hub,
    slot: Slot,
    open: &'a mut HashSet<ChannelKey>,
}

impl Channels for Opener<'_> {
    fn open(&mut self, log: &mut SlotLog, name: &ChannelName, now: Moment) -> ChannelKey {
        let channel = self.hub.open_in(log, self.slot, name, now);
        // Its home has it because somebody published, or asks for it on behalf of others: no bound of this node's listeners.
        self.hub.speak(&channel);
        self.open.insert(channel.key);
        channel.key
    }

    fn find(&self, name: &ChannelName) -> Option<ChannelKey> {
        self.hub.find(name).map(|channel| channel.key)
    }

    fn all(&self) -> Vec<ChannelKey> {
        self.open.iter().copied().collect()
    }
}

impl Hub {
    fn shared(&self) -> Option<&Shared> {
        match &self.commit_rule {
            super::CommitRule::Shared(shared) => Some(shared),
            super::CommitRule::AtOnce | super::CommitRule::Later(_) => None,
        }
    }

    pub(super) fn peers(&self) -> Option<&dyn Peers> {
        self.shared().map(|shared| &*shared.peers)
    }

    /// Whether its slots are shared with other nodes.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.shared().is_some()
    }

    /// This node's view of the cluster; `None` alone.
    #[must_use]
    pub fn view(&self) -> Option<Arc<View>> {
        self.shared().map(|shared| shared.view.read().clone())
    }

    /// Tells a slot what happened, and does what comes of it.
    pub(super) fn handle(&self, state: &mut SlotState, input: Input, after: &mut Afterwards) {
        let Some(shared) = self.shared() else { return };
        let mut inputs: SmallVec<[Input; 4]> = SmallVec::new();
        inputs.push(input);
        let mut at = 0;
        while at < inputs.len() {
            let input = std::mem::replace(&mut inputs[at], Input::Tick);
            at += 1;
            self.handle_one(shared, state, input, &mut inputs, after);
        }
        if let Some(part) = &state.part {
            let due = part.replica.due().map_or(u64::MAX, |due| u64::try_from(due.as_nanos()).unwrap_or(u64::MAX));
            shared.due[usize::from(state.log.slot().number())].store(due, Ordering::Relaxed);
        }
    }

    fn note_link(&self, state: &mut SlotState, peer: Tag, id: LinkId, is_up: bool, after: &mut Afterwards) {
        let Some(part) = &mut state.part else { return };
        for input in part.note_link(peer, id, is_up) {
            self.handle(state, input, after);
        }
    }

    fn handle_one(&self, shared: &Shared, state: &mut SlotState, input: Input, inputs: &mut SmallVec<[Input; 4]>, after: &mut Afterwards) {
        let slot = state.log.slot();
        let view = shared.view.read().clone();
        let mut out = Vec::new();
        {
            let SlotState { log, part, .. } = &mut *state;
            let Some(part) = part else { return };
            let mut opener = Opener { hub: self, slot, open: &mut part.open };
            let mut context = Context {
                now: self.clock.now(),
                view: &view,
                channels: &mut opener,
                dedupe_room: self.dedupe_room(),
                settings: &shared.settings,
                out: &mut out,
            };
            part.replica.handle(log, &mut context, input);
        }
        for output in out {
            self.execute(shared, state, output, inputs, after);
        }
    }

    fn execute(&self, shared: &Shared, state: &mut SlotState, output: Output, inputs: &mut SmallVec<[Input; 4]>, after: &mut Afterwards) {
        match output {
            Output::Send { to, frame } => {
                let Some(part) = &mut state.part else { return };
                let slot = state.log.slot();
                match part.link(to) {
                    Some(link) if link.is_up => match shared.peers.send(to, link.id, slot, frame) {
                        Sent::Queued => {}
                        Sent::Behind if link.is_behind => {}
                        Sent::Behind => {
                            link.is_behind = true;
                            inputs.push(Input::Lagging { peer: to });
                        }
                        // Told when the connection's end is told to all slots.
                        Sent::Lost => {}
                    },
                    Some(_) => {}
                    None => {
                        part.links.push(Link { peer: to, id: 0, is_up: false, is_behind: false });
                        inputs.push(Input::Link { peer: to, is_up: false });
                    }
                }
            }
            Output::Committed { key, entry } => {
                let is_home = state.part.as_ref().is_some_and(|part| part.replica.is_home());
                if is_home {
                    self.note_append(&entry);
                }
                // A copy that nobody listens to is told with the next message, however late that is: nobody waits for it there.
                if is_home || matches!(state.listeners.get(key.number() as usize), Some(Some(_))) {
                    self.note_stage(Stage::Commit, &entry);
                }
                after.told |= self.deliver(state, key, entry);
            }
            Output::Turn => after.told |= self.send_to_the_log(state),
            Output::Ready(name) => {
                if let Some(part) = &mut state.part {
                    for (_, ready) in part.readying.extract_if(.., |(waiting, _)| *waiting == name) {
                        // Who waited may have given up.
                        let _ = ready.send(());
                    }
                }
            }
            Output::Answer { rid, answer } => {
                if let Some(Asked { tell, terms, of, at, .. }) = state.part.as_mut().and_then(|part| part.asked.remove(&rid)) {
                    shared.peers.answered(&answer, terms);
                    if let (Answer::Done(Done { duplicate: false, .. }), Some((namespace, bytes))) = (&answer, of) {
                        self.census.published(namespace, bytes);
                    }
                    if let Some(at) = at {
                        self.metrics.reached(Stage::Publish, self.clock.mono().saturating_sub(at));
                    }
                    // The publisher may have gone away.
                    let _ = tell.send(answer);
                }
            }
            Output::Evicted(entry) => after.evicted.push(entry),
            Output::Event(event) => shared.peers.happened(state.log.slot(), &event),
        }
    }

    /// A message came this far. Time passed since its publisher asked, whatever nodes it was on.
    fn note_stage(&self, stage: Stage, entry: &Entry) {
        if is_timed(entry) {
            self.metrics.reached(stage, self.clock.mono().saturating_sub(entry.asked()));
        }
    }

    /// A message that was appended here is committed. It says itself when it got its place, so that no clock is read for it.
    fn note_append(&self, entry: &Entry) {
        if is_timed(entry) {
            self.metrics.reached(Stage::Append, Duration::from_micros(entry.waited.as_micros()));
        }
    }

    pub(super) fn dedupe_room(&self) -> usize {
        self.bounds().dedupe_ids.saturating_sub(self.totals.dedupe_ids.load(Ordering::Relaxed)) as usize
    }

    /// Acts on a slot and tells it something, then does what the lock must not be held for.
    fn tell_slot(&self, slot: Slot, act: impl FnOnce(&mut SlotState, &mut Afterwards)) {
        let mut after = Afterwards::default();
        self.with_slot(slot, |state| act(state, &mut after));
        self.finish(after);
    }

    pub(super) fn finish(&self, after: Afterwards) {
        self.tell(after.told);
        self.free(after.evicted);
    }

    /// As [`Hub::tell_slot`], for every slot that has a part already.
    fn tell_all(&self, mut act: impl FnMut(&mut SlotState, &mut Afterwards)) {
        for number in 0..usize::from(SLOTS) {
            let mut after = Afterwards::default();
            {
                let mut place = self.slots[number].lock();
                let Some(state) = place.as_mut().filter(|state| state.part.is_some()) else { continue };
                let before = state.log.stats();
                act(state, &mut after);
                self.totals.book(&before, &state.log.stats());
            }
            self.finish(after);
        }
    }

    /// Publishes, or empties a channel, wherever the slot's home is. The answer comes later.
    ///
    /// # Errors
    /// `overloaded` when this is the home and the channel would be one too many.
    pub(super) fn ask(&self, slot: Slot, ask: Ask, terms: Terms) -> Result<oneshot::Receiver<Answer>> {
        let name = match &ask {
            Ask::Publish(draft) => &draft.channel,
            Ask::Clear(channel) => channel,
        };
        if self.find(name).is_none() && self.totals.channels.load(Ordering::Relaxed) >= self.bounds().channels {
            return Err(self.too_many_channels());
        }
        let of = match &ask {
            Ask::Publish(draft) => Some((self.rules().of(&draft.channel).0, draft.payload.bytes().len() as u64)),
            Ask::Clear(_) => None,
        };
        let (tell, answer) = oneshot::channel();
        self.tell_slot(slot, |state, after| {
            let (Some(shared), Some(part)) = (self.shared(), &mut state.part) else { return };
            part.last_rid += 1;
            let rid = part.last_rid;
            let at = rid.is_multiple_of(TIMED).then(|| self.clock.mono());
            part.asked.insert(rid, Asked { tell, terms, of, at, _on_its_way: shared.way.enter(&ask) });
            self.handle(state, Input::Publish { rid, ask, terms }, after);
        });
        self.bound_histories();
        Ok(answer)
    }

    /// Copies do not ask whether there is room, so what is too much leaves afterwards.
    fn bound_histories(&self) {
        let excess = self.totals.history_bytes.load(Ordering::Relaxed).saturating_sub(self.bounds().history_bytes);
        if excess > 0 {
            let mut evicted = Vec::new();
            self.make_room_elsewhere(excess.min(self.bounds().history_bytes), &mut evicted);
            self.free(evicted);
        }
    }

    /// The name value that a channel has here, if it is open.
    #[must_use]
    pub fn known_name(&self, name: &str) -> Option<ChannelName> {
        self.channels.get(name).map(|channel| channel.name.clone())
    }

    /// A frame came from another node, over the connection of this number.
    pub fn hear(&self, slot: Slot, from: Tag, over: LinkId, frame: Frame) {
        self.tell_slot(slot, |state, after| {
            self.note_link(state, from, over, true, after);
            let is_current = state.part.as_mut().and_then(|part| part.link(from)).is_some_and(|link| link.id == over && link.is_up);
            if is_current && let Some(mut frame) = self.hold_back(state, from, over, frame) {
                if let Frame::Stream(stream) = &frame
                    && let Some(Record::Message(entry)) = stream.records.last()
                {
                    self.note_stage(Stage::Link, entry);
                }
                self.own_names(&mut frame);
                self.handle(state, Input::Frame { from, frame }, after);
            }
        });
        self.bound_histories();
    }

    /// Entries carry the name value that the channel has here: by it a shard knows its channel.
    fn own_names(&self, frame: &mut Frame) {
        let own = |entry: &mut Arc<Entry>| {
            if let Some(channel) = self.find(&entry.channel)
                && !channel.name.is_same(&entry.channel)
                && let Some(entry) = Arc::get_mut(entry)
            {
                entry.channel = channel.name.clone();
            }
        };
        match frame {
            Frame::Stream(stream) => {
                for record in &mut stream.records {
                    if let Record::Message(entry) = record {
                        own(entry);
                    }
                }
            }
            Frame::Sync(sync) => {
                sync.channels.iter_mut().flat_map(|state| &mut state.entries).for_each(own);
                for record in &mut sync.tail {
                    if let Record::Message(entry) = record {
                        own(entry);
                    }
                }
            }
            _ => {}
        }
    }

    /// A connection to another node came or went.
    pub fn linked(&self, peer: Tag, id: LinkId, is_up: bool) {
        self.tell_all(|state, after| self.note_link(state, peer, id, is_up, after));
        self.way_changed();
        self.presence_linked(peer, id, is_up);
    }

    /// There is room again on a connection that was full.
    pub fn drained(&self, peer: Tag, id: LinkId) {
        self.tell_all(|state, after| {
            let link = state.part.as_mut().and_then(|part| part.link(peer)).filter(|link| link.id == id && link.is_behind);
            if let Some(link) = link {
                link.is_behind = false;
                self.handle(state, Input::Drained { peer }, after);
            }
        });
        self.way_changed();
    }

    /// This node sees the cluster in a new way: every slot goes by it when it is next told something.
    pub fn see(&self, view: Arc<View>) {
        if let Some(shared) = self.shared() {
            *shared.view.write() = view;
            shared.way.changed();
        }
    }

    fn way_changed(&self) {
        if let Some(shared) = self.shared() {
            shared.way.changed();
        }
    }

    /// Tells all slots that the cluster is seen in a new way.
    pub fn tell_view(&self) {
        let Some(view) = self.view() else { return };
        if let Some(shared) = self.shared() {
            shared.waiting.forget(|peer| !view.is_present(peer));
        }
        self.tell_all(|state, after| {
            if let Some(part) = &mut state.part {
                part.forget_links(&view);
            }
            self.handle(state, Input::View, after);
        });
        self.presence_view_changed();
    }

    /// Tells the time to every slot that wants to know it by now.
    pub fn tick(&self) {
        let Some(shared) = self.shared() else { return };
        let now = u64::try_from(self.clock.mono().as_nanos()).unwrap_or(u64::MAX);
        for (number, due) in shared.due.iter().enumerate() {
            if due.load(Ordering::Relaxed) > now {
                continue;
            }
            // As many as there are slots, so the cast keeps it whole.
            if let Some(slot) = Slot::new(number as u16) {
                self.tell_slot(slot, |state, after| self.handle(state, Input::Tick, after));
            }
        }
    }

    /// A channel got its first listener here, or lost its last.
    pub(super) fn note_listeners(&self, state: &mut SlotState, channel: &Channel, had: bool, after: &mut Afterwards) {
        if !self.is_shared() {
            return;
        }
        let has = state.listeners(channel.key).is_some_and(|listeners| !listeners.is_empty());
        match (had, has) {
            (false, true) => self.handle(state, Input::Listen(channel.name.clone()), after),
            (true, false) => self.handle(state, Input::Leave(channel.name.clone()), after),
            _ => {}
        }
    }

    /// Whether the log of this node answers for a channel now.
    #[must_use]
    pub fn is_ready(&self, name: &ChannelName) -> bool {
        !self.is_shared() || self.with_slot(Slot::of(name), |state| state.part.as_ref().is_some_and(|part| part.replica.is_ready(name)))
    }
}

/// Whether a message tells how long it took. One that was adopted does not: what it waited for was the end of a split.
fn is_timed(entry: &Entry) -> bool {
    entry.pos.idx.is_multiple_of(TIMED) && entry.adopted.is_none()
}

#[cfg(test)]
mod tests;
