//! Presence on this node: the pure part behind short locks of its own, and who wants to be told here. It never takes a slot's
//! lock, and channels whose namespace does not ask for presence never come here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::{HashMap, HashMapExt as _};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::signal::Signals;
use super::{CommitRule, Hub, LinkId, Signal};
use crate::cluster::core::View;
use crate::error::{Error, ErrorCode, Result};
use crate::log::{Slot, Tag};
use crate::message::ChannelName;
use crate::metrics::PresenceGauges;
use crate::presence::{Context, Member, MemberId, Node, Notice, Output, Page, Places, Query, Settings, config};

/// Locks. A channel's slot says which is its.
const STRIPES: usize = 16;
/// Longest wait for the node that knows who is on a channel.
pub const WHO_LIMIT: Duration = Duration::from_secs(5);

/// Presence of the channels of some slots.
#[derive(Debug, Default)]
struct Stripe {
    node: Node,
    /// Who is told of joins and leaves here.
    ears: HashMap<ChannelName, Signals>,
    asked: HashMap<u64, oneshot::Sender<Page>>,
}

/// Presence on this node.
#[derive(Debug)]
pub(super) struct Presence {
    stripes: Box<[Mutex<Stripe>]>,
    settings: ArcSwap<Settings>,
    /// The connection to each other node.
    links: Mutex<HashMap<Tag, LinkId>>,
    connected: AtomicUsize,
    /// Members that all stripes hold.
    held: AtomicUsize,
    last_rid: AtomicU64,
    joined: AtomicU64,
    left: AtomicU64,
    refused: AtomicU64,
}

/// A node that is alone is home of everything.
struct Alone(Tag);

impl Places for Alone {
    fn me(&self) -> Tag {
        self.0
    }

    fn home(&self, _: Slot) -> Option<Tag> {
        Some(self.0)
    }

    fn is_present(&self, tag: Tag) -> bool {
        tag == self.0
    }
}

impl Places for View {
    fn me(&self) -> Tag {
        Self::me(self)
    }

    fn home(&self, slot: Slot) -> Option<Tag> {
        self.place(slot).map(|place| place.home)
    }

    fn is_present(&self, tag: Tag) -> bool {
        Self::is_present(self, tag)
    }
}

/// A member's connection on one channel, for as long as it is kept.
#[derive(Debug)]
pub struct Present {
    hub: Arc<Hub>,
    /// The channel.
    pub channel: ChannelName,
    id: MemberId,
}

impl Drop for Present {
    fn drop(&mut self) {
        self.hub.presence_of(&self.channel, |node, cx| node.leave(cx, &self.channel, &self.id));
    }
}

/// Somebody who is told who joins and leaves one channel. It holds what it has been told last and nothing else.
#[derive(Debug)]
pub struct Ear {
    hub: Arc<Hub>,
    /// The channel.
    pub channel: ChannelName,
    signal: Arc<Signal>,
    told: u64,
}

impl Ear {
    /// What is new since the last time, at first all there is. `None` when nothing is.
    pub fn read(&mut self) -> Option<Notice> {
        let (notice, told) = self.hub.presence_of(&self.channel, |node, _| node.read(&self.channel, self.told))?;
        self.told = told;
        Some(notice)
    }

    /// What names the state that was told last: who gives it to [`Hub::hear_presence`], here or on another node, goes on from there.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.told
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut stripe = self.hub.presence.stripe(&self.channel).lock();
        stripe.node.unlisten(&self.channel, self.hub.clock.mono());
        if let Some(ears) = stripe.ears.get_mut(&self.channel) {
            // The signal is the client's, who may hear another channel with it, but this one only once.
            ears.remove(&self.signal);
            if ears.is_empty() {
                stripe.ears.remove(&self.channel);
            }
        }
    }
}

impl Presence {
    pub(super) fn new() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            settings: ArcSwap::from_pointee(Settings::from(&config::Config::default())),
            links: Mutex::new(HashMap::new()),
            connected: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            last_rid: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            left: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    fn stripe(&self, channel: &ChannelName) -> &Mutex<Stripe> {
        &self.stripes[usize::from(Slot::of(channel).number()) % STRIPES]
    }

    fn link(&self, peer: Tag) -> Option<LinkId> {
        self.links.lock().get(&peer).copied()
    }
}

impl Hub {
    /// Other bounds and times of presence from now on.
    pub fn set_presence(&self, config: &config::Config) {
        self.presence.settings.store(Arc::new(config.into()));
    }

    /// Whether it is known who is on a channel, by its namespace.
    #[must_use]
    pub fn has_presence(&self, channel: &ChannelName) -> bool {
        self.rules().of(channel).1.presence
    }

    /// Refuses when nobody can know who is on this channel.
    ///
    /// # Errors
    /// `invalid_request` with the key that says so.
    pub fn check_presence(&self, channel: &ChannelName) -> Result<()> {
        if self.has_presence(channel) {
            return Ok(());
        }
        Err(Error::invalid(format!("who is on `{channel}` is not known: its namespace has no presence (presence)")))
    }

    /// Refuses when nobody is told who joins and leaves this channel.
    ///
    /// # Errors
    /// `invalid_request` with the key that says so.
    pub fn check_join_leave(&self, channel: &ChannelName) -> Result<()> {
        self.check_presence(channel)?;
        if self.rules().of(channel).1.join_leave {
            return Ok(());
        }
        Err(Error::invalid(format!("nobody is told who joins and leaves `{channel}`: its namespace does not say so (join_leave)")))
    }

    /// One more connection of a member is on the channel, as long as what is returned is kept. `None` when its namespace has
    /// no presence.
    ///
    /// # Errors
    /// `overloaded` at a bound of members.
    pub fn enter(self: &Arc<Self>, channel: &ChannelName, member: &Member) -> Result<Option<Present>> {
        if !self.has_presence(channel) {
            return Ok(None);
        }
        let most = self.presence.settings.load().members_of_node;
        if self.presence.connected.load(Ordering::Relaxed) >= most {
            self.presence.refused.fetch_add(1, Ordering::Relaxed);
            let text = format!("as many members are connected to this node as it takes ({most}, presence.members_of_node)");
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        self.presence_of(channel, |node, cx| node.enter(cx, channel, member.id.clone(), member.info.clone()))?;
        Ok(Some(Present { hub: self.clone(), channel: channel.clone(), id: member.id.clone() }))
    }

    /// Raises `signal` whenever somebody joined or left the channel, and at once when there is something to read already.
    /// `told` is what was [told](Ear::told) last, 0 for nothing.
    #[must_use]
    pub fn hear_presence(self: &Arc<Self>, channel: &ChannelName, signal: &Arc<Signal>, told: u64) -> Ear {
        let mut stripe = self.presence.stripe(channel).lock();
        stripe.node.listen(channel);
        stripe.ears.entry(channel.clone()).or_default().insert(signal);
        drop(stripe);
        signal.raise();
        Ear { hub: self.clone(), channel: channel.clone(), signal: signal.clone(), told }
    }

    /// A page of who is on a channel, on whatever node.
    ///
    /// # Errors
    /// `overloaded` when the node that knows does not answer within `limit`.
    pub async fn who(self: &Arc<Self>, channel: &ChannelName, query: Query, limit: Duration) -> Result<Page> {
        let rid = self.presence.last_rid.fetch_add(1, Ordering::Relaxed) + 1;
        let (tell, answer) = oneshot::channel();
        let asked = Asked { hub: self, channel, rid };
        self.presence.stripe(channel).lock().asked.insert(rid, tell);
        self.presence_of(channel, |node, cx| node.ask(cx, rid, channel, query));
        let page = tokio::time::timeout(limit, answer).await;
        drop(asked);
        match page {
            Ok(Ok(page)) => Ok(page),
            _ => {
                let text = format!("the node that knows who is on `{channel}` did not answer within {limit:?}; try again");
                Err(Error::new(ErrorCode::Overloaded, text))
            }
        }
    }

    /// Lets presence go on: reports, graces, notices. To be called every [`crate::presence::TICK`].
    pub fn tick_presence(&self) {
        for at in 0..STRIPES {
            let is_idle = self.presence.stripes[at].lock().node.is_idle();
            if !is_idle {
                self.presence_at(at, Node::tick);
            }
        }
    }

    /// What presence holds and has seen.
    #[must_use]
    pub fn presence_totals(&self) -> PresenceGauges {
        let Presence { stripes, connected, held, joined, left, refused, .. } = &self.presence;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut totals = PresenceGauges {
            connected: connected.load(Ordering::Relaxed) as u64,
            held: held.load(Ordering::Relaxed) as u64,
            joined: read(joined),
            left: read(left),
            refused: read(refused),
            ..PresenceGauges::default()
        };
        for stripe in stripes {
            let of = stripe.lock().node.totals();
            totals.members += of.members;
            totals.bytes += of.bytes;
        }
        totals
    }

    /// Another node says something about who is on a channel, over the connection of this number.
    pub fn hear_presence_of(&self, from: Tag, over: LinkId, frame: crate::presence::Frame) {
        {
            // It may come before the news of its connection.
            let mut links = self.presence.links.lock();
            let known = links.entry(from).or_insert(over);
            *known = (*known).max(over);
        }
        let channel = frame.channel.clone();
        self.presence_of(&channel, |node, cx| node.hear(cx, from, frame));
    }

    pub(super) fn presence_linked(&self, peer: Tag, id: LinkId, is_up: bool) {
        {
            let mut links = self.presence.links.lock();
            match (links.get(&peer).copied(), is_up) {
                (Some(known), false) if known == id => drop(links.remove(&peer)),
                (Some(known), true) if known > id => return,
                (_, true) => drop(links.insert(peer, id)),
                _ => return,
            }
        }
        if is_up {
            (0..STRIPES).for_each(|at| self.presence_at(at, |node, cx| node.linked(cx, peer)));
        }
    }

    pub(super) fn presence_view_changed(&self) {
        (0..STRIPES).for_each(|at| self.presence_at(at, Node::view_changed));
    }

    fn presence_of<T>(&self, channel: &ChannelName, act: impl FnOnce(&mut Node, Context<'_>) -> T) -> T {
        self.presence_at(usize::from(Slot::of(channel).number()) % STRIPES, act)
    }

    /// Acts under the stripe's lock, and does what comes of it there too, so that what is said to a node is said in order.
    fn presence_at<T>(&self, at: usize, act: impl FnOnce(&mut Node, Context<'_>) -> T) -> T {
        let settings = self.presence.settings.load();
        let view = self.view();
        let alone = Alone(self.epoch.tag());
        let places: &dyn Places = match &view {
            Some(view) => &**view,
            None => &alone,
        };
        let mut stripe = self.presence.stripes[at].lock();
        let (before, held) = (stripe.node.connected(), stripe.node.held());
        // Another stripe may take some meanwhile: the bound is one of memory, and a few more do no harm.
        let held_elsewhere = self.presence.held.load(Ordering::Relaxed).saturating_sub(held);
        let cx = Context { now: self.clock.mono(), places, settings: &settings, held_elsewhere };
        let outcome = act(&mut stripe.node, cx);
        // Wraps on the way when there are fewer, and comes out right.
        self.presence.connected.fetch_add(stripe.node.connected().wrapping_sub(before), Ordering::Relaxed);
        self.presence.held.fetch_add(stripe.node.held().wrapping_sub(held), Ordering::Relaxed);
        let tally = stripe.node.take_tally();
        for (counter, by) in
            [(&self.presence.joined, tally.joined), (&self.presence.left, tally.left), (&self.presence.refused, tally.refused)]
        {
            if by > 0 {
                counter.fetch_add(by, Ordering::Relaxed);
            }
        }
        for output in stripe.node.outputs() {
            match output {
                Output::Send(to, frame) => self.send_presence(to, frame),
                Output::Tell(channel) => stripe.ears.get(&channel).into_iter().for_each(Signals::raise),
                Output::Answer(rid, page) => {
                    if let Some(tell) = stripe.asked.remove(&rid) {
                        // Who asked may have gone away.
                        let _ = tell.send(page);
                    }
                }
            }
        }
        outcome
    }

    fn send_presence(&self, to: Tag, frame: crate::presence::Frame) {
        let CommitRule::Shared(shared) = &self.commit_rule else { return };
        // Without a connection it is said again when there is one.
        if let Some(over) = self.presence.link(to) {
            shared.peers().say_presence(to, over, frame);
        }
    }
}

/// A question that is given up when this is dropped.
struct Asked<'a> {
    hub: &'a Hub,
    channel: &'a ChannelName,
    rid: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut stripe = self.hub.presence.stripe(self.channel).lock();
        stripe.asked.remove(&self.rid);
        stripe.node.give_up(self.rid);
    }
}
