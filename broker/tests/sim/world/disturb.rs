//! Bringing faults about.

use std::collections::HashSet;
use std::time::Duration;

use tidings::cluster::core::NodeInput;
use tidings::log::{Epoch, Pos, Slot};

use super::{Failed, World, pair, text};
use crate::process::Process;

impl World {
    pub(super) fn disturb(&mut self) -> Failed {
        let at = self.chance.below(self.count as u64) as usize;
        let faults = self.faults.clone();
        if self.now < 3000 {
            return Ok(());
        }
        if faults.pressure && self.chance.once_in(300) && !self.is_away(at) {
            let slot = self.chance.pick(&self.slots);
            let count = self.chance.below(20);
            self.note(|| format!("{at} gives up {count} of {slot}"));
            if let Some(node) = &mut self.nodes[at] {
                node.give_up(slot, count);
            }
        }
        if self.count == 1 {
            return Ok(());
        }
        if faults.jump && self.chance.once_in(900) {
            let ahead = self.chance.pick(&[300, 1000, 5000]);
            self.note(|| format!("the clock of {at} jumps by {ahead}"));
            if let Some(node) = &mut self.nodes[at] {
                node.offset += Duration::from_millis(ahead);
            }
        }
        if faults.narrow && self.chance.once_in(400) {
            let other = self.chance.below(self.count as u64) as usize;
            let pace = self.chance.pick(&[0, 0, 20, 80, 300]);
            self.note(|| format!("{at} says one thing to {other} in {pace}"));
            if let Some(pipe) = self.pipes.get_mut(&(at, other)) {
                pipe.pace = pace;
            }
        }
        let away = (0..self.count).filter(|at| self.nodes[*at].as_ref().is_none_or(|node| node.paused_until > self.now)).count();
        let is_calm = away == 0 && self.now > self.last_crash + 4000;
        if faults.crash && (is_calm || faults.double) && self.chance.once_in(900) && self.nodes[at].is_some() {
            self.crash(at, true)?;
        }
        if faults.cut && self.chance.once_in(600) {
            let side: Vec<bool> = (0..self.count).map(|_| self.chance.once_in(2)).collect();
            self.note(|| format!("cut {side:?}"));
            for a in 0..self.count {
                for b in (0..self.count).filter(|b| side[*b] != side[a]) {
                    self.block(a, b);
                }
            }
        }
        if faults.one_way && self.chance.once_in(600) {
            let other = self.chance.below(self.count as u64) as usize;
            self.note(|| format!("one way {at} to {other}"));
            self.block(at, other);
        }
        if (faults.cut || faults.one_way) && self.chance.once_in(400) {
            self.note(|| "heal".to_owned());
            self.pipes.values_mut().for_each(|pipe| pipe.is_blocked = false);
        }
        if faults.pause && self.chance.once_in(700) {
            let length = self.chance.pick(&[200, 500, 900, 2000, 5000, 10_000]);
            self.pause(at, length);
        }
        if faults.reset && self.chance.once_in(500) {
            let other = self.chance.below(self.count as u64) as usize;
            self.disconnect(at, other)?;
        }
        if faults.slow && self.chance.once_in(300) {
            self.delay = self.chance.pick(&[1, 1, 5, 20, 60, 200]);
        }
        if faults.drain && self.chance.once_in(2500) && !self.is_away(at) && self.restarts.is_empty() {
            self.drain(at)?;
        }
        Ok(())
    }

    pub(crate) fn drain(&mut self, at: usize) -> Failed {
        self.note(|| format!("drain {at}"));
        self.restarts.insert(at, u64::MAX);
        self.node_input(at, NodeInput::Drain)
    }

    pub(crate) fn pause(&mut self, at: usize, length: u64) {
        self.note(|| format!("pause {at} for {length}"));
        let now = self.now;
        if let Some(node) = self.nodes[at].as_mut().filter(|node| node.paused_until == 0) {
            (node.paused_since, node.paused_until) = (now, now + length);
        }
    }

    /// A dead node stays away until it is started.
    pub(crate) fn keep_away(&mut self, at: usize) {
        self.restarts.insert(at, u64::MAX - 1);
    }

    /// A dead node starts again under its name.
    pub(crate) fn start(&mut self, at: usize) {
        self.restarts.remove(&at);
        let process = self.process(at);
        self.note(|| format!("start {at} ({})", process.tag.get()));
        self.nodes[at] = Some(process);
        self.stirred = self.now;
    }

    /// Nobody reaches this node and it reaches nobody.
    pub(crate) fn unplug(&mut self, at: usize) {
        for other in (0..self.count).filter(|other| *other != at) {
            self.block(at, other);
            self.block(other, at);
        }
    }

    pub(super) fn block(&mut self, from: usize, to: usize) {
        let now = self.now;
        if let Some(pipe) = self.pipes.get_mut(&(from, to)).filter(|pipe| !pipe.is_blocked) {
            (pipe.is_blocked, pipe.blocked_since) = (true, now);
        }
    }

    /// A process ends. It stays away for a while, which may be changed afterwards.
    pub(crate) fn crash(&mut self, at: usize, may_be_silent: bool) -> Failed {
        self.note_sound(at);
        let is_met = self.is_met(at);
        let Some(dead) = self.nodes[at].take() else { return Ok(()) };
        self.note(|| format!("crash {at} ({})", dead.tag.get()));
        self.figures.crashes += 1;
        self.unheard.remove(&at);
        (self.last_crash, self.stirred) = (self.now, self.now);
        // What nobody else holds is lost.
        let mut lost = HashSet::new();
        for slot in &self.slots {
            let mut alone = dead.held(*slot);
            for held in self.nodes.iter().flatten().map(|node| node.held(*slot)) {
                alone.retain(|text| !held.contains(text));
            }
            lost.extend(alone);
        }
        // Of what had left all histories before nobody knows either, where no other line has come by it.
        let knows = |node: &Process, slot: Slot, pos: Pos| node.parts.get(&slot).is_some_and(|part| part.knows(pos));
        for publish in self.publishes.iter_mut().filter(|publish| publish.acked.is_some() && !publish.is_lost) {
            let is_forgotten = self.faults.forgets()
                && publish.pos.is_some_and(|(slot, epoch, idx)| {
                    let pos = Epoch::from_bits(epoch).map(|epoch| Pos { epoch, idx });
                    pos.is_some_and(|pos| knows(&dead, slot, pos) && !self.nodes.iter().flatten().any(|node| knows(node, slot, pos)))
                });
            if is_forgotten || lost.contains(text(publish.number).as_bytes()) {
                publish.is_lost = true;
                publish.is_told_of = is_met;
                self.figures.lost += 1;
                let has_heard = |node: &Process, (slot, epoch, _): (Slot, u64, u64)| {
                    let line = node.parts.get(&slot).map(|part| part.log.line());
                    node.paused_until == 0 || line.is_some_and(|line| line.segments().iter().any(|segment| segment.epoch.get() == epoch))
                };
                publish.is_unheard_of = publish.pos.is_some_and(|pos| !self.nodes.iter().flatten().any(|node| has_heard(node, pos)));
            }
        }
        let is_silent = may_be_silent && self.faults.silent_crash && self.chance.once_in(2);
        for other in (0..self.count).filter(|other| *other != at) {
            if is_silent {
                self.block(at, other);
                self.block(other, at);
                continue;
            }
            if self.connected.contains(&pair(at, other)) {
                self.endings.push((self.now + 100, other, dead.tag));
            }
            self.disconnect(at, other)?;
        }
        let after = self.chance.pick(&[300, 1000, 4000, 8000]);
        self.restarts.insert(at, self.now + after);
        let gone = |of: &(u64, usize, u64, u64)| of.1 == at;
        for (number, ..) in self.flying.extract_if(.., |of| gone(of)).collect::<Vec<_>>() {
            self.retries.push((self.now + 200, number));
        }
        Ok(())
    }

    pub(crate) fn heal(&mut self) {
        self.note(|| "everything heals".to_owned());
        (self.delay, self.stirred) = (1, self.now);
        self.pipes.values_mut().for_each(|pipe| (pipe.is_blocked, pipe.pace) = (false, 0));
        let now = self.now;
        self.nodes.iter_mut().flatten().for_each(|node| node.paused_until = node.paused_until.min(now));
        self.restarts.values_mut().filter(|at| **at < u64::MAX).for_each(|at| *at = (*at).min(now + 100));
    }
}
