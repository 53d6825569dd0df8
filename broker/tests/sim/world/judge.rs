//! What must hold when all is at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidings::log::{Entry, GapReason, Slot};

use super::{Failed, World, text};
use crate::client::{Listener, Publish};
use crate::process::{Part, Process};

/// The messages of each slot's home.
type Lines = BTreeMap<Slot, Vec<Arc<Entry>>>;

impl World {
    pub(super) fn judge(&mut self) -> Failed {
        let now = self.now;
        if self.faults.short {
            self.nodes.iter_mut().flatten().for_each(|node| node.sweep(now));
        }
        let mut lines = Lines::new();
        for slot in self.slots.clone() {
            let homes: Vec<usize> =
                (0..self.count).filter(|at| self.nodes[*at].as_ref().is_some_and(|node| node.parts[&slot].replica.is_home())).collect();
            let [home] = homes[..] else { return Err(format!("invariant 15: slot {slot} has homes {homes:?}")) };
            let Some(node) = &self.nodes[home] else { continue };
            self.judge_copies(slot, node)?;
            lines.insert(slot, node.parts[&slot].log.beyond(0));
        }
        self.judge_messages(&lines)?;
        self.judge_turns(&lines)?;
        self.judge_listeners(&lines)
    }

    fn judge_copies(&self, slot: Slot, home: &Process) -> Failed {
        let part = &home.parts[&slot];
        if part.log.commit() != part.log.head() {
            return Err(format!("invariant 15: slot {slot} is committed to {:?} of {:?}", part.log.commit(), part.log.head()));
        }
        let place = home.node.view().place(slot).ok_or("nobody owns anything")?;
        for other in self.nodes.iter().flatten() {
            let theirs = &other.parts[&slot];
            if theirs.replica.orphans().next().is_some() {
                return Err(format!("invariant 15: {} still has orphans of slot {slot}", other.tag.get()));
            }
            if place.follower == Some(other.tag) {
                if !theirs.replica.holds() || theirs.log.line() != part.log.line() || !self.are_alike(part, theirs) {
                    return Err(format!("invariant 15: the follower {} of slot {slot} differs from its home", other.tag.get()));
                }
            } else if other.tag != home.tag && theirs.replica.holds() {
                return Err(format!("invariant 15: {} holds slot {slot} and is not relieved", other.tag.get()));
            }
        }
        Ok(())
    }

    /// Whether two copies hold the same, of what neither has given up.
    fn are_alike(&self, one: &Part, other: &Part) -> bool {
        self.channels.iter().all(|channel| {
            let (Some(a), Some(b)) = (one.names.key(channel), other.names.key(channel)) else { return true };
            let floor = one.log.channel(a).floor.max(other.log.channel(b).floor);
            let kept = |part: &Part| -> Vec<_> {
                let all = part.log.beyond(if self.faults.forgets() { floor } else { 0 });
                all.iter().filter(|entry| entry.channel == *channel).map(|entry| entry.pos).collect()
            };
            kept(one) == kept(other)
        })
    }

    fn judge_messages(&self, lines: &Lines) -> Failed {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        let mut births = BTreeSet::new();
        for entry in lines.values().flatten() {
            *found.entry(String::from_utf8_lossy(entry.payload.bytes()).into_owned()).or_default() += 1;
            if !births.insert((entry.slot, entry.birth().epoch.get(), entry.birth().idx)) {
                return Err(format!("invariant 9: {:?} is on the line twice", entry.birth()));
            }
        }
        for publish in self.publishes.iter().filter(|publish| publish.acked.is_some() && !publish.is_lost) {
            match found.get(&text(publish.number)) {
                Some(1) if self.must_be_cleared(publish) => {
                    return Err(format!("invariant 7: message {} was cleared and is there", publish.number));
                }
                Some(1) => {}
                Some(count) => return Err(format!("invariant 9: message {} is on the line {count} times", publish.number)),
                None if self.may_have_left(publish, lines) => {}
                None => return Err(format!("invariant 7: message {} was acknowledged and is lost", publish.number)),
            }
        }
        Ok(())
    }

    /// What was published through one process to one channel stands in that order. What was tried again, or came in from a branch, has
    /// lost its turn; so has what may have been refused for want of copies, and sent again by its node because that was lost on the way.
    fn judge_turns(&self, lines: &Lines) -> Failed {
        if self.faults.insist && self.faults.tight {
            return Ok(());
        }
        let mut last = BTreeMap::new();
        for entry in lines.values().flatten().filter(|entry| entry.adopted.is_none()) {
            let number: usize = String::from_utf8_lossy(&entry.payload.bytes()[1..]).parse().unwrap_or_default();
            let publish = &self.publishes[number];
            let Some(through) = publish.through.filter(|_| self.tries[&publish.number] == 1 && self.copies_min(publish.number) == 1) else {
                continue;
            };
            if let Some(before) = last.insert((through, &publish.channel), number).filter(|before| *before > number) {
                return Err(format!(
                    "invariant 20: message {before} stands before {number}, which was published through the same node first"
                ));
            }
        }
        Ok(())
    }

    /// Whether its channel was emptied after it was acknowledged, and nothing of another branch came in since.
    fn must_be_cleared(&self, publish: &Publish) -> bool {
        let is_after = |clear: &super::Clear| {
            clear.channel == publish.channel && clear.acked.is_some() && publish.acked.is_some_and(|acked| acked < clear.invoked)
        };
        let is_one_line = self.figures.adopted == 0 && self.figures.uncertain == 0 && !self.is_anew();
        is_one_line && self.clears.iter().any(is_after)
    }

    /// Whether a message may be gone otherwise than with its holders.
    fn may_have_left(&self, publish: &Publish, lines: &Lines) -> bool {
        let is_cleared =
            |clear: &super::Clear| clear.channel == publish.channel && clear.acked.is_none_or(|acked| acked >= publish.invoked);
        let of_channel = lines[&Slot::of(&publish.channel)].iter().filter(|entry| entry.channel == publish.channel).count();
        // Clocks that jumped are ahead of the world's.
        let ahead = if self.faults.jump { 60_000 } else { 0 };
        let is_old = (self.now - publish.invoked + ahead) * 10 > self.kept.ttl.as_millis() as u64 * 9;
        self.faults.pressure || of_channel >= self.kept.size as usize || is_old || self.clears.iter().any(is_cleared)
    }

    fn is_anew(&self) -> bool {
        self.anew > 0 || self.opened > self.slots.len() as u64
    }

    fn judge_listeners(&mut self, lines: &Lines) -> Failed {
        for listener in &self.listeners {
            self.figures.delivered += listener.got.len() as u64;
            self.figures.gaps += listener.gaps.len() as u64;
            let got: BTreeSet<&[u8]> = listener.got.iter().map(|entry| &entry.payload.bytes()[..]).collect();
            for (when, reason) in &listener.gaps {
                if !self.is_true(listener, &got, *when, *reason) {
                    return Err(format!("invariant 12: listener {} got a false gap ({reason:?}) at {when}", listener.number));
                }
            }
            self.judge_missing(listener, &got, lines)?;
            self.judge_order(listener)?;
        }
        Ok(())
    }

    fn is_true(&self, listener: &Listener, got: &BTreeSet<&[u8]>, when: u64, reason: GapReason) -> bool {
        let is_missing = |publish: &&Publish| {
            publish.channel == listener.channel && publish.invoked <= when && !got.contains(text(publish.number).as_bytes())
        };
        match reason {
            GapReason::Failover => self.figures.uncertain > 0,
            GapReason::Restart => self.is_anew(),
            // What left was another branch's copy of something it had, or it was never acknowledged. Of a branch only that something
            // has left is known, not that somebody emptied a channel; nor what it was, where all that is left of it is on this line too.
            GapReason::Window => {
                let had_branches = self.figures.adopted > 0 || self.merged > 0;
                self.faults.forgets() && (had_branches || self.publishes.iter().any(|publish| is_missing(&publish)))
            }
            GapReason::Cleared => self.clears.iter().any(|clear| clear.channel == listener.channel && clear.invoked <= when),
            GapReason::Unknown => self.faults.short,
            // No channel here conflates.
            GapReason::Conflated => false,
        }
    }

    fn judge_missing(&self, listener: &Listener, got: &BTreeSet<&[u8]>, lines: &Lines) -> Failed {
        let Some(since) = listener.since else { return Ok(()) };
        let last_gap = listener.gaps.iter().map(|(when, _)| *when).max().unwrap_or(0);
        // What may leave a history at once may have been there when the gap was told, however short before it was asked for. Else a
        // lost answer may excuse a little more than that.
        let slack = if self.faults.forgets() { 0 } else { 200 };
        // A home that was alone behind a cut and died there leaves nobody who could tell; unless it had met the others again.
        let is_divided = self.faults.cut || self.faults.one_way || self.faults.silent_crash;
        let is_known = |publish: &Publish| {
            let has_holder = (!is_divided || publish.is_told_of) && !publish.is_unheard_of;
            has_holder && !self.faults.forgets() && !self.is_anew()
        };
        let kept = lines[&Slot::of(&listener.channel)].iter().filter(|entry| entry.channel == listener.channel);
        let kept = kept.map(|entry| String::from_utf8_lossy(entry.payload.bytes()).into_owned());
        let acked = self.publishes.iter().filter(|publish| publish.channel == listener.channel && publish.acked.is_some());
        let acked = acked.filter(|publish| !publish.is_lost || is_known(publish)).map(|publish| text(publish.number));
        let on_line: BTreeSet<String> = kept.collect();
        for wanted in acked.chain(on_line.iter().cloned()) {
            let number: usize = wanted[1..].parse().unwrap_or_default();
            let publish = &self.publishes[number];
            // With a gap everything published before it is excused; of what is gone, all that was acknowledged before.
            let is_gone = publish.is_lost && !on_line.contains(&wanted);
            let is_told = if is_gone { publish.acked <= Some(last_gap) } else { publish.invoked + slack <= last_gap };
            let is_due = publish.invoked > since && !is_told;
            if is_due && !got.contains(wanted.as_bytes()) {
                return Err(format!("invariant 10: listener {} never got message {number}", listener.number));
            }
        }
        Ok(())
    }

    fn judge_order(&self, listener: &Listener) -> Failed {
        let is_one_line = self.figures.adopted == 0 && self.figures.uncertain == 0 && !self.is_anew();
        let mut newest_invoked = 0;
        for entry in &listener.got {
            let number: usize = String::from_utf8_lossy(&entry.payload.bytes()[1..]).parse().unwrap_or_default();
            let publish = &self.publishes[number];
            if entry.adopted.is_none() && is_one_line && publish.acked.is_some_and(|acked| acked < newest_invoked) {
                return Err(format!("invariant 11: listener {} got message {number} after one that was published later", listener.number));
            }
            newest_invoked = newest_invoked.max(publish.invoked);
        }
        Ok(())
    }
}
