//! Connections between nodes, and what travels over them.

use std::collections::BTreeSet;

use tidings::cluster::core::{Beat, Frame, Input, NodeInput};
use tidings::log::{Slot, Tag};
use tidings::message::ChannelName;

use super::{Failed, World, pair};
use crate::wire::{FULL, ROOM, shift};

/// A connection over which nothing arrives for this long is given up.
const DEAD: u64 = 3000;
/// Until a lost connection is made anew.
const REDIAL: u64 = 100;

/// Who has met for so long, and some ways more, has told what it alone holds.
const MEETING: u64 = 100;

/// What a process hears of from its own machine. While it is stopped it hears nothing, and all of it when it goes on.
#[derive(Clone, Debug)]
pub(super) enum News {
    /// A connection is lost.
    Unlinked(Tag),
    /// A process has ended.
    Ended(Tag),
    /// There is room on a connection again.
    Drained(Slot, Tag),
    /// The last listener of a channel has left.
    Left(Slot, ChannelName),
}

impl World {
    /// Whether nobody is there who hears anything.
    pub(super) fn is_away(&self, at: usize) -> bool {
        self.nodes[at].as_ref().is_none_or(|node| node.paused_until > 0)
    }

    pub(super) fn tell(&mut self, at: usize, news: News) -> Failed {
        if self.nodes[at].is_none() {
            return Ok(());
        }
        if self.is_away(at) {
            self.unheard.entry(at).or_default().push(news);
            return Ok(());
        }
        match news {
            News::Unlinked(tag) => self.link(at, tag, false),
            News::Ended(tag) => self.node_input(at, NodeInput::Ended { tag }),
            News::Drained(slot, peer) => self.input(at, slot, Input::Drained { peer }),
            News::Left(slot, channel) => self.input(at, slot, Input::Leave(channel)),
        }
    }

    /// It goes on after a stop.
    pub(super) fn hear_all(&mut self, at: usize) -> Failed {
        self.unheard.remove(&at).into_iter().flatten().try_for_each(|news| self.tell(at, news))
    }

    pub(super) fn disconnect(&mut self, a: usize, b: usize) -> Failed {
        if a == b || !self.connected.remove(&pair(a, b)) {
            return Ok(());
        }
        self.note(|| format!("connection {a}-{b} lost"));
        self.stirred = self.now;
        self.redial.insert(pair(a, b), self.now + REDIAL);
        for (at, other) in [(a, b), (b, a)] {
            if let Some(pipe) = self.pipes.get_mut(&(at, other)) {
                pipe.reset();
            }
        }
        for (at, other) in [(a, b), (b, a)] {
            if let Some(tag) = self.known.get(&(at, other)).copied() {
                self.tell(at, News::Unlinked(tag))?;
            }
        }
        Ok(())
    }

    fn link(&mut self, at: usize, tag: Tag, is_up: bool) -> Failed {
        if self.nodes[at].is_none() {
            return Ok(());
        }
        if !is_up {
            self.node_input(at, NodeInput::Unlinked { tag })?;
        }
        for slot in self.slots.clone() {
            self.input(at, slot, Input::Link { peer: tag, is_up })?;
        }
        Ok(())
    }

    pub(super) fn move_connections(&mut self) -> Failed {
        for (at, when) in self.restarts.clone() {
            let has_drained = when == u64::MAX
                && self.nodes[at]
                    .as_ref()
                    .is_some_and(|node| node.parts.values().all(|part| !part.replica.holds()) && self.flying.iter().all(|of| of.1 != at));
            if has_drained {
                self.note(|| format!("{at} has drained and leaves"));
                self.crash(at, false)?;
            } else if when <= self.now {
                self.start(at);
            }
        }
        for a in 0..self.count {
            for b in a + 1..self.count {
                self.move_connection(a, b)?;
            }
        }
        for (_, at, tag) in self.endings.extract_if(.., |(when, ..)| *when <= self.now).collect::<Vec<_>>() {
            self.tell(at, News::Ended(tag))?;
        }
        Ok(())
    }

    /// Notes who hears whom.
    pub(super) fn look_met(&mut self) {
        for (a, b) in (0..self.count).flat_map(|a| (a + 1..self.count).map(move |b| (a, b))) {
            let flows = |way: &(usize, usize)| {
                let pipe = &self.pipes[way];
                !pipe.is_blocked && pipe.pace == 0 && pipe.behind.is_empty()
            };
            if self.connected.contains(&(a, b)) && !self.is_away(a) && !self.is_away(b) && [(a, b), (b, a)].iter().all(flows) {
                self.met.entry((a, b)).or_insert(self.now);
            } else {
                self.met.remove(&(a, b));
            }
        }
    }

    /// Whether all others that live have heard this node long enough to know what it alone holds.
    pub(super) fn is_met(&self, at: usize) -> bool {
        let enough = MEETING + 12 * self.delay;
        let mut others = (0..self.count).filter(|other| *other != at && self.nodes[*other].is_some()).peekable();
        others.peek().is_some() && others.all(|other| self.met.get(&pair(at, other)).is_some_and(|since| since + enough <= self.now))
    }

    fn move_connection(&mut self, a: usize, b: usize) -> Failed {
        let ways = [(a, b), (b, a)];
        let is_blocked = ways.iter().any(|way| self.pipes[way].is_blocked);
        if !self.connected.contains(&(a, b)) {
            let is_due = self.redial.get(&(a, b)).is_none_or(|at| *at <= self.now);
            if self.found_within > 0 && is_blocked && is_due {
                let after = self.chance.below(self.found_within);
                self.redial.insert((a, b), self.now + after);
            }
            // Both must be there to greet each other.
            return if !is_blocked && is_due && !self.is_away(a) && !self.is_away(b) { self.connect(a, b) } else { Ok(()) };
        }
        let is_dead = ways.iter().any(|way| {
            let pipe = &self.pipes[way];
            pipe.is_blocked && pipe.blocked_since + DEAD < self.now || pipe.frames.len() > FULL * 200
        });
        // A process that is not there any more, or another one in its place, answers with a reset.
        let is_known =
            |at: usize, other: usize| self.nodes[other].as_ref().is_some_and(|node| self.known.get(&(at, other)) == Some(&node.tag));
        let is_gone = !is_known(a, b) || !is_known(b, a);
        if is_dead || is_gone && !is_blocked { self.disconnect(a, b) } else { Ok(()) }
    }

    fn connect(&mut self, a: usize, b: usize) -> Failed {
        self.note(|| format!("connection {a}-{b}"));
        self.stirred = self.now;
        self.connected.insert((a, b));
        for (at, other) in [(a, b), (b, a)] {
            let Some((tag, id)) = self.nodes[other].as_ref().map(|node| (node.tag, node.id)) else { continue };
            if let Some(old) = self.known.insert((at, other), tag)
                && old != tag
            {
                self.link(at, old, false)?;
            }
            self.node_input(at, NodeInput::Linked { tag, id })?;
            self.link(at, tag, true)?;
            self.presence(at, |node, cx| node.linked(cx, tag));
        }
        Ok(())
    }

    /// The way to a process, if there is one.
    pub(super) fn way(&self, from: usize, to: Tag) -> Option<(usize, usize)> {
        let other = self.nodes.iter().position(|node| node.as_ref().is_some_and(|node| node.tag == to))?;
        let is_connected = self.connected.contains(&pair(from, other)) && self.known.get(&(from, other)) == Some(&to);
        is_connected.then_some((from, other))
    }

    pub(super) fn send_beat(&mut self, from: usize, to: Tag, beat: Beat) {
        let Some(way) = self.way(from, to) else { return };
        let (now, delay) = (self.now, self.delay);
        let jitter = self.chance.below(delay + 1);
        if let Some(pipe) = self.pipes.get_mut(&way) {
            let last = pipe.beats.back().map_or(0, |(at, ..)| *at);
            pipe.beats.push_back(((now + delay + jitter).max(last), now, beat));
        }
    }

    pub(super) fn send(&mut self, from: usize, to: Tag, slot: Slot, frame: Frame) -> Failed {
        let Some(way) = self.way(from, to) else { return Ok(()) };
        let (now, delay) = (self.now, self.delay);
        let jitter = self.chance.below(delay + 1);
        let Some(pipe) = self.pipes.get_mut(&way) else { return Ok(()) };
        let last = pipe.frames.back().map_or(0, |(at, ..)| *at);
        pipe.frames.push_back(((now + delay + jitter).max(last), slot, frame));
        if pipe.frames.len() > FULL && pipe.behind.insert(slot) {
            self.input(from, slot, Input::Lagging { peer: to })?;
        }
        Ok(())
    }

    pub(super) fn deliver(&mut self) -> Failed {
        let ways: Vec<(usize, usize)> = self.pipes.keys().copied().collect();
        for way in ways {
            // Whoever wakes up sees the time first.
            if !self.is_away(way.1) {
                self.deliver_beats(way)?;
                self.deliver_frames(way)?;
                self.deliver_presence(way);
            }
        }
        Ok(())
    }

    fn deliver_beats(&mut self, (from, to): (usize, usize)) -> Failed {
        let now = self.now;
        while let Some(pipe) = self.pipes.get_mut(&(from, to)).filter(|pipe| !pipe.is_blocked)
            && pipe.beats.front().is_some_and(|(at, ..)| *at <= now)
            && let Some((_, sent, beat)) = pipe.beats.pop_front()
        {
            let Some(tag) = self.known.get(&(to, from)).copied() else { continue };
            if let Some(node) = &mut self.nodes[to] {
                node.woke = node.woke.filter(|woke| sent < *woke);
            }
            self.node_input(to, NodeInput::Beat { from: tag, beat })?;
        }
        Ok(())
    }

    fn deliver_frames(&mut self, (from, to): (usize, usize)) -> Failed {
        let now = self.now;
        while let Some(pipe) = self.pipes.get_mut(&(from, to)).filter(|pipe| !pipe.is_blocked && pipe.free_at <= now)
            && pipe.frames.front().is_some_and(|(at, ..)| *at <= now)
            && let Some((_, slot, frame)) = pipe.frames.pop_front()
        {
            pipe.free_at = if pipe.pace > 0 { now + pipe.pace } else { 0 };
            let relieved = if pipe.frames.len() <= ROOM { std::mem::take(&mut pipe.behind) } else { BTreeSet::new() };
            if let Some(peer) = self.known.get(&(from, to)).copied() {
                for slot in relieved {
                    self.tell(from, News::Drained(slot, peer))?;
                }
            }
            let Some(tag) = self.known.get(&(to, from)).copied() else { continue };
            // The sender may be dead by now: its clock is not needed to know an age, only its offset.
            let there = self.nodes[from].as_ref().map(|node| node.clock(now).mono);
            let here = self.nodes[to].as_ref().map(|node| node.clock(now).mono);
            let (Some(there), Some(here)) = (there, here) else { continue };
            self.input(to, slot, Input::Frame { from: tag, frame: shift(frame, there, here) })?;
        }
        Ok(())
    }
}
