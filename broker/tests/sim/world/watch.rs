//! What must hold in every step.

use std::sync::Arc;

use tidings::cluster::core::frame::{Done, Refusal};
use tidings::cluster::core::{Answer, Event, Frame, Opening, Output};
use tidings::log::{Entry, LINEAGE_MAX, Slot};
use tidings::message::MessageId;

use super::people::{CLEARS, number_of};
use super::{Failed, World, text};
use crate::client::Publish;

/// A slot that was whole for so long hides nothing: what the follower has and counts for is known to all.
const SETTLED: u64 = 1000;
/// A node that was stopped believes nobody for so long, or until somebody has spoken.
const DOUBT: u64 = 1850;
/// Branches, and losses of branches, that a log remembers.
const REMEMBERED_MAX: usize = 64;

impl World {
    pub(super) fn happened(&mut self, at: usize, slot: Slot, event: &Event) -> Failed {
        self.note(|| format!("{at}/{slot} * {event:?}"));
        match event {
            Event::Opened { epoch, is_uncertain, is_forced, opening } => {
                self.figures.takeovers += 1;
                let part = self.nodes[at].as_ref().and_then(|node| node.parts.get(&slot));
                self.anew += u64::from(epoch.term() > 1 && part.is_some_and(|part| part.log.line().segments().len() == 1));
                self.opened += u64::from(epoch.term() == 1);
                self.merged += u64::from(*opening == Opening::Merged);
                if !is_uncertain {
                    self.check_told(at, slot)?;
                } else if let Some(before) = self.epoch_before(at, slot)
                    && self.sound.contains(&(slot, before))
                {
                    return Err(format!("invariant 12: {at}/{slot} tells of a loss that can be ruled out"));
                }
                self.check_doubt(at, slot)?;
                if !is_forced && *opening != Opening::Merged {
                    self.check_incumbent(at, slot)?;
                }
                self.figures.uncertain += u64::from(*is_uncertain);
                self.figures.forced += u64::from(*is_forced);
            }
            Event::Sealed { .. } => {
                if let Some(part) = self.nodes[at].as_ref().and_then(|node| node.parts.get(&slot)) {
                    self.sealed.insert((slot, part.log.epoch().get()), part.log.head().idx);
                }
            }
            Event::Adopted { count } => self.figures.adopted += *count as u64,
            Event::OrphansLost { .. } if self.faults.short => {}
            Event::OrphansLost { .. } => return Err("orphans were lost, though nothing expires".to_owned()),
            Event::Solo | Event::Counted { .. } => {}
        }
        Ok(())
    }

    /// The epoch that the newest one of a node's line follows.
    fn epoch_before(&self, at: usize, slot: Slot) -> Option<u64> {
        let part = self.nodes[at].as_ref()?.parts.get(&slot)?;
        let [.., before, _] = part.log.line().segments() else { return None };
        Some(before.epoch.get())
    }

    /// A takeover that says nothing of a loss must not have lost anything.
    fn check_told(&self, at: usize, slot: Slot) -> Failed {
        let Some(part) = self.nodes[at].as_ref().and_then(|node| node.parts.get(&slot)) else { return Ok(()) };
        let line = part.log.line();
        let [.., before, _] = line.segments() else { return Ok(()) };
        let is_untold = |publish: &&Publish| {
            let beyond = |(of, epoch, idx): (Slot, u64, u64)| {
                of == slot && epoch == before.epoch.get() && line.end(before.epoch).is_none_or(|end| idx > end)
            };
            publish.is_lost && publish.pos.is_some_and(beyond)
        };
        match self.publishes.iter().find(is_untold) {
            Some(publish) => Err(format!("invariant 12: message {} was acknowledged and is lost, and nobody is told", publish.number)),
            None => Ok(()),
        }
    }

    /// Who wrote the epoch before and is not down does not write any more, unless it was asked for five seconds in vain.
    fn check_incumbent(&self, at: usize, slot: Slot) -> Failed {
        let (Some(node), Some(before)) = (&self.nodes[at], self.epoch_before(at, slot)) else { return Ok(()) };
        let writes = |other: &&super::Process| {
            other.tag != node.tag && other.parts.get(&slot).is_some_and(|part| part.replica.is_home() && part.log.epoch().get() == before)
        };
        match self.nodes.iter().flatten().find(writes).filter(|home| node.node.view().is_present(home.tag)) {
            Some(home) => {
                Err(format!("invariant 3: {at}/{slot} opens an epoch after {before:x}, and {} has not sealed that", home.tag.get()))
            }
            None => Ok(()),
        }
    }

    /// A node that was stopped takes nothing from a home that goes on.
    fn check_doubt(&self, at: usize, slot: Slot) -> Failed {
        let Some(node) = &self.nodes[at] else { return Ok(()) };
        // To a clock that jumps ahead its time of doubt is over sooner.
        let is_doubtful = !self.faults.jump
            && node.woke.is_some_and(|woke| self.now < woke + DOUBT)
            && self.connected.iter().any(|(a, b)| *a == at || *b == at);
        let Some(before) = self.epoch_before(at, slot).filter(|_| is_doubtful) else { return Ok(()) };
        let writes = |other: &super::Process| {
            other.tag != node.tag && other.parts.get(&slot).is_some_and(|part| part.replica.is_home() && part.log.epoch().get() == before)
        };
        if self.nodes.iter().flatten().any(writes) {
            return Err(format!("invariant 18: {at} was stopped, and took {slot} from its home before anybody had spoken"));
        }
        Ok(())
    }

    /// Notes which slots have one home and a follower that is level with it.
    pub(super) fn look_whole(&mut self) {
        for slot in self.slots.clone() {
            match self.whole_home(slot) {
                Some(_) => {
                    self.whole.entry(slot).or_insert(self.now);
                }
                None => {
                    self.whole.remove(&slot);
                }
            }
        }
    }

    /// The home of a slot that everybody sees alike, and that a follower follows.
    fn whole_home(&self, slot: Slot) -> Option<usize> {
        let mut homes = (0..self.count).filter(|at| self.nodes[*at].as_ref().is_some_and(|node| node.parts[&slot].replica.is_home()));
        let home = homes.next().filter(|_| homes.next().is_none())?;
        let node = self.nodes[home].as_ref()?;
        let place = node.node.view().place(slot).filter(|place| place.home == node.tag)?;
        let follower = self.nodes.iter().flatten().find(|other| Some(other.tag) == place.follower)?;
        let epoch = node.parts[&slot].log.epoch();
        let is_level = follower.parts[&slot].replica.holds() && follower.parts[&slot].log.epoch() == epoch;
        let is_agreed = self.nodes.iter().flatten().all(|other| other.node.view().place(slot) == Some(place));
        (is_level && is_agreed).then_some(home)
    }

    /// A process is about to die. Where its slots were whole for a while its follower knows that nothing is lost.
    pub(super) fn note_sound(&mut self, at: usize) {
        if self.faults.divides() || self.replicas < 2 {
            return;
        }
        // Two deaths at once may have taken home and witness.
        self.sound.clear();
        for slot in self.slots.clone() {
            let is_settled = self.whole.get(&slot).is_some_and(|since| since + SETTLED <= self.now) && self.whole_home(slot) == Some(at);
            if let Some(node) = self.nodes[at].as_ref().filter(|_| is_settled) {
                self.sound.insert((slot, node.parts[&slot].log.epoch().get()));
            }
        }
    }

    pub(super) fn check_record(&mut self, entry: &Arc<Entry>) -> Failed {
        let text = String::from_utf8_lossy(entry.payload.bytes()).into_owned();
        let key = (entry.slot, entry.pos.epoch.get(), entry.pos.idx);
        match self.records.insert(key, text.clone()) {
            Some(known) if known != text => Err(format!("invariant 2: {key:?} is both {known} and {text}")),
            _ => Ok(()),
        }
    }

    pub(super) fn check_log(&mut self, at: usize, slot: Slot) -> Failed {
        let Some(node) = &self.nodes[at] else { return Ok(()) };
        let (tag, Some(part)) = (node.tag.get(), node.parts.get(&slot)) else { return Ok(()) };
        let (epoch, commit, head) = (part.log.epoch().get(), part.log.commit().idx, part.log.head());
        if commit > head.idx {
            return Err(format!("invariant 5: {at}/{slot} committed {commit} of {}", head.idx));
        }
        if part.replica.is_home()
            && let Some(sealed) = self.sealed.get(&(slot, epoch))
            && head.idx > *sealed
        {
            return Err(format!("invariant 1: {at}/{slot} wrote {head:?} after it had sealed at {sealed}"));
        }
        let is_serving = part.replica.holds();
        // Who serves nothing holds no copy: it may begin again with any line it is given.
        let before = if is_serving { self.commits.insert((tag, slot), (epoch, commit)) } else { self.commits.remove(&(tag, slot)) };
        if let Some((old_epoch, old_commit)) = before
            && is_serving
        {
            if epoch < old_epoch {
                return Err(format!("invariant 4: {at}/{slot} went back to epoch {epoch:x}"));
            }
            if epoch == old_epoch && commit < old_commit {
                return Err(format!("invariant 5: the commit of {at}/{slot} went back from {old_commit} to {commit}"));
            }
        }
        if self.now.is_multiple_of(100) && is_serving {
            for entry in part.log.beyond(head.idx.saturating_sub(20)) {
                self.check_record(&entry)?;
            }
        }
        Ok(())
    }

    /// Whatever a node keeps or says is within its bound.
    pub(super) fn check_bounds(&self, at: usize, slot: Slot, out: &[Output]) -> Failed {
        let Some((node, part)) = self.nodes[at].as_ref().and_then(|node| Some((node, node.parts.get(&slot)?))) else { return Ok(()) };
        let over = |what: &str, count: usize, most: usize| {
            if count > most { Err(format!("invariant 16: {at}/{slot} has {count} {what}, {most} at most")) } else { Ok(()) }
        };
        let (log, figures, settings) = (&part.log, part.replica.figures(), &node.settings);
        over("bytes of publishes", figures.publish_bytes, settings.publish_bytes)?;
        over("bytes of publishes that wait for a follower", figures.deferred_bytes, settings.publish_bytes)?;
        over("stretches", log.line().segments().len(), LINEAGE_MAX)?;
        over("branches", log.covered().len(), REMEMBERED_MAX)?;
        over("losses", log.lost().len(), REMEMBERED_MAX)?;
        for output in out {
            match output {
                Output::Send { frame: Frame::Sync(sync), .. } => {
                    let count = sync.channels.iter().map(|state| state.entries.len()).sum();
                    over("messages in a part of a copy", count, settings.page_records)?;
                }
                Output::Send { frame: Frame::Offer(offer), .. } => {
                    over("messages in a part of an offer", offer.run.len(), settings.page_records)?
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// At the home, in the moment it answers.
    pub(super) fn check_answer(&mut self, at: usize, slot: Slot, done: &Done) -> Failed {
        let part = self.nodes[at].as_ref().and_then(|node| node.parts.get(&slot));
        let is_early = part.is_some_and(|part| {
            let log = &part.log;
            part.replica.is_home() && log.line().pos(done.pos.idx) == done.pos && log.commit().idx < done.pos.idx
        });
        if is_early {
            return Err(format!("invariant 5: {:?} of {slot} was acknowledged before it was committed", done.pos));
        }
        self.check_copies(slot, done)
    }

    /// Nowhere is what is refused for want of copies, so that who asks again does not have it twice: not in the log of its home, where that
    /// says so here and now, and in nobody's when it was asked for once.
    pub(super) fn check_refused(&self, at: usize, slot: Slot, rid: u64, (answer, is_from_afar): (&Answer, bool)) -> Failed {
        // Of what is old, by a clock that jumped, the home does not know that it was asked for before.
        let is_sent_away = *answer == Answer::Leaving;
        if !(is_sent_away || *answer == Answer::Refused(Refusal::Degraded)) || self.faults.jump || rid >= CLEARS {
            return Ok(());
        }
        let number = number_of(rid);
        let (text, is_first) = (text(number), self.tries.get(&number) == Some(&1));
        for (holder, node) in self.nodes.iter().enumerate() {
            let Some(part) = node.as_ref().and_then(|node| node.parts.get(&slot)) else { continue };
            let is_told_by_it = holder == at && !is_from_afar && !is_sent_away && part.replica.is_home();
            if !(is_first || is_told_by_it) {
                continue;
            }
            let found = part.log.beyond(0).iter().find(|entry| entry.payload.bytes() == text.as_bytes()).map(|entry| entry.pos);
            if let Some(pos) = found {
                return Err(format!("invariant 21: {text} of {slot} is refused ({answer:?}), and stands at {pos:?} on {holder}"));
            }
        }
        Ok(())
    }

    fn check_copies(&mut self, slot: Slot, done: &Done) -> Failed {
        self.figures.copies_two += u64::from(done.copies > 1);
        let MessageId::Auto(id) = done.id else { return Ok(()) };
        if id == 0 || self.faults.forgets() {
            return Ok(());
        }
        let text = text(id as u64 - 1);
        let held = self.nodes.iter().flatten().filter(|node| node.holds(slot, &text, done.pos.idx)).count();
        // A copy that died a moment ago was one.
        if held < done.copies as usize && self.now > self.last_crash + 4000 {
            return Err(format!("invariant 6: {text} of {slot} was acknowledged with {} copies, {held} hold it", done.copies));
        }
        Ok(())
    }
}
