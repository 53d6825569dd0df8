//! Who is on a channel: guests who come and go, and what every node says of them at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidings::log::Tag;
use tidings::message::ChannelName;
use tidings::presence::{Context, Counts, Frame, MemberId, Node, Output, Page, Query};

use super::{Failed, PATIENCE, World};
use crate::chance::Chance;

/// Guests of all channels.
const GUESTS: usize = 8;
/// Between two moments in which presence goes on by itself.
pub(super) const TICK: u64 = tidings::presence::TICK.as_millis() as u64;
/// At rest every node answers within this time.
const ANSWER: u64 = 1000;

/// Somebody with a connection to one channel, now here, now there.
struct Guest {
    id: MemberId,
    channel: ChannelName,
    /// The node, and its process.
    at: Option<(usize, Tag)>,
    hops_at: u64,
}

/// All guests. What they do has a chance of its own: what is published does not depend on them.
pub(super) struct Guests {
    all: Vec<Guest>,
    luck: Chance,
    /// Connections that ended while their node was stopped: it hears of it when it goes on.
    gone: Vec<((usize, Tag), ChannelName, MemberId)>,
    /// Answers to who is there, by question.
    pages: BTreeMap<u64, Page>,
}

/// How many connections each user has, then how many of whom there are in all.
type There = (BTreeMap<String, u32>, Counts);

impl Guests {
    /// Some are known by name, of these each two share one, and others are not.
    pub(super) fn new(channels: &[ChannelName], luck: Chance) -> Self {
        let guest = |number: usize| {
            let name: Arc<str> = format!("g{}", number / 2).into();
            let id = if number.is_multiple_of(4) { MemberId::Session(format!("s{number}").into()) } else { MemberId::User(name) };
            Guest { id, channel: channels[number % channels.len()].clone(), at: None, hops_at: 3000 }
        };
        Self { all: (0..GUESTS).map(guest).collect(), luck, gone: Vec::new(), pages: BTreeMap::new() }
    }

    /// By the connections that there are.
    fn there(&self, channel: &ChannelName) -> There {
        let (mut users, mut counts) = (BTreeMap::new(), Counts::default());
        for guest in self.all.iter().filter(|guest| guest.channel == *channel && guest.at.is_some()) {
            counts.connections += 1;
            match guest.id.user() {
                Some(name) => *users.entry(name.to_string()).or_default() += 1,
                None => counts.anonymous += 1,
            }
        }
        counts.users = users.len() as u64;
        (users, counts)
    }
}

impl World {
    /// Lets presence on a node do something, and carries out what comes of it.
    pub(super) fn presence(&mut self, at: usize, act: impl FnOnce(&mut Node, Context<'_>)) {
        let Some(process) = &mut self.nodes[at] else { return };
        let now = process.clock(self.now).mono;
        act(
            &mut process.presence,
            Context { now, places: &**process.node.view(), settings: &process.presence_settings, held_elsewhere: 0 },
        );
        for output in process.presence.outputs() {
            match output {
                Output::Send(to, frame) => self.send_presence(at, to, frame),
                Output::Answer(rid, page) => drop(self.guests.pages.insert(rid, page)),
                // Whoever listens reads the state itself, at rest.
                Output::Tell(_) => {}
            }
        }
    }

    /// Without a connection it is said again when there is one. No chance here: the order among channels is not always the same.
    fn send_presence(&mut self, from: usize, to: Tag, frame: Frame) {
        let Some(way) = self.way(from, to) else { return };
        let (now, delay) = (self.now, self.delay);
        if let Some(pipe) = self.pipes.get_mut(&way) {
            let last = pipe.presence.back().map_or(0, |(at, _)| *at);
            pipe.presence.push_back(((now + delay).max(last), frame));
        }
    }

    pub(super) fn deliver_presence(&mut self, (from, to): (usize, usize)) {
        let now = self.now;
        while let Some(pipe) = self.pipes.get_mut(&(from, to)).filter(|pipe| !pipe.is_blocked)
            && pipe.presence.front().is_some_and(|(at, _)| *at <= now)
            && let Some((_, frame)) = pipe.presence.pop_front()
        {
            if let Some(tag) = self.known.get(&(to, from)).copied() {
                self.presence(to, |node, cx| node.hear(cx, tag, frame));
            }
        }
    }

    /// Guests come and go.
    pub(super) fn guests(&mut self) -> Failed {
        for (at, channel, id) in std::mem::take(&mut self.guests.gone) {
            self.goes(at, channel, id);
        }
        (0..GUESTS).try_for_each(|nth| self.guest(nth))
    }

    fn guest(&mut self, nth: usize) -> Failed {
        let Guest { id, channel, at, hops_at } = &self.guests.all[nth];
        if at.is_none_or(|at| self.is_up(at)) && (*hops_at > self.now || self.now >= self.ends) {
            return Ok(());
        }
        let (id, channel, at) = (id.clone(), channel.clone(), *at);
        self.guests.all[nth].at = None;
        let mut stays_away = false;
        if let Some(at) = at {
            // When its node is not there any more it tries elsewhere a while later.
            stays_away = !self.is_up(at) || self.guests.luck.once_in(2);
            self.goes(at, channel.clone(), id.clone());
        }
        if stays_away {
            self.guests.all[nth].hops_at = self.now + self.guests.luck.below(4000);
            return Ok(());
        }
        self.guests.all[nth].hops_at = self.now + 200 + self.guests.luck.below(6000);
        let to = self.guests.luck.below(self.count as u64) as usize;
        let Some(tag) = self.nodes[to].as_ref().filter(|node| node.paused_until == 0).map(|node| node.tag) else { return Ok(()) };
        self.guests.all[nth].at = Some((to, tag));
        self.note(|| format!("{id:?} comes to {channel} at {to}"));
        let mut entered = Ok(());
        self.presence(to, |node, cx| entered = node.enter(cx, &channel, id, None));
        entered.map_err(|why| why.to_string())
    }

    /// Whether this process lives, if it is stopped or not.
    fn is_up(&self, (at, tag): (usize, Tag)) -> bool {
        self.nodes[at].as_ref().is_some_and(|node| node.tag == tag)
    }

    fn goes(&mut self, (at, tag): (usize, Tag), channel: ChannelName, id: MemberId) {
        let Some(node) = self.nodes[at].as_ref().filter(|node| node.tag == tag) else { return };
        if node.paused_until > 0 {
            return self.guests.gone.push(((at, tag), channel, id));
        }
        self.note(|| format!("{id:?} leaves {channel} at {at}"));
        self.presence(at, |node, cx| node.leave(cx, &channel, &id));
    }

    /// Every node says who is there when it is asked, and has told so to whoever listens there.
    pub(super) fn judge_presence(&mut self) -> Failed {
        let rests = self.stirred.max(self.ends) + PATIENCE;
        while self.now < rests {
            self.step(false)?;
        }
        self.guests.pages.clear();
        let mut asked: Vec<(u64, usize, ChannelName)> = Vec::new();
        for at in (0..self.count).filter(|at| self.nodes[*at].is_some()).collect::<Vec<_>>() {
            for channel in self.channels.clone() {
                let rid = asked.len() as u64;
                self.presence(at, |node, cx| node.ask(cx, rid, &channel, Query { after: None, limit: GUESTS }));
                asked.push((rid, at, channel));
            }
        }
        let until = self.now + ANSWER;
        while self.guests.pages.len() < asked.len() && self.now < until {
            self.step(false)?;
        }
        for (rid, at, channel) in asked {
            let (users, counts) = self.guests.there(&channel);
            let Some(page) = self.guests.pages.get(&rid) else {
                return Err(format!("invariant 19: {at} does not know who is on {channel}"));
            };
            let told: BTreeMap<String, u32> = page.users.iter().map(|user| (user.name.to_string(), user.connections)).collect();
            if (&told, page.counts) != (&users, counts) {
                let told = (told, page.counts);
                return Err(format!("invariant 19: {at} says that {told:?} are on {channel}, and it is {:?}", (users, counts)));
            }
            let Some((notice, _)) = self.nodes[at].as_ref().and_then(|node| node.presence.read(&channel, 0)) else {
                return Err(format!("invariant 19: nobody who listens to {channel} at {at} was told who is there"));
            };
            let told: BTreeSet<String> = notice.here.iter().flatten().map(|user| user.name.to_string()).collect();
            // Connections are not told: they change more often than who is there.
            let is_told = (notice.counts.users, notice.counts.anonymous) == (counts.users, counts.anonymous);
            if !is_told || !told.iter().eq(users.keys()) {
                let told = (told, notice.counts);
                return Err(format!(
                    "invariant 19: who listens to {channel} at {at} was told of {told:?}, and it is {:?}",
                    (users, counts)
                ));
            }
        }
        Ok(())
    }
}
