//! Bringing faults about.

use tidings::cluster::core::NodeInput;
use tidings::log::Slot;

use super::{ACTIVE, Failed, World, pair, text};

impl World {
    pub(super) fn disturb(&mut self) -> Failed {
        let at = self.chance.below(self.count as u64) as usize;
        let faults = self.faults.clone();
        if self.now < 3000 || self.count == 1 {
            return Ok(());
        }
        let away = (0..self.count).filter(|at| self.nodes[*at].as_ref().is_none_or(|node| node.paused_until > self.now)).count();
        let is_calm = away == 0 && self.now > self.last_crash + 4000;
        if faults.crash && (is_calm || faults.double) && self.chance.once_in(900) && self.nodes[at].is_some() {
            self.crash(at)?;
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
            let length = self.chance.pick(&[200, 500, 900, 2000, 5000]);
            self.note(|| format!("pause {at} for {length}"));
            let now = self.now;
            if let Some(node) = &mut self.nodes[at] {
                node.paused_until = now + length;
            }
        }
        if faults.reset && self.chance.once_in(500) {
            let other = self.chance.below(self.count as u64) as usize;
            self.disconnect(at, other)?;
        }
        if faults.slow && self.chance.once_in(300) {
            self.delay = self.chance.pick(&[1, 1, 5, 20, 60, 200]);
        }
        if faults.drain && self.chance.once_in(2500) && self.nodes[at].is_some() && self.restarts.is_empty() {
            self.note(|| format!("drain {at}"));
            self.node_input(at, NodeInput::Drain)?;
            self.restarts.insert(at, u64::MAX);
        }
        Ok(())
    }

    pub(super) fn block(&mut self, from: usize, to: usize) {
        let now = self.now;
        if let Some(pipe) = self.pipes.get_mut(&(from, to)).filter(|pipe| !pipe.is_blocked) {
            (pipe.is_blocked, pipe.blocked_since) = (true, now);
        }
    }

    pub(super) fn crash(&mut self, at: usize) -> Failed {
        let Some(dead) = self.nodes[at].take() else { return Ok(()) };
        self.note(|| format!("crash {at} ({})", dead.tag.get()));
        self.figures.crashes += 1;
        self.last_crash = self.now;
        // What nobody else holds is lost.
        for nth in 0..self.publishes.len() {
            let publish = &self.publishes[nth];
            let text = text(publish.number);
            let slot = Slot::of(&publish.channel);
            if publish.acked.is_some() && dead.holds(slot, &text) && !self.nodes.iter().flatten().any(|node| node.holds(slot, &text)) {
                self.publishes[nth].is_lost = true;
                self.figures.lost += 1;
            }
        }
        let has_left = self.restarts.get(&at) == Some(&u64::MAX);
        let is_silent = self.faults.silent_crash && self.now < ACTIVE && !has_left && self.chance.once_in(2);
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
            self.retries.push((self.now + 200, number, 0));
        }
        Ok(())
    }

    pub(super) fn heal(&mut self) -> Failed {
        self.note(|| "everything heals".to_owned());
        self.delay = 1;
        self.pipes.values_mut().for_each(|pipe| pipe.is_blocked = false);
        let now = self.now;
        self.nodes.iter_mut().flatten().for_each(|node| node.paused_until = node.paused_until.min(now));
        self.restarts.values_mut().filter(|at| **at < u64::MAX).for_each(|at| *at = (*at).min(now + 100));
        Ok(())
    }
}
