//! Who publishes and who listens.

use tidings::cluster::core::frame::{Ask, Terms};
use tidings::cluster::core::{Answer, Input, State};
use tidings::log::Slot;
use tidings::message::{ChannelName, Draft, Payload, PublishId};

use super::wires::News;
use super::{AFTER, Failed, World, text};
use crate::client::{Clear, Publish};

/// Numbers of clears begin here, so that they are told from publishes.
pub(super) const CLEARS: u64 = 1 << 63;
/// How often one message is tried.
const TRIES: u32 = 3;

impl World {
    pub(super) fn publish_some(&mut self) -> Failed {
        if self.now < self.next_publish {
            return Ok(());
        }
        self.next_publish = self.now + self.chance.below(self.pace);
        let number = self.publishes.len() as u64;
        let channel = self.channels[self.chance.below(3) as usize].clone();
        if self.faults.clear && self.chance.once_in(60) {
            return self.clear(channel);
        }
        self.publishes.push(Publish::new(number, channel, self.now));
        self.try_publish(number)
    }

    /// One message to each channel through each of these nodes.
    pub(crate) fn publish_through(&mut self, nodes: &[usize]) -> Failed {
        for at in nodes {
            for channel in self.channels.clone() {
                let number = self.publishes.len() as u64;
                self.publishes.push(Publish::new(number, channel, self.now));
                self.try_publish_at(number, *at)?;
            }
        }
        Ok(())
    }

    fn try_publish(&mut self, number: u64) -> Failed {
        let at = self.chance.below(self.count as u64) as usize;
        self.try_publish_at(number, at)
    }

    fn try_publish_at(&mut self, number: u64, at: usize) -> Failed {
        let tries = self.tries.entry(number).or_default();
        *tries += 1;
        let rid = u64::from(*tries) << 32 | number;
        if self.is_away(at) {
            if self.now < self.ends {
                self.retries.push((self.now + 100, number));
            }
            return Ok(());
        }
        let through = self.nodes[at].as_ref().map(|node| node.tag);
        let publish = &mut self.publishes[number as usize];
        publish.through = publish.through.or(through);
        let channel = publish.channel.clone();
        let slot = Slot::of(&channel);
        let mut draft = Draft::new(channel, Payload::text(&text(number)));
        draft.id = Some(PublishId::Retry(u128::from(number) + 1));
        self.flying.push((number, at, rid, self.now + 4000));
        if self.nodes[at].as_ref().is_some_and(|node| node.node.view().is_cut_off()) {
            self.in_vain.insert(rid);
        }
        let terms = Terms { replicas: self.replicas, copies_min: self.copies_min(number), ..Terms::default() };
        self.input(at, slot, Input::Publish { rid, ask: Ask::Publish(draft), terms })
    }

    /// How many copies the publisher of a message insists on.
    pub(super) fn copies_min(&self, number: u64) -> u32 {
        if self.faults.insist && number.is_multiple_of(3) { self.replicas } else { 1 }
    }

    fn clear(&mut self, channel: ChannelName) -> Failed {
        let at = self.chance.below(self.count as u64) as usize;
        if self.is_away(at) {
            return Ok(());
        }
        let rid = CLEARS + self.clears.len() as u64;
        self.clears.push(Clear { channel: channel.clone(), invoked: self.now, acked: None });
        let terms = Terms { replicas: self.replicas, ..Terms::default() };
        self.input(at, Slot::of(&channel), Input::Publish { rid, ask: Ask::Clear(channel), terms })
    }

    pub(super) fn answered(&mut self, at: usize, slot: Slot, rid: u64, answer: &Answer) -> Failed {
        if let Some(nth) = rid.checked_sub(CLEARS) {
            if let Answer::Done(_) = answer {
                self.clears[nth as usize].acked = Some(self.now);
            }
            return Ok(());
        }
        let number = number_of(rid);
        self.note(|| format!("{at}/{slot} > {number} {answer:?}"));
        self.flying.retain(|of| of.2 != rid);
        match answer {
            Answer::Done(done) => {
                let is_cut_off = self.nodes[at].as_ref().is_some_and(|node| node.node.view().is_cut_off());
                if is_cut_off && self.in_vain.contains(&rid) && !done.duplicate {
                    return Err(format!("invariant 22: {at} is to leave, hears nobody, and takes message {number}"));
                }
                if self.nodes[at].as_ref().is_some_and(|node| node.parts[&slot].replica.is_home()) {
                    self.check_answer(at, slot, done)?;
                }
                if done.copies < self.copies_min(number) {
                    return Err(format!(
                        "invariant 6: message {number} was acknowledged with {} copies, fewer than were wanted",
                        done.copies
                    ));
                }
                self.figures.acked += 1;
                let text = text(number);
                let is_held = self.nodes.iter().flatten().any(|node| node.holds(slot, &text, done.pos.idx));
                let now = self.now;
                let publish = &mut self.publishes[number as usize];
                publish.by.get_or_insert(at);
                publish.pos.get_or_insert((slot, done.pos.epoch.get(), done.pos.idx));
                if publish.acked.replace(now).is_none() && !is_held {
                    // The home died while its answer was on the way, or it has left the history already.
                    publish.is_lost = true;
                    self.figures.lost += 1;
                }
            }
            Answer::Refused(_) | Answer::Leaving | Answer::Unknown => {
                if self.is_active() && self.tries[&number] < TRIES {
                    self.retries.push((self.now + 100, number));
                }
            }
        }
        Ok(())
    }

    fn is_active(&self) -> bool {
        self.ends == u64::MAX
    }

    /// The longest time without an answer to a publish that reaches into this span, over all channels. What this node answers does
    /// not count.
    pub(crate) fn silence(&self, beside: usize, from: u64, to: u64) -> u64 {
        let of_channel = |channel: &ChannelName| {
            let of_others = self.publishes.iter().filter(move |publish| publish.channel == *channel && publish.by != Some(beside));
            let acked = of_others.filter_map(|publish| publish.acked);
            let mut times: Vec<u64> = acked.filter(|at| *at < to).chain([to]).collect();
            times.sort_unstable();
            let reaching = times.windows(2).filter(|pair| pair[1] > from).map(|pair| pair[1] - pair[0]);
            reaching.max().unwrap_or(to)
        };
        self.channels.iter().map(of_channel).max().unwrap_or(0)
    }

    /// Messages that were asked for in this span and that this node acknowledged first.
    pub(crate) fn acked_by(&self, at: usize, from: u64, to: u64) -> usize {
        let asked = self.publishes.iter().filter(|publish| (from..to).contains(&publish.invoked));
        asked.filter(|publish| publish.by == Some(at)).count()
    }

    /// The longest wait for an answer to a publish of this span that was asked for once.
    pub(crate) fn slowest(&self, from: u64, to: u64) -> u64 {
        let asked = self.publishes.iter().filter(|publish| (from..to).contains(&publish.invoked) && self.tries[&publish.number] == 1);
        asked.filter_map(|publish| Some(publish.acked? - publish.invoked)).max().unwrap_or(0)
    }

    pub(super) fn clients(&mut self) -> Failed {
        for (_, number) in self.retries.extract_if(.., |(when, _)| *when <= self.now).collect::<Vec<_>>() {
            if self.publishes[number as usize].acked.is_none() {
                self.try_publish(number)?;
            }
        }
        for (number, ..) in self.flying.extract_if(.., |of| of.3 <= self.now).collect::<Vec<_>>() {
            if self.is_active() && self.tries[&number] < TRIES {
                self.try_publish(number)?;
            }
        }
        for nth in 0..self.listeners.len() {
            let listener = &self.listeners[nth];
            let is_gone = listener.node.is_none_or(|at| self.nodes[at].as_ref().map(|node| node.tag.get()) != listener.tag);
            let hops = listener.hop_at <= self.now && self.now < self.ends;
            if is_gone || hops {
                self.hop(nth)?;
            }
            let listener = &mut self.listeners[nth];
            let Some(node) = listener.node.and_then(|at| self.nodes[at].as_ref()).filter(|node| node.paused_until == 0) else { continue };
            let clock = node.clock(self.now);
            let slot = Slot::of(&listener.channel);
            // Now and then it is slow, and reads later.
            if listener.is_behind || !listener.joined {
                let (gaps, had) = (listener.gaps.len(), listener.got.len());
                listener.read(&node.parts[&slot], self.now, clock)?;
                let (told, got, cursor) = (listener.gaps[gaps..].to_vec(), listener.got.len() - had, listener.cursor.clone());
                if got > 0 || !told.is_empty() {
                    self.note(|| format!("listener {nth} reads {got} up to {cursor:?}, gaps {told:?}"));
                }
            }
        }
        Ok(())
    }

    fn hop(&mut self, nth: usize) -> Failed {
        let channel = self.listeners[nth].channel.clone();
        let slot = Slot::of(&channel);
        if let Some(at) = self.listeners[nth].node
            && self.nodes[at].as_ref().map(|node| node.tag.get()) == self.listeners[nth].tag
        {
            let is_last = !self.listeners.iter().any(|other| other.number != nth && other.node == Some(at) && other.channel == channel);
            self.listeners[nth].node = None;
            if is_last {
                self.tell(at, News::Left(slot, channel.clone()))?;
            }
        }
        let at = self.chance.below(self.count as u64) as usize;
        let hop_at = self.now + 200 + self.chance.below(6000);
        let is_active = self.is_active();
        // Cut off behind a message, or in a quiet moment, after a heartbeat told it where it stands.
        let is_cut_off = !self.chance.once_in(3);
        let listener = &mut self.listeners[nth];
        if is_cut_off && listener.told.is_some() {
            listener.cursor = listener.told.clone();
        }
        listener.told = None;
        (listener.node, listener.tag, listener.joined, listener.is_behind) = (None, None, false, true);
        let Some(node) = self.nodes[at].as_ref().filter(|node| node.paused_until == 0) else { return Ok(()) };
        if node.node.state() != State::Active && is_active {
            return Ok(());
        }
        (listener.node, listener.tag, listener.hop_at) = (Some(at), Some(node.tag.get()), hop_at);
        let cursor = listener.cursor.clone();
        self.note(|| format!("listener {nth} comes to {at} with {cursor:?}"));
        self.input(at, slot, Input::Listen(channel))
    }

    /// Publishing ends now; who has not been answered tries a little longer.
    pub(super) fn end(&mut self) {
        self.ends = self.now + AFTER;
    }
}

/// The message that was asked for under this number, however often.
pub(super) fn number_of(rid: u64) -> u64 {
    rid & 0xffff_ffff
}
