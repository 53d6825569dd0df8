//! What must hold when all is at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidings::log::{Entry, GapReason, Slot};

use super::{Failed, World, text};

impl World {
    pub(super) fn judge(&mut self) -> Failed {
        let mut lines: BTreeMap<Slot, Vec<Arc<Entry>>> = BTreeMap::new();
        for slot in self.slots.clone() {
            let homes: Vec<usize> =
                (0..self.count).filter(|at| self.nodes[*at].as_ref().is_some_and(|node| node.parts[&slot].replica.is_home())).collect();
            let [home] = homes[..] else { return Err(format!("invariant 15: slot {slot} has homes {homes:?}")) };
            let Some(node) = &self.nodes[home] else { continue };
            let part = &node.parts[&slot];
            if part.log.commit() != part.log.head() {
                return Err(format!("invariant 15: slot {slot} is committed to {:?} of {:?}", part.log.commit(), part.log.head()));
            }
            let entries = part.log.beyond(0);
            let place = node.node.view().place(slot).ok_or("nobody owns anything")?;
            for other in self.nodes.iter().flatten() {
                let theirs = &other.parts[&slot];
                if theirs.replica.orphans().next().is_some() {
                    return Err(format!("invariant 15: {} still has orphans of slot {slot}", other.tag.get()));
                }
                if place.follower == Some(other.tag) {
                    let same = theirs.log.beyond(0).iter().map(|entry| entry.pos).eq(entries.iter().map(|entry| entry.pos));
                    if !theirs.replica.holds() || !same {
                        return Err(format!("invariant 15: the follower {} of slot {slot} differs from its home", other.tag.get()));
                    }
                } else if other.tag != node.tag && theirs.replica.holds() {
                    return Err(format!("invariant 15: {} holds slot {slot} and is not relieved", other.tag.get()));
                }
            }
            lines.insert(slot, entries);
        }
        self.judge_messages(&lines)?;
        self.judge_listeners(&lines)
    }

    fn judge_messages(&mut self, lines: &BTreeMap<Slot, Vec<Arc<Entry>>>) -> Failed {
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
                Some(1) => {}
                Some(count) => return Err(format!("invariant 9: message {} is on the line {count} times", publish.number)),
                None => return Err(format!("invariant 7: message {} was acknowledged and is lost", publish.number)),
            }
        }
        Ok(())
    }

    fn judge_listeners(&mut self, lines: &BTreeMap<Slot, Vec<Arc<Entry>>>) -> Failed {
        let is_anew = self.anew > 0 || self.opened > self.slots.len() as u64;
        // A home that was alone behind a cut and died there leaves nobody who could tell.
        let is_told = !self.faults.cut && !self.faults.one_way && !self.faults.silent_crash && !is_anew;
        for listener in &self.listeners {
            self.figures.delivered += listener.got.len() as u64;
            self.figures.gaps += listener.gaps.len() as u64;
            for (when, reason) in &listener.gaps {
                let is_true = match reason {
                    GapReason::Failover => self.figures.uncertain > 0,
                    GapReason::Restart => is_anew,
                    _ => false,
                };
                if !is_true {
                    return Err(format!("invariant 12: listener {} got a false gap ({reason:?}) at {when}", listener.number));
                }
            }
            let Some(since) = listener.since else { continue };
            let last_gap = listener.gaps.iter().map(|(when, _)| *when).max().unwrap_or(0);
            let slot = Slot::of(&listener.channel);
            let got: BTreeSet<&[u8]> = listener.got.iter().map(|entry| &entry.payload.bytes()[..]).collect();
            let acked_lost = self.publishes.iter().filter(|publish| is_told && publish.is_lost && publish.channel == listener.channel);
            let wanted = lines[&slot]
                .iter()
                .filter(|entry| entry.channel == listener.channel)
                .map(|entry| String::from_utf8_lossy(entry.payload.bytes()).into_owned());
            for wanted in wanted.chain(acked_lost.map(|publish| text(publish.number))) {
                let number: usize = wanted[1..].parse().unwrap_or_default();
                let publish = &self.publishes[number];
                // With a gap everything published before it is excused; a lost answer may excuse a little more.
                let is_due = publish.invoked > since && publish.invoked + 200 > last_gap;
                if is_due && !got.contains(wanted.as_bytes()) {
                    return Err(format!("invariant 10: listener {} never got message {number}", listener.number));
                }
            }
            let mut newest_invoked = 0;
            for entry in &listener.got {
                let number: usize = String::from_utf8_lossy(&entry.payload.bytes()[1..]).parse().unwrap_or_default();
                let publish = &self.publishes[number];
                let is_late = entry.adopted.is_some();
                if !is_late
                    && publish.acked.is_some_and(|acked| acked < newest_invoked)
                    && self.figures.adopted == 0
                    && self.figures.uncertain == 0
                    && !is_anew
                {
                    return Err(format!(
                        "invariant 11: listener {} got message {number} after one that was published later",
                        listener.number
                    ));
                }
                newest_invoked = newest_invoked.max(publish.invoked);
            }
        }
        Ok(())
    }
}
