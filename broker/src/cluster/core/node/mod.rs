//! Who is up, by the links themselves: heartbeats over the full mesh with what each node hears.
//!
//! A node is *up* when it was heard lately, *indirect* when somebody who is up hears it, and *down* when neither was so for
//! [`Settings::down`]. Down is an observation, not a sentence: one heartbeat ends it, and nobody's opinion overrides what
//! another one hears. A node that was stopped itself knows nothing, and takes nothing over before a peer has spoken.

mod io;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashMapExt};

pub use io::{Beat, NodeInput, NodeOutput};

use super::member::{Departure, Member, NodeId, State};
use super::settings::{Bug, Settings};
use super::view::View;
use crate::log::Tag;

/// How long it is remembered how a process left, or that gossip told of one that never linked.
const REMEMBERED: Duration = Duration::from_secs(600);
/// A node that was stopped, and hears nobody, acts again after this long.
const DOUBT: Duration = Duration::from_secs(2);
/// Beats whose times are kept for the round trip.
const BEATS_KEPT: usize = 16;

/// What this node knows of all nodes.
#[derive(Debug)]
pub struct Node {
    me: Member,
    settings: Settings,
    /// In the order of their tags, so that the same things happen in the same order.
    peers: BTreeMap<Tag, Peer>,
    started: Duration,
    ticked: Duration,
    /// When the set of linked nodes changed last.
    changed: Duration,
    /// When beats were sent last; `None` when they are due at once.
    beaten: Option<Duration>,
    seq: u64,
    sent: VecDeque<(u64, Duration)>,
    /// Since when this node doubts what it knows, and its count of beats then: an answer to a later one ends the doubt.
    doubts: Option<(Duration, u64)>,
    told_reach: Vec<Tag>,
    view: Arc<View>,
}

#[derive(Debug)]
struct Peer {
    id: NodeId,
    state: State,
    is_linked: bool,
    /// When it was heard last.
    heard: Option<Duration>,
    /// When it was last known to live, by whomever; `None` for one of which only gossip told.
    alive: Option<Duration>,
    /// When gossip told of it last, or it linked.
    known: Duration,
    has_ended: bool,
    /// With `has_ended`: it heard this node to the last.
    heard_us: bool,
    reach: Vec<Tag>,
    echo: u64,
    rtt: Option<Duration>,
    view: u64,
}

impl Node {
    /// A node that begins to join.
    #[must_use]
    pub fn new(id: NodeId, tag: Tag, settings: Settings, now: Duration) -> Self {
        let me = Member { id, tag, state: State::Joining };
        let view = View::new(tag, vec![me], settings.replicas, HashMap::new(), true);
        Self {
            me,
            settings,
            peers: BTreeMap::new(),
            started: now,
            ticked: now,
            changed: now,
            beaten: None,
            seq: 0,
            sent: VecDeque::new(),
            doubts: None,
            told_reach: Vec::new(),
            view: Arc::new(view),
        }
    }

    /// The current view.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// This node's state.
    #[must_use]
    pub fn state(&self) -> State {
        self.me.state
    }

    /// The latest round trip to a process, without the time it waited there.
    #[must_use]
    pub fn rtt(&self, tag: Tag) -> Option<Duration> {
        self.peers.get(&tag)?.rtt
    }

    /// Whether a process was heard lately by this node itself.
    #[must_use]
    pub fn is_up(&self, tag: Tag, now: Duration) -> bool {
        self.peers.get(&tag).is_some_and(|peer| self.hears(peer, now))
    }

    /// Who hears this process and is heard here: through whom it can be reached when it is not heard itself.
    #[must_use]
    pub fn relay(&self, tag: Tag, now: Duration) -> Option<Tag> {
        let listed = self.peers.iter().filter(|(_, peer)| self.hears(peer, now) && peer.reach.contains(&tag));
        listed.map(|(via, _)| *via).min()
    }

    /// Processes that left without a word: nobody hears them, and they may live behind a cut and go on.
    #[must_use]
    pub fn silent(&self, now: Duration) -> Vec<Tag> {
        self.peers.iter().filter(|(_, peer)| self.is_silent(peer, now)).map(|(tag, _)| *tag).collect()
    }

    /// The view that a process said it has.
    #[must_use]
    pub fn view_of(&self, tag: Tag) -> Option<u64> {
        self.peers.get(&tag).map(|peer| peer.view)
    }

    /// Takes what happened, and says what is to be done.
    pub fn handle(&mut self, now: Duration, input: NodeInput, out: &mut Vec<NodeOutput>) {
        self.notice_pause(now);
        match input {
            NodeInput::Tick => {}
            NodeInput::Linked { tag, id } => self.linked(now, tag, id),
            NodeInput::Unlinked { tag } => match self.peers.get_mut(&tag) {
                // It said that it would end.
                Some(peer) if peer.state == State::Leaving => self.ended(now, tag),
                Some(peer) => {
                    peer.is_linked = false;
                    self.changed = now;
                }
                None => {}
            },
            NodeInput::Ended { tag } => self.ended(now, tag),
            NodeInput::Beat { from, beat } => self.beat(now, from, beat),
            NodeInput::Known(member) => {
                if member.tag != self.me.tag {
                    let peer = self.peer(now, member.tag, member.id);
                    peer.known = now;
                    // Its own beats know better: gossip comes later.
                    if !peer.is_linked {
                        peer.state = member.state;
                    }
                }
            }
            NodeInput::Drain => self.set_state(State::Draining, out),
            NodeInput::Leave => self.set_state(State::Leaving, out),
        }
        self.note_alive(now);
        self.join(now, out);
        // The view comes first: who hears of a change from here asks at once, and is to be answered accordingly.
        self.renew_view(now, out);
        self.send_beats(now, out);
    }

    fn peer(&mut self, now: Duration, tag: Tag, id: NodeId) -> &mut Peer {
        self.peers.entry(tag).or_insert_with(|| Peer {
            id,
            state: State::Joining,
            is_linked: false,
            heard: None,
            alive: None,
            known: now,
            has_ended: false,
            heard_us: false,
            reach: Vec::new(),
            echo: 0,
            rtt: None,
            view: 0,
        })
    }

    /// After a stop all silence is our own.
    fn notice_pause(&mut self, now: Duration) {
        if now.saturating_sub(self.ticked) > self.settings.pause && !self.settings.has(Bug::NoDoubt) {
            self.doubts = Some((now, self.seq));
            for peer in self.peers.values_mut().filter(|peer| peer.alive.is_some_and(|at| at + self.settings.down > self.ticked)) {
                peer.alive = Some(now);
            }
        }
        self.ticked = self.ticked.max(now);
        if self.doubts.is_some_and(|(since, _)| since + DOUBT <= now) || !self.peers.values().any(|peer| peer.is_linked) {
            self.doubts = None;
        }
    }

    fn linked(&mut self, now: Duration, tag: Tag, id: NodeId) {
        let older: Vec<Tag> = self.peers.iter().filter(|(known, peer)| peer.id == id && **known != tag).map(|(known, _)| *known).collect();
        for tag in older {
            self.ended(now, tag);
        }
        let peer = self.peer(now, tag, id);
        (peer.is_linked, peer.has_ended, peer.heard, peer.alive) = (true, false, Some(now), Some(now));
        self.changed = now;
        // Whoever came new should not wait to be counted.
        self.beaten = None;
    }

    fn ended(&mut self, now: Duration, tag: Tag) {
        if let Some(peer) = self.peers.get_mut(&tag).filter(|peer| !peer.has_ended) {
            // It had heard us within `fresh` when it said so last, and takes nobody for down before `down` is over after that.
            peer.heard_us = peer.reach.contains(&self.me.tag) && peer.heard.is_some_and(|at| now < at + self.settings.fresh);
            (peer.has_ended, peer.is_linked, peer.heard) = (true, false, None);
            self.changed = now;
        }
    }

    fn beat(&mut self, now: Duration, from: Tag, beat: Beat) {
        let sent = self.sent.iter().find(|(seq, _)| *seq == beat.echo).map(|(_, at)| *at);
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if beat.seq <= peer.echo && peer.heard.is_some() {
            return;
        }
        (peer.heard, peer.state, peer.reach, peer.echo, peer.view, peer.has_ended) =
            (Some(now), beat.state, beat.reach, beat.seq, beat.view, false);
        if let Some(sent) = sent {
            peer.rtt = Some(now.saturating_sub(sent).saturating_sub(beat.held));
        }
        // What a socket kept while this node stood still is no answer.
        self.doubts = self.doubts.filter(|(_, seq)| beat.echo <= *seq);
    }

    fn hears(&self, peer: &Peer, now: Duration) -> bool {
        peer.is_linked && peer.heard.is_some_and(|at| now < at + self.settings.fresh)
    }

    /// Processes that were heard lately by this node itself, ascending.
    #[must_use]
    pub fn heard(&self, now: Duration) -> Vec<Tag> {
        let mut reach: Vec<Tag> = self.peers.iter().filter(|(_, peer)| self.hears(peer, now)).map(|(tag, _)| *tag).collect();
        reach.sort_unstable();
        reach
    }

    fn note_alive(&mut self, now: Duration) {
        let reach = self.heard(now);
        let listed: foldhash::HashSet<Tag> =
            reach.iter().filter_map(|tag| self.peers.get(tag)).flat_map(|peer| peer.reach.clone()).collect();
        for (tag, peer) in &mut self.peers {
            let is_heard = peer.heard.is_some_and(|at| now < at + self.settings.fresh) && !peer.has_ended;
            if is_heard || listed.contains(tag) {
                peer.alive = Some(now);
            } else if peer.has_ended {
                // Nobody hears it any more, and it is known why.
                peer.alive = peer.alive.map(|at| at.min(now.saturating_sub(self.settings.down)));
            }
        }
        // Who is to leave waits for those who may come back, and that has its own end.
        let waits = matches!(self.me.state, State::Draining | State::Leaving);
        self.peers.retain(|_, peer| {
            peer.is_linked || now < peer.alive.unwrap_or(peer.known) + REMEMBERED || waits && peer.alive.is_some() && !peer.has_ended
        });
    }

    fn is_silent(&self, peer: &Peer, now: Duration) -> bool {
        peer.alive.is_some() && !peer.has_ended && peer.state != State::Leaving && !self.is_present(peer, now)
    }

    fn is_present(&self, peer: &Peer, now: Duration) -> bool {
        peer.alive.is_some_and(|at| now < at + self.settings.down)
    }

    fn join(&mut self, now: Duration, out: &mut Vec<NodeOutput>) {
        if self.me.state != State::Joining {
            return;
        }
        let present = self.peers.values().filter(|peer| self.is_present(peer, now)).count();
        let linked = self.peers.values().filter(|peer| self.hears(peer, now)).count();
        let is_ready = if present == 0 {
            self.started + self.settings.solo <= now
        } else {
            let is_quiet = self.changed + self.settings.quiet <= now && linked * 10 >= present * 9;
            is_quiet || self.started + self.settings.join <= now
        };
        if is_ready {
            self.set_state(State::Active, out);
        }
    }

    fn set_state(&mut self, state: State, out: &mut Vec<NodeOutput>) {
        if self.me.state != state {
            (self.me.state, self.beaten) = (state, None);
            out.push(NodeOutput::State(state));
        }
    }

    fn send_beats(&mut self, now: Duration, out: &mut Vec<NodeOutput>) {
        let reach = self.heard(now);
        let is_due = self.beaten.is_none_or(|at| at + self.settings.beat <= now);
        if !is_due && reach == self.told_reach {
            return;
        }
        (self.beaten, self.seq) = (Some(now), self.seq + 1);
        self.told_reach.clone_from(&reach);
        self.sent.push_back((self.seq, now));
        if self.sent.len() > BEATS_KEPT {
            self.sent.pop_front();
        }
        for (tag, peer) in self.peers.iter().filter(|(_, peer)| peer.is_linked) {
            let held = peer.heard.map_or(Duration::ZERO, |at| now.saturating_sub(at));
            let beat = Beat { seq: self.seq, state: self.me.state, reach: reach.clone(), view: self.view.id(), echo: peer.echo, held };
            out.push(NodeOutput::Beat { to: *tag, beat });
        }
    }

    fn renew_view(&mut self, now: Duration, out: &mut Vec<NodeOutput>) {
        let present = self.peers.iter().filter(|(_, peer)| self.is_present(peer, now));
        let mut members: Vec<Member> = present.map(|(tag, peer)| Member { id: peer.id, tag: *tag, state: peer.state }).collect();
        members.push(self.me);
        members.sort_unstable_by_key(|member| (member.id, member.tag));
        let may_act = self.doubts.is_none();
        let departed: HashMap<Tag, Departure> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.alive.is_some() && !self.is_present(peer, now))
            .map(|(tag, peer)| (*tag, peer.departure()))
            .collect();
        let misses_others = self.peers.values().any(|peer| self.is_silent(peer, now));
        if self.view.is_same(&members, &departed, may_act, misses_others) {
            return;
        }
        let view = View::new(self.me.tag, members, self.settings.replicas, departed, may_act).missing_others(misses_others);
        self.view = Arc::new(view);
        out.push(NodeOutput::View(self.view.clone()));
    }
}

impl Peer {
    fn departure(&self) -> Departure {
        match (self.has_ended, self.heard_us) {
            (true, true) => Departure::Ended,
            (true, false) => Departure::Lost,
            (false, _) => Departure::Silent,
        }
    }
}
