//! One slot's part in the cluster, in one of three roles.
//!
//! A **guest** owns nothing: it may copy single channels for listeners here (an edge) or the whole slot (a follower, or a
//! former home that nobody has relieved yet), and it forwards what is published here. A guest that should be the home
//! **claims**: it asks everyone what they hold, follows an incumbent until it has all of it, lets it seal, and opens a new
//! epoch. The **home** gives positions, waits for its follower, commits, and streams to whoever asked.
//!
//! Losing a message takes losing every node that held it: what a copy holds beyond the line it is to follow is kept as
//! orphans until the home has taken it over.

mod apart;
mod asker;
mod claim;
mod deferred;
mod figures;
mod follower;
mod home;
mod interest;
mod io;
mod orphans;
mod publish;
mod receiver;
mod sent_back;
mod source;

use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashSet, HashSetExt};

pub use figures::{Figures, Part};
pub use io::{Answer, Channels, Context, Event, Input, Opening, Output};

use self::apart::Apart;
use self::claim::Claim;
use self::home::Home;
use self::interest::Interest;
use self::orphans::Orphans;
use self::publish::Publishes;
use self::receiver::Receiver;
use self::sent_back::SentBack;
use super::frame::{Frame, Standing};
use super::member::Departure;
#[cfg(debug_assertions)]
use super::settings::Bug;
use super::view::Place;
use crate::log::{Entry, Epoch, Slot, SlotLog, Tag};
use crate::message::ChannelName;

/// One slot on one node.
#[derive(Debug)]
pub struct Replica {
    me: Tag,
    slot: Slot,
    role: Role,
    place: Option<Place>,
    /// Whether the log holds everything of the slot, as far as it has come.
    is_whole: bool,
    /// The home of this epoch waits for our acknowledgements.
    counted: Option<Epoch>,
    /// Whom that home would tell before it goes on without us; each of them must be asked before a loss can be ruled out.
    witnesses: Vec<Tag>,
    /// For whom our own epoch was sealed, until somebody opened a new one.
    granted: Option<Tag>,
    /// The latest word of a home that it commits alone.
    solo: Option<(Epoch, u64)>,
    apart: Apart,
    /// Highest epoch heard of.
    seen: Option<Epoch>,
    /// Somebody needs the slot's home, and this node should be it.
    is_wanted: bool,
    /// A claim that found another one willing to stay home is not repeated before.
    claim_after: Duration,
    /// Peers whose links are lost.
    lost: HashSet<Tag>,
    rounds: u32,
    receiver: Receiver,
    interest: Interest,
    publishes: Publishes,
    sent_back: SentBack,
    orphans: Orphans,
    due: Option<Duration>,
}

#[derive(Debug)]
enum Role {
    Guest,
    Claiming(Box<Claim>),
    Home(Box<Home>),
}

impl Replica {
    /// A replica that holds nothing yet. Its log is new; nothing of it may be read before a channel is ready.
    #[must_use]
    pub fn new(me: Tag, slot: Slot) -> Self {
        Self {
            me,
            slot,
            role: Role::Guest,
            place: None,
            is_whole: false,
            counted: None,
            witnesses: Vec::new(),
            granted: None,
            solo: None,
            apart: Apart::default(),
            seen: None,
            is_wanted: false,
            claim_after: Duration::ZERO,
            lost: HashSet::new(),
            rounds: 0,
            receiver: Receiver::default(),
            interest: Interest::default(),
            publishes: Publishes::default(),
            sent_back: SentBack::default(),
            orphans: Orphans::default(),
            due: None,
        }
    }

    /// Takes what happened, changes the log, and says what is to be done.
    pub fn handle(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, input: Input) {
        log.share();
        #[cfg(debug_assertions)]
        if cx.settings.has(Bug::NoTrail) {
            log.lose_trails();
        }
        self.place = cx.view.place(self.slot);
        self.notice_pause(cx);
        match input {
            Input::Tick => self.tick(log, cx),
            Input::View => self.view_changed(log, cx),
            Input::Link { peer, is_up } => self.link(log, cx, peer, is_up),
            Input::Lagging { peer } => self.lagging(cx, peer),
            Input::Drained { peer } => self.drained(log, cx, peer),
            Input::Frame { from, frame } => self.frame(log, cx, from, frame),
            Input::Publish { rid, ask, terms } => self.publish(log, cx, rid, ask, terms),
            Input::Listen(channel) => self.listen(log, cx, channel),
            Input::Leave(channel) => self.interest.leave(&channel, cx.now.mono),
        }
        self.consider(log, cx);
        self.due = self.next_due(cx);
    }

    /// When [`Input::Tick`] is wanted; `None` when nothing waits for time.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        self.due
    }

    /// Whether this node is the slot's open home.
    #[must_use]
    pub fn is_home(&self) -> bool {
        matches!(self.role, Role::Home(_))
    }

    /// Whether a publish can be appended and committed at once, with nobody to wait for and nobody to tell: then the caller
    /// may do both on the log itself and spare itself the detour.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        matches!(&self.role, Role::Home(home) if home.is_alone())
    }

    /// Whether the log answers for this channel.
    #[must_use]
    pub fn is_ready(&self, channel: &ChannelName) -> bool {
        self.serves_all() || self.interest.is_held(channel)
    }

    /// Whether an idle channel may be closed: what is kept up to date for listeners may not.
    #[must_use]
    pub fn may_close(&self, channel: &ChannelName) -> bool {
        !self.interest.has(channel)
    }

    /// Whether something of the slot would be lost if this node left now.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.is_home() || self.is_whole || !self.orphans.is_empty()
    }

    /// Messages of other branches that wait to be taken over by the home.
    pub fn orphans(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.orphans.iter()
    }

    /// Whether it must be kept. One that is not needed may be made anew later.
    #[must_use]
    pub fn is_needed(&self) -> bool {
        self.holds()
            || matches!(self.role, Role::Claiming(_))
            || self.solo.is_some()
            || !self.interest.is_empty()
            || !self.publishes.is_empty()
    }

    fn serves_all(&self) -> bool {
        self.is_home() || self.is_whole
    }

    fn is_placed(&self) -> bool {
        self.place.is_some_and(|place| place.home == self.me)
    }

    fn note_epoch(&mut self, epoch: Epoch) {
        self.seen = self.seen.max(Some(epoch));
    }

    fn frame(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, from: Tag, frame: Frame) {
        self.lost.remove(&from);
        match frame {
            Frame::Forward(forward) => self.forwarded(log, cx, from, forward),
            Frame::ForwardAck { rid, flight, outcome } => self.forward_acked(cx, from, rid, flight, outcome),
            Frame::Sub(sub) => self.subscribed(log, cx, from, sub),
            Frame::More { generation, channels } => self.more(log, cx, from, generation, channels),
            Frame::Unsub { generation, channels } => self.unsubscribed(from, generation, &channels),
            Frame::NotHome { generation, home } => self.not_home(cx, from, generation, home),
            Frame::Sync(sync) => self.synced(log, cx, from, sync),
            Frame::Stream(stream) => self.streamed(log, cx, from, stream),
            Frame::StreamAck(ack) => self.acked(log, cx, from, ack),
            Frame::Counted { epoch, witnesses } => self.now_counted(from, epoch, witnesses),
            Frame::Note { epoch, from: idx, solo } => self.noted(log, cx, from, epoch, idx, solo),
            Frame::NoteAck { epoch, from: idx } => self.note_acked(log, cx, from, epoch, idx),
            Frame::Claim { round, seal } => self.claimed(log, cx, from, round, seal),
            Frame::Standing { round, standing } => self.stood(log, cx, from, round, standing),
            Frame::Opened { line } => self.opened(log, cx, from, line),
            Frame::Yield { line } => self.yielded(log, cx, from, &line),
            Frame::Release { generation } => self.released(log, cx, from, generation),
            Frame::Offer(offer) => self.offered(log, cx, from, offer),
            Frame::OfferAck { end } => self.offer_acked(cx, from, end),
        }
    }

    fn tick(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        self.expire_publishes(cx);
        self.linger(cx);
        self.orphans.expire(log, cx);
        match &mut self.role {
            Role::Guest => {}
            Role::Claiming(_) => self.tick_claim(log, cx),
            Role::Home(_) => self.tick_home(log, cx),
        }
    }

    fn view_changed(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        self.receiver.forget_redirect();
        self.lost.retain(|peer| cx.view.is_present(*peer));
        self.claim_after = Duration::ZERO;
        let calls_after = self.calls_after(cx);
        match &mut self.role {
            Role::Guest => {}
            Role::Claiming(_) => self.tick_claim(log, cx),
            Role::Home(home) => {
                let is_followed = home.counted().any(|flow| !flow.is_lost && cx.view.is_present(flow.to));
                // What began before goes on: views that change again and again must not put it off.
                home.calls_at = is_followed.then(|| home.calls_at.unwrap_or(cx.now.mono + calls_after));
                let peers: Vec<Tag> = cx.view.peers().collect();
                self.tell_alone(log, cx, &peers);
                self.tick_home(log, cx);
                self.tell_all_counted(cx);
            }
        }
    }

    fn link(&mut self, log: &mut SlotLog, cx: &mut Context<'_>, peer: Tag, is_up: bool) {
        if is_up {
            self.lost.remove(&peer);
        } else {
            self.lost.insert(peer);
            self.sent_back.forget(peer);
        }
        self.publishes.link(peer);
        self.receiver.link(peer, cx);
        match &mut self.role {
            Role::Guest => {}
            Role::Claiming(claim) => claim.link(peer, is_up, cx.now.mono),
            Role::Home(_) => {
                self.home_link(log, cx, peer, is_up);
                if is_up {
                    self.tell_alone(log, cx, &[peer]);
                }
            }
        }
    }

    /// Brings about what should be: asks whoever should be asked, claims what should be claimed. Called after every input.
    fn consider(&mut self, log: &mut SlotLog, cx: &mut Context<'_>) {
        if matches!(self.role, Role::Guest) && self.is_placed() && cx.view.may_act() {
            let is_needed = self.is_wanted || self.is_whole || !self.interest.is_empty() || !self.publishes.is_empty();
            if is_needed && cx.now.mono >= self.claim_after {
                self.claim(log, cx);
            }
        }
        match self.role {
            Role::Guest => self.receive(log, cx),
            Role::Claiming(_) => {
                self.warm(log, cx);
                self.receive(log, cx);
            }
            Role::Home(_) => {
                self.take_deferred(log, cx);
                self.settle(log, cx);
            }
        }
        self.turn_publishes_away(cx);
        self.send_publishes(log, cx);
    }

    /// What this node holds, for one who claims the slot.
    fn standing(&self, log: &SlotLog, cx: &Context<'_>, claimant: Tag) -> Standing {
        let epoch = log.epoch();
        let is_writer = epoch.tag() == self.me;
        // Its home may have gone on without a copy that lost sight of it.
        let is_in_sight = || {
            let is_present = cx.view.is_present(epoch.tag()) && cx.view.may_act();
            is_present || cx.view.departure(epoch.tag()) == Departure::Ended
        };
        let is_counted =
            if is_writer { self.granted.is_none_or(|tag| tag == claimant) } else { self.counted == Some(epoch) && is_in_sight() };
        Standing {
            line: self.serves_all().then(|| log.line().clone()),
            commit: log.commit().idx,
            is_counted: is_counted && self.seen.is_none_or(|seen| seen <= epoch),
            witnesses: if is_writer || !is_counted { Vec::new() } else { self.witnesses.clone() },
            solo: self.solo,
            is_open: self.is_home(),
            is_placed: self.is_placed(),
            seen: self.seen,
        }
    }

    /// Whom to ask for the slot.
    fn target(&self, cx: &Context<'_>) -> Option<Tag> {
        let incumbent = if let Role::Claiming(claim) = &self.role { claim.incumbent() } else { None };
        let redirect = self.receiver.redirect().filter(|tag| self.can_reach(*tag, cx));
        incumbent.or(redirect).or(self.place.map(|place| place.home)).filter(|tag| *tag != self.me)
    }

    fn can_reach(&self, peer: Tag, cx: &Context<'_>) -> bool {
        cx.view.is_present(peer) && !self.lost.contains(&peer)
    }

    fn next_due(&self, cx: &Context<'_>) -> Option<Duration> {
        let settings = cx.settings;
        let is_moving = match &self.role {
            // Whoever is to be the home and let another one go on looks again soon.
            Role::Guest => self.receiver.is_waiting() || self.is_placed() && (self.is_wanted || cx.now.mono < self.claim_after),
            Role::Claiming(_) => true,
            Role::Home(home) => home.is_moving() || !self.is_placed(),
        };
        let soon = is_moving || !self.publishes.is_empty();
        let is_quiet = !soon && !self.is_needed();
        let calls_at = if let Role::Home(home) = &self.role { home.calls_at } else { None };
        let then = cx.now.mono + if soon { settings.retry / 4 } else { settings.beat * 4 };
        (!is_quiet).then(|| calls_at.map_or(then, |at| then.min(at)))
    }
}

impl Context<'_> {
    fn send(&mut self, to: Tag, frame: Frame) {
        self.out.push(Output::Send { to, frame });
    }

    fn send_all(&mut self, frame: &Frame) {
        let peers: Vec<Tag> = self.view.peers().collect();
        for to in peers {
            self.send(to, frame.clone());
        }
    }
}

#[cfg(test)]
mod tests;
