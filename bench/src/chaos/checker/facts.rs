//! A history, sorted by whom and what it is about.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use tidings::log::{Cursor, Pos, Slot};

use super::{Counts, IN_FLIGHT_US, WHOLE_AFTER_US};
use crate::chaos::history::{Event, Kept, Member, Record};

/// What became of one message, as its publisher knows it.
#[derive(Debug)]
pub(super) struct Publish<'a> {
    pub(super) channel: &'a str,
    pub(super) asked_at: u64,
    /// When and of whom.
    pub(super) tries: Vec<(u64, &'a str)>,
    pub(super) acked: Option<Ack<'a>>,
    pub(super) is_refused: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Ack<'a> {
    pub(super) at: u64,
    pub(super) copies: u32,
    pub(super) cursor: &'a str,
}

/// What happened to one client in one channel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    Resumed { node: &'a str, way: &'a str, cursor: &'a str },
    Received(Receipt<'a>),
    Gap { reason: &'a str },
    Left,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt<'a> {
    pub(super) id: &'a str,
    pub(super) cursor: &'a str,
    pub(super) late: bool,
}

/// One client in one channel, for the whole run.
#[derive(Debug, Default)]
pub(super) struct Stay<'a> {
    pub(super) steps: Vec<(u64, Step<'a>)>,
    /// When each message came first.
    pub(super) first: BTreeMap<&'a str, u64>,
    pub(super) gaps: Vec<u64>,
}

/// What a node said of who is on the channel of guests, and who was in that moment.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) at: u64,
    pub(super) node: &'a str,
    pub(super) users: u64,
    pub(super) anonymous: u64,
    pub(super) members: &'a [Member],
    /// By session: whose it is, if anybody's.
    pub(super) live: BTreeMap<&'a str, Option<&'a str>>,
    /// Sessions that were there before, and are not now.
    pub(super) away: Vec<&'a str>,
}

/// Something was broken between these two moments.
#[derive(Clone, Copy, Debug)]
struct Breakage {
    begin: u64,
    end: u64,
    divides: bool,
    /// How long it must last to be one; `None` if it never is.
    excuses_after_us: Option<u64>,
}

impl Breakage {
    fn excuses(&self) -> bool {
        self.excuses_after_us.is_some_and(|after| self.end - self.begin >= after)
    }
}

#[derive(Debug, Default)]
pub(super) struct Facts<'a> {
    /// How many nodes hold an entry when all is well.
    pub(super) replicas: u32,
    pub(super) counts: Counts,
    pub(super) publishes: BTreeMap<&'a str, Publish<'a>>,
    /// By client and channel.
    pub(super) stays: BTreeMap<(&'a str, &'a str), Stay<'a>>,
    /// By channel and node.
    pub(super) logs: BTreeMap<&'a str, BTreeMap<&'a str, &'a [Kept]>>,
    /// All that is in any log, by channel.
    pub(super) kept: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// What each node said of who is there.
    pub(super) present: Vec<Answer<'a>>,
    /// Guests by session, and whether they are there.
    guests: BTreeMap<&'a str, (Option<&'a str>, bool)>,
    breakages: Vec<Breakage>,
    crashes: Vec<u64>,
    starts: Vec<u64>,
    pub(super) end: u64,
}

impl<'a> Facts<'a> {
    pub(super) fn of(records: &'a [Record]) -> anyhow::Result<Self> {
        let mut facts = Self::default();
        let mut open: BTreeMap<&str, Breakage> = BTreeMap::new();
        for (number, Record { at, event }) in records.iter().enumerate() {
            let at = *at;
            ensure!(at >= facts.end, "event {number} is older than the one before it");
            facts.end = at;
            facts.take(at, event, &mut open).with_context(|| format!("event {number}"))?;
        }
        ensure!(facts.replicas > 0, "the history has no setup");
        ensure!(!facts.logs.is_empty(), "the history ends without the nodes' logs");
        ensure!(facts.guests.is_empty() || !facts.present.is_empty(), "no node was asked who is there");
        facts.breakages.extend(open.into_values().map(|breakage| Breakage { end: facts.end, ..breakage }));
        // What was no fault at all excuses nothing anywhere.
        facts.breakages.retain(Breakage::excuses);
        Ok(facts)
    }

    fn take(&mut self, at: u64, event: &'a Event, open: &mut BTreeMap<&'a str, Breakage>) -> anyhow::Result<()> {
        match event {
            Event::Setup { replicas, nodes, .. } => self.replicas = (*replicas).min(u32::try_from(*nodes)?),
            Event::Publish { id, channel } => {
                let publish = Publish { channel, asked_at: at, tries: Vec::new(), acked: None, is_refused: false };
                ensure!(self.publishes.insert(id, publish).is_none(), "{id} is published twice");
            }
            Event::Try { id, node } => self.publish(id)?.tries.push((at, node)),
            Event::Acked { id, cursor, copies, .. } => {
                self.publish(id)?.acked = Some(Ack { at, copies: *copies, cursor });
                self.counts.acked += 1;
                self.counts.acked_alone += u64::from(*copies < 2);
            }
            Event::Unknown { id, .. } => {
                self.publish(id)?;
                self.counts.unknown += 1;
            }
            Event::Failed { id, .. } => {
                self.publish(id)?.is_refused = true;
                self.counts.failed += 1;
            }
            Event::Resumed { client, channel, node, way, cursor } => {
                self.counts.resumed += 1;
                self.step(client, channel, at, Step::Resumed { node, way, cursor });
            }
            Event::Received { client, channel, id, cursor, late } => {
                self.counts.received += 1;
                self.counts.late += u64::from(*late);
                self.step(client, channel, at, Step::Received(Receipt { id, cursor, late: *late }));
                self.stays.entry((client, channel)).or_default().first.entry(id).or_insert(at);
            }
            Event::Gap { client, channel, reason } => {
                self.counts.gaps += 1;
                self.step(client, channel, at, Step::Gap { reason });
                self.stays.entry((client, channel)).or_default().gaps.push(at);
            }
            Event::Left { client, channel, .. } => self.step(client, channel, at, Step::Left),
            Event::Broken { fault, divides, excuses_after_ms } => {
                self.counts.faults += 1;
                let excuses_after_us = excuses_after_ms.map(|after| after * 1_000);
                let breakage = Breakage { begin: at, end: at, divides: *divides, excuses_after_us };
                ensure!(open.insert(fault, breakage).is_none(), "{fault} is broken already");
            }
            Event::Mended { fault } => {
                let breakage = open.remove(fault.as_str()).with_context(|| format!("{fault} was not broken"))?;
                self.breakages.push(Breakage { end: at, ..breakage });
            }
            Event::Crashed { .. } => {
                self.counts.crashes += 1;
                self.crashes.push(at);
            }
            Event::Started { .. } => self.starts.push(at),
            Event::Came { session, user } => {
                let before = self.guests.insert(session, (user.as_deref(), true));
                ensure!(!before.is_some_and(|(_, is_there)| is_there), "{session} is there already");
            }
            Event::Went { session } => {
                let guest = self.guests.get_mut(session.as_str()).filter(|(_, is_there)| *is_there);
                guest.with_context(|| format!("{session} was not there"))?.1 = false;
            }
            Event::Present { node, users, anonymous, members } => {
                let live =
                    self.guests.iter().filter(|(_, (_, is_there))| *is_there).map(|(session, (user, _))| (*session, *user)).collect();
                let away = self.guests.iter().filter(|(_, (_, is_there))| !is_there).map(|(session, _)| *session).collect();
                self.counts.presence += 1;
                self.present.push(Answer { at, node, users: *users, anonymous: *anonymous, members, live, away });
            }
            Event::Final { node, channel, messages } => {
                self.logs.entry(channel).or_default().insert(node, messages);
                self.kept.entry(channel).or_default().extend(messages.iter().map(|kept| kept.id.as_str()));
            }
        }
        Ok(())
    }

    fn publish(&mut self, id: &str) -> anyhow::Result<&mut Publish<'a>> {
        self.publishes.get_mut(id).with_context(|| format!("{id} was never published"))
    }

    fn step(&mut self, client: &'a str, channel: &'a str, at: u64, step: Step<'a>) {
        self.stays.entry((client, channel)).or_default().steps.push((at, step));
    }

    /// Whether a message is in any node's log of its channel.
    pub(super) fn is_kept(&self, channel: &str, id: &str) -> bool {
        self.kept.get(channel).is_some_and(|kept| kept.contains(id))
    }

    /// Whether enough processes died since then to take with them every holder of a message that `copies` nodes had. A cluster that
    /// was left alone for [`WHOLE_AFTER_US`] between two deaths has made its copies again. The worst is assumed of each death: that
    /// it was a holder's.
    pub(super) fn holders_died(&self, since: u64, copies: u32) -> bool {
        let (mut last, mut holders) = (since, copies.max(1));
        for &crash in self.crashes.iter().filter(|crash| **crash + IN_FLIGHT_US >= since) {
            if self.next_whole(last) <= crash {
                holders = self.replicas;
            }
            holders -= 1;
            if holders == 0 {
                return true;
            }
            last = crash;
        }
        false
    }

    /// Whether any process died between these two.
    pub(super) fn has_crashed(&self, from: u64, to: u64) -> bool {
        self.crashes.iter().any(|crash| (from..=to).contains(crash))
    }

    /// Whether a process was started again before this, which remembers nothing of what was before it.
    pub(super) fn has_restarted(&self, before: u64) -> bool {
        self.starts.iter().any(|start| *start < before)
    }

    /// Whether nodes may have taken each other for dead between these two moments, or not yet have got over it.
    pub(super) fn is_divided(&self, from: u64, to: u64) -> bool {
        self.breakages.iter().any(|breakage| breakage.divides && breakage.begin <= to && from <= self.next_whole(breakage.begin))
    }

    /// Whether nothing has been broken, and nobody died, for [`WHOLE_AFTER_US`] in this moment. A run begins whole.
    pub(super) fn is_whole(&self, at: u64) -> bool {
        self.next_whole(at.saturating_sub(WHOLE_AFTER_US)) <= at.max(WHOLE_AFTER_US)
    }

    /// The first moment from `since` on at which nothing has been broken, and nobody died, for [`WHOLE_AFTER_US`].
    pub(super) fn next_whole(&self, since: u64) -> u64 {
        let mut whole = since + WHOLE_AFTER_US;
        loop {
            let quiet = whole - WHOLE_AFTER_US..whole;
            let broken = self.breakages.iter().filter(|breakage| breakage.begin < quiet.end && quiet.start < breakage.end);
            let died = self.crashes.iter().filter(|crash| quiet.start < **crash && **crash < quiet.end);
            let Some(until) = broken.map(|breakage| breakage.end).chain(died.copied()).max() else { return whole };
            whole = until + WHOLE_AFTER_US;
        }
    }
}

/// The position that a message's cursor stands for; nothing when it cannot be read, or spans slots.
pub(crate) fn position(cursor: &str) -> Option<(Slot, Pos)> {
    let cursor = Cursor::parse(cursor).ok()?;
    let mut slots = cursor.iter();
    let slot = slots.next()?;
    slots.next().is_none().then_some((slot.slot, slot.main))
}
