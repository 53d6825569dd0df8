//! The world of one run: nodes, wires, faults, clients, and what must hold.

mod disturb;
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tidings::cluster::core::frame::{Ask, Done, Outcome, Terms};
use tidings::cluster::core::{Answer, Bug, Event, Frame, Input, NodeId, NodeInput, NodeOutput, Output, Settings};
use tidings::log::{Entry, Slot, Tag};
use tidings::message::{ChannelName, Draft, MessageId, Payload, PublishId};

use super::chance::Chance;
use super::check::Figures;
use super::client::{Listener, Publish};
use super::faults::Faults;
use super::process::Process;
use super::wire::{Parcel, Pipe, shift};

/// One step, in ms.
const STEP: u64 = 5;
/// How long faults and publishes go on.
const ACTIVE: u64 = 20_000;
/// How long after that everything may take to be whole again.
const REST: u64 = 16_000;
/// A connection over which nothing arrives for this long is given up.
const DEAD: u64 = 3000;

type Failed = Result<(), String>;

pub(crate) struct World {
    now: u64,
    chance: Chance,
    bug: Option<Bug>,
    faults: Faults,
    count: usize,
    replicas: u32,
    nodes: Vec<Option<Process>>,
    /// When a dead node starts again.
    restarts: BTreeMap<usize, u64>,
    tags: u64,
    pipes: BTreeMap<(usize, usize), Pipe>,
    /// Pairs (lower first) that are connected, and when they try again.
    connected: BTreeSet<(usize, usize)>,
    redial: BTreeMap<(usize, usize), u64>,
    /// Whom each node is, or was, connected to at the other one.
    known: BTreeMap<(usize, usize), Tag>,
    /// Reports of an ended process: when, to whom, whose.
    endings: Vec<(u64, usize, Tag)>,
    delay: u64,
    channels: Vec<ChannelName>,
    slots: Vec<Slot>,
    publishes: Vec<Publish>,
    /// Number, node, rid, when to give up and retry.
    flying: Vec<(u64, usize, u64, u64)>,
    retries: Vec<(u64, u64, u32)>,
    tries: BTreeMap<u64, u32>,
    next_publish: u64,
    listeners: Vec<Listener>,
    /// What stands at each position, over all time.
    records: BTreeMap<(Slot, u64, u64), String>,
    /// Where each epoch was sealed.
    sealed: BTreeMap<(Slot, u64), u64>,
    commits: BTreeMap<(u64, Slot), (u64, u64)>,
    last_crash: u64,
    /// Lines that began anew: nobody who could be reached had a copy.
    anew: u64,
    opened: u64,
    figures: Figures,
    pub(crate) is_traced: bool,
    pub(crate) trace: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>, is_traced: bool) -> Self {
        let mut chance = Chance::new(seed);
        let faults = Faults::choose(&mut chance);
        let count = chance.pick(&[1, 2, 2, 3, 3, 3, 4, 5]);
        let replicas = chance.pick(&[1, 2, 2, 2]);
        let name = |name: &str| ChannelName::parse(name).unwrap();
        let channels = vec![name("a{x}"), name("b{x}"), name("c{y}")];
        let mut slots: Vec<Slot> = channels.iter().map(Slot::of).collect();
        slots.dedup();
        let mut world = Self {
            now: 0,
            chance,
            bug,
            faults,
            count,
            replicas,
            nodes: Vec::new(),
            restarts: BTreeMap::new(),
            tags: 0,
            pipes: BTreeMap::new(),
            connected: BTreeSet::new(),
            redial: BTreeMap::new(),
            known: BTreeMap::new(),
            endings: Vec::new(),
            delay: 1,
            channels,
            slots,
            publishes: Vec::new(),
            flying: Vec::new(),
            retries: Vec::new(),
            tries: BTreeMap::new(),
            next_publish: 3000,
            listeners: Vec::new(),
            records: BTreeMap::new(),
            sealed: BTreeMap::new(),
            commits: BTreeMap::new(),
            last_crash: 0,
            anew: 0,
            opened: 0,
            figures: Figures::default(),
            is_traced,
            trace: Vec::new(),
        };
        let shown = format!("{count} nodes, {replicas} replicas, {:?}", world.faults);
        world.note(|| shown);
        for at in 0..count {
            let process = world.process(at);
            world.nodes.push(Some(process));
            for other in 0..count {
                if other != at {
                    world.pipes.insert((at, other), Pipe::default());
                }
            }
        }
        for number in 0..6 {
            let channel = world.channels[number % 3].clone();
            world.listeners.push(Listener::new(number, channel));
        }
        world
    }

    /// A line of the trace, made only when somebody will read it.
    fn note(&mut self, what: impl FnOnce() -> String) {
        if self.is_traced {
            let line = format!("{:>6} {}", self.now, what());
            self.trace.push(line);
        }
    }

    fn process(&mut self, at: usize) -> Process {
        self.tags += 1;
        let tag = Tag::new(self.tags).unwrap();
        let settings = Settings {
            replicas: self.replicas,
            solo: Duration::from_secs(if self.count == 1 { 0 } else { 4 }),
            quiet: Duration::from_millis(500),
            mark: Duration::from_secs(2),
            linger: Duration::from_secs(3),
            page_records: 7,
            bug: self.bug,
            ..Settings::default()
        };
        let offset = Duration::from_millis(self.chance.below(100_000) + 5000);
        let rate = 950 + self.chance.below(100);
        Process::new(NodeId::of(&format!("node-{at}")), tag, &self.slots, settings, offset, rate, self.now)
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) -> Result<Figures, String> {
        while self.now < ACTIVE + REST {
            self.now += STEP;
            if self.now < ACTIVE {
                self.disturb()?;
                self.publish_some()?;
            } else if self.now == ACTIVE {
                self.heal()?;
            }
            self.move_connections()?;
            self.deliver()?;
            self.tick()?;
            self.clients()?;
        }
        self.judge()?;
        Ok(self.figures.clone())
    }

    fn disconnect(&mut self, a: usize, b: usize) -> Failed {
        if a == b || !self.connected.remove(&pair(a, b)) {
            return Ok(());
        }
        self.note(|| format!("connection {a}-{b} lost"));
        self.redial.insert(pair(a, b), self.now + 100);
        for (at, other) in [(a, b), (b, a)] {
            if let Some(pipe) = self.pipes.get_mut(&(at, other)) {
                pipe.queue.clear();
            }
        }
        for (at, other) in [(a, b), (b, a)] {
            if let Some(tag) = self.known.get(&(at, other)).copied() {
                self.link(at, tag, false)?;
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

    fn move_connections(&mut self) -> Failed {
        for (at, when) in self.restarts.clone() {
            let has_drained = when == u64::MAX
                && self.nodes[at]
                    .as_ref()
                    .is_some_and(|node| node.parts.values().all(|part| !part.replica.holds()) && self.flying.iter().all(|of| of.1 != at));
            if has_drained {
                self.note(|| format!("{at} has drained and leaves"));
                self.crash(at)?;
            } else if when == u64::MAX && self.now == ACTIVE + REST - STEP {
                return Err(format!("invariant 17: {at} was asked to drain and does not come to an end"));
            } else if when <= self.now {
                self.restarts.remove(&at);
                let process = self.process(at);
                self.note(|| format!("start {at} ({})", process.tag.get()));
                self.nodes[at] = Some(process);
            }
        }
        for a in 0..self.count {
            for b in a + 1..self.count {
                let is_blocked = [(a, b), (b, a)].iter().any(|way| self.pipes[way].is_blocked);
                if self.connected.contains(&(a, b)) {
                    let is_dead = [(a, b), (b, a)].iter().any(|way| {
                        let pipe = &self.pipes[way];
                        pipe.is_blocked && pipe.blocked_since + DEAD < self.now
                    });
                    // A process that is not there any more, or another one in its place, answers with a reset.
                    let is_known = |at: usize, other: usize| {
                        self.nodes[other].as_ref().is_some_and(|node| self.known.get(&(at, other)) == Some(&node.tag))
                    };
                    let is_gone = !is_known(a, b) || !is_known(b, a);
                    if is_dead || is_gone && !is_blocked {
                        self.disconnect(a, b)?;
                    }
                } else if !is_blocked
                    && self.redial.get(&(a, b)).is_none_or(|at| *at <= self.now)
                    && self.nodes[a].is_some()
                    && self.nodes[b].is_some()
                {
                    self.connect(a, b)?;
                }
            }
        }
        for (_, at, tag) in self.endings.extract_if(.., |(when, ..)| *when <= self.now).collect::<Vec<_>>() {
            self.node_input(at, NodeInput::Ended { tag })?;
        }
        Ok(())
    }

    fn connect(&mut self, a: usize, b: usize) -> Failed {
        self.note(|| format!("connection {a}-{b}"));
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
        }
        Ok(())
    }

    fn send(&mut self, from: usize, to: Tag, parcel: Parcel) {
        let Some(other) = self.nodes.iter().position(|node| node.as_ref().is_some_and(|node| node.tag == to)) else { return };
        if !self.connected.contains(&pair(from, other)) || self.known.get(&(from, other)) != Some(&to) {
            return;
        }
        let jitter = self.chance.below(self.delay + 1);
        let now = self.now;
        let delay = self.delay;
        if let Some(pipe) = self.pipes.get_mut(&(from, other)) {
            let last = pipe.queue.back().map_or(0, |(at, _)| *at);
            pipe.queue.push_back(((now + delay + jitter).max(last), parcel));
        }
    }

    fn deliver(&mut self) -> Failed {
        let ways: Vec<(usize, usize)> = self.pipes.keys().copied().collect();
        for (from, to) in ways {
            if self.nodes[to].as_ref().is_none_or(|node| node.paused_until > self.now) {
                continue;
            }
            loop {
                let now = self.now;
                let Some(pipe) = self.pipes.get_mut(&(from, to)) else { break };
                if pipe.is_blocked || pipe.queue.front().is_none_or(|(at, _)| *at > now) {
                    break;
                }
                let Some((_, parcel)) = pipe.queue.pop_front() else { break };
                let Some(tag) = self.known.get(&(to, from)).copied() else { continue };
                match parcel {
                    Parcel::Beat(beat) => self.node_input(to, NodeInput::Beat { from: tag, beat })?,
                    Parcel::Frame(slot, frame) => {
                        // The sender may be dead by now: its clock is not needed to know an age, only its offset.
                        let there = self.nodes[from].as_ref().map(|node| node.clock(now).mono);
                        let here = self.nodes[to].as_ref().map(|node| node.clock(now).mono);
                        let (Some(there), Some(here)) = (there, here) else { continue };
                        let frame = shift(frame, there, here);
                        self.input(to, slot, Input::Frame { from: tag, frame })?;
                    }
                }
            }
        }
        Ok(())
    }

    fn tick(&mut self) -> Failed {
        for at in 0..self.count {
            let now = self.now;
            let Some(node) = self.nodes[at].as_ref().filter(|node| node.paused_until <= now) else { continue };
            let clock = node.clock(now).mono;
            let due: Vec<Slot> =
                node.parts.iter().filter(|(_, part)| part.replica.due().is_some_and(|due| due <= clock)).map(|(slot, _)| *slot).collect();
            if now.is_multiple_of(50) || node.paused_until > 0 {
                if let Some(node) = &mut self.nodes[at] {
                    node.paused_until = 0;
                }
                self.node_input(at, NodeInput::Tick)?;
            }
            for slot in due {
                self.input(at, slot, Input::Tick)?;
            }
        }
        Ok(())
    }

    fn node_input(&mut self, at: usize, input: NodeInput) -> Failed {
        let mut out = Vec::new();
        let now = self.now;
        let Some(node) = &mut self.nodes[at] else { return Ok(()) };
        let clock = node.clock(now).mono;
        node.node.handle(clock, input, &mut out);
        for output in out {
            match output {
                NodeOutput::Beat { to, beat } => self.send(at, to, Parcel::Beat(beat)),
                NodeOutput::State(state) => self.note(|| format!("{at} is {state:?}")),
                NodeOutput::View(view) => {
                    let members: Vec<u64> = view.members().iter().map(|member| member.tag.get()).collect();
                    let homes: Vec<u64> = self.slots.iter().filter_map(|slot| view.place(*slot)).map(|place| place.home.get()).collect();
                    let may_act = view.may_act();
                    self.note(|| format!("{at} sees {members:?}, homes {homes:?}, may act {may_act}"));
                    for slot in self.slots.clone() {
                        self.input(at, slot, Input::View)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn input(&mut self, at: usize, slot: Slot, input: Input) -> Failed {
        let now = self.now;
        if !matches!(input, Input::Tick) {
            self.note(|| format!("{at}/{slot} < {input:?}").chars().take(400).collect());
        }
        let Some(node) = &mut self.nodes[at] else { return Ok(()) };
        let out = node.handle(now, slot, input);
        let tag = node.tag;
        self.check_log(at, slot)?;
        for output in out {
            match output {
                Output::Send { to, frame } => {
                    if let Frame::ForwardAck { outcome: Outcome::Done(done), .. } = &frame {
                        self.check_answer(at, slot, done)?;
                    }
                    self.send(at, to, Parcel::Frame(slot, frame));
                }
                Output::Committed { entry, .. } => {
                    self.check_record(&entry)?;
                    let Some(part) = self.nodes[at].as_ref().and_then(|node| node.parts.get(&slot)) else { continue };
                    for listener in self.listeners.iter_mut().filter(|listener| listener.tag == Some(tag.get())) {
                        listener.push(&part.log, &entry)?;
                    }
                }
                Output::Turn => {
                    for listener in
                        self.listeners.iter_mut().filter(|listener| listener.tag == Some(tag.get()) && Slot::of(&listener.channel) == slot)
                    {
                        listener.is_behind = true;
                    }
                }
                Output::Ready(_) | Output::Evicted(_) => {}
                Output::Answer { rid, answer } => self.answered(at, slot, rid, &answer)?,
                Output::Event(event) => self.happened(at, slot, &event)?,
            }
        }
        Ok(())
    }

    fn happened(&mut self, at: usize, slot: Slot, event: &Event) -> Failed {
        self.note(|| format!("{at}/{slot} * {event:?}"));
        match event {
            Event::Opened { epoch, is_uncertain, is_forced } => {
                self.figures.takeovers += 1;
                let part = self.nodes[at].as_ref().and_then(|node| node.parts.get(&slot));
                self.anew += u64::from(epoch.term() > 1 && part.is_some_and(|part| part.log.line().segments().len() == 1));
                self.opened += u64::from(epoch.term() == 1);
                if let Some(part) = part.filter(|_| !is_uncertain)
                    && let [.., before, _] = part.log.line().segments()
                {
                    let line = part.log.line();
                    let is_untold = |publish: &&Publish| {
                        let beyond = |(of, epoch, idx): (Slot, u64, u64)| {
                            of == slot && epoch == before.epoch.get() && line.end(before.epoch).is_none_or(|end| idx > end)
                        };
                        publish.is_lost && publish.pos.is_some_and(beyond)
                    };
                    if let Some(publish) = self.publishes.iter().find(is_untold) {
                        return Err(format!("invariant 12: message {} was acknowledged and is lost, and nobody is told", publish.number));
                    }
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
            Event::OrphansLost { .. } => return Err("orphans were lost, though nothing expires".to_owned()),
            Event::Solo | Event::Counted { .. } => {}
        }
        Ok(())
    }

    fn check_record(&mut self, entry: &Arc<Entry>) -> Failed {
        let text = String::from_utf8_lossy(entry.payload.bytes()).into_owned();
        let key = (entry.slot, entry.pos.epoch.get(), entry.pos.idx);
        match self.records.insert(key, text.clone()) {
            Some(known) if known != text => Err(format!("invariant 2: {key:?} is both {known} and {text}")),
            _ => Ok(()),
        }
    }

    fn check_log(&mut self, at: usize, slot: Slot) -> Failed {
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
        let before = self.commits.insert((tag, slot), (epoch, commit));
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
            for entry in part.log.beyond(0).iter().rev().take(20).cloned().collect::<Vec<_>>() {
                self.check_record(&entry)?;
            }
        }
        Ok(())
    }

    /// At the home, in the moment it answers.
    fn check_answer(&mut self, at: usize, slot: Slot, done: &Done) -> Failed {
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

    fn check_copies(&mut self, slot: Slot, done: &Done) -> Failed {
        self.figures.copies_two += u64::from(done.copies > 1);
        let MessageId::Auto(id) = done.id else { return Ok(()) };
        let text = text(id as u64 - 1);
        let held = self.nodes.iter().flatten().filter(|node| node.holds(slot, &text)).count();
        // A copy that died a moment ago was one.
        if held < done.copies as usize && self.now > self.last_crash + 4000 {
            return Err(format!("invariant 6: {text} of {slot} was acknowledged with {} copies, {held} hold it", done.copies));
        }
        Ok(())
    }

    fn publish_some(&mut self) -> Failed {
        if self.now < self.next_publish {
            return Ok(());
        }
        self.next_publish = self.now + self.chance.below(80);
        let number = self.publishes.len() as u64;
        let channel = self.channels[self.chance.below(3) as usize].clone();
        self.publishes.push(Publish { number, channel, invoked: self.now, acked: None, pos: None, is_lost: false });
        self.try_publish(number)
    }

    fn try_publish(&mut self, number: u64) -> Failed {
        let tries = self.tries.entry(number).or_default();
        *tries += 1;
        let rid = u64::from(*tries) << 32 | number;
        let at = self.chance.below(self.count as u64) as usize;
        if self.nodes[at].as_ref().is_none_or(|node| node.paused_until > self.now) {
            if self.now < ACTIVE + 2000 {
                self.retries.push((self.now + 100, number, 0));
            }
            return Ok(());
        }
        let channel = self.publishes[number as usize].channel.clone();
        let slot = Slot::of(&channel);
        let mut draft = Draft::new(channel, Payload::text(&text(number)));
        draft.id = Some(PublishId::Retry(u128::from(number) + 1));
        self.flying.push((number, at, rid, self.now + 4000));
        self.input(at, slot, Input::Publish { rid, ask: Ask::Publish(draft), terms: Terms { replicas: self.replicas, ..Terms::default() } })
    }

    fn answered(&mut self, at: usize, slot: Slot, rid: u64, answer: &Answer) -> Failed {
        let number = rid & 0xffff_ffff;
        self.note(|| format!("{at}/{slot} > {number} {answer:?}"));
        self.flying.retain(|of| of.2 != rid);
        match answer {
            Answer::Done(done) => {
                if self.nodes[at].as_ref().is_some_and(|node| node.parts[&slot].replica.is_home()) {
                    self.check_answer(at, slot, done)?;
                }
                self.figures.acked += 1;
                let text = text(number);
                let is_held = self.nodes.iter().flatten().any(|node| node.holds(slot, &text));
                let now = self.now;
                let publish = &mut self.publishes[number as usize];
                publish.pos.get_or_insert((slot, done.pos.epoch.get(), done.pos.idx));
                if publish.acked.replace(now).is_none() && !is_held {
                    // The home died while its answer was on the way.
                    publish.is_lost = true;
                    self.figures.lost += 1;
                }
            }
            Answer::Refused(_) | Answer::Unknown => {
                if self.now < ACTIVE && self.tries[&number] < 3 {
                    self.retries.push((self.now + 100, number, 0));
                }
            }
        }
        Ok(())
    }

    fn clients(&mut self) -> Failed {
        for (_, number, _) in self.retries.extract_if(.., |(when, ..)| *when <= self.now).collect::<Vec<_>>() {
            if self.publishes[number as usize].acked.is_none() {
                self.try_publish(number)?;
            }
        }
        for (number, ..) in self.flying.extract_if(.., |of| of.3 <= self.now).collect::<Vec<_>>() {
            if self.now < ACTIVE && self.tries[&number] < 3 {
                self.try_publish(number)?;
            }
        }
        for nth in 0..self.listeners.len() {
            let listener = &self.listeners[nth];
            let is_gone = listener.node.is_none_or(|at| self.nodes[at].as_ref().map(|node| node.tag.get()) != listener.tag);
            let hops = listener.hop_at <= self.now && self.now < ACTIVE + 2000;
            if is_gone || hops {
                self.hop(nth)?;
            }
            let listener = &mut self.listeners[nth];
            let Some(node) = listener.node.and_then(|at| self.nodes[at].as_ref()) else { continue };
            if node.paused_until > self.now {
                continue;
            }
            let clock = node.clock(self.now);
            let slot = Slot::of(&listener.channel);
            // Now and then it is slow, and reads later.
            if listener.is_behind || !listener.joined {
                listener.read(&node.parts[&slot], self.now, clock)?;
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
                self.input(at, slot, Input::Leave(channel.clone()))?;
            }
        }
        let at = self.chance.below(self.count as u64) as usize;
        let hop_at = self.now + 200 + self.chance.below(6000);
        let now = self.now;
        let listener = &mut self.listeners[nth];
        (listener.node, listener.tag, listener.joined, listener.is_behind) = (None, None, false, true);
        let Some(node) = &self.nodes[at] else { return Ok(()) };
        let state = node.node.state();
        if state != tidings::cluster::core::State::Active && now < ACTIVE {
            return Ok(());
        }
        (listener.node, listener.tag, listener.waits_since, listener.hop_at) = (Some(at), Some(node.tag.get()), now, hop_at);
        let cursor = listener.cursor.clone();
        self.note(|| format!("listener {nth} comes to {at} with {cursor:?}"));
        self.input(at, slot, Input::Listen(channel))
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

fn text(number: u64) -> String {
    format!("m{number}")
}
